// Headcount's client: says "I am still here, and this is what I am doing" for one tab.
//
//   <script type="module" src="https://<api>/headcount.js" data-space="site:main"></script>
//
// Each answer's count is announced as a `headcount` event on window: {space, count, version}; what an
// admin tells everyone as `headcount-notice`, and being removed by one as `headcount-removed`.
// Never throws into the page. Every option and function: headcount.d.ts and docs/client.md.

const SECOND = 1000;
const FIRST_RETRY = 2 * SECOND;
const LONGEST_RETRY = 60 * SECOND;
const ANSWER_WITHIN = 20 * SECOND;
const PROGRESS_EVERY = 5 * SECOND;
const MINUTE = 60 * SECOND;
const LONGEST_SILENCE = 9 * MINUTE; // API Gateway closes a socket that is silent for 10 minutes
const LONGEST_SOCKET = 105 * MINUTE; // and any after 2 hours
const MOST_FAILED = 3; // sockets in a row that did not open, or did not last
const RETURNING = 4000; // to close a socket with: no leave, the next page goes on
const LOOK_EVERY = 10 * SECOND;
const NAVIGATION_TAKES = 5 * SECOND;
const LONGEST_TIMER = 2 ** 31 - 1;
const PAGE_LENGTH = 100;
const PASSING = [408, 425, 429]; // of the 4xx, these mend themselves
const VISITOR = "headcount:visitor";

const inBrowser = typeof document === "object";
const spaces = new Map(); // by their address in the API
const scripts = new WeakSet();
let rules = {}; // what the page's first space was told holds for all that say nothing else
let agreed = false; // start() was called
let who = {};
let token;
let navigatedAt = -Infinity;

const attempt = (action) => {
  try {
    return action();
  } catch {
    return undefined;
  }
};

const announce = (type, detail) => dispatchEvent(new CustomEvent(type, { detail }));

const text = (value) => (value == null || value === "" ? undefined : String(value));

const texts = (values) =>
  Object.fromEntries(Object.entries(values ?? {}).flatMap(([name, value]) => (text(value) ? [[name, text(value)]] : [])));

const uuid = () =>
  crypto.randomUUID?.() ?? // only there on https and localhost
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

// Storage may be forbidden altogether; then the tab or the browser is new with every page.
const visitor = () =>
  attempt(() => {
    const id = localStorage.getItem(VISITOR) || uuid();
    localStorage.setItem(VISITOR, id);
    return id;
  });

