// A space as a store: what the hooks of all frameworks share. In the package all modules are in one folder.

import { authorization, connect } from "./headcount.js";
import { peopleOf } from "../shared/people.js";

const LEAVE_DELAY = 500; // what is built again, or replaced by the next page's, has not left
const NAMES_INTERVAL = 5000;
const REQUEST_TIMEOUT = 15_000;

const inBrowser = typeof document === "object";
const shared = () => globalThis[Symbol.for("headcount")]; // by all copies of the client in the page

/** Set the API's address, for all spaces that are entered from now on. */
export function configure({ endpoint }) {
  shared().defaults.endpoint = inBrowser ? new URL(endpoint, location.href).href : endpoint;
}

const nobody = [];
const unknown = Object.freeze({ count: null, people: nobody, viewers: nobody, connected: false, stale: false, notice: null, error: null });

/**
 * A store of a space: `subscribe(listener)` calls the listener at once and with each change, and returns a function
 * that unsubscribes. This tab is in the space while somebody subscribes, but not on a server.
 */
export function follow(space, options = {}) {
  const { names, ...connecting } = options;
  const listeners = new Set();
  let state = unknown;
  let doing = {};
  let presence; // while in the space
  let exit;
  let left = false; // by leave(): counts that are under way do not matter any more
  let leaving;
  let namesAt = -Infinity;
  let namesTimer;
  let refused; // the token, or none, that may not read names

  function set(change) {
    if (Object.entries(change).every(([name, value]) => state[name] === value)) return;
    state = Object.freeze({ ...state, ...change });
    for (const listener of listeners) listener(state);
  }

  const react = {
    headcount({ count }) {
      if (left) return;
      const isNew = count !== state.count;
      set({ count, connected: true, stale: false, error: null });
      if (isNew || refused !== undefined) loadNamesSoon();
    },
    "headcount-withheld": () => set({ count: null, connected: false, error: `Only admins may read the count of ${space}.` }),
    "headcount-stale": () => set({ stale: true, connected: false }),
    "headcount-notice": ({ notice }) => set({ notice }),
    "headcount-removed": ({ until }) => set({ connected: false, error: `Removed from ${space} until ${until}.` }),
    "headcount-stopped": ({ reason }) => set({ count: null, connected: false, error: String(reason) }),
  };
  const onEvent = ({ type, detail }) => detail.space === space && react[type](detail);

  /** Returns the API's address, or undefined: then nothing is sent. */
  function address() {
    const endpoint = options.endpoint ?? shared().defaults.endpoint;
    if (endpoint != null) return new URL(endpoint, location.href).href;
    const error = "Headcount needs the address of its API: configure({ endpoint }), or the option endpoint.";
    console.warn(error);
    set({ error });
  }

  function enter() {
    clearTimeout(leaving);
    leaving = undefined;
    if (exit) return;
    const endpoint = address();
    if (!endpoint) return;
    for (const type of Object.keys(react)) addEventListener(type, onEvent);
    presence = connect({ ...connecting, ...doing, space, endpoint });
    if (presence.notice) set({ notice: presence.notice });
    const unsubscribe = presence.subscribe(react.headcount);
    exit = () => {
      for (const type of Object.keys(react)) removeEventListener(type, onEvent);
      clearTimeout(namesTimer);
      unsubscribe();
      presence.release();
      presence = exit = namesTimer = undefined;
      left = false;
      state = unknown;
    };
  }

  function loadNamesSoon() {
    if (names) namesTimer ??= setTimeout(loadNames, Math.max(0, namesAt + NAMES_INTERVAL - Date.now()));
  }

  async function loadNames() {
    namesAt = Date.now();
    const entered = presence;
    const viewers = await readNames().catch(() => nobody); // until the count changes again
    if (entered !== presence) return;
    namesTimer = undefined;
    set({ viewers, people: viewers === nobody ? nobody : peopleOf(viewers) });
  }

  /** The sessions. A token that was refused is not sent again. */
  async function readNames() {
    const headers = await authorization();
    const { authorization: bearer = "" } = headers;
    if (bearer === refused) return nobody;
    refused = undefined;
    const url = new URL(`/v1/spaces/${encodeURIComponent(space)}/viewers?limit=100`, address());
    const response = await fetch(url, { headers, signal: AbortSignal.timeout?.(REQUEST_TIMEOUT) });
    const body = await response.json();
    if (response.ok) return body.viewers;
    if (response.status === 401 || response.status === 403) {
      refused = bearer;
      console.warn(`Headcount shows no names of ${space}: ${body.error}`);
    }
    return nobody;
  }

  return {
    get: () => state,
    subscribe(listener) {
      listeners.add(listener);
      listener(state);
      if (inBrowser) enter();
      return () => {
        listeners.delete(listener);
        if (!listeners.size && exit) leaving ??= setTimeout(() => exit?.(), LEAVE_DELAY);
      };
    },
    /** What the person is doing: `{page, facets, details, quality, engagement}`. */
    update(change) {
      const next = { ...doing, ...change };
      if (JSON.stringify(next) === JSON.stringify(doing)) return;
      doing = next;
      presence?.update(change);
    },
    /** Leave the space, in all of this page. */
    leave() {
      left = true;
      presence?.leave();
      set(unknown);
    },
    /** Be present: after consent was given, or again. */
    start() {
      left = false;
      presence?.start();
    },
  };
}

/** The store of no space. */
export const nowhere = { get: () => unknown, subscribe: () => () => {}, update() {}, leave() {}, start() {} };

/** The state on a server, and until the first count. */
export const atFirst = () => unknown;

/** The options that enter a space, and what the person is doing there. */
export function split({ page, facets, details, quality, engagement, ...entering } = {}) {
  return [entering, { page, facets, details, quality, engagement }];
}
