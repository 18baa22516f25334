/** Share links: making one for the open space or its kind, and revoking those there are. */

import { app, attemptShown, onSubmit, whileDisabled } from '../app.js';
import { allows, get, request } from '../server.js';
import { $, dateTime, element, reconcile, setText } from '../tools.js';

let links = [];

const attempt = (task) => attemptShown(task, $('share-problem'));

const kindIn = (space) => space.slice(0, space.indexOf(':'));
const here = () => [app.place.space, `${kindIn(app.place.space)}:*`];

async function load() {
  ({ shares: links } = await get('/v1/shares'));
  render();
}

function render() {
  const open = links.filter(({ state, space }) => state === 'open' && here().includes(space));
  reconcile($('share-links'), open, ({ id }) => id, create, (row, one) => {
    setText(row.querySelector('.who'), one.label ?? (one.space.endsWith(':*') ? `All ${kindIn(one.space)} spaces` : one.space));
    setText(row.querySelector('.sub'), [one.space, `open until ${dateTime(one.expiresAt)}`].join(' · '));
  });
  $('share-none').hidden = open.length > 0;
}

function create(one) {
  const button = element('button', { type: 'button', class: 'quiet', 'aria-label': `Revoke ${one.label ?? one.space}` }, 'Revoke');
  button.onclick = async () => {
    const done = await whileDisabled(button, () => attempt(async () => {
      await request('DELETE', `/v1/shares/${encodeURIComponent(one.id)}`);
      await load();
    }));
    if (done) $('share-links-title').focus();
  };
  return element('li', {}, element('span', {}, element('span', { class: 'who' }), element('span', { class: 'sub' })), button);
}

async function make() {
  const where = $('share-where').value;
  const label = $('share-label').value.trim();
  const made = await request('POST', '/v1/shares', {
    ...(where.endsWith(':*') ? { kind: kindIn(where) } : { space: where }),
    expiresIn: Number($('share-seconds').value),
    ...(label && { label }),
    ...($('share-wall').checked && { view: 'wall' }),
  });
  const url = new URL(made.url);
  // Behind an edge, the API does not know the address that people use.
  $('share-url').value = `${location.origin}${url.pathname}${url.hash}`;
  $('share-made').hidden = false;
  setText($('share-copied'), '');
  await load();
  $('share-url').select();
}

export function openShares() {
  const kinds = allows('share', here()[1]) && allows('read', here()[1]);
  const [space, kind] = here();
  $('share-where').replaceChildren(element('option', { value: space }, space), ...(kinds ? [element('option', { value: kind }, `All ${kindIn(space)} spaces`)] : []));
  forget();
  $('share').showModal();
  attempt(load);
}

function forget() {
  links = [];
  $('share-form').reset();
  $('share-made').hidden = $('share-problem').hidden = true;
  $('share-url').value = ''; // it holds the secret
  render();
}

onSubmit($('share-form'), () => attempt(make));
$('share-close').onclick = () => $('share').close();
$('share').onclose = forget;
$('share-copy').onclick = async () => {
  $('share-url').select();
  const copied = await navigator.clipboard?.writeText($('share-url').value).then(() => true, () => false);
  setText($('share-copied'), copied ? 'Copied.' : 'Press Ctrl+C (⌘C) to copy it.');
};
