// Headcount's client: reports "I am still here, and this is what I am doing" for one tab.
//
//   <script type="module" src="https://<api>/headcount.js" data-space="site:main"></script>
//
// Fires events on window: `headcount` with each {space, count, version} that is received, `headcount-notice`
// when a message to everyone starts or ends, `headcount-removed` when an admin removed this person,
// `headcount-withheld` when only admins may read the count, `headcount-stopped` when the client gives up because the
// page is wrong.
// Never throws into the page. Every option and function: headcount.d.ts and docs/client.md.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const FIRST_RETRY = 2 * SECOND;
const MAX_RETRY = 60 * SECOND;
const REQUEST_TIMEOUT = 20 * SECOND;
const PROGRESS_INTERVAL = 5 * SECOND;
const MAX_SILENCE = 9 * MINUTE; // API Gateway closes a socket after 10 silent minutes
const MAX_SOCKET_AGE = 105 * MINUTE; // and every socket after 2 hours
const MAX_FAILURES = 3; // consecutive sockets that did not open or did not last
const CLOSE_WITHOUT_LEAVE = 4000; // the next page may continue the session
const CHECK_INTERVAL = 10 * SECOND;
const RETURN_WINDOW = 10 * SECOND; // as long as the server lets a visit continue
const RESTORE_DELAY = 200;
const SCAN_DELAY = 100;
const MAX_TIMER = 2 ** 31 - 1;
const MAX_TEXT = 999; // the server stores at most a third of that
const RETRYABLE = [408, 425, 429]; // the 4xx that go away by themselves
const VISITOR_KEY = "headcount:visitor";
const SINCE_KEY = "headcount:visitor-since"; // when its id was made, or first seen with a time
const NEW_FOR = 30 * MINUTE; // after its id was made, a browser's visitor counts as new
const VISITOR_FOR = 395 * 86_400_000; // 13 months: then the browser is a new visitor
const TAB_KEY = "headcount:page"; // in sessionStorage
const LEFT_KEY = "headcount:left"; // in localStorage

const inBrowser = typeof document === "object";

const attempt = (action) => {
  try {
    return action();
  } catch {
    return undefined;
  }
};

// Shared by all copies of this file in the page:
const key = Symbol.for("headcount");
const isFirst = !globalThis[key];
const here = (globalThis[key] ??= {
  spaces: new Map(), // by their address in the API
  scripts: new Map(), // those that embed the client: their attributes and presences
  defaults: {}, // the options of the page's first space apply to spaces that set none
  consented: false, // start() was called
  person: {},
  token: undefined,
});
const { spaces, scripts } = here;

// Shared by all frames of a tab that may look into each other: in the outermost of them.
let outermost = globalThis;
attempt(() => {
  while (outermost.parent !== outermost && outermost.parent.document) outermost = outermost.parent;
});
const tab = (outermost[Symbol.for("headcount:tab")] ??= {
  id: undefined, // if it was kept before
  restoredAt: 0, // from the back/forward cache
  sessions: undefined, // by their space's address
  frames: {}, // by a space's address: of those that want to be present in it, the first is
});

const announce = (type, detail) => dispatchEvent(new CustomEvent(type, { detail }));

const text = (value) => (value == null || value === "" ? undefined : String(value).slice(0, MAX_TEXT));

// JSON leaves out what is undefined.
const texts = (values) => Object.fromEntries(Object.entries(values ?? {}).map(([name, value]) => [name, text(value)]));

const uuid = () =>
  crypto.randomUUID?.() ?? // only on https and localhost
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

// Storage may be forbidden: then the visitor is new with every page.
const visitor = () =>
  attempt(() => {
    const since = Number(localStorage.getItem(SINCE_KEY)) || Date.now();
    const known = Date.now() - since < VISITOR_FOR && localStorage.getItem(VISITOR_KEY);
    const id = known || uuid();
    localStorage.setItem(VISITOR_KEY, id);
    localStorage.setItem(SINCE_KEY, known ? since : Date.now());
    return id;
  });

