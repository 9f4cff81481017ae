"use strict";
// Keys: space plays, arrows step, j and k go from sample to sample, digits show and hide rows.
(() => {
  const KEYS = [
    ["space", "play or pause"],
    ["left, right", "one frame back or on"],
    ["shift and left, right", "one second back or on"],
    ["home, end", "first or last frame of the span"],
    ["1 to 9", "show or hide a row"],
    ["0", "show or hide the ground truth"],
    ["h", "attention: attribute, action, off"],
    ["?", "this list"],
  ];
  const LIST_KEYS = [["j, k", "next or previous sample"], ["/", "filter the samples"]];

  /** Return whether keys belong to what has the focus. */
  function isBusy(event) {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return true;
    if (document.querySelector("dialog[open]")) return true;
    if (!(target instanceof Element)) return false;
    if (target.matches("input[type=search], textarea, select")) return true;
    if (event.key === " ") return target.matches("button, a, summary, input, [role=region]");
    if (/^Arrow|^Home|^End/.test(event.key)) return target.matches("input[type=range], [role=region], pre");
    return false;
  }

  function toggleBox(view, selector) {
    const control = view.timeline?.node.querySelector(selector);
    control?.click();
  }

  function handle(event, view, list) {
    const clock = view?.clock;
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (list && event.key === "j") list.move(1);
    else if (list && event.key === "k") list.move(-1);
    else if (list && event.key === "/") list.node.querySelector("input[type=search]").focus();
    else if (event.key === "?") stvg.showKeys(Boolean(list));
    else if (!clock) return false;
    else if (event.key === " ") clock.toggle();
    else if (event.key in steps && event.shiftKey) clock.seek(clock.time + steps[event.key]);
    else if (event.key in steps) clock.step(steps[event.key]);
    else if (event.key === "Home" || event.key === "End") {
      const tube = view.sample.rows[view.preferences.focus]?.tube;
      if (!tube) return false;
      clock.seekFrame(event.key === "Home" ? tube.start : tube.end);
    } else if (event.key === "0") toggleBox(view, ".lane-line:not([data-row]) input[type=checkbox]");
    else if (/^[1-9]$/.test(event.key)) toggleBox(view, `[data-row="${Number(event.key) - 1}"] input[type=checkbox]`);
    else if (event.key === "h") {
      const order = ["attribute", "action", "none"];
      view.preferences.branch = order[(order.indexOf(view.preferences.branch) + 1) % order.length];
      view.buildHeatControls();
      view.changed();
      stvg.announce(`attention: ${view.preferences.branch === "none" ? "off" : view.preferences.branch}`);
    } else return false;
    return true;
  }

  stvg.listenToKeys = (current) => {
    document.addEventListener("keydown", (event) => {
      if (isBusy(event)) return;
      const { view, list } = current();
      if (handle(event, view, list)) event.preventDefault();
    });
  };

  let dialog = null;
  stvg.showKeys = (withList) => {
    if (!dialog) {
      const close = stvg.element("button", { type: "button", on: { click: () => dialog.close() } }, "Close");
      const title = stvg.element("h2", { id: "keys-title" }, "Keys");
      dialog = stvg.element(
        "dialog",
        { "aria-labelledby": "keys-title" },
        title,
        stvg.facts([...KEYS, ...(withList ? LIST_KEYS : [])].map(([key, text]) => [stvg.element("kbd", {}, key), text])),
        close,
      );
      document.body.append(dialog);
    }
    dialog.showModal();
  };
})();
