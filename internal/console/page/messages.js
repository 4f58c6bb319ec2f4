// The messages as they arrive in the hub, newest first.
import { $, duration, el, plural, timeOf } from "./dom.js";
import { arrived } from "./answers.js";

const kept = 200; // messages on the page, and as many held while paused

const seen = new Set(); // places of the messages that were shown lately
const recent = new Map(); // id -> { m, at, row } of the messages that came lately
const held = []; // what came while paused

let paused = false;
let heldBack = 0; // how many came while paused
let total = 0;

const placeOf = (m) => `${m.topic}/${m.partition}/${m.offset}/${m.id}`;

/** One line for a value: of a classic message, what its sender said. */
function summary(m) {
  if (m.base64) return `base64 ${m.value}`;
  if (m.value.startsWith("{") && !m.cut) {
    try {
      const o = JSON.parse(m.value);
      if (typeof o.senderId === "string" && typeof o.correlationId === "string" && typeof o.value === "string") return o.value;
    } catch {
      // not JSON after all
    }
  }
  return m.value;
}

function details(m) {
  const fact = (name, content) => [el("dt", {}, name), el("dd", {}, content)];
  const size = m.cut ? `${plural(m.bytes, "byte")}, cut for display` : plural(m.bytes, "byte");
  return el("tr", { class: "full", role: "row" }, el("td", { colspan: 7, role: "cell" }, el("dl", {},
    ...fact("id", m.id || "none"),
    ...fact("topic", m.topic),
    ...fact("time", new Date(m.time).toISOString()),
    ...fact("size", m.base64 ? `${size} of base64` : size),
    ...fact("key", el("pre", {}, m.key ?? "none")),
    ...fact("value", el("pre", { tabindex: 0 }, m.value)))));
}

function row(m) {
  const cell = (name, ...content) => el("td", { class: name, role: "cell" }, ...content);
  const more = el("button", { type: "button", class: "more", "aria-expanded": "false", "aria-label": `Details of partition ${m.partition}, offset ${m.offset}` });
  const tr = el("tr", { class: "fresh", role: "row" },
    cell("v-time", timeOf(new Date(m.time))),
    cell("v-stamp", m.stamp || el("span", { class: "faint" }, "not said")),
    cell("v-place one", `${m.partition} / ${m.offset}`),
    cell("v-key one", m.key ?? el("span", { class: "faint" }, "no key")),
    cell("v-value", el("span", { class: "text" }, summary(m).slice(0, 300))),
    cell("v-id one faint", m.id ? m.id.slice(0, 8) : "none"),
    cell("v-more", more));
  more.addEventListener("click", () => {
    const open = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", String(!open));
    if (open) tr.nextElementSibling.remove();
    else tr.after(details(m));
  });
  return tr;
}

function gap(count) {
  return el("tr", { class: "gap", role: "row" },
    el("td", { colspan: 7, role: "cell" }, `${plural(count, "message")} not shown: they came faster than this page takes them`));
}

/** Marks a message as sent from this page, if it has arrived. */
export function own(id) {
  const entry = recent.get(id);
  if (!entry || entry.own) return;
  const after = arrived(entry.m, entry.at);
  if (after === null) return;
  entry.own = `sent from here, in the hub ${duration(after)} later`;
  mark(entry);
}

function mark(entry) {
  if (!entry.row || !entry.own) return;
  entry.row.classList.add("own");
  entry.row.querySelector(".v-value").append(el("span", { class: "after" }, entry.own));
}

function tally() {
  $("tally").textContent = total > kept ? `newest first, the last ${kept} of ${total.toLocaleString("en")}` : "newest first";
  $("pause").textContent = paused ? `Resume${heldBack ? ` (${heldBack.toLocaleString("en")} new)` : ""}` : "Pause";
  $("no-messages").hidden = $("messages").childElementCount > 0;
}

/** Draws items (messages or gaps), oldest first. */
function draw(items) {
  const rows = document.createDocumentFragment();
  for (const item of items) {
    const tr = item.m ? row(item.m) : gap(item.count);
    if (item.m) {
      item.row = tr;
      mark(item);
    }
    rows.prepend(tr);
  }
  const body = $("messages");
  body.prepend(rows);
  let n = body.querySelectorAll("tr:not(.full)").length;
  while (n > kept) {
    if (!body.lastElementChild.classList.contains("full")) n--;
    body.lastElementChild.remove();
  }
}

function take(items) {
  if (paused) {
    heldBack += items.reduce((n, item) => n + (item.count ?? 1), 0);
    held.push(...items);
    if (held.length > kept) held.splice(0, held.length - kept);
  } else {
    draw(items);
  }
  tally();
}

function forget(set, most) {
  for (const first of set.keys()) {
    if (set.size <= most) return;
    set.delete(first);
  }
}

/** Takes messages from the hub, oldest first. */
export function addMessages(list) {
  const at = performance.now();
  const items = [];
  for (const m of list) {
    const place = placeOf(m);
    if (seen.has(place)) continue;
    seen.add(place);
    const item = { m, at, row: null, own: "" };
    items.push(item);
    if (m.id) {
      recent.set(m.id, item);
      own(m.id);
    }
  }
  forget(seen, 10 * kept);
  forget(recent, 2 * kept);
  total += items.length;
  take(items);
}

/** Says that messages went by unseen. */
export function addGap(count) {
  total += count;
  take([{ count }]);
}

/** Makes the buttons work. */
export function watchButtons() {
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    if (!paused) {
      draw(held.splice(0));
      heldBack = 0;
    }
    tally();
  });
  $("clear-messages").addEventListener("click", () => {
    $("messages").replaceChildren();
    total = 0;
    tally();
  });
}
