// Sending, and the answers, newest first.
import { $, announce, duration, el, timeOf } from "./dom.js";
import { chosen } from "./endpoints.js";

const kept = 50; // answers on the page
const waiting = new Map(); // id -> the answer whose message has not been seen yet

let stop = null; // ends the series that is being sent

async function post(endpoint, senderId, value) {
  const began = performance.now();
  try {
    const res = await fetch("api/send", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ endpoint, senderId, value }),
    });
    const body = await res.json();
    if (res.ok) return { began, ...body };
    return { began, status: res.status, headers: {}, body: JSON.stringify(body), latencyMs: performance.now() - began };
  } catch (err) {
    return { began, status: 0, headers: {}, body: "", latencyMs: performance.now() - began, error: { title: "The console did not answer", detail: String(err.message ?? err) } };
  }
}

/** What an answer says: an id and a receipt, or a title and a detail. */
function read(answer) {
  if (answer.error) return answer.error;
  let body = null;
  try {
    body = JSON.parse(answer.body);
  } catch {
    // not JSON: shown as it is
  }
  if (answer.status >= 200 && answer.status < 300 && typeof body?.correlationId === "string") {
    return { id: body.correlationId, receipt: answer.headers["Postroad-Receipt"] ?? "" };
  }
  if (body && typeof body === "object") {
    return { title: String(body.title ?? `Status ${answer.status}`), detail: String(body.detail ?? "") };
  }
  return { title: `Status ${answer.status}`, detail: answer.body.slice(0, 500) };
}

function heading(said, endpoint, by) {
  const what = el("span", { class: "what" });
  if (!said.id) {
    what.append(el("b", {}, said.title), ` · ${endpoint}`);
  } else if (by && by !== endpoint) {
    what.append("accepted by ", el("b", {}, by), ` through ${endpoint}`);
  } else {
    what.append("accepted by ", el("b", {}, endpoint));
  }
  return what;
}

/** Shows that a message is on its way; answered fills in what came of it. */
function begin(endpoint) {
  const item = el("li", { class: "answer" },
    el("span", { class: "status waiting" }, "···"),
    el("span", { class: "what" }, `waiting for ${endpoint}`),
    el("span", { class: "when" }, timeOf(new Date())));
  $("answers").prepend(item);
  while ($("answers").children.length > kept) $("answers").lastElementChild.remove();
  $("no-answers").hidden = true;
  return item;
}

function answered(item, endpoint, answer) {
  const said = read(answer);
  item.classList.add("fresh");
  item.classList.toggle("failed", !said.id);
  item.replaceChildren(
    el("span", { class: "status" }, answer.status ? String(answer.status) : "none"),
    heading(said, endpoint, answer.headers["Postroad-Origin"]),
    el("span", { class: "when" }, `${duration(answer.latencyMs)} · `, timeOf(new Date())));
  if (said.id) {
    const arrival = el("p", { class: "arrival" }, "not seen in the hub yet");
    const facts = el("dl", {}, el("dt", {}, "correlation id"), el("dd", {}, said.id));
    if (said.receipt) facts.append(el("dt", {}, "receipt"), el("dd", {}, said.receipt));
    item.append(facts, arrival);
    waiting.set(said.id, { arrival, began: answer.began });
    if (waiting.size > 2 * kept) waiting.delete(waiting.keys().next().value);
  } else {
    if (said.detail) item.append(el("p", { class: "detail" }, said.detail));
    const retry = answer.headers["Retry-After"];
    if (retry) item.append(el("p", { class: "arrival" }, `may be tried again after ${retry} s`));
  }
  announce(said.id ? `${answer.status}, accepted after ${duration(answer.latencyMs)}` : `${said.title}. ${said.detail ?? ""}`);
  return said.id;
}

async function sendOne(value, sent) {
  const endpoint = chosen();
  const item = begin(endpoint);
  const id = answered(item, endpoint, await post(endpoint, $("sender").value, value));
  if (id) sent(id);
}

/**
 * Tells the answers that a message was seen in the hub, at a time of
 * performance.now(). Returns the time since it was sent from here in ms, or
 * null where it was not.
 */
export function arrived(m, at) {
  const answer = waiting.get(m.id);
  if (!answer) return null;
  waiting.delete(m.id);
  const after = at - answer.began;
  answer.arrival.textContent = `in the hub after ${duration(after)}, partition ${m.partition}, offset ${m.offset}`;
  answer.arrival.classList.add("seen");
  return after;
}

function showSeries(running) {
  $("send").textContent = running ? "Stop" : "Send";
  $("send").classList.toggle("stop", running);
}

/** Sends one message after another until all are sent or it is stopped. */
async function series(count, interval, sent) {
  let stopped = false;
  let wake = () => {};
  stop = () => {
    stopped = true;
    wake();
  };
  showSeries(true);
  const idle = [...$("progress").childNodes];
  for (let n = 1; n <= count && !stopped; n++) {
    const began = performance.now();
    $("progress").textContent = `${n} of ${count}`;
    await sendOne($("value").value.replaceAll("{n}", String(n)), sent);
    const rest = interval - (performance.now() - began);
    if (n === count || stopped || rest <= 0) continue;
    await new Promise((done) => {
      const timer = setTimeout(done, rest);
      wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
  stop = null;
  $("progress").replaceChildren(...idle);
  showSeries(false);
}

const within = (id, least, most) => Math.min(most, Math.max(least, Math.floor(Number($(id).value)) || least));

/** Makes the form send. sent is called with the id of each accepted message. */
export function watchForm(sent) {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (stop) {
      stop();
      return;
    }
    const count = document.querySelector(".series").open ? within("count", 1, 1000) : 1;
    if (count > 1) series(count, within("interval", 0, 60000), sent);
    else sendOne($("value").value, sent);
  });
  $("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!stop) $("form").requestSubmit();
    }
  });
  $("clear-answers").addEventListener("click", () => {
    $("answers").replaceChildren();
    $("no-answers").hidden = false;
  });
}
