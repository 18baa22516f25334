/** A space's history over a period: a chart beside the time before, days, hours by weekday. Read when visible. */

import { keepSetting } from '../address.js';
import { app, reading } from '../app.js';
import { createChart } from '../chart.js';
import { heatOf } from '../heat.js';
import { PERIODS, areUtc, change, comparable, daysOf, earlierPeriod, knownSince, periodOf, quarterOf, stepsOf, summaryOf, utcDate, viewsBetween, wayOf } from '../period.js';
import { get, historyOf, serverNow, spacePath } from '../server.js';
import { setNumbers, stackedTable } from '../tables.js';
import { $, DAY, MINUTE, SECOND, clockTime, counted, dateTime, decimal, duration, element, number, reconcile, setText, weekdayOf } from '../tools.js';
import { browserZone, chooseZone, isChosen, onZone, wall, zoneName } from '../zone.js';

const RELOAD_AFTER = 10 * MINUTE;
const FIRST_DELAY = 1.5 * SECOND; // live data is read first
const WEEK = 7 * DAY;
const MOST_DAYS = 400;
const WEEKDAYS = Array.from({ length: 7 }, (_, day) => new Date(Date.UTC(2024, 0, 1 + day)).toLocaleDateString([], { weekday: 'short', timeZone: 'UTC' })); // a Monday
const past = { readAt: null, period: null, earlier: null, body: null, wide: null, rows: [], days: [], series: [] };
const visible = new Set(); // ids of sections
let waitUntil = 0;

const createDay = stackedTable($('days'), [['day bar-cell', 'Day'], ['number', 'People'], ['number soft', 'Users'], ['number soft', 'Sessions'], ['number', 'Views'], ['number change', 'Change'], ['number', 'Peak'], ['number', 'Average stay']]);
const createZoneDay = stackedTable($('zone-days'), [['day bar-cell', 'Day'], ['number', 'Views'], ['number change', 'Change'], ['number', 'Average people'], ['number', 'Peak']]);

const isDue = (force) => visible.size > 0 && Date.now() >= waitUntil && (force || past.readAt === null || Date.now() - past.readAt > RELOAD_AFTER);
export const refresh = reading('space', 'history', load, () => 2 * SECOND, isDue);

const mode = () => app.place.compare || 'before';

/** The period that days and hours by weekday are of: a few hours have none. */
const wideOf = (period, now) => (['hour', 'day'].includes(period.name) ? periodOf({ period: '28d' }, now) : period);

async function load() {
  const { space } = app.place;
  const now = serverNow();
  const period = periodOf(app.place, now);
  const earlier = earlierPeriod(period, mode());
  const wide = wideOf(period, now);
  const earlierWide = earlierPeriod(wide, mode());
  const first = Math.max(Math.min(...[period, earlier, wide, earlierWide].map((one) => one?.from ?? now)) - 8 * DAY, now - (MOST_DAYS - 1) * DAY);
  const read = (one, before) => {
    const steps = stepsOf(one);
    const compare = before === null ? null : before.from + (steps.from - one.from);
    return historyOf(space, { ...steps, compare, usual: steps.to - steps.from <= WEEK });
  };
  const [body, wideBody, { days }] = await Promise.all([
    read(period, earlier),
    wide === period ? null : read(wide, null),
    get(spacePath(space, `/days?from=${utcDate(first)}&to=${utcDate(now)}&quarters=true`)),
  ]);
  // A month is compared with the one before, which may be shorter.
  const { compared } = body;
  if (compared) for (const name of ['people', 'peaks']) compared[name] = compared[name].map((one, i) => (Date.parse(compared.from) + i * body.step * MINUTE < earlier.to ? one : null));
  Object.assign(past, { readAt: Date.now(), now, period, earlier, earlierWide, body, rows: days, wide: { ...(wideBody ?? body), period: wide } });
  past.days = daysIn(wide);
  render();
}

