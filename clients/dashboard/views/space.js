/** One space, live: its headcount, timeline, breakdowns and sessions. */

import { keepSetting } from '../address.js';
import { app, reading, snippetFor } from '../app.js';
import { createChart } from '../chart.js';
import { actionsPerView } from '../engagement.js';
import { connectionState, feed, isCurrent, listenTo, startFeed } from '../feed.js';
import { allows, attempt, get, isRollup, mayRead, minuteOf, onServerClock, server, serverNow, spaceName, spacePath, timelineBetween } from '../server.js';
import { addMap, updateMap } from '../map.js';
import { clear, holds, isSliced, renderChips, toggle, whereQuery } from '../slice.js';
import { createBarCard, setNumbers, updateBars } from '../tables.js';
import { $, DAY, HOUR, MINUTE, SECOND, capitalised, clockTime, counted, countryName, dateTime, decimal, element, fewer, languageName, number, paced, percent, reconcile, setText, weekdayOf } from '../tools.js';
import { land, renderTabs } from '../tabs.js';
import { change, wayOf } from '../period.js';
import { remember, risingSince } from '../rising.js';
import { dateOf, format, wall } from '../zone.js';
import * as extras from './extras.js';
import * as beside from './beside.js';
import * as history from './history.js';
import * as viewers from './viewers.js';
import * as stream from './stream.js';

const RANGES = { hour: { span: HOUR, title: 'Last hour', every: MINUTE }, day: { span: DAY, title: 'Last 24 hours', every: 5 * MINUTE }, week: { span: 7 * DAY, title: 'Last 7 days', every: 15 * MINUTE } };
const ARRIVAL_SHOWN = 30 * SECOND;
const TREND_SPAN = 10 * MINUTE;
const TITLES = { page: 'Top pages', content: 'Top content', chapter: 'Top chapters', device: 'Devices', country: 'Countries', quality: 'Quality', activity: 'Activity', contentType: 'Content types', referrer: 'Referrers', utm_source: 'Campaign sources', utm_medium: 'Campaign media', utm_campaign: 'Campaigns', entry: 'Entry pages', visitor: 'New or returning', browser: 'Browsers', os: 'Systems', language: 'Languages' };
const SINGULAR = { contentType: 'Content type', utm_source: 'Campaign source', utm_medium: 'Campaign medium', utm_campaign: 'Campaign', entry: 'Entry page', os: 'System' };
const FIRST_FACETS = ['page', 'content', 'chapter', 'referrer', 'utm_source', 'utm_medium', 'utm_campaign', 'entry', 'visitor', 'country', 'language', 'device', 'browser', 'os'];
const LABELS = { country: countryName, language: languageName, device: capitalised, activity: capitalised, visitor: capitalised };

let headcount = null; // the response of GET /v1/spaces/{space} that is shown
let pagesBefore = []; // of everyone, at times of the last minutes
let sliced = null; // the numbers of the slice that is shown, if it is one
let waiting = null; // what arrived while paused: {body, versions}

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const announce = paced(() => numbers()?.people >= 0 && setText($('announcement'), `${counted(numbers().people, 'person', 'people')} in ${spaceName(app.place.space)}`), () => 10 * SECOND);

// --- The headcount -------------------------------------------------------------------------------

export const current = () => headcount;

export const versionsWaiting = () => waiting?.versions ?? 0;

/** A headcount arrived over the socket. */
export function onHeadcount(body) {
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
  if (!feed.live) feed.contactAt = Date.now(); // while live, only the socket's own messages count as contact
  if (headcount && !isCurrent(body, headcount)) return; // an edge cache may be older than what the socket sent
  Object.assign(feed, { version: body.version, asOf: body.asOf });
  show(body);
}

// How many spaces a kind or a group has is not in what the socket sends.
const refreshSpaces = reading('space', 'space', loadSnapshot, () => 5 * SECOND, () => isRollup(app.place.space));