/** How a visit came about: facets that stay the same while it lasts. */
const origin = (entry) => {
  const campaign = [...new URLSearchParams(location.search)].filter(([name]) => /^utm_(source|medium|campaign)$/.test(name));
  const host = attempt(() => new URL(document.referrer).host);
  return {
    ...Object.fromEntries(campaign),
    referrer: host === location.host ? "" : host,
    entry,
    visitor: visitor() && (Date.now() - localStorage.getItem(SINCE_KEY) < NEW_FOR ? "new" : "returning"),
  };
};

// Where storage is forbidden, only the tab's name outlives the page. It has to be set before the page closes.
const isForbidden = inBrowser && !attempt(() => [sessionStorage.length, localStorage.length]);

/** The tabs whose page has closed and that no page has continued yet, by their ids. */
const left = () =>
  Object.entries(JSON.parse(localStorage.getItem(LEFT_KEY)) ?? {}).filter(([, { at }]) => Date.now() - at < RETURN_WINDOW);

const storeLeft = (tabs) => localStorage.setItem(LEFT_KEY, JSON.stringify(tabs));

/** Keep the tab's sessions for its next page. Returns whether that is possible. */
function keepTab() {
  const { id = uuid(), sessions } = tab;
  if (isForbidden) {
    if (outermost.name && !outermost.name.startsWith(TAB_KEY)) return false;
    outermost.name = TAB_KEY + JSON.stringify(sessions);
    return true;
  }
  return attempt(() => {
    storeLeft(Object.fromEntries([...left(), [id, { at: Date.now(), sessions }]]));
    sessionStorage.setItem(TAB_KEY, id);
    tab.id = id;
    return true;
  });
}

/** Continue the sessions of the tab's last page. A duplicated tab has a copy of its id: the first continues them. */
function takeTab() {
  const sessions = attempt(() => {
    if (isForbidden) return JSON.parse(outermost.name.slice(TAB_KEY.length));
    // A page that Firefox kept for Back sees an old session storage, but knows its tab.
    const id = tab.id ?? sessionStorage.getItem(TAB_KEY);
    sessionStorage.removeItem(TAB_KEY);
    tab.id = undefined;
    const { [id]: kept, ...others } = Object.fromEntries(left());
    storeLeft(others);
    tab.id = kept && id;
    return kept?.sessions;
  });
  tab.sessions = sessions ?? {};
  // What a kept page sees may be older than the last messages.
  for (const session of Object.values(tab.sessions)) session.seq = Math.max(session.seq, tab.restoredAt);
}

