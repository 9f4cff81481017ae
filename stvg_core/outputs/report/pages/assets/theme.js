"use strict";
// Light, dark, or whatever the system says.
(() => {
  const KEY = "stvg-theme";

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      // A browser may keep nothing for pages on the disk.
      return null;
    }
  }

  function apply(theme) {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // The choice lasts as long as the page.
    }
  }

  stvg.themeControl = () => {
    const known = ["system", "light", "dark"];
    const theme = known.includes(stored()) ? stored() : "system";
    document.documentElement.dataset.theme = theme;
    const control = stvg.choice([["system", "as the system"], ["light", "light"], ["dark", "dark"]], theme, apply);
    return stvg.labelled("Colours", control);
  };
})();
