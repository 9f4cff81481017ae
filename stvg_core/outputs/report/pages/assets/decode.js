"use strict";
// What a sample's script holds, as numbers: tubes, true tubes, attention maps.
(() => {
  const TENTHS = 10;

  /** Return the box (x0, y0, x1, y1 in pixels of the video) of a predicted tube at a source frame, or null. */
  stvg.boxOfTube = (tube, frame) => {
    if (frame < tube.start || frame > tube.end) return null;
    const at = 4 * (frame - tube.start);
    return tube.boxes.slice(at, at + 4).map((tenths) => tenths / TENTHS);
  };

  /** Return the box of a true tube at a source frame, linear between annotated frames, or null. */
  stvg.boxOfTruth = (truth, frame) => {
    if (frame < truth.start || frame > truth.end || !truth.frames.length) return null;
    let after = truth.frames.findIndex((annotated) => annotated >= frame);
    if (after < 0) after = truth.frames.length - 1;
    const before = truth.frames[after] === frame || after === 0 ? after : after - 1;
    const gap = truth.frames[after] - truth.frames[before];
    const share = gap > 0 ? Math.min(1, (frame - truth.frames[before]) / gap) : 0;
    return [0, 1, 2, 3].map((corner) => {
      const [from, to] = [before, after].map((key) => truth.boxes[4 * key + corner] / TENTHS);
      return from + share * (to - from);
    });
  };

  function values(maps) {
    const text = atob(maps.codes);
    const found = new Float32Array(text.length);
    for (let at = 0; at < text.length; at += 1) {
      const share = text.charCodeAt(at) / 255;
      found[at] = maps.low + (maps.high - maps.low) * share * share;
    }
    return found;
  }

  /** Return the value below which a share of the numbers lies, linear between neighbours. */
  stvg.quantile = (numbers, share) => {
    const sorted = Float32Array.from(numbers).sort();
    const place = share * (sorted.length - 1);
    const low = Math.floor(place);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
  };

  /**
   * Return attention maps by branch. What is drawn as nothing is the median, as full heat the 99.5th percentile, over
   * all frames of the branch; maps without the prompt are drawn on the scale of those with it.
   */
  stvg.decodeMaps = (record) => {
    if (!record) return null;
    const branches = {};
    for (const branch of record.branches) {
      const prompted = values(branch.prompted);
      const unprompted = branch.unprompted ? values(branch.unprompted) : null;
      const scale = [stvg.quantile(prompted, 0.5), stvg.quantile(prompted, 0.995)];
      branches[branch.name] = {
        rows: branch.rows,
        columns: branch.columns,
        tokens: branch.prompted.tokens,
        scale,
        layers: { prompted, unprompted, difference: unprompted && prompted.map((value, at) => value - unprompted[at]) },
      };
      if (unprompted) {
        branches[branch.name].reach = stvg.quantile(branches[branch.name].layers.difference.map(Math.abs), 0.995);
      }
    }
    return { frames: record.frames, seconds: record.seconds, branches };
  };
})();
