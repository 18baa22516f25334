/** The dashboard: the open view, the connection, pausing, full screen, keyboard shortcuts. */

import 'uplot/dist/uPlot.min.css';
import './style.css';
import { addressOf, isSameSpace, keepSetting, readAddress } from './address.js';
import { app, copy, showProblem } from './app.js';
import { download } from './csv.js';
import { forgetTitles, hasTitle, titleOf } from './names.js';
import { STALE_AFTER, connect, connectionState, feed, listenTo, probe, startFeed, stopFeed, watchPeople, POLL_EVERY } from './feed.js';
import { allows, get, keepToken, newScope, onServerClock, server } from './server.js';
import { beginSignIn, endSession, finishSignIn, forgetSession, isAnswer, isSignedIn, renew, schedule, session } from './session.js';
import * as switcher from './switcher.js';
import { renderTabs } from './tabs.js';
import './menu.js';
import { $, MINUTE, SECOND, clockTime, counted, duration, number, setAttribute, setText, storageOf, shown } from './tools.js';
import { view as connection } from './views/connection.js';
import { onAlert, onNotice } from './views/extras.js';
import { openShares } from './views/shares.js';
import { view as live } from './views/live.js';
import { onPeople, readAt, view as people } from './views/people.js';
import { current, loadSnapshot, onHeadcount, showWaiting, versionsWaiting, view as space } from './views/space.js';
import { kindsHere, loadChoices, spacesHere, view as spaces } from './views/spaces.js';
import { view as streams } from './views/streams.js';

const CONNECTIONS = {
  live: 'Live',
  connecting: 'Connecting…',
  reconnecting: 'Reconnecting…',
  polling: `Polling every ${POLL_EVERY / SECOND} s`,
  offline: 'Offline',
  'signed-out': 'Signed out',
};
const views = { spaces, space, live, streams, people, connection };
const KEYS_OFF = 'headcount.keys-off';
let pausedAt = null;

const open = () => views[app.place.view];

// --- Navigation ----------------------------------------------------------------------------------

let entered = false; // the open view has its data
let wanted = ''; // from the address: a space's name that is none
let isPlain = false; // the address names no view

function followAddress() {
  const read = readAddress();
  const { token, place } = read;
  ({ wanted, isPlain } = read);
  if (token) {
    app.place = place;
    return signIn(token);
  }
  if (!entered || !isSameSpace(app.place, place)) return enter(place);
  app.place = place;
  renderPage();
  space.turn();
}

app.go = (place) => {
  history.pushState(null, '', addressOf(place));
  followAddress();
};

/** Learns what the token allows. Without an answer everything is tried, and the server decides. */
async function learnRights() {
  const { scope } = server;
  const rights = await get('/v1/token').catch(() => null);
  if (scope.signal.aborted || !server.token) return false; // refused, or left meanwhile
  Object.assign(server, { rights, learned: true });
  return true;
}

/** Where a token leads that may see people and no space. */
const seesOnlyPeople = () => Boolean(server.rights) && !server.rights.allows.read && Boolean(server.rights.allows.people);

async function enter(place) {
  newScope();
  entered = false;
  app.place = place;
  switcher.clear();
  if (place.view !== 'space') {
    listenTo(null);
    space.forget();
  }
  if (place.view !== 'people') watchPeople([]);
  resume({ refresh: false });
  renderPage();
  if (!server.token) return;
  if (!server.learned && !(await learnRights())) return;
  if (isPlain && seesOnlyPeople()) return app.replace({ view: 'people' });
  entered = true;
  renderPage();
  open().enter();
  if (place.view !== 'space') startFeed(); // a space reads its numbers first, and then starts it
  if (wanted) switcher.find(wanted);
  wanted = '';
}

app.replace = (where) => {
  history.replaceState(null, '', addressOf(where));
  followAddress();
};

