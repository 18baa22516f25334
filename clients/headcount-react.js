"use client";
// Headcount's React hooks: the old systems' hooks and services, on Headcount's API.
//
//   import { configure, useViewerTracking } from "./headcount-react.js";
//   configure({ origin: "https://<api>" });
//
// Never throws into rendering and does not touch `window` at import. Every hook: headcount-react.d.ts
// and docs/react.md.

import { useCallback, useEffect, useRef, useState } from "react";

const SECOND = 1000;
const BEAT_INTERVAL = 30 * SECOND;
const FIRST_RETRY = 2 * SECOND;
const MAX_RETRY = 60 * SECOND;
const REQUEST_TIMEOUT = 20 * SECOND;
const PROGRESS_INTERVAL = 5 * SECOND;
const MAX_TIMER = 2 ** 31 - 1;
const RETURN_WINDOW = 10 * SECOND; // as long as the server lets a visit continue
const RESTORE_DELAY = 200;
const RETRYABLE = [408, 425, 429]; // the 4xx that go away by themselves
const VISITOR_KEY = "headcount:visitor";
const BROWSER_ID_FOR = 395 * 86_400_000; // 13 months: then the browser is a new visitor
const TAB_KEY = "headcount:tab"; // in sessionStorage
const LEFT_KEY = "headcount:left"; // in localStorage
const SITE_SESSION_KEY = "heartbeat_session_id"; // the old service's key, so that its visitors stay the same

const inBrowser = typeof document === "object";
const encode = encodeURIComponent;

const attempt = (action) => {
  try {
    return action();
  } catch {
    return undefined;
  }
};

// --- Settings and requests -----------------------------------------------------------------------

// In a bundle the module's address may be a file's, with the origin "null": then use the page's origin.
const ownOrigin = attempt(() => new URL(import.meta.url).origin.replace("null", "")) ?? "";
let settings = { origin: ownOrigin };
const tasks = new Set(); // everything that repeats

/** Set the API's address and the token. Omitted settings stay as they were. */
export function configure(change) {
  const given = Object.entries(change ?? {}).filter(([, value]) => value !== undefined);
  if (!given.some(([name, value]) => settings[name] !== value)) return;
  settings = { ...settings, ...Object.fromEntries(given) };
  settings.origin = String(settings.origin ?? "").replace(/\/+$/, "");
  each("run");
}

async function authorization() {
  const { token } = settings;
  const bearer = typeof token === "function" ? await token() : token;
  return bearer ? { authorization: `Bearer ${bearer}` } : {};
}

/** The response's body, or an error with a readable message. Without headers there is no preflight. */
async function request(path, { body, ...options } = {}) {
  const signal = AbortSignal.timeout?.(REQUEST_TIMEOUT);
  const automated = body && inBrowser && navigator.webdriver && { robot: true }; // counts only where robots do
  const init = { signal, body: body && JSON.stringify({ ...body, ...automated }), ...options };
  const response = await fetch(settings.origin + path, init).catch(() => {
    throw new Error("Headcount can't be reached.");
  });
  const result = await response.json().catch(() => undefined);
  const { ok, status } = response;
  if (ok && result) return result;
  if (ok) throw new Error("Headcount can't be reached: something else answers.");
  const error = new Error(result?.error ?? result?.message ?? `HTTP ${status}`);
  const tokenExpired = status === 401 && typeof settings.token === "function";
  const retryable = status > 499 || RETRYABLE.includes(status) || tokenExpired;
  throw Object.assign(error, { wait: retryable ? response.headers.get("retry-after") * SECOND || 0 : MAX_RETRY });
}

const get = async (path) => request(path, { headers: await authorization() });

const string = (value) => (value == null || value === "" ? undefined : String(value));

const messageOf = (error) => error?.message || String(error);

const warned = new Set();