const NOT_OF_A_SLICE = { peak: null, peakSessions: NaN, accuracy: null, engagement: {}, views: {} };
const UNKNOWN = { people: NaN, signedIn: NaN, anonymous: NaN, sessions: NaN, signedInSessions: NaN, anonymousSessions: NaN, facets: {} };
/** The numbers on the screen: of the whole space, or of the slice. */
const numbers = () => (headcount && isSliced() ? { ...headcount, ...NOT_OF_A_SLICE, ...(sliced ?? UNKNOWN) } : headcount);

// Each reads all sessions, so of many more rarely.
const refreshSlice = reading('space', 'slice', loadSlice, () => 2 * SECOND * Math.max(1, (headcount?.sessions ?? 0) / 1000), () => isSliced() && allows('read', app.place.space));

async function loadSlice() {
  const wanted = app.place.where;
  const body = await get(spacePath(app.place.space, `/slice?${new URLSearchParams(whereQuery())}`));
  if (wanted !== app.place.where) return refreshSlice({ now: true, force: true });
  sliced = body;
  renderSlice();
}

function renderSlice() {
  $('view-space').classList.toggle('sliced', isSliced());
  renderNumbers();
  renderFacets(numbers()?.facets ?? {});
  const { people, of, sample } = sliced ?? {};
  const how = sample ? ` Estimated from ${number(sample)} of ${number(of.sessions)} sessions.` : '';
  const note = sliced ? `${number(people)} of ${counted(of.people, 'person', 'people')}.${how} The chart and the history are of everyone.` : 'Loading…';
  renderChips(isSliced() ? note : '', { titleOf: (facet) => SINGULAR[facet] ?? capitalised(facet), labelOf: (facet, value) => (LABELS[facet] ?? String)(value), changed: changeSlice });
}

function changeSlice() {
  sliced = null;
  renderTabs(); // their links keep the slice
  renderSlice();
  renderTimeline();
  refreshSlice({ now: true, force: true });
  viewers.onSlice();
}

app.sliced = changeSlice;

function pick(facet, value) {
  toggle(facet, value);
  changeSlice();
}

$('slice-clear').onclick = () => {
  clear();
  changeSlice();
  $('people').focus();
};

function show(body) {
  const before = headcount;
  waiting = null;
  headcount = { spaces: before?.spaces, ...body };
  extras.onNotice(body.notice);
  stream.onHeadcount(headcount);
  if (isSliced()) refreshSlice();
  renderNumbers();
  if (before && !isSliced() && before.people !== body.people && !calm.matches) {
    const from = { transform: `translateY(${body.people > before.people ? 0.14 : -0.14}em)`, opacity: 0.35 };
    $('people').animate([from, {}], { duration: 320, easing: 'cubic-bezier(.2, .8, .2, 1)' });
  }
  const isEmpty = body.sessions === 0 || isRollup(app.place.space);
  if (!isEmpty && before && !before.sessions && !before.views?.total) {
    $('arrived').hidden = false;
    setText($('arrived'), '✓ It works: the first visitor is here.');
    setTimeout(() => ($('arrived').hidden = true), ARRIVAL_SHOWN);
  }
  $('empty').hidden = !isEmpty || isRollup(app.place.space);
  $('facets').hidden = isEmpty;
  setText($('empty-title'), body.views?.total ? 'No one is here right now' : 'No visitors yet');
  $('space-waits').hidden = Boolean(body.views?.total);
  setText($('snippet'), snippetFor(app.place.space));
  setText($('curl'), `curl -X POST ${location.origin}${spacePath(app.place.space, '/presence')} -H 'content-type: application/json' -d '{"sessionId":"me","page":"/"}'`);
  pagesBefore = remember(pagesBefore, Date.now(), body.facets?.page ?? []);
  renderFacets(numbers().facets ?? {});
  renderTimeline();
  announce();
  app.changed();
  if (!before || before.version === body.version) return;
  viewers.refresh();
  refreshSpaces();
}

