/** What a stream's space shows besides: quality and performance, engagement, servers, start and stop. */

import { app } from '../app.js';
import { createChart } from '../chart.js';
import { POLL_EVERY } from '../feed.js';
import { ask, attempt, get, mayRead, serverNow } from '../server.js';
import { updatePairs } from '../tables.js';
import { $, HOUR, SECOND, capitalised, clockTime, counted, decimal, duration, element, number, paced, percent, reconcile, setText } from '../tools.js';

let body = null; // of GET /api/v1/analytics/comprehensive/{id}

export const streamIn = (space) => (space?.startsWith('stream:') ? space.slice('stream:'.length) : null);

export const refresh = paced((force) => app.place.view === 'space' && streamIn(app.place.space) && mayRead(force) && attempt('stream', load), () => 2 * SECOND);

async function load() {
  body = await get(`/api/v1/analytics/comprehensive/${encodeURIComponent(streamIn(app.place.space))}`);
  render();
}

const unit = (value, name) => (value === null ? '–' : `${decimal(value)} ${name}`);

function quality() {
  const { realTime, metrics } = body;
  return [
    ['Bandwidth', unit(realTime.bandwidth, 'kbit/s'), 'the mean over viewers who say it, else over servers that report'],
    ['Latency', unit(realTime.latency, 'ms'), 'the mean over viewers who say it, else over servers that report'],
    ['Picture quality', decimal(metrics.quality), 'the mean of what players report'],
    ['Buffering', decimal(metrics.buffering), 'added up over the viewers here now'],
    ['Errors', decimal(metrics.errors), 'added up over the viewers here now'],
    ['Error rate', decimal(realTime.errorRate), 'what servers report, else errors per viewer who reports them'],
    ['Uptime', unit(realTime.uptime, '%'), 'what servers report'],
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

function render() {
  const id = streamIn(app.place.space);
  $('stream').hidden = !id || !body;
  if ($('stream').hidden) return;
  const known = body.stream;
  setText($('stream-title'), known?.title ? `Stream: ${known.title}` : 'Stream');
  $('stream-status').dataset.status = known?.status ?? 'unregistered';
  const since = known?.status === 'live' ? known.startedAt : known?.stoppedAt;
  setText($('stream-status'), known ? `${capitalised(known.status)}${since ? ` since ${clockTime(since)}` : ''}` : 'Not registered');
  $('stream-toggle').hidden = false;
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
    updatePairs(node.children[2], Object.entries(one.numbers).map(([name, value]) => [name, name === 'load' ? percent(value) : decimal(value)]));
  });
}

const points = () => body?.realTime.viewerTimeline ?? [];
let chat = null;

function renderChat() {
  if (!$('chat').clientWidth) return;
  chat ??= createChart($('chat'), {
    lines: [{ color: '--accent', fill: true }, { color: '--warm' }],
    words: (i) => `${clockTime(points()[i].timestamp)} · ${counted(points()[i].viewers, 'viewer', 'viewers')} · ${points()[i].chatActivity === null ? 'chat unknown' : counted(points()[i].chatActivity, 'message', 'messages')}`,
    label: (seconds) => clockTime(seconds * SECOND),
  });
  const now = serverNow();
  chat.draw(points().map((one) => Date.parse(one.timestamp) / SECOND), [points().map((one) => one.viewers), points().map((one) => one.chatActivity)], (now - HOUR) / SECOND, now / SECOND);
}

$('stream-toggle').onclick = async () => {
  const action = body?.stream?.status === 'live' ? 'stop' : 'start';
  $('stream-toggle').disabled = true;
  await attempt('stream action', () => ask('POST', `/api/streams/${encodeURIComponent(streamIn(app.place.space))}/${action}`));
  $('stream-toggle').disabled = false;
  refresh({ now: true, force: true });
};
setInterval(() => refresh(), POLL_EVERY);

export function enter() {
  render();
}

export function forget() {
  body = null;
  $('stream').hidden = true;
}

export const csv = {
  stream: () => [`${app.place.space}-stream`, [['number', 'value'], ...[body.metrics, body.realTime, body.engagement].flatMap((part) => Object.entries(part)).filter(([, value]) => value === null || typeof value === 'number'), ...Object.entries(body.infrastructure).flatMap(([source, one]) => Object.entries(one.numbers).map(([name, value]) => [`${source} ${name}`, value]))]],
};