/** What is wrong with the page, so that its visitor does not count, is in the console once. */
function warn(error) {
  const message = messageOf(error);
  if (error?.wait !== MAX_RETRY || warned.has(message)) return;
  warned.add(message);
  console.warn(`Headcount: ${message}`);
}

/** Prepare a leave for the end of the page. Returns how to `abort` that, and to `send` it at once. */
function prepare(leaving) {
  const { origin } = settings;
  const message = (mayReturn) => {
    const [path, body, headers] = leaving(mayReturn);
    return [origin + path, { method: "POST", headers, body: body && JSON.stringify(body), keepalive: true }];
  };
  const crash = new AbortController();
  const [url, options] = message(!isForbidden || keepTab() || undefined);
  // Firefox stops the scripts of a tab that closes, listeners too, but not a function of its own.
  const sendBeacon = !options.headers?.authorization && navigator.sendBeacon;
  const close = sendBeacon ? sendBeacon.bind(navigator, url, options.body) : fetch.bind(globalThis, url, options);
  addEventListener("pagehide", close, true);
  const [now, plainly] = message();
  // Chromium sends this one if the page crashes.
  attempt(() => fetchLater(now, { ...plainly, signal: crash.signal }));
  const abort = (isPageGone) => {
    crash.abort();
    if (!isPageGone) removeEventListener("pagehide", close, true);
  };
  return { abort, send: () => fetch(now, plainly).catch(() => {}) };
}

// --- Repeated tasks ------------------------------------------------------------------------------

const each = (name, ...given) => tasks.forEach((one) => one[name](...given));

let listen = () => {
  listen = () => {};
  for (const type of ["visibilitychange", "prerenderingchange"]) document.addEventListener(type, () => each("update"));
  addEventListener("pagehide", () => {
    keepTab();
    each("update", true);
  });
  let restoring;
  addEventListener("pageshow", ({ persisted }) => {
    // From the back/forward cache, it may appear before the page in between is gone, which kept counting.
    if (!persisted) return;
    clearTimeout(restoring); // of a page that was left again at once
    restoring = setTimeout(() => {
      takeTab();
      tab.seq = Math.max(tab.seq, Date.now()); // what a kept page sees may be older than the last messages
      each("update", false);
    }, RESTORE_DELAY);
  });
  addEventListener("online", () => each("run"));
};

/**
 * Do the work while something holds the task: at once, then every so many milliseconds, one run at a
 * time, and less often while it fails (`onError`). When the last holder or the page is gone, `leave()`, and the
 * leave goes out that `work` has armed last: `arm((mayReturn) => [path, body, headers])`.
 *
 * Browsers slow a hidden tab's timers to once a minute: `hidden` says whether to "pause" then, to
 * "leave", or to "beat" that rarely.
 */
