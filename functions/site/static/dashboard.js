/** The dashboard of one space: its headcount live, its last hour, and who is in it. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const POLL_EVERY = 5 * SECOND;
const PING_EVERY = 4 * MINUTE;
const ANSWER_WITHIN = 10 * SECOND;
const STALE_AFTER = { live: PING_EVERY + 2 * ANSWER_WITHIN, polling: 3 * POLL_EVERY, other: 2 * SECOND };
const DEFAULT_SPACE = 'site:main';
const TOKEN_KEY = 'headcount.token';
const CONNECTIONS = {
  live: 'Live',
  connecting: 'Connecting…',
  reconnecting: 'Reconnecting…',
  polling: `Polling every ${POLL_EVERY / SECOND} s`,
  offline: 'Offline',
  'signed-out': 'Signed out',
};

class ServerError extends Error {}
class NoAnswer extends Error {}

const $ = (id) => document.getElementById(id);
let token = null;
let space = null;
let headcount = null; // the body of GET /v1/spaces/{space} that is on screen
let scope = new AbortController(); // aborted when the token or the space changes
const problems = new Map(); // source -> the server's words

// --- Small tools -----------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const node = ['line', 'text'].includes(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/** One child per item, kept by key, so that rows survive a refresh with their selection and transitions. */
function reconcile(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const key = keyOf(item);
    const node = old.get(key) ?? create(item);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  const kept = new Set(nodes);
  for (const node of old.values()) if (!kept.has(node)) node.remove();
  nodes.forEach((node, i) => parent.children[i] === node || parent.insertBefore(node, parent.children[i] ?? null));
}

/** Returns a function that asks for `task`: never two at once, starts `gap()` ms apart, the last ask never lost. */
function paced(task, gap) {
  let timer = null;
  let running = false;
  let again = false;
  let started = -Infinity;
  async function run() {
    timer = null;
    running = true;
    started = performance.now();
    try {
      await task();
    } finally {
      running = false;
      if (again) ask();
    }
  }
  function ask({ now = false } = {}) {
    again = running;
    if (now) {
      clearTimeout(timer);
      timer = null;
      started = -Infinity;
    }
    if (!running) timer ??= setTimeout(run, Math.max(0, started + gap() - performance.now()));
  }
  return ask;
}

const number = (value) => (Number.isFinite(value) ? value.toLocaleString() : '–');
const counted = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
const clockTime = (at, seconds) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined });

function duration(ms) {
  const s = Math.max(0, Math.floor(ms / SECOND));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} m`;
}

function moment(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date(serverNow()).toDateString();
  return today ? `today ${clockTime(at)}` : `${at.toLocaleDateString([], { day: 'numeric', month: 'short', year: 'numeric' })}, ${clockTime(at)}`;
}

// --- Address and token -----------------------------------------------------------------------

/** Takes the token out of the address (fragment or query) and leaves only the space there. */
function readAddress() {
  const query = new URLSearchParams(location.search);
  const fragment = new URLSearchParams(location.hash.slice(1).replaceAll('+', '%2B')); // a space may hold a plus
  const given = fragment.get('token') ?? query.get('token');
  const wanted = fragment.get('space') || query.get('space') || space || DEFAULT_SPACE;
  history.replaceState(null, '', addressOf(wanted));
  return { given, wanted };
}

const addressOf = (name) => `${location.pathname}#space=${encodeURIComponent(name).replaceAll('%3A', ':')}`;

const storage = (() => {
  try {
    return sessionStorage;
  } catch {
    return {}; // blocked: the token lives as long as the page
  }
})();

function keepToken(value) {
  token = value;
  if (value) storage[TOKEN_KEY] = value;
  else delete storage[TOKEN_KEY];
}

// --- The server: requests, its clock, its complaints -----------------------------------------

let clockOffset = 0;
const serverNow = () => Date.now() + clockOffset;

/** This computer's clock may be a day wrong, so every "ago" is measured on the server's. */
function learnTime(headers) {
  const date = Date.parse(headers.get('date') ?? '');
  if (Number.isNaN(date)) return;
  const offset = date + Number(headers.get('age') ?? 0) * SECOND + SECOND / 2 - Date.now();
  if (Math.abs(offset - clockOffset) > 2 * SECOND) clockOffset = offset; // finer than the header's own second is jitter
}

