// Streamlit's own words in Russian: it has no translations (streamlit/streamlit#1353). The dictionary is ru.json.
// With ?lang=en nothing is touched; when the language changes the page is loaded anew.
(() => {
  "use strict";
  const english = () => new URLSearchParams(location.search).get("lang") === "en";
  const isEnglish = english();
  document.documentElement.lang = isEnglish ? "en" : "ru";

  // The address changes without an event; a small check on every change of the page is enough.
  const watchLanguage = () => english() !== isEnglish && location.reload();
  if (isEnglish) {
    new MutationObserver(watchLanguage).observe(document, { subtree: true, childList: true });
    return;
  }

  const ATTRIBUTES = ["placeholder", "aria-label", "title", "alt", "data-tooltip"];
  const SKIPPED = new Set(["TEXTAREA", "CODE", "PRE", "SCRIPT", "STYLE"]);
  let words = {};

  const translated = (text) => {
    const bare = text.trim();
    if (words[bare]) return text.replace(bare, words[bare]);
    const [head, ...rest] = bare.split(": "); // "Search: <name of the table>"
    return rest.length && words[head] ? text.replace(head, words[head]) : null;
  };
  const patterns = [
    [/^Selected (.*)$/, "Выбрано: $1"],
    [/^(\d+) results? available\.$/, "Найдено: $1"],
    [/^Show password text$/, "Показать"],
  ];
  const said = (text) => {
    const found = translated(text);
    if (found !== null) return found;
    for (const [pattern, russian] of patterns) if (pattern.test(text)) return text.replace(pattern, russian);
    return null;
  };

  const visitText = (node) => {
    const found = node.nodeValue.trim() && said(node.nodeValue);
    if (found) node.nodeValue = found;
  };
  const visitElement = (element) => {
    for (const name of ATTRIBUTES) {
      const value = element.getAttribute(name);
      const found = value && said(value);
      if (found) element.setAttribute(name, found);
    }
  };
  const visit = (root) => {
    if (root.nodeType === Node.TEXT_NODE) {
      if (root.parentElement && !SKIPPED.has(root.parentElement.tagName)) visitText(root);
      return;
    }
    if (root.nodeType !== Node.ELEMENT_NODE || SKIPPED.has(root.tagName)) return;
    visitElement(root);
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
      node.nodeType === Node.ELEMENT_NODE && SKIPPED.has(node.tagName) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
    );
    while (walker.nextNode()) {
      const node = walker.currentNode;
      node.nodeType === Node.TEXT_NODE ? visitText(node) : visitElement(node);
    }
  };

  const watch = () => {
    visit(document.documentElement);
    new MutationObserver((changes) => {
      watchLanguage();
      for (const change of changes) {
        if (change.type === "childList") change.addedNodes.forEach(visit);
        else visit(change.target);
      }
    }).observe(document, {
      subtree: true,
      childList: true,
      characterData: true,
      attributes: true,
      attributeFilter: ATTRIBUTES,
    });
  };
  const base = document.currentScript.src.replace(/ru\.js.*$/, "");
  fetch(base + "ru.json")
    .then((answer) => answer.json())
    .then((dictionary) => {
      words = dictionary;
      watch();
    });
})();