function renderNumbers() {
  const { people, signedIn, anonymous, sessions: tabs, signedInSessions, anonymousSessions, peak, peakSessions, spaces, accuracy, views = {} } = numbers() ?? {};
  const known = Boolean(headcount);
  $('view-space').setAttribute('aria-busy', String(!known && !server.problems.size));
  const [engagement, of] = engagementOf(numbers());
  setNumbers({
    people: number(people),
    accuracy: accuracy ? `± ${counted(accuracy.people, 'person', 'people')}` : '',
    'signed-in': number(signedIn),
    anonymous: number(anonymous),
    sessions: number(tabs),
    'sessions-split': known ? `${number(signedInSessions)} signed in, ${number(anonymousSessions)} anonymous` : '',
    peak: number(peak?.people),
    'peak-at': peak?.at ? moment(peak.at) : '',
    'peak-sessions': number(peakSessions),
    'spaces-in': number(spaces),
    engagement,
    'engagement-of': of,
    'views-total': number(views.total),
  });
  for (const [part, since] of Object.entries({ today: '00:00', week: 'Monday', month: 'the 1st' })) {
    const found = beside.viewsSince(part, views[part]);
    setNumbers({ [`views-${part}`]: number(isSliced() ? NaN : found.views), [`views-${part}-since`]: `since ${since} ${found.zone === 'UTC' ? 'UTC' : ''}` });
    $(`views-${part}-since`).title = found.zone;
  }
  $('accuracy').title = accuracy?.because ?? '';
  const share = people ? signedIn / people : 0;
  $('split').style.setProperty('--share', share);
  $('split').classList.toggle('nobody', !people);
  $('split').setAttribute('aria-label', known ? `${percent(share)} signed in` : 'No data yet');
}

/** The share of sessions that are watching, if they report activity, or else actions per view. */
function engagementOf(body) {
  const doing = body?.facets?.activity ?? [];
  const sessionsOf = (value) => doing.find((one) => one.value === value)?.count ?? 0;
  const active = sessionsOf('watching') + sessionsOf('browsing');
  if (active) return [percent(sessionsOf('watching') / active), 'of sessions are watching'];
  const perView = actionsPerView(body ?? {});
  if (Number.isFinite(perView)) return [fewer(perView), 'chats, reactions and shares per view'];
  return ['–', body ? 'no activity reported' : ''];
}

function moment(iso) {
  const at = new Date(iso);
  if (dateOf(at) === dateOf(serverNow())) return `today ${clockTime(at)}`;
  return `${format({ day: 'numeric', month: 'short', year: 'numeric' }).format(at)}, ${clockTime(at)}`;
}

// --- Breakdowns ----------------------------------------------------------------------------------

function facetNames(facets) {
  const rest = Object.keys(facets).filter((name) => !FIRST_FACETS.includes(name)).sort();
  const reported = [...FIRST_FACETS, ...rest].filter((name) => facets[name]?.length);
  return reported.length ? reported : ['page'];
}

const sorted = (values) => [...values].sort((a, b) => b.people - a.people || b.count - a.count || (a.value < b.value ? -1 : 1));

function renderFacets(facets) {
  reconcile($('facets'), facetNames(facets), (name) => name, createFacet, (card, name) => {
    const label = LABELS[name] ?? ((value) => value);
    const mark = (value) => (row) => name === 'page' && Object.assign(row.dataset, { testid: 'top-page', value });
    const bars = sorted(facets[name] ?? []).map(({ value, people, count }) => ({ value, label: label(value), numbers: [people, count], mark: mark(value), pressed: holds(name, value), fixed: value === 'other' || app.place.show === 'wall' }));
    updateBars(card, bars);
    if (name === 'country') updateMap(card, bars);
  });
  renderRising();
}

