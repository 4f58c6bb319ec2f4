// What the page makes of positions, without a browser. Run by TestModules.
import assert from "node:assert/strict";
import test from "node:test";
import { Fleet } from "../demo/fleet.js";
import { Latency, Rate } from "../demo/figures.js";

const at = (id, x, y, more = {}) => ({ id, line: "3", x, y, heading: 90, speed: 10, at: 1000, ...more });

test("the newest position of a vehicle counts, whatever comes later", () => {
  const f = new Fleet();
  assert.ok(f.take(at("tram-1", 0, 0), 0));
  assert.equal(f.take(at("tram-1", 5, 0), 1), null); // the same moment
  assert.equal(f.take(at("tram-1", 5, 0, { at: 999 }), 1), null);
  assert.ok(f.take(at("tram-1", 7, 0, { at: 1001 }), 2));
  assert.equal(f.vehicles.get("tram-1").x, 7);
});

test("what is no position is told from one", () => {
  const f = new Fleet();
  for (const p of [null, undefined, "x", 7, {}, at("", 0, 0), at("x".repeat(65), 0, 0), at("a", NaN, 0), at("a", "1", 0), at("a", 0, 0, { at: null }), at(["a"], 0, 0)]) {
    assert.equal(f.take(p, 0), undefined);
  }
  assert.equal(f.vehicles.size, 0);
  assert.equal(f.take(at("__proto__", 0, 0), 0).id, "__proto__");
});

test("a vehicle goes on as it was going, for a while, and is silent at last", () => {
  const f = new Fleet();
  const v = f.take(at("bus-4", 100, 100), 0);
  for (let ms = 0; ms <= 2000; ms += 20) f.move(ms, 0.02, false);
  assert.ok(v.drawn.x > 115 && v.drawn.x <= 120 && Math.abs(v.drawn.y - 100) < 0.1, `${v.drawn.x}`);
  for (let ms = 2000; ms <= 20000; ms += 20) f.move(ms, 0.02, false);
  assert.ok(v.drawn.x <= 130.1, `${v.drawn.x}`);
  assert.equal(f.silentCount(14000), 0);
  assert.equal(f.silentCount(16000), 1);
});

test("errors are made good smoothly, headings by the shorter way, leaps at once", () => {
  const f = new Fleet();
  const v = f.take(at("bus-4", 0, 0, { speed: 0, heading: 350 }), 0);
  f.take(at("bus-4", 20, 0, { speed: 0, heading: 10, at: 2000 }), 0);
  f.move(0, 0.05, false);
  assert.ok(v.drawn.x > 2 && v.drawn.x < 8, `${v.drawn.x}`);
  assert.ok(v.drawn.heading > 350 && v.drawn.heading < 370, `${v.drawn.heading}`);
  f.take(at("bus-4", 3000, 0, { at: 3000 }), 0);
  assert.equal(v.drawn.x, 3000);
  f.take(at("bus-4", 3100, 0, { speed: 20, at: 4000 }), 0);
  f.move(1000, 0.02, true); // for those who want no motion
  assert.equal(v.drawn.x, 3100);
});

test("vehicles are found by id, the beginning of one, and line", () => {
  const f = new Fleet();
  for (const id of ["tram-1", "tram-10", "bus-1"]) f.take(at(id, 0, 0, { line: id === "bus-1" ? "24" : "3" }), 0);
  const ids = (q) => f.matching(q).map((v) => v.id);
  assert.deepEqual(ids("tram-1"), ["tram-1"]);
  assert.deepEqual(ids(" TRAM "), ["tram-1", "tram-10"]);
  assert.deepEqual(ids("24"), ["bus-1"]);
  assert.deepEqual(ids(""), []);
  assert.deepEqual(ids("constructor"), []);
  assert.equal(f.nearest(10, 0, 20).drawn.x, 0);
  assert.equal(f.nearest(100, 0, 20), null);
});

test("rates forget, and a pause is a gap", () => {
  const r = new Rate();
  for (let ms = 1_700_000_000_000; ms < 1_700_000_010_000; ms += 100) r.count(ms);
  assert.equal(r.perSecond(1_700_000_010_000), 10);
  assert.equal(r.history(1_700_000_010_000).length, 60);
  assert.equal(r.history(1_700_000_010_000).reduce((a, b) => a + b), 100);
  assert.equal(r.perSecond(1_700_000_100_000), 0);
  r.count(1_700_000_100_000);
  assert.equal(r.history(1_700_000_101_000).reduce((a, b) => a + b), 1);
});

test("quantiles are of the last seconds", () => {
  const l = new Latency();
  assert.deepEqual(l.quantiles(0, 0.5), [null]);
  l.add(0, 9999);
  for (let i = 1; i <= 100; i++) l.add(10000 + i, i);
  assert.deepEqual(l.quantiles(10100, 0.5, 0.95), [51, 96]);
  assert.deepEqual(l.quantiles(99999, 0.5), [null]);
});
