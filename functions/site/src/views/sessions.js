/** Who is in a space: a list that filters, sorts, and shows fifty at a time however many there are. */

import { keepSetting } from '../address.js';
import { app } from '../app.js';
import { attempt, get, mayRead, serverNow, spacePath } from '../server.js';
import { createRow, matches, pager, updateOptions } from '../tables.js';
import { $, SECOND, capitalised, counted, countryName, decimal, duration, element, number, paced, percent, position, reconcile, setAttribute, setText } from '../tools.js';
import { askRemoval } from './extras.js';

const PER_REQUEST = 100;
const PER_PAGE = 50;
const UNITS = { bandwidth: 'kbit/s', latency: 'ms latency', buffering: 'buffering', errors: 'errors', quality: '' };
const viewers = { list: [], requests: 1, cursor: null, loaded: false };
const FILTERS = { 'viewers-search': 'q', 'viewers-who': 'who', 'viewers-state': 'state', 'viewers-device': 'device', 'viewers-sort': 'sort' };

// Each hundred is one request, so a list made longer is read less often.
export const refresh = paced((force) => app.place.view === 'space' && mayRead(force) && attempt('viewers', load, refresh), () => 3 * SECOND * Math.max(1, Math.ceil(viewers.list.length / PER_REQUEST)));
const pages = pager($('viewers-before'), $('viewers-after'), PER_PAGE, () => render());

async function load() {
  const found = new Map();
  let cursor = null;
  for (let request = 0; request < viewers.requests && (request === 0 || cursor); request += 1) {
    const body = await get(spacePath(app.place.space, `/viewers?limit=${PER_REQUEST}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`));
    for (const viewer of body.viewers) found.set(viewer.sessionId, viewer);
    cursor = body.cursor;
  }
  Object.assign(viewers, { list: [...found.values()], cursor, loaded: true });
  render();
}

const nameOf = (viewer) => viewer.name || viewer.userId;
const doingOf = ({ page, facets, details }) => details.contentTitle ?? facets.content ?? facets.chapter ?? page;

const ORDERS = {
  seen: (a, b) => Date.parse(b.lastSeen) - Date.parse(a.lastSeen),
  longest: (a, b) => Date.parse(a.joinedAt) - Date.parse(b.joinedAt),
  newest: (a, b) => Date.parse(b.joinedAt) - Date.parse(a.joinedAt),
  name: (a, b) => (nameOf(a) ?? '\uFFFF').localeCompare(nameOf(b) ?? '\uFFFF'),
};

function fitting() {
  const { q, who, state, device, sort } = app.place;
  const shown = viewers.list.filter(
    (one) =>
      (!who || (who === 'signed-in') === Boolean(one.userId)) &&
      (!state || (one.state ?? 'active') === state) &&
      (!device || one.facets.device === device) &&
      matches(q, [one.name, one.userId, one.visitorId, one.sessionId, one.page, ...Object.values(one.facets), one.details.contentTitle]),
  );
  return ORDERS[sort] ? shown.sort(ORDERS[sort]) : shown;
}

function render() {
  const shown = fitting();
  updateOptions($('viewers-device'), viewers.list.map((one) => one.facets.device).filter(Boolean), capitalised);
  reconcile($('viewers'), pages.slice(shown), (viewer) => viewer.sessionId, create, update);
  $('viewers').closest('table').hidden = viewers.loaded && !shown.length;
  $('viewers-none').hidden = !viewers.loaded || shown.length > 0 || !viewers.list.length;
  $('more').hidden = !viewers.cursor;
  viewers.shown = shown;
  tick(null);
}

function create() {
  const row = createRow([['who'], ['page'], ['device'], ['quality'], ['state'], ['since number'], ['seen number'], ['session'], ['act']]);
  row.dataset.testid = 'viewer';
  const [who, page, , , , , , session] = row.children;
  who.append(element('span', { class: 'avatar', 'aria-hidden': 'true' }), element('span', { class: 'name' }));
  page.append(element('span', { class: 'doing' }), element('span', { class: 'progress', hidden: '' }, element('progress', { max: 1, value: 0 }), element('span', { class: 'time' })));
  session.append(element('code'));
  const button = element('button', { type: 'button', class: 'quiet' }, 'Remove');
  button.onclick = () => askRemoval(viewers.list.find((one) => one.sessionId === row.dataset.key));
  row.lastChild.append(button);
  return row;
}