function repeating({ work, every = BEAT_INTERVAL, leave = () => {}, onError = warn, hidden = "pause" }) {
  let holders = 0;
  let pageGone = false;
  let active = false;
  let started = false; // since the last leave
  let running;
  let rerun;
  let timer;
  let dueAt = Infinity;
  let requestedAt = Infinity;
  let failures = 0;
  let armed; // the leave that is sent when the page ends, until it is aborted

  function arm(leaving) {
    armed?.abort();
    armed = prepare(leaving);
  }

  function schedule(delay) {
    clearTimeout(timer);
    dueAt = Date.now() + delay;
    if (active && delay <= MAX_TIMER) timer = setTimeout(run, delay);
  }

  async function runOnce(isWanted) {
    requestedAt = Infinity;
    let delay;
    try {
      await undefined; // changes made in the same turn are included
      if (!isWanted()) {
        running = undefined;
        return;
      }
      started = true;
      await work(arm);
      failures = 0;
      // Jitter, so that a thousand tabs opened at once spread out.
      delay = (typeof every === "function" ? every() : every) * (0.9 + Math.random() / 10);
    } catch (error) {
      onError(error);
      const backoff = Math.min(MAX_RETRY, FIRST_RETRY * 2 ** failures++);
      delay = Math.max(error?.wait ?? 0, backoff) * (0.5 + Math.random() / 2);
    }
    running = undefined;
    if (started) schedule(failures ? delay : Math.min(delay, Math.max(requestedAt - Date.now(), 0)));
    else if (!active) depart(); // the server may have handled the request after the leave
  }

  /** Run now, or right after the current run. The promise is settled when that is done. */
  function run(evenHidden) {
    const isWanted = () => active || (evenHidden === true && holders > 0 && !pageGone);
    if (!isWanted()) return Promise.resolve();
    if (running) {
      rerun ??= running.then(() => {
        rerun = undefined;
        return run(evenHidden);
      });
      return rerun;
    }
    clearTimeout(timer);
    running = runOnce(isWanted);
    return running;
  }

  function depart() {
    started = false;
    leave(pageGone);
    armed?.abort(pageGone);
    if (pageGone) return; // the browser sends it
    // Messages are numbered: what starts meanwhile does not end with a late leave.
    armed?.send();
  }

  function update(isPageGone = pageGone) {
    pageGone = isPageGone;
    const before = active;
    active = holders > 0 && !pageGone && !document.prerendering && !(document.hidden && hidden !== "beat");
    if (active && !before) run();
    if (active) return;
    clearTimeout(timer);
    if (started && (!holders || pageGone || hidden === "leave")) depart();
    if (!holders) tasks.delete(self);
  }

  const self = {
    run,
    update,
    /** Run within so many milliseconds. After a failure the retry is soon enough. */
    runWithin(delay) {
      if (failures) return;
      requestedAt = Math.min(requestedAt, Date.now() + delay);
      if (active && !running && requestedAt < dueAt) schedule(Math.max(requestedAt - Date.now(), 0));
    },
    /** Returns the release. Both take effect a moment later: a component that remounts has not left. */
    hold() {
      let held = true;
      holders += 1;
      tasks.add(self);
      listen();
      queueMicrotask(update);
      return () => {
        if (!held) return;
        held = false;
        holders -= 1;
        queueMicrotask(update);
      };
    },
  };
  return self;
}

/** Create and hold a task for a key while mounted; the key null has none. Returns the state that the task showed, and a ref to it. */
function useHeld(key, create, ...settings) {
  const [state, setState] = useState({});
  const held = useRef(null);
  useEffect(() => {
    if (key === null) return undefined;
    let isMounted = true;
    held.current = create((change) => isMounted && setState((old) => ({ ...(old.key === key ? old : { key }), ...change })));
    const release = held.current.hold();
    return () => {
      isMounted = false;
      held.current = null;
      release();
    };
  }, [key, ...settings]);
  return [state.key === key ? state : {}, held];
}

/** Load a key's data repeatedly: `{data, loading, error, refresh}`. The key null loads nothing. */
function usePolled(key, interval, load) {
  const poll = (show) =>
    repeating({
      every: Math.max(interval, SECOND),
      work: async () => show({ data: await load(key), error: null }),
      onError: (error) => show({ error: messageOf(error) }),
    });
  const [shown, held] = useHeld(key, poll, interval);
  const refresh = useCallback(async () => held.current?.run(true), []);
  return { data: shown.data ?? null, loading: key !== null && !("error" in shown), error: shown.error ?? null, refresh };
}

// --- Ids -----------------------------------------------------------------------------------------

const uuid = () =>
  crypto.randomUUID?.() ?? // only on https and localhost
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

const ids = {};

/** The browser's id of that name; the tab's if storage is forbidden. */
function browserId(name) {
  const kept = attempt(() => {
    const since = `${name}-since`; // when it was made, or first seen with a time
    const made = Number(localStorage.getItem(since)) || Date.now();
    const old = Date.now() - made >= BROWSER_ID_FOR;
    const id = (!old && (ids[name] || localStorage.getItem(name))) || uuid();
    localStorage.setItem(name, id);
    localStorage.setItem(since, old ? Date.now() : made);
    return id;
  });
  if (kept) ids[name] = kept;
  return ids[name] ?? tabId();
}

