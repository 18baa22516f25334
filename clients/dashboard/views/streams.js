/** Registered streams, with start and stop, and the containers that serve their events. */

import { addressOf } from '../address.js';
import { app, bindFilters, onSubmit, polling, showProblem } from '../app.js';
import { POLL_EVERY } from '../feed.js';
import { learnTitle } from '../names.js';
import { allows, attempt, get, messageOf, request } from '../server.js';
import { matches, setNumbers, shownOf, stackedTable } from '../tables.js';
import { $, SECOND, capitalised, dateTime, element, number, reconcile, setText, shown } from '../tools.js';
import { toggle } from './stream.js';

let streams = [];
let loaded = false;
const createStreamRow = stackedTable($('streams-rows'), [['name', 'Stream'], ['status', 'Status'], ['number', 'Viewers'], ['number soft', 'Peak'], ['number soft', 'Views'], ['soft', 'Since'], ['act', 'Start or stop']]);
const createContainerRow = stackedTable($('containers'), [['name', 'Container'], ['soft', 'Event'], ['status', 'Status'], ['act', 'Stop']]);
const containers = new Map(); // id -> its last known state

const poll = polling('streams', 'streams', load, POLL_EVERY);
setInterval(() => app.place.view === 'streams' && !document.hidden && watchContainers(), 10 * SECOND);

async function load() {
  ({ streams } = await get('/api/streams'));
  for (const { id, title } of streams) learnTitle(`stream:${id}`, title);
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
  $('containers-card').hidden = !app.hasContainers || !allows('containers', '*'); // the configuration may come late
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
  setText($('streams-empty'), streams.length ? 'No streams match. Clear the search or the status.' : 'No streams registered yet. Register one below. You can also open a stream with viewers as a space, without registering it.');
  setText($('streams-count'), loaded ? shownOf(shown.length, streams.length, 'stream', 'streams') : 'Loading…');
}

function create(one) {
  const row = createStreamRow();
  row.dataset.testid = 'stream-row';
  const button = element('button', { type: 'button', class: 'quiet' });
  button.onclick = () => toggle(button, one.id, button.dataset.action, poll.refresh);
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
  setText(since, dateTime(at));
  const action = one.status === 'live' ? 'stop' : 'start';
  act.firstChild.hidden = !allows('ingest', `stream:${one.id}`);
  act.firstChild.dataset.action = action;
  setText(act.firstChild, capitalised(action));
  act.firstChild.setAttribute('aria-label', `${capitalised(action)} ${one.title ?? one.id}`);
}

// --- Containers ----------------------------------------------------------------------------------

/** Sends a request about a container and shows its state, or the error. Returns whether it succeeded. */
async function about(method, path) {
  try {
    const found = await request(method, `/api/containers/${path}`);
    containers.set(found.containerId, found);
    showProblem($('containers-problem'), '');
    renderContainers();
    return true;
  } catch (error) {
    showProblem($('containers-problem'), messageOf(error));
    return false;
  }
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
    status.title = shown(one.stoppedReason ?? one.lastStatus ?? '');
    act.hidden = ['stopping', 'stopped'].includes(one.status);
  });
}

function createContainer(one) {
  const row = createContainerRow();
  const button = element('button', { type: 'button', class: 'quiet', 'aria-label': `Stop ${one.containerId}` }, 'Stop');
  button.onclick = () => about('POST', `stop/${encodeURIComponent(one.containerId)}`);
  row.firstChild.append(element('code'));
  row.children[2].append(element('span', { class: 'badge' }));
  row.lastChild.append(button);
  return row;
}

// --- Forms ---------------------------------------------------------------------------------------

onSubmit($('register'), async () => {
  const [id, title, channelId] = ['register-id', 'register-title-input', 'register-channel'].map((name) => $(name).value.trim());
  const outcome = await attempt('stream action', () => request('POST', '/api/streams', { id, ...(title && { title }), ...(channelId && { channelId }) }));
  poll.refresh({ now: true, force: true });
  return outcome === 'ok';
});
onSubmit($('launch'), () => about('POST', `launch/${encodeURIComponent($('launch-event').value.trim())}`));
onSubmit($('look-up'), () => about('GET', `status/${encodeURIComponent($('look-up-id').value.trim())}`));
const fillFilters = bindFilters({ 'streams-search': 'q', 'streams-status': 'state' }, render);

export const view = {
  title: 'Streams',
  poll,
  enter() {
    $('register-card').hidden = !allows('ingest', 'stream:*');
    fillFilters();
    render();
    poll.refresh({ now: true });
  },
  refresh: (options) => poll.refresh(options),
  tick() {},
  forget() {
    streams = [];
    loaded = false;
    containers.clear();
    showProblem($('containers-problem'), '');
    poll.forget();
    render();
    renderContainers();
  },
  csv: {
    streams: () => ['streams', [['id', 'title', 'channel', 'event', 'status', 'viewers', 'peak', 'views', 'created', 'started', 'stopped'], ...fitting().map((one) => [one.id, one.title, one.channelId, one.eventId, one.status, one.currentViewers, one.peakViewers, one.totalViews, one.createdAt, one.startedAt, one.stoppedAt])]],
    containers: () => ['containers', [['container', 'event', 'status', 'created', 'started', 'stopped', 'reason'], ...[...containers.values()].map((one) => [one.containerId, one.eventId, one.status, one.createdAt, one.startedAt, one.stoppedAt, one.stoppedReason])]],
  },
};
