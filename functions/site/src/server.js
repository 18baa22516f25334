/** The server: the token, requests, its clock, and what it complained of. */

import { MINUTE, SECOND } from './tools.js';

export const ANSWER_WITHIN = 10 * SECOND;
const TOKEN_KEY = 'headcount.token';

export class ServerError extends Error {}
export class NoAnswer extends Error {}

const storage = (() => {
  try {
    return sessionStorage;
  } catch {
    return {}; // blocked: the token lives as long as the page
  }
})();

export const server = {
  token: storage[TOKEN_KEY] ?? null,
  paused: false,
  /** Aborted when the token or the place changes. */
  scope: new AbortController(),
  /** source -> the server's words */
  problems: new Map(),
  /** Called with the server's words when it refuses the token. */
  refused: () => {},
  /** Called when the server could not be reached. */
  unreachable: () => {},
  /** Called when the problems changed. */
  changed: () => {},
};

export function keepToken(value) {
  server.token = value;
  if (value) storage[TOKEN_KEY] = value;
  else delete storage[TOKEN_KEY];
}

export function newScope() {
  server.scope.abort();
  server.scope = new AbortController();
  server.problems.clear();
}

/** Whether a background read may run: nobody looks at a hidden tab, and a paused screen stands still. */
export const mayRead = (force) => Boolean(server.token) && (force || (!document.hidden && !server.paused));

let clockOffset = 0;
export const serverNow = () => Date.now() + clockOffset;
export const onServerClock = (at) => at + clockOffset;

/** This computer's clock may be a day wrong, so every "ago" is measured on the server's. */
function learnTime(headers) {
  const date = Date.parse(headers.get('date') ?? '');
  if (Number.isNaN(date)) return;
  const offset = date + Number(headers.get('age') ?? 0) * SECOND + SECOND / 2 - Date.now();
  if (Math.abs(offset - clockOffset) > 2 * SECOND) clockOffset = offset; // finer than the header's own second is jitter
}

export const minuteOf = (at) => Math.floor(at / MINUTE) * MINUTE;

export const redact = (words) => (server.token ? String(words).replaceAll(server.token, '…') : String(words));

export const get = (path) => ask('GET', path);

export async function ask(method, path, message) {
  const { signal: wanted } = server.scope;
  let response;
  try {
    const signal = AbortSignal.any([wanted, AbortSignal.timeout(method === 'GET' ? ANSWER_WITHIN : 3 * ANSWER_WITHIN)]);
    const headers = { authorization: `Bearer ${server.token}` };
    if (message) headers['content-type'] = 'application/json';
    response = await fetch(path, { method, cache: 'no-store', headers, signal, body: message && JSON.stringify(message) });
  } catch {
    throw new NoAnswer();
  }
  learnTime(response.headers);
  const body = await response.json().catch(() => null);
  if (wanted.aborted) throw new NoAnswer(); // cut off by another answer's sign-out: not the server's words
  if (response.ok && body && body.success !== false) return body;
  const words = redact(body?.error ?? body?.message ?? `The server answered ${response.status} without saying why.`);
  // A 403 that is not the API's own comes from something between: no reason to sign out.
  if (response.status === 401 || (response.status === 403 && body?.error)) server.refused(words);
  throw new ServerError(words);
}

const AGAIN_AFTER = 5 * SECOND;

/** Runs `task`, notes what the server complained of, and returns how it went; no answer at all asks for `again`. */
export async function attempt(source, task, again) {
  const { signal } = server.scope;
  let outcome = 'ok';
  try {
    await task();
    server.problems.delete(source);
  } catch (error) {
    if (signal.aborted) return 'aborted';
    outcome = error instanceof NoAnswer ? 'unreachable' : 'refused';
    if (error instanceof ServerError) server.problems.set(source, error.message);
    else if (error instanceof NoAnswer) {
      server.unreachable(); // is the socket really still there?
      if (again) setTimeout(again, AGAIN_AFTER);
    } else console.error(error);
  }
  server.changed();
  return outcome;
}

export const spacePath = (space, rest = '') => `/v1/spaces/${encodeURIComponent(space)}${rest}`;