// As in headcount.js, the tab is kept only from one page to the next. A duplicated tab starts with a copy
// of its id: the first that removes it from localStorage continues it.
let tab; // its id, and the number of its last message

// Where storage is forbidden, only the tab's name outlives the page. It has to be set before the page closes.
const isForbidden = inBrowser && !attempt(() => [sessionStorage.length, localStorage.length]);

const left = () =>
  Object.entries(JSON.parse(localStorage.getItem(LEFT_KEY)) ?? {}).filter(([, { at }]) => Date.now() - at < RETURN_WINDOW);

const storeLeft = (tabs) => localStorage.setItem(LEFT_KEY, JSON.stringify(tabs));

function keepTab() {
  if (!tab) return undefined;
  const { id, seq } = tab;
  if (isForbidden) {
    if (window.name && !window.name.startsWith(TAB_KEY)) return false;
    window.name = TAB_KEY + JSON.stringify({ id, seq });
    return true;
  }
  return attempt(() => {
    storeLeft(Object.fromEntries([...left(), [id, { at: Date.now(), seq }]]));
    sessionStorage.setItem(TAB_KEY, id);
    return true;
  });
}

function takeTab() {
  const kept = attempt(() => {
    if (isForbidden) return JSON.parse(window.name.slice(TAB_KEY.length));
    // A page that Firefox kept for Back sees an old session storage, but knows its tab.
    const id = tab?.id ?? sessionStorage.getItem(TAB_KEY);
    sessionStorage.removeItem(TAB_KEY);
    const { [id]: found, ...others } = Object.fromEntries(left());
    storeLeft(others);
    return found && { id, seq: found.seq };
  });
  tab = kept?.id ? kept : { id: uuid(), seq: 0 };
  if (isForbidden) keepTab();
}

function tabId() {
  if (!tab) {
    takeTab();
    listen();
  }
  return tab.id;
}

/** Which tab sends a message, and its number: the server ignores one that arrives late. */
const stamp = () => {
  const stamped = { tabId: tabId(), seq: ++tab.seq };
  if (isForbidden) keepTab();
  return stamped;
};

// --- Live activity -------------------------------------------------------------------------------

const ACTIVITY = "/api/analytics/live-activity";
let current = { type: "browsing" };
let sentAt = 0;
let stopActivity;

// iPads call themselves Macs, which have no touchscreen.
const deviceType = inBrowser && navigator.maxTouchPoints > 1 && /Macintosh/.test(navigator.userAgent) ? "tablet" : undefined;

const withoutProgress = ({ currentPosition, duration, ...rest }) => JSON.stringify(rest);
/** Ids and the like as texts, as the API wants them. */
const texts = ({ contentId, contentTitle, contentType, quality, ...rest }) => ({
  ...rest,
  contentId: string(contentId),
  contentTitle: string(contentTitle),
  contentType: string(contentType),
  quality: string(quality),
});
const whole = (seconds) => (Number.isFinite(seconds) ? Math.round(seconds) : undefined);

const activity = repeating({
  hidden: "leave",
  async work(arm) {
    // A token is only valid for its own user, and an anonymous id is no user.
    const headers = settings.userId ? await authorization() : undefined;
    const { type, currentPosition, duration, ...rest } = texts(current);
    const { userId, sessionId } = analyticsService.getUserSession();
    sentAt = Date.now();
    const progress = { currentPosition: whole(currentPosition), duration: whole(duration) };
    const { tabId, seq } = stamp(); // the session is the tab
    const leave = { id: `live_${userId}_${tabId}`, seq: stamp().seq };
    arm((mayReturn) => [`${ACTIVITY}/leave?${new URLSearchParams({ ...leave, ...(mayReturn && { mayReturn }) })}`]);
    await request(ACTIVITY, { method: "POST", headers, body: { ...rest, ...progress, activityType: type, userId, sessionId, seq, deviceType } });
  },
});