/** Each day of the zone in a period, with what is stored about it. */
function daysIn(period) {
  const { rows, now, wide } = past;
  const days = daysOf(period);
  const isUtc = (past.isUtc = areUtc(days));
  const byDate = new Map(rows.map((row) => [row.date, row]));
  const since = knownSince(rows, wide.since);
  const earlierDays = past.earlierWide === null ? [] : daysOf(past.earlierWide);
  const first = Date.parse(wide.from);
  return days.map((day, i) => {
    const until = Math.min(day.to, quarterOf(now));
    const row = isUtc ? byDate.get(day.date) : null;
    const before = earlierDays[i];
    const isWhole = until === day.to;
    const views = viewsBetween(rows, day.from, until, since);
    const viewsBefore = before ? viewsBetween(rows, before.from, isWhole ? before.to : before.from + (until - day.from), since) : null;
    const [begin, end] = [day.from, day.to].map((at) => Math.max(0, Math.round((at - first) / (wide.step * MINUTE))));
    const summary = summaryOf({ people: wide.people.slice(begin, end), peaks: wide.peaks.slice(begin, end) });
    const shown = row ? row.views : isUtc && day.from >= since && since !== null && isWhole ? 0 : views;
    return { ...day, row, isWhole, views: shown, viewsBefore, change: change(isWhole ? shown : views, viewsBefore), mean: summary?.mean ?? null, peak: row ? row.peak : (summary?.peak ?? null) };
  });
}

// --- The chart -----------------------------------------------------------------------------------

const isLong = () => past.period && past.period.to - past.period.from > DAY;
const timeOf = (at) => (isLong() ? `${weekdayOf(at)}, ${clockTime(at)}` : clockTime(at));
export const peopleText = (value) => (Number.isInteger(value) ? counted(value, 'person', 'people') : `${decimal(value)} people`);

/** What a point of such a chart says. */
export function describePoint({ at, people, peak, before, low, high, isPeak }, time) {
  const parts = [time(at), people === null ? 'no data' : peopleText(people)];
  if (isPeak) parts.push(`peak: ${number(peak)}`);
  else if (people !== null && peak > people) parts.push(`up to ${number(peak)}`);
  if (before != null) parts.push(`before: ${decimal(before)}`);
  if (low != null) parts.push(`usual: ${decimal(low)}–${decimal(high)}`);
  return parts.join(' · ');
}

export const LINES = [{ color: '--accent', fill: true }, { color: '--second', dash: [5, 4], width: 1.5, isQuiet: true }, { color: '--second', width: 0, isQuiet: true }, { color: '--second', width: 0, isQuiet: true }];
export const BAND = [3, 4];
export const valuesOf = (series) => ['people', 'before', 'high', 'low'].map((name) => series.map((one) => one[name]));

/** The steps of an answer of the server, as points of the chart. */
export function pointsOf({ from, step, people, sessions, peaks, compared, usual }) {
  const first = Date.parse(from);
  return people.map((value, i) => ({
    at: first + i * step * MINUTE,
    people: value,
    sessions: sessions[i],
    peak: peaks[i],
    before: compared?.people[i] ?? null,
    low: usual?.low[i] ?? null,
    high: usual?.high[i] ?? null,
  }));
}

const chart = createChart($('past'), {
  lines: LINES,
  band: BAND,
  describe: (i) => describePoint(past.series[i], timeOf),
  label: (seconds) => {
    const at = seconds * SECOND;
    return isLong() && wall(at) % DAY === 0 ? weekdayOf(at) : clockTime(at);
  },
});

const titleOf = ({ name, from, to }) => (name === 'custom' ? `${weekdayOf(from)} – ${weekdayOf(to - 1)}` : PERIODS[name]);
const earlierName = () => (mode() === 'week' ? 'A week earlier' : ['hour', 'day'].includes(past.period?.name) ? 'Yesterday' : past.period?.name === 'month' || past.period?.name === 'last-month' ? 'The month before' : 'The period before');

function render() {
  renderBar();
  renderChart();
  renderDays();
  renderHeat();
}