/** Be present in a space. Connecting to the same space again returns the same presence. */
export function connect(options) {
  const {
    space,
    endpoint = here.defaults.endpoint ?? import.meta.url,
    hidden = here.defaults.hidden,
    route = here.defaults.route,
    respect = here.defaults.respect,
    consent = here.defaults.consent,
    sources = here.defaults.sources,
    presence: transport = here.defaults.transport,
  } = options ?? {};
  const path = attempt(() => `/v1/spaces/${encodeURIComponent(space)}/presence`);
  const address = attempt(() => new URL(path, endpoint).href);
  const known = spaces.get(address);
  if (known) return known.hold();

  if (!spaces.size) here.defaults = { endpoint, hidden, route, respect, consent, sources, transport };

  let { page, facets, details, quality, engagement } = options ?? {};
  let latest; // the last count that was received
  let newest; // its version
  let reported; // page, facets, person and state of the last beat
  let accepted; // and of the last beat that was accepted
  let holders = 1; // connect() calls without a release()
  let wanted = false; // between start() and leave()
  let present = false; // wanted, not refused, and the first of the tab's frames that want it
  let unloading = false;
  let busy = false; // one request at a time
  let sentAt = 0;
  let dueAt = 0;
  let requestedAt = Infinity; // when a beat should go out, if earlier than the next steady one
  let quietUntil = 0; // no beat before: the server or the network has trouble
  let offline = false; // it is the network
  let removedUntil = 0;
  let notice = null; // the message shown to everyone now
  let expired; // the id of the notice whose time ran out
  let expiry;
  let retry = FIRST_RETRY;
  let lastWarning;
  let checkedAt;
  let timer;
  let socket; // the open socket that holds the session
  let disarm = () => {}; // the leave that is sent when the page ends
  let door; // a cheaper address for beats; false: one failed there
  let failures = 0;
  let listeners = 0;

  const currentPage = () => location.pathname + (route === "hash" ? location.hash : "");
  let lastPage = inBrowser && currentPage();

  const shownPage = () => text(page ?? currentPage());
  const session = () => (tab.sessions[address] ??= { id: uuid(), seq: 0, from: sources !== "off" && !optsOut("dnt gpc") && origin(shownPage()) });

  function beatBody() {
    session().seq += 1;
    if (isForbidden) keepTab();
    const report = {
      ...here.person,
      page: shownPage(),
      facets: texts({ ...(isTablet && { device: "tablet" }), ...session().from, ...facets }),
      state: document.hidden ? "hidden" : "active",
    };
    reported = JSON.stringify(report);
    return JSON.stringify({
      sessionId: session().id,
      robot: navigator.webdriver || undefined, // counts only where robots do
      visitorId: visitor(),
      ...report,
      details,
      quality,
      engagement,
      changed: reported !== accepted || undefined, // saves the server a write
      seq: session().seq,
    });
  }

  // Timers stop while a computer sleeps, so compare the clock with the time when the beat is due.
  function schedule(at) {
    dueAt = at;
    checkedAt = Date.now();
    clearTimeout(timer);
    if (present) timer = setTimeout(check, Math.min(Math.max(dueAt - checkedAt, 0), CHECK_INTERVAL));
  }

  function check() {
    const now = Date.now();
    if (now >= dueAt || now < checkedAt) beat(); // or the clock was set back
    else schedule(dueAt);
  }

  /** Send a beat within so many milliseconds: after the request under way, and not during trouble. */
  function requestBeat(delay = 0) {
    const now = Date.now();
    requestedAt = Math.max(Math.min(requestedAt, now + delay), quietUntil);
    if (!present || busy) return;
    if (requestedAt <= now) beat();
    else schedule(Math.min(dueAt, requestedAt));
  }

  async function beat() {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    const wait = await send().catch(() => {
      offline = true;
    });
    busy = false;
    const now = Date.now();
    if (wait) {
      quietUntil = removedUntil;
      retry = FIRST_RETRY;
      schedule(Math.min(now + wait, Math.max(requestedAt, quietUntil)));
    } else {
      door &&= false;
      quietUntil = Math.max(quietUntil, now + retry * (0.5 + Math.random() / 2));
      retry = Math.min(retry * 2, MAX_RETRY);
      schedule(quietUntil);
    }
  }

  /** Send a beat. Returns the milliseconds until the next one, or undefined if it must be retried. */
  async function send() {
    const sender = here.person;
    const headers = await authorization(); // changes made in the same turn are included
    if (!present) return MAX_RETRY; // a beat after the leave would bring the session back
    requestedAt = Infinity;
    sentAt = Date.now();
    offline = false;
    const body = attempt(beatBody);
    if (!body) return stop("details must be JSON");
    if (bySocket()) return sendBySocket(body, headers.authorization);
    closeSocket(CLOSE_WITHOUT_LEAVE);
    arm();
    // Plain text makes this a "simple" request: without a token there is no preflight.
    const signal = AbortSignal.timeout?.(REQUEST_TIMEOUT);
    const response = await fetch(door || address, { method: "POST", body, headers, signal, keepalive: true });
    const { status, ok } = response;
    const result = await response.json().catch(() => ({}));
    if (ok) {
      if (!(result.nextBeatIn > 0)) return undefined; // by something else on the way
      accepted = reported;
      if (result.beatAt) door ??= new URL(path, result.beatAt);
      receive(result);
      // Jitter, so that a thousand tabs opened at once spread out.
      return result.nextBeatIn * SECOND * (1 + Math.random() / 20);
    }
    const retryAfter = response.headers.get("retry-after") * SECOND || 0;
    if (status === 403 && retryAfter) {
      if (here.person === sender) return waitOutRemoval(retryAfter);
      requestedAt = 0; // somebody else has signed in meanwhile
      return MAX_RETRY;
    }
    const retryable = status > 499 || RETRYABLE.includes(status) || (status === 401 && typeof here.token === "function");
    if (!retryable) return stop(result.error ?? status);
    quietUntil = Date.now() + retryAfter;
  }

  function receive(result) {
    lastWarning = "";
    removedUntil = 0;
    if (present) frames.forEach((one) => one.show(result));
  }

  function show({ count, version, notice, type }) {
    const isOld = version < newest; // overtaken on the way; a second one was not: the numbers were restored
    newest = version;
    if (isOld) return;
    latest = { space, count, version };
    announce(count === undefined ? "headcount-withheld" : "headcount", latest); // only admins may read it
    if (type !== "count") updateNotice(notice);
  }

  const bySocket = () => transport === "socket" && failures < MAX_FAILURES;

  /** Send a beat over the socket, or open one with it. A successful beat has no response. */
  async function sendBySocket(body, bearer) {
    if (socket?.person === here.person && socket.token === here.token && (socket.hears || !listens()) && Date.now() - socket.at < MAX_SOCKET_AGE) {
      socket.send(`{"action":"beat",${listeners ? '"answer":true,' : ""}${body.slice(1)}`);
      accepted = reported;
    } else {
      const fields = JSON.parse(body);
      const opened = await openSocket(fields, bearer?.slice(7)).catch(() => {
        offline = true;
        failures += 1;
      });
      if (!opened) return undefined;
      if (!present || session().seq !== fields.seq) {
        opened.close(); // the tab left meanwhile, and may be back
        return present ? 1 : MAX_RETRY;
      }
      closeSocket(); // the new socket holds the session now, so this is no leave
      socket = opened;
      accepted = reported;
      if (listeners || details || quality || engagement) return 1; // only a beat carries these
    }
    return MAX_SILENCE * (0.9 + Math.random() / 10);
  }

  async function openSocket({ details: _, quality: __, engagement: ___, ...fields }, token) {
    const known = { person: here.person, token: here.token, hears: listens(), at: Date.now() };
    const { dial } = await import("./headcount-live.js");
    const opened = Object.assign(await dial(frame, { space, token, listen: known.hears ? "count" : null, ...fields }), known);
    opened.onmessage = ({ data }) => {
      const message = attempt(() => JSON.parse(data));
      if (opened !== socket || !message) return;
      if (!message.error) return receive(message);
      failures = MAX_FAILURES; // over HTTP the response says what is wrong
      requestBeat();
    };
    opened.onclose = () => {
      if (opened !== socket) return;
      socket = undefined;
      arm();
      failures = Date.now() - opened.at < MINUTE ? failures + 1 : 0;
      requestBeat(FIRST_RETRY * Math.random());
    };
    return opened;
  }

  // Until a count was received, a refusal may mean that only admins may listen.
  const listens = () => listeners && (!failures || newest);

  /** Prepare the leave for the end of the page: its number is between the last beat's and the next one's. */
  function arm() {
    disarm();
    session().seq += 1;
    // Firefox stops the scripts of a tab that closes, listeners too, but not a function of its own.
    const closing = leaving(!isForbidden || keepTab());
    addEventListener("pagehide", closing, true);
    // Chromium sends this one if the page crashes.
    const crash = new AbortController();
    attempt(() => fetchLater(leaveUrl, { ...leaveOptions(), signal: crash.signal }));
    disarm = () => {
      crash.abort();
      if (!unloading) removeEventListener("pagehide", closing, true);
    };
  }

  const leaveUrl = `${address}/leave`;
  const leaveOptions = (mayReturn) => ({
    method: "POST",
    body: JSON.stringify({ sessionId: session().id, seq: session().seq, mayReturn }),
    keepalive: true,
  });

  /** A function of the browser's that sends the leave. */
  function leaving(mayReturn) {
    const options = leaveOptions(mayReturn);
    return navigator.sendBeacon?.bind(navigator, leaveUrl, options.body) ?? fetch.bind(globalThis, leaveUrl, options);
  }

  /** Returns the socket that was closed, if there was one. The leave that was prepared is not sent. */
  function closeSocket(code = 1000) {
    disarm();
    const closed = socket;
    socket = undefined;
    closed?.close(code);
    return closed;
  }

  /** An admin removed this person: send nothing for that long. */
  function waitOutRemoval(retryAfter) {
    removedUntil = Date.now() + retryAfter;
    disarm();
    if (present) announce("headcount-removed", { space, until: new Date(removedUntil).toISOString() });
    return retryAfter;
  }

  /** Announce a notice once, and its end once. */
  function updateNotice(received) {
    const next = received && received.id !== expired ? received : null;
    if (next?.id === notice?.id) return;
    notice = next;
    clearTimeout(expiry);
    // A clock that is ahead must not hide a notice: then the first response without it ends it.
    const left = Date.parse(next?.until) - Date.now();
    if (left > 0) expiry = setTimeout(expire, Math.min(left, MAX_TIMER));
    announce("headcount-notice", { space, notice });
  }

  function expire() {
    expired = notice.id;
    updateNotice();
  }

  /** A bad request stays bad: send nothing until something changes. */
  function stop(reason) {
    present = false;
    disarm();
    if (reason !== lastWarning) console.warn(`Headcount stopped in ${space}: ${reason}`);
    lastWarning = reason;
    announce("headcount-stopped", { space, reason });
    return MAX_RETRY;
  }

  const wants = () => wanted && !unloading && !(hidden === "leave" && document.hidden);

  function lead(leads) {
    if (leads === present) return;
    present = leads;
    if (present) return requestBeat();
    clearTimeout(timer);
    closeSocket(CLOSE_WITHOUT_LEAVE);
  }

  /** One frame of the tab is present. Returns it. */
  function elect() {
    const leader = frames.find((one) => one.wants());
    frames.forEach((one) => one.lead(one === leader));
    return leader;
  }

  function arrive() {
    if (!wants()) return;
    if (!tab.sessions) takeTab();
    if (!frames.includes(frame)) frames[outermost === globalThis ? "unshift" : "push"](frame);
    if (elect() === frame) requestBeat();
  }

  function depart(mayReturn) {
    if (!present) return;
    present = false;
    clearTimeout(timer);
    const stays = elect();
    // Closing a socket is the leave; a removed session has none; a page that closes has sent it.
    if (closeSocket(stays || mayReturn ? CLOSE_WITHOUT_LEAVE : 1000) || stays || unloading || removedUntil > Date.now()) return;
    session().seq += 1;
    attempt(leaving());
  }

  function start() {
    if (!inBrowser || !holders || optsOut(respect)) return; // no holders: released while consent was pending
    // A prerendered page is not visible yet.
    if (document.prerendering) document.addEventListener("prerenderingchange", start, { once: true });
    else if (!space || !/^http/.test(address)) stop("space must be like site:main, endpoint like https://example.com");
    else {
      wanted = true;
      arrive();
    }
  }

  function begin() {
    if (here.consented || consent === undefined) start();
    else if (consent !== "manual")
      Promise.resolve(consent)
        .then((given) => (typeof given === "function" ? given() : given))
        .then((given) => given && start())
        .catch(() => {});
  }

  function leave() {
    wanted = false;
    depart();
  }

  function update(change) {
    const before = JSON.stringify([page, texts(facets)]);
    ({ page, facets, details, quality, engagement } = { page, facets, details, quality, engagement, ...change });
    // Progress is not urgent: wait for more of it.
    if (before !== JSON.stringify([page, texts(facets)])) arrive();
    else requestBeat(sentAt + PROGRESS_INTERVAL - Date.now());
  }

  function subscribe(listener) {
    if (!inBrowser) return () => {};
    let count;
    const notify = ({ detail }) => {
      if (detail.space !== space || detail.count === count) return;
      ({ count } = detail);
      listener(detail);
    };
    addEventListener("headcount", notify);
    listeners += 1;
    if (latest) queueMicrotask(() => notify({ detail: latest }));
    else if (socket) requestBeat();
    import("./headcount-live.js").then(({ listen }) => listen(frame)).catch(() => {});
    return () => {
      listeners -= 1;
      removeEventListener("headcount", notify);
    };
  }

  const presence = {
    space,
    get count() {
      return latest?.count;
    },
    get notice() {
      return notice;
    },
    start,
    leave,
    update: (change) => attempt(() => update(change)),
    subscribe,
    identify,
    release() {
      if (holders && !--holders) leave();
    },
  };

  const frames = (tab.frames[address] ??= []);
  const frame = {
    wants,
    lead,
    // The rest is for headcount-live.js. Counts between beats come on the socket that holds the session, or else on
    // one that only listens.
    space,
    endpoint,
    socketUrl: options?.socketUrl,
    show,
    due: () => dueAt,
    wanted: () => listeners && wants() && latest?.count >= 0 && !(socket ? socket.hears : bySocket()),
  };

  spaces.set(address, {
    presence,
    arrive,
    hold() {
      if (!holders++) begin();
      return presence;
    },
    moved() {
      if (page == null && lastPage !== currentPage()) arrive();
      lastPage = currentPage();
    },
    toggled() {
      if (unloading) return;
      if (hidden !== "leave") requestBeat();
      else if (document.hidden) depart();
      else arrive();
    },
    pardon() {
      if (removedUntil) removedUntil = quietUntil = 0;
    },
    online() {
      if (offline) quietUntil = 0;
      requestBeat();
    },
    hide(mayReturn) {
      unloading = true;
      if (outermost === globalThis) frames.length = 0; // its frames go with it
      else frames.splice(frames.indexOf(frame) >>> 0, 1);
      depart(mayReturn);
    },
    show() {
      unloading = false;
      accepted = undefined;
      arrive();
    },
  });

  begin();
  return presence;
}

