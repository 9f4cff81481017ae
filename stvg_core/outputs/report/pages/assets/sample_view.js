"use strict";
// One sample: query, player, time line, attention; everything a row says of it.
(() => {
  const BRANCHES = ["attribute", "action"];
  const LAYERS = [["unprompted", "before the prompt"], ["prompted", "with the prompt"], ["difference", "what the prompt changed"]];

  /** What a reader chose, kept from sample to sample. */
  stvg.newPreferences = () => ({
    hidden: new Set(),
    truth: true,
    focus: 0,
    branch: "attribute",
    layer: "prompted",
    opacity: 0.6,
    rate: 1,
    loop: false,
  });

  stvg.SampleView = class {
    /** level: of the heading that the query is; what is said of the sample has headings one below. */
    constructor(sample, rows, preferences, level) {
      Object.assign(this, { sample, rows, preferences, level });
      this.maps = sample.rows.map(() => undefined);
      this.node = stvg.element("article", { class: "sample" });
      this.parts = stvg.element(`h${level}`, { class: "query", tabindex: "-1" });
      this.node.append(this.parts);
      if (sample.video) this.buildPlayer();
      else this.node.append(stvg.element("p", { class: "card notice" }, "There is no result that tells of the video."));
      sample.rows.forEach((row, at) => {
        if (row.status === "failed") this.node.append(stvg.failure(row, rows[at].name, level + 1));
      });
      this.closer = stvg.element("div", { class: "closer" });
      this.node.append(this.closer);
      this.focusOn(this.bestFocus());
    }

    buildPlayer() {
      const { sample, preferences } = this;
      this.stage = new stvg.Stage(this);
      this.clock = new stvg.Clock(sample.video, this.stage.video);
      this.clock.setRate(preferences.rate);
      this.stage.begin();
      this.timeline = new stvg.Timeline(this);
      this.readout = stvg.element("output", { class: "readout" });
      this.clock.addEventListener("tick", () => this.tell());
      this.node.append(
        stvg.element("section", { class: "card player", "aria-label": "Player" }, this.stage.node, this.controls(), this.timeline.node),
      );
      const first = sample.rows.find((row) => row.status === "ok")?.tube;
      const { times } = this.clock;
      const frames = sample.truth || first;
      const start = frames ? times.seconds(Math.min(Math.round((frames.start + frames.end) / 2), times.count - 1)) : times.first;
      this.clock.seek(start);
    }

    controls() {
      const { clock, preferences } = this;
      const button = (text, label, action) =>
        stvg.element("button", { type: "button", "aria-label": label, title: label, on: { click: action } }, text);
      this.playButton = button("Play", "Play (space)", () => clock.toggle());
      this.playButton.classList.add("primary");
      clock.addEventListener("state", () => {
        const text = clock.playing ? "Pause" : "Play";
        this.playButton.textContent = text;
        this.playButton.setAttribute("aria-label", `${text} (space)`);
      });
      const rate = stvg.choice([0.25, 0.5, 1, 2].map((value) => [String(value), `${value}x`]), String(preferences.rate), (value) => {
        preferences.rate = Number(value);
        clock.setRate(preferences.rate);
      });
      this.loopControl = stvg.element("input", {
        type: "checkbox",
        checked: preferences.loop,
        on: { change: () => this.setLoop(this.loopControl.checked) },
      });
      this.heatControls = stvg.element("div", { class: "heat-controls" });
      return stvg.element(
        "div",
        { class: "controls" },
        stvg.element(
          "div",
          { class: "buttons" },
          this.playButton,
          button("\u2212 1", "\u2212 1 frame (left arrow)", () => clock.step(-1)),
          button("+ 1", "+ 1 frame (right arrow)", () => clock.step(1)),
          stvg.labelled("Speed", rate),
          stvg.element("label", { class: "check" }, this.loopControl, "repeat the span"),
          this.readout,
        ),
        this.heatControls,
      );
    }

    tell() {
      const { clock } = this;
      this.readout.value = `${clock.time.toFixed(2)} s, frame ${clock.frame} of ${clock.times.count}`;
    }

    setLoop(wanted) {
      const { tube } = this.sample.rows[this.preferences.focus] || {};
      this.preferences.loop = wanted;
      this.clock.loop = wanted && tube ? [tube.start_seconds, tube.end_seconds] : null;
    }

    /** Return the row to look closer at: the one that was chosen, or the first that has a tube. */
    bestFocus() {
      const wanted = this.preferences.focus;
      if (this.sample.rows[wanted]?.status === "ok") return wanted;
      return Math.max(0, this.sample.rows.findIndex((row) => row.status === "ok"));
    }

    mapsOf(row) {
      if (this.maps[row] === undefined) this.maps[row] = stvg.decodeMaps(this.sample.rows[row].maps);
      return this.maps[row];
    }

    /** Return what of the attention is drawn over the video; null where nothing is. */
    heat() {
      const { branch, layer, focus } = this.preferences;
      const maps = branch === "none" || this.sample.rows[focus].status !== "ok" ? null : this.mapsOf(focus);
      if (!maps || !maps.branches[branch]) return null;
      const known = maps.branches[branch].layers[layer] ? layer : "prompted";
      return { maps, branch: maps.branches[branch], layer: known };
    }

    /** Return style and box of everything that is drawn at a source frame; the truth is last. */
    boxesAt(frame) {
      const { sample, preferences } = this;
      const found = [];
      sample.rows.forEach((row, at) => {
        if (row.status !== "ok" || preferences.hidden.has(at)) return;
        const box = stvg.boxOfTube(row.tube, frame);
        if (box) found.push({ style: stvg.rowStyle(at), box });
      });
      const truth = sample.truth && preferences.truth ? stvg.boxOfTruth(sample.truth, frame) : null;
      if (truth) found.push({ style: stvg.TRUTH, box: truth });
      return found;
    }

    changed() {
      this.stage?.draw();
    }

    /** Show one row's query parts, attention, prompt and notes. */
    focusOn(at) {
      this.preferences.focus = at;
      const row = this.sample.rows[at];
      this.parts.replaceChildren(...(row?.status === "ok" ? stvg.queryParts(row.parts) : [this.sample.query]));
      this.tiles?.close();
      this.tiles = null;
      if (this.clock) {
        this.setLoop(this.preferences.loop);
        this.buildHeatControls();
      }
      this.closer.replaceChildren(...this.closeUp(at).filter(Boolean));
      this.changed();
    }

    buildHeatControls() {
      const { preferences } = this;
      const maps = this.sample.rows[preferences.focus]?.status === "ok" ? this.mapsOf(preferences.focus) : null;
      if (!maps) {
        this.heatControls.replaceChildren();
        return;
      }
      const branch = stvg.choice([["none", "off"], ...BRANCHES.map((name) => [name, name])], preferences.branch, (value) => {
        preferences.branch = value;
        this.changed();
      });
      branch.dataset.control = "heat";
      const controls = [stvg.labelled("Attention", branch)];
      if (Object.values(maps.branches).some((one) => one.layers.unprompted)) {
        controls.push(stvg.labelled("Layer", stvg.choice(LAYERS, preferences.layer, (value) => {
          preferences.layer = value;
          this.changed();
        })));
      }
      const opacity = stvg.element("input", {
        type: "range",
        min: 0,
        max: 100,
        step: 5,
        value: Math.round(100 * preferences.opacity),
        on: {
          input: () => {
            preferences.opacity = Number(opacity.value) / 100;
            this.changed();
          },
        },
      });
      controls.push(stvg.labelled("Opacity", opacity));
      this.heatControls.replaceChildren(...controls);
    }

    closeUp(at) {
      const row = this.sample.rows[at];
      if (row?.status !== "ok") return [];
      const head = stvg.title(this.level + 1, { class: "title close-up" }, stvg.chip(stvg.rowStyle(at)), this.rows[at].name);
      const chosen = this.rows.length > 1
        ? stvg.labelled("Look closer at", stvg.choice(
            this.sample.rows.flatMap((one, number) => (one.status === "ok" ? [[String(number), `${number + 1}  ${this.rows[number].name}`]] : [])),
            String(at),
            (value) => this.focusOn(Number(value)),
          ))
        : null;
      const facts = [["attribute", row.attribute], ["action", row.action], ["split by", row.decomposer || "-"]];
      if (row.metrics) facts.push(["overlap", `vIoU ${row.metrics.vIoU.toFixed(3)}, tIoU ${row.metrics.tIoU.toFixed(3)}`]);
      if (this.sample.segment) facts.push(["asked about", `frames ${this.sample.segment.join(" to ")}`]);
      facts.push(["candidates", `${row.scores.tracks} tracks`]);
      return [
        stvg.element("section", { class: "card" }, stvg.element("div", { class: "close-up-line" }, head, chosen), stvg.facts(facts)),
        ...this.attention(at, row),
        stvg.warnings(row.warnings, "Notes", this.level + 1),
      ];
    }

    attention(at, row) {
      const maps = this.mapsOf(at);
      if (!maps) {
        return [stvg.element("p", { class: "card muted" }, "No attention maps were kept of this result; --keep-maps keeps them.")];
      }
      const known = BRANCHES.filter((name) => maps.branches[name]);
      const tuned = known.filter((name) => maps.branches[name].layers.unprompted);
      const found = [];
      const plain = known.map((name) => [name, "prompted", `${name}: ${this.tokens(maps.branches[name])}`]);
      const seen = new stvg.Tiles(this, row, maps, plain);
      found.push(stvg.element(
        "section",
        { class: "card" },
        stvg.title(this.level + 1, {}, "What it looked at"),
        stvg.element("p", { class: "muted" }, "Attention of the grounding tokens on every sampled frame, from the median (nothing) to the 99.5th percentile (full). Frames inside the span have a box."),
        seen.node,
      ));
      const strips = [seen];
      if (tuned.length) {
        const effects = tuned.flatMap((name) => LAYERS.map(([layer, title]) => [name, layer, `${name}: ${title}`]));
        const effect = new stvg.Tiles(this, row, maps, effects);
        strips.push(effect);
        const margins = tuned.map((name) => [`${name}, yes over no`, stvg.margins(row.margins, name)]).filter(([, text]) => text);
        found.push(stvg.element(
          "section",
          { class: "card" },
          stvg.title(this.level + 1, {}, "What the learned prompt did"),
          stvg.element("p", { class: "muted" }, "Before and after are on one scale; changes are red where attention grew and blue where it shrank."),
          margins.length ? stvg.facts(margins) : null,
          effect.node,
        ));
      }
      this.tiles = { close: () => strips.forEach((strip) => strip.close()) };
      return found;
    }

    tokens(branch) {
      const shown = [...new Set(branch.tokens)].map((token) => JSON.stringify(token)).join(", ");
      return shown ? `token ${shown}` : "attention";
    }

    close() {
      this.tiles?.close();
      this.stage?.close();
      this.clock?.close();
    }
  };
})();