/** Be in a space. Connecting to the same space again gives the same presence. */
export function connect(options) {
  const {
    space,
    endpoint = rules.endpoint ?? import.meta.url,
    hidden = rules.hidden,
    route = rules.route,
    respect = rules.respect,
    consent = rules.consent,
    presence: means = rules.means,
  } = options ?? {};
  const address = attempt(() => new URL(`/v1/spaces/${encodeURIComponent(space)}/presence`, endpoint).href);
  const known = spaces.get(address);
  if (known) return known.hold();

  if (!spaces.size) rules = { endpoint, hidden, route, respect, consent, means };

  let { page, facets, details, quality, engagement } = options ?? {};
  let session;
  let seq;
  let last; // what the last answer said
  let told; // what the last beat told of the person
  let taken; // and the last one that was taken
  let holders = 1; // who called connect() and not release()
  let wanted = false; // between start() and leave()
  let here = false; // wanted, and not away: page gone, tab hidden where that is leaving, or refused
  let unloading = false;
  let busy = false; // with a request: there is one at a time
  let sentAt = 0;
  let due = 0;
  let asked = Infinity; // when a beat is due before the next steady one
  let calm = 0; // no beat before this: the server or the network has trouble
  let cut = false; // it is the network
  let removed = 0; // until then, by an admin
  let notice = null; // what everyone is told now
  let expired; // the id of the one whose time ran out
  let expiry;
  let retry = FIRST_RETRY;
  let complaint;
  let lookedAt;
  let timer;
  let { socketUrl } = options ?? {};
  let socket; // an open one that holds the session
  let failed = 0;
  let listeners = 0;

  const place = () => location.pathname + (route === "hash" ? location.hash : "");
  let seen = inBrowser && place();

  // The tab's id is in sessionStorage only while no page of the tab is open: a duplicated tab starts
  // from a copy of the storage, and would otherwise take the id of the tab it was made from.
  function takeSession() {
    const kept = attempt(() => JSON.parse(sessionStorage.getItem(address)));
    attempt(() => sessionStorage.removeItem(address));
    session = kept?.session || uuid();
    seq = kept?.seq || 0;
  }

  function message() {
    const doing = {
      ...who,
      page: String(page ?? place()).slice(0, PAGE_LENGTH),
      facets: texts(facets),
      state: document.hidden ? "hidden" : "active",
    };
    told = JSON.stringify(doing);
    return JSON.stringify({
      sessionId: session,
      visitorId: visitor(),
      ...doing,
      details,
      quality,
      engagement,
      changed: told !== taken || undefined, // saves the server a write
      seq: ++seq,
    });
  }

  // Timers stand still while a computer sleeps: so a beat is due by the clock, which is looked at.
  function arm(at) {
    due = at;
    lookedAt = Date.now();
    clearTimeout(timer);
    if (here) timer = setTimeout(look, Math.min(Math.max(due - lookedAt, 0), LOOK_EVERY));
  }

  function look() {
    const now = Date.now();
    if (now >= due || now < lookedAt) beat(); // or somebody set the clock back
    else arm(due);
  }

  /** Have a beat within so many milliseconds: after one under way, and not while there is trouble. */
  function ask(delay = 0) {
    const now = Date.now();
    asked = Math.max(Math.min(asked, now + delay), calm);
    if (!here || busy) return;
    if (asked <= now) beat();
    else arm(Math.min(due, asked));
  }

  async function beat() {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    const wait = await send().catch(() => {
      cut = true;
    });
    busy = false;
    const now = Date.now();
    if (wait) {
      calm = removed;
      retry = FIRST_RETRY;
      arm(Math.min(now + wait, Math.max(asked, calm)));
    } else {
      calm = Math.max(calm, now + retry * (0.5 + Math.random() / 2));
      retry = Math.min(retry * 2, LONGEST_RETRY);
      arm(calm);
    }
  }

  /** Send a beat. Gives the milliseconds until the next, or nothing: then it has to be tried again. */
  async function send() {
    const sender = who;
    const headers = await authorization(); // what else changes in this turn goes along
    if (!here) return LONGEST_RETRY; // a beat after the leave would come back
    asked = Infinity;
    sentAt = Date.now();
    cut = false;
    const body = attempt(message);
    if (!body) return refuse("details that are no JSON");
    if (means === "socket" && failed < MOST_FAILED) return converse(body, headers.authorization);
    hangUp(RETURNING);
    // Plain text is a "simple" request: without a token no browser asks for permission first.
    const signal = AbortSignal.timeout?.(ANSWER_WITHIN);
    const answer = await fetch(address, { method: "POST", body, headers, signal, keepalive: true });
    const { status, ok } = answer;
    const said = await answer.json().catch(() => ({}));
    if (ok) {
      taken = told;
      hear(said);
      // A little late, so that a thousand tabs opened at once do not go on beating as one.
      return said.nextBeatIn * SECOND * (1 + Math.random() / 20);
    }
    const after = answer.headers.get("retry-after") * SECOND || 0;
    if (status === 403 && after) {
      if (who === sender) return remove(after);
      asked = 0; // it is somebody else by now
      return LONGEST_RETRY;
    }
    const passes = status > 499 || PASSING.includes(status) || (status === 401 && typeof token === "function");
    if (!passes) return refuse(said.error ?? status);
    calm = Date.now() + after;
  }

  function hear(said) {
    last = { space, count: said.count, version: said.version };
    complaint = "";
    removed = 0;
    if (!here) return;
    announce("headcount", last);
    tell(said.notice);
  }

  /** Send a beat by connection, or open one with it. All being well it is not answered. */
  async function converse(body, bearer) {
    if (socket?.who === who && socket.token === token && Date.now() - socket.at < LONGEST_SOCKET) {
      socket.send(`{"action":"beat",${listeners ? '"answer":true,' : ""}${body.slice(1)}`);
      taken = told;
    } else {
      const said = JSON.parse(body);
      const line = await dial(said, bearer?.slice(7)).catch(() => {
        cut = true;
        failed += 1;
      });
      if (!line) return undefined;
      if (!here || seq !== said.seq) {
        line.close(); // left meanwhile, and maybe back
        return here ? 1 : LONGEST_RETRY;
      }
      hangUp(); // another holds the session now: this changes nothing
      socket = line;
      taken = told;
      if (listeners || details || quality || engagement) return 1; // what only a beat carries
    }
    return LONGEST_SILENCE * (0.9 + Math.random() / 10);
  }

  async function dial({ details: _, quality: __, engagement: ___, ...said }, bearer) {
    const config = new URL("/dashboard/config.json", endpoint);
    const url = new URL((socketUrl ??= (await (await fetch(config)).json()).socketUrl), endpoint);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [name, value] of Object.entries({ space, token: bearer, ...said }))
      if (value != null) url.searchParams.set(name, typeof value === "object" ? JSON.stringify(value) : value);
    return new Promise((resolve, reject) => {
      const line = Object.assign(new WebSocket(url), { who, token, at: Date.now() });
      const patience = setTimeout(() => line.close(), ANSWER_WITHIN);
      line.onopen = () => {
        clearTimeout(patience);
        resolve(line);
      };
      line.onmessage = ({ data }) => {
        const heard = attempt(() => JSON.parse(data));
        if (line !== socket || !heard) return;
        if (heard.type === "present") return hear(heard);
        failed = MOST_FAILED; // over HTTP the answer says what is wrong
        ask();
      };
      line.onclose = () => {
        clearTimeout(patience);
        reject();
        if (line !== socket) return;
        socket = undefined;
        failed = Date.now() - line.at < MINUTE ? failed + 1 : 0;
        ask(FIRST_RETRY * Math.random());
      };
    });
  }

  /** Gives the connection that was ended, if there was one. */
  function hangUp(code = 1000) {
    const line = socket;
    socket = undefined;
    line?.close(code);
    return line;
  }

  /** An admin wants this person out for a while: quiet for as long. */
  function remove(after) {
    removed = Date.now() + after;
    if (here) announce("headcount-removed", { space, until: new Date(removed).toISOString() });
    return after;
  }

  /** Say what everyone is told, once; and once that it is over. */
  function tell(told) {
    const next = told && told.id !== expired ? told : null;
    if (next?.id === notice?.id) return;
    notice = next;
    clearTimeout(expiry);
    // A clock that is ahead must hide nothing: then the answer that comes without it ends it.
    const left = Date.parse(next?.until) - Date.now();
    if (left > 0) expiry = setTimeout(expire, Math.min(left, LONGEST_TIMER));
    announce("headcount-notice", { space, notice });
  }

  function expire() {
    expired = notice.id;
    tell();
  }

  /** What is wrong with the request will not be right in a moment: quiet until told something new. */
  function refuse(words) {
    here = false;
    if (words !== complaint) console.warn(`Headcount stopped in ${space}: ${words}`);
    complaint = words;
    return LONGEST_RETRY;
  }

  function arrive() {
    if (!wanted || unloading || (hidden === "leave" && document.hidden)) return;
    if (!session) takeSession();
    here = true;
    ask();
  }

  function depart() {
    if (!here) return;
    here = false;
    clearTimeout(timer);
    if (hangUp() || removed > Date.now()) return; // who is not there can't leave
    const url = `${address}/leave`;
    const body = JSON.stringify({ sessionId: session, seq: ++seq });
    if (attempt(() => navigator.sendBeacon(url, body))) return;
    attempt(() => fetch(url, { method: "POST", body, keepalive: true }).catch(() => {}));
  }

  function start() {
    if (!inBrowser || !holders || objects(respect)) return; // released meanwhile: nobody is there
    // A page that is rendered in advance has nobody before it yet.
    if (document.prerendering) document.addEventListener("prerenderingchange", start, { once: true });
    else if (!space || !address) refuse("name it as in site:main, and the endpoint as in https://example.com");
    else {
      wanted = true;
      arrive();
    }
  }

  function begin() {
    if (agreed || consent === undefined) start();
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
    // Progress is no news to anybody: it may wait for more of it.
    if (before !== JSON.stringify([page, texts(facets)])) arrive();
    else ask(sentAt + PROGRESS_EVERY - Date.now());
  }

  function subscribe(listener) {
    let count;
    const notify = ({ detail }) => {
      if (detail.space !== space || detail.count === count) return;
      ({ count } = detail);
      listener(detail);
    };
    addEventListener("headcount", notify);
    listeners += 1;
    if (last) queueMicrotask(() => notify({ detail: last }));
    else if (socket) ask();
    return () => {
      listeners -= 1;
      removeEventListener("headcount", notify);
    };
  }

  const presence = {
    space,
    get count() {
      return last?.count;
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

  spaces.set(address, {
    presence,
    arrive,
    hold() {
      if (!holders++) begin();
      return presence;
    },
    moved() {
      if (page == null && seen !== place()) arrive();
      seen = place();
    },
    turned() {
      if (unloading) return;
      if (hidden !== "leave") ask();
      else if (document.hidden) depart();
      else arrive();
    },
    pardon() {
      if (removed) removed = calm = 0;
    },
    online() {
      if (cut) calm = 0;
      ask();
    },
    hide() {
      unloading = true;
      clearTimeout(timer);
      // The leave that may follow has a number, too.
      if (session) attempt(() => sessionStorage.setItem(address, JSON.stringify({ session, seq: seq + 1 })));
      // The next page of the same site goes on with this session: that is no leave. (Should it not
      // embed this client, the lease of the last beat ends the session.)
      if (Date.now() - navigatedAt > NAVIGATION_TAKES) depart();
      else hangUp(RETURNING);
    },
    show() {
      unloading = false;
      // The pages in between went on counting: an older number would be taken for a late message.
      // Where they left nothing to go on with, this is a new session.
      if (session) takeSession();
      arrive();
    },
  });

  begin();
  return presence;
}

/** Whether this browser asks not to be followed, by the signals that are respected. */
const objects = (respect) =>
  (/dnt/.test(respect) && navigator.doNotTrack === "1") || (/gpc/.test(respect) && navigator.globalPrivacyControl === true);

const each = (name) => spaces.forEach((one) => one[name]());

/** Headers that say who asks: by a token, or a function that gets a fresh one. */
export async function authorization(given = token) {
  const bearer = typeof given === "function" ? await given() : given;
  return bearer ? { authorization: `Bearer ${bearer}` } : {};
}

/** The person signed in, or (with nothing) out: in all spaces of this page. */
export function identify(person) {
  const { userId, name, avatar, token: theirs } = person ?? {};
  const before = who.userId ?? token;
  who = { userId: text(userId), name: text(name), avatar: text(avatar) };
  if (theirs || typeof token !== "function") token = theirs;
  if (before !== (who.userId ?? token)) each("pardon"); // who was removed is somebody else
  each("arrive");
}

/** What the person is on, in the page's first space. */
export const update = (change) => spaces.values().next().value?.presence.update(change);

/** Hear the count of the page's first space, now and whenever it changes. */
export const subscribe = (listener) => spaces.values().next().value?.presence.subscribe(listener) ?? (() => {});

/** Be present in all spaces of this page: after consent was given, or again after leaving. */
export function start() {
  agreed = true;
  spaces.forEach(({ presence }) => presence.start());
}

/** Stop being present, in all spaces of this page. */
export function leave() {
  agreed = false;
  spaces.forEach(({ presence }) => presence.leave());
}

/** Leave, and let this browser be a new one the next time. */
export function forget() {
  leave();
  attempt(() => localStorage.removeItem(VISITOR));
}

function embed() {
  for (const script of document.querySelectorAll("script[data-space]")) {
    if (script.src !== import.meta.url || scripts.has(script)) continue;
    scripts.add(script);
    const { user, name, avatar, token: theirs, ...options } = script.dataset;
    if (user || name || theirs) identify({ userId: user, name, avatar, token: theirs });
    const facets = Object.entries(options).filter(([key]) => /^facet[A-Z]/.test(key));
    connect({ ...options, facets: Object.fromEntries(facets.map(([key, value]) => [key[5].toLowerCase() + key.slice(6), value])) });
  }
}

function navigates(url) {
  if (attempt(() => new URL(url).origin) === location.origin) navigatedAt = Date.now();
}

if (inBrowser) {
  for (const name of ["pushState", "replaceState"]) {
    const original = history[name];
    attempt(() => {
      history[name] = function (...given) {
        const result = original.apply(this, given);
        each("moved");
        return result;
      };
    });
  }
  const on = (target, type, react) => target.addEventListener(type, react);
  on(window, "popstate", () => each("moved"));
  on(window, "online", () => each("online"));
  on(window, "pagehide", () => each("hide"));
  on(window, "pageshow", ({ persisted }) => {
    navigatedAt = -Infinity;
    if (persisted) each("show"); // back from the browser's cache
  });
  on(document, "visibilitychange", () => each("turned"));
  if (window.navigation)
    on(navigation, "navigate", ({ destination, downloadRequest, navigationType }) => {
      // Back and forward may lead to a page that was kept: it is there before this one has gone.
      if (!destination.sameDocument && !downloadRequest && navigationType !== "traverse") navigates(destination.url);
    });
  else
    on(window, "click", (event) => {
      const link = event.target.closest?.("a[href]");
      const plain = !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
      if (link && plain && !link.target && !link.hasAttribute("download")) navigates(link.href);
    });
  // A module runs once, however many scripts name it: each of them says when it has "run".
  document.addEventListener("load", ({ target }) => target.src === import.meta.url && embed(), true);
  embed();
}