function renderPage() {
  const signedIn = Boolean(server.token);
  $('unbuilt').hidden = true;
  $('sign-in').hidden = signedIn;
  $('main').classList.toggle('signed-out', !signedIn);
  $('nav').hidden = $('heading').hidden = !signedIn;
  $('sign-in-issuer').hidden = !session.config?.server;
  showProblem($('sign-in-problem'), session.config?.problem ?? '');
  $('share-open').hidden = app.place.view !== 'space' || !signedIn || !allows('share', app.place.space);
  document.documentElement.classList.toggle('wall', signedIn && app.place.show === 'wall');
  for (const name of Object.keys(views)) $(`view-${name}`).hidden = !signedIn || name !== app.place.view;
  const reads = { live: ['people', 'activity:main'], streams: ['read', 'stream:*'] };
  for (const link of $('nav').children) {
    const { view } = link.dataset;
    link.hidden = view === 'people' ? Boolean(server.rights?.share) : reads[view] ? !allows(...reads[view]) : false;
    if (link.dataset.view === app.place.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  $('wall-open').hidden = app.place.view !== 'space';
  $('wall-open').href = addressOf({ ...app.place, tab: '', section: '', show: 'wall' });
  $('space-form').hidden = seesOnlyPeople();
  renderTabs();
  document.body.dataset.view = app.place.view;
  renderProblems();
  renderConnection();
}

// --- Signing in and out --------------------------------------------------------------------------

function signOut(problem) {
  keepToken(null);
  forgetSession();
  stopFeed();
  newScope();
  for (const view of Object.values(views)) view.forget();
  forgetTitles();
  switcher.clear();
  if (problem) server.problems.set('token', problem);
  renderPage();
  $('token-input').focus();
}

/** Signs in with a token from somewhere else, which ends a session. */
function signIn(value) {
  forgetSession();
  return useToken(value);
}

function useToken(value) {
  stopFeed();
  const token = value.trim().replace(/^Bearer\s+/i, '');
  if (/[^!-~]/.test(token)) return signOut('This is not a token: it contains spaces or invalid characters.');
  server.learned = false;
  keepToken(token);
  return enter(app.place);
}

/** How to sign in. Without it, a token still opens the dashboard. */
let configured = null;
const loadConfig = () => (configured ??= readConfig());

async function readConfig() {
  const response = await fetch('/dashboard/config.json').catch(() => null);
  const config = await response?.json().catch(() => null);
  session.config = config?.signIn ?? null;
  app.hasContainers = Boolean(config?.containers);
}

async function start() {
  if (!isAnswer()) {
    followAddress();
    await loadConfig();
    schedule();
    return renderPage();
  }
  await loadConfig();
  let token = null;
  let problem = '';
  try {
    token = await finishSignIn();
  } catch (error) {
    problem = error.message;
  }
  app.place = readAddress().place;
  return token ? useToken(token) : signOut(problem);
}

session.renewed = keepToken;
server.renew = async () => isSignedIn() && loadConfig().then(() => renew());
$('sign-in-issuer').onclick = () => beginSignIn();

// --- Problems, connection, freshness -------------------------------------------------------------

/** The heading: what the screen is about. */
function renderTitle() {
  const { view, space: name } = app.place;
  const [, what] = (view === 'space' && /^~(kind|group):/.exec(name)) || [];
  setText($('title'), view === 'space' ? titleOf(name) : open().title);
  $('title-space').hidden = view !== 'space' || (!hasTitle(name) && !what);
  if (!$('title-space').hidden) setText($('title-space'), what ? `All spaces of this ${what}` : name);
}

const renderProblems = () => showProblem($('error'), server.problems.values().next().value ?? '');

function freshness() {
  if (app.place.view === 'connection') return null;
  const ofFeed = { contactAt: feed.contactAt, limit: STALE_AFTER[connectionState()] ?? STALE_AFTER.other };
  if (app.place.view === 'space') return { asOf: current()?.asOf, ...ofFeed };
  if (app.place.view === 'people') return { asOf: readAt(), ...ofFeed };
  const { poll } = open();
  return { asOf: poll.contactAt && onServerClock(poll.contactAt), contactAt: poll.contactAt, limit: 3 * poll.every, every: poll.every };
}

function renderConnection() {
  const state = connectionState();
  $('connection').dataset.state = state;
  setText($('connection').lastElementChild, CONNECTIONS[state]);
  setAttribute($('connection').querySelector('use'), 'href', `#icon-${state === 'connecting' ? 'reconnecting' : state}`);
  const known = current();
  renderTitle();
  const title = !server.token ? '' : app.place.view === 'space' ? `${known ? `${number(known.people)} · ` : ''}${titleOf(app.place.space)} — ` : `${open().title} — `;
  const text = `${shown(title)}Headcount`;
  if (document.title !== text) document.title = text;
  const fresh = freshness();
  $('as-of').hidden = !fresh?.asOf;
  if ($('as-of').hidden) return;
  const asOf = clockTime(fresh.asOf, true);
  const silence = Date.now() - fresh.contactAt;
  const stale = !server.paused && silence > fresh.limit;
  const checked = silence < 2 * SECOND ? 'just now' : `${duration(silence)} ago`;
  $('as-of').classList.toggle('stale', stale || server.paused);
  const missed = versionsWaiting();
  if (server.paused) setText($('as-of'), `Paused ${duration(Date.now() - pausedAt)} ago: as of ${asOf}${missed ? `, ${counted(missed, 'newer version', 'newer versions')} waiting` : ''}`);
  else if (stale) setText($('as-of'), `Out of date: as of ${asOf}, no contact for ${duration(silence)}`);
  else setText($('as-of'), fresh.every ? `As of ${asOf}, refreshed every ${fresh.every / SECOND} s` : `As of ${asOf}, checked ${checked}`);
}

server.refused = signOut;
server.unreachable = () => probe();
server.changed = renderProblems;
Object.assign(feed, { onHeadcount, onAlert, onNotice, onPeople, changed: renderConnection });
feed.fallback = () => (app.place.view === 'space' ? loadSnapshot() : app.place.view === 'people' ? people.load() : loadChoices(true));
app.changed = renderConnection;

// --- Pausing, refreshing, full screen ------------------------------------------------------------

function pause() {
  server.paused = true;
  pausedAt = Date.now();
  renderPause();
}

function resume({ refresh = true } = {}) {
  if (!server.paused) return;
  server.paused = false;
  renderPause();
  showWaiting();
  if (refresh) open().refresh({ now: true });
}

function renderPause() {
  setText($('pause').lastElementChild, server.paused ? 'Resume' : 'Pause');
  $('pause').querySelector('use').setAttribute('href', server.paused ? '#icon-resume' : '#icon-pause');
  document.body.classList.toggle('paused', server.paused);
  renderConnection();
}

function refreshNow() {
  showWaiting();
  if (feed.live) probe();
  else if (server.token) connect();
  open().refresh({ now: true, force: true });
}

async function toggleFullScreen() {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
  } catch {
    server.problems.set('full screen', 'This browser does not allow full screen here. Use its own full-screen mode (often F11).');
    renderProblems();
  }
}

let awake = null; // a wall display must not go to sleep

/** The browser releases the lock whenever the page is hidden. */
async function stayAwake() {
  if (document.fullscreenElement || app.place.show === 'wall') awake = await navigator.wakeLock?.request('screen').catch(() => null);
}

document.onfullscreenchange = async () => {
  const full = Boolean(document.fullscreenElement);
  setText($('full'), full ? 'Leave full screen' : 'Full screen');
  if (full) await stayAwake();
  else awake?.release();
};

// --- Keys ----------------------------------------------------------------------------------------

const preferences = storageOf(() => localStorage);

const KEYS = {
  p: () => $('pause').click(),
  r: refreshNow,
  f: toggleFullScreen,
  s: () => $('space-input').focus(),
  '/': () => [...document.querySelectorAll('[data-search]')].find((one) => one.checkVisibility())?.focus(),
  '?': () => $('keys').showModal(),
  ...Object.fromEntries(['spaces', 'live', 'streams', 'people', 'connection'].map((name, i) => [String(i + 1), () => app.go({ view: name })])),
};

document.onkeydown = (event) => {
  if (event.key === 'Escape' && app.place.show === 'wall' && !document.fullscreenElement) {
    keepSetting(app.place, 'show', '');
    return renderPage();
  }
  const { key, target, ctrlKey, metaKey, altKey, defaultPrevented } = event;
  const typing = target.closest('input, select, textarea, dialog');
  if (!server.token || typing || ctrlKey || metaKey || altKey || defaultPrevented || !KEYS[key] || preferences[KEYS_OFF]) return;
  event.preventDefault();
  KEYS[key]();
};

$('keys-on').checked = !preferences[KEYS_OFF];
$('keys-on').onchange = ({ target }) => {
  if (target.checked) delete preferences[KEYS_OFF];
  else preferences[KEYS_OFF] = '1';
};

// --- Wiring --------------------------------------------------------------------------------------

Object.assign(switcher.known, { spaces: spacesHere, kinds: kindsHere, load: loadChoices });
$('token-form').onsubmit = (event) => {
  event.preventDefault();
  const { value } = $('token-input');
  $('token-form').reset();
  if (value.trim()) signIn(value);
};
$('sign-out').onclick = () => {
  const left = endSession(); // first: it reads what signing out forgets
  signOut();
  return left;
};
$('pause').onclick = () => (server.paused ? resume() : pause());
$('refresh').onclick = refreshNow;
$('full').onclick = toggleFullScreen;
$('share-open').onclick = openShares;
$('help').onclick = () => $('keys').showModal();

document.onclick = (event) => {
  const copied = event.target.closest('[data-copy]');
  if (copied) return copy(copied, $(copied.dataset.copy).textContent);
  const button = event.target.closest('[data-csv]');
  if (button) {
    const [name, ...rest] = button.dataset.csv.split(' ');
    return download(...open().csv[name](...rest));
  }
  const link = event.target.closest('a[href^="/dashboard#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault(); // also from /admin/live: it is the same page
  history.pushState(null, '', link.getAttribute('href'));
  followAddress();
  if (link.dataset.tab) return;
  scrollTo(0, 0);
  $('main').focus({ preventScroll: true });
};

onpopstate = followAddress; // also fired by an edited fragment
onoffline = () => probe(2 * SECOND); // only a hint: without a network a laptop still reaches its own server
ononline = () => (feed.live ? probe() : server.token && connect());
document.onvisibilitychange = () => {
  if (document.hidden) return;
  stayAwake();
  probe();
  (open().refreshSoon ?? open().refresh)();
};

/** Once a second: all durations and "ago"s. */
setInterval(() => {
  renderConnection();
  if (server.token && !document.hidden) open().tick();
}, SECOND);
setInterval(() => server.token && !document.hidden && !server.paused && app.place.view !== 'spaces' && loadChoices().catch(() => {}), MINUTE);

start();
