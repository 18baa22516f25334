/** One space, live: its headcount, its last hour, day or week, its breakdowns, and who is in it. */

import { keepSetting } from '../address.js';
import { app } from '../app.js';
import { createChart } from '../chart.js';
import { connectionState, feed, isCurrent, listenTo, startFeed } from '../feed.js';
import { attempt, get, mayRead, minuteOf, onServerClock, server, serverNow, spacePath } from '../server.js';
import { setNumbers, updateBars } from '../tables.js';
import { $, DAY, HOUR, MINUTE, SECOND, capitalised, clockTime, counted, countryName, decimal, duration, element, number, paced, percent, reconcile, setText } from '../tools.js';
import * as extras from './extras.js';
import * as history from './history.js';
import * as sessions from './sessions.js';
import * as stream from './stream.js';

const RANGES = { hour: { span: HOUR, title: 'Last hour', every: MINUTE }, day: { span: DAY, title: 'Last 24 hours', every: 5 * MINUTE }, week: { span: 7 * DAY, title: 'Last 7 days', every: 15 * MINUTE } };
const TREND_OVER = 10 * MINUTE;
const TITLES = { page: 'Top pages', content: 'Top content', chapter: 'Top chapters', device: 'Devices', country: 'Countries', quality: 'Quality', activity: 'Activity', contentType: 'Content types' };
const FIRST_FACETS = ['page', 'content', 'chapter', 'device', 'country'];

let headcount = null; // the body of GET /v1/spaces/{space} that is on screen
let waiting = null; // what came while paused: {body, versions}

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const announce = paced(() => headcount && setText($('announcement'), `${counted(headcount.people, 'person', 'people')} in ${app.place.space}`), () => 10 * SECOND);

// --- The headcount -------------------------------------------------------------------------------

export const current = () => headcount;

export const versionsWaiting = () => waiting?.versions ?? 0;

/** A headcount came, by the socket or by polling. */
export function heard(body) {
  if (server.paused && headcount) {
    waiting = { body, versions: (waiting?.versions ?? 0) + 1 };
    return;
  }
  show(body);
}

export function showWaiting() {
  if (waiting) show(waiting.body);
}

export async function loadSnapshot() {
  const body = await get(spacePath(app.place.space));
  if (!feed.live) feed.contactAt = Date.now(); // while live, only the socket vouches for the socket
  if (headcount && !isCurrent(body, headcount)) return; // an edge cache may be a little behind what the socket showed
  Object.assign(feed, { version: body.version, asOf: body.asOf });
  show(body);
}

function show(body) {
  const before = headcount;
  waiting = null;
  headcount = body;
  extras.noticed(body.notice);
  renderNumbers();
  if (before && before.people !== body.people && !calm.matches) {
    const from = { transform: `translateY(${body.people > before.people ? 0.14 : -0.14}em)`, opacity: 0.35 };
    $('people').animate([from, {}], { duration: 320, easing: 'cubic-bezier(.2, .8, .2, 1)' });
  }
  const somebody = body.sessions > 0;
  $('empty').hidden = somebody;
  $('facets').hidden = $('people-here').hidden = !somebody;
  setText($('empty-title'), body.views?.total ? 'Nobody is here right now' : 'Nobody is here yet');
  setText($('curl'), `curl -X POST ${location.origin}${spacePath(app.place.space, '/presence')} -H 'content-type: application/json' -d '{"sessionId":"me","page":"/"}'`);
  renderFacets(body.facets ?? {});
  renderTimeline();
  announce();
  app.changed();
  if (before && before.version !== body.version) sessions.refresh();
}

function renderNumbers() {
  const { people, signedIn, anonymous, sessions: tabs, signedInSessions, anonymousSessions, peak, avgSeconds, views = {} } = headcount ?? {};
  const known = Boolean(headcount);
  $('view-space').setAttribute('aria-busy', String(!known && !server.problems.size));
  const [engagement, of] = engagementOf(headcount);
  setNumbers({
    people: number(people),
    'signed-in': number(signedIn),
    anonymous: number(anonymous),
    sessions: number(tabs),
    'sessions-split': known ? `${number(signedInSessions)} signed in, ${number(anonymousSessions)} not` : '',
    peak: number(peak?.people),
    'peak-at': peak?.at ? moment(peak.at) : '',
    engagement,
    'engagement-of': of,
    stay: Number.isFinite(avgSeconds) ? duration(avgSeconds * SECOND) : '–',
    'views-today': number(views.today),
    'views-week': number(views.week),
    'views-month': number(views.month),
    'views-total': number(views.total),
  });
  const share = people ? signedIn / people : 0;
  $('split').style.setProperty('--share', share);
  $('split').classList.toggle('nobody', !people);
  $('split').setAttribute('aria-label', known ? `${Math.round(share * 100)} % signed in` : 'No numbers yet');
}

