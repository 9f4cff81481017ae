"use strict";
// Text about a sample: the query in its parts, failures, warnings, what the prompt did to the answers, settings.
(() => {
  /** Return a query whose attribute and action parts are marked by colour, underline and name. */
  stvg.queryParts = (parts) =>
    parts.map(([text, part]) => {
      if (!part) return text;
      return stvg.element(
        "span",
        { class: `part ${part}` },
        stvg.element("span", { class: "words" }, text),
        stvg.element("span", { class: "part-name" }, stvg.hiddenText("("), part, stvg.hiddenText(")")),
      );
    });

  /** Return rows of names and values as a list. */
  stvg.facts = (entries) =>
    stvg.element(
      "dl",
      { class: "facts" },
      ...entries.flatMap(([name, value]) => [stvg.element("dt", {}, name), stvg.element("dd", {}, value)]),
    );

  /** Return a heading of a level; how it looks does not depend on the level. */
  stvg.title = (level, options, ...children) => stvg.element(`h${level}`, { class: "title", ...options }, ...children);

  /** Return why a row has no tube. */
  stvg.failure = (row, name, level) => {
    const trace = row.traceback
      ? stvg.element("details", {}, stvg.element("summary", {}, "Traceback"), stvg.element("pre", { tabindex: "0" }, row.traceback))
      : null;
    return stvg.element(
      "div",
      { class: "card failure" },
      stvg.title(level, {}, `${name} failed: ${row.kind}`),
      stvg.element("p", {}, row.error),
      trace,
    );
  };

  /** Return notes that came with a result. */
  stvg.warnings = (texts, title, level) =>
    texts.length
      ? stvg.element("div", { class: "card notice" }, stvg.title(level, {}, title), stvg.element("ul", {}, ...texts.map((text) => stvg.element("li", {}, text))))
      : null;

  /** Return the margin of yes over no before each step of a branch's prompt and with it, as text; null where it has no prompt. */
  stvg.margins = (margins, branch) => {
    const name = { attribute: "spatial", action: "temporal" }[branch];
    const prefix = `${name}_margin_step_`;
    const steps = Object.entries(margins)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [Number(key.slice(prefix.length)), value])
      .sort((one, other) => one[0] - other[0]);
    if (!steps.length) return null;
    const before = steps.map(([, value]) => value.toFixed(2)).join(", then ");
    const after = margins[`${name}_margin_after`];
    if (after === undefined) return before;
    const share = (100 * margins[`${name}_prompt_norm_share`]).toPrecision(2);
    return `${before}; with the prompt ${after.toFixed(2)} (its norm is ${share} % of the visual tokens')`;
  };

  /** Return anything of JSON as indented text that can be folded away. */
  stvg.folded = (title, value) =>
    stvg.element(
      "details",
      {},
      stvg.element("summary", {}, title),
      stvg.element("pre", { tabindex: "0", "aria-label": title }, JSON.stringify(value, null, 2)),
    );
})();
