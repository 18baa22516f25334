"use client";
// Headcount's React hooks: the old systems' hooks and services, on Headcount's API.
//
//   import { configure, useViewerTracking } from "./headcount-react.js";
//   configure({ origin: "https://<api>" });
//
// Never throws into rendering, touches no window at import. Every hook: headcount-react.d.ts and
// docs/react.md.

import { useCallback, useEffect, useRef, useState } from "react";

const SECOND = 1000;
const BEAT = 30 * SECOND;
const FIRST_RETRY = 2 * SECOND;
const LONGEST_RETRY = 60 * SECOND;
const ANSWER_WITHIN = 20 * SECOND;
const PROGRESS_EVERY = 5 * SECOND;
const LONGEST_TIMER = 2 ** 31 - 1;
const PASSING = [408, 425, 429]; // of the 4xx, these mend themselves
const VISITOR = "headcount:visitor";
const TAB = "headcount:tab";
const SITE_SESSION = "heartbeat_session_id"; // the old service's own: its visitors stay the same

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

// A bundler's own address may be a file's: then it is the page's origin.
const ownOrigin = attempt(() => new URL(import.meta.url).origin.replace("null", "")) ?? "";
let settings = { origin: ownOrigin };
const running = new Set(); // all that repeats

/** Say where the API is, and who asks. What is left out stays as it was. */
export function configure(change) {
  const given = Object.entries(change ?? {}).filter(([, value]) => value !== undefined);
  if (!given.some(([name, value]) => settings[name] !== value)) return;
  settings = { ...settings, ...Object.fromEntries(given) };
  settings.origin = String(settings.origin ?? "").replace(/\/+$/, "");
  running.forEach((one) => one.run());
}

async function authorization() {
  const { token } = settings;
  const bearer = typeof token === "function" ? await token() : token;
  return bearer ? { authorization: `Bearer ${bearer}` } : {};
}

/** The answer's body, or an error with a sentence for people. Without headers no browser asks for permission first. */
async function request(path, { body, ...options } = {}) {
  const signal = AbortSignal.timeout?.(ANSWER_WITHIN);
  const sent = { signal, body: body && JSON.stringify(body), ...options };
  const answer = await fetch(settings.origin + path, sent).catch(() => {
    throw new Error("Headcount can't be reached.");
  });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const error = new Error(said.error ?? said.message ?? `HTTP ${answer.status}`);
  const isLate = answer.status === 401 && typeof settings.token === "function";
  const passes = answer.status > 499 || PASSING.includes(answer.status) || isLate;
  throw Object.assign(error, { wait: passes ? answer.headers.get("retry-after") * SECOND || 0 : LONGEST_RETRY });
}

const get = async (path) => request(path, { headers: await authorization() });

const wordsOf = (error) => error?.message || String(error);

// --- What repeats --------------------------------------------------------------------------------

const each = (name, ...given) => running.forEach((one) => one[name](...given));

let listen = () => {
  listen = () => {};
  document.addEventListener("visibilitychange", () => each("look"));
  addEventListener("pagehide", () => each("look", true));
  addEventListener("pageshow", ({ persisted }) => persisted && each("look", false)); // from the browser's cache
  addEventListener("online", () => each("run"));
};

/**
 * Do the work while somebody holds it: at once, then every so many milliseconds, one at a time, and
 * less often while it fails. When the last holder is gone, or the page, `leave`.
 *
 * A hidden tab's timers are slowed down to one a minute, so it has to `pause`, `leave` or be able to
 * `beat` so rarely.
 */
