// Headcount's client: says "I am still here, and this is what I am doing" for one tab.
//
//   <script type="module" src="https://<api>/headcount.js" data-space="site:main"></script>
//
// Optional attributes: data-user, data-name, data-avatar. Every answer's count is announced as a
// `headcount` event on window: {space, count, version}. Never throws into the page.

const script = [...document.querySelectorAll("script[data-space]")].find(
  (one) => one.src === import.meta.url,
);
const space = script?.dataset.space;
const endpoint = new URL(`/v1/spaces/${encodeURIComponent(space)}/presence`, import.meta.url).href;

const STORED = `headcount:${space}`;
const FIRST_RETRY = 2_000;
const LONGEST_RETRY = 60_000;
const NAVIGATION_TAKES = 2_000;

const uuid = () =>
  crypto.randomUUID?.() ?? // only there on https and localhost
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

// Storage may be forbidden altogether; then the tab or the browser is new with every page.
const attempt = (action) => {
  try {
    return action();
  } catch {
    return null;
  }
};

// The tab's id is in sessionStorage only while no page of the tab is open: a duplicated tab starts
// from a copy of the storage, and would otherwise take the id of the tab it was made from.
const take = () => {
  const taken = attempt(() => JSON.parse(sessionStorage.getItem(STORED)));
  attempt(() => sessionStorage.removeItem(STORED));
  return taken;
};
let { session, seq } = take() ?? { session: uuid(), seq: 0 };

const visitor = attempt(() => {
  const id = localStorage.getItem("headcount:visitor") ?? uuid();
  localStorage.setItem("headcount:visitor", id);
  return id;
});

let who = {
  userId: script?.dataset.user || undefined,
  name: script?.dataset.name || undefined,
  avatar: script?.dataset.avatar || undefined,
};
let facets = {};
let page = null; // null: the location's path
let timer;
let retry = FIRST_RETRY;
let left = false;
let navigatedAt = -Infinity;
let unloading = false;

const message = () =>
  JSON.stringify({
    sessionId: session,
    visitorId: visitor ?? undefined,
    ...who,
    page: (page ?? location.pathname).slice(0, 100),
    facets,
    state: document.hidden ? "hidden" : "active",
    seq: ++seq,
  });

const schedule = (milliseconds) => {
  clearTimeout(timer);
  timer = setTimeout(beat, milliseconds);
};

async function beat() {
  if (left || !space) return;
  schedule(LONGEST_RETRY); // in case the answer never comes
  try {
    // text/plain: a "simple" request, so that no browser asks for permission first.
    const answer = await fetch(endpoint, { method: "POST", body: message(), keepalive: true });
    if (left) return;
    if (!answer.ok) throw answer.status;
    const { count, version, nextBeatIn } = await answer.json();
    retry = FIRST_RETRY;
    // A little early or late, so that a thousand tabs opened at once do not beat as one.
    schedule(nextBeatIn * 1000 * (0.9 + Math.random() * 0.1));
    dispatchEvent(new CustomEvent("headcount", { detail: { space, count, version } }));
  } catch (status) {
    // What is wrong with the request will not be right in a moment.
    schedule(status >= 400 && status < 500 && status !== 429 ? LONGEST_RETRY : retry * (0.5 + Math.random()));
    retry = Math.min(retry * 2, LONGEST_RETRY);
  }
}

/** The person signed in, or (with nothing) out. */
export function identify({ userId, name, avatar } = {}) {
  who = { userId, name, avatar };
  beat();
}

/** What the person is on: `page`, and facets such as `{content: "42"}`. */
export function update(now = {}) {
  page = now.page ?? page;
  facets = now.facets ?? facets;
  beat();
}

/** Stop being present; `join` comes back. */
export function leave() {
  if (left || !space) return;
  left = true;
  clearTimeout(timer);
  const farewell = JSON.stringify({ sessionId: session, seq: ++seq });
  attempt(() => navigator.sendBeacon(`${endpoint}/leave`, farewell));
}

/** Be present again. */
export function join() {
  left = false;
  beat();
}

// Page changes in single-page apps.
let path = location.pathname;
const moved = () => {
  if (page === null && path !== location.pathname) {
    path = location.pathname;
    beat();
  }
};
for (const name of ["pushState", "replaceState"]) {
  const original = history[name];
  history[name] = function (...given) {
    const result = original.apply(this, given);
    moved();
    return result;
  };
}
addEventListener("popstate", moved);

// The next page of the same site goes on with this session: that is no leave. (Should it not embed
// this client, the lease of the last beat ends the session.)
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const follows =
    link?.origin === location.origin && !link.target && !link.hasAttribute("download") &&
    !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (follows) navigatedAt = performance.now();
});
addEventListener("pagehide", () => {
  unloading = true;
  clearTimeout(timer);
  attempt(() => sessionStorage.setItem(STORED, JSON.stringify({ session, seq: seq + 1 })));
  if (performance.now() - navigatedAt > NAVIGATION_TAKES) leave();
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return; // back from the browser's cache
  unloading = false;
  navigatedAt = -Infinity;
  // The pages in between went on counting: an older number would be taken for a late message.
  // Where they left nothing to go on with, this is a new session.
  ({ session, seq } = take() ?? { session: uuid(), seq: 0 });
  join();
});
document.addEventListener("visibilitychange", () => {
  // A hidden tab has a longer lease, because browsers slow its timers; a page that goes away is
  // hidden too, and must not get it.
  if (!left && !unloading) beat();
});
addEventListener("online", () => beat());

beat();
