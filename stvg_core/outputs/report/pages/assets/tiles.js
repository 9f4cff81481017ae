"use strict";
// What the model looked at, frame by frame: a tile for every sampled frame, its picture taken from the video when the
// tiles come into sight.
(() => {
  const TILE_PIXELS = 176;
  const PATIENCE_MILLISECONDS = 4000;

  /** Return pictures of a video at times, one after another, through a player of its own that is closed afterwards. */
  async function* picturesAt(source, mediaSeconds, isWanted) {
    const video = stvg.element("video", { muted: true, preload: "auto", playsinline: true });
    video.muted = true;
    const arrived = (event) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no ${event}`)), PATIENCE_MILLISECONDS);
        const done = (call) => () => {
          clearTimeout(late);
          call();
        };
        video.addEventListener(event, done(resolve), { once: true });
        video.addEventListener("error", done(() => reject(new Error("cannot play"))), { once: true });
      });
    try {
      const loaded = arrived("loadeddata");
      video.src = source;
      await loaded;
      for (const [sample, seconds] of mediaSeconds.entries()) {
        if (!isWanted()) return;
        const sought = arrived("seeked");
        video.currentTime = seconds;
        await sought;
        yield [sample, video];
      }
    } catch {
      // The tiles stay without pictures; the player above tells why.
    } finally {
      video.removeAttribute("src");
      video.load();
    }
  }

  stvg.Tiles = class {
    /** layers: [[branch name, layer, title]], a strip each. */
    constructor(view, row, maps, layers) {
      this.view = view;
      this.row = row;
      this.maps = maps;
      this.tiles = [];
      this.closed = false;
      const { video } = view.sample;
      this.width = Math.max(maps.frames.length > 40 ? 96 : TILE_PIXELS, 64);
      this.height = Math.round((this.width * video.height) / video.width);
      this.pictures = new Map();
      this.node = stvg.element("div", { class: "strips" }, ...layers.map((layer) => this.strip(...layer)));
      this.redraw();
      if (video.source && view.clock.video) this.watch();
    }

    strip(branchName, layer, title) {
      const { maps, view, row } = this;
      const list = stvg.element("ol", { class: "tiles", "aria-label": title });
      maps.frames.forEach((frame, sample) => {
        const canvas = stvg.element("canvas", { width: this.width, height: this.height, "aria-hidden": "true" });
        const seconds = maps.seconds[sample];
        const inside = frame >= row.tube.start && frame <= row.tube.end;
        const button = stvg.element(
          "button",
          { type: "button", class: inside ? "tile inside" : "tile", on: { click: () => view.clock.seekFrame(frame) } },
          canvas,
          stvg.element("span", {}, `${seconds.toFixed(2)} s`),
          stvg.hiddenText(inside ? ", inside the span, show" : ", outside the span, show"),
        );
        this.tiles.push({ canvas, sample, branchName, layer, frame });
        list.append(stvg.element("li", {}, button));
      });
      return stvg.element("div", { class: "strip" }, stvg.title(this.view.level + 2, { class: "strip-title" }, title), list);
    }

    watch() {
      const observer = new IntersectionObserver((entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        this.fetchPictures();
      }, { rootMargin: "200px" });
      observer.observe(this.node);
      this.observer = observer;
    }

    async fetchPictures() {
      const { video } = this.view.sample;
      const { times } = this.view.clock;
      const seconds = this.maps.frames.map((frame) => {
        const known = Math.min(frame, times.count - 1);
        return (times.seconds(known) + times.endSeconds(known)) / 2 + video.offset;
      });
      for await (const [sample, player] of picturesAt(video.source, seconds, () => !this.closed)) {
        const canvas = stvg.element("canvas", { width: this.width, height: this.height });
        canvas.getContext("2d").drawImage(player, 0, 0, this.width, this.height);
        this.pictures.set(sample, canvas);
        this.redraw(sample);
      }
    }

    /** Draw the tiles of one sampled frame, or all. */
    redraw(only) {
      const style = stvg.rowStyle(this.view.preferences.focus);
      const { video } = this.view.sample;
      const [scaleX, scaleY] = [this.width / video.width, this.height / video.height];
      for (const { canvas, sample, branchName, layer, frame } of this.tiles) {
        if (only !== undefined && sample !== only) continue;
        const context = canvas.getContext("2d");
        context.globalCompositeOperation = "source-over";
        context.fillStyle = "#1b1e24";
        context.fillRect(0, 0, canvas.width, canvas.height);
        const picture = this.pictures.get(sample);
        if (picture) {
          context.globalAlpha = 0.75;
          context.drawImage(picture, 0, 0);
          context.globalAlpha = 1;
        }
        stvg.drawHeat(context, this.maps.branches[branchName], layer, sample, 0.8);
        const box = stvg.boxOfTube(this.row.tube, frame);
        if (!box) continue;
        context.strokeStyle = style.color;
        context.lineWidth = 2;
        context.strokeRect(box[0] * scaleX, box[1] * scaleY, (box[2] - box[0]) * scaleX, (box[3] - box[1]) * scaleY);
      }
    }

    close() {
      this.closed = true;
      this.observer?.disconnect();
    }
  };
})();
