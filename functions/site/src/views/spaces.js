/** All live spaces: how many people are where, by kind, with a search. */

import { addressOf, keepSetting } from '../address.js';
import { app, polling } from '../app.js';
import { POLL_EVERY } from '../feed.js';
import { get, serverNow } from '../server.js';
import { createRow, matches, setNumbers } from '../tables.js';
import { $, counted, duration, element, number, percent, reconcile, setText } from '../tools.js';

let spaces = [];
let loaded = false;

const poll = polling('spaces', 'spaces', loadSpaces, POLL_EVERY);
const kindOf = (space) => space.slice(0, space.indexOf(':'));
const sum = (name) => spaces.reduce((total, one) => total + one[name], 0);

async function loadSpaces() {
  ({ spaces } = await get('/v1/spaces'));
  loaded = true;
  render();
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
  setText($('spaces-count'), loaded ? (shown.length < spaces.length ? `${number(shown.length)} of ${number(spaces.length)}` : counted(spaces.length, 'space', 'spaces')) : 'Loading…');
  $('spaces-empty').hidden = !loaded || shown.length > 0;
  setText($('spaces-empty'), spaces.length ? 'No live space fits. Clear the search or choose another kind.' : 'Nobody is anywhere right now. Embed headcount.js in a page, or open a space above and send it a first beat.');
  updateChoices();
  tick();
}

function create(one) {
  const row = createRow([['space bar-cell'], ['number', 'People'], ['number soft', 'Signed in'], ['number soft', 'Anonymous'], ['number soft', 'Sessions'], ['number soft ago', 'Last change']]);
  row.dataset.testid = 'space-row';
  row.firstChild.append(element('span', {}, element('a', { href: addressOf({ view: 'space', space: one.space }) }, one.space)));
  return row;
}

function renderKinds(kinds) {
  const all = [['', 'All'], ...kinds.map((kind) => [kind, kind])];
  reconcile($('spaces-kinds'), all, ([kind]) => `kind ${kind}`, ([kind, word]) => {
    const button = element('button', { type: 'button' }, word);
    button.onclick = () => {
      keepSetting(app.place, 'kind', kind);
      render();
    };
    return button;
  }, (button, [kind]) => button.setAttribute('aria-pressed', String((app.place.kind ?? '') === kind)));
}

/** The spaces to choose from, in every view's header. */
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

$('spaces-search').oninput = ({ target }) => {
  keepSetting(app.place, 'q', target.value.trim());
  render();
};

export const view = {
  title: 'Spaces',
  poll,
  enter() {
    $('spaces-search').value = app.place.q ?? '';
    render();
    poll.refresh({ now: true });
  },
  refresh: (options) => poll.refresh(options),
  tick,
  forget() {
    spaces = [];
    loaded = false;
    poll.forget();
    render();
  },
  csv: {
    spaces: () => ['spaces', [['space', 'people', 'signed in', 'anonymous', 'sessions', 'as of'], ...fitting().map((one) => [one.space, one.people, one.signedIn, one.anonymous, one.sessions, one.asOf])]],
  },
};
