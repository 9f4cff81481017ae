"use strict";
// The picture: the video, attention over it, and the tubes of all rows over both.
(() => {
  const LINE_PIXELS = 3;
  const CHIP_PIXELS = 16;

  function dashed(context, dash, scale) {
    context.setLineDash(dash.map((length) => length * scale));
  }

  /** Draw a box with a dark casing, so that it shows on any ground, and its row's number at its own place along the top. */
  function drawBox(context, box, style, place, ratio, scaleX, scaleY) {
    const [left, top, right, bottom] = [box[0] * scaleX, box[1] * scaleY, box[2] * scaleX, box[3] * scaleY];
    for (const [width, color] of [[LINE_PIXELS + 2, "#000"], [LINE_PIXELS, style.color]]) {
      context.lineWidth = width * ratio;
      context.strokeStyle = color;
      dashed(context, style.dash, ratio);
      context.strokeRect(left, top, right - left, bottom - top);
    }
    context.setLineDash([]);
    context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    const width = context.measureText(style.label).width + 8 * ratio;
    const height = CHIP_PIXELS * ratio;
    const beside = left + (place * (CHIP_PIXELS + 6) - LINE_PIXELS / 2) * ratio;
    const x = Math.min(Math.max(beside, 0), context.canvas.width - width);
    const above = top - height;
    const y = above >= 0 ? above : Math.min(top, context.canvas.height - height);
    context.fillStyle = style.color;
    context.fillRect(x, y, width, height);
    context.fillStyle = style.ink;
    context.textBaseline = "middle";
    context.fillText(style.label, x + 4 * ratio, y + height / 2 + ratio);
  }

  /** Draw a sampled frame's attention over a whole canvas. */
  stvg.drawHeat = (context, branch, layer, sample, opacity) => {
    context.save();
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(stvg.heatPicture(branch, layer, sample), 0, 0, context.canvas.width, context.canvas.height);
    context.restore();
  };

  stvg.Stage = class {
    constructor(view) {
      this.view = view;
      const { video } = view.sample;
      this.video = null;
      if (video.source) {
        this.video = stvg.element("video", {
          playsinline: true,
          muted: true,
          preload: "auto",
          disablepictureinpicture: true,
          tabindex: "-1",
          "aria-label": `Video ${video.name}`,
        });
        this.video.muted = true;
        this.video.src = video.source;
      }
      this.canvas = stvg.element("canvas", { class: "overlay", role: "img", "aria-label": this.described() });
      this.notice = stvg.element("p", { class: "stage-notice" }, video.note || "");
      this.notice.hidden = !video.note;
      const frame = stvg.element("div", {
        class: "frame",
        style: { "aspect-ratio": `${video.width} / ${video.height}`, "--shape": video.width / video.height },
      }, this.video, this.canvas);
      this.node = stvg.element("div", { class: "stage" }, frame, this.notice);
      frame.addEventListener("click", () => view.clock.toggle());
    }

    described() {
      const { sample, rows } = this.view;
      const found = sample.rows.filter((row) => row.status === "ok").length;
      return `Boxes of ${found} of ${rows.length} rows over the video; the spans are in the list below.`;
    }

    /** Follow the clock, which takes the video over. */
    begin() {
      this.video?.addEventListener("error", () => {
        if (!this.video.getAttribute("src")) return;
        this.tell("This browser cannot play the video; boxes are shown without it. Make the page again with --media encode.");
        this.video.remove();
        this.view.clock.lose();
      });
      this.view.clock.addEventListener("tick", () => this.draw());
      this.observer = new ResizeObserver(() => this.draw());
      this.observer.observe(this.canvas);
    }

    tell(text) {
      this.notice.textContent = text;
      this.notice.hidden = false;
    }

    close() {
      this.observer?.disconnect();
    }

    draw() {
      const { view, canvas } = this;
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      if (!width || !height) return;
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, width, height);
      const heat = view.heat();
      if (heat) {
        const sample = stvg.nearestSample(heat.maps.seconds, view.clock.time);
        stvg.drawHeat(context, heat.branch, heat.layer, sample, view.preferences.opacity);
      }
      const frame = view.clock.frame;
      const [scaleX, scaleY] = [width / view.sample.video.width, height / view.sample.video.height];
      view.boxesAt(frame).forEach(({ style, box }, place) => drawBox(context, box, style, place, ratio, scaleX, scaleY));
    }
  };
})();
