// How the page finds the partitions, and what it says of a connection that was
// lost, with an SDK of the test's own. Run by TestModules.
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import test, { mock } from "node:test";

globalThis.WebSocket = class extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
  }
};
const { nodesOf, openStream } = await import("../demo/stream.js");

let sdk;
globalThis.Centrifuge = class extends EventEmitter {
  subs = new Map();
  constructor(url, options) {
    super();
    this.url = url;
    this.options = options;
    sdk = this;
  }
  newSubscription(name) {
    assert.ok(!this.subs.has(name), `${name} twice`);
    const sub = Object.assign(new EventEmitter(), { name, subscribe: () => {} });
    this.subs.set(name, sub);
    return sub;
  }
  removeSubscription(sub) {
    this.subs.delete(sub.name);
  }
  connect() {
    this.emit("connecting", { code: 0, reason: "connect called" });
  }
  // Answers all that is asked for as a node does whose topic has n partitions.
  answer(n, ctx = { wasRecovering: false, recovered: false }, done = new Set()) {
    for (let more = true; more; ) {
      more = false;
      for (const [name, sub] of [...this.subs]) {
        if (done.has(name)) continue;
        done.add(name);
        more = true;
        if (Number(name.split("@")[1]) < n) sub.emit("subscribed", ctx);
        else sub.emit("unsubscribed", { code: 102, reason: "unknown channel" });
      }
    }
  }
}

function open() {
  const told = { resumed: [], trouble: [], connecting: [], connected: [] };
  openStream({
    topic: "vehicles",
    nodes: ["ws://a", "ws://b"],
    told: {
      publication: () => {},
      ...Object.fromEntries(Object.keys(told).map((k) => [k, (...args) => told[k].push(args.length === 1 ? args[0] : args)])),
    },
  });
  return told;
}

for (const n of [1, 3, 7, 8, 9, 24]) {
  test(`a topic of ${n} partitions is found whole`, () => {
    const told = open();
    sdk.emit("connected", { data: { node: "onprem" } });
    sdk.answer(n);
    assert.deepEqual([...sdk.subs.keys()], Array.from({ length: n }, (_, p) => `vehicles/*@${p}`));
    assert.deepEqual(told.resumed, [{ partitions: n, recovered: 0, again: false }]);
    assert.deepEqual(told.connected, ["onprem"]);
  });
}

test("what is not there may be told before what is", () => {
  const told = open();
  sdk.emit("connected", {});
  const subs = sdk.subs;
  subs.get("vehicles/*@0").emit("subscribed", {});
  for (const p of [4, 3, 5, 6, 7]) subs.get(`vehicles/*@${p}`).emit("unsubscribed", { code: 102, reason: "unknown channel" });
  for (const p of [2, 1]) subs.get(`vehicles/*@${p}`).emit("subscribed", {});
  assert.deepEqual(told.resumed, [{ partitions: 3, recovered: 0, again: false }]);
});

test("after a loss it says what was recovered, once all partitions have told", () => {
  const told = open();
  sdk.emit("connected", {});
  sdk.answer(4);
  sdk.emit("connecting", { code: 1, reason: "transport closed" });
  sdk.emit("connected", { data: { node: "cloud" } });
  const subs = [...sdk.subs.values()];
  assert.equal(subs.length, 5); // the topic may have got more
  for (const sub of subs.slice(0, 3)) sub.emit("subscribed", { wasRecovering: true, recovered: sub !== subs[1] });
  assert.equal(told.resumed.length, 1);
  subs[4].emit("unsubscribed", { code: 102, reason: "unknown channel" });
  subs[3].emit("subscribed", { wasRecovering: true, recovered: true });
  assert.deepEqual(told.resumed[1], { partitions: 4, recovered: 3, again: true });
  assert.deepEqual(told.connected, ["", "cloud"]);
});

test("partitions that were added are found at the next connection", () => {
  const told = open();
  sdk.emit("connected", {});
  sdk.answer(4);
  sdk.emit("connecting", { code: 1, reason: "transport closed" });
  sdk.emit("connected", {});
  sdk.answer(10, { wasRecovering: true, recovered: false });
  assert.equal(sdk.subs.size, 10);
  assert.deepEqual(told.resumed[1], { partitions: 10, recovered: 0, again: true });
});

test("a topic that is not there yet is tried again", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const told = open();
  sdk.emit("connected", {});
  sdk.answer(0);
  assert.equal(sdk.subs.size, 0);
  assert.match(told.trouble.at(-1), /no topic "vehicles" yet/);
  mock.timers.tick(3000);
  sdk.answer(8);
  assert.equal(sdk.subs.size, 8);
  assert.equal(told.trouble.at(-1), "");
  mock.timers.reset();
});

test("a refusal is told and not taken for the end of the row", () => {
  const told = open();
  sdk.emit("connected", {});
  sdk.subs.get("vehicles/*@0").emit("unsubscribed", { code: 103, reason: "permission denied" });
  assert.match(told.trouble.at(-1), /permission denied \(103\)/);
  assert.equal(told.resumed.length, 0);
});

test("another node is taken each time one was lost", () => {
  open();
  const Next = sdk.options.websocket;
  const urls = [];
  for (let i = 0; i < 3; i++) {
    const ws = new Next("ignored");
    urls.push(ws.url);
    ws.dispatchEvent(new Event("close"));
  }
  assert.deepEqual(urls, ["ws://a", "ws://b", "ws://a"]);
});

test("the endpoint is that of the origin, or of other ports of its host", () => {
  const at = (href) => nodesOf(new URL(href));
  assert.deepEqual(at("http://h:8080/demo/"), ["ws://h:8080/connection/websocket"]);
  assert.deepEqual(at("https://h/demo/?nodes="), ["wss://h/connection/websocket"]);
  assert.deepEqual(at("http://h:1/demo/?nodes=8800,8801"), ["ws://h:8800/connection/websocket", "ws://h:8801/connection/websocket"]);
  assert.deepEqual(at("http://h:1/demo/?nodes=evil.example,//x,8800"), ["ws://h:8800/connection/websocket"]);
});
