// The subscription to all vehicles, by the official SDK.
//
// One subscription for each partition (vehicles/*@0, vehicles/*@1, …) and not one
// for all (vehicles/*): of one partition a stream node can tell exactly what was
// missed while the connection was away, at any node. How many there are is found
// by trying: the first that the node does not know ends the row.

const first = 8; // partitions that are tried at once
const most = 512; // partitions, lest a page ask for ever
const unknown = 102; // the node has no such subject
const patience = 3000; // ms until a topic that is not there is tried again

/**
 * Opens the stream. nodes are the addresses of WebSocket endpoints; told hears of
 * connecting(reason), connected(node), resumed({recovered, partitions}),
 * publication(ctx) and trouble(text).
 */
export function openStream({ topic, nodes, told }) {
  const centrifuge = new globalThis.Centrifuge(nodes[0], {
    websocket: endpoints(nodes),
    minReconnectDelay: 200,
    maxReconnectDelay: 4000,
  });
  const rows = new Map(); // partition -> its subscription
  let away = null; // what came of each partition since the connection was lost; null once told
  let complete = 0; // partitions, once the row has ended
  let known = 0; // how many there were when it last had

  function settle() {
    if (!away || complete === 0) return;
    for (let p = 0; p < complete; p++) if (!away.has(p)) return;
    told.resumed({ partitions: complete, recovered: [...away.values()].filter(Boolean).length, again: known > 0 });
    [away, known] = [null, complete];
  }

  function begins(p, ctx) {
    told.trouble("");
    if (away) away.set(p, ctx.wasRecovering && ctx.recovered);
    if (p === 0 && known === 0) for (let q = 1; q < first; q++) add(q);
    if (p + 1 >= (known || first) && p + 1 < most) add(p + 1);
    settle();
  }

  function ends(p, { code, reason }) {
    const sub = rows.get(p);
    rows.delete(p);
    centrifuge.removeSubscription(sub);
    if (code !== unknown) {
      told.trouble(`The node refuses ${topic}/*@${p}: ${reason} (${code}).`);
    } else if (p === 0) {
      told.trouble(`The hub has no topic "${topic}" yet.`);
      setTimeout(() => add(0), patience);
    } else {
      complete = complete === 0 ? p : Math.min(complete, p);
      settle();
    }
  }

  function add(p) {
    if (rows.has(p)) return;
    const sub = centrifuge.newSubscription(`${topic}/*@${p}`);
    rows.set(p, sub);
    sub.on("publication", told.publication);
    sub.on("subscribed", (ctx) => begins(p, ctx));
    sub.on("unsubscribed", (ctx) => ends(p, ctx));
    sub.subscribe();
  }

  centrifuge.on("connecting", ({ code, reason }) => {
    away = new Map();
    complete = 0; // the topic may get more meanwhile
    told.connecting(code, reason);
  });
  centrifuge.on("connected", ({ data }) => {
    told.connected(data?.node ?? "");
    if (known > 0) add(known);
  });
  centrifuge.on("disconnected", ({ code, reason }) => told.trouble(`The node sent this page away for good: ${reason} (${code}). Reload it to try again.`));
  centrifuge.on("error", () => {}); // told by what follows from it
  add(0);
  centrifuge.connect();
}

/**
 * A WebSocket that goes to another address each time one was lost. The SDK's own
 * list of transports is for networks that let only some of them through: it stays
 * with an address that has worked once, and so with a node that died.
 */
function endpoints(nodes) {
  let at = 0;
  return class extends WebSocket {
    constructor(_, ...protocols) {
      super(nodes[at % nodes.length], ...protocols);
      this.addEventListener("close", () => at++);
    }
  };
}

/**
 * The endpoints that a page uses: that of its own origin, or those of other ports
 * of the same host that ?nodes= lists, such as ?nodes=8800,8801.
 */
export function nodesOf(location) {
  const path = "/connection/websocket";
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const ports = (new URLSearchParams(location.search).get("nodes") ?? "").split(",").filter((p) => /^[0-9]{1,5}$/.test(p));
  if (ports.length === 0) return [`${scheme}//${location.host}${path}`];
  return ports.map((p) => `${scheme}//${location.hostname}:${p}${path}`);
}
