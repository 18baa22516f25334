/** The feed: one socket, and polling while the socket fails. */

import { SECOND } from './tools.js';
import { REQUEST_TIMEOUT, attempt, get, redact, server } from './server.js';

export const POLL_EVERY = 5 * SECOND;
const PING_EVERY = 240 * SECOND;
const KEPT_EVENTS = 30;
export const STALE_AFTER = { live: PING_EVERY + 2 * REQUEST_TIMEOUT, polling: 3 * POLL_EVERY, other: 2 * SECOND };

export const feed = {
  space: null, // the space that this socket is subscribed to
  people: [], // whom it watches
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
  /** For the connection view; times are this computer's. */
  facts: { connectedAt: null, connections: 0, frames: 0, bytes: 0, headcounts: 0, repeats: 0, gaps: 0, lastFrameAt: null, sentAt: null, responseTime: null, events: [] },
  onHeadcount: () => {},
  onAlert: () => {},
  onNotice: () => {}, // the message to everyone changed
  onPeople: () => {}, // where people are, when that was so, and what happened
  changed: () => {}, // the state may have changed
  fallback: async () => {}, // what to read while there is no socket
};

function note(what) {
  feed.facts.events.unshift({ at: Date.now(), what });
  feed.facts.events.length = Math.min(feed.facts.events.length, KEPT_EVENTS);
}

/** Not older than what is shown. A lower version with a later time: a backup was restored, and versions started again. */
export const isCurrent = (received, shown) => received.version >= shown.version || received.asOf > shown.asOf;

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
    feed.version = -1; // versions are compared within a connection
    feed.facts.connectedAt = Date.now();
    feed.facts.connections += 1;
    note(feed.facts.connections === 1 ? 'Connected' : 'Reconnected');
    if (feed.space) send('subscribe');
    else probe();
  });
  feed.socket.onmessage = ours(({ data }) => received(data));
  feed.socket.onclose = ours(({ code }) => lost(`Closed by the server or the network (${code})`));
}

/** Closes the current socket and clears its timers. Its late events are ignored. */
function drop() {
  feed.run += 1;
  feed.live = false;
  feed.facts.connectedAt = null;
  clearTimeout(feed.retry);
  clearTimeout(feed.timeout);
  feed.socket?.close();
  feed.socket = null;
}

function lost(why = 'Could not connect') {
  note(why);
  drop();
  // The token may be why: a refused socket does not say so, and public counts could be read on without it.
  if (server.token) get('/v1/token').catch(() => {});
  const longest = Math.min(30 * SECOND, 500 * 2 ** feed.failures);
  feed.retry = setTimeout(connect, Math.max(500, longest * (0.5 + Math.random() / 2)));
  // One lost socket may be the gateway's two-hour limit; a second failure is trouble.
  if (feed.failures++ === 1) poll();
  feed.changed();
}

/** Sends an action. Without a response the socket counts as lost: half-open, it would look open for minutes. */
export function send(action, timeout = REQUEST_TIMEOUT) {
  if (feed.socket?.readyState !== WebSocket.OPEN) return;
  const content = action.endsWith('watch') ? { people: feed.people } : action === 'ping' ? {} : { space: feed.space };
  feed.socket.send(JSON.stringify({ action, ...content }));
  if (action.startsWith('un')) return; // has no response
  feed.facts.sentAt = performance.now();
  clearTimeout(feed.timeout);
  feed.timeout = setTimeout(() => lost('No response in time: connection closed'), timeout);
}

/** Watching again, too, is answered: with where people are. A change may be missed in the moment in which one begins to watch. */
export const probe = (timeout) => send(feed.people.length ? 'watch' : 'ping', timeout);

/** One of our messages, or null. The gateway's own have no type: they mean that the request was lost. */
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
    lost('Invalid message: connection closed');
    return;
  }
  const { facts } = feed;
  facts.frames += 1;
  facts.bytes += text.length;
  facts.lastFrameAt = Date.now();
  if (facts.sentAt !== null) facts.responseTime = performance.now() - facts.sentAt;
  facts.sentAt = null;
  clearTimeout(feed.timeout);
  clearTimeout(feed.poll);
  Object.assign(feed, { live: true, wasLive: true, failures: 0, polled: null, contactAt: Date.now() });
  if (message.type === 'headcount' && message.space === feed.space) {
    facts.headcounts += 1;
    if (message.version === feed.version) facts.repeats += 1;
    if (feed.version >= 0 && message.version > feed.version + 1) {
      facts.gaps += 1;
      note(`Version ${message.version} followed version ${feed.version}`);
    }
    if (isCurrent(message, feed)) {
      feed.version = message.version;
      feed.asOf = message.asOf;
      for (const source of ['feed', 'space']) server.problems.delete(source); // a read that failed meanwhile no longer matters
      feed.onHeadcount({ ...message.data, version: message.version, asOf: message.asOf });
    }
  } else if (message.type === 'people') {
    feed.onPeople(message.people, message.at);
  } else if (message.type === 'person') {
    feed.onPeople([message], message.at, message.event);
  } else if (message.type === 'alert' && message.space === feed.space) {
    feed.onAlert(message);
  } else if (message.type === 'notice' && message.space === feed.space) {
    if (message.version >= feed.version) feed.onNotice(message.notice);
  } else if (message.type === 'error') {
    // Leaving what does not exist is refused, too: that is no problem of the view that is open now.
    if (feed.space || feed.people.length) server.problems.set('feed', redact(message.error));
    note(`Error from the server: ${redact(message.error)}`);
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

/** Subscribes to a space (null: to none), on this socket or the next one. */
export function listenTo(space) {
  if (feed.space && feed.space !== space) send('unsubscribe');
  feed.space = space;
  feed.version = -1;
  if (space) send('subscribe');
}

/** Watches these people and no others, on this socket or the next one. */
export function watchPeople(people) {
  if (people.join() === feed.people.join()) return;
  feed.people = feed.people.filter((one) => !people.includes(one));
  if (feed.people.length) send('unwatch');
  feed.people = people;
  if (people.length) send('watch');
}

export function stopFeed() {
  drop();
  clearTimeout(feed.poll);
  Object.assign(feed, { failures: 0, polled: null, wasLive: false });
}

export const startFeed = () => !feed.socket && !feed.failures && connect();

setInterval(() => probe(), PING_EVERY);
