/** Live activity, the old /admin/live: who is watching or browsing, what and where, refreshed every 5 s. */

import { app, bindFilters, linkPerson, polling } from '../app.js';
import { POLL_EVERY } from '../feed.js';
import { get, serverNow } from '../server.js';
import { createBarCard, matches, pager, setNumbers, shownOf, updateBars, updateOptions } from '../tables.js';
import { $, capitalised, countryName, duration, element, number, percent, position, reconcile, setAttribute, setText, shown } from '../tools.js';

const PATH = '/api/analytics/live-activity';
const TOP_COUNTRIES = 5;
const PER_PAGE = 60;
const deviceCard = createBarCard('live-device', 'Device Breakdown', 'live-device', ['Device', 'Sessions', 'Share'], 'No devices reported.');
const countryCard = createBarCard('live-country', 'Top 5 Countries', 'live-country', ['Country', 'Sessions', 'Share'], 'No countries reported. An edge in front of the API adds them.');
const contentCard = createBarCard('live-content', 'Most Watched Right Now', 'live-content', ['Content', 'Viewers', 'Type'], 'No one is watching.');
$('live-breakdowns').append(deviceCard, countryCard, contentCard);
let activities = [];
let stats = null;

const poll = polling('live', 'live', load, POLL_EVERY);
const pages = pager($('live-before'), $('live-after'), PER_PAGE, () => renderList());

async function load() {
  ({ activities, stats } = await get(PATH));
  render();
}

const largest = (values) => Object.entries(values).sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
const titleOf = ({ contentTitle, contentId, activityType }) => (activityType === 'watching' ? contentTitle || contentId || 'Unknown title' : 'Browsing');

function episode({ seasonNumber, episodeNumber }) {
  if (seasonNumber === null && episodeNumber === null) return null;
  return [seasonNumber === null ? '' : `S${seasonNumber}`, episodeNumber === null ? '' : `E${episodeNumber}`].filter(Boolean).join(' ');
}

const devices = () => largest(stats?.byDevice ?? {});
const countries = () => largest(stats?.byCountry ?? {}).slice(0, TOP_COUNTRIES);

function render() {
  const known = Boolean(stats);
  const total = stats?.totalActive ?? 0;
  $('view-live').setAttribute('aria-busy', String(!known));
  setNumbers({
    'live-active': number(known ? total : NaN),
    'live-watching': number(known ? stats.watching : NaN),
    'live-engagement': total ? `engagement: ${percent(stats.watching / total)} watching` : '',
    'live-browsing': number(known ? stats.browsing : NaN),
    'live-devices': number(known ? devices().length : NaN),
    'live-devices-names': devices().map(([name]) => name).join(', '),
  });
  $('live-empty').hidden = !known || total > 0;
  $('live-breakdowns').hidden = $('live-sessions').hidden = !total;
  setText($('live-curl'), `curl -X POST ${location.origin}${PATH} -H 'content-type: application/json' -d '{"userId":"me","sessionId":"tab-1","activityType":"watching","contentId":"12345","contentTitle":"Example Movie","currentPosition":1800,"duration":3600}'`);
  const shares = ([value, count], label) => ({ value, label, numbers: [count], texts: [number(count), percent(count / total)] });
  updateBars(deviceCard, devices().map((one) => shares(one, capitalised(one[0]))));
  updateBars(countryCard, countries().map((one) => shares(one, countryName(one[0]))));
  const top = stats?.topContent ?? [];
  updateBars(contentCard, top.map((one) => ({ value: one.contentId, label: one.contentTitle ?? one.contentId, numbers: [one.count], texts: [number(one.count), one.contentType ?? '–'] })));
  updateOptions($('live-filter-device'), devices().map(([name]) => name), capitalised);
  renderList();
}

function fitting() {
  const { q, kind, device } = app.place;
  return activities.filter(
    (one) =>
      (!kind || one.activityType === kind) &&
      (!device || one.deviceType === device) &&
      matches(q, [one.userId, one.sessionId, one.contentTitle, one.contentId, one.country, one.country && countryName(one.country), one.quality]),
  );
}

