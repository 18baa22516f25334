/** All live spaces and their people, by kind, with a search. */

import { addressOf, isSpace, keepSetting } from '../address.js';
import { app, bindFilters, polling, reading, snippetFor } from '../app.js';
import { POLL_EVERY } from '../feed.js';
import { quarterOf } from '../period.js';
import { FEWEST, aboveUsual } from '../rising.js';
import { ServerError, allows, get, historyOf, server, serverNow } from '../server.js';
import { hasTitle, learnTitle, titleOf, titled } from '../names.js';
import { forgetLines, sparkline } from '../spark.js';
import { matches, setNumbers, shownOf, stackedTable } from '../tables.js';
import { $, counted, DAY, dateTime, decimal, dollarsOf, duration, element, HOUR, MINUTE, number, percent, reconcile, SECOND, setText } from '../tools.js';

let spaces = []; // the live ones
let kinds = []; // {kind, spaces: those that its declaration names}
let loaded = false;
let costAt = 0;
let sawNobody = false; // the snippet is shown
let titlesAt = 0;
let rollups = [];
const usual = new Map(); // space -> {at: a quarter of an hour, range: what is usual then, or null if that is not known}
const MOST_COMPARED = 20;
let rolledUp = true; // false: there are none here, or none that the token may read

const createRow = stackedTable($('spaces-rows'), [['space bar-cell', 'Space'], ['number', 'People'], ['number soft', 'Signed in'], ['number soft', 'Anonymous'], ['number soft', 'Sessions'], ['number soft', 'Peak'], ['soft hour', 'Last hour'], ['number soft ago', 'Last change']]);
const createRollup = stackedTable($('rollups-rows'), [['space bar-cell', 'Kind or group'], ['number', 'People'], ['number soft', 'Signed in'], ['number soft', 'Anonymous'], ['number soft', 'Sessions'], ['number soft', 'Spaces'], ['number soft', 'Peak']]);
const poll = polling('spaces', 'spaces', () => Promise.all([loadSpaces(), loadRollups()]), POLL_EVERY);
const kindOf = (space) => space.slice(0, space.indexOf(':'));
const sum = (name) => spaces.reduce((total, one) => total + one[name], 0);

async function loadSpaces() {
  ({ spaces, kinds = [] } = await get('/v1/spaces')); // a server before this release has no kinds
  loaded = true;
  render();
  refreshUsual();
  loadTitles();
  if (!allows('read', '*')) {
    costAt = 0; // another token's costs
    $('all-cost').hidden = true;
  } else if (serverNow() - costAt > HOUR) loadCost();
}

/** What streams are called. Without it they have their names. */
async function loadTitles() {
  const isDue = serverNow() - titlesAt > MINUTE && kinds.some(({ kind }) => kind === 'stream');
  if (!isDue || !allows('read', 'stream:*')) return;
  titlesAt = serverNow();
  const { streams } = await get('/api/streams').catch(() => ({ streams: [] }));
  for (const { id, title } of streams) learnTitle(`stream:${id}`, title);
  if (streams.length) render();
}

// Due once per quarter of an hour and space.
const refreshUsual = reading('spaces', 'usual', loadUsual, () => 10 * SECOND);

/** What is usual now in the largest spaces of the list. Without it, nothing is shown. */
async function loadUsual() {
  const { signal } = server.scope;
  const largest = fitting().filter(({ people }) => people >= FEWEST);
  for (const { space } of largest.slice(0, MOST_COMPARED)) {
    const at = quarterOf(serverNow());
    if (usual.get(space)?.at === at) continue;
    const body = await historyOf(space, { from: at, to: at + 15 * MINUTE, step: 15, usual: true }).catch(() => null);
    if (signal.aborted) return;
    const { weeks, low: [low], median: [median], high: [high] } = body?.usual ?? { low: [], median: [null], high: [] };
    usual.set(space, { at, range: median === null ? null : { weeks, low, median, high } });
    render();
  }
}

function usualOf(space) {
  const known = usual.get(space);
  return known?.at === quarterOf(serverNow()) ? known.range : null;
}

async function loadRollups() {
  if (!rolledUp) return;
  try {
    ({ rollups } = await get('/v1/rollups'));
  } catch (error) {
    if (!(error instanceof ServerError) || ![403, 404].includes(error.status)) throw error;
    rolledUp = false;
  }
  renderRollups();
}

