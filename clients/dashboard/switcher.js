/** Going to a space by its name: a combobox over the spaces that are known. */

import { isSpace } from './address.js';
import { app, showProblem } from './app.js';
import { hasTitle, titleOf } from './names.js';
import { get, mayRead, server, spacePath } from './server.js';
import { sparkline } from './spark.js';
import { matches } from './tables.js';
import { $, counted, element, reconcile, setText } from './tools.js';

const MAX_OPTIONS = 50;

/** {space, people} of each space that may be offered; set by dashboard.js. */
export const known = { spaces: () => [], kinds: () => [], load: async () => {} };

const input = $('space-input');
const list = $('space-options');
let wanted = false; // open, if there is anything to choose
let reading; // again while it is open: a space may have come since
let active = -1;

function fitting() {
  const text = input.value.trim();
  return known.spaces().filter(({ space }) => matches(text, [space, titleOf(space)])).sort((a, b) => b.people - a.people || (a.space < b.space ? -1 : 1)).slice(0, MAX_OPTIONS);
}

export function renderOptions() {
  if (!wanted) return;
  const options = fitting();
  active = Math.min(active, options.length - 1);
  reconcile(list, options, ({ space }) => space, createOption, (node, { space, people }) => {
    const [name, , count] = node.children;
    setText(name.firstChild, titleOf(space));
    setText(name.lastChild, hasTitle(space) ? space : '');
    setText(count, people ? counted(people, 'person', 'people') : 'no one now');
  });
  list.hidden = !options.length;
  input.setAttribute('aria-expanded', String(!list.hidden));
  mark();
}

function createOption({ space }) {
  const node = element('li', { role: 'option', id: `option-${space}` }, element('span', { class: 'name' }, element('bdi'), element('span', { class: 'sub' })), sparkline(space), element('span', { class: 'number' }));
  node.onpointerdown = (event) => event.preventDefault(); // keeps the focus
  node.onclick = () => go(node.dataset.key);
  return node;
}

function mark() {
  [...list.children].forEach((node, i) => node.setAttribute('aria-selected', String(i === active)));
  const chosen = list.children[active];
  if (chosen) {
    input.setAttribute('aria-activedescendant', chosen.id);
    chosen.scrollIntoView({ block: 'nearest' });
  } else input.removeAttribute('aria-activedescendant');
}

const load = () => known.load().then(renderOptions, () => {});

function open() {
  if (!wanted) reading = setInterval(load, 5_000);
  wanted = true;
  renderOptions();
}

function close() {
  wanted = false;
  clearInterval(reading);
  list.hidden = true;
  active = -1;
  input.setAttribute('aria-expanded', 'false');
  input.removeAttribute('aria-activedescendant');
}

/** Empties the field. */
export function clear() {
  close();
  input.value = '';
  say('');
}

const say = (problem) => {
  showProblem($('space-problem'), problem);
  input.setAttribute('aria-invalid', String(Boolean(problem)));
};

function go(space) {
  clear();
  input.blur();
  app.go({ view: 'space', space });
}

/** Finds a space by what somebody typed: its name, the part behind the colon, or its title. Says so if there is none. */
export async function find(text) {
  say('');
  const { signal } = server.scope;
  const space = isSpace(text) ? text : await findLoose(text);
  if (signal.aborted) return;
  if (space) return go(space);
  const kinds = known.kinds();
  input.value = text;
  say(`There is no space “${text}”. Its full name is kind:id, such as ${kinds[0] ?? 'site'}:main${kinds.length > 1 ? `; kinds are ${kinds.join(', ')}` : ''}.`);
}

async function findLoose(text) {
  await known.load().catch(() => {});
  const lower = text.toLowerCase();
  const same = fittingIn(({ space }) => space.slice(space.indexOf(':') + 1).toLowerCase() === lower || titleOf(space).toLowerCase() === lower);
  if (same.length) return same[0].space;
  const seen = await Promise.all(known.kinds().map((kind) => wasSeen(`${kind}:${text}`)));
  const found = seen.find(Boolean);
  if (found) return found;
  const close = fittingIn(({ space }) => matches(text, [space, titleOf(space)]));
  return close.length === 1 ? close[0].space : null;
}

const fittingIn = (isOne) => known.spaces().filter(isOne).sort((a, b) => b.people - a.people);

/** The space if somebody was ever in it. */
async function wasSeen(space) {
  if (!isSpace(space)) return null;
  const body = await get(spacePath(space)).catch(() => null);
  return body?.version > 0 ? space : null;
}

input.onfocus = () => {
  if (!mayRead(true)) return;
  open();
  load();
};
input.onclick = () => list.hidden && open();
input.onblur = close;
input.oninput = () => {
  active = -1;
  say('');
  open();
};
input.onkeydown = (event) => {
  const { key } = event;
  const last = list.children.length - 1;
  if (key === 'Escape') {
    if (list.hidden) clear();
    else close();
  } else if (key === 'ArrowDown' || key === 'ArrowUp') {
    event.preventDefault();
    if (list.hidden) return open();
    active = key === 'ArrowDown' ? (active >= last ? 0 : active + 1) : active <= 0 ? last : active - 1;
    mark();
  }
};
$('space-form').onsubmit = (event) => {
  event.preventDefault();
  const chosen = list.hidden ? null : list.children[active];
  const text = input.value.trim();
  if (chosen) go(chosen.dataset.key);
  else if (text) {
    close();
    find(text);
  }
};
