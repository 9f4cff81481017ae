"use strict";
// The table of rows: quality with intervals, differences from the first, costs; sorted by any column, filtered by text.
(() => {
  const MEBIBYTE = 2 ** 20;

  function interval(estimate) {
    if (!estimate) return "-";
    return stvg.element(
      "span",
      { class: "estimate" },
      stvg.element("span", { class: "mean" }, stvg.percent(estimate.mean)),
      stvg.element("span", { class: "bounds" }, `${stvg.percent(estimate.low)} to ${stvg.percent(estimate.high)}`),
      stvg.element("span", {
        class: "whisker",
        "aria-hidden": "true",
        style: { "--low": estimate.low, "--mean": estimate.mean, "--high": estimate.high },
      }),
    );
  }

  function signed(share) {
    return `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`.replace("-", "\u2212");
  }

  function difference(estimate) {
    if (!estimate) return "-";
    const clear = estimate.low > 0 || estimate.high < 0;
    return stvg.element(
      "span",
      { class: `estimate ${clear ? (estimate.mean > 0 ? "better" : "worse") : ""}` },
      stvg.element("span", { class: "mean" }, signed(estimate.mean), clear ? stvg.element("abbr", { title: "the interval holds no 0" }, " *") : null),
      stvg.element("span", { class: "bounds" }, `${signed(estimate.low)} to ${signed(estimate.high)}`),
    );
  }

  /** Return the columns of the table; what no row has a value for is left out. */
  function columnsOf(rows, metrics, state) {
    const all = everyColumn(metrics, state);
    return all.filter((column) => column.key === "order" || rows.some((row) => (column.value(row) ?? null) !== null));
  }

  function everyColumn(metrics, state) {
    const samples = (row) => (row.samples ? row.samples.ok + row.samples.failed : null);
    return [
      { key: "order", title: "row", value: (row) => row.place, cell: (row) => nameOf(row) },
      ...metrics.map((metric) => ({
        key: metric,
        title: metric,
        value: (row) => row.score?.[metric].mean ?? null,
        cell: (row) => interval(row.score?.[metric]),
      })),
      {
        key: "difference",
        title: `${state.metric} against row 1`,
        value: (row) => row.difference?.[state.metric].mean ?? null,
        cell: (row) => difference(row.difference?.[state.metric]),
      },
      { key: "samples", title: "samples", value: samples, cell: (row) => String(samples(row) ?? "-") },
      { key: "failed", title: "failed", value: (row) => row.samples?.failed ?? null, cell: (row) => String(row.samples?.failed ?? "-") },
      {
        key: "seconds",
        title: "s a sample",
        value: (row) => row.cost.seconds_per_sample,
        cell: (row) => stvg.fixed(row.cost.seconds_per_sample, 2),
      },
      {
        key: "host",
        title: "host MiB",
        value: (row) => row.cost.peak_host_bytes,
        cell: (row) => (row.cost.peak_host_bytes ? stvg.fixed(row.cost.peak_host_bytes / MEBIBYTE, 0) : "-"),
      },
      {
        key: "device",
        title: "device MiB",
        value: (row) => row.cost.peak_device_bytes,
        cell: (row) => (row.cost.peak_device_bytes ? stvg.fixed(row.cost.peak_device_bytes / MEBIBYTE, 0) : "-"),
      },
    ];
  }

  function nameOf(row) {
    const detail = row.status === "ok" ? [row.preset, row.settings.tracker].filter(Boolean).join(", ") : "did not run";
    return stvg.element(
      "span",
      { class: "row-name" },
      stvg.chip(stvg.rowStyle(row.place)),
      stvg.element("span", {}, row.name, stvg.element("span", { class: "bounds" }, detail)),
    );
  }

  /** Return rows in the order of a column; rows without a value are last, whichever way it goes. */
  stvg.sorted = (rows, value, descending) =>
    [...rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? b - a : a - b;
    });

  stvg.RowsTable = class {
    constructor(comparison, metrics) {
      this.rows = comparison.rows.map((row, place) => ({ ...row, place }));
      this.metrics = metrics;
      this.state = { key: "order", descending: false, text: "", metric: metrics.includes("m_vIoU") ? "m_vIoU" : metrics[0] };
      this.table = stvg.element("table", { class: "rows" });
      this.count = stvg.element("span", { class: "muted" });
      const search = stvg.element("input", { type: "search", on: { input: () => this.set({ text: search.value }) } });
      const metric = stvg.choice(metrics.map((name) => [name, name]), this.state.metric, (value) => this.set({ metric: value }));
      this.node = stvg.element(
        "section",
        { class: "card", "aria-label": "Rows" },
        stvg.element(
          "div",
          { class: "section-line" },
          stvg.element("h2", {}, "Rows"),
          stvg.labelled("Filter", search),
          this.rows.some((row) => row.difference) ? stvg.labelled("Difference in", metric) : null,
          this.count,
        ),
        stvg.element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of rows" }, this.table),
        stvg.element("p", { class: "muted small" }, this.legend(comparison)),
      );
      this.draw();
    }

    legend(comparison) {
      const { resamples, confidence } = comparison.bootstrap;
      return (
        `Percent, by the rules of ${comparison.protocol}. Small: the ${100 * confidence} % interval of ${resamples} bootstrap ` +
        "resamples; a difference is drawn sample by sample, and * says that its interval holds no 0. A sample that failed counts as 0."
      );
    }

    set(change) {
      Object.assign(this.state, change);
      this.draw();
    }

    sortBy(key) {
      const same = this.state.key === key;
      this.set({ key, descending: same ? !this.state.descending : key !== "order" });
    }

    draw() {
      const columns = columnsOf(this.rows, this.metrics, this.state);
      const words = this.state.text.toLowerCase().split(/\s+/).filter(Boolean);
      const matching = this.rows.filter((row) => {
        const all = [row.name, row.model, row.preset, row.settings.tracker, row.error].join(" ").toLowerCase();
        return words.every((word) => all.includes(word));
      });
      const column = columns.find((one) => one.key === this.state.key) || columns[0];
      const rows = stvg.sorted(matching, column.value, this.state.descending);
      const focused = document.activeElement?.dataset?.sort;
      const heads = columns.map((one) => {
        const active = one.key === this.state.key;
        const direction = this.state.descending ? "descending" : "ascending";
        const button = stvg.element(
          "button",
          { type: "button", class: "sort", "data-sort": one.key, on: { click: () => this.sortBy(one.key) } },
          one.title,
          stvg.element("span", { class: "arrow", "aria-hidden": "true" }, active ? (this.state.descending ? "\u25be" : "\u25b4") : "\u2195"),
        );
        return stvg.element("th", { scope: "col", "aria-sort": active ? direction : null }, button);
      });
      const body = rows.map((row) =>
        stvg.element(
          "tr",
          { "data-row": row.place },
          ...columns.map((one, at) => stvg.element(at ? "td" : "th", at ? {} : { scope: "row" }, one.cell(row))),
        ),
      );
      this.table.replaceChildren(
        stvg.element("caption", { class: "hidden-text" }, "Rows of the comparison with quality, differences and costs"),
        stvg.element("thead", {}, stvg.element("tr", {}, ...heads)),
        stvg.element("tbody", {}, ...body),
      );
      if (focused) this.table.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
      this.count.textContent = `${rows.length} of ${this.rows.length} rows`;
    }
  };
})();