export const analyticsService = {
  /** Be active from now on. */
  initialize() {
    if (inBrowser) stopActivity ??= activity.hold();
  },
  /** Undo `initialize`. */
  deactivate() {
    stopActivity?.();
    stopActivity = undefined;
  },
  /** Describe the whole activity. Progress is sent every 5 s at most, any other change at once. */
  updateActivity(given) {
    const before = withoutProgress(current);
    current = { type: "browsing", ...given };
    if (withoutProgress(current) !== before) activity.run();
    else activity.runWithin(sentAt + PROGRESS_INTERVAL - Date.now());
  },
  getUserSession() {
    return inBrowser ? { userId: String(settings.userId || browserId(VISITOR_KEY)), sessionId: tabId() } : null;
  },
};

const analytics = { ...analyticsService, analyticsService };

/** Active while mounted. The other props are the settings of `configure`. */
export function AnalyticsProvider({ children, origin, token, userId, socketUrl }) {
  useEffect(() => configure({ origin, token, userId, socketUrl }), [origin, token, userId, socketUrl]);
  useEffect(() => activity.hold(), []);
  return children ?? null;
}

export const useAnalytics = () => analytics;

/** Handlers for a player that shows this content. After the unmount the user is browsing. */
export function useWatchProgress(content) {
  const latest = useRef(content);
  useEffect(() => {
    latest.current = content;
  });
  const [handlers] = useState(() => {
    let watching = false;
    const report = (currentPosition, duration) => {
      watching = true;
      analyticsService.updateActivity({ ...latest.current, type: "watching", currentPosition, duration });
    };
    const handleWatchEnd = () => {
      if (watching) analyticsService.updateActivity({ type: "browsing" });
      watching = false;
    };
    return { handleWatchStart: report, handleProgress: report, handleWatchEnd };
  });
  useEffect(() => handlers.handleWatchEnd, [handlers]);
  return handlers;
}

// --- Link analytics ------------------------------------------------------------------------------

const viewers = new Map(); // by link and session

const linkPath = (link) => `/api/send/realtime/${encode(link)}`;

function viewerOf(link, session) {
  const sessionId = String(session);
  const key = JSON.stringify([link, sessionId]);
  if (!viewers.has(key)) viewers.set(key, viewer(linkPath(link), sessionId));
  return viewers.get(key);
}

function viewer(path, sessionId) {
  let identity;
  let joinedAs;
  let beatAt;
  let page = 1;
  const presence = repeating({
    hidden: "beat",
    async work(arm) {
      // After a long sleep the server may have forgotten this session.
      const isNew = joinedAs !== identity || Date.now() - beatAt > 2 * MAX_RETRY;
      const as = identity;
      const message = isNew ? { action: "join", ...JSON.parse(as) } : { action: "heartbeat" };
      const body = { ...message, currentPage: page, sessionId, ...stamp() };
      const leave = { action: "leave", sessionId, ...stamp() };
      arm((mayReturn) => [path, { ...leave, mayReturn }]);
      await request(path, { method: "POST", body });
      joinedAs = as;
      beatAt = Date.now();
    },
    leave(isPageGone) {
      joinedAs = undefined;
      page = isPageGone ? page : 1;
    },
  });
  return {
    hold: presence.hold,
    identify(fingerprint, email) {
      const before = identity;
      identity = JSON.stringify({ fingerprint: string(fingerprint), email: string(email) });
      if (before !== identity) presence.run();
    },
    turn(to) {
      if (page === to) return;
      page = to;
      presence.run();
    },
  };
}

