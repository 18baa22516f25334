/** The time zone of every time and day on the screen: one setting. Days of a zone begin at its midnight. */

const KEY = 'headcount.zone';
const BROWSER = Intl.DateTimeFormat().resolvedOptions().timeZone;

function stored() {
  try {
    return localStorage[KEY] ?? '';
  } catch {
    return '';
  }
}

function isZone(name) {
  try {
    return Boolean(name && new Intl.DateTimeFormat([], { timeZone: name }));
  } catch {
    return false;
  }
}

const formats = new Map();
const listeners = [];
let chosen = isZone(stored()) ? stored() : '';

/** The name of the zone, such as Europe/Berlin. */
export const zoneName = () => chosen || BROWSER;
export const browserZone = BROWSER;
/** Whether the browser's zone applies because nobody chose another. */
export const isChosen = () => Boolean(chosen);

/** Chooses a zone; '' is the browser's. */
export function chooseZone(name) {
  chosen = isZone(name) ? name : '';
  formats.clear();
  try {
    if (chosen) localStorage[KEY] = chosen;
    else delete localStorage[KEY];
  } catch {
    // blocked: it lasts until the page is closed
  }
  for (const listener of listeners) listener();
}

export const onZone = (listener) => listeners.push(listener);

/** A formatter in the zone, created once: that costs far more than its use. */
export function format(options, locale = []) {
  const key = JSON.stringify([locale, options]);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(locale, { timeZone: zoneName(), ...options }));
  return formats.get(key);
}

const PARTS = { hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' };

/** A moment's time by the zone's clocks, as if that was UTC. */
export function wall(at) {
  const { year, month, day, hour, minute, second } = Object.fromEntries(format(PARTS, 'en-US').formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** The moment when the zone's clocks show this time, or the first one after it that they skip. */
export function moment(shown) {
  const offset = (at) => wall(at) - at;
  const first = shown - offset(shown);
  const second = shown - offset(first);
  return wall(second) === shown ? second : Math.max(first, second);
}

/** The date of a moment in the zone, such as 2026-11-21. */
export const dateOf = (at) => new Date(wall(at)).toISOString().slice(0, 10);
/** The first moment of a date in the zone. */
export const startOf = (date) => moment(Date.parse(`${date}T00:00:00Z`));
export const addDays = (date, count) => new Date(Date.parse(`${date}T00:00:00Z`) + count * 86_400_000).toISOString().slice(0, 10);
/** The moment at which the clocks show the same, some days later. */
export const shiftDays = (at, count) => moment(wall(Math.floor(at / 1000) * 1000) + count * 86_400_000);