/** Which pages rise, by what this page itself saw some minutes ago. */
function renderRising() {
  const node = $('rising');
  if (!node) return;
  const now = Date.now();
  const { since, values } = risingSince(pagesBefore, now, headcount?.facets?.page ?? []);
  node.hidden = !values.length || isSliced() || !isFresh();
  const pages = values.map(({ value, people, before }) => `${value} ${number(people)} (${number(before)} then)`);
  setText(node, node.hidden ? '' : `Rising since ${clockTime(onServerClock(since))}: ${pages.join(' · ')}`);
}

function createFacet(name) {
  const card = createBarCard(`facet-${name}`, TITLES[name] ?? capitalised(name), `facet ${name}`, [SINGULAR[name] ?? capitalised(name), 'People', 'Sessions'], 'No pages reported.', (value) => pick(name, value));
  card.classList.toggle('wide', ['page', 'country'].includes(name));
  if (name === 'page') {
    card.querySelector('table').dataset.testid = 'top-pages';
    card.firstChild.after(element('p', { id: 'rising', class: 'sub rising', 'data-testid': 'rising', hidden: '' }));
  }
  if (name === 'country') addMap(card);
  return card;
}

// --- The timeline --------------------------------------------------------------------------------

const timeline = { points: [], from: Infinity, to: null, readAt: 0, series: [], peak: null };
const range = () => RANGES[app.place.range] ?? RANGES.hour;
const refreshTimeline = reading('space', 'timeline', loadTimeline, () => 2 * SECOND);

async function loadTimeline() {
  const { span } = range();
  const to = serverNow();
  const from = Math.max(minuteOf(to) - span, to - 7 * DAY);
  Object.assign(timeline, { points: await timelineBetween(app.place.space, from, to), from, to, readAt: Date.now() });
  renderTimeline();
}

/** Whether what is shown is of now. */
const isFresh = () => ['live', 'polling'].includes(connectionState()) && !server.paused;

/** Only minutes with visitors are sampled. A minute without a sample had none, unless it is too recent to tell. One with people: null was not sampled though someone was there. */
function seriesUntil(now) {
  const { span } = range();
  const sampled = new Map(timeline.points.map((point) => [minuteOf(Date.parse(point.at)), point]));
  const known = timeline.to ? minuteOf(timeline.to) - MINUTE : -Infinity;
  const series = [];
  for (let at = minuteOf(Math.max(now - span, timeline.from)) + MINUTE; at < now; at += MINUTE) {
    const point = sampled.get(at);
    // A single missing minute means that its sample was taken a few seconds late.
    const late = sampled.has(at - MINUTE) && sampled.has(at + MINUTE);
    if (point) series.push({ at, people: point.people, sessions: point.sessions });
    else if (at < known && !late) series.push({ at, people: 0, sessions: 0 });
  }
  // The last headcount belongs to the time when it arrived: a lost connection must not draw a flat line up to now.
  const receivedAt = isFresh() || !feed.contactAt ? now : onServerClock(feed.contactAt);
  if (headcount && receivedAt > now - span) {
    while (series.at(-1)?.at >= receivedAt) series.pop();
    series.push({ at: receivedAt, people: headcount.people, sessions: headcount.sessions });
  }
  return series;
}

/** A time of the chart: with its day where the chart has several. */
const timeOfPoint = (at) => (range().span > DAY ? `${weekdayOf(at)}, ${clockTime(at)}` : clockTime(at));
const chart = createChart($('timeline'), {
  lines: history.LINES,
  band: history.BAND,
  describe(i) {
    const { at, people, sessions: tabs, before, low, high } = timeline.series[i];
    const { peak } = timeline;
    const parts = [timeOfPoint(at), ...(people === null ? ['no data'] : [counted(people, 'person', 'people'), counted(tabs, 'session', 'sessions')])];
    if (peak && i === peak.index) parts.push(`peak: ${number(peak.people)}`);
    if (before != null) parts.push(`before: ${decimal(before)}`);
    if (low != null) parts.push(`usual: ${decimal(low)}–${decimal(high)}`);
    return parts.join(' · ');
  },
  label: (seconds) => {
    const at = seconds * SECOND;
    return range().span > DAY && wall(at) % DAY < HOUR ? weekdayOf(at) : clockTime(at);
  },
});

