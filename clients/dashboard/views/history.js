/** A space's history: hours by weekday, and days. Loaded when visible, because they change slowly. */

import { app, reading } from '../app.js';
import { heatOf } from '../heat.js';
import { get, minuteOf, serverNow, spacePath, timelineBetween } from '../server.js';
import { stackedTable } from '../tables.js';
import { $, DAY, MINUTE, SECOND, decimal, duration, element, number, reconcile, setText } from '../tools.js';

const RELOAD_AFTER = 10 * MINUTE;
const FIRST_DELAY = 1.5 * SECOND; // live data is read first
const WEEK = 7 * DAY;
const WEEKDAYS = Array.from({ length: 7 }, (_, day) => new Date(2024, 0, 1 + day).toLocaleDateString([], { weekday: 'short' })); // a Monday
const days = { rows: [], readAt: null };
const heat = { cells: null, readAt: null };
const createRow = stackedTable($('days'), [['day bar-cell', 'Day'], ['number', 'People'], ['number soft', 'Users'], ['number soft', 'Sessions'], ['number', 'Views'], ['number soft', 'Beats'], ['number', 'Peak'], ['number', 'Average stay']]);
const visible = new Set(); // ids of sections
let waitUntil = 0;

const isDue = (section, part) => (force) => visible.has(section) && Date.now() >= waitUntil && (force || part.readAt === null || Date.now() - part.readAt > RELOAD_AFTER);
const refreshDays = reading('space', 'days', loadDays, () => 2 * SECOND, isDue('days-section', days));
const refreshHeat = reading('space', 'heat', loadHeat, () => 2 * SECOND, isDue('heat-section', heat));

async function loadDays() {
  const to = serverNow();
  const day = (at) => new Date(at).toISOString().slice(0, 10);
  const { days: rows } = await get(spacePath(app.place.space, `/days?from=${day(to - (Number($('days-back').value) - 1) * DAY)}&to=${day(to)}`));
  Object.assign(days, { rows: rows.reverse(), readAt: Date.now() });
  renderDays();
}

function renderDays() {
  const most = Math.max(1, ...days.rows.map((day) => day.uniquePeople));
  const create = () => {
    const row = createRow();
    row.firstChild.append(element('span'));
    return row;
  };
  reconcile($('days'), days.rows, ({ date }) => date, create, (row, day) => {
    const [date, ...cells] = row.children;
    date.style.setProperty('--share', day.uniquePeople / most);
    setText(date.firstChild, new Date(`${day.date}T00:00:00Z`).toLocaleDateString([], { weekday: 'short', day: 'numeric', month: 'short', timeZone: 'UTC' }));
    const numbers = [day.uniquePeople, day.uniqueUsers, day.uniqueSessions, day.views, day.beats, day.peak];
    cells.forEach((cell, i) => setText(cell, i < numbers.length ? number(numbers[i]) : duration(day.avgSeconds * SECOND)));
  });
  $('days').closest('table').hidden = !days.rows.length;
  $('days-empty').hidden = days.readAt === null || days.rows.length > 0;
}

async function loadHeat() {
  const to = minuteOf(serverNow());
  const weeks = Number($('heat-weeks').value);
  const points = [];
  for (let week = weeks; week > 0; week -= 1) points.push(...(await timelineBetween(app.place.space, to - week * WEEK, to - (week - 1) * WEEK - 1)));
  Object.assign(heat, { cells: heatOf(points, to - weeks * WEEK, to), readAt: Date.now() });
  renderHeat();
}

function renderHeat() {
  const rows = heat.cells ?? WEEKDAYS.map(() => Array(24).fill(null));
  if (!$('heat').rows.length) createHeat();
  const most = Math.max(0, ...rows.flat().map(Number));
  rows.forEach((row, day) =>
    row.forEach((people, hour) => {
      const cell = $('heat').tBodies[0].rows[day].cells[hour + 1];
      const text = people === null ? 'no data' : decimal(people);
      cell.style.setProperty('--heat', people && most ? people / most : 0);
      cell.title = `${WEEKDAYS[day]} ${String(hour).padStart(2, '0')}:00 · ${people === null ? text : `${text} people`}`;
      setText(cell.firstChild, text);
    }),
  );
  const best = { people: 0 };
  rows.forEach((row, day) => row.forEach((people, hour) => people > best.people && Object.assign(best, { people, day, hour })));
  setText($('heat-note'), heat.readAt === null ? 'Loading…' : best.people ? `Busiest: ${WEEKDAYS[best.day]} at ${String(best.hour).padStart(2, '0')}:00, ${decimal(best.people < 10 ? best.people : Math.round(best.people))} people on average. A stronger colour means more people.` : 'No visitors in this period. Choose more weeks, or come back after the first visit.');
}

function createHeat() {
  const hours = Array.from({ length: 24 }, (_, hour) => element('th', { scope: 'col' }, element('span', { class: hour % 3 ? 'visually-hidden' : '' }, String(hour).padStart(2, '0'))));
  const corner = element('th', { scope: 'col' }, element('span', { class: 'visually-hidden' }, 'Weekday'));
  const cell = () => element('td', {}, element('span', { class: 'visually-hidden' }));
  const rows = WEEKDAYS.map((name) => element('tr', {}, element('th', { scope: 'row' }, name), ...Array.from({ length: 24 }, cell)));
  $('heat').append(element('thead', {}, element('tr', {}, corner, ...hours)), element('tbody', {}, ...rows));
}

const watch = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target.id);
      else visible.delete(target.id);
    }
    refresh();
  },
  { rootMargin: '200px' },
);
watch.observe($('days-section'));
watch.observe($('heat-section'));
$('days-back').onchange = () => refreshDays({ now: true, force: true });
$('heat-weeks').onchange = () => refreshHeat({ now: true, force: true });
setInterval(() => refresh(), MINUTE);

export function refresh(options) {
  refreshDays(options);
  refreshHeat(options);
}

export function enter() {
  waitUntil = Date.now() + FIRST_DELAY;
  setTimeout(refresh, FIRST_DELAY + 50);
  renderDays();
  renderHeat();
}

export function forget() {
  Object.assign(days, { rows: [], readAt: null });
  Object.assign(heat, { cells: null, readAt: null });
  $('days').replaceChildren();
}

export const csv = {
  days: () => [
    `${app.place.space}-days`,
    [['day', 'unique people', 'unique users', 'unique sessions', 'views', 'beats', 'peak', 'average seconds'], ...days.rows.map((day) => [day.date, day.uniquePeople, day.uniqueUsers, day.uniqueSessions, day.views, day.beats, day.peak, day.avgSeconds])],
  ],
  heat: () => [`${app.place.space}-hours`, [['weekday', ...Array.from({ length: 24 }, (_, hour) => `${String(hour).padStart(2, '0')}:00`)], ...WEEKDAYS.map((name, day) => [name, ...(heat.cells?.[day] ?? [])])]],
};