/** View a link while mounted. Does nothing while the session is "". */
export function useViewerTracking(linkId, sessionId, fingerprint, email) {
  useEffect(() => {
    if (linkId && sessionId) viewerOf(linkId, sessionId).identify(fingerprint, email);
  }, [linkId, sessionId, fingerprint, email]);
  useEffect(() => (linkId && sessionId ? viewerOf(linkId, sessionId).hold() : undefined), [linkId, sessionId]);
  const updatePage = useCallback(
    (page) => {
      if (linkId && sessionId) viewerOf(linkId, sessionId).turn(Number(page));
    },
    [linkId, sessionId],
  );
  return { updatePage };
}

async function loadLink(link) {
  const { metrics, activeViewers } = await get(linkPath(link));
  return { metrics, activeViewers };
}

/** A link's numbers and viewers, for admins. */
export const useRealtimeAnalytics = (linkId, refreshInterval = 5 * SECOND) => usePolled(linkId || null, refreshInterval, loadLink);

// --- Course viewers ------------------------------------------------------------------------------

const courses = new Map(); // one presence for all badges of a course
const MAX_NAMES = 5;
const ALONE = { total: 1, byChapter: {}, viewers: [], error: null };

function courseOf(id) {
  if (!courses.has(id)) courses.set(id, course(`/api/courses/${encode(id)}`));
  return courses.get(id);
}

function course(path) {
  const listeners = new Set();
  const interval = () => Math.max(SECOND, Math.min(BEAT_INTERVAL, ...[...listeners].map((one) => one.refreshInterval ?? BEAT_INTERVAL)));
  let profile = "{}";
  let beatAs;
  let beatAt;
  let namesRefusedWith; // the settings when names were refused
  let user; // as whom the last message was sent
  let headers;
  let state = ALONE;
  const show = (change) => {
    state = { ...state, ...change };
    listeners.forEach(({ onChange }) => onChange(state));
  };
  const leaving = (userId, headers) => {
    const query = { ...(userId && { userId }), sessionId: browserId(VISITOR_KEY), ...stamp() };
    return (mayReturn) => [`${path}/presence/leave?${new URLSearchParams({ ...query, ...(mayReturn && { mayReturn }) })}`, undefined, headers];
  };

  async function beat(arm) {
    const as = profile;
    const sent = JSON.parse(as);
    if (user && user !== sent.userId) await request(leaving(user)()[0], { method: "POST", headers });
    headers = await authorization();
    const body = { ...sent, sessionId: browserId(VISITOR_KEY), ...stamp() };
    user = sent.userId;
    arm(leaving(user, headers));
    const { count } = await request(`${path}/presence`, { method: "POST", headers, body });
    beatAs = as;
    beatAt = Date.now();
    return count;
  }

  async function loadNames() {
    try {
      return (await get(`${path}/viewers?limit=${MAX_NAMES}`)).viewers;
    } catch (error) {
      if (error.wait === MAX_RETRY) namesRefusedWith = settings;
      return [];
    }
  }

  async function load(arm) {
    const isDue = beatAs !== profile || Date.now() - beatAt >= BEAT_INTERVAL * 0.8;
    const total = isDue ? await beat(arm) : state.total;
    const counts = await get(`${path}/viewers/count`).catch(() => ({ total, byChapter: state.byChapter }));
    const wantNames = [...listeners].some((one) => one.showAvatars) && namesRefusedWith !== settings;
    const viewers = wantNames ? await loadNames() : state.viewers;
    show({ total: Math.max(counts.total, 1), byChapter: counts.byChapter, viewers, error: null });
  }

  const presence = repeating({
    every: interval,
    work: load,
    onError(error) {
      warn(error);
      show({ error: messageOf(error) });
    },
    leave() {
      beatAs = undefined;
      user = undefined;
      state = ALONE;
    },
  });
  return {
    get state() {
      return state;
    },
    watch(listener) {
      listeners.add(listener);
      const release = presence.hold();
      return () => {
        listeners.delete(listener);
        release();
      };
    },
    identify(given) {
      if (given === profile) return;
      profile = given;
      presence.run();
    },
  };
}