/** Who watches among those who say what they do; else what viewers did per view. */
function engagementOf(body) {
  const doing = body?.facets?.activity ?? [];
  const sessionsOf = (value) => doing.find((one) => one.value === value)?.count ?? 0;
  const active = sessionsOf('watching') + sessionsOf('browsing');
  if (active) return [percent(sessionsOf('watching') / active), 'of the sessions are watching'];
  const actions = ['chat', 'reaction', 'share'].map((name) => body?.engagement?.[name]).filter(Number.isFinite);
  if (actions.length && body.views?.total) return [decimal(actions.reduce((a, b) => a + b) / body.views.total), 'chats, reactions, shares a view'];
  return ['–', body ? 'nobody reports activity here' : ''];
}

function moment(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date(serverNow()).toDateString();
  return today ? `today ${clockTime(at)}` : `${at.toLocaleDateString([], { day: 'numeric', month: 'short', year: 'numeric' })}, ${clockTime(at)}`;
}

// --- Breakdowns ----------------------------------------------------------------------------------

function facetNames(facets) {
  const rest = Object.keys(facets).filter((name) => !FIRST_FACETS.includes(name)).sort();
  const said = [...FIRST_FACETS, ...rest].filter((name) => facets[name]?.length);
  return said.length ? said : ['page'];
}

const sorted = (values) => [...values].sort((a, b) => b.people - a.people || b.count - a.count || (a.value < b.value ? -1 : 1));

function renderFacets(facets) {
  reconcile($('facets'), facetNames(facets), (name) => name, createFacet, (card, name) => {
    const label = (value) => (name === 'country' ? countryName(value) : name === 'device' || name === 'activity' ? capitalised(value) : value);
    const mark = (value) => (row) => name === 'page' && Object.assign(row.dataset, { testid: 'top-page', value });
    const bars = sorted(facets[name] ?? []).map(({ value, people, count }) => ({ value, label: label(value), numbers: [people, count], mark: mark(value) }));
    updateBars(card.querySelector('table'), capitalised(name), ['People', 'Sessions'], bars);
  });
}

function createFacet(name) {
  const title = element('h2', { id: `facet-${name}` }, TITLES[name] ?? capitalised(name));
  const table = element('table', { 'aria-labelledby': title.id }, element('thead'), element('tbody'));
  if (name === 'page') table.dataset.testid = 'top-pages';
  const frame = element('div', { class: 'scroll', role: 'group', tabindex: '0', 'aria-labelledby': title.id }, table, element('p', { class: 'sub' }, 'No pages were reported.'));
  const head = element('header', {}, title, element('button', { class: 'quiet csv', type: 'button', 'data-csv': `facet ${name}` }, 'CSV'));
  return element('section', { class: name === 'page' ? 'card facet pages' : 'card facet', 'aria-labelledby': title.id }, head, frame);
}

// --- The timeline --------------------------------------------------------------------------------

const timeline = { points: [], from: Infinity, to: null, readAt: 0, series: [] };
const range = () => RANGES[app.place.range] ?? RANGES.hour;
const refreshTimeline = paced((force) => app.place.view === 'space' && mayRead(force) && attempt('timeline', loadTimeline, refreshTimeline), () => 2 * SECOND);

export const timelineBetween = async (from, to) => {
  const iso = (at) => encodeURIComponent(new Date(at).toISOString());
  return (await get(spacePath(app.place.space, `/timeline?from=${iso(from)}&to=${iso(to)}`))).points;
};

async function loadTimeline() {
  const { span } = range();
  const to = serverNow();
  const from = Math.max(minuteOf(to) - span, to - 7 * DAY);
  Object.assign(timeline, { points: await timelineBetween(from, to), from, to, readAt: Date.now() });
  renderTimeline();
}

/** Minutes are sampled only while somebody is in: one without a sample had nobody, unless it is too new to tell. */
function seriesUntil(now) {
  const { span } = range();
  const sampled = new Map(timeline.points.map((point) => [minuteOf(Date.parse(point.at)), point]));
  const known = timeline.to ? minuteOf(timeline.to) - MINUTE : -Infinity;
  const series = [];
  for (let at = minuteOf(Math.max(now - span, timeline.from)) + MINUTE; at < now; at += MINUTE) {
    const point = sampled.get(at);
    // A single minute between two samples is a sample that was taken a few seconds late.
    const late = sampled.has(at - MINUTE) && sampled.has(at + MINUTE);
    if (point || (at < known && !late)) series.push({ at, people: point?.people ?? 0, sessions: point?.sessions ?? 0 });
  }
  // What was last heard belongs to when it was heard: a lost connection must not draw a flat present.
  const current = ['live', 'polling'].includes(connectionState()) && !server.paused;
  const heardAt = current || !feed.contactAt ? now : onServerClock(feed.contactAt);
  if (headcount && heardAt > now - span) {
    while (series.at(-1)?.at >= heardAt) series.pop();
    series.push({ at: heardAt, people: headcount.people, sessions: headcount.sessions });
  }
  return series;
}