/** Whether this browser asks not to be tracked, by a signal that the page respects. */
const optsOut = (respect) =>
  (/dnt/.test(respect) && navigator.doNotTrack === "1") || (/gpc/.test(respect) && navigator.globalPrivacyControl === true);

// iPads call themselves Macs, which have no touchscreen.
const isTablet = inBrowser && navigator.maxTouchPoints > 1 && /Macintosh/.test(navigator.userAgent);

const each = (name, ...given) => spaces.forEach((one) => one[name](...given));

/** The Authorization header, from a token or a function that returns a fresh one. */
export async function authorization(given = here.token) {
  const bearer = typeof given === "function" ? await given() : given;
  return bearer ? { authorization: `Bearer ${bearer}` } : {};
}

/** The person has signed in, or (without an argument) out: in all spaces of this page. */
export function identify(details) {
  if (!inBrowser) return; // a server has many people
  const { userId, name, avatar, token: given } = details ?? {};
  const before = here.person.userId ?? here.token;
  here.person = { userId: text(userId), name: text(name), avatar: text(avatar) };
  if (given || typeof here.token !== "function") here.token = given;
  if (before !== (here.person.userId ?? here.token)) each("pardon"); // a removal does not apply to somebody else
  each("arrive");
}

/** What the person is doing, in the page's first space. */
export const update = (change) => spaces.values().next().value?.presence.update(change);

