// A client made with centrifuge-js under Node.js.
//
// Arguments: URL json|protobuf TOKEN, which may be empty. Commands come in on standard input and events go
// out on standard output, a line of JSON each.

import { createInterface } from 'node:readline';
// begin: import
import WebSocket from 'ws'; // Node.js only: browsers have their own
import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
// end

const [url, protocol, token] = process.argv.slice(2);
const binary = protocol === 'protobuf';
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

// What a program has of a publication's data, as text.
const decoder = new TextDecoder('utf-8', { fatal: true });
function text(data) {
  if (!binary) return { data: JSON.stringify(data) };
  try {
    return { data: decoder.decode(data) };
  } catch {
    return { base64: Buffer.from(data).toString('base64') };
  }
}
const publication = (p) => ({ offset: p.offset ?? 0, tags: p.tags ?? {}, ...text(p.data) });
const failed = (id) => (e) => say({ event: 'failed', id, code: e.code ?? 0, message: e.message ?? String(e) });

// begin: connect
const Client = binary ? ProtobufCentrifuge : Centrifuge;
const client = new Client(url, { token, websocket: WebSocket, maxReconnectDelay: 2000 });
client.on('connected', (c) => say({ event: 'connected', client: c.client }));
client.on('connecting', (c) => say({ event: 'connecting', code: c.code, reason: c.reason }));
client.on('disconnected', (c) => say({ event: 'disconnected', code: c.code, reason: c.reason }));
client.on('error', (c) => say({ event: 'error', message: `${c.type}: ${c.error.message}` }));
client.connect();
// end

// What the token's channels bring.
client.on('publication', (p) => say({ event: 'publication', channel: p.channel, ...publication(p) }));
client.on('subscribed', (c) => say({
  event: 'subscribed', channel: c.channel, recoverable: c.recoverable, was_recovering: c.wasRecovering, recovered: c.recovered,
}));

function subscribe(channel) {
  // begin: subscribe
  const sub = client.newSubscription(channel); // such as 'vehicles/tram 7' or 'vehicles/*@3'
  sub.on('publication', (p) => say({ event: 'publication', channel, ...publication(p) }));
  sub.on('subscribed', (c) => {
    // c.wasRecovering && !c.recovered: something is missing, and last values follow
    say({
      event: 'subscribed', channel, recoverable: c.recoverable, was_recovering: c.wasRecovering, recovered: c.recovered,
      offset: c.streamPosition?.offset ?? 0, epoch: c.streamPosition?.epoch ?? '',
    });
  });
  sub.on('unsubscribed', (c) => say({ event: 'unsubscribed', channel, code: c.code, reason: c.reason }));
  sub.subscribe();
  // end
  sub.on('error', (c) => say({ event: 'error', message: `${channel}: ${c.type}: ${c.error.message}`, code: c.error.code }));
}

async function publish(channel, value) {
  // begin: publish
  const data = binary ? new TextEncoder().encode(value) : JSON.parse(value);
  await client.publish(channel, data); // returns once the message is durable
  // end
}

async function history(channel, limit, since, reverse) {
  // begin: history
  const h = await client.history(channel, { limit, since, reverse });
  return { offset: h.offset, epoch: h.epoch, publications: h.publications.map(publication) };
  // end
}

for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line);
  if (c.do === 'subscribe') subscribe(c.channel);
  if (c.do === 'unsubscribe') client.getSubscription(c.channel).unsubscribe();
  if (c.do === 'publish') publish(c.channel, c.data).then(() => say({ event: 'done', id: c.id }), failed(c.id));
  if (c.do === 'history') {
    history(c.channel, c.limit, c.since, c.reverse).then((h) => say({ event: 'done', id: c.id, ...h }), failed(c.id));
  }
}
client.disconnect();
