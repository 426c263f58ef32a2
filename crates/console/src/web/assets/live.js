// Keeps the page as it is on the server, changing only what differs. Without this file the pages
// work the same and are reloaded by hand.
"use strict";
(() => {
  const entrance = document.querySelector("form#enter");
  if (entrance) return entrance.submit();

  // The values under the pointer, or where the arrow keys have moved to, of each line of a chart.
  const point = document.createElement("div");
  point.id = "point";
  point.setAttribute("role", "status");
  const said = point.appendChild(document.createElement("div"));
  const values = (line) => {
    const found = new Map();
    for (const piece of line.getAttribute("d").split("M")) {
      const numbers = piece.split("h")[0].split(" ").map(Number);
      for (let at = 0; at + 1 < numbers.length; at += 2) found.set(numbers[at], numbers[at + 1]);
    }
    return found;
  };
  let looked = 0;
  const look = (area, step) => {
    const svg = area.querySelector("svg");
    const steps = svg.viewBox.baseVal.width;
    looked = Math.min(steps, Math.max(0, step));
    const at = new Date(Number(area.dataset.from) + looked * Number(area.dataset.step));
    const rows = [at.toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false })];
    for (const line of svg.querySelectorAll("path.line")) {
      const y = values(line).get(looked);
      if (y === undefined) continue;
      const value = (1 - y / 1000) * Number(area.dataset.top);
      rows.push(line.dataset.name + ": " + Number(value.toPrecision(3)) + "\u00a0" + area.dataset.unit);
    }
    said.replaceChildren(...rows.map((row) => Object.assign(document.createElement("p"), { textContent: row })));
    const box = area.getBoundingClientRect();
    point.style.left = box.left + scrollX + (looked / steps) * box.width + "px";
    point.style.top = box.top + scrollY + "px";
    point.style.height = box.height + "px";
    point.classList.toggle("left", looked > steps / 2);
    if (!point.isConnected) document.body.append(point);
  };
  const areaOf = (event) => event.target instanceof Element && event.target.closest(".area");
  document.addEventListener("pointermove", (event) => {
    const area = areaOf(event);
    if (!area) return point.remove();
    const box = area.getBoundingClientRect();
    look(area, Math.round(((event.clientX - box.left) / box.width) * area.querySelector("svg").viewBox.baseVal.width));
  });
  document.addEventListener("focusout", () => point.remove());
  document.addEventListener("keydown", (event) => {
    const area = areaOf(event);
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (area && by) { event.preventDefault(); look(area, point.isConnected ? looked + by : Infinity); }
    if (event.key === "Escape") point.remove();
    const search = document.querySelector("input[type=search]");
    if (event.key === "/" && search && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.nodeName)) {
      event.preventDefault();
      search.focus();
    }
  });

  // Rows that are followed; the oldest give way.
  const rows = document.querySelector(".rows");
  if (rows) rows.scrollTop = rows.scrollHeight;
  if (rows && rows.dataset.tail && window.EventSource) {
    const atEnd = () => rows.scrollTop + rows.clientHeight >= rows.scrollHeight - 4;
    const tail = new EventSource(rows.dataset.tail);
    const status = document.querySelector("#live");
    tail.onopen = () => { status.textContent = "following"; };
    tail.onerror = () => { status.textContent = "not following: the daemon does not answer"; };
    tail.addEventListener("rows", (message) => {
      const follow = atEnd();
      rows.append(...new DOMParser().parseFromString(message.data, "text/html").body.children);
      while (rows.children.length > 2000) rows.firstElementChild.remove();
      if (follow) rows.scrollTop = rows.scrollHeight;
    });
  }

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
    source = new EventSource("/live" + (location.pathname === "/" ? "" : location.pathname) + location.search);
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