function repeating({ work, every = BEAT, leave = () => {}, hidden = "pause" }) {
  let holders = 0;
  let gone = false; // the page
  let here = false;
  let begun = false; // since the last leave
  let busy;
  let again;
  let leaving;
  let timer;
  let due = Infinity;
  let asked = Infinity;
  let failures = 0;

  function arm(delay) {
    clearTimeout(timer);
    due = Date.now() + delay;
    if (here && delay <= LONGEST_TIMER) timer = setTimeout(run, delay);
  }

  async function pass(isDue) {
    asked = Infinity;
    let delay;
    try {
      await leaving; // a leave that is overtaken would end what comes after it
      if (!isDue()) {
        busy = undefined;
        return;
      }
      begun = true;
      await work();
      failures = 0;
      // A little early, so that a thousand tabs opened at once do not go on as one.
      delay = (typeof every === "function" ? every() : every) * (0.9 + Math.random() / 10);
    } catch (error) {
      const longer = Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** failures++);
      delay = Math.max(error?.wait ?? 0, longer) * (0.5 + Math.random() / 2);
    }
    busy = undefined;
    if (begun) arm(failures ? delay : Math.min(delay, Math.max(asked - Date.now(), 0)));
    else if (!here) depart(); // what was under way may have come after the leave
  }

  /** Now, or right after what is under way: then this is settled when that is done as well. */
  function run(evenHidden) {
    const isDue = () => here || (evenHidden === true && holders > 0 && !gone);
    if (!isDue()) return Promise.resolve();
    if (busy) {
      again ??= busy.then(() => {
        again = undefined;
        return run(evenHidden);
      });
      return again;
    }
    clearTimeout(timer);
    busy = pass(isDue);
    return busy;
  }

  function depart() {
    begun = false;
    leaving = (async () => leave(gone))().catch(() => {});
  }

  function look(isGone = gone) {
    gone = isGone;
    const before = here;
    here = holders > 0 && !gone && !(document.hidden && hidden !== "beat");
    if (here && !before) run();
    if (here) return;
    clearTimeout(timer);
    if (begun && (!holders || gone || hidden === "leave")) depart();
    if (!holders) running.delete(self);
  }

  const self = {
    run,
    look,
    /** Have it done within so many milliseconds; while it fails, when it is tried again. */
    ask(delay) {
      if (failures) return;
      asked = Math.min(asked, Date.now() + delay);
      if (here && !busy && asked < due) arm(Math.max(asked - Date.now(), 0));
    },
    /** Gives the release. Both are looked at a moment later: who mounts twice, or moves, has stayed. */
    hold() {
      let held = true;
      holders += 1;
      running.add(self);
      listen();
      queueMicrotask(look);
      return () => {
        if (!held) return;
        held = false;
        holders -= 1;
        queueMicrotask(look);
      };
    },
  };
  return self;
}

/** Load again and again: `{data, loading, error, refresh}` of this key; null: nothing. */
function usePolled(key, interval, load) {
  const [state, setState] = useState({});
  const poller = useRef(null);
  useEffect(() => {
    if (key === null) return undefined;
    let isMounted = true;
    const show = (change) => isMounted && setState((old) => ({ ...(old.key === key ? old : { key }), error: null, ...change }));
    const work = async () => {
      try {
        show({ data: await load(key) });
      } catch (error) {
        show({ error: wordsOf(error) });
        throw error;
      }
    };
    poller.current = repeating({ work, every: Math.max(interval, SECOND) });
    const release = poller.current.hold();
    return () => {
      isMounted = false;
      release();
    };
  }, [key, interval]);
  const refresh = useCallback(async () => poller.current?.run(true), []);
  const shown = state.key === key ? state : {};
  return { data: shown.data ?? null, loading: key !== null && !("error" in shown), error: shown.error ?? null, refresh };
}

// --- Ids -----------------------------------------------------------------------------------------

const uuid = () =>
  crypto.randomUUID?.() ?? // only there on https and localhost
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

const made = {}; // where storage is forbidden, ids last as long as the page

/** This browser's id of that name. */
function kept(name) {
  made[name] ??= attempt(() => localStorage.getItem(name)) || uuid();
  attempt(() => localStorage.setItem(name, made[name]));
  return made[name];
}

// The tab's id is in sessionStorage only while no page of the tab is open: a duplicated tab starts
// from a copy of the storage, and would otherwise take the id of the tab it was made from.
function tab() {
  if (!made[TAB]) {
    made[TAB] = attempt(() => sessionStorage.getItem(TAB)) || uuid();
    attempt(() => sessionStorage.removeItem(TAB));
    addEventListener("pagehide", () => attempt(() => sessionStorage.setItem(TAB, made[TAB])));
    addEventListener("pageshow", () => attempt(() => sessionStorage.removeItem(TAB)));
  }
  return made[TAB];
}

// --- Live activity -------------------------------------------------------------------------------

const ACTIVITY = "/api/analytics/live-activity";
let doing = { type: "browsing" };
let saidAt = 0;
let activityUser;
let stopActivity;

const kindOf = ({ currentPosition, duration, ...rest }) => JSON.stringify(rest);
const whole = (seconds) => (Number.isFinite(seconds) ? Math.round(seconds) : undefined);

