// What the page of Streamlit does not do by itself; loaded before its scripts.
(() => {
  "use strict";
  // Where the server is. Otherwise /calls is asked for one below /calls first, and the console fills with errors.
  window.__streamlit = { BACKEND_BASE_URL: new URL("/", location.href).href };

  // Streamlit opens a page in two steps: its path without a query, then what the filters say. For a person it is one
  // step of the history, and in between the language must not look changed.
  const push = history.pushState.bind(history);
  let isHalfway = false;
  history.pushState = (state, title, url) => {
    const next = new URL(url, location.href);
    const isOtherPage = next.pathname !== location.pathname;
    const language = new URLSearchParams(location.search).get("lang");
    if (isOtherPage && language) next.searchParams.set("lang", language);
    if (isHalfway && !isOtherPage) history.replaceState(state, title, next);
    else push(state, title, next);
    isHalfway = isOtherPage;
  };
  for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, () => (isHalfway = false), true);

  // A tile opens its list below the tiles; on a phone that is below the screen.
  addEventListener("click", (event) => {
    if (!event.target.closest('[class*="_tiles_"][class*="_open"] button')) return;
    const list = document.querySelector(".st-key-opened");
    if (!list || list.getBoundingClientRect().top < innerHeight * 0.6) return;
    list.style.scrollMarginTop = "4rem"; // the bar with the menu
    list.scrollIntoView();
  });
})();
