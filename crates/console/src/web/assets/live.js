// Keeps the page as it is on the server, changing only what differs. Without this file the pages
// work the same and are reloaded by hand.
"use strict";
(() => {
  const entrance = document.querySelector("form#enter");
  if (entrance) return entrance.submit();

  const main = document.querySelector("main[data-live]");
  const note = document.querySelector("#live");
  if (!main || !note || !window.EventSource) return;

  const patch = (old, next) => {
    if (old.isEqualNode(next)) return;
    if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== next.nodeName || old.id !== next.id) {
      return old.replaceWith(next);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...next.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    patchChildren(old, next);
  };

  // Children with an id are found by it wherever they went; others by their order.
  const patchChildren = (old, next) => {
    const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let place = old.firstChild;
    for (const node of [...next.childNodes]) {
      const known = node.id ? byId.get(node.id) : null;
      const current = known || (place && !place.id && !node.id && place.nodeName === node.nodeName ? place : null);
      if (!current) {
        old.insertBefore(node, place);
        continue;
      }
      if (current === place) place = place.nextSibling;
      else old.insertBefore(current, place);
      patch(current, node);
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  };

  const say = (text) => { if (note.textContent !== text) note.textContent = text; };
  const atEnd = (log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 4;

  const show = (message) => {
    const next = new DOMParser().parseFromString(message.data, "text/html").querySelector("main");
    if (!next) return;
    const log = main.querySelector(".log");
    const follow = log && atEnd(log);
    const focused = document.activeElement;
    patch(main, next);
    if (focused !== document.activeElement && main.contains(focused)) focused.focus({ preventScroll: true });
    document.title = main.dataset.title || document.title;
    if (follow) log.scrollTop = log.scrollHeight;
    say("live");
  };

  let source = null;
  const close = () => { if (source) source.close(); source = null; };
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource("/live" + (location.pathname === "/" ? "" : location.pathname));
    source.onopen = () => say("live");
    source.addEventListener("page", show);
    source.onerror = () => {
      const ended = source.readyState === EventSource.CLOSED;
      say(ended ? "not live: sign in again with `juchu console`" : "not live: the daemon does not answer");
    };
  };

  const log = main.querySelector(".log");
  if (log) log.scrollTop = log.scrollHeight;
  // A page that nobody looks at asks for nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
})();
