/** The sessions in a space: filtered, sorted, and shown fifty at a time. */

import { addressOf, keepSetting } from '../address.js';
import { app, bindFilters, linkPerson, reading } from '../app.js';
import { menuButton } from '../menu.js';
import { learnPerson } from '../names.js';
import { allows, get, serverNow, spacePath } from '../server.js';
import { isOpen } from '../tabs.js';
import { whereQuery } from '../slice.js';
import { pager, stackedTable, updateOptions } from '../tables.js';
import { $, SECOND, capitalised, counted, countryName, duration, element, fewer, number, percent, position, rateOf, reconcile, setAttribute, setText, isBlank } from '../tools.js';
import { confirmRemoval } from './extras.js';

const PER_REQUEST = 100;
const PER_PAGE = 50;
const UNITS = { latency: 'ms latency', buffering: 'interruptions', errors: 'errors', quality: '' };
const MOST_REQUESTS = 50;
const MOST_AVATARS = 8;
const viewers = { list: [], requests: 1, cursor: null, loaded: false };
const createRow = stackedTable($('viewers'), [['who', 'Who'], ['page', 'Activity'], ['device', 'Device'], ['quality', 'Quality'], ['state', 'State'], ['number since', 'Here for'], ['number seen', 'Last seen'], ['session', 'Session'], ['act', 'Actions']], false);
const FILTERS = { 'viewers-search': 'q', 'viewers-who': 'who', 'viewers-state': 'state', 'viewers-device': 'device', 'viewers-sort': 'sort' };

// Every hundred sessions are a request, so a longer list is read less often; and filtered, all sessions are read for it.
const gap = () => 3 * SECOND * Math.max(1, Math.ceil(viewers.list.length / PER_REQUEST), query().length && Math.ceil(viewers.total / 1000));
export const refresh = reading('space', 'viewers', load, gap, () => (isOpen('people') || isOpen('live')) && app.place.show !== 'wall' && allows('people', app.place.space));
const pages = pager($('viewers-before'), $('viewers-after'), PER_PAGE, () => render());

/** What the server filters and sorts by. The filters are the list's own, the slice is the screen's. */
function query() {
  if (!isOpen('people')) return whereQuery();
  const { device } = app.place;
  const settings = ['q', 'who', 'state', 'sort'].map((name) => [name, app.place[name]]).filter(([, value]) => value);
  return [...whereQuery(), ...(device ? [['where', `device:${device}`]] : []), ...settings];
}

let typing;

/** Read again when the reader has stopped typing. */
function refreshSoon() {
  clearTimeout(typing);
  typing = setTimeout(() => refresh({ now: true, force: true }), 200);
}

/** The slice has changed. */
export function onSlice() {
  pages.page = 0;
  refreshSoon();
}

async function load() {
  const found = new Map();
  const wanted = query();
  let [cursor, total, of, sample] = [null];
  const requests = isOpen('people') ? viewers.requests : 1;
  for (let request = 0; request < requests && (request === 0 || cursor); request += 1) {
    const body = await get(spacePath(app.place.space, `/viewers?${new URLSearchParams([['limit', PER_REQUEST], ...wanted, ...(cursor ? [['cursor', cursor]] : [])])}`));
    for (const viewer of body.viewers) {
      found.set(viewer.sessionId, viewer);
      learnPerson(keyOf(viewer), isBlank(viewer.name) ? '' : viewer.name);
    }
    ({ cursor, total, of, sample } = body);
  }
  if (String(wanted) !== String(query())) return refreshSoon(); // filtered otherwise meanwhile
  Object.assign(viewers, { list: [...found.values()], cursor, loaded: true, found: total, of, sample });
  render();
}

const keyOf = (viewer) => (viewer.userId ? `${viewer.verified ? 'u' : 'c'}:${viewer.userId}` : viewer.visitorId ? `v:${viewer.visitorId}` : `s:${viewer.sessionId}`);
const nameOf = (viewer) => (isBlank(viewer.name) ? viewer.userId : viewer.name);
const doingOf = ({ page, facets, details }) => details.contentTitle ?? facets.content ?? facets.chapter ?? page;

