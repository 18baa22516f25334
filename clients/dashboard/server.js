/** The server: the token, requests, its clock, and its error messages. */

import { MINUTE, SECOND, storageOf } from './tools.js';

export const REQUEST_TIMEOUT = 10 * SECOND;
const RETRY_DELAY = 5 * SECOND;
const TOKEN_KEY = 'headcount.token';

/** The server refused a request; the message is its own. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}
class NoResponse extends Error {}

export const messageOf = (error) => (error instanceof ServerError ? error.message : 'The server does not respond. Check your connection and try again.');

const storage = storageOf(() => sessionStorage);

export const server = {
  token: storage[TOKEN_KEY] ?? null,
  paused: false,
  /** Aborted when the token or the view changes. */
  scope: new AbortController(),
  /** What the token allows: {admin, allows, share}; null if it is not known. */
  rights: null,
  /** Whether the server was asked for the rights of this token. */
  learned: false,
  /** Source -> error message. */
  problems: new Map(),
  /** Called with the error message when the server refuses the token. */
  refused: () => {},
  /** Renews a token that the server refuses; returns whether there is a new one. */
  renew: async () => false,
  /** Called when a request got no response. */
  unreachable: () => {},
  /** Called when the problems changed. */
  changed: () => {},
};

export function keepToken(value) {
  server.token = value;
  if (!value) Object.assign(server, { rights: null, learned: false });
  if (value) storage[TOKEN_KEY] = value;
  else delete storage[TOKEN_KEY];
}

export function newScope() {
  server.scope.abort();
  server.scope = new AbortController();
  server.problems.clear();
}

/** Whether a background read may run: not in a hidden tab, nor on a paused screen. */
export const mayRead = (force) => Boolean(server.token) && (force || (!document.hidden && !server.paused));

let clockOffset = 0;
export const serverNow = () => Date.now() + clockOffset;
export const onServerClock = (at) => at + clockOffset;

/** This computer's clock may be a day wrong, so every "ago" uses the server's. */
function learnTime(headers) {
  const date = Date.parse(headers.get('date') ?? '');
  if (Number.isNaN(date)) return;
  const offset = date + Number(headers.get('age') ?? 0) * SECOND + SECOND / 2 - Date.now();
  if (Math.abs(offset - clockOffset) > 2 * SECOND) clockOffset = offset; // less is jitter: the header has whole seconds
}

export const minuteOf = (at) => Math.floor(at / MINUTE) * MINUTE;

export const redact = (text) => (server.token ? String(text).replaceAll(server.token, '…') : String(text));

/** Whether the token allows an action in a space, or in any space of a kind (`link:*`). As long as that is not known, the server decides. */
export function allows(action, space) {
  if (isRollup(space)) return false; // it has numbers only
  if (!server.rights) return true;
  const spaces = server.rights.allows[action] ?? [];
  const [kind, id] = space.split(':');
  return spaces.some((one) => one === '*' || one === space || one === `${kind}:*` || (id === '*' && one.startsWith(`${kind}:`)));
}

/** Whether the token may see where a person is; `key` as in u:ada. */
export const mayFind = (key) => !server.rights || (server.rights.allows.people ?? []).some((one) => one === '*' || one === key);

export const get = (path) => request('GET', path);

export async function request(method, path, content, again = true) {
  const { token } = server;
  const { signal: scope } = server.scope;
  let response;
  try {
    const signal = AbortSignal.any([scope, AbortSignal.timeout(method === 'GET' ? REQUEST_TIMEOUT : 3 * REQUEST_TIMEOUT)]);
    const headers = { authorization: `Bearer ${token}` };
    if (content) headers['content-type'] = 'application/json';
    response = await fetch(path, { method, cache: 'no-store', headers, signal, body: content && JSON.stringify(content) });
  } catch {
    throw new NoResponse();
  }
  learnTime(response.headers);
  const body = await response.json().catch(() => null);
  if (scope.aborted) throw new NoResponse(); // cut off by a sign-out: not the server's error
  if (response.ok && body && body.success !== false) return body;
  const message = redact(body?.error ?? body?.message ?? `The server responded with ${response.status} and no message.`);
  if (response.status === 401 && token !== server.token) return request(method, path, content, again); // renewed meanwhile
  if (response.status === 401 && again && (await server.renew())) return request(method, path, content, false);
  // A 403 is no reason to sign out: the token is good, for other things.
  if (response.status === 401) server.refused(message);
  throw new ServerError(message, response.status);
}

/** Runs `task`, records the server's error, and returns the outcome. Without a response it calls `retry` a little later. */
export async function attempt(source, task, retry) {
  const { signal } = server.scope;
  let outcome = 'ok';
  try {
    await task();
    server.problems.delete(source);
  } catch (error) {
    if (signal.aborted) return 'aborted';
    outcome = error instanceof NoResponse ? 'unreachable' : 'refused';
    if (error instanceof ServerError) server.problems.set(source, error.message);
    else if (error instanceof NoResponse) {
      server.unreachable(); // the socket may be dead too
      if (retry) setTimeout(retry, RETRY_DELAY);
    } else console.error(error);
  }
  server.changed();
  return outcome;
}

/** A kind or a group in the place of a space: ~kind:course, ~group:school. */
export const isRollup = (space) => space.startsWith('~');
const partsOf = (rollup) => rollup.slice(1).split(':');
export const spaceName = (space) => (isRollup(space) ? partsOf(space).join(' ') : space);

export function spacePath(space, rest = '') {
  const [what, name] = isRollup(space) ? partsOf(space) : ['space', space];
  return `/v1/${what}s/${encodeURIComponent(name)}${rest}`;
}

/** A space's history in steps of some minutes, beside an equally long period and what is usual: see docs/api.md. */
export function historyOf(space, { from, to, step, compare = null, usual = false }) {
  const iso = (at) => encodeURIComponent(new Date(at).toISOString());
  return get(spacePath(space, `/history?from=${iso(from)}&to=${iso(to)}&step=${step}${compare === null ? '' : `&compare=${iso(compare)}`}${usual ? '&usual=true' : ''}`));
}

/** A space's samples between two times, in milliseconds; {at, people: null} for each minute that was not sampled. */
export async function timelineBetween(space, from, to) {
  const iso = (at) => encodeURIComponent(new Date(at).toISOString());
  const { points, gaps = [] } = await get(spacePath(space, `/timeline?from=${iso(from)}&to=${iso(to)}`));
  for (const gap of gaps) {
    for (let at = Date.parse(gap.from); at <= Date.parse(gap.to); at += MINUTE) points.push({ at: new Date(at).toISOString(), people: null, sessions: null });
  }
  return gaps.length ? points.sort((a, b) => Date.parse(a.at) - Date.parse(b.at)) : points;
}
