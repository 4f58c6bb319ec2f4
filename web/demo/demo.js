// The page: joins the stream, the fleet, the map and the figures.
import { $, duration, plural, say } from "./dom.js";
import { Fleet } from "./fleet.js";
import { Latency, Rate } from "./figures.js";
import { TownMap } from "./map.js";
import { about, note, showFigures, showResumed, showState, showTable, showTrouble } from "./panel.js";
import { nodesOf, openStream } from "./stream.js";

const fleet = new Fleet();
const map = new TownMap();
const rate = new Rate();
const latency = new Latency();
const still = matchMedia("(prefers-reduced-motion: reduce)");
let fresh = []; // when the positions were told that the next frame shows first
let lost = 0; // when the connection was lost; 0 while it is there
let resumed = 0; // since when what comes is live; 0 while it is not
let unreadable = 0;
let node = "";
let chosen = new Set(); // ids that stand out
let paused = false;

// The stream.

function connecting(code, reason) {
  lost ||= performance.now();
  resumed = 0;
  if (code === 0) return showState("connecting", "connecting"); // the page was just opened
  showState("down", "reconnecting");
  note("down", `lost ${node || "the node"}: ${reason} (${code})`);
}

function connected(name) {
  node = name;
  say($("node"), name || "–");
  showState("up", "connected");
}

function resume(r) {
  showResumed(r);
  resumed = Date.now();
  const where = node ? ` at ${node}` : "";
  if (!r.again) {
    note("up", `connected${where}: ${plural(r.partitions, "partition")}`);
  } else {
    const how = r.recovered === r.partitions ? "all recovered" : `${r.recovered} of ${r.partitions} partitions recovered, the rest began with last values`;
    note("up", `back${where} after ${duration(performance.now() - lost)}, ${how}`);
  }
  lost = 0;
}

function publication(ctx) {
  const now = Date.now();
  rate.count(now);
  const v = fleet.take(ctx.data, performance.now());
  if (v === undefined && unreadable++ === 0) note("down", `a message that is no position, at offset ${ctx.offset}`);
  // What was told before the connection was there, and recovered since or found as
  // a last value, says nothing of latency.
  if (v && !ctx.tags?.["postroad-last"] && resumed && v.at >= resumed) fresh.push(v.at);
}

// The controls.

function choose(vehicles) {
  chosen = new Set(vehicles.map((v) => v.id));
  $("follow").disabled = vehicles.length !== 1;
  if (vehicles.length !== 1) press($("follow"), false);
  $("card").hidden = vehicles.length !== 1;
}

function find() {
  const query = $("find").value;
  const found = fleet.matching(query);
  choose(found);
  say($("found"), query.trim() === "" ? "" : found.length === 0 ? "none" : plural(found.length, "vehicle"));
}

function pick(id) {
  $("find").value = id;
  find();
}

const pressed = (button) => button.getAttribute("aria-pressed") === "true";

function press(button, on) {
  button.setAttribute("aria-pressed", String(on));
}

function watchControls() {
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("find").addEventListener("input", find);
  $("find").addEventListener("keydown", (event) => {
    if (event.key === "Escape") pick("");
    if (event.key === "Enter" && chosen.size > 1) pick([...chosen][0]);
  });
  $("follow").addEventListener("click", () => press($("follow"), !pressed($("follow"))));
  $("pause").addEventListener("click", () => {
    paused = !paused;
    fresh = [];
    press($("pause"), paused);
    say($("announce"), paused ? "The picture stands still." : "The picture moves again.");
  });
  $("map").addEventListener("click", (event) => {
    const { x, y, metres } = map.at(event.offsetX, event.offsetY);
    pick(fleet.nearest(x, y, 18 * metres)?.id ?? "");
  });
  document.addEventListener("visibilitychange", () => (fresh = []));
  $("all").addEventListener("toggle", () => showTable(fleet, performance.now(), pick));
}

// The clock of the page: frames for the picture, a second for the figures.

let last = performance.now();

function frame(now) {
  requestAnimationFrame(frame);
  const dt = Math.min((now - last) / 1000, 1);
  last = now;
  if (paused) return;
  fleet.move(now, dt, still.matches);
  const one = chosen.size === 1 ? fleet.vehicles.get([...chosen][0]) : null;
  map.draw(fleet, now, dt, chosen, pressed($("follow")) ? one : null, still.matches);
  const at = Date.now();
  for (const told of fresh) latency.add(at, at - told);
  fresh = [];
}

function second() {
  const now = performance.now(), at = Date.now();
  if (document.hidden || paused) fresh = []; // nobody was shown them
  const [p50, p95] = latency.quantiles(at, 0.5, 0.95);
  showFigures({ vehicles: fleet.vehicles.size, silent: fleet.silentCount(now), rate: rate.perSecond(at), p50, p95, history: rate.history(at) });
  showTable(fleet, now, pick);
  if (chosen.size === 1) {
    const v = fleet.vehicles.get([...chosen][0]);
    say($("card"), about(v, now));
  } else if ($("find").value.trim() !== "") {
    find(); // vehicles may have come
  }
}

watchControls();
requestAnimationFrame(frame);
setInterval(second, 1000);
openStream({ topic: "vehicles", nodes: nodesOf(location), told: { connecting, connected, resumed: resume, publication, trouble: showTrouble } });
fetch("town.json")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`status ${answer.status}`))))
  .then((town) => map.show(town), (err) => showTrouble(`The map cannot be had: ${err.message}. Reload the page.`));
