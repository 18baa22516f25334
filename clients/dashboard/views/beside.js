/** What a space's live numbers are compared with: the time before, what is usual, and earlier views. Changes slowly. */

import { keepSetting } from '../address.js';
import { app, reading } from '../app.js';
import { change, earlierPeriod, knownSince, periodOf, quarterOf, utcDate, viewsBetween, wayOf } from '../period.js';
import { get, historyOf, isRollup, serverNow, spacePath } from '../server.js';
import { isOpen } from '../tabs.js';
import { $, DAY, HOUR, MINUTE, SECOND, clockTime, duration, number, setText } from '../tools.js';
import { addDays, dateOf, onZone, startOf, zoneName } from '../zone.js';

const RELOAD_AFTER = 10 * MINUTE;
const STEP = { hour: 1, day: 5, week: 15 };
const beside = { overlay: null, rows: null, key: '', readAt: 0 };
let changed = () => {}; // draws the chart again

const mode = () => app.place.compare || 'before';
const rangeName = () => (STEP[app.place.range] ? app.place.range : 'hour');
const keyOf = () => [app.place.space, rangeName(), mode()].join(' ');
const isDue = (force) => isOpen('live') && (force || beside.key !== keyOf() || Date.now() - beside.readAt > RELOAD_AFTER);
export const refresh = reading('space', 'beside', load, () => 2 * SECOND, isDue);

/** The live chart's period: up to now, and a little more, so that what was then is known until the next read. */
function rolling(now) {
  const name = rangeName();
  const span = { hour: HOUR, day: DAY, week: 7 * DAY }[name];
  return { name: name === 'week' ? 'custom' : name, from: now - span, to: now, isRunning: true, step: STEP[name] };
}

async function load() {
  const { space } = app.place;
  const key = keyOf();
  const now = serverNow();
  const period = rolling(now);
  const back = period.name === 'custom' ? 7 : mode() === 'week' ? 7 : 1;
  const compare = mode() === 'none' ? null : earlierPeriod({ ...period, name: 'day' }, back === 7 ? 'week' : 'before').from;
  const since = addDays(dateOf(startOf(`${addDays(`${dateOf(now).slice(0, 7)}-01`, -1).slice(0, 7)}-01`)), -9);
  // What is usual in a week is that week: there it would be read from a month of minutes.
  const [body, days] = await Promise.all([
    mode() === 'none' && period.name === 'custom' ? null : historyOf(space, { from: period.from, to: now + RELOAD_AFTER, step: period.step, compare, usual: period.name !== 'custom' }),
    isRollup(space) ? { days: [] } : get(spacePath(space, `/days?from=${since}&to=${utcDate(now)}&quarters=true`)),
  ]);
  Object.assign(beside, { overlay: body && { ...body, at: Date.parse(body.from) }, rows: days.days, key, readAt: Date.now() });
  render();
  changed();
}

/** What was there at the same time before, and what is usual; null where that is not known. */
export function besideAt(at) {
  const { overlay } = beside;
  const i = overlay && beside.key === keyOf() ? Math.floor((at - overlay.at) / (overlay.step * MINUTE)) : -1;
  return { before: overlay?.compared?.people[i] ?? null, low: overlay?.usual?.low[i] ?? null, high: overlay?.usual?.high[i] ?? null };
}

export const besideMarks = () => beside.overlay?.marks ?? [];
export const usualWeeks = () => beside.overlay?.usual?.weeks ?? 0;
export const beforeName = () => (mode() === 'none' ? '' : mode() === 'week' || rangeName() === 'week' ? 'A week earlier' : 'Yesterday');

const weekStart = (date) => addDays(date, -((new Date(`${date}T00:00:00Z`).getUTCDay() + 6) % 7));
const STARTS = { today: (date) => date, week: weekStart, month: (date) => `${date.slice(0, 7)}-01` };
const NAMES = { today: 'day', week: 'week', month: 'month' };

/** Views since the zone's midnight, Monday or first: the server counts by UTC, so what lies between is added or taken off. */
export function viewsSince(part, counted, now = serverNow()) {
  const utc = Date.parse(`${STARTS[part](utcDate(now))}T00:00:00Z`);
  const own = startOf(STARTS[part](dateOf(now)));
  if (own === utc || !Number.isFinite(counted)) return { views: counted, zone: own === utc ? zoneName() : 'UTC' };
  const between = viewsBetween(beside.rows ?? [], Math.min(own, utc), Math.max(own, utc), known());
  const views = own < utc ? counted + between : counted - between;
  return between === null || views < 0 ? { views: counted, zone: 'UTC' } : { views, zone: zoneName() };
}

const known = () => knownSince(beside.rows ?? [], beside.overlay?.since);

/** The views of a day, a week or a month so far, and of the one before until the same time, by full quarter hours. */
function viewsOf(part, now) {
  const start = startOf(STARTS[part](dateOf(now)));
  const period = { name: part === 'month' ? 'month' : part === 'week' ? 'week' : 'day', from: start, to: now, isRunning: true };
  const earlier = part === 'week' ? earlierPeriod(period, 'week') : earlierPeriod(period, part === 'today' ? mode() : 'before');
  const rows = beside.rows ?? [];
  return [viewsBetween(rows, quarterOf(start), quarterOf(now), known()), viewsBetween(rows, quarterOf(earlier.from), quarterOf(earlier.to), known())];
}

function render() {
  $('compare-live').value = mode();
  const now = serverNow();
  const today = beside.rows?.find(({ date }) => date === utcDate(now));
  setText($('stay'), today ? duration(today.avgSeconds * SECOND) : '–');
  for (const part of Object.keys(NAMES)) {
    const node = $(`views-${part}-change`);
    if (mode() === 'none' || !beside.rows) {
      setText(node, '');
      continue;
    }
    const [views, before] = viewsOf(part, now);
    const text = change(views, before);
    node.dataset.way = wayOf(text);
    const than = part === 'today' ? (mode() === 'week' ? 'a week earlier' : 'yesterday') : `the ${NAMES[part]} before`;
    setText(node, `${text} vs ${than}`);
    node.title = before === null ? `Not known for ${than}` : `Until ${clockTime(quarterOf(now))}: ${number(views)}, ${than}: ${number(before)}`;
  }
}

$('compare-live').onchange = ({ target }) => {
  keepSetting(app.place, 'compare', target.value === 'before' ? '' : target.value);
  render();
  refresh({ now: true, force: true });
};
onZone(() => refresh({ now: true, force: true }));
setInterval(() => refresh(), MINUTE);

export function enter(draw) {
  changed = draw;
  render();
}

export function forget() {
  Object.assign(beside, { overlay: null, rows: null, key: '', readAt: 0 });
}
