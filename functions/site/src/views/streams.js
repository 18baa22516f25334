/** Registered streams, with start and stop, and the containers that serve their events. */

import { addressOf, keepSetting } from '../address.js';
import { app, polling } from '../app.js';
import { POLL_EVERY } from '../feed.js';
import { ServerError, ask, attempt, get } from '../server.js';
import { createRow, matches, setNumbers } from '../tables.js';
import { $, SECOND, capitalised, counted, element, number, reconcile, setText } from '../tools.js';

let streams = [];
let loaded = false;
const containers = new Map(); // id -> what was last heard of it

const poll = polling('streams', 'streams', load, POLL_EVERY);
setInterval(() => app.place.view === 'streams' && !document.hidden && watchContainers(), 10 * SECOND);

async function load() {
  ({ streams } = await get('/api/streams'));
  loaded = true;
  render();
}

function fitting() {
  const { q, state } = app.place;
  return streams.filter((one) => (!state || one.status === state) && matches(q, [one.id, one.title, one.channelId, one.eventId]));
}

function render() {
  const sum = (name) => number(loaded ? streams.reduce((total, one) => total + one[name], 0) : NaN);
  $('view-streams').setAttribute('aria-busy', String(!loaded));
  setNumbers({
    'streams-viewers': sum('currentViewers'),
    'streams-live': number(loaded ? streams.filter(({ status }) => status === 'live').length : NaN),
    'streams-all': number(loaded ? streams.length : NaN),
    'streams-views': sum('totalViews'),
  });
  const shown = fitting();
  reconcile($('streams-rows'), shown, ({ id }) => id, create, update);
  $('streams-rows').closest('table').hidden = !shown.length;
  $('streams-empty').hidden = !loaded || shown.length > 0;
  setText($('streams-empty'), streams.length ? 'No stream fits. Clear the search or the status.' : 'No stream is registered yet. Register one below; a stream with viewers can be opened as a space without it.');
  setText($('streams-count'), !loaded ? 'Loading…' : shown.length < streams.length ? `${number(shown.length)} of ${number(streams.length)}` : counted(streams.length, 'stream', 'streams'));
}

function create(one) {
  const row = createRow([['name'], ['status', 'Status'], ['number', 'Viewers'], ['number soft', 'Peak'], ['number soft', 'Views'], ['soft', 'Since'], ['act']]);
  row.dataset.testid = 'stream-row';
  const button = element('button', { type: 'button', class: 'quiet' });
  button.onclick = async () => {
    button.disabled = true;
    await attempt('stream action', () => ask('POST', `/api/streams/${encodeURIComponent(one.id)}/${button.dataset.action}`));
    button.disabled = false;
    poll.refresh({ now: true, force: true });
  };
  row.firstChild.append(element('a', { href: addressOf({ view: 'space', space: `stream:${one.id}` }) }), element('span', { class: 'sub' }));
  row.children[1].append(element('span', { class: 'badge' }));
  row.lastChild.append(button);
  return row;
}

function update(row, one) {
  const [name, status, viewers, peak, views, since, act] = row.children;
  setText(name.firstChild, one.title ?? one.id);
  setText(name.lastChild, [one.title && one.id, one.channelId && `channel ${one.channelId}`].filter(Boolean).join(' · '));
  status.firstChild.dataset.status = one.status;
  setText(status.firstChild, capitalised(one.status));
  [viewers, peak, views].forEach((cell, i) => setText(cell, number([one.currentViewers, one.peakViewers, one.totalViews][i])));
  const at = one.status === 'live' ? one.startedAt : one.stoppedAt ?? one.createdAt;
  setText(since, new Date(at).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }));
  const action = one.status === 'live' ? 'stop' : 'start';
  act.firstChild.dataset.action = action;
  setText(act.firstChild, capitalised(action));
  act.firstChild.setAttribute('aria-label', `${capitalised(action)} ${one.title ?? one.id}`);
}

// --- Containers ----------------------------------------------------------------------------------