function renderChart() {
  const { body, period } = past;
  setText($('past-title'), titleOf(period ?? periodOf(app.place, serverNow())));
  if (!body) {
    past.series = [];
    setNumbers({ 'past-views': '–', 'past-mean': '–', 'past-peak': '–', 'past-views-change': '', 'past-mean-change': '', 'past-peak-change': '', 'past-note': '' });
    $('past-marks').replaceChildren();
    $('past-key-peak').hidden = true;
    return;
  }
  const series = (past.series = pointsOf(body));
  const whole = summaryOf(body);
  const best = whole?.peak ? series[whole.index] : null;
  if (best) best.isPeak = true;
  if ($('past').clientWidth) chart.draw(series.map(({ at }) => at / SECOND), valuesOf(series), Date.parse(body.from) / SECOND, Date.parse(body.to) / SECOND, body.marks.map(({ at }) => Date.parse(at) / SECOND), best && { at: best.at / SECOND, value: best.peak });
  const [now, before] = comparable(body, body.compared);
  const since = knownSince(past.rows, body.since);
  const [from, to] = [quarterOf(period.from), quarterOf(period.to)];
  const views = viewsBetween(past.rows, from, to, since);
  const viewsBefore = past.earlier === null ? null : viewsBetween(past.rows, quarterOf(past.earlier.from), quarterOf(past.earlier.to), since);
  setNumbers({
    'past-views': number(views ?? NaN),
    'past-mean': decimal(whole?.mean ?? NaN),
    'past-peak': number(whole?.peak ?? NaN),
    'past-peak-at': best ? dateTime(best.at) : '',
  });
  showPeak($('past-key-peak'), best && { people: best.peak, at: timeOf(best.at) });
  showChange($('past-views-change'), change(views, viewsBefore), viewsBefore);
  showChange($('past-mean-change'), change(now?.mean, before?.mean), before?.mean ?? null);
  showChange($('past-peak-change'), change(now?.peak, before?.peak), before?.peak ?? null);
  $('past-key-before').hidden = !body.compared;
  setText($('past-key-before'), earlierName());
  const weeks = body.usual?.weeks ?? 0;
  $('past-key-usual').hidden = weeks < 2;
  setText($('past-key-usual'), `Usual at this time: the middle half of ${weeks} weeks`);
  renderMarks($('past-marks'), body.marks);
  const cut = Date.parse(body.from) > period.from + MINUTE ? ` The chart has its last 31 days.` : '';
  const old = body.since === null ? ' No samples are stored for this time.' : Date.parse(body.since) > Date.parse(body.from) + DAY ? ` Samples are stored since ${dateTime(Date.parse(body.since))}.` : '';
  setText($('past-note'), `Views by full quarter hours; people by a sample a minute.${cut}${old}`);
}

/** What the ring on a chart says. */
export function showPeak(node, peak) {
  node.hidden = !peak;
  if (peak) setText(node, `Peak: ${counted(peak.people, 'person', 'people')}, ${peak.at}`);
}

/** Such as "+12% (1,075 before)". */
export function showChange(node, text, before) {
  node.dataset.way = wayOf(text);
  setText(node, mode() === 'none' ? '' : before === null || text === '–' ? '– nothing to compare with' : `${text} (${decimal(before < 10 ? before : Math.round(before))} before)`);
}

/** What happened, under a chart that has a line for each. */
export function renderMarks(list, marks) {
  const newest = marks.slice(-20).reverse();
  reconcile(list, newest, ({ at, text }) => `${at} ${text}`, () => element('li', {}, element('time'), element('span')), (row, { at, what, text }) => {
    setText(row.firstChild, dateTime(Date.parse(at)));
    setText(row.lastChild, what === 'message' ? `Message to everyone: ${text}` : text);
  });
  list.hidden = !newest.length;
}

// --- Days ----------------------------------------------------------------------------------------

const METRICS = { views: ['Views', ({ views }) => views], people: ['People', ({ row }) => row?.uniquePeople ?? null], mean: ['Average people', ({ mean }) => mean && Math.round(mean * 100) / 100], peak: ['Peak', ({ peak }) => peak] };
const metric = () => METRICS[$('days-metric').value] ?? METRICS.views;

const dayChart = createChart($('days-chart'), {
  lines: [{ color: '--accent', bars: true }, { color: '--warm', dash: [5, 4], width: 1.5, isQuiet: true }],
  describe: (i) => {
    const day = past.days[i];
    const [name, value] = metric();
    const known = value(day);
    const parts = [weekdayOf(day.from), known === null ? 'no data' : `${decimal(known)} ${name.toLowerCase()}`];
    if (name === 'Views' && day.viewsBefore !== null) parts.push(`${number(day.viewsBefore)} before`, day.change);
    if (!day.isWhole) parts.push('so far');
    return parts.join(' · ');
  },
  label: (seconds) => (wall(seconds * SECOND) % DAY ? '' : weekdayOf(seconds * SECOND)), // a day has one name
});