function render() {
  const { list, loaded, cursor } = viewers;
  updateOptions($('viewers-device'), [...(viewers.devices ?? []), ...list.map((one) => one.facets.device)].filter(Boolean), capitalised);
  reconcile($('viewers'), pages.slice(list), (viewer) => viewer.sessionId, create, update);
  const isFiltered = query().some(([name]) => name !== 'sort');
  $('viewers').closest('table').hidden = loaded && !list.length;
  $('viewers-nobody').hidden = !loaded || list.length > 0 || isFiltered;
  $('viewers-none').hidden = !loaded || list.length > 0 || !isFiltered;
  $('more').hidden = !cursor;
  renderAvatars();
  tick(null);
}

/** Who is here, by name, and how many others. */
function renderAvatars() {
  const people = new Map(viewers.list.filter(nameOf).map((viewer) => [keyOf(viewer), viewer]));
  const named = [...people].slice(0, MOST_AVATARS);
  $('who').hidden = !named.length;
  reconcile($('avatars'), named, ([key]) => key, () => element('li', {}, element('a', {}, element('span', { class: 'avatar', 'aria-hidden': 'true' }), element('span', { class: 'visually-hidden' }))), (item, [key, viewer]) => {
    const [link] = item.children;
    setAttribute(link, 'title', nameOf(viewer));
    linkPerson(link, key);
    updateAvatar(link.firstChild, nameOf(viewer));
    setText(link.lastChild, nameOf(viewer));
  });
  setAttribute($('who-all'), 'href', addressOf({ ...app.place, tab: 'people', section: '' }));
  const others = viewers.people - named.length;
  setText($('who-all'), others > 0 ? `and ${number(others)} more` : 'All sessions');
}

function create() {
  const row = createRow();
  row.dataset.testid = 'viewer';
  const [who, page, , , , , , session] = row.children;
  who.append(element('span', { class: 'avatar', 'aria-hidden': 'true' }), element('a', { class: 'name' }), element('span', { class: 'claim' }));
  page.append(element('span', { class: 'doing' }), element('span', { class: 'progress', hidden: '' }, element('progress', { max: 1, value: 0 }), element('span', { class: 'time' })));
  session.append(element('code'));
  const button = menuButton(() => [['Remove…', () => confirmRemoval(viewers.list.find((one) => one.sessionId === row.dataset.key))]]);
  button.hidden = !allows('moderate', app.place.space);
  row.lastChild.append(button);
  return row;
}

function update(row, viewer) {
  const [who, page, device, quality, state, , , session] = row.children;
  const name = nameOf(viewer);
  setText(who.children[1], name || 'Anonymous');
  linkPerson(who.children[1], keyOf(viewer));
  setText(who.lastChild, viewer.userId && !viewer.verified ? 'not verified' : '');
  setAttribute(row.lastChild.firstChild, 'aria-label', `Actions for ${name || `session ${viewer.sessionId}`}`);
  who.classList.toggle('nameless', !name);
  updateAvatar(who.firstChild, name);
  updateDoing(page, viewer);
  const { device: used, country } = viewer.facets;
  setText(device, [used && capitalised(used), country].filter(Boolean).join(' · ') || '–');
  setAttribute(device, 'title', country ? countryName(country) : '');
  const text = qualityOf(viewer);
  setText(quality, text || '–');
  setAttribute(quality, 'title', text);
  setText(state, capitalised(viewer.state ?? 'active'));
  row.dataset.state = viewer.state ?? 'active';
  row.dataset.joinedAt = viewer.joinedAt;
  row.dataset.lastSeen = viewer.lastSeen;
  setText(session.firstChild, viewer.sessionId.length > 9 ? `${viewer.sessionId.slice(0, 8)}…` : viewer.sessionId);
  setAttribute(session, 'title', viewer.sessionId);
}

function qualityOf({ facets, quality }) {
  const numbers = Object.entries(quality).map(([name, value]) => (name === 'bandwidth' ? rateOf(value) : `${fewer(value)} ${UNITS[name] ?? name}`.trim()));
  return [facets.quality, ...numbers].filter(Boolean).join(' · ');
}

