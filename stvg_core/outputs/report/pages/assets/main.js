"use strict";
// Puts the page together: of one sample, or of a comparison with a list of samples.
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const main = document.getElementById("main");
  const preferences = stvg.newPreferences();
  const current = { view: null, list: null };

  const keys = stvg.element("button", { type: "button", on: { click: () => stvg.showKeys(data.kind === "comparison") } }, "Keys");
  document.getElementById("bar-tools").append(keys, stvg.themeControl());
  stvg.listenToKeys(() => current);
  // For tests and for the curious.
  stvg.current = current;

  function showSingle() {
    document.getElementById("bar-title").textContent = "grounding";
    current.view = new stvg.SampleView(data.sample, data.rows, preferences, 1);
    const files = ["tube.json", "overlay.mp4", "contact_sheet.png"];
    main.append(
      current.view.node,
      stvg.element(
        "section",
        { class: "card" },
        stvg.element("h2", {}, "How it was made"),
        stvg.facts(Object.entries(data.facts)),
        stvg.facts(Object.entries(data.timings).map(([stage, seconds]) => [stage, `${seconds.toFixed(2)} s`])),
        stvg.folded("Settings", data.settings),
        stvg.folded("Versions", data.versions),
        stvg.element("p", {}, "Beside this page: ", ...files.flatMap((name, at) => [at ? ", " : "", stvg.element("a", { href: name }, name)])),
      ),
    );
  }

  function rowNotes(comparison) {
    const failed = comparison.rows.filter((row) => row.status === "failed");
    const notes = failed.map((row) => stvg.element(
      "div",
      { class: "card failure" },
      stvg.title(2, {}, `${row.name} did not run`),
      stvg.element("p", {}, row.error),
    ));
    return [...notes, stvg.warnings(comparison.warnings, "To be kept in mind", 2)].filter(Boolean);
  }

  function plots(names) {
    if (!names.length) return null;
    const pictures = names.map((name) => {
      const title = name.replaceAll("_", " ");
      const picture = stvg.element("img", { src: `${name}.svg`, loading: "lazy", alt: `Plot of ${title}; the table has its numbers.` });
      return stvg.element("figure", {}, picture, stvg.element("figcaption", {}, title));
    });
    return stvg.element("details", { class: "card" }, stvg.element("summary", {}, "Plots"), stvg.element("div", { class: "plots" }, ...pictures));
  }

  function settingsOf(comparison) {
    return stvg.element(
      "section",
      { class: "card" },
      stvg.element("h2", {}, "Settings and files"),
      data.files.length
        ? stvg.element("p", {}, ...data.files.flatMap((name, at) => [at ? ", " : "", stvg.element("a", { href: name }, name)]), " hold the same numbers.")
        : null,
      ...comparison.rows.map((row) => stvg.folded(row.name, { model: row.model, overrides: row.overrides, failures: row.failures, settings: row.settings })),
    );
  }

  function comparisonHead(comparison) {
    const scope = Object.entries(comparison.dataset).filter(([name, value]) => value !== null && name !== "root");
    return stvg.element(
      "div",
      { class: "page-head" },
      stvg.element("h1", {}, comparison.rows.length > 1 ? `${comparison.rows.length} rows on the same samples` : comparison.rows[0].name),
      stvg.element("p", { class: "muted" }, [...scope.map(([name, value]) => (name === "name" ? value : `${name} ${value}`)), `protocol ${comparison.protocol}`].join(", ")),
    );
  }

  function showComparison() {
    const { comparison, samples } = data;
    document.getElementById("bar-title").textContent = comparison.rows.length > 1 ? "comparison" : "run";
    const place = stvg.element("div", { class: "shown", "aria-busy": "false" });
    const heading = stvg.element("h2", { class: "hidden-text" }, "Sample");
    const rows = comparison.rows.map((row) => ({ name: row.name, failed: row.status === "failed" }));

    const pick = (number) => {
      const hash = `#sample-${number + 1}`;
      if (location.hash === hash) show(number);
      else location.hash = hash;
    };
    current.list = new stvg.SampleList(samples, data.total, pick);

    let wanted = -1;
    async function show(number) {
      wanted = number;
      current.list.mark(number);
      place.setAttribute("aria-busy", "true");
      try {
        const sample = await stvg.loadSample(number);
        if (wanted !== number) return;
        current.view?.close();
        current.view = new stvg.SampleView(sample, rows, preferences, 3);
        const tools = stvg.element(
          "div",
          { class: "sample-line" },
          stvg.element("span", { class: "muted" }, `Sample ${number + 1} of ${samples.length}: ${sample.id}, ${samples[number].video}`),
          stvg.element("span", { class: "pair" },
            stvg.element("button", { type: "button", title: "k", on: { click: () => current.list.move(-1) } }, "\u2190 Previous", stvg.hiddenText(" sample")),
            stvg.element("button", { type: "button", title: "j", on: { click: () => current.list.move(1) } }, "Next", stvg.hiddenText(" sample"), " \u2192")),
        );
        place.replaceChildren(heading, tools, current.view.node);
        current.view.changed();
        const failures = sample.rows.filter((row) => row.status === "failed").length;
        stvg.announce(`Sample ${number + 1} of ${samples.length}: ${sample.query}. ${failures ? `${failures} rows failed.` : ""}`);
      } catch (error) {
        place.replaceChildren(heading, stvg.element("p", { class: "card failure", role: "alert" }, error.message));
      } finally {
        if (wanted === number) place.setAttribute("aria-busy", "false");
      }
    }

    const fromAddress = () => {
      const number = Number(/^#sample-(\d+)$/.exec(location.hash)?.[1]) - 1;
      return number >= 0 && number < samples.length ? number : 0;
    };
    window.addEventListener("hashchange", () => show(fromAddress()));
    main.append(
      comparisonHead(comparison),
      ...rowNotes(comparison),
      new stvg.RowsTable(comparison, data.metrics).node,
      ...[plots(data.plots)].filter(Boolean),
      stvg.element("div", { class: "browse" }, current.list.node, place),
      settingsOf(comparison),
    );
    if (samples.length) show(fromAddress());
  }

  if (data.kind === "comparison") showComparison();
  else showSingle();
})();