function renderDays() {
  const { days, isUtc, wide } = past;
  const isKnown = past.readAt !== null;
  const shown = days.filter(({ views, peak }) => views || peak);
  const name = !wide ? '' : titleOf(wide.period);
  setText($('days-zone'), isKnown ? `${name} · ${isUtc ? 'UTC' : zoneName()}` : '');
  $('days-metric-people').hidden = $('days-metric-people').disabled = !isUtc;
  $('days-metric-mean').hidden = $('days-metric-mean').disabled = isUtc;
  if (isKnown && $('days-metric').selectedOptions[0]?.disabled) $('days-metric').value = 'views';
  $('days').closest('table').hidden = !isUtc || !shown.length;
  $('zone-days').closest('table').hidden = isUtc || !shown.length;
  $('days-chart').hidden = !shown.length;
  $('days-empty').hidden = !isKnown || shown.length > 0;
  setText($('days-note'), !isKnown || isUtc ? '' : 'Distinct people, users, sessions and stays are counted once per UTC day: choose the time zone UTC to see them.');
  const most = Math.max(1, ...shown.map(({ row, views }) => (isUtc ? row?.uniquePeople ?? 0 : views ?? 0)));
  const newest = [...shown].reverse();
  const fill = (row, day, texts, share) => {
    const [date, ...cells] = row.children;
    date.style.setProperty('--share', share / most);
    setText(date.firstChild, `${weekdayOf(day.from)}${day.isWhole ? '' : ' (so far)'}`);
    cells.forEach((cell, i) => setText(cell, texts[i]));
    row.querySelector('.change').dataset.way = wayOf(day.change);
  };
  const withBar = (create) => () => {
    const row = create();
    row.firstChild.append(element('span'));
    return row;
  };
  const key = ({ date }) => date;
  reconcile($('days'), isUtc ? newest : [], key, withBar(createDay), (row, day) => {
    const { uniquePeople, uniqueUsers, uniqueSessions, views, peak, avgSeconds } = day.row ?? {};
    fill(row, day, [number(uniquePeople), number(uniqueUsers), number(uniqueSessions), number(views), day.change, number(peak), avgSeconds === undefined ? '–' : duration(avgSeconds * SECOND)], uniquePeople ?? 0);
  });
  reconcile($('zone-days'), isUtc ? [] : newest, key, withBar(createZoneDay), (row, day) => {
    fill(row, day, [number(day.views ?? NaN), day.change, decimal(day.mean ?? NaN), number(day.peak ?? NaN)], day.views ?? 0);
  });
  renderDayChart();
}

function renderDayChart() {
  const { days, wide } = past;
  if (!$('days-chart').clientWidth || !days.length) return;
  const [name, value] = metric();
  const before = days.map((day) => (name === 'Views' && mode() !== 'none' ? day.viewsBefore : null));
  const startOfDay = (at) => days.findLast(({ from }) => from <= at)?.from ?? days[0].from;
  const marks = [...new Set((wide.marks ?? []).map(({ at }) => startOfDay(Date.parse(at)) / SECOND))];
  dayChart.draw(days.map(({ from }) => from / SECOND), [days.map(value), before], days[0].from / SECOND - 43_200, days.at(-1).from / SECOND + 43_200, marks);
}

// --- Hours by weekday ----------------------------------------------------------------------------

function renderHeat() {
  const { wide } = past;
  const rows = wide ? heatOf(wide.people, Date.parse(wide.from), wide.step) : WEEKDAYS.map(() => Array(24).fill(null));
  past.cells = rows;
  if (!$('heat').rows.length) createHeat();
  setText($('heat-zone'), `average people · ${wide ? `${titleOf(wide.period)} · ` : ''}${zoneName()}`);
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
  setText($('heat-note'), past.readAt === null ? 'Loading…' : best.people ? `Busiest: ${WEEKDAYS[best.day]} at ${String(best.hour).padStart(2, '0')}:00, ${decimal(best.people < 10 ? best.people : Math.round(best.people))} people on average. A stronger colour means more people.` : 'No visitors in this period. Choose a longer one, or come back after the first visit.');
}

function createHeat() {
  const hours = Array.from({ length: 24 }, (_, hour) => element('th', { scope: 'col' }, element('span', { class: hour % 3 ? 'visually-hidden' : '' }, String(hour).padStart(2, '0'))));
  const corner = element('th', { scope: 'col' }, element('span', { class: 'visually-hidden' }, 'Weekday'));
  const cell = () => element('td', {}, element('span', { class: 'visually-hidden' }));
  const rows = WEEKDAYS.map((name) => element('tr', {}, element('th', { scope: 'row' }, name), ...Array.from({ length: 24 }, cell)));
  $('heat').append(element('thead', {}, element('tr', {}, corner, ...hours)), element('tbody', {}, ...rows));
}