/** Receive the count of the page's first space, now and whenever it changes. */
export const subscribe = (listener) => spaces.values().next().value?.presence.subscribe(listener) ?? (() => {});

/** Be present in all spaces of this page: after consent, or again after leaving. */
export function start() {
  here.consented = true;
  spaces.forEach(({ presence }) => presence.start());
}

/** Stop being present, in all spaces of this page. */
export function leave() {
  here.consented = false;
  spaces.forEach(({ presence }) => presence.leave());
}

/** Leave, and count this browser as a new one next time. */
export function forget() {
  leave();
  attempt(() => [VISITOR_KEY, SINCE_KEY, LEFT_KEY].forEach((name) => localStorage.removeItem(name)));
}

let observer;
let scan;

function scanSoon() {
  scan ??= setTimeout(() => {
    scan = undefined;
    embed();
  }, SCAN_DELAY);
}

/** Be present as the page's scripts say, and no longer as those say that are gone. */
function embed(loaded) {
  const gone = [...scripts].filter(([script]) => !script.isConnected);
  for (const script of document.querySelectorAll("script[data-space]")) {
    const known = scripts.get(script);
    const attributes = JSON.stringify(script.dataset);
    if (known?.attributes === attributes || !(known || isOurs(script, loaded))) continue;
    if (known) gone.push([script, known]);
    const { user, name, avatar, token: given, ...options } = script.dataset;
    if (user || name || given) identify({ userId: user, name, avatar, token: given });
    const named = Object.entries(options).filter(([key]) => /^facet[A-Z]/.test(key));
    const facets = Object.fromEntries(named.map(([key, value]) => [key[5].toLowerCase() + key.slice(6), value]));
    const before = spaces.size;
    const presence = connect({ ...options, facets });
    if (spaces.size === before) presence.update({ page: options.page, facets });
    scripts.set(script, { attributes, presence });
    // One that its loader removes at once is not gone with a part of the page.
    setTimeout(() => script.isConnected || scripts.delete(script));
    // Parts of the page may be replaced without any script running.
    observer ??= new MutationObserver(scanSoon);
    observer.observe(document, { childList: true, subtree: true, attributeFilter: ["data-page"] });
  }
  for (const [script, { presence }] of gone) {
    if (!script.isConnected) scripts.delete(script);
    presence.release();
  }
}

