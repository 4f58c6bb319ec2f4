// The choice of endpoint, which is at the same time the state of each.
import { $, duration, el } from "./dom.js";

const every = 3000; // ms between two looks
const cards = new Map(); // name -> the parts of its card

/** The name of the endpoint that is chosen, or "". */
export function chosen() {
  return $("form").elements.endpoint?.value ?? "";
}

function addCard(e) {
  const card = {
    about: el("span", { class: "about", id: `about-${cards.size}` }),
    dot: el("span", { class: "dot", "data-state": "unknown" }),
    health: el("span"),
  };
  const radio = el("input", { type: "radio", name: "endpoint", value: e.name, required: true, "aria-describedby": card.about.id });
  radio.checked = cards.size === 0;
  const name = el("span", { class: "name" }, e.name);
  if (e.name !== e.kind) name.append(el("span", { class: "kind" }, e.kind));
  $("endpoints").append(el("label", { class: "endpoint" }, radio, name, el("span", { class: "health" }, card.dot, card.health), card.about));
  cards.set(e.name, card);
  return card;
}

function aboutText(e) {
  if (!e.healthy) return e.error || "not healthy";
  const id = e.identity ?? {};
  const where = [id.region, id.zone].filter(Boolean).join(" / ");
  const parts = [e.kind === "door" ? `answers as ${id.stamp}` : id.hostname, where, id.version].filter(Boolean);
  return parts.join(" · ");
}

function show(e) {
  const card = cards.get(e.name) ?? addCard(e);
  const health = e.healthy ? `healthy, ${duration(e.latencyMs)}` : "unhealthy";
  if (card.health.textContent !== health) card.health.textContent = health;
  card.dot.dataset.state = e.healthy ? "up" : "down";
  const about = aboutText(e);
  if (card.about.textContent !== about) card.about.textContent = about;
  card.about.classList.toggle("bad", !e.healthy);
}

function showLost() {
  for (const card of cards.values()) {
    card.dot.dataset.state = "unknown";
    card.health.textContent = "not known";
    card.about.textContent = "the console does not answer";
  }
}

async function look() {
  try {
    const res = await fetch("api/endpoints", { signal: AbortSignal.timeout(10000) });
    if (!res.ok) throw new Error(`status ${res.status}`);
    (await res.json()).endpoints.forEach(show);
  } catch {
    showLost();
  }
}

/** Shows the endpoints and keeps looking while the page is in sight. */
export async function watchEndpoints() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, every));
  }
}
