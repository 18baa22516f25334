/** The feed: one socket, and polling while it fails. */

import { SECOND } from './tools.js';
import { ANSWER_WITHIN, attempt, get, redact, server } from './server.js';

export const POLL_EVERY = 5 * SECOND;
const PING_EVERY = 240 * SECOND;
const KEPT_EVENTS = 30;
export const STALE_AFTER = { live: PING_EVERY + 2 * ANSWER_WITHIN, polling: 3 * POLL_EVERY, other: 2 * SECOND };

export const feed = {
  space: null, // what this socket listens to
  socket: null,
  url: null,
  run: 0,
  live: false,
  wasLive: false,
  version: -1,
  asOf: '',
  failures: 0,
  contactAt: null,
  polled: null,
  /** What the connection view tells of the socket; times are this computer's. */
  facts: { connectedAt: null, connections: 0, frames: 0, bytes: 0, headcounts: 0, repeats: 0, gaps: 0, lastFrameAt: null, askedAt: null, answeredIn: null, events: [] },
  heard: () => {}, // a headcount came
  alerted: () => {}, // an alert came
  noticed: () => {}, // the message to everyone changed
  changed: () => {}, // the state may have changed
  fallback: async () => {}, // what to read while there is no socket
};

function note(what) {
  feed.facts.events.unshift({ at: Date.now(), what });
  feed.facts.events.length = Math.min(feed.facts.events.length, KEPT_EVENTS);
}

// No older than what is shown. Lower and later: the numbers were restored from a backup, and the versions began anew.
export const isCurrent = (said, shown) => said.version >= shown.version || said.asOf > shown.asOf;

export function connectionState() {
  if (!server.token) return 'signed-out';
  if (feed.polled === 'unreachable') return 'offline';
  if (feed.live) return 'live';
  if (feed.polled === 'ok') return 'polling';
  return feed.wasLive || feed.failures ? 'reconnecting' : 'connecting';
}

export async function connect() {
  drop();
  if (!server.token) return;
  const run = feed.run;
  try {
    feed.url ??= (await get('/dashboard/config.json')).socketUrl;
    if (run !== feed.run) return;
    const url = new URL(feed.url, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('token', server.token);
    feed.socket = new WebSocket(url);
  } catch {
    if (run === feed.run) lost();
    return;
  }
  const ours = (handle) => (event) => run === feed.run && handle(event);
  feed.socket.onopen = ours(() => {
    feed.version = -1; // versions are compared within a connection: a new one starts afresh
    feed.facts.connectedAt = Date.now();
    feed.facts.connections += 1;
    note(feed.facts.connections === 1 ? 'Connected' : 'Connected again');
    tell(feed.space ? 'subscribe' : 'ping');
  });
  feed.socket.onmessage = ours(({ data }) => received(data));
  feed.socket.onclose = ours(({ code }) => lost(`Closed by the server or the network (${code})`));
}

/** Forgets the current socket and every timer of it; its late events count for nothing. */
function drop() {
  feed.run += 1;
  feed.live = false;
  feed.facts.connectedAt = null;
  clearTimeout(feed.retry);
  clearTimeout(feed.answer);
  feed.socket?.close();
  feed.socket = null;
}

function lost(why = 'Could not connect') {
  note(why);
  drop();
  const ceiling = Math.min(30 * SECOND, 500 * 2 ** feed.failures);
  feed.retry = setTimeout(connect, Math.max(500, ceiling * (0.5 + Math.random() / 2)));
  // One lost socket is the gateway's two-hour limit; a second failure is trouble.
  if (feed.failures++ === 1) poll();
  feed.changed();
}

/** Asks the server for something, and gives the socket up on silence: half-open, it would look open for minutes. */
export function tell(action, within = ANSWER_WITHIN) {
  if (feed.socket?.readyState !== WebSocket.OPEN) return;
  feed.socket.send(JSON.stringify(action === 'ping' ? { action } : { action, space: feed.space }));
  if (action === 'unsubscribe') return; // has no answer
  feed.facts.askedAt = performance.now();
  clearTimeout(feed.answer);
  feed.answer = setTimeout(() => lost('No answer in time: given up'), within);
}

export const probe = (within) => tell('ping', within);

/** A message of ours; the gateway's own have no type: they say that what was asked got lost. */
function read(text) {
  try {
    const message = JSON.parse(text);
    return typeof message?.type === 'string' ? message : null;
  } catch {
    return null;
  }
}

function received(text) {
  const message = read(text);
  if (!message) {
    lost('The server sent what is no message: given up');
    return;
  }
  const { facts } = feed;
  facts.frames += 1;
  facts.bytes += text.length;
  facts.lastFrameAt = Date.now();
  if (facts.askedAt !== null) facts.answeredIn = performance.now() - facts.askedAt;
  facts.askedAt = null;
  clearTimeout(feed.answer);
  clearTimeout(feed.poll);
  Object.assign(feed, { live: true, wasLive: true, failures: 0, polled: null, contactAt: Date.now() });
  if (message.type === 'headcount' && message.space === feed.space) {
    facts.headcounts += 1;
    if (message.version === feed.version) facts.repeats += 1;
    if (feed.version >= 0 && message.version > feed.version + 1) {
      facts.gaps += 1;
      note(`Version ${message.version} came after ${feed.version}`);
    }
    if (isCurrent(message, feed)) {
      feed.version = message.version;
      feed.asOf = message.asOf;
      for (const source of ['feed', 'space']) server.problems.delete(source); // a read that failed meanwhile is made up for
      feed.heard({ ...message.data, version: message.version, asOf: message.asOf });
    }
  } else if (message.type === 'alert' && message.space === feed.space) {
    feed.alerted(message);
  } else if (message.type === 'notice' && message.space === feed.space) {
    if (message.version >= feed.version) feed.noticed(message.notice);
  } else if (message.type === 'error') {
    server.problems.set('feed', redact(message.error));
    note(`The server said: ${redact(message.error)}`);
  }
  server.changed();
  feed.changed();
}

async function poll() {
  const outcome = await attempt('space', feed.fallback);
  if (feed.live || !server.token || !feed.failures) return;
  if (outcome === 'ok') feed.contactAt = Date.now();
  if (outcome !== 'aborted') feed.polled = outcome;
  clearTimeout(feed.poll);
  feed.poll = setTimeout(poll, POLL_EVERY);
  feed.changed();
}

/** Listens to this space (null: to none), on the socket there is or the next one. */
export function listenTo(space) {
  if (feed.space && feed.space !== space) tell('unsubscribe');
  feed.space = space;
  feed.version = -1;
  if (space) tell('subscribe');
}

export function stopFeed() {
  drop();
  clearTimeout(feed.poll);
  Object.assign(feed, { failures: 0, polled: null, wasLive: false });
}

export const startFeed = () => !feed.socket && !feed.failures && connect();

setInterval(() => probe(), PING_EVERY);
