"use strict";
// Colours: of rows (Okabe & Ito's, told apart with every common colour blindness), of heat, of differences.
(() => {
  const ROWS = [
    ["#56b4e9", "#000"],
    ["#009e73", "#000"],
    ["#cc79a7", "#000"],
    ["#d55e00", "#000"],
    ["#f0e442", "#000"],
    ["#0072b2", "#fff"],
    ["#bbbbbb", "#000"],
  ];
  const DASHES = [[], [10, 5], [3, 4], [12, 4, 3, 4]];

  /** Return how a row is drawn; after seven colours they begin anew, dashed. Its number tells it apart without any. */
  stvg.rowStyle = (row) => {
    const [color, ink] = ROWS[row % ROWS.length];
    return { color, ink, dash: DASHES[Math.floor(row / ROWS.length) % DASHES.length], label: String(row + 1) };
  };

  stvg.TRUTH = { color: "#e69f00", ink: "#000", dash: [7, 5], label: "GT" };

  /** Return the numbered mark of a row. */
  stvg.chip = (style) =>
    stvg.element("span", { class: "chip", style: { "background-color": style.color, color: style.ink } }, style.label);

  // Matplotlib's inferno and a part of its RdBu, at even places.
  const INFERNO = ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"];
  const COOL = ["d1e5f0", "92c5de", "4393c3", "2166ac"];
  const WARM = ["fddbc7", "f4a582", "d6604d", "b2182b"];

  function between(stops, level) {
    const place = Math.min(Math.max(level, 0), 1) * (stops.length - 1);
    const index = Math.min(Math.floor(place), stops.length - 2);
    const share = place - index;
    return [0, 2, 4].map((at) => {
      const [from, to] = [stops[index], stops[index + 1]].map((stop) => parseInt(stop.slice(at, at + 2), 16));
      return Math.round(from + share * (to - from));
    });
  }

  /** Return red, green, blue of a level 0..1. */
  stvg.heatColor = (level) => between(INFERNO, level);
  /** Return red, green, blue of a difference -1..1: blue for less, red for more. */
  stvg.differenceColor = (level) => between(level < 0 ? COOL : WARM, Math.abs(level));
})();