/** Groups first; of kinds, those that ever had people. */
const listed = () => rollups.filter(({ group, peak }) => group || peak).sort((a, b) => (a.group === null) - (b.group === null) || b.people - a.people);

function renderRollups() {
  const shown = listed();
  const most = Math.max(1, ...shown.map(({ people }) => people));
  const all = rollups.find(({ space }) => space === '~group:all');
  setText($('all-people-once'), all ? `total of all spaces, ${number(all.people)} distinct` : 'total of all spaces');
  $('rollups').hidden = !shown.length;
  reconcile($('rollups-rows'), shown, ({ space }) => space, createRollupRow, (row, one) => {
    const [name, ...cells] = row.children;
    name.style.setProperty('--share', one.people / most);
    const numbers = [one.people, one.signedIn, one.anonymous, one.sessions, one.spaces, one.peak?.people ?? 0];
    cells.forEach((cell, i) => setText(cell, number(numbers[i])));
  });
}

function createRollupRow({ space, kind, group }) {
  const row = createRollup();
  row.dataset.testid = 'rollup-row';
  const link = element('a', { href: addressOf({ view: 'space', space }) }, kind ?? group);
  row.firstChild.append(element('span', {}, link, element('span', { class: 'sub tag' }, kind ? 'kind' : 'group')));
  return row;
}

/** Not by `get`: without the costs, the view is not in trouble. */
async function loadCost() {
  costAt = serverNow();
  const from = `${new Date(costAt - DAY).toISOString().slice(0, 8)}01`; // the month of yesterday
  const answer = await fetch(`/v1/costs?from=${from}`, { headers: { authorization: `Bearer ${server.token}` } }).catch(() => null);
  const days = answer?.ok ? (await answer.json()).days : [];
  const month = days.reduce((total, { dollars }) => total + dollars, 0);
  $('all-cost').hidden = !days.length;
  if (days.length) setText($('all-cost'), `Estimated cost: ${dollarsOf(days.at(-1).dollars)} on ${days.at(-1).date}, ${dollarsOf(month)} this month until then. Not the bill.`);
}

function fitting() {
  const { q, kind } = app.place;
  return spacesHere().filter(({ space }) => matches(q, [space, titleOf(space)]) && (!kind || kindOf(space) === kind));
}

function render() {
  const used = [...new Set(spacesHere().map(({ space }) => kindOf(space)))].sort();
  const live = [...new Set(spaces.map(({ space }) => kindOf(space)))].sort();
  $('view-spaces').setAttribute('aria-busy', String(!loaded));
  setNumbers({
    'all-people': number(loaded ? sum('people') : NaN),
    'all-spaces': number(loaded ? spaces.length : NaN),
    'all-kinds': number(loaded ? live.length : NaN),
    'all-kinds-names': live.join(', '),
    'all-sessions': number(loaded ? sum('sessions') : NaN),
    'all-signed-in': number(loaded ? sum('signedIn') : NaN),
    'all-signed-in-share': sum('people') ? `${percent(sum('signedIn') / sum('people'))} of the people` : '',
    'all-anonymous': number(loaded ? sum('anonymous') : NaN),
  });
  renderKinds(used);
  const shown = fitting();
  const most = Math.max(1, ...shown.map(({ people }) => people));
  reconcile($('spaces-rows'), shown, ({ space }) => space, create, (row, one) => {
    const [space, people, signedIn, anonymous, sessions, peak, hour, asOf] = row.children;
    space.style.setProperty('--share', one.people / most);
    const [link, name] = space.firstChild.children;
    setText(link, titleOf(one.space));
    setText(name, hasTitle(one.space) ? one.space : '');
    [people, signedIn, anonymous, sessions, peak].forEach((node, i) => setText(node, number([one.people, one.signedIn, one.anonymous, one.sessions, one.peak?.people ?? NaN][i])));
    peak.title = one.peak ? dateTime(one.peak.at) : '';
    asOf.dataset.at = one.asOf ?? '';
    const range = usualOf(one.space);
    setText(hour.lastChild, aboveUsual(one.people, range));
    hour.lastChild.title = range ? `Usual at this time of the week: ${decimal(range.low)}–${decimal(range.high)} people, the middle half of ${range.weeks} weeks` : '';
  });
  $('spaces-rows').closest('table').hidden = !shown.length;
  setText($('spaces-count'), loaded ? shownOf(shown.length, spacesHere().length, 'space', 'spaces') : 'Loading…');
  $('spaces-empty').hidden = !loaded || shown.length > 0;
  setText($('spaces-empty'), spaces.length ? 'No spaces match. Clear the search or choose another kind.' : 'No visitors right now. To count visitors, paste this snippet into your pages:');
  const isEmpty = loaded && !spaces.length;
  $('spaces-snippet').hidden = $('spaces-waits').hidden = !isEmpty;
  setText($('first-snippet'), snippetFor(`${kindsHere()[0] && !kindsHere().includes('site') ? kindsHere()[0] : 'site'}:main`));
  if (isEmpty && !sawNobody) $('spaces-arrived').hidden = true;
  if (sawNobody && spaces.length) {
    $('spaces-arrived').hidden = false;
    setText($('spaces-arrived'), `✓ It works: ${counted(sum('people'), 'person', 'people')} in ${spaces[0].space}.`);
  }
  sawNobody = isEmpty;
  tick();
}