/** Whether a script loads this module: by its address, inline, or (it has just loaded) by a redirect. */
const isOurs = (script, loaded) =>
  script.src === import.meta.url ||
  (script.type === "module" && (!script.src || script === loaded) && /^[a-z][a-z0-9-]*:./.test(script.dataset.space));

if (inBrowser) {
  const on = (target, type, react, capture) => target.addEventListener(type, react, capture);
  if (isFirst) {
    const moved = () => each("moved");
    if (window.navigation) on(navigation, "currententrychange", moved);
    else
      for (const name of ["pushState", "replaceState"]) {
        const original = history[name];
        attempt(() => {
          history[name] = function (...given) {
            const result = original.apply(this, given);
            moved();
            return result;
          };
        });
      }
    on(window, "popstate", moved);
    on(window, "online", () => each("online"));
    on(window, "pagehide", () => each("hide", Boolean(tab.sessions) && keepTab()));
    // From the back/forward cache, a page may appear before the one in between is gone.
    let restoring;
    on(window, "pageshow", ({ persisted }) => {
      if (!persisted) return;
      clearTimeout(restoring); // of a page that was left again at once
      restoring = setTimeout(() => {
        if (outermost === globalThis) Object.assign(tab, { sessions: undefined, restoredAt: Date.now() });
        each("show");
      }, RESTORE_DELAY);
    });
    on(document, "visibilitychange", () => each("toggled"));
  }
  // A module runs once, however many scripts load it, but each script fires its own load event.
  on(document, "load", ({ target }) => target.dataset?.space && embed(target), true);
  embed();
}
