// Elements, text and times. Nothing here or elsewhere in the page takes text
// for markup: what messages contain is only ever the text of a node.

/** Returns the element with an id. */
export const $ = (id) => document.getElementById(id);

/**
 * Makes an element. attrs are set as attributes (a value of null or false
 * leaves one out); children are elements or text.
 */
export function el(tag, attrs = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (value !== null && value !== false) e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

/** A time of day with milliseconds, and the whole time for machines and hovers. */
export function timeOf(date) {
  const two = (n) => String(n).padStart(2, "0");
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return el("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}

/** A duration for people: "0.8 ms", "23 ms", "1.4 s". */
export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
}

/** "1 message", "2 messages". */
export const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

/** Tells users of screen readers what just happened. */
export function announce(text) {
  $("announce").textContent = text;
}