/** View a course while mounted: the number of viewers, in total and by chapter, and up to five names. */
export function useViewerCount(courseId, { chapterId, user, anonymous, showAvatars, refreshInterval } = {}) {
  const { userId, name, avatar } = user ?? {};
  const [state, setState] = useState({ courseId, value: ALONE });
  const profile = JSON.stringify({
    userId: string(userId),
    userName: string(name),
    userAvatar: string(avatar),
    chapterId: string(chapterId),
    anonymous: anonymous || undefined,
  });
  useEffect(() => {
    if (courseId) courseOf(courseId).identify(profile);
  }, [courseId, profile]);
  useEffect(() => {
    if (!courseId) return undefined;
    const onChange = (value) => setState({ courseId, value });
    onChange(courseOf(courseId).state);
    return courseOf(courseId).watch({ onChange, showAvatars, refreshInterval });
  }, [courseId, showAvatars, refreshInterval]);
  return state.courseId === courseId ? state.value : ALONE;
}

// --- Stream analytics ----------------------------------------------------------------------------

const SOCKET_REFRESH = 30 * SECOND; // for data that socket messages leave out
const SOCKET_HEARTBEAT = 60 * SECOND;
const NO_NUMBERS = {
  currentViewers: 0,
  peakViewers: 0,
  totalViews: 0,
  avgViewDuration: null,
  bandwidth: null,
  latency: null,
  errorRate: null,
  uptime: null,
  chatMessages: null,
  reactions: null,
  shares: null,
  geographicDistribution: {},
  deviceDistribution: {},
  viewerTimeline: [],
  isConnected: false,
  lastUpdated: null,
  error: null,
};

async function socketAddress(path) {
  const { authorization: bearer } = await authorization();
  const { socketUrl = (await request("/dashboard/config.json")).socketUrl } = settings;
  const url = new URL(socketUrl, settings.origin || location.href);
  url.protocol = url.protocol.replace("http", "ws");
  // API Gateway has one address for all sockets: there the path is a parameter.
  if (url.pathname === "/") url.pathname = path;
  else url.searchParams.set("path", path);
  if (bearer) url.searchParams.set("token", bearer.slice("Bearer ".length));
  return url;
}

const loadActive = async () => (await get("/api/streams?status=live")).streams;

async function loadNumbers(streamId) {
  if (streamId) {
    const { success, streamId: _, isConnected, error, ...numbers } = await get(`/api/v1/analytics/real-time/${encode(streamId)}`);
    const viewerTimeline = numbers.viewerTimeline.map((point) => ({ ...point, timestamp: new Date(point.timestamp) }));
    return { ...numbers, viewerTimeline, lastUpdated: new Date(numbers.lastUpdated) };
  }
  const active = await loadActive();
  const sum = (name) => active.reduce((total, stream) => total + stream[name], 0);
  return { currentViewers: sum("currentViewers"), totalViews: sum("totalViews"), activeStreams: active.length, lastUpdated: new Date() };
}

