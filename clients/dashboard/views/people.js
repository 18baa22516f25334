/** Where a person is, live by the socket: looked up by key, such as u:ada. */

import { addressOf } from '../address.js';
import { app } from '../app.js';
import { feed, watchPeople } from '../feed.js';
import { keysCalled, personNamed } from '../names.js';
import { ServerError, attempt, mayRead, request, server, serverNow } from '../server.js';
import { stackedTable } from '../tables.js';
import { $, SECOND, clockTime, counted, duration, element, number, paced, reconcile, setText } from '../tools.js';

const KEY = /^[ucvs]:./s;
const MAX_EVENTS = 20;
const EVENTS = { online: 'Came', moved: 'Moved', offline: 'Left' };
const COLUMNS = [['where', 'Space'], ['soft', 'Page'], ['number soft', 'Sessions'], ['soft', 'Proof'], ['number soft since-then', 'Here for'], ['number soft seen-then', 'Last seen']];

/** {key, found: as the API answers, problem, at: of the last frame, events}, one for each key. */
let people = [];
let asOf = null;

export const readAt = () => asOf;
const keysOf = (text) => (!text ? [] : KEY.test(text) ? [text] : [...new Set([`u:${text}`, `c:${text}`, ...keysCalled(text)])]);

// --- Reading, and the socket ---------------------------------------------------------------------

async function load() {
  const asked = people;
  await Promise.all(asked.map(look));
  if (asked !== people) return;
  if (!feed.live) feed.contactAt = Date.now();
  render();
  // The server refuses to watch whom the token may not see.
  watchPeople(asked.filter(({ found }) => found).map(({ key }) => key));
}

/** Looks a person up. Not by their path: an id may hold a slash. */
async function look(one) {
  const { at } = one;
  try {
    const { people: [found] } = await request('POST', '/v1/people/lookup', { people: [one.key] });
    if (one.at === at) Object.assign(one, { found, problem: '' }); // else the socket was quicker
    asOf = new Date(serverNow()).toISOString();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    Object.assign(one, { found: null, problem: error.message });
  }
}

const refresh = paced((force) => app.place.view === 'people' && people.length && mayRead(force) && attempt('people', load, refresh), () => SECOND);

/** The socket says where people are. A frame that was overtaken by a later one is ignored. */
export function onPeople(frames, at, event) {
  if (server.paused) return; // resuming reads again
  for (const { person, online, spaces, lastSeen } of frames) {
    const one = people.find(({ key }) => key === person);
    if (!one || one.at > at) continue;
    Object.assign(one, { at, found: { person, online, spaces, lastSeen }, problem: '' });
    if (event) one.events = [{ at, event, where: spaces.map(({ space, page }) => [space, page].filter(Boolean).join(' ')).join(', ') }, ...one.events].slice(0, MAX_EVENTS);
  }
  asOf = at;
  render();
}

// --- The screen ----------------------------------------------------------------------------------

function render() {
  reconcile($('found'), people, ({ key }) => key, create, update);
  tick();
}

function create({ key }) {
  const id = `person-${encodeURIComponent(key)}`;
  const rows = element('tbody', { role: 'rowgroup' });
  const table = element('table', { class: 'stacked', role: 'table', 'aria-labelledby': id, hidden: '' }, rows);
  const title = element('h2', { id }, personNamed(key) && element('bdi', { class: 'called' }, personNamed(key)), ' ', element('bdi', { class: personNamed(key) ? 'sub' : '' }, key));
  const button = element('button', { class: 'quiet csv', type: 'button', 'data-csv': `person ${people.findIndex((one) => one.key === key)}` }, 'CSV');
  const head = element('header', {}, title, element('span', { class: 'badge' }), element('p', { class: 'sub seen-last', role: 'status' }), button);
  const card = element('section', { class: 'card listing person', 'data-testid': 'person', 'aria-labelledby': id }, head, element('p', { class: 'hollow problem', hidden: '' }), table, element('ol', { class: 'events', 'aria-label': 'Changes since you opened this page' }));
  card.createRow = stackedTable(rows, COLUMNS);
  return card;
}