function updateDoing(cell, viewer) {
  const doing = doingOf(viewer) ?? '–';
  setText(cell.firstChild, doing);
  setAttribute(cell, 'title', viewer.page && viewer.page !== doing ? `${doing} (${viewer.page})` : doing);
  const { currentPosition, duration: length } = viewer.details;
  const frame = cell.lastChild;
  frame.hidden = !(length > 0);
  if (frame.hidden) return;
  const [bar, time] = frame.children;
  bar.value = Math.min(1, currentPosition / length);
  setAttribute(bar, 'aria-label', `${doing}: ${percent(bar.value)}`);
  setText(time, `${position(currentPosition)} / ${position(length)}`);
}

// Only the initial: anyone can claim a picture, and its server would learn who looks at it and when.
function updateAvatar(frame, name) {
  setText(frame, name ? [...name.trim()][0]?.toUpperCase() ?? '' : '');
}

/** Once a second: durations, and how many sessions are shown. */
export function tick(headcount, people) {
  if (headcount && people >= 0 && viewers.people !== people) {
    viewers.people = people;
    if (isOpen('live')) renderAvatars();
  }
  if (headcount) Object.assign(viewers, { total: headcount.sessions, devices: (headcount.facets?.device ?? []).map(({ value }) => value).filter((value) => value !== 'other') });
  const now = serverNow();
  for (const row of $('viewers').children) {
    setText(row.children[5], duration(now - Date.parse(row.dataset.joinedAt)));
    setText(row.children[6], `${duration(now - Date.parse(row.dataset.lastSeen))} ago`);
  }
  const { list, loaded, found, of, sample, cursor } = viewers;
  const isFiltered = found < of;
  const total = found ?? (cursor ? Math.max(viewers.total, list.length) : list.length);
  const range = pages.range(list, total) || (isFiltered ? number(total) : counted(total, 'session', 'sessions'));
  const rest = isFiltered || sample ? ` ${range.includes('–') ? 'matches in' : 'of'} ${sample ? 'the first ' : ''}${counted(of, 'session', 'sessions')}` : '';
  setText($('viewers-count'), loaded ? `${range}${rest}` : 'Loading…');
}

const fillFilters = bindFilters(FILTERS, onSlice);
$('viewers-clear').onclick = () => {
  for (const name of [...Object.values(FILTERS), 'where']) if (name !== 'sort') keepSetting(app.place, name, '');
  fillFilters();
  app.sliced();
  $('viewers-search').focus();
};
$('more').onclick = () => {
  viewers.requests = Math.min(viewers.requests * 2, MOST_REQUESTS);
  refresh({ now: true, force: true });
};
setInterval(() => refresh(), 30 * SECOND);

export function enter() {
  updateOptions($('viewers-device'), app.place.device ? [app.place.device] : [], capitalised);
  fillFilters();
}

export function forget() {
  Object.assign(viewers, { list: [], requests: 1, cursor: null, loaded: false, found: undefined, of: undefined, sample: undefined, total: 0, people: 0 });
  pages.page = 0;
  $('viewers').replaceChildren();
  $('avatars').replaceChildren();
  $('who').hidden = true;
}

export const csv = {
  viewers: () => {
    const shown = viewers.list;
    const names = (part) => [...new Set(shown.flatMap((one) => Object.keys(one[part])))].sort();
    const parts = ['facets', 'details', 'quality', 'engagement'].flatMap((part) => names(part).map((name) => [part, name]));
    return [
      `${app.place.space}-sessions`,
      [
        ['session', 'visitor', 'user', 'verified', 'name', 'page', 'state', 'joined', 'last seen', ...parts.map(([part, name]) => (part === 'facets' ? name : `${part} ${name}`))],
        ...shown.map((one) => [one.sessionId, one.visitorId, one.userId, one.verified, one.name, one.page, one.state, one.joinedAt, one.lastSeen, ...parts.map(([part, name]) => one[part][name])]),
      ],
    ];
  },
};
