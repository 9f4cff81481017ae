"use strict";
// Building the page out of elements. Text is always text: nothing here reads markup.
window.stvg = {};
(() => {
  function fill(node, options, children) {
    for (const [name, value] of Object.entries(options)) {
      if (value === undefined || value === null || value === false) continue;
      if (name === "on") {
        for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
      } else if (name === "style") {
        for (const [property, setting] of Object.entries(value)) node.style.setProperty(property, setting);
      } else if (name === "checked" || name === "value" || name === "disabled" || name === "muted" || name === "open") {
        node[name] = value;
      } else {
        node.setAttribute(name, value === true ? "" : value);
      }
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined && child !== false) node.append(child);
    }
    return node;
  }

  /** Return an element with attributes, listeners (`on`), style properties and children. */
  stvg.element = (name, options = {}, ...children) => fill(document.createElement(name), options, children);

  /** Return an SVG element. */
  stvg.drawing = (name, options = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", name), options, children);

  /** Return text for screen readers alone. */
  stvg.hiddenText = (text) => stvg.element("span", { class: "hidden-text" }, text);

  let count = 0;
  /** Return an id that no other element has. */
  stvg.freshId = (stem) => `${stem}-${(count += 1)}`;

  /** Return a control beside its label. */
  stvg.labelled = (text, control) => {
    control.id = control.id || stvg.freshId("control");
    return stvg.element("span", { class: "labelled" }, stvg.element("label", { for: control.id }, text), control);
  };

  /** Return a <select>; choices are [value, text]. */
  stvg.choice = (choices, value, onChange) => {
    const node = stvg.element("select", { on: { change: () => onChange(node.value) } });
    for (const [key, text] of choices) node.append(stvg.element("option", { value: key }, text));
    node.value = value;
    return node;
  };

  /** Return a number with a fixed count of digits, or a dash where there is none. */
  stvg.fixed = (number, digits) => (typeof number === "number" ? number.toFixed(digits) : "-");

  /** Return a share of 0..1 as percent. */
  stvg.percent = (share) => (typeof share === "number" ? (100 * share).toFixed(1) : "-");

  /** Tell a screen reader. */
  stvg.announce = (text) => {
    document.getElementById("announcements").textContent = text;
  };
})();
