// Hears the count of a space between beats, over a WebSocket. headcount.js and the elements load it when
// somebody subscribes: a page holds one socket per space, however many show its count. It also opens the socket of
// a tab that is present by one.
//
// Fires `headcount-stale` on window when neither it nor a beat brought a count in time; the next `headcount`
// ends that. What it does when a socket fails, is silent or old, or the tab is hidden: docs/client.md.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const TICK = SECOND;
const FIRST_RETRY = 2 * SECOND;
const MAX_RETRY = 5 * MINUTE;
const FIRST_COUNT = 20 * SECOND; // a socket without one by then does not work
const OVERDUE = 10 * SECOND; // of a beat's count: so long its retry may take
const DIALLING = 20 * SECOND;
const PONG = 15 * SECOND;
const MAX_SILENCE = 9 * MINUTE; // API Gateway closes a socket after 10 minutes without a message in either direction
const MAX_AGE = 105 * MINUTE; // and every socket after 2 hours
const MAX_HIDDEN = 5 * MINUTE; // nobody looks: the beats' counts are enough
const NO_SOCKETS = 60 * MINUTE; // until a site without a WebSocket API is asked again

// Shared by all copies of this file in the page:
const lines = (globalThis[Symbol.for("headcount:live")] ??= new Map());

/**
 * Hear a space's count from now on. Listening again with the same channel changes nothing. A channel has
 *
 * - `space`, `endpoint`, and `socketUrl` if it is known;
 * - `show({type: "count", count, version, ...})`, which is called with each count;
 * - `wanted()`: whether a socket is to be open, and `ended` once it never is again;
 * - optionally `due()`: when the next beat is, by the clock; without it, staleness is not reported;
 * - optionally `authorization()`: a promise of headers; by default with the token of headcount.js.
 *
 * Its `open` is set to whether a socket brings counts, and `toggled()`, if it has one, called when that changes.
 */
export function listen(channel) {
  const key = JSON.stringify([channel.space, new URL(channel.endpoint).origin]);
  if (!lines.has(key)) lines.set(key, line(channel, () => lines.delete(key)));
  lines.get(key).add(channel);
}

async function sharedToken() {
  const { token } = globalThis[Symbol.for("headcount")] ?? {};
  const bearer = typeof token === "function" ? await token() : token;
  return bearer ? { authorization: `Bearer ${bearer}` } : {};
}

/** A socket's address with these fields; undefined if the site has no sockets. `site.socketUrl` is kept. */
async function addressOf(site, fields) {
  site.socketUrl ??= (await (await fetch(new URL("/dashboard/config.json", site.endpoint))).json()).socketUrl ?? "";
  if (!site.socketUrl) return undefined;
  const url = new URL(site.socketUrl, site.endpoint);
  url.protocol = url.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries(fields))
    if (value != null) url.searchParams.set(name, typeof value === "object" ? JSON.stringify(value) : value);
  return url;
}

/** Open the socket that holds a session. Fails if it does not open in time. */
export async function dial(site, fields) {
  const url = await addressOf(site, fields);
  if (!url) throw new Error("no WebSocket API");
  const socket = new WebSocket(url);
  const timeout = setTimeout(() => socket.close(), DIALLING);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = reject;
  }).finally(() => clearTimeout(timeout));
  return socket;
}

