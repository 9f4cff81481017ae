"use strict";
// Attention maps as pictures of one pixel a cell; whoever draws them stretches them over the frame.
(() => {
  const remembered = new WeakMap();

  /** Return the level of a cell: 0..1, or -1..1 in the layer of differences. */
  stvg.levelOf = (branch, layer, value) => {
    if (layer === "difference") return Math.min(1, Math.max(-1, value / Math.max(branch.reach, 1e-12)));
    const [low, high] = branch.scale;
    return Math.min(1, Math.max(0, (value - low) / Math.max(high - low, 1e-12)));
  };

  /**
   * Return a canvas of columns x rows pixels with one sampled frame's attention; colour and opacity grow with it.
   * layer: "prompted", "unprompted" or "difference".
   */
  stvg.heatPicture = (branch, layer, sample) => {
    const key = `${layer} ${sample}`;
    if (!remembered.has(branch)) remembered.set(branch, new Map());
    const known = remembered.get(branch);
    if (known.has(key)) return known.get(key);
    const { rows, columns } = branch;
    const canvas = stvg.element("canvas", { width: columns, height: rows });
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    for (let cell = 0; cell < rows * columns; cell += 1) {
      const level = stvg.levelOf(branch, layer, branch.layers[layer][sample * rows * columns + cell]);
      const color = layer === "difference" ? stvg.differenceColor(level) : stvg.heatColor(level);
      image.data.set([...color, Math.round(255 * Math.abs(level))], 4 * cell);
    }
    context.putImageData(image, 0, 0);
    known.set(key, canvas);
    return canvas;
  };

  /** Return the sampled frame that is nearest to a time. */
  stvg.nearestSample = (seconds, time) => {
    let best = 0;
    for (let sample = 1; sample < seconds.length; sample += 1) {
      if (Math.abs(seconds[sample] - time) < Math.abs(seconds[best] - time)) best = sample;
    }
    return best;
  };
})();
