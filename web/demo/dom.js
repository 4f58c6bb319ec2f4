// Elements and text. What messages contain is only ever the text of a node,
// never markup.

/** Returns the element with an id. */
export const $ = (id) => document.getElementById(id);

/** Makes an element with attributes and children, which are elements or text. */
export function el(tag, attrs = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

/** Sets an element's text where it differs, so that nothing is drawn in vain. */
export function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/** A duration for people: "23 ms", "1.4 s", "12 s". */
export function duration(ms) {
  if (Math.abs(ms) < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
}

/** "1 vehicle", "2 vehicles". */
export const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

/** A time of day. */
export function clock(date) {
  return el("time", { datetime: date.toISOString() }, date.toTimeString().slice(0, 8));
}
