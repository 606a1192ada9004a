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

  // Gradio's messages, the names of its buttons, captions of pictures and the fixed parts of cards come in English. In Chinese
  // they are written over; when the visitor goes back to English, so are they.
  const CHINESE = CHINESE_OF_PHRASES;
  const whole = (pairs) => pairs.map(([pattern, chinese]) => [new RegExp(`^${pattern}$`), chinese]);
  const PROBLEMS = whole(CHINESE.problems), PHRASES = whole(CHINESE.phrases);
  const TRANSLATED = ".toast-text, .toast-message-text, .toast-title, .caption-label, .card :not(code)";
  const NAMES = ["aria-label", "title", "alt"];
  const written = new Map();  // Chinese that stands somewhere -> its English
  const inChinese = (words, pairs) => {
    const [, name, number = ""] = words.match(/^(.*?)([ #]*[0-9]+)?$/s);
    const known = CHINESE.classes[name.replaceAll(" ", "").toLowerCase()];
    if (known) return known + number;
    for (const [pattern, chinese] of pairs) {
      const found = words.match(pattern);
      if (found) return chinese.replace(/\{(\d+)\}/g, (all, i) => found[i]);
    }
    return null;
  };
  const inLanguage = (words, pairs) => {
    if (document.documentElement.lang !== "zh") return written.get(words) ?? words;
    const chinese = words && !written.has(words) && inChinese(words, pairs);
    if (!chinese) return words;
    written.set(chinese, words);
    return chinese;
  };
  const translateWords = () => {
    if (document.documentElement.lang !== "zh" && !written.size) return;
    for (const place of document.querySelectorAll(TRANSLATED)) {
      const pairs = place.matches("[class*=toast]") ? [...PROBLEMS, ...PHRASES] : PHRASES;
      for (const node of place.childNodes) {
        const words = node.nodeType === Node.TEXT_NODE ? node.nodeValue.trim() : "";
        const other = words && inLanguage(words.replace(/\s+/g, " "), pairs);
        if (other && other !== words.replace(/\s+/g, " ")) node.nodeValue = node.nodeValue.replace(words, () => other);
      }
    }
    for (const name of NAMES) {
      for (const place of document.querySelectorAll(`[${name}]:not([data-en])`)) {
        const words = place.getAttribute(name), other = inLanguage(words, PHRASES);
        if (other !== words) place.setAttribute(name, other);
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
  const mend = () => { asked = false; nameExamples(); nameEmpty(); nameLanguage(); translateWords(); keepFocus(); };
  new MutationObserver(() => {
    if (!asked) { asked = true; requestAnimationFrame(mend); }
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled", "src"] });
  mend();
}