const activity = repeating({
  hidden: "leave",
  async work() {
    // A token speaks for its own user only, and the anonymous id is none.
    const headers = settings.userId ? await authorization() : undefined;
    const { type, currentPosition, duration, ...rest } = doing;
    const { userId, sessionId } = analyticsService.getUserSession();
    activityUser = userId;
    saidAt = Date.now();
    const place = { currentPosition: whole(currentPosition), duration: whole(duration) };
    await request(ACTIVITY, { method: "POST", headers, body: { ...rest, ...place, activityType: type, userId, sessionId } });
  },
  leave: () => request(`${ACTIVITY}?id=${encode(`live_${activityUser}_${tab()}`)}`, { method: "DELETE", keepalive: true }),
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
  /** All that somebody is doing now: progress is sent every 5 s, anything else at once. */
  updateActivity(given) {
    const before = kindOf(doing);
    doing = { type: "browsing", ...given };
    if (kindOf(doing) !== before) activity.run();
    else activity.ask(saidAt + PROGRESS_EVERY - Date.now());
  },
  getUserSession() {
    return inBrowser ? { userId: String(settings.userId || kept(VISITOR)), sessionId: tab() } : null;
  },
};

const analytics = { ...analyticsService, analyticsService };

/** Active while mounted. The props besides are `configure`'s. */
export function AnalyticsProvider({ children, origin, token, userId, socketUrl }) {
  useEffect(() => configure({ origin, token, userId, socketUrl }), [origin, token, userId, socketUrl]);
  useEffect(() => activity.hold(), []);
  return children ?? null;
}

export const useAnalytics = () => analytics;

/** What a player calls while somebody watches this; unmounted, they browse. */
export function useWatchProgress(content) {
  const latest = useRef(content);
  useEffect(() => {
    latest.current = content;
  });
  const [handlers] = useState(() => {
    let watches = false;
    const report = (currentPosition, duration) => {
      watches = true;
      analyticsService.updateActivity({ ...latest.current, type: "watching", currentPosition, duration });
    };
    const handleWatchEnd = () => {
      if (watches) analyticsService.updateActivity({ type: "browsing" });
      watches = false;
    };
    return { handleWatchStart: report, handleProgress: report, handleWatchEnd };
  });
  useEffect(() => handlers.handleWatchEnd, [handlers]);
  return handlers;
}

// --- Link analytics ------------------------------------------------------------------------------

const viewers = new Map(); // by link and session

const linkPath = (link) => `/api/send/realtime/${encode(link)}`;

function viewerOf(link, sessionId) {
  const name = JSON.stringify([link, sessionId]);
  if (!viewers.has(name)) viewers.set(name, viewer(linkPath(link), sessionId));
  return viewers.get(name);
}

function viewer(path, sessionId) {
  let who;
  let joinedAs;
  let heardAt;
  let page = 1;
  const say = (message, options) => request(path, { method: "POST", body: { ...message, sessionId }, ...options });
  const presence = repeating({
    hidden: "beat",
    async work() {
      // After a long sleep nobody may know this session any more.
      const isNew = joinedAs !== who || Date.now() - heardAt > 2 * LONGEST_RETRY;
      const name = who;
      await say(isNew ? { action: "join", ...JSON.parse(name), currentPage: page } : { action: "heartbeat", currentPage: page });
      joinedAs = name;
      heardAt = Date.now();
    },
    leave(isPageGone) {
      joinedAs = undefined;
      const url = settings.origin + path;
      if (isPageGone && attempt(() => navigator.sendBeacon(url, JSON.stringify({ action: "leave", sessionId })))) return undefined;
      page = isPageGone ? page : 1;
      return say({ action: "leave" }, { keepalive: true });
    },
  });
  return {
    hold: presence.hold,
    is(fingerprint, email) {
      const before = who;
      who = JSON.stringify({ fingerprint: fingerprint || undefined, email: email || undefined });
      if (before !== who) presence.run();
    },
    turn(to) {
      if (page === to) return;
      page = to;
      presence.run();
    },
  };
}

/** View a link while mounted. Nothing happens while the session is "". */
export function useViewerTracking(linkId, sessionId, fingerprint, email) {
  useEffect(() => {
    if (linkId && sessionId) viewerOf(linkId, sessionId).is(fingerprint, email);
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
const NAMES = 5;
const ALONE = { total: 1, byChapter: {}, viewers: [], error: null };

function courseOf(id) {
  if (!courses.has(id)) courses.set(id, course(`/api/courses/${encode(id)}`));
  return courses.get(id);
}

function course(path) {
  const listeners = new Set();
  const pace = () => Math.max(SECOND, Math.min(BEAT, ...[...listeners].map((one) => one.refreshInterval ?? BEAT)));
  let me = "{}";
  let beatAs;
  let beatAt;
  let refusedAt; // with these settings names are not shown
  let headers;
  let state = ALONE;
  const show = (change) => {
    state = { ...state, ...change };
    listeners.forEach(({ hear }) => hear(state));
  };
  const remove = (said) => {
    const { userId } = JSON.parse(said ?? "{}");
    const query = new URLSearchParams({ ...(userId && { userId }), sessionId: kept(VISITOR) });
    return request(`${path}/presence?${query}`, { method: "DELETE", headers, keepalive: true });
  };

  async function beat() {
    const before = JSON.parse(beatAs ?? "{}").userId;
    const said = me;
    const body = { ...JSON.parse(said), sessionId: kept(VISITOR) };
    if (before && before !== body.userId) await remove(beatAs);
    headers = await authorization();
    const { count } = await request(`${path}/presence`, { method: "POST", headers, body });
    beatAs = said;
    beatAt = Date.now();
    return count;
  }

  async function names() {
    try {
      return (await get(`${path}/viewers?limit=${NAMES}`)).viewers;
    } catch (error) {
      if (error.wait === LONGEST_RETRY) refusedAt = settings;
      return [];
    }
  }

  async function look() {
    const isDue = beatAs !== me || Date.now() - beatAt >= BEAT * 0.8;
    const total = isDue ? await beat() : state.total;
    const counted = await get(`${path}/viewers/count`).catch(() => ({ total, byChapter: state.byChapter }));
    const wanted = [...listeners].some((one) => one.showAvatars) && refusedAt !== settings;
    const viewers = wanted ? await names() : state.viewers;
    show({ total: Math.max(counted.total, 1), byChapter: counted.byChapter, viewers, error: null });
  }

  const presence = repeating({
    every: pace,
    async work() {
      try {
        await look();
      } catch (error) {
        show({ error: wordsOf(error) });
        throw error;
      }
    },
    leave() {
      const said = beatAs;
      beatAs = undefined;
      state = ALONE;
      return remove(said);
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
    is(said) {
      if (said === me) return;
      me = said;
      presence.run();
    },
  };
}

/** View a course while mounted: how many do, also by chapter, and who, where the reader may see it. */
export function useViewerCount(courseId, { chapterId, user, anonymous, showAvatars, refreshInterval } = {}) {
  const { userId, name, avatar } = user ?? {};
  const [state, setState] = useState({ courseId, value: ALONE });
  const me = JSON.stringify({
    userId: userId ? String(userId) : undefined,
    userName: name || undefined,
    userAvatar: avatar || undefined,
    chapterId: chapterId || undefined,
    anonymous: anonymous || undefined,
  });
  useEffect(() => {
    if (courseId) courseOf(courseId).is(me);
  }, [courseId, me]);
  useEffect(() => {
    if (!courseId) return undefined;
    const hear = (value) => setState({ courseId, value });
    hear(courseOf(courseId).state);
    return courseOf(courseId).watch({ hear, showAvatars, refreshInterval });
  }, [courseId, showAvatars, refreshInterval]);
  return state.courseId === courseId ? state.value : ALONE;
}

// --- Stream analytics ----------------------------------------------------------------------------

const QUIET_REFRESH = 30 * SECOND; // what a socket does not say, while it says the rest
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
  // API Gateway's own sockets have one address; there the path is a parameter.
  if (url.pathname === "/") url.pathname = path;
  else url.searchParams.set("path", path);
  if (bearer) url.searchParams.set("token", bearer.slice("Bearer ".length));
  return url;
}

const loadActive = async () => (await get("/api/streams?status=live")).streams;

async function loadNumbers(streamId) {
  if (streamId) {
    const { success, streamId: _, isConnected, error, ...said } = await get(`/api/v1/analytics/real-time/${encode(streamId)}`);
    const viewerTimeline = said.viewerTimeline.map((point) => ({ ...point, timestamp: new Date(point.timestamp) }));
    return { ...said, viewerTimeline, lastUpdated: new Date(said.lastUpdated) };
  }
  const active = await loadActive();
  const sum = (name) => active.reduce((total, stream) => total + stream[name], 0);
  return { currentViewers: sum("currentViewers"), totalViews: sum("totalViews"), activeStreams: active.length, lastUpdated: new Date() };
}

/** Follow a stream, or all of them, by polling and by a socket. */
function following(streamId, usesSocket, interval, show) {
  let numbers = NO_NUMBERS;
  let isReached = false; // the last poll was answered
  let socket;
  let frame; // what the socket said last, while it is there
  let settle;
  let isOver = false;

  function update(change) {
    numbers = { ...numbers, ...change, isConnected: isReached || Boolean(frame) };
    show(numbers);
  }

  const polling = repeating({
    every: () => (frame ? Math.max(interval, QUIET_REFRESH) : Math.max(interval, SECOND)),
    async work() {
      try {
        const said = await loadNumbers(streamId);
        isReached = true;
        update({ ...said, ...frame, error: null });
      } catch (error) {
        isReached = false;
        update({ error: wordsOf(error) });
        throw error;
      }
    },
  });

  function hear({ data }) {
    const { type, data: said } = attempt(() => JSON.parse(data)) ?? {};
    if (!said || (type !== "metrics" && type !== "analytics")) return;
    frame = type === "metrics" ? said : { ...said, currentViewers: said.totalViewers };
    update({ ...frame, lastUpdated: new Date() });
    settle?.();
  }

  function drop() {
    const was = socket;
    socket = undefined;
    if (frame) {
      frame = undefined;
      update({});
      polling.run();
    }
    if (was) {
      was.onclose = was.onmessage = null;
      was.close();
    }
  }

  /** Wait for the socket's next message. */
  const answered = () =>
    new Promise((resolve, reject) => {
      const limit = setTimeout(reject, ANSWER_WITHIN, new Error("The socket is silent."));
      settle = (error) => {
        clearTimeout(limit);
        settle = undefined;
        if (error) reject(error);
        else resolve();
      };
    });

  // A heartbeat that stays without an answer is how a line that was cut is noticed.
  const line = repeating({
    every: SOCKET_HEARTBEAT,
    async work() {
      try {
        if (socket) {
          socket.send('{"type":"heartbeat"}');
        } else {
          const path = streamId ? `/api/ws/streams/${streamId}/metrics` : "/api/ws/analytics/realtime";
          const address = await socketAddress(path);
          if (isOver) return;
          const opened = new WebSocket(address);
          socket = opened;
          opened.onmessage = hear;
          opened.onclose = () => {
            drop();
            if (settle) settle(new Error("The socket was closed."));
            else line.ask(SECOND * (0.5 + Math.random()));
          };
        }
        await answered();
      } catch (error) {
        drop();
        throw error;
      }
    },
    leave() {
      drop();
      settle?.(new Error("Not wanted any more."));
    },
  });

  return {
    hold() {
      const releases = [polling.hold(), ...(usesSocket ? [line.hold()] : [])];
      return () => {
        isOver = true;
        releases.forEach((release) => release());
      };
    },
    refresh: () => polling.run(true),
    complain: (error) => update({ error: wordsOf(error) }),
  };
}

/** A stream's numbers, or without a `streamId` those of all, for admins. */
export function useRealTimeAnalytics({ streamId, enabled = true, enableWebSocket = true, pollingInterval = 5 * SECOND } = {}) {
  const key = enabled ? `${streamId ?? ""}` : null;
  const [state, setState] = useState({});
  const feed = useRef(null);
  useEffect(() => {
    if (key === null) return undefined;
    let isMounted = true;
    const one = following(key, enableWebSocket, pollingInterval, (numbers) => isMounted && setState({ key, numbers }));
    feed.current = one;
    const release = one.hold();
    return () => {
      isMounted = false;
      feed.current = null;
      release();
    };
  }, [key, enableWebSocket, pollingInterval]);
  const refresh = useCallback(async () => feed.current?.refresh(), []);
  const getActiveStreams = useCallback(
    () =>
      loadActive().catch((error) => {
        feed.current?.complain(error);
        return [];
      }),
    [],
  );
  const data = key !== null && state.key === key ? state.numbers : NO_NUMBERS;
  return { data, isConnected: data.isConnected, refresh, getActiveStreams };
}

// --- Site traffic --------------------------------------------------------------------------------

let siteUser;
let stopSite;

const site = repeating({
  async work() {
    const headers = siteUser ? await authorization() : undefined;
    const body = { sessionId: kept(SITE_SESSION), userId: siteUser ?? null, pagePath: location.pathname };
    await request("/api/heartbeats", { method: "POST", headers, body });
  },
});

/** Be on the site, as this user or (null) anonymously. */
export function startHeartbeat(userId) {
  if (!inBrowser || stopSite) return;
  siteUser = userId || null;
  stopSite = site.hold();
}

/** Beat no more: the session is over 60 s after its last beat. */
export function stopHeartbeat() {
  stopSite?.();
  stopSite = undefined;
}

/** Somebody signed in, or (null) out. */
export function updateHeartbeatUser(userId) {
  stopHeartbeat();
  startHeartbeat(userId);
  site.run();
}

const loadTraffic = async () => (await get("/rest/v1/rpc/get_live_traffic"))[0] ?? null;

/** The site's live traffic, for admins. */
export const useLiveTraffic = (interval = 10 * SECOND) => usePolled("site", interval, loadTraffic);
