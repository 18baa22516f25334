/** A stream's part of its space: quality and performance, engagement, servers, start and stop. */

import { app, reading, whileDisabled } from '../app.js';
import { createChart } from '../chart.js';
import { actionsPerView } from '../engagement.js';
import { POLL_EVERY } from '../feed.js';
import { learnTitle } from '../names.js';
import { allows, attempt, get, request, serverNow, timelineBetween } from '../server.js';
import { updatePairs } from '../tables.js';
import { isOpen } from '../tabs.js';
import { fromServers, isScore, verdictOf } from '../verdict.js';
import { $, HOUR, MINUTE, SECOND, capitalised, clockTime, counted, decimal, duration, element, fewer, latencyOf, number, percent, rateOf, reconcile, setText } from '../tools.js';

let headcount = null; // the version that is shown
const RECENT_SPAN = 5 * MINUTE;
const earlier = { point: null, readAt: -Infinity };
let body = null; // the response of GET /api/v1/analytics/comprehensive/{id}

const streamIn = (space) => (space?.startsWith('stream:') ? space.slice('stream:'.length) : null);

export const refresh = reading('space', 'stream', load, () => 2 * SECOND, () => streamIn(app.place.space));

async function load() {
  body = await get(`/api/v1/analytics/comprehensive/${encodeURIComponent(streamIn(app.place.space))}`);
  render();
  if (isOpen('stream') && Date.now() - earlier.readAt > MINUTE) await loadEarlier();
}

/** The totals of some minutes ago, to tell from them how many there are in a minute. */
async function loadEarlier() {
  const now = serverNow();
  earlier.readAt = Date.now();
  const points = await timelineBetween(app.place.space, now - 2 * RECENT_SPAN, now);
  const counted = points.filter((point) => point.engagement);
  earlier.point = counted.findLast(({ at }) => Date.parse(at) <= now - RECENT_SPAN) ?? counted[0] ?? null;
  render();
}

const RECENT = 'Of the last five to seven minutes';

function perMinute(action, total) {
  const { point } = earlier;
  if (!point || !Number.isFinite(total)) return '–';
  const minutes = (serverNow() - Date.parse(point.at)) / MINUTE;
  return minutes < 1 ? '–' : fewer(Math.max(0, total - (point.engagement[action] ?? 0)) / minutes);
}

const shownAs = (value, say) => (Number.isFinite(value) ? say(value) : '–');
const pictureOf = (value) => (isScore(value) ? `${Math.round(value)} of 100` : `${number(Math.round(value))} lines`);

function quality() {
  const { realTime, metrics } = body;
  return [
    ['Bandwidth', shownAs(realTime.bandwidth, rateOf), 'Average of the viewers who report it, or else of the servers'],
    ['Latency', shownAs(realTime.latency, latencyOf), 'Average of the viewers who report it, or else of the servers'],
    ['Picture quality', shownAs(metrics.quality, pictureOf), 'Average of what players report'],
    ['Interruptions', fewer(metrics.buffering), 'Buffering: total of the viewers here now'],
    ['Errors', fewer(metrics.errors), 'Total of the viewers here now'],
    fromServers(body) ? ['Failed requests', percent(realTime.errorRate), 'Error rate, as reported by servers'] : ['Errors per viewer', fewer(realTime.errorRate), 'Of those who report them'],
    ['Uptime', shownAs(realTime.uptime, (value) => `${decimal(value)}%`), 'As reported by servers'],
  ];
}

function engagement() {
  const { engagement: done, metrics } = body;
  const now = headcount?.engagement ?? {}; // of the version on the other tabs, which is newer than this read
  const [chats, reactions, shares] = [now.chat ?? done.chatMessages, now.reaction ?? done.reactions, now.share ?? done.shares];
  return [
    ['Chat messages', number(chats)],
    ['Chats per minute', perMinute('chat', chats), RECENT],
    ['Reactions', number(reactions)],
    ['Reactions per minute', perMinute('reaction', reactions), RECENT],
    ['Shares', number(shares)],
    ['Chats, reactions and shares per view', fewer(headcount ? actionsPerView(headcount) : done.perView)],
    ['Average view', metrics.avgViewDuration === null ? '–' : duration(metrics.avgViewDuration * SECOND)],
    ['Revenue today', decimal(done.revenueToday)],
    ['Revenue', decimal(done.revenue)],
  ];
}

export function onHeadcount(version) {
  headcount = version;
  if (body && isOpen('stream')) updatePairs($('stream-engagement'), engagement());
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
  const { level, title, why } = verdictOf(body);
  $('stream-verdict').dataset.level = level;
  setText($('stream-verdict').firstElementChild, title);
  setText($('stream-verdict').lastElementChild, why);
  updatePairs($('stream-quality'), quality());
  updatePairs($('stream-engagement'), engagement());
  renderServers();
  renderChat();
}

const SERVER_NUMBERS = { bandwidth: rateOf, latency: latencyOf, load: percent, errorRate: percent, uptime: (value) => `${decimal(value)}%` };

function renderServers() {
  const sources = Object.entries(body.infrastructure);
  $('stream-servers-empty').hidden = sources.length > 0;
  reconcile($('stream-servers'), sources, ([source]) => source, ([source]) => element('div', {}, element('h4', {}, source), element('p', { class: 'sub' }), element('dl', { class: 'pairs' })), (node, [, one]) => {
    node.classList.toggle('stale', one.stale);
    setText(node.children[1], `${one.stale ? 'stale: ' : ''}reported ${duration(serverNow() - Date.parse(one.at))} ago`);
    updatePairs(node.children[2], Object.entries(one.numbers).map(([name, value]) => [capitalised(name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)), (SERVER_NUMBERS[name] ?? fewer)(value)]));
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
  body = headcount = null;
  Object.assign(earlier, { point: null, readAt: -Infinity });
  $('stream').hidden = $('stream-toggle').hidden = true;
}

export const csv = {
  stream: () => [`${app.place.space}-stream`, [['number', 'value'], ...[body.metrics, body.realTime, body.engagement].flatMap((part) => Object.entries(part)).filter(([, value]) => value === null || typeof value === 'number'), ...Object.entries(body.infrastructure).flatMap(([source, one]) => Object.entries(one.numbers).map(([name, value]) => [`${source} ${name}`, value]))]],
};
