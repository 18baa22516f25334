/** Helpers: DOM nodes without markup, rows kept by key, pacing, and formatting. */

import { format } from './zone.js';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** A browser's storage, or a plain object if storage is blocked. */
export function storageOf(read) {
  try {
    return read();
  } catch {
    return {};
  }
}

export const $ = (id) => document.getElementById(id);

const PLAIN = /^[ -~]*$/;
const HIDDEN = /(?![\u200c\u200d\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu; // joiners belong to letters and emoji
const BLANK = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800]*$/u;
const escaped = (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, '0')}`;

/** Whether a text shows nothing: spaces, fillers, invisible characters. */
export const isBlank = (text) => BLANK.test(text ?? '');

/** Texts from others, as the command line shows them: what is invisible, or turns the text's direction, is an escape. */
export function shown(value) {
  const text = String(value);
  if (PLAIN.test(text)) return text;
  return isBlank(text) ? [...text].map((one) => (one === ' ' ? one : escaped(one))).join('') : text.replace(HIDDEN, escaped);
}

const READ = new Set(['title', 'alt', 'aria-label', 'aria-valuetext', 'placeholder']);
const readable = (name, value) => (READ.has(name) ? shown(value) : String(value));

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, readable(name, value));
  node.append(...children.map((child) => (child instanceof Node ? child : shown(child))));
  return node;
}

/** An element of a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function setText(node, text) {
  const safe = shown(text);
  if (node.textContent !== safe) node.textContent = safe;
}

export function setAttribute(node, name, value) {
  const safe = readable(name, value);
  if (node.getAttribute(name) !== safe) node.setAttribute(name, safe);
}

/** One child per item, kept by key, so that a refresh keeps a row's selection and transitions. */
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

/** Returns a function that requests a run of `task`: one run at a time, starts `gap()` ms apart, the last request is never lost. */
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
      if (again) request({ now: urgent });
    }
  }
  function request({ now = false, force = false } = {}) {
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
  return request;
}

// Created once: a formatter costs far more than its use.
const whole = new Intl.NumberFormat();
const fraction = new Intl.NumberFormat([], { maximumFractionDigits: 2 });
const tenth = new Intl.NumberFormat([], { maximumFractionDigits: 1 });
const small = new Intl.NumberFormat([], { maximumSignificantDigits: 2 });
const toMinute = { hour: 'numeric', minute: '2-digit' };
const toSecond = { ...toMinute, second: '2-digit' };

export const number = (value) => (Number.isFinite(value) ? whole.format(value) : '–');
export const decimal = (value) => (Number.isFinite(value) ? (Math.abs(value) < 0.1 ? small : fraction).format(value) : '–');

/** As precise as a person reads: at most one decimal, two below a tenth. */
export const fewer = (value) => (Number.isFinite(value) ? (Math.abs(value) >= 100 ? whole : Math.abs(value) < 0.1 ? small : tenth).format(value) : '–');
/** kbit/s as people say it. */
export const rateOf = (kbits) => (Math.abs(kbits) >= 1000 ? `${tenth.format(kbits / 1000)} Mbit/s` : `${whole.format(kbits)} kbit/s`);
export const latencyOf = (ms) => (ms >= 1000 ? `${tenth.format(ms / 1000)} s` : `${whole.format(Math.round(ms))} ms`);

/** A share: some are never 0%, and not all are never 100%. */
export function percent(share) {
  if (!Number.isFinite(share)) return '–';
  const rounded = Math.round(share * 100);
  if (rounded === 0 && share > 0) return '<1%';
  return rounded === 100 && share < 1 ? '>99%' : `${rounded}%`;
}

export const dollarsOf = (value) => `$${value.toFixed(2)}`;
export const counted = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
export const capitalised = (word) => word && word[0].toUpperCase() + word.slice(1);
export const dateTime = (at) => format({ dateStyle: 'medium', timeStyle: 'short' }).format(new Date(at));
export const clockTime = (at, seconds) => format(seconds ? toSecond : toMinute).format(new Date(at));
export const weekdayOf = (at) => format({ weekday: 'short', day: 'numeric', month: 'short' }).format(new Date(at));

export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / SECOND));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} m`;
}

/** Seconds of a recording, formatted as in a player. */
export function position(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const two = (n) => String(n).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const nameIn = (names) => (code) => {
  try {
    return names.of(code);
  } catch {
    return code; // the client sent something else
  }
};
export const countryName = nameIn(new Intl.DisplayNames([], { type: 'region' }));
export const languageName = nameIn(new Intl.DisplayNames([], { type: 'language' }));