const redact = (words) => (token ? String(words).replaceAll(token, '…') : String(words));

async function get(path) {
  const { signal: wanted } = scope;
  let response;
  try {
    const signal = AbortSignal.any([wanted, AbortSignal.timeout(ANSWER_WITHIN)]);
    response = await fetch(path, { cache: 'no-store', headers: { authorization: `Bearer ${token}` }, signal });
  } catch {
    throw new NoAnswer();
  }
  learnTime(response.headers);
  const body = await response.json().catch(() => null);
  if (wanted.aborted) throw new NoAnswer(); // cut off by another answer's sign-out: not the server's words
  if (response.ok && body && body.success !== false) return body;
  const words = redact(body?.error ?? body?.message ?? `The server answered ${response.status} without saying why.`);
  if (response.status === 401 || response.status === 403) signOut(words);
  throw new ServerError(words);
}

const spacePath = (rest = '') => `/v1/spaces/${encodeURIComponent(space)}${rest}`;

/** Runs `task`, shows what the server complained of, and returns how it went. */
async function attempt(source, task) {
  const { signal } = scope;
  let outcome = 'ok';
  try {
    await task();
    problems.delete(source);
  } catch (error) {
    if (signal.aborted) return 'aborted';
    outcome = error instanceof NoAnswer ? 'unreachable' : 'refused';
    if (error instanceof ServerError) problems.set(source, error.message);
    else if (error instanceof NoAnswer) probe(); // is the socket really still there?
    else console.error(error);
  }
  renderProblems();
  return outcome;
}

function renderProblems() {
  const words = problems.values().next().value;
  $('error').hidden = !words;
  setText($('error'), words ?? '');
  $('board').setAttribute('aria-busy', String(!headcount && !words));
}

// --- The feed: one socket, and polling while it fails ------------------------------------------

const feed = { socket: null, url: null, run: 0, live: false, wasLive: false, version: -1, failures: 0, contactAt: null, polled: null };

function connectionState() {
  if (!token) return 'signed-out';
  if (feed.polled === 'unreachable') return 'offline';
  if (feed.live) return 'live';
  if (feed.polled === 'ok') return 'polling';
  return feed.wasLive || feed.failures ? 'reconnecting' : 'connecting';
}