function renderTimeline() {
  if (!$('timeline').clientWidth) return;
  const now = serverNow();
  const series = (timeline.series = seriesUntil(now).map((one) => ({ ...one, ...beside.besideAt(one.at) })));
  const peak = (timeline.peak = peakOf(series));
  const marks = beside.besideMarks().map(({ at }) => Date.parse(at) / SECOND);
  chart.draw(series.map(({ at }) => at / SECOND), history.valuesOf(series), (now - range().span) / SECOND, now / SECOND, marks, peak && { at: peak.at / SECOND, value: peak.people });
  history.showPeak($('key-peak'), peak && { people: peak.people, at: timeOfPoint(peak.at) });
  setText($('key-before'), beside.beforeName());
  $('key-before').hidden = !series.some(({ before }) => before != null);
  setText($('key-usual'), `Usual at this time: the middle half of ${beside.usualWeeks()} weeks`);
  $('key-usual').hidden = !series.some(({ low }) => low != null);
  history.renderMarks($('timeline-marks'), beside.besideMarks());
  const last = series.at(-1)?.people;
  const missing = series.filter(({ people }) => people === null).length;
  const note = missing ? ` No data for ${counted(missing, 'minute', 'minutes')}.` : '';
  const summary = `${range().title}: peak ${counted(peak?.people, 'person', 'people')} at ${timeOfPoint(peak?.at ?? now)}, now ${last === null ? 'no data' : number(last)}.`;
  setText($('timeline-summary'), `${peak ? summary : `${range().title}: no visitors.`}${note}`);
  renderTrend(series, now);
}

/** {at, people, index} of the highest, or null without anyone. The space's own peak, if it was in this time, is exact: samples are a minute apart. */
function peakOf(series) {
  const highest = series.reduce((a, b) => (b.people > a.people ? b : a), { people: 0 });
  if (!highest.people) return null;
  const own = { at: Date.parse(headcount?.peak?.at ?? ''), people: headcount?.peak?.people };
  const { at, people } = own.at >= series[0].at && own.people >= highest.people ? own : highest;
  return { at, people, index: series.findLastIndex((one) => one.at <= at) };
}

function renderTrend(series, now) {
  const before = series.findLast(({ at, people }) => at <= now - TREND_SPAN && people !== null);
  const node = $('trend');
  renderBeside(now);
  if (!headcount || isSliced() || !before || !(headcount.people || before.people)) return setText(node, '');
  const more = headcount.people - before.people;
  node.dataset.way = Math.sign(more);
  setText(node, more ? `${more > 0 ? '▲' : '▼'} ${number(Math.abs(more))} ${more > 0 ? 'more' : 'fewer'} than 10 minutes ago` : 'Same as 10 minutes ago');
}

/** How many more are here than at the same time before. */
function renderBeside(now) {
  const { before } = beside.besideAt(now);
  const text = headcount && !isSliced() && before !== null ? change(headcount.people, before) : '';
  $('beside').dataset.way = wayOf(text);
  setText($('beside'), !text || text === '–' ? '' : `${text} vs ${beside.beforeName().toLowerCase()}, ${clockTime(now)} (${decimal(before)})`);
}

function chooseRange(name) {
  keepSetting(app.place, 'range', name === 'hour' ? '' : name);
  renderRange();
  Object.assign(timeline, { points: [], from: Infinity, to: null });
  renderTimeline();
  refreshTimeline({ now: true, force: true });
  beside.refresh({ now: true, force: true });
}

function renderRange() {
  setText($('timeline-title'), range().title);
  for (const button of $('ranges').children) button.setAttribute('aria-pressed', String(RANGES[button.dataset.range] === range()));
}

$('ranges').onclick = ({ target }) => target.dataset.range && chooseRange(target.dataset.range);
setInterval(renderSoon, 10 * SECOND);
setInterval(() => Date.now() - timeline.readAt >= range().every && refreshTimeline(), MINUTE);

