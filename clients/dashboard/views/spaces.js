/** All live spaces and their people, by kind, with a search. */

import { addressOf, keepSetting } from '../address.js';
import { app, bindFilters, polling, snippetFor } from '../app.js';
import { POLL_EVERY } from '../feed.js';
import { allows, get, server, serverNow } from '../server.js';
import { matches, setNumbers, shownOf, stackedTable } from '../tables.js';
import { $, counted, DAY, dollarsOf, duration, element, HOUR, number, percent, reconcile, setText } from '../tools.js';

let spaces = [];
let loaded = false;
let costAt = 0;

const createRow = stackedTable($('spaces-rows'), [['space bar-cell', 'Space'], ['number', 'People'], ['number soft', 'Signed in'], ['number soft', 'Anonymous'], ['number soft', 'Sessions'], ['number soft ago', 'Last change']]);
const poll = polling('spaces', 'spaces', loadSpaces, POLL_EVERY);
const kindOf = (space) => space.slice(0, space.indexOf(':'));
const sum = (name) => spaces.reduce((total, one) => total + one[name], 0);

async function loadSpaces() {
  ({ spaces } = await get('/v1/spaces'));
  loaded = true;
  render();
  if (!allows('read', '*')) {
    costAt = 0; // another token's costs
    $('all-cost').hidden = true;
  } else if (serverNow() - costAt > HOUR) loadCost();
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
  return spaces.filter(({ space }) => matches(q, [space]) && (!kind || kindOf(space) === kind));
}

function render() {
  const kinds = [...new Set(spaces.map(({ space }) => kindOf(space)))].sort();
  $('view-spaces').setAttribute('aria-busy', String(!loaded));
  setNumbers({
    'all-people': number(loaded ? sum('people') : NaN),
    'all-spaces': number(loaded ? spaces.length : NaN),
    'all-kinds': number(loaded ? kinds.length : NaN),
    'all-kinds-names': kinds.join(', '),
    'all-sessions': number(loaded ? sum('sessions') : NaN),
    'all-signed-in': number(loaded ? sum('signedIn') : NaN),
    'all-signed-in-share': sum('people') ? `${percent(sum('signedIn') / sum('people'))} of the people` : '',
    'all-anonymous': number(loaded ? sum('anonymous') : NaN),
  });
  renderKinds(kinds);
  const shown = fitting();
  const most = Math.max(1, ...shown.map(({ people }) => people));
  reconcile($('spaces-rows'), shown, ({ space }) => space, create, (row, one) => {
    const [space, people, signedIn, anonymous, sessions, asOf] = row.children;
    space.style.setProperty('--share', one.people / most);
    [people, signedIn, anonymous, sessions].forEach((node, i) => setText(node, number([one.people, one.signedIn, one.anonymous, one.sessions][i])));
    asOf.dataset.at = one.asOf;
  });
  $('spaces-rows').closest('table').hidden = !shown.length;
  setText($('spaces-count'), loaded ? shownOf(shown.length, spaces.length, 'space', 'spaces') : 'Loading…');
  $('spaces-empty').hidden = !loaded || shown.length > 0;
  setText($('spaces-empty'), spaces.length ? 'No spaces match. Clear the search or choose another kind.' : 'No visitors right now. To count visitors, paste this snippet into your pages:');
  $('spaces-snippet').hidden = !loaded || spaces.length > 0;
  setText($('spaces-snippet').firstChild, snippetFor('site:main'));
  updateChoices();
  tick();
}

function create(one) {
  const row = createRow();
  row.dataset.testid = 'space-row';
  row.firstChild.append(element('span', {}, element('a', { href: addressOf({ view: 'space', space: one.space }) }, one.space)));
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

/** The suggestions in the header's space field, in every view. */
function updateChoices() {
  $('spaces').replaceChildren(...spaces.map((live) => element('option', { value: live.space, label: counted(live.people, 'person', 'people') })));
}

export async function loadChoices(always) {
  if (always || app.place.view !== 'spaces') await loadSpaces();
}

function tick() {
  const now = serverNow();
  for (const node of $('spaces-rows').querySelectorAll('.ago')) setText(node, `${duration(now - Date.parse(node.dataset.at))} ago`);
}

const fillFilters = bindFilters({ 'spaces-search': 'q' }, render);

export const view = {
  title: 'Spaces',
  poll,
  enter() {
    fillFilters();
    render();
    poll.refresh({ now: true });
  },
  refresh: (options) => poll.refresh(options),
  tick,
  forget() {
    spaces = [];
    loaded = false;
    costAt = 0;
    $('all-cost').hidden = true;
    poll.forget();
    render();
  },
  csv: {
    spaces: () => ['spaces', [['space', 'people', 'signed in', 'anonymous', 'sessions', 'as of'], ...fitting().map((one) => [one.space, one.people, one.signedIn, one.anonymous, one.sessions, one.asOf])]],
  },
};
