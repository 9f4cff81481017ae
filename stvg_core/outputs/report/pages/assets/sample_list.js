"use strict";
// The list of samples: filtered, sorted, each with a small bar per row; what is picked is shown beside it.
(() => {
  const PORTION = 200;
  const DISAGREEMENT = 0.3;

  function known(sample) {
    return sample.scores.filter((score) => score !== null);
  }

  function mean(sample) {
    const scores = known(sample);
    return scores.length ? scores.reduce((sum, score) => sum + score, 0) / scores.length : null;
  }

  function spread(sample) {
    const scores = known(sample);
    return scores.length > 1 ? Math.max(...scores) - Math.min(...scores) : null;
  }

  const STATES = {
    all: ["all", () => true],
    failed: ["with a failure", (sample) => sample.states.includes("failed")],
    fine: ["without a failure", (sample) => !sample.states.includes("failed")],
    pending: ["not all run", (sample) => sample.states.includes("pending")],
    apart: [`rows apart by ${DISAGREEMENT} or more`, (sample) => (spread(sample) ?? 0) >= DISAGREEMENT],
  };
  const ORDERS = {
    order: ["the data set's", null, false],
    worst: ["lowest mean vIoU", mean, false],
    best: ["highest mean vIoU", mean, true],
    apart: ["largest disagreement", spread, true],
  };

  function bars(sample) {
    return stvg.element(
      "span",
      { class: "bars", "aria-hidden": "true" },
      ...sample.states.map((state, row) => {
        const score = sample.scores[row];
        const style = { "--height": state === "ok" ? (score ?? 0) : 1, "--row-color": stvg.rowStyle(row).color };
        return stvg.element("span", { class: `score-bar ${state}`, style });
      }),
    );
  }

  function summary(sample) {
    const failed = sample.states.filter((state) => state === "failed").length;
    const average = mean(sample);
    const parts = [];
    if (average !== null) parts.push(`mean vIoU ${average.toFixed(2)}`);
    if (failed) parts.push(`${failed} failed`);
    return parts.join(", ");
  }

  stvg.SampleList = class {
    constructor(samples, total, onPick) {
      this.samples = samples.map((sample, number) => ({ ...sample, number }));
      this.haystacks = samples.map((sample) => `${sample.query} ${sample.id} ${sample.video}`.toLowerCase());
      this.onPick = onPick;
      this.picked = -1;
      this.portions = 1;
      this.state = { text: "", state: "all", type: "", order: "order" };
      this.list = stvg.element("ol", { class: "sample-list" });
      this.count = stvg.element("p", { class: "muted small", role: "status" });
      this.more = stvg.element("button", { type: "button", on: { click: () => this.showMore() } }, `Show ${PORTION} more`);
      const cut = total > samples.length ? `The first ${samples.length} of ${total} samples have a page (--page-samples).` : "";
      this.node = stvg.element(
        "nav",
        { class: "card samples", "aria-label": "Samples" },
        stvg.element("h2", {}, "Samples"),
        this.filters(),
        this.count,
        stvg.element("div", { class: "scroll list-scroll", tabindex: "0", role: "region", "aria-label": "List of samples" }, this.list, this.more),
        cut ? stvg.element("p", { class: "muted small" }, cut) : null,
      );
      this.draw();
    }

    filters() {
      const search = stvg.element("input", { type: "search", on: { input: () => this.set({ text: search.value }) } });
      const state = stvg.choice(Object.entries(STATES).map(([key, [text]]) => [key, text]), "all", (value) => this.set({ state: value }));
      const order = stvg.choice(Object.entries(ORDERS).map(([key, [text]]) => [key, text]), "order", (value) => this.set({ order: value }));
      const types = [...new Set(this.samples.map((sample) => sample.type))].sort();
      const controls = [stvg.labelled("Filter", search), stvg.labelled("Show", state), stvg.labelled("Order", order)];
      if (types.length > 1) {
        const type = stvg.choice([["", "all"], ...types.map((name) => [name, name || "unknown"])], "", (value) => this.set({ type: value }));
        controls.push(stvg.labelled("Type", type));
      }
      return stvg.element("div", { class: "filters" }, ...controls);
    }

    set(change) {
      Object.assign(this.state, change);
      this.portions = 1;
      this.draw();
    }

    draw() {
      const { text, state, type, order } = this.state;
      const words = text.toLowerCase().split(/\s+/).filter(Boolean);
      const [, accept] = STATES[state];
      const [, value, descending] = ORDERS[order];
      const matching = this.samples.filter(
        (sample) =>
          accept(sample) &&
          (!type || sample.type === type) &&
          words.every((word) => this.haystacks[sample.number].includes(word)),
      );
      this.shown = value ? stvg.sorted(matching, value, descending) : matching;
      this.list.replaceChildren();
      this.append(0);
      this.count.textContent = `${this.shown.length} of ${this.samples.length} samples`;
    }

    append(from) {
      const end = this.portions * PORTION;
      this.list.append(...this.shown.slice(from, end).map((sample) => this.item(sample)));
      this.more.hidden = this.shown.length <= end;
    }

    showMore() {
      const before = this.portions * PORTION;
      this.portions += 1;
      this.append(before);
    }

    item(sample) {
      const link = stvg.element(
        "a",
        { href: `#sample-${sample.number + 1}`, "data-sample": sample.number, "aria-current": sample.number === this.picked ? "true" : null },
        stvg.element("span", { class: "number" }, String(sample.number + 1)),
        stvg.element("span", { class: "item-text" }, sample.query || sample.id, stvg.element("span", { class: "bounds" }, summary(sample))),
        bars(sample),
      );
      return stvg.element("li", {}, link);
    }

    /** Mark the sample that is shown. */
    mark(number) {
      this.list.querySelector('[aria-current="true"]')?.removeAttribute("aria-current");
      this.picked = number;
      while (!this.link(number) && !this.more.hidden) this.showMore();
      const link = this.link(number);
      link?.setAttribute("aria-current", "true");
      if (!link) return;
      const box = this.list.parentElement;
      const [top, height] = [link.offsetTop - box.offsetTop, link.offsetHeight];
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + height > box.scrollTop + box.clientHeight) box.scrollTop = top + height - box.clientHeight;
    }

    link(number) {
      return this.list.querySelector(`[data-sample="${number}"]`);
    }

    /** Pick the sample so many places on in the list as it is filtered. */
    move(places) {
      if (!this.shown.length) return;
      const at = this.shown.findIndex((sample) => sample.number === this.picked);
      const next = at < 0 ? 0 : Math.min(Math.max(at + places, 0), this.shown.length - 1);
      this.onPick(this.shown[next].number);
    }
  };
})();
