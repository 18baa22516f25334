/** A stream's part of its space: quality and performance, engagement, servers, start and stop. */

import { app, reading, whileDisabled } from '../app.js';
import { createChart } from '../chart.js';
import { POLL_EVERY } from '../feed.js';
import { learnTitle } from '../names.js';
import { allows, attempt, get, request, serverNow } from '../server.js';
import { updatePairs } from '../tables.js';
import { $, HOUR, SECOND, capitalised, clockTime, counted, decimal, duration, element, number, percent, reconcile, setText } from '../tools.js';

let body = null; // the response of GET /api/v1/analytics/comprehensive/{id}

const streamIn = (space) => (space?.startsWith('stream:') ? space.slice('stream:'.length) : null);

export const refresh = reading('space', 'stream', load, () => 2 * SECOND, () => streamIn(app.place.space));

async function load() {
  body = await get(`/api/v1/analytics/comprehensive/${encodeURIComponent(streamIn(app.place.space))}`);
  render();
}

const unit = (value, name) => (value === null ? '–' : `${decimal(value)}${name}`);

function quality() {
  const { realTime, metrics } = body;
  return [
    ['Bandwidth', unit(realTime.bandwidth, ' kbit/s'), 'Average of the viewers who report it, or else of the servers'],
    ['Latency', unit(realTime.latency, ' ms'), 'Average of the viewers who report it, or else of the servers'],
    ['Picture quality', decimal(metrics.quality), 'Average of what players report'],
    ['Buffering', decimal(metrics.buffering), 'Total of the viewers here now'],
    ['Errors', decimal(metrics.errors), 'Total of the viewers here now'],
    ['Error rate', decimal(realTime.errorRate), 'As reported by servers, or else errors per viewer who reports them'],
    ['Uptime', unit(realTime.uptime, '%'), 'As reported by servers'],
  ];
}

function engagement() {
  const { engagement: done, metrics } = body;
  return [
    ['Chat messages', number(done.chatMessages)],
    ['Reactions', number(done.reactions)],
    ['Shares', number(done.shares)],
    ['Per view', decimal(done.perView)],
    ['Average view', metrics.avgViewDuration === null ? '–' : duration(metrics.avgViewDuration * SECOND)],
    ['Revenue today', decimal(done.revenueToday)],
    ['Revenue', decimal(done.revenue)],
  ];
}

export function render() {
  const id = streamIn(app.place.space);
  $('stream').hidden = !id || !body;
  $('stream-toggle').hidden = !id || !body || app.place.view !== 'space' || !allows('ingest', app.place.space);
  if ($('stream').hidden) return;
  const known = body.stream;
  if (learnTitle(app.place.space, known?.title)) app.changed();
  $('stream-status').dataset.status = known?.status ?? 'unregistered';
  const since = known?.status === 'live' ? known.startedAt : known?.stoppedAt;
  setText($('stream-status'), known ? `${capitalised(known.status)}${since ? ` since ${clockTime(since)}` : ''}` : 'Not registered');
  setText($('stream-toggle'), known?.status === 'live' ? 'Stop stream' : 'Start stream');
  updatePairs($('stream-quality'), quality());
  updatePairs($('stream-engagement'), engagement());
  renderServers();
  renderChat();
}

function renderServers() {
  const sources = Object.entries(body.infrastructure);
  $('stream-servers-empty').hidden = sources.length > 0;
  reconcile($('stream-servers'), sources, ([source]) => source, ([source]) => element('div', {}, element('h4', {}, source), element('p', { class: 'sub' }), element('dl', { class: 'pairs' })), (node, [, one]) => {
    node.classList.toggle('stale', one.stale);
    setText(node.children[1], `${one.stale ? 'stale: ' : ''}reported ${duration(serverNow() - Date.parse(one.at))} ago`);
    updatePairs(node.children[2], Object.entries(one.numbers).map(([name, value]) => [capitalised(name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)), name === 'load' ? percent(value) : decimal(value)]));
  });
}

const points = () => body?.realTime.viewerTimeline ?? [];
let chat = null;

function renderChat() {
  if (!$('chat').clientWidth) return;
  chat ??= createChart($('chat'), {
    lines: [{ color: '--accent', fill: true }, { color: '--warm' }],
    describe: (i) => `${clockTime(points()[i].timestamp)} · ${counted(points()[i].viewers, 'viewer', 'viewers')} · ${points()[i].chatActivity === null ? 'chat unknown' : counted(points()[i].chatActivity, 'message', 'messages')}`,
    label: (seconds) => clockTime(seconds * SECOND),
  });
  const now = serverNow();
  chat.draw(points().map((one) => Date.parse(one.timestamp) / SECOND), [points().map((one) => one.viewers), points().map((one) => one.chatActivity)], (now - HOUR) / SECOND, now / SECOND);
}

/** Starts or stops a stream by a button, and then reads it again. */
export async function toggle(button, id, action, reload) {
  await whileDisabled(button, () => attempt('stream action', () => request('POST', `/api/streams/${encodeURIComponent(id)}/${action}`)));
  reload({ now: true, force: true });
}

$('stream-toggle').onclick = () => toggle($('stream-toggle'), streamIn(app.place.space), body?.stream?.status === 'live' ? 'stop' : 'start', refresh);
setInterval(() => refresh(), POLL_EVERY);

export function enter() {
  render();
}

export function forget() {
  body = null;
  $('stream').hidden = $('stream-toggle').hidden = true;
}

export const csv = {
  stream: () => [`${app.place.space}-stream`, [['number', 'value'], ...[body.metrics, body.realTime, body.engagement].flatMap((part) => Object.entries(part)).filter(([, value]) => value === null || typeof value === 'number'), ...Object.entries(body.infrastructure).flatMap(([source, one]) => Object.entries(one.numbers).map(([name, value]) => [`${source} ${name}`, value]))]],
};
