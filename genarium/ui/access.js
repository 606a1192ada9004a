() => {
  // What Gradio's components lack for people who use a keyboard or a screen reader, added on each page. Each part says what it
  // mends, and can go when Gradio has it.

  // Pictures of examples have no names: the name of the file is one.
  const nameExamples = () => {
    for (const button of document.querySelectorAll(".example-strip .gallery-item:not([aria-label]), .explore-strip .gallery-item:not([aria-label])")) {
      const source = button.querySelector("img")?.src;
      if (source) button.setAttribute("aria-label", decodeURIComponent(source).split("/").pop().replace(/\.\w+$/, "").replace(/[-_]+/g, " "));
    }
  };

  // The picture that stands for an empty place has a name, but no role to bear it.
  const nameEmpty = () => {
    for (const place of document.querySelectorAll(".empty[aria-label]:not([role])")) place.setAttribute("role", "img");
  };

  // The document says "en" in every language.
  const nameLanguage = () => {
    const chinese = document.querySelector(".in-zh");
    const language = chinese && getComputedStyle(chinese).display !== "none" ? "zh" : "en";
    if (document.documentElement.lang !== language) document.documentElement.lang = language;
  };

  // Messages of Gradio's own kind come in English. Each of these pairs is a regular expression and its Chinese.
  const PROBLEMS = PROBLEMS_IN_CHINESE;
  const translateMessages = () => {
    if (document.documentElement.lang !== "zh") return;
    for (const place of document.querySelectorAll(".toast-text, .toast-message-text")) {
      const words = place.textContent.trim();
      for (const [pattern, chinese] of PROBLEMS) {
        const found = words.match(new RegExp(`^${pattern}$`));
        if (!found) continue;
        place.textContent = chinese.replace(/\{(\d+)\}/g, (all, i) => found[i]);
        place.lang = "zh";
        break;
      }
    }
  };

  // Run cannot be pressed while it runs, and Stop cannot afterwards: the browser then drops the focus.
  let row = null;
  document.addEventListener("focusin", (event) => { row = event.target.closest(".run-row"); });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".run-row")) row = null; });
  const keepFocus = () => {
    const lost = document.activeElement === document.body || document.activeElement?.disabled;
    if (row?.isConnected && lost) row.querySelector("button:not(:disabled)")?.focus({ preventScroll: true });
  };

  // Arrow keys move between tabs.
  const STEPS = { ArrowRight: 1, ArrowLeft: -1 };
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.("[role=tab]");
    if (!tab || !(event.key in STEPS || event.key === "Home" || event.key === "End")) return;
    const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")].filter((one) => one.offsetParent && !one.disabled);
    const here = tabs.indexOf(tab), last = tabs.length - 1;
    const to = { Home: 0, End: last }[event.key] ?? (here + STEPS[event.key] + tabs.length) % tabs.length;
    event.preventDefault();
    tabs[to].focus();
    tabs[to].click();
  });

  let asked = false;
  const mend = () => { asked = false; nameExamples(); nameEmpty(); nameLanguage(); translateMessages(); keepFocus(); };
  new MutationObserver(() => {
    if (!asked) { asked = true; requestAnimationFrame(mend); }
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled", "src"] });
  mend();
}
