// The figures, the log of the connection, and the table of all vehicles.
import { $, clock, duration, el, plural, say } from "./dom.js";

const kept = 30; // entries of the log

/** Shows how the connection is: connecting, up, down. */
export function showState(state, text) {
  $("state").dataset.state = state;
  say($("state"), text);
}

/** Shows what is wrong, or with "" nothing. */
export function showTrouble(text) {
  $("trouble").hidden = text === "";
  say($("trouble"), text);
}

/** Adds an entry to the log. */
export function note(state, text) {
  const log = $("log");
  log.prepend(el("li", { "data-state": state }, clock(new Date()), " ", el("span", {}, text)));
  while (log.children.length > kept) log.lastElementChild.remove();
}

/** Shows the figures of a moment. */
export function showFigures({ vehicles, silent, rate, p50, p95, history }) {
  say($("vehicles"), vehicles.toLocaleString("en"));
  $("silent").hidden = silent === 0;
  say($("silent"), `${silent.toLocaleString("en")} silent`);
  say($("rate"), Math.round(rate).toLocaleString("en"));
  say($("p50"), p50 === null ? "–" : duration(p50));
  say($("p95"), p95 === null ? "–" : duration(p95));
  drawSpark(history);
}

/** Shows what came of the last connection. */
export function showResumed({ partitions, recovered, again }) {
  say($("partitions"), String(partitions));
  let text = "none yet";
  if (again) text = recovered === partitions ? "recovered" : recovered === 0 ? "not recovered" : `${recovered} recovered`;
  say($("recovered"), text);
}

function drawSpark(history) {
  const canvas = $("spark"), pen = canvas.getContext("2d");
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * devicePixelRatio)) canvas.width = Math.round(width * devicePixelRatio);
  if (canvas.height !== Math.round(height * devicePixelRatio)) canvas.height = Math.round(height * devicePixelRatio);
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = getComputedStyle(canvas).color;
  const top = Math.max(10, ...history), step = width / history.length;
  history.forEach((n, i) => {
    const h = Math.max(n > 0 ? 1 : 0, (n / top) * height);
    pen.fillRect(i * step, height - h, Math.max(1, step - 1), h);
  });
}

const rows = new Map(); // id -> the cells of its row

/** Brings the table up to date where it is open. choose takes the id of a vehicle. */
export function showTable(fleet, now, choose) {
  if (!$("all").open) return;
  for (const v of fleet.vehicles.values()) {
    const values = [v.line, v.x.toFixed(0), v.y.toFixed(0), (v.speed * 3.6).toFixed(0), ((now - v.seen) / 1000).toFixed(0)];
    let cells = rows.get(v.id);
    if (!cells) {
      const button = el("button", { type: "button" }, v.id);
      button.addEventListener("click", () => choose(v.id));
      cells = values.map(() => el("td"));
      rows.set(v.id, cells);
      insert(el("tr", { id: `row-${v.id}` }, el("th", { scope: "row" }, button), ...cells), v.id);
    }
    cells.forEach((cell, i) => say(cell, values[i]));
    cells[0].parentElement.dataset.at = v.at;
  }
}

/** Puts a row where it belongs: bus-2 before bus-10. */
function insert(row, id) {
  const body = $("rows");
  const order = new Intl.Collator("en", { numeric: true });
  const after = [...body.children].find((r) => order.compare(r.id, `row-${id}`) > 0);
  body.insertBefore(row, after ?? null);
}

/** Text of the card of a vehicle. */
export function about(v, now) {
  const told = plural(Math.round((now - v.seen) / 1000), "second");
  return `${v.id} · line ${v.line} · ${Math.round(v.speed * 3.6)} km/h · told ${told} ago`;
}