function renderList() {
  const shown = fitting();
  reconcile($('live-list'), pages.slice(shown), (one) => one.sessionId, createActivity, updateActivity);
  $('live-none').hidden = shown.length > 0;
  const total = stats?.totalActive ?? 0;
  setText($('live-count'), pages.range(shown) || shownOf(shown.length, total, 'session', 'sessions'));
  tick();
}

function createActivity() {
  const line = (name) => element('span', { class: name });
  const progress = element('progress', { max: 1, value: 0 });
  const head = element('p', { class: 'activity-title' }, element('i', { class: 'pulse', 'aria-hidden': 'true' }), line('title'), line('kind'));
  return element('li', { 'data-testid': 'activity' }, head, element('div', { class: 'progress' }, progress, line('time')), element('p', { class: 'facts' }, element('a', { class: 'who' }), line('device'), line('quality'), line('country')), element('p', { class: 'ago' }));
}

function updateActivity(node, one) {
  const put = (name, text) => setText(node.querySelector(`.${name}`), text ?? '');
  const watching = one.activityType === 'watching';
  node.dataset.kind = one.activityType ?? '';
  node.dataset.at = one.lastHeartbeat;
  put('title', titleOf(one));
  node.querySelector('.title').title = shown(titleOf(one));
  put('kind', watching ? [one.contentType, episode(one)].filter(Boolean).join(' · ') || 'watching' : '');
  put('who', one.userId ? `${one.userId}${one.verified ? '' : ' (not verified)'}` : 'Anonymous');
  linkPerson(node.querySelector('.who'), one.userId && `${one.verified ? 'u' : 'c'}:${one.userId}`);
  put('device', one.deviceType && capitalised(one.deviceType));
  put('quality', one.quality);
  put('country', one.country && countryName(one.country));
  const frame = node.querySelector('.progress');
  frame.hidden = !watching || !one.duration;
  if (frame.hidden) return;
  const [bar, time] = frame.children;
  bar.value = Math.min(1, one.currentPosition / one.duration);
  setAttribute(bar, 'aria-label', `${titleOf(one)}: ${percent(bar.value)} watched`);
  setText(time, `${position(one.currentPosition)} / ${position(one.duration)}`);
}

function tick() {
  const now = serverNow();
  for (const node of $('live-list').children) setText(node.lastChild, `active ${duration(now - Number(node.dataset.at))} ago`);
}

const fillFilters = bindFilters({ 'live-search': 'q', 'live-kind': 'kind', 'live-filter-device': 'device' }, () => {
  pages.page = 0;
  renderList();
});

const iso = (at) => new Date(at).toISOString();

export const view = {
  title: 'Live activity',
  poll,
  enter() {
    const { device } = app.place;
    updateOptions($('live-filter-device'), device ? [device] : [], capitalised);
    fillFilters();
    render();
    poll.refresh({ now: true });
  },
  refresh: (options) => poll.refresh(options),
  tick,
  forget() {
    activities = [];
    stats = null;
    poll.forget();
    render();
  },
  csv: {
    'live-device': () => ['live-devices', [['device', 'sessions'], ...devices()]],
    'live-country': () => ['live-countries', [['country', 'sessions'], ...countries()]],
    'live-content': () => ['live-most-watched', [['content', 'title', 'type', 'viewers'], ...(stats?.topContent ?? []).map((one) => [one.contentId, one.contentTitle, one.contentType, one.count])]],
    live: () => [
      'live-sessions',
      [
        ['user', 'session', 'activity', 'content', 'title', 'type', 'season', 'episode', 'position', 'duration', 'quality', 'device', 'country', 'started', 'last heartbeat'],
        ...fitting().map((one) => [one.userId, one.verified, one.sessionId, one.activityType, one.contentId, one.contentTitle, one.contentType, one.seasonNumber, one.episodeNumber, one.currentPosition, one.duration, one.quality, one.deviceType, one.country, iso(one.startedAt), iso(one.lastHeartbeat)]),
      ],
    ],
  },
};
