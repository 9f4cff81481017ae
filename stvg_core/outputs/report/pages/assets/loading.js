"use strict";
// A sample's data comes when it is opened: as a script, because a page on the disk may fetch nothing else.
(() => {
  const REMEMBERED = 6;
  const nonce = document.currentScript.nonce;
  const waiting = new Map();
  const known = new Map();

  function allowed(address) {
    if (/^pages\/\d{6,}\.js$/.test(address)) return address;
    throw new TypeError(`expected the script of a sample, got ${address}`);
  }

  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("stvg", { createScriptURL: allowed })
    : { createScriptURL: allowed };

  /** Called by a sample's script. */
  stvg.receive = (number, text) => {
    waiting.get(number)?.(JSON.parse(text));
  };

  /** Return a promise of a sample's data. */
  stvg.loadSample = (number) => {
    if (known.has(number)) return known.get(number);
    const address = `pages/${String(number).padStart(6, "0")}.js`;
    const promise = new Promise((resolve, reject) => {
      const script = stvg.element("script", { nonce });
      waiting.set(number, resolve);
      const done = () => {
        waiting.delete(number);
        script.remove();
      };
      script.addEventListener("load", done);
      script.addEventListener("error", () => {
        done();
        known.delete(number);
        reject(new Error(`cannot load ${address}; is the folder complete?`));
      });
      script.src = policy.createScriptURL(address);
      document.head.append(script);
    });
    known.set(number, promise);
    if (known.size > REMEMBERED) known.delete(known.keys().next().value);
    return promise;
  };
})();