// --- The period, what it is compared with, the time zone -----------------------------------------

const isCustom = () => app.place.period === 'custom';
const known = (name) => (PERIODS[name] ? name : '28d');

function renderBar() {
  $('period').value = known(app.place.period);
  $('compare').value = mode();
  $('period-days').hidden = !isCustom();
  const today = utcDate(wall(serverNow()));
  for (const id of ['period-from', 'period-to']) Object.assign($(id), { max: today, min: utcDate(wall(serverNow()) - (MOST_DAYS - 1) * DAY) });
  $('period-from').value = app.place.from ?? '';
  $('period-to').value = app.place.to ?? '';
  const zones = [['', `${browserZone} (this browser)`], ['UTC', 'UTC']];
  if (isChosen() && zoneName() !== 'UTC') zones.push([zoneName(), zoneName()]);
  $('zone').replaceChildren(...zones.map(([value, label]) => element('option', { value }, label)));
  $('zone').value = isChosen() ? zoneName() : '';
}

function reload() {
  Object.assign(past, { readAt: null });
  renderBar();
  refresh({ now: true, force: true });
}

$('period').onchange = ({ target }) => {
  keepSetting(app.place, 'period', target.value === '28d' ? '' : target.value);
  if (isCustom()) {
    const { from, to } = past.period ?? periodOf({}, serverNow());
    keepSetting(app.place, 'from', utcDate(wall(from)));
    keepSetting(app.place, 'to', utcDate(wall(to - 1)));
  } else for (const name of ['from', 'to']) keepSetting(app.place, name, '');
  reload();
};
for (const name of ['from', 'to']) {
  $(`period-${name}`).onchange = ({ target }) => {
    keepSetting(app.place, name, target.value);
    if (app.place.from > app.place.to) keepSetting(app.place, name === 'from' ? 'to' : 'from', target.value);
    reload();
  };
}
$('compare').onchange = ({ target }) => {
  keepSetting(app.place, 'compare', target.value === 'before' ? '' : target.value);
  reload();
};
$('days-metric').onchange = renderDayChart;
$('zone').onchange = ({ target }) => chooseZone(target.value);
onZone(reload);

// --- The view ------------------------------------------------------------------------------------

const watch = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target.id);
      else visible.delete(target.id);
    }
    if (visible.size && past.body) renderChart(), renderDayChart(); // it was drawn into no space
    refresh();
  },
  { rootMargin: '200px' },
);
for (const id of ['past-section', 'days-section', 'heat-section']) watch.observe($(id));
setInterval(() => refresh(), MINUTE);

export function enter() {
  waitUntil = Date.now() + FIRST_DELAY;
  setTimeout(refresh, FIRST_DELAY + 50);
  render();
}

export function forget() {
  Object.assign(past, { readAt: null, period: null, earlier: null, body: null, wide: null, rows: [], days: [], series: [], isUtc: true });
  for (const id of ['days', 'zone-days', 'past-marks']) $(id).replaceChildren();
}

const iso = (at) => new Date(at).toISOString();

export const csv = {
  past: () => [
    `${app.place.space}-history`,
    [['at', 'people', 'sessions', 'peak', 'people before', 'usual from', 'usual to'], ...past.series.map((one) => [iso(one.at), one.people, one.sessions, one.peak, one.before, one.low, one.high])],
  ],
  days: () => [
    `${app.place.space}-days`,
    past.isUtc
      ? [['day', 'unique people', 'unique users', 'unique sessions', 'views', 'views before', 'beats', 'peak', 'average seconds'], ...[...past.days].reverse().filter(({ row }) => row).map(({ row: day, viewsBefore }) => [day.date, day.uniquePeople, day.uniqueUsers, day.uniqueSessions, day.views, viewsBefore, day.beats, day.peak, day.avgSeconds])]
      : [[`day (${zoneName()})`, 'views', 'views before', 'average people', 'peak'], ...[...past.days].reverse().map((day) => [day.date, day.views, day.viewsBefore, day.mean, day.peak])],
  ],
  heat: () => [`${app.place.space}-hours`, [['weekday', ...Array.from({ length: 24 }, (_, hour) => `${String(hour).padStart(2, '0')}:00`)], ...WEEKDAYS.map((name, day) => [name, ...(past.cells?.[day] ?? [])])]],
};