function update(card, { key, found, problem, events }) {
  const [head, note, table, log] = card.children;
  const [, badge, , button] = head.children;
  setText(badge, found ? (found.online ? 'Online' : 'Not here') : '');
  badge.dataset.status = found?.online ? 'live' : '';
  card.dataset.lastSeen = found?.lastSeen ?? '';
  card.dataset.online = String(Boolean(found?.online));
  button.hidden = table.hidden = !found?.online;
  note.hidden = !problem;
  setText(note, problem);
  reconcile(table.tBodies[0], found?.spaces ?? [], ({ space }) => space, ({ space }) => createPlace(card, space), (row, one) => {
    const [, page, sessions, proof] = row.children;
    setText(page, one.page ?? '–');
    setText(sessions, number(one.sessions));
    setText(proof, /^[uc]/.test(key) ? (one.verified ? 'Verified' : 'Not verified') : '–');
    Object.assign(row.dataset, { since: one.since, lastSeen: one.lastSeen });
  });
  log.hidden = !events.length;
  reconcile(log, events, ({ at, event }) => `${at} ${event}`, ({ at }) => element('li', {}, element('time', { datetime: at }, clockTime(at, true)), element('span')), (row, { event, where }) => setText(row.lastChild, `${EVENTS[event] ?? event}${where ? `: ${where}` : ''}`));
}

function createPlace(card, space) {
  const row = card.createRow();
  row.dataset.testid = 'place';
  row.firstChild.append(element('a', { href: addressOf({ view: 'space', space }) }, space));
  return row;
}

/** When the longest of their visits began. */
const firstOf = ({ found }) => Math.min(...found.spaces.map(({ since }) => Date.parse(since)));
const sessionsOf = ({ found }) => found.spaces.reduce((total, { sessions }) => total + sessions, 0);

/** Once a second: durations. */
function tick() {
  const now = serverNow();
  const ago = (at) => duration(now - Date.parse(at));
  for (const card of $('found').children) {
    const { lastSeen, online } = card.dataset;
    const one = people.find(({ key }) => key === card.dataset.key);
    const where = one?.found?.spaces.length ?? 0;
    const text = online === 'true' ? `in ${counted(where, 'space', 'spaces')} since ${clockTime(firstOf(one))}, ${counted(sessionsOf(one), 'session', 'sessions')}` : lastSeen ? `last seen ${ago(lastSeen)} ago` : 'not seen in the last seven days';
    setText(card.querySelector('.seen-last'), one?.found ? text : '');
    for (const row of card.querySelectorAll('tbody tr')) {
      setText(row.children[4], ago(row.dataset.since));
      setText(row.children[5], `${ago(row.dataset.lastSeen)} ago`);
    }
  }
}

$('find').onsubmit = (event) => {
  event.preventDefault();
  const person = $('find-input').value.trim();
  if (person && person === app.place.person) refresh({ now: true, force: true });
  else if (person) app.go({ view: 'people', person });
};

function forget() {
  people = [];
  asOf = null;
  $('found').replaceChildren();
  $('find-input').value = '';
}

export const view = {
  get title() {
    const { person } = app.place;
    return person ? personNamed(person) || person : 'People';
  },
  load,
  enter() {
    forget();
    const { person } = app.place;
    // What somebody has begun to type while the page was opening stays.
    if (person || document.activeElement !== $('find-input')) $('find-input').value = person ?? '';
    people = keysOf(person).map((key) => ({ key, found: null, problem: '', at: '', events: [] }));
    render();
    if (people.length) refresh({ now: true });
  },
  refresh,
  tick,
  forget,
  csv: {
    person: (index) => {
      const { key, found } = people[index];
      return [key, [['person', 'space', 'page', 'sessions', 'verified', 'since', 'last seen'], ...found.spaces.map((one) => [key, one.space, one.page, one.sessions, one.verified, one.since, one.lastSeen])]];
    },
  },
};
