/** Small tools: DOM nodes made without markup, rows kept by key, pacing, and numbers as words. */

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** One child per item, kept by key, so that rows survive a refresh with their selection and transitions. */
export function reconcile(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const key = String(keyOf(item));
    const node = old.get(key) ?? create(item);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  const kept = new Set(nodes);
  for (const node of old.values()) if (!kept.has(node)) node.remove();
  nodes.forEach((node, i) => parent.children[i] === node || parent.insertBefore(node, parent.children[i] ?? null));
}

/** Returns a function that asks for `task`: never two at once, starts `gap()` ms apart, the last ask never lost. */
export function paced(task, gap) {
  let timer = null;
  let running = false;
  let again = false;
  let forced = false;
  let urgent = false;
  let started = -Infinity;
  async function run() {
    const force = forced;
    timer = null;
    forced = urgent = false;
    running = true;
    started = performance.now();
    try {
      await task(force);
    } finally {
      running = false;
      if (again) ask({ now: urgent });
    }
  }
  function ask({ now = false, force = false } = {}) {
    again = running;
    forced ||= force;
    urgent ||= now;
    if (now) {
      clearTimeout(timer);
      timer = null;
      started = -Infinity;
    }
    if (!running) timer ??= setTimeout(run, Math.max(0, started + gap() - performance.now()));
  }
  return ask;
}

// Made once: a formatter costs far more than what it formats.
const whole = new Intl.NumberFormat();
const fraction = new Intl.NumberFormat([], { maximumFractionDigits: 2 });
const small = new Intl.NumberFormat([], { maximumSignificantDigits: 2 });
const toMinute = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const toSecond = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const number = (value) => (Number.isFinite(value) ? whole.format(value) : '–');
export const decimal = (value) => (Number.isFinite(value) ? (Math.abs(value) < 0.1 ? small : fraction).format(value) : '–');
export const percent = (share) => (Number.isFinite(share) ? `${Math.round(share * 100)} %` : '–');
export const counted = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
export const capitalised = (word) => word && word[0].toUpperCase() + word.slice(1);
export const clockTime = (at, seconds) => (seconds ? toSecond : toMinute).format(new Date(at));

export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / SECOND));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} m`;
}

/** Seconds of a recording as a player shows them. */
export function position(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const two = (n) => String(n).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const countries = new Intl.DisplayNames([], { type: 'region', fallback: 'code' });

export function countryName(code) {
  try {
    return countries.of(code);
  } catch {
    return code; // what a client said, not what a country is called
  }
}