/** Follow one stream, or all together, by polling and over a socket. */
function followStream(streamId, usesSocket, interval, show) {
  let numbers = NO_NUMBERS;
  let isPolled = false; // the last poll succeeded
  let socket;
  let message; // the socket's last message, while it is open
  let settle;
  let isOver = false;

  function update(change) {
    numbers = { ...numbers, ...change, isConnected: isPolled || Boolean(message) };
    show(numbers);
  }

  const polling = repeating({
    every: () => (message ? Math.max(interval, SOCKET_REFRESH) : Math.max(interval, SECOND)),
    async work() {
      const loaded = await loadNumbers(streamId);
      isPolled = true;
      update({ ...loaded, ...message, error: null });
    },
    onError(error) {
      isPolled = false;
      update({ error: messageOf(error) });
    },
  });

  function receive({ data: text }) {
    const { type, data } = attempt(() => JSON.parse(text)) ?? {};
    if (!data || (type !== "metrics" && type !== "analytics")) return;
    message = type === "metrics" ? data : { ...data, currentViewers: data.totalViewers };
    update({ ...message, lastUpdated: new Date() });
    settle?.();
  }

  function close() {
    const closed = socket;
    socket = undefined;
    if (message) {
      message = undefined;
      update({});
      polling.run();
    }
    if (closed) {
      closed.onclose = closed.onmessage = null;
      closed.close();
    }
  }

  /** Wait for the socket's next message. */
  const nextMessage = () =>
    new Promise((resolve, reject) => {
      const timeout = setTimeout(reject, REQUEST_TIMEOUT);
      settle = (isLost) => {
        clearTimeout(timeout);
        settle = undefined;
        if (isLost) reject();
        else resolve();
      };
    });

  // A heartbeat without a response shows that the connection is broken.
  const connection = repeating({
    every: SOCKET_HEARTBEAT,
    async work() {
      if (socket) {
        socket.send('{"type":"heartbeat"}');
      } else {
        const address = await socketAddress(streamId ? `/api/ws/streams/${streamId}/metrics` : "/api/ws/analytics/realtime");
        if (isOver) return;
        socket = new WebSocket(address);
        socket.onmessage = receive;
        socket.onclose = () => {
          close();
          if (settle) settle(true);
          else connection.runWithin(SECOND * (0.5 + Math.random()));
        };
      }
      await nextMessage();
    },
    onError: close,
    leave() {
      close();
      settle?.(true);
    },
  });

  return {
    hold() {
      const releases = [polling.hold(), ...(usesSocket ? [connection.hold()] : [])];
      return () => {
        isOver = true;
        releases.forEach((release) => release());
      };
    },
    refresh: () => polling.run(true),
    fail: (error) => update({ error: messageOf(error) }),
  };
}

/** A stream's numbers, or without a `streamId` those of all streams together, for admins. */
export function useRealTimeAnalytics({ streamId, enabled = true, enableWebSocket = true, pollingInterval = 5 * SECOND } = {}) {
  const key = enabled ? `${streamId ?? ""}` : null;
  const follow = (show) => followStream(key, enableWebSocket, pollingInterval, (numbers) => show({ numbers }));
  const [shown, feed] = useHeld(key, follow, enableWebSocket, pollingInterval);
  const refresh = useCallback(async () => feed.current?.refresh(), []);
  const getActiveStreams = useCallback(
    () =>
      loadActive().catch((error) => {
        feed.current?.fail(error);
        return [];
      }),
    [],
  );
  const data = shown.numbers ?? NO_NUMBERS;
  return { data, isConnected: data.isConnected, refresh, getActiveStreams };
}

// --- Site traffic --------------------------------------------------------------------------------

let siteUser;
let stopSite;

const site = repeating({
  async work() {
    const headers = siteUser ? await authorization() : undefined;
    const body = { sessionId: browserId(SITE_SESSION_KEY), userId: siteUser ?? null, pagePath: location.pathname };
    await request("/api/heartbeats", { method: "POST", headers, body });
  },
});

/** Be on the site, as this user or (null) anonymously. */
export function startHeartbeat(userId) {
  if (!inBrowser || stopSite) return;
  siteUser = string(userId) ?? null;
  stopSite = site.hold();
}

/** Stop beating: the session ends 60 s after its last beat. */
export function stopHeartbeat() {
  stopSite?.();
  stopSite = undefined;
}

/** The user has signed in, or (null) out. */
export function updateHeartbeatUser(userId) {
  stopHeartbeat();
  startHeartbeat(userId);
  site.run();
}

const loadTraffic = async () => (await get("/rest/v1/rpc/get_live_traffic"))[0] ?? null;

/** The site's live traffic, for admins. */
export const useLiveTraffic = (interval = 10 * SECOND) => usePolled("site", interval, loadTraffic);