function create(one) {
  const row = createRow();
  row.dataset.testid = 'space-row';
  row.firstChild.append(element('span', {}, element('a', { href: addressOf({ view: 'space', space: one.space }) }), element('span', { class: 'sub tag' })));
  row.children[6].append(sparkline(one.space), element('span', { class: 'rise', 'data-testid': 'rise' }));
  return row;
}

function renderKinds(kinds) {
  const all = [['', 'All'], ...kinds.map((kind) => [kind, kind])];
  reconcile($('spaces-kinds'), all, ([kind]) => `kind ${kind}`, ([kind, label]) => {
    const button = element('button', { type: 'button' }, label);
    button.onclick = () => {
      keepSetting(app.place, 'kind', kind);
      render();
    };
    return button;
  }, (button, [kind]) => button.setAttribute('aria-pressed', String((app.place.kind ?? '') === kind)));
}

/** The spaces that the switcher offers, in every view, and their kinds. */
export const kindsHere = () => [...new Set([...kinds.map(({ kind }) => kind), ...spaces.map(({ space }) => kindOf(space))])].sort();
export function spacesHere() {
  const live = new Set(spaces.map(({ space }) => space));
  const allowed = (server.rights?.allows.read ?? []).filter(isSpace);
  const empty = new Set([...kinds.flatMap((one) => one.spaces), ...allowed, ...titled()].filter((space) => !live.has(space)));
  return [...spaces, ...[...empty].sort().map((space) => ({ space, people: 0, signedIn: 0, anonymous: 0, sessions: 0, peak: null, asOf: null }))];
}

export async function loadChoices(always) {
  if (always || app.place.view !== 'spaces' || !loaded) await loadSpaces();
}

function tick() {
  const now = serverNow();
  for (const node of $('spaces-rows').querySelectorAll('.ago')) setText(node, node.dataset.at ? `${duration(now - Date.parse(node.dataset.at))} ago` : '–');
}

const fillFilters = bindFilters({ 'spaces-search': 'q' }, render);

export const view = {
  title: 'Spaces',
  poll,
  enter() {
    sawNobody = false;
    $('spaces-arrived').hidden = true;
    fillFilters();
    render();
    renderRollups();
    poll.refresh({ now: true });
  },
  refresh: (options) => poll.refresh(options),
  tick,
  forget() {
    sawNobody = false;
    $('spaces-arrived').hidden = true;
    spaces = [];
    kinds = [];
    forgetLines();
    usual.clear();
    loaded = false;
    costAt = titlesAt = 0;
    rollups = [];
    rolledUp = true;
    $('all-cost').hidden = true;
    poll.forget();
    render();
    renderRollups();
  },
  csv: {
    rollups: () => ['kinds-and-groups', [['kind', 'group', 'people', 'signed in', 'anonymous', 'sessions', 'spaces', 'peak', 'as of'], ...listed().map((one) => [one.kind, one.group, one.people, one.signedIn, one.anonymous, one.sessions, one.spaces, one.peak?.people ?? 0, one.asOf])]],
    spaces: () => ['spaces', [['space', 'people', 'signed in', 'anonymous', 'sessions', 'peak', 'as of', 'usual from', 'usual to'], ...fitting().map((one) => [one.space, one.people, one.signedIn, one.anonymous, one.sessions, one.peak?.people, one.asOf, usualOf(one.space)?.low, usualOf(one.space)?.high])]],
  },
};