async function connect() {
  drop();
  if (!token) return;
  const run = feed.run;
  try {
    feed.url ??= (await get('/dashboard/config.json')).socketUrl;
    if (run !== feed.run) return;
    const url = new URL(feed.url, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('token', token);
    feed.socket = new WebSocket(url);
  } catch {
    if (run === feed.run) lost();
    return;
  }
  const ours = (handle) => (event) => run === feed.run && handle(event);
  feed.socket.onopen = ours(() => {
    feed.version = -1; // versions are compared within a connection: a new one starts afresh
    tell('subscribe');
  });
  feed.socket.onmessage = ours(({ data }) => received(data));
  feed.socket.onclose = ours(lost);
}

/** Forgets the current socket and every timer of it; its late events count for nothing. */
function drop() {
  feed.run += 1;
  feed.live = false;
  clearTimeout(feed.retry);
  clearTimeout(feed.answer);
  feed.socket?.close();
  feed.socket = null;
}

function lost() {
  drop();
  const ceiling = Math.min(30 * SECOND, 500 * 2 ** feed.failures);
  feed.retry = setTimeout(connect, Math.max(500, ceiling * (0.5 + Math.random() / 2)));
  // One lost socket is the gateway's two-hour limit; a second failure is trouble.
  if (feed.failures++ === 1) poll();
  renderConnection();
}

/** Asks the server for something, and gives the socket up on silence: half-open, it would look open for minutes. */
function tell(action, within = ANSWER_WITHIN) {
  if (feed.socket?.readyState !== WebSocket.OPEN) return;
  feed.socket.send(JSON.stringify(action === 'ping' ? { action } : { action, space }));
  clearTimeout(feed.answer);
  feed.answer = setTimeout(lost, within);
}

const probe = (within) => tell('ping', within);

function received(text) {
  const message = JSON.parse(text);
  clearTimeout(feed.answer);
  clearTimeout(feed.poll);
  Object.assign(feed, { live: true, wasLive: true, failures: 0, polled: null, contactAt: Date.now() });
  if (message.type === 'headcount' && message.space === space && message.version >= feed.version) {
    feed.version = message.version;
    problems.delete('feed');
    show({ ...message.data, version: message.version, asOf: message.asOf });
  } else if (message.type === 'error') {
    problems.set('feed', redact(message.error));
  }
  renderProblems();
  renderConnection();
}

async function poll() {
  const outcome = await attempt('space', loadSnapshot);
  if (feed.live || !token || !feed.failures) return;
  if (outcome !== 'aborted') feed.polled = outcome;
  clearTimeout(feed.poll);
  feed.poll = setTimeout(poll, POLL_EVERY);
  renderConnection();
}

async function loadSnapshot() {
  const body = await get(spacePath());
  if (!feed.live) feed.contactAt = Date.now(); // while live, only the socket vouches for the socket
  // An edge cache may be a little behind what the socket showed; a newer time means the server began anew.
  if (headcount && body.version < headcount.version && Date.parse(body.asOf) <= Date.parse(headcount.asOf)) return;
  feed.version = body.version;
  show(body);
}

// --- Signing in, choosing a space --------------------------------------------------------------

function stopFeed() {
  drop();
  clearTimeout(feed.poll);
  Object.assign(feed, { failures: 0, polled: null, wasLive: false });
}

function signOut(words) {
  keepToken(null);
  stopFeed();
  leaveSpace();
  $('spaces').replaceChildren();
  if (words) problems.set('token', words);
  renderPage();
  $('token-input').focus();
}

function signIn(value) {
  stopFeed();
  const bare = value.trim().replace(/^Bearer\s+/i, '');
  if (/[^!-~]/.test(bare)) return signOut('That is not a token: it holds spaces or characters that no token has.');
  keepToken(bare);
  return enterSpace(space);
}

function leaveSpace() {
  scope.abort();
  scope = new AbortController();
  problems.clear();
  headcount = null;
  feed.version = -1;
  feed.contactAt = null;
  Object.assign(viewers, { list: [], pages: 1, cursor: null, loaded: false });
  Object.assign(timeline, { points: [], to: null, shown: null });
  for (const id of ['viewers', 'facets', 'announcement']) $(id).replaceChildren(); // nobody's name outlives the right to see it
}

async function enterSpace(name) {
  if (space !== name) tell('unsubscribe');
  leaveSpace();
  space = name;
  $('space-input').value = name;
  renderPage();
  if (!token) return;
  tell('subscribe');
  // First and alone: it sets the clock, and can say what a refused socket can't: what is wrong with the token or the space.
  if ((await attempt('space', loadSnapshot)) === 'aborted') return;
  if (!feed.socket && !feed.failures) connect();
  for (const refresh of [refreshViewers, refreshTimeline, refreshSpaces]) refresh({ now: true });
}

function renderPage() {
  $('sign-in').hidden = Boolean(token);
  $('board').hidden = !token;
  $('sign-out').hidden = !token;
  $('people-here').hidden = $('facets').hidden = $('empty').hidden = true;
  renderNumbers();
  renderTimeline();
  renderProblems();
  renderConnection();
}

// --- Showing the headcount -----------------------------------------------------------------------

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const announce = paced(() => headcount && setText($('announcement'), `${counted(headcount.people, 'person', 'people')} in ${space}`), () => 10 * SECOND);

function show(body) {
  const before = headcount;
  headcount = body;
  renderNumbers();
  if (before && before.people !== body.people && !calm.matches) {
    const from = { transform: `translateY(${body.people > before.people ? 0.14 : -0.14}em)`, opacity: 0.35 };
    $('people').animate([from, {}], { duration: 320, easing: 'cubic-bezier(.2, .8, .2, 1)' });
  }
  const somebody = body.sessions > 0;
  $('empty').hidden = somebody;
  $('facets').hidden = $('people-here').hidden = !somebody;
  setText($('curl'), `curl -X POST ${location.origin}${spacePath('/presence')} -H 'content-type: application/json' -d '{"sessionId":"me","page":"/"}'`);
  renderFacets(body.facets ?? {});
  renderTimeline();
  announce();
  if (before && before.version !== body.version) refreshViewers();
}

function renderNumbers() {
  const { people, signedIn, anonymous, sessions, signedInSessions, anonymousSessions, peak, views = {} } = headcount ?? {};
  const known = Boolean(headcount);
  document.title = !token ? 'Headcount' : `${known ? `${number(people)} · ` : ''}${space} — Headcount`;
  const texts = {
    people: number(people),
    'signed-in': number(signedIn),
    anonymous: number(anonymous),
    sessions: number(sessions),
    'sessions-split': known ? `${number(signedInSessions)} signed in, ${number(anonymousSessions)} not` : '',
    peak: number(peak?.people),
    'peak-at': peak?.at ? moment(peak.at) : '',
    'views-today': number(views.today),
    'views-week': number(views.week),
    'views-month': number(views.month),
    'views-total': number(views.total),
  };
  for (const [id, text] of Object.entries(texts)) setText($(id), text);
  const share = people ? signedIn / people : 0;
  $('split').style.setProperty('--share', share);
  $('split').classList.toggle('nobody', !people);
  $('split').setAttribute('aria-label', known ? `${Math.round(share * 100)} % signed in` : 'No numbers yet');
}

function renderFacets(facets) {
  const names = ['page', ...Object.keys(facets).filter((name) => name !== 'page' && facets[name]?.length).sort()];
  reconcile($('facets'), names, (name) => name, createFacet, (card, name) => updateFacet(card, name, facets[name] ?? []));
}

function createFacet(name) {
  const word = name[0].toUpperCase() + name.slice(1);
  const title = element('h2', { id: `facet-${name}` }, name === 'page' ? 'Top pages' : word);
  const head = [word, 'People', 'Sessions'].map((text, i) => element('th', { scope: 'col', class: i ? 'number' : '' }, element('span', { class: i ? '' : 'visually-hidden' }, text)));
  const table = element('table', { 'aria-labelledby': title.id }, element('thead', {}, element('tr', {}, ...head)), element('tbody'));
  if (name === 'page') table.dataset.testid = 'top-pages';
  const frame = element('div', { class: 'scroll' }, table, element('p', { class: 'sub' }, 'No pages were reported.'));
  return element('section', { class: name === 'page' ? 'card facet pages' : 'card facet', 'aria-labelledby': title.id }, title, frame);
}

function updateFacet(card, name, values) {
  const sorted = [...values].sort((a, b) => b.people - a.people || b.count - a.count || (a.value < b.value ? -1 : 1));
  reconcile(card.querySelector('tbody'), sorted, ({ value }) => value, createFacetRow, (row, { value, count, people }) => {
    if (name === 'page') Object.assign(row.dataset, { testid: 'top-page', value });
    const [label, ...cells] = row.children;
    label.style.setProperty('--share', people / (sorted[0].people || 1));
    label.title = value;
    setText(label.firstChild, value);
    [people, count].forEach((n, i) => setText(cells[i], number(n)));
  });
  card.querySelector('table').hidden = !sorted.length;
  card.querySelector('.sub').hidden = sorted.length > 0;
}

function createFacetRow() {
  return element('tr', {}, element('th', { scope: 'row', class: 'bar-cell' }, element('span')), element('td', { class: 'number' }), element('td', { class: 'number soft' }));
}

// --- Who is here ---------------------------------------------------------------------------------

const viewers = { list: [], pages: 1, cursor: null, loaded: false };
// Each page is one request, so a list made longer is read less often; a hidden tab reads nothing.
const refreshViewers = paced(() => token && !document.hidden && attempt('viewers', loadViewers), () => 3 * SECOND * viewers.pages);

async function loadViewers() {
  const found = new Map();
  let cursor = null;
  for (let page = 0; page < viewers.pages && (page === 0 || cursor); page += 1) {
    const body = await get(spacePath(`/viewers?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`));
    for (const viewer of body.viewers) found.set(viewer.sessionId, viewer);
    cursor = body.cursor;
  }
  Object.assign(viewers, { list: [...found.values()], cursor, loaded: true });
  renderViewers();
}

function renderViewers() {
  reconcile($('viewers'), viewers.list, (viewer) => viewer.sessionId, createViewer, updateViewer);
  $('more').hidden = !viewers.cursor;
  tick();
}

function createViewer() {
  const cells = ['who', 'page', 'state', 'since number', 'seen number', 'session'].map((name) => element('td', { role: 'cell', class: name }));
  cells[0].append(element('span', { class: 'avatar', 'aria-hidden': 'true' }), element('span', { class: 'name' }));
  cells[5].append(element('code'));
  return element('tr', { role: 'row', 'data-testid': 'viewer' }, ...cells);
}

function updateViewer(row, viewer) {
  const [who, page, state, , , session] = row.children;
  const name = viewer.name || viewer.userId;
  setText(who.lastChild, name || 'Anonymous');
  who.classList.toggle('nameless', !name);
  updateAvatar(who.firstChild, viewer.avatar, name);
  setText(page, viewer.page ?? '–');
  page.title = viewer.page ?? '';
  setText(state, viewer.state ?? 'active');
  row.dataset.state = viewer.state ?? 'active';
  row.dataset.joinedAt = viewer.joinedAt;
  row.dataset.lastSeen = viewer.lastSeen;
  setText(session.firstChild, viewer.sessionId.length > 9 ? `${viewer.sessionId.slice(0, 8)}…` : viewer.sessionId);
  session.title = viewer.sessionId;
}

function updateAvatar(frame, avatar, name) {
  const source = typeof avatar === 'string' && avatar.startsWith('https://') ? avatar : '';
  const initial = name ? [...name.trim()][0]?.toUpperCase() ?? '' : '';
  if (frame.dataset.key === source + initial) return;
  frame.dataset.key = source + initial;
  frame.replaceChildren(initial);
  if (!source) return;
  const image = element('img', { alt: '', loading: 'lazy', referrerpolicy: 'no-referrer', src: source });
  image.onerror = () => image.remove();
  frame.append(image);
}

// --- The last hour -------------------------------------------------------------------------------

const timeline = { points: [], to: null, shown: null, series: [] }; // shown: the time under the pointer or the arrow keys
const refreshTimeline = paced(() => token && !document.hidden && attempt('timeline', loadTimeline), () => 2 * SECOND);
const minuteOf = (at) => Math.floor(at / MINUTE) * MINUTE;

async function loadTimeline() {
  const to = serverNow();
  const iso = (at) => encodeURIComponent(new Date(at).toISOString());
  const { points } = await get(spacePath(`/timeline?from=${iso(minuteOf(to) - HOUR)}&to=${iso(to)}`));
  Object.assign(timeline, { points, to });
  renderTimeline();
}

/** Minutes are sampled only while somebody is in: one without a sample had nobody, unless it is too new to tell. */
function lastHour(now) {
  const sampled = new Map(timeline.points.map((point) => [minuteOf(Date.parse(point.at)), point]));
  const known = timeline.to ? minuteOf(timeline.to) - MINUTE : -Infinity;
  const series = [];
  for (let at = minuteOf(now) - HOUR + MINUTE; at < now; at += MINUTE) {
    const point = sampled.get(at);
    // A single minute between two samples is a sample that was taken a few seconds late.
    const late = sampled.has(at - MINUTE) && sampled.has(at + MINUTE);
    if (point || (at < known && !late)) series.push({ at, people: point?.people ?? 0, sessions: point?.sessions ?? 0 });
  }
  // What was last heard belongs to when it was heard: a lost connection must not draw a flat present.
  const heard = ['live', 'polling'].includes(connectionState()) || !feed.contactAt ? now : feed.contactAt + clockOffset;
  if (headcount && heard > now - HOUR) {
    while (series.at(-1)?.at >= heard) series.pop();
    series.push({ at: heard, people: headcount.people, sessions: headcount.sessions });
  }
  return series;
}

function roundTop(most) {
  const scale = 10 ** Math.floor(Math.log10(most || 1));
  return [1, 2, 4, 6, 8, 10].map((n) => n * scale).find((n) => n >= most && n > 1);
}

function renderTimeline() {
  const box = $('timeline').getBoundingClientRect();
  if (!box.width) return;
  const now = serverNow();
  const series = (timeline.series = lastHour(now));
  const most = Math.max(0, ...series.map(({ people }) => people));
  const top = roundTop(most);
  const [left, right, above, below] = [4, 10, 18, 24];
  const x = (at) => left + (1 - (now - at) / HOUR) * (box.width - left - right);
  const y = (people) => above + (1 - people / top) * (box.height - above - below);
  const set = (id, attributes) => Object.entries(attributes).forEach(([name, value]) => $(id).setAttribute(name, value));

  const grid = [0, top / 2, top].flatMap((n) => [
    element('line', { x1: left, x2: box.width - right, y1: y(n), y2: y(n), class: n ? 'rule' : 'rule base' }),
    ...(n ? [element('text', { x: left, y: y(n) - 5 }, number(n))] : []),
  ]);
  const step = (box.width < 480 ? 20 : 10) * MINUTE;
  for (let at = Math.ceil((now - HOUR) / step) * step; at < now; at += step) {
    const anchor = x(at) < 24 ? 'start' : x(at) > box.width - 24 ? 'end' : 'middle';
    grid.push(element('text', { x: x(at), y: box.height - 6, 'text-anchor': anchor }, clockTime(at)));
  }
  $('grid').replaceChildren(...grid);

  const path = series.map(({ at, people }, i) => `${i ? 'L' : 'M'}${x(at).toFixed(1)} ${y(people).toFixed(1)}`).join('');
  const end = series.at(-1);
  set('line', { d: path });
  set('area', { d: end ? `${path}L${x(end.at).toFixed(1)} ${y(0)}L${x(series[0].at).toFixed(1)} ${y(0)}Z` : '' });
  set('last', end ? { cx: x(end.at), cy: y(end.people), visibility: 'visible' } : { visibility: 'hidden' });
  const best = series.reduce((a, b) => (b.people > a.people ? b : a), { people: 0 });
  setText($('timeline-summary'), best.people ? `In the last hour: at most ${counted(best.people, 'person', 'people')}, at ${clockTime(best.at)}; latest ${number(end.people)}.` : 'Nobody in the last hour.');
  renderReadout(x, y, box, set);
}

function renderReadout(x, y, box, set) {
  const { series, shown } = timeline;
  const index = shown === null ? series.length - 1 : nearest(shown);
  const point = series[index];
  const words = point ? `${clockTime(point.at)} · ${counted(point.people, 'person', 'people')} · ${counted(point.sessions, 'session', 'sessions')}` : 'No samples yet';
  set('timeline', { 'aria-valuemax': Math.max(0, series.length - 1), 'aria-valuenow': Math.max(0, index), 'aria-valuetext': words });
  const visible = shown !== null && Boolean(point);
  $('readout').hidden = !visible;
  for (const id of ['hairline', 'dot']) set(id, { visibility: visible ? 'visible' : 'hidden' });
  if (!visible) return;
  set('hairline', { x1: x(point.at), x2: x(point.at), y1: 0, y2: y(0) });
  set('dot', { cx: x(point.at), cy: y(point.people) });
  setText($('readout'), words);
  const half = $('readout').offsetWidth / 2;
  $('readout').style.setProperty('--x', `${Math.min(Math.max(x(point.at), half), box.width - half)}px`);
}

function nearest(at) {
  return timeline.series.reduce((best, point, i, all) => (Math.abs(point.at - at) < Math.abs(all[best].at - at) ? i : best), 0);
}

function readAt(at) {
  timeline.shown = at;
  renderTimeline();
}

function readWithKeys(event) {
  const { series, shown } = timeline;
  const index = shown === null ? series.length - 1 : nearest(shown);
  const target = { ArrowLeft: index - 1, ArrowDown: index - 1, ArrowRight: index + 1, ArrowUp: index + 1, Home: 0, End: series.length - 1 }[event.key];
  if (target === undefined || !series.length) return;
  event.preventDefault();
  readAt(series[Math.min(Math.max(target, 0), series.length - 1)].at);
}

// --- The spaces to choose from, the connection, the seconds ------------------------------------------

const refreshSpaces = paced(() => token && !document.hidden && attempt('spaces', loadSpaces), () => 5 * SECOND);

async function loadSpaces() {
  const { spaces } = await get('/v1/spaces');
  $('spaces').replaceChildren(...spaces.map((live) => element('option', { value: live.space, label: counted(live.people, 'person', 'people') })));
}

function renderConnection() {
  const state = connectionState();
  $('connection').dataset.state = state;
  setText($('connection').lastElementChild, CONNECTIONS[state]);
  $('connection').querySelector('use').setAttribute('href', `#icon-${state === 'connecting' ? 'reconnecting' : state}`);
  const silence = feed.contactAt ? Date.now() - feed.contactAt : null;
  const stale = silence !== null && silence > (STALE_AFTER[state] ?? STALE_AFTER.other);
  $('as-of').classList.toggle('stale', stale);
  $('as-of').hidden = !token || !headcount;
  if ($('as-of').hidden) return;
  const asOf = clockTime(headcount.asOf, true);
  const checked = silence < 2 * SECOND ? 'just now' : `${duration(silence)} ago`;
  setText($('as-of'), stale ? `Out of date: as of ${asOf}, no contact for ${duration(silence)}` : `As of ${asOf}, checked ${checked}`);
  $('as-of').title = `Last change ${headcount.asOf}`;
}

/** Once a second: everything that says how long or how long ago. */
function tick() {
  renderConnection();
  if (!headcount) return;
  const now = serverNow();
  for (const row of $('viewers').children) {
    setText(row.children[3], duration(now - Date.parse(row.dataset.joinedAt)));
    setText(row.children[4], `${duration(now - Date.parse(row.dataset.lastSeen))} ago`);
  }
  const { list, loaded } = viewers;
  setText($('viewers-count'), !loaded ? 'Loading…' : viewers.cursor ? `${number(list.length)} of ${number(headcount.sessions)}` : counted(list.length, 'session', 'sessions'));
}

// --- Wiring ----------------------------------------------------------------------------------------

function followAddress() {
  const { given, wanted } = readAddress();
  if (given) {
    space = wanted;
    signIn(given);
  } else if (wanted !== space) enterSpace(wanted);
}

function chooseSpace() {
  const chosen = $('space-input').value.trim();
  if (chosen === space || !$('space-form').reportValidity()) return;
  history.pushState(null, '', addressOf(chosen));
  enterSpace(chosen);
}

$('space-form').onsubmit = (event) => {
  event.preventDefault();
  chooseSpace();
};
$('space-input').onchange = chooseSpace;
$('space-input').oninput = ({ inputType }) => (!inputType || inputType === 'insertReplacementText') && chooseSpace(); // picked from the list
$('space-input').onfocus = () => refreshSpaces();
$('token-form').onsubmit = (event) => {
  event.preventDefault();
  const { value } = $('token-input');
  $('token-form').reset();
  if (value.trim()) signIn(value);
};
$('sign-out').onclick = () => signOut();
$('more').onclick = () => {
  viewers.pages += 1;
  refreshViewers({ now: true });
};
$('timeline').onpointermove = ({ clientX }) => {
  const box = $('timeline').getBoundingClientRect();
  readAt(serverNow() - (1 - (clientX - box.left) / box.width) * HOUR);
};
$('timeline').onpointerleave = $('timeline').onblur = () => readAt(null);
$('timeline').onfocus = () => readAt(timeline.shown ?? serverNow());
$('timeline').onkeydown = readWithKeys;
new ResizeObserver(renderTimeline).observe($('timeline'));

onpopstate = followAddress; // also fired by an edited fragment
onoffline = () => probe(2 * SECOND); // a hint only: a laptop without a network still reaches its own server
ononline = () => (feed.live ? probe() : connect());
document.onvisibilitychange = () => {
  if (document.hidden) return;
  probe();
  for (const refresh of [refreshViewers, refreshTimeline, refreshSpaces]) refresh();
};
setInterval(tick, SECOND);
setInterval(renderTimeline, 10 * SECOND);
setInterval(refreshViewers, 30 * SECOND);
setInterval(refreshTimeline, MINUTE);
setInterval(refreshSpaces, MINUTE);
setInterval(() => probe(), PING_EVERY);

token = storage[TOKEN_KEY] ?? null;
followAddress();