function renderSoon() {
  if (headcount && isFresh()) pagesBefore = remember(pagesBefore, Date.now(), headcount.facets?.page ?? []);
  if (app.place.view !== 'space' || !mayRead()) return;
  renderTimeline();
  renderRising();
}

// --- What the token allows -----------------------------------------------------------------------

const PARTS = { people: 'sessions and names', moderate: 'alerts, messages and removals' };

/** Says what is not shown because the token does not allow it, and which scope would. */
function renderLimits() {
  const { space } = app.place;
  const { share } = server.rights ?? {};
  const [, what, name] = /^~(kind|group):(.*)/.exec(space) ?? [];
  $('view-space').classList.toggle('rollup', Boolean(what));
  setText($('now-title'), what ? `People in the ${what} ${name}` : 'People now');
  const missing = Object.entries(PARTS).filter(([action]) => !allows(action, space));
  $('extras').hidden = !allows('moderate', space);
  $('limits').hidden = !missing.length;
  if (what) setText($('limits'), 'Each person counts once, however many of these spaces they are in. Sessions, pages and views are in the spaces.');
  else if (share) setText($('limits'), `A shared view of ${share.space}, open until ${dateTime(share.expiresAt)}: numbers and their history, no names.`);
  else setText($('limits'), `Not shown with this token: ${missing.map(([action, what]) => `${what} (it needs the scope ${action}:${space})`).join(', ')}.`);
}

// --- The view ------------------------------------------------------------------------------------

function forget() {
  headcount = waiting = sliced = null;
  pagesBefore = [];
  feed.version = -1;
  feed.contactAt = null;
  Object.assign(timeline, { points: [], from: Infinity, to: null, readAt: 0 });
  $('facets').hidden = $('empty').hidden = $('arrived').hidden = true;
  for (const id of ['facets', 'announcement']) $(id).replaceChildren(); // names must not outlive the right to see them
  for (const part of [viewers, history, beside, stream, extras]) part.forget();
  renderNumbers();
  setText($('trend'), '');
}

export const view = {
  get title() {
    return spaceName(app.place.space);
  },
  async enter() {
    forget();
    renderRange();
    renderSlice();
    renderLimits();
    for (const part of [viewers, history, stream, extras]) part.enter();
    beside.enter(() => (renderNumbers(), renderTimeline()));
    renderTimeline();
    land();
    listenTo(app.place.space);
    // Read the numbers first: the response sets the clock, and it can say what is wrong with the token or the space. A refused socket cannot.
    if ((await attempt('space', loadSnapshot)) === 'aborted') return;
    renderNumbers();
    startFeed(); // before the other reads: live data comes first
    view.refresh({ now: true });
  },
  /** Another tab, or a card in it. */
  turn() {
    renderTimeline();
    beside.refresh({ now: true });
    stream.render();
    viewers.refresh({ now: true });
    land();
  },
  refresh(options) {
    if (options?.force) attempt('space', loadSnapshot);
    for (const refresh of [viewers.refresh, refreshTimeline, beside.refresh, history.refresh, stream.refresh, extras.refresh]) refresh(options);
  },
  refreshSoon(options) {
    viewers.refresh(options);
    refreshTimeline(options);
  },
  tick() {
    viewers.tick(headcount, numbers()?.people);
    extras.tick();
  },
  forget,
  csv: {
    timeline: () => [`${app.place.space}-timeline`, [['at', 'people', 'sessions'], ...timeline.series.map((one) => [new Date(one.at).toISOString(), one.people, one.sessions])]],
    facet: (name) => [`${app.place.space}-${name}`, [[name, 'people', 'sessions'], ...sorted(numbers()?.facets?.[name] ?? []).map((one) => [one.value, one.people, one.count])]],
    ...viewers.csv,
    ...history.csv,
    ...stream.csv,
    ...extras.csv,
  },
};