/** Runs a call about a container and shows what it answers, or why not. */
async function about(method, path) {
  try {
    const found = await ask(method, `/api/containers/${path}`);
    containers.set(found.containerId, found);
    say('');
    renderContainers();
    return true;
  } catch (error) {
    say(error instanceof ServerError ? error.message : 'The server did not answer. Is it still there? Try again.');
    return false;
  }
}

function say(words) {
  $('containers-problem').hidden = !words;
  setText($('containers-problem'), words);
}

async function watchContainers() {
  for (const one of containers.values()) if (one.status !== 'stopped') await about('GET', `status/${encodeURIComponent(one.containerId)}`);
}

function renderContainers() {
  const known = [...containers.values()];
  $('containers').closest('table').hidden = !known.length;
  reconcile($('containers'), known, ({ containerId }) => containerId, createContainer, (row, one) => {
    const [id, event, status, act] = row.children;
    setText(id.firstChild, one.containerId);
    setText(event, one.eventId);
    status.firstChild.dataset.status = one.status === 'running' ? 'live' : one.status;
    setText(status.firstChild, capitalised(one.status));
    status.title = one.stoppedReason ?? one.lastStatus ?? '';
    act.hidden = ['stopping', 'stopped'].includes(one.status);
  });
}

function createContainer(one) {
  const row = createRow([['name'], ['soft', 'Event'], ['status', 'Status'], ['act']]);
  const button = element('button', { type: 'button', class: 'quiet', 'aria-label': `Stop ${one.containerId}` }, 'Stop');
  button.onclick = () => about('POST', `stop/${encodeURIComponent(one.containerId)}`);
  row.firstChild.append(element('code'));
  row.children[2].append(element('span', { class: 'badge' }));
  row.lastChild.append(button);
  return row;
}

// --- Forms ---------------------------------------------------------------------------------------

/** Sends a form once at a time; `send` says whether it went well, and then the form is emptied. */
function onSubmit(form, send) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    const button = form.querySelector('button');
    button.disabled = true;
    if (await send()) form.reset();
    button.disabled = false;
  };
}

onSubmit($('register'), async () => {
  const [id, title, channelId] = ['register-id', 'register-title-input', 'register-channel'].map((name) => $(name).value.trim());
  const outcome = await attempt('stream action', () => ask('POST', '/api/streams', { id, ...(title && { title }), ...(channelId && { channelId }) }));
  poll.refresh({ now: true, force: true });
  return outcome === 'ok';
});
onSubmit($('launch'), () => about('POST', `launch/${encodeURIComponent($('launch-event').value.trim())}`));
onSubmit($('look-up'), () => about('GET', `status/${encodeURIComponent($('look-up-id').value.trim())}`));
$('streams-search').oninput = ({ target }) => {
  keepSetting(app.place, 'q', target.value.trim());
  render();
};
$('streams-status').oninput = ({ target }) => {
  keepSetting(app.place, 'state', target.value);
  render();
};

export const view = {
  title: 'Streams',
  poll,
  enter() {
    $('streams-search').value = app.place.q ?? '';
    $('streams-status').value = app.place.state ?? '';
    render();
    poll.refresh({ now: true });
  },
  refresh: (options) => poll.refresh(options),
  tick() {},
  forget() {
    streams = [];
    loaded = false;
    containers.clear();
    say('');
    poll.forget();
    render();
    renderContainers();
  },
  csv: {
    streams: () => ['streams', [['id', 'title', 'channel', 'event', 'status', 'viewers', 'peak', 'views', 'created', 'started', 'stopped'], ...fitting().map((one) => [one.id, one.title, one.channelId, one.eventId, one.status, one.currentViewers, one.peakViewers, one.totalViews, one.createdAt, one.startedAt, one.stoppedAt])]],
    containers: () => ['containers', [['container', 'event', 'status', 'created', 'started', 'stopped', 'reason'], ...[...containers.values()].map((one) => [one.containerId, one.eventId, one.status, one.createdAt, one.startedAt, one.stoppedAt, one.stoppedReason])]],
  },
};