function line({ space, endpoint, socketUrl, authorization = sharedToken }, onEnd) {
  const site = { endpoint, socketUrl };
  const channels = new Set();
  let socket; // the one that hears, or is to
  let next; // the one that replaces it
  let connecting = false;
  let latest; // the last count that was heard
  let failures = 0;
  let retryAt = 0;
  let hiddenAt = 0;
  let dueAt = Infinity; // when a beat's count is expected
  let isFresh = false; // a count came since the last tick
  let isStale = false; // and none came in time
  const timer = setInterval(tick, TICK);

  function setOpen() {
    const open = Boolean(socket?.heardAt);
    for (const one of channels) {
      const before = one.open ?? false;
      one.open = open;
      if (before !== open) one.toggled?.();
    }
  }

  async function address() {
    const { authorization: bearer } = await authorization();
    return addressOf(site, { space, listen: "count", token: bearer?.slice(7) });
  }

  async function connect() {
    connecting = true;
    const url = await address().catch(() => null);
    connecting = false;
    if (!isWanted()) return;
    if (!url) {
      postpone(url === undefined && NO_SOCKETS);
      return;
    }
    const opened = new WebSocket(url);
    opened.at = opened.activeAt = Date.now();
    opened.lives = MAX_AGE * (0.9 + Math.random() / 10);
    opened.onmessage = ({ data }) => receive(opened, data);
    opened.onclose = () => lose(opened);
    if (socket) next = opened;
    else socket = opened;
  }

  const isWanted = () => [...channels].some((one) => one.wanted());

  /** Jitter, because a thousand tabs that lost their sockets at once must not come back at once. */
  function postpone(delay) {
    retryAt = Date.now() + (delay || Math.min(MAX_RETRY, FIRST_RETRY * 2 ** failures++) * (0.5 + Math.random() / 2));
  }

  function receive(from, data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    from.activeAt = Date.now();
    from.pinged = false;
    if (message.type !== "count" || message.space !== space || message.version < from.version) return;
    if (from === next) {
      drop(socket);
      socket = next;
      next = undefined;
    }
    if (from !== socket) return;
    from.version = message.version;
    from.heardAt = from.activeAt;
    latest = message;
    setOpen();
    for (const one of channels) one.show(message);
  }

  function drop(dropped) {
    if (!dropped) return;
    dropped.onmessage = dropped.onclose = null;
    dropped.close();
  }

  /** A socket closed, or does not work. */
  function lose(lost) {
    drop(lost);
    if (lost === next) next = undefined;
    if (lost !== socket) return;
    if (Date.now() - lost.at > MINUTE) failures = 0;
    socket = next;
    next = undefined;
    setOpen();
    postpone();
  }

  function pause() {
    drop(socket);
    drop(next);
    socket = next = undefined;
    retryAt = 0;
    setOpen();
  }

  // By the clock, because timers stop while a computer sleeps.
  function tick() {
    const now = Date.now();
    for (const one of channels) if (one.ended) channels.delete(one);
    if (!channels.size) {
      pause();
      clearInterval(timer);
      removeEventListener("headcount", onCount);
      onEnd();
      return;
    }
    checkBeat(now);
    hiddenAt = document.hidden ? hiddenAt || now : 0;
    if (!isWanted() || (hiddenAt && now - hiddenAt > MAX_HIDDEN)) {
      if (socket) pause();
      return;
    }
    if (!socket) {
      if (now >= retryAt && !connecting) connect();
      return;
    }
    for (const one of [socket, next]) if (one && !one.heardAt && now - one.at > FIRST_COUNT) lose(one);
    if (!socket) return;
    const silence = now - socket.activeAt;
    if (silence > MAX_SILENCE + PONG) lose(socket); // also after the computer slept
    else if (silence > MAX_SILENCE && !socket.pinged && socket.readyState === WebSocket.OPEN) {
      socket.pinged = true;
      socket.send('{"action":"ping"}');
    } else if (now - socket.at > socket.lives && !next && !connecting) {
      socket.lives += MINUTE; // if this fails, try again then
      connect();
    }
  }

  /** A beat that is tried again is still the one that was due. */
  function checkBeat(now) {
    const due = Math.min(...[...channels].map((one) => one.due?.() ?? Infinity));
    dueAt = isFresh ? due : Math.min(dueAt, due || Infinity);
    isFresh = false;
    if (isStale || socket?.heardAt || now < dueAt + OVERDUE) return;
    isStale = true;
    dispatchEvent(new CustomEvent("headcount-stale", { detail: { space } }));
  }

  function onCount({ detail }) {
    if (detail.space !== space) return;
    isFresh = true;
    isStale = false;
    if (!socket) setTimeout(tick); // the client schedules its next beat first
  }

  addEventListener("headcount", onCount);
  queueMicrotask(tick);
  return {
    get isOpen() {
      return Boolean(socket?.heardAt);
    },
    tick,
    pause,
    online() {
      retryAt = failures = 0;
      tick();
    },
    add(channel) {
      if (channels.has(channel)) return;
      channels.add(channel);
      setOpen();
      if (channel.open) queueMicrotask(() => channel.show(latest));
    },
  };
}

if (typeof document === "object" && !lines.watched) {
  lines.watched = true;
  const each = (name) => () => lines.forEach((one) => one[name]());
  addEventListener("online", each("online"));
  addEventListener("pagehide", each("pause")); // a page with an open socket may not come back from the back/forward cache
  addEventListener("pageshow", each("tick"));
  document.addEventListener("visibilitychange", each("tick"));
}