const dayName = (at) => new Date(at).toLocaleDateString([], { weekday: 'short', day: 'numeric' });
const chart = createChart($('timeline'), {
  lines: [{ color: '--accent', fill: true }],
  words(i) {
    const { at, people, sessions: tabs } = timeline.series[i];
    const when = range().span > DAY ? `${dayName(at)}, ${clockTime(at)}` : clockTime(at);
    return `${when} · ${counted(people, 'person', 'people')} · ${counted(tabs, 'session', 'sessions')}`;
  },
  label: (seconds) => {
    const at = new Date(seconds * SECOND);
    return range().span > DAY && at.getHours() === 0 ? dayName(at) : clockTime(at);
  },
});

function renderTimeline() {
  if (!$('timeline').clientWidth) return;
  const now = serverNow();
  const series = (timeline.series = seriesUntil(now));
  chart.draw(series.map(({ at }) => at / SECOND), [series.map(({ people }) => people)], (now - range().span) / SECOND, now / SECOND);
  const best = series.reduce((a, b) => (b.people > a.people ? b : a), { people: 0 });
  const words = `${range().title}: at most ${counted(best.people, 'person', 'people')}, at ${clockTime(best.at ?? now)}; latest ${number(series.at(-1)?.people)}.`;
  setText($('timeline-summary'), best.people ? words : `${range().title}: nobody.`);
  renderTrend(series, now);
}

function renderTrend(series, now) {
  const before = series.findLast(({ at }) => at <= now - TREND_OVER);
  const node = $('trend');
  if (!headcount || !before || !(headcount.people || before.people)) return setText(node, '');
  const more = headcount.people - before.people;
  node.dataset.way = Math.sign(more);
  setText(node, more ? `${more > 0 ? '▲' : '▼'} ${number(Math.abs(more))} ${more > 0 ? 'more' : 'fewer'} than 10 minutes ago` : 'As many as 10 minutes ago');
}

function chooseRange(name) {
  keepSetting(app.place, 'range', name === 'hour' ? '' : name);
  renderRange();
  Object.assign(timeline, { points: [], from: Infinity, to: null });
  renderTimeline();
  refreshTimeline({ now: true, force: true });
}

function renderRange() {
  setText($('timeline-title'), range().title);
  for (const button of $('ranges').children) button.setAttribute('aria-pressed', String(RANGES[button.dataset.range] === range()));
}

$('ranges').onclick = ({ target }) => target.dataset.range && chooseRange(target.dataset.range);
setInterval(renderSoon, 10 * SECOND);
setInterval(() => Date.now() - timeline.readAt >= range().every && refreshTimeline(), MINUTE);

function renderSoon() {
  if (app.place.view === 'space' && mayRead()) renderTimeline();
}

// --- The view ------------------------------------------------------------------------------------

function forget() {
  headcount = waiting = null;
  feed.version = -1;
  feed.contactAt = null;
  Object.assign(timeline, { points: [], from: Infinity, to: null, readAt: 0 });
  $('people-here').hidden = $('facets').hidden = $('empty').hidden = true;
  for (const id of ['facets', 'announcement']) $(id).replaceChildren(); // nobody's name outlives the right to see it
  for (const part of [sessions, history, stream, extras]) part.forget();
  renderNumbers();
  setText($('trend'), '');
}

export const view = {
  get title() {
    return app.place.space;
  },
  async enter() {
    forget();
    renderRange();
    for (const part of [sessions, history, stream, extras]) part.enter();
    renderTimeline();
    listenTo(app.place.space);
    // First and alone: it sets the clock, and can say what a refused socket can't: what is wrong with the token or the space.
    if ((await attempt('space', loadSnapshot)) === 'aborted') return;
    renderNumbers();
    startFeed(); // before the other reads: what is live comes first
    view.refresh({ now: true });
    if (app.place.section) $({ sessions: 'viewers-title', hours: 'heat-title', days: 'days-title', stream: 'stream-title' }[app.place.section] ?? 'main')?.scrollIntoView();
  },
  refresh(options) {
    if (options?.force) attempt('space', loadSnapshot);
    for (const refresh of [sessions.refresh, refreshTimeline, history.refresh, stream.refresh, extras.refresh]) refresh(options);
  },
  refreshSoon(options) {
    sessions.refresh(options);
    refreshTimeline(options);
  },
  tick() {
    sessions.tick(headcount);
    extras.tick();
  },
  forget,
  csv: {
    timeline: () => [`${app.place.space}-timeline`, [['at', 'people', 'sessions'], ...timeline.series.map((one) => [new Date(one.at).toISOString(), one.people, one.sessions])]],
    facet: (name) => [`${app.place.space}-${name}`, [[name, 'people', 'sessions'], ...sorted(headcount?.facets?.[name] ?? []).map((one) => [one.value, one.people, one.count])]],
    ...sessions.csv,
    ...history.csv,
    ...stream.csv,
    ...extras.csv,
  },
};
