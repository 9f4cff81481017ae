"use strict";
// The time line: a lane per row with its span, its frame scores and its place in the legend; the playhead over all.
(() => {
  function share(times, seconds) {
    return (seconds - times.first) / Math.max(times.end - times.first, 1e-9);
  }

  function percent(part) {
    return `${100 * Math.min(1, Math.max(0, part))}%`;
  }

  function band(times, start, end, name, style) {
    const node = stvg.element("span", {
      class: name,
      style: { left: percent(share(times, start)), width: percent(share(times, end) - share(times, start)) },
    });
    if (style) node.style.setProperty("--row-color", style.color);
    return node;
  }

  /** Return the frame scores as a curve over the lane: lowest score at the bottom, highest at the top. */
  function curve(times, frames, values) {
    if (values.length < 2) return null;
    const low = Math.min(...values);
    const reach = Math.max(...values) - low || 1;
    const points = frames.map((frame, at) => {
      const middle = (times.seconds(Math.min(frame, times.count - 1)) + times.endSeconds(Math.min(frame, times.count - 1))) / 2;
      return `${(1000 * share(times, middle)).toFixed(1)},${(96 - (92 * (values[at] - low)) / reach).toFixed(1)}`;
    });
    const dots = points.map((point) => {
      const [x, y] = point.split(",");
      return stvg.drawing("line", { x1: x, x2: x, y1: y, y2: y, class: "dot" });
    });
    return stvg.drawing(
      "svg",
      { class: "curve", viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" },
      stvg.drawing("polyline", { points: points.join(" ") }),
      ...dots,
    );
  }

  stvg.Timeline = class {
    constructor(view) {
      this.view = view;
      const { clock, sample } = view;
      this.seek = stvg.element("input", {
        type: "range",
        class: "seek",
        min: 0,
        max: clock.times.count - 1,
        step: 1,
        value: 0,
        "aria-label": "Frame of the video",
        on: { input: () => clock.seekFrame(Number(this.seek.value)) },
      });
      this.heads = [];
      const lanes = [];
      if (sample.truth) lanes.push(this.truthLane(sample.truth));
      sample.rows.forEach((row, at) => lanes.push(this.rowLane(row, at)));
      this.node = stvg.element(
        "div",
        { class: "timeline", role: "group", "aria-label": "Rows and their time" },
        stvg.element("div", { class: "lane-line" }, stvg.element("span", { class: "lane-name muted" }, "time"), this.seek),
        ...lanes,
      );
      clock.addEventListener("tick", () => this.draw());
      this.draw();
    }

    draw() {
      const { clock } = this.view;
      const frame = clock.frame;
      this.seek.value = frame;
      this.seek.setAttribute("aria-valuetext", `${clock.time.toFixed(2)} seconds, frame ${frame}`);
      for (const head of this.heads) head.style.left = percent(share(clock.times, clock.time));
    }

    lane(...content) {
      const head = stvg.element("span", { class: "playhead" });
      this.heads.push(head);
      const lane = stvg.element("div", { class: "lane" }, ...this.outside(), ...content, head);
      const seek = (event) => {
        const bounds = lane.getBoundingClientRect();
        const { times } = this.view.clock;
        const part = (event.clientX - bounds.left) / Math.max(1, bounds.width);
        this.view.clock.seek(times.first + part * (times.end - times.first));
      };
      lane.addEventListener("pointerdown", (event) => {
        lane.setPointerCapture(event.pointerId);
        seek(event);
      });
      lane.addEventListener("pointermove", (event) => {
        if (lane.hasPointerCapture(event.pointerId)) seek(event);
      });
      return lane;
    }

    /** Return what covers the time that the query is not about. */
    outside() {
      const { segment } = this.view.sample;
      if (!segment) return [];
      const { times } = this.view.clock;
      const [first, last] = segment.map((frame) => Math.min(frame, times.count - 1));
      return [
        band(times, times.first, times.seconds(first), "outside"),
        band(times, times.endSeconds(last), times.end, "outside"),
      ];
    }

    named(style, name, detail, shown, onToggle) {
      const control = stvg.element("input", { type: "checkbox", checked: shown, on: { change: () => onToggle(control.checked) } });
      return stvg.element(
        "label",
        { class: "lane-name" },
        control,
        stvg.chip(style),
        stvg.element("span", { class: "lane-title", title: name }, name),
        stvg.element("span", { class: "lane-detail" }, detail),
      );
    }

    truthLane(truth) {
      const { clock, preferences } = this.view;
      const { times } = clock;
      const [start, end] = [times.seconds(Math.min(truth.start, times.count - 1)), times.endSeconds(Math.min(truth.end, times.count - 1))];
      const name = this.named(stvg.TRUTH, "ground truth", `${start.toFixed(2)} to ${end.toFixed(2)} s`, preferences.truth, (shown) => {
        preferences.truth = shown;
        this.view.changed();
      });
      return stvg.element("div", { class: "lane-line" }, name, this.lane(band(times, start, end, "span truth", stvg.TRUTH)));
    }

    rowLane(row, at) {
      const { view } = this;
      const { preferences, clock } = view;
      const style = stvg.rowStyle(at);
      let detail = { failed: "failed", pending: view.rows[at].failed ? "did not run" : "not run yet" }[row.status] || "";
      const content = [];
      if (row.status === "ok") {
        const { tube, scores, metrics } = row;
        const overlap = metrics ? `, vIoU ${metrics.vIoU.toFixed(2)}` : "";
        detail = `${tube.start_seconds.toFixed(2)} to ${tube.end_seconds.toFixed(2)} s${overlap}`;
        content.push(band(clock.times, tube.start_seconds, tube.end_seconds, "span", style), curve(clock.times, scores.frames, scores.values));
      }
      const name = this.named(style, view.rows[at].name, detail, !preferences.hidden.has(at), (shown) => {
        if (shown) preferences.hidden.delete(at);
        else preferences.hidden.add(at);
        line.classList.toggle("off", !shown);
        view.changed();
      });
      const line = stvg.element("div", { class: "lane-line", "data-row": at }, name, this.lane(...content));
      line.classList.toggle("off", preferences.hidden.has(at));
      return line;
    }
  };
})();