function update(row, viewer) {
  const [who, page, device, quality, state, , , session] = row.children;
  const name = nameOf(viewer);
  setText(who.lastChild, name || 'Anonymous');
  setAttribute(row.lastChild.firstChild, 'aria-label', `Remove ${name || `session ${viewer.sessionId}`}`);
  who.classList.toggle('nameless', !name);
  updateAvatar(who.firstChild, name);
  updateDoing(page, viewer);
  const { device: used, country } = viewer.facets;
  setText(device, [used && capitalised(used), country].filter(Boolean).join(' · ') || '–');
  setAttribute(device, 'title', country ? countryName(country) : '');
  const words = qualityOf(viewer);
  setText(quality, words || '–');
  setAttribute(quality, 'title', words);
  setText(state, viewer.state ?? 'active');
  row.dataset.state = viewer.state ?? 'active';
  row.dataset.joinedAt = viewer.joinedAt;
  row.dataset.lastSeen = viewer.lastSeen;
  setText(session.firstChild, viewer.sessionId.length > 9 ? `${viewer.sessionId.slice(0, 8)}…` : viewer.sessionId);
  setAttribute(session, 'title', viewer.sessionId);
}

function qualityOf({ facets, quality }) {
  const numbers = Object.entries(quality).map(([name, value]) => `${decimal(value)} ${UNITS[name] ?? name}`.trim());
  return [facets.quality, ...numbers].filter(Boolean).join(' · ');
}

function updateDoing(cell, viewer) {
  const doing = doingOf(viewer) ?? '–';
  setText(cell.firstChild, doing);
  setAttribute(cell, 'title', viewer.page && viewer.page !== doing ? `${doing} (${viewer.page})` : doing);
  const { currentPosition, duration: whole } = viewer.details;
  const frame = cell.lastChild;
  frame.hidden = !(whole > 0);
  if (frame.hidden) return;
  const [bar, time] = frame.children;
  bar.value = Math.min(1, currentPosition / whole);
  setAttribute(bar, 'aria-label', `${doing}: ${percent(bar.value)}`);
  setText(time, `${position(currentPosition)} / ${position(whole)}`);
}

// Never the picture: anybody may claim one, and its server would learn who watches, and when.
function updateAvatar(frame, name) {
  setText(frame, name ? [...name.trim()][0]?.toUpperCase() ?? '' : '');
}

/** Once a second: how long, how long ago, and how many of how many. */
export function tick(headcount) {
  if (headcount) viewers.total = headcount.sessions;
  const now = serverNow();
  for (const row of $('viewers').children) {
    setText(row.children[5], duration(now - Date.parse(row.dataset.joinedAt)));
    setText(row.children[6], `${duration(now - Date.parse(row.dataset.lastSeen))} ago`);
  }
  const { list, loaded, cursor, shown = list } = viewers;
  const known = cursor ? `the first ${number(list.length)} of ${number(viewers.total)}` : counted(list.length, 'session', 'sessions');
  const found = shown.length < list.length ? `${number(shown.length)} of ${known}` : known;
  const page = pages.words(shown);
  setText($('viewers-count'), !loaded ? 'Loading…' : page ? `${page}${cursor ? `, loaded ${known}` : ''}` : found);
}

for (const [id, name] of Object.entries(FILTERS)) {
  $(id).oninput = ({ target }) => {
    keepSetting(app.place, name, target.value.trim());
    pages.page = 0;
    render();
  };
}
$('viewers-clear').onclick = () => {
  for (const [id, name] of Object.entries(FILTERS)) {
    if (name === 'sort') continue;
    $(id).value = '';
    keepSetting(app.place, name, '');
  }
  render();
  $('viewers-search').focus();
};
$('more').onclick = () => {
  viewers.requests = Math.min(viewers.requests * 2, 50);
  refresh({ now: true, force: true });
};
setInterval(() => refresh(), 30 * SECOND);

export function enter() {
  updateOptions($('viewers-device'), app.place.device ? [app.place.device] : [], capitalised);
  for (const [id, name] of Object.entries(FILTERS)) $(id).value = app.place[name] ?? '';
}

export function forget() {
  Object.assign(viewers, { list: [], requests: 1, cursor: null, loaded: false, shown: [], total: 0 });
  pages.page = 0;
  $('viewers').replaceChildren();
}

export const csv = {
  viewers: () => {
    const shown = fitting();
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
