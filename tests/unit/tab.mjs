// A tab without a browser: headcount.js by connection, with time and the network in our hands.
//
//   node tab.mjs <headcount.js>: runs the story on stdin, prints what happened as JSON.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [file] = process.argv.slice(2);
const log = [];
let now = 1_795_262_400_000;
let timers = [];
let ids = 0;
const closed = new Set();
let reachable = true;
let door; // the address for beats that answers name
let doorWorks = true;

Date.now = () => now;
Math.random = () => 0.5;
globalThis.setTimeout = (run, delay = 0) => {
  timers.push({ id: ++ids, at: now + delay, run });
  return ids;
};
globalThis.clearTimeout = (id) => {
  timers = timers.filter((one) => one.id !== id);
};

const settle = async () => {
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
};

async function pass(seconds) {
  const end = now + seconds * 1000;
  for (;;) {
    await settle();
    const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
    if (!next) break;
    clearTimeout(next.id);
    now = Math.max(now, next.at);
    next.run();
  }
  now = end;
}

const storage = () => {
  const kept = new Map();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
};
const events = new EventTarget();
const capturing = new EventTarget(); // whose listeners browsers call first
const page = new EventTarget();
const stub = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true });

Object.assign(page, { hidden: false, prerendering: false, querySelectorAll: () => [] });
stub("document", page);
stub("window", events);
stub("location", { pathname: "/a", hash: "", origin: "https://shop.example" });
stub("history", { pushState: () => {}, replaceState: () => {} });
stub("localStorage", storage());
stub("sessionStorage", storage());
stub("navigator", { sendBeacon: (url) => log.push({ beacon: new URL(url).pathname }) });
stub("addEventListener", (type, react, options) =>
  (options?.capture ? capturing : events).addEventListener(type, react, options),
);
stub("removeEventListener", events.removeEventListener.bind(events));
stub("dispatchEvent", events.dispatchEvent.bind(events));
stub("fetch", async (url, { body } = {}) => {
  const { pathname, host } = new URL(url);
  if (!body) return { json: async () => ({ socketUrl: "wss://socket.example/live" }) };
  const isDoor = host !== "api.example";
  log.push({ posted: JSON.parse(body).seq, ...(isDoor && { at: String(url) }) });
  if (isDoor && !doorWorks) throw new TypeError("Failed to fetch");
  const answer = { success: true, count: 1, version: 1, nextBeatIn: 30, beatAt: isDoor ? undefined : door };
  return { ok: true, status: 200, headers: new Headers(), json: async () => answer, pathname };
});

const sockets = [];
stub(
  "WebSocket",
  class {
    constructor(url) {
      sockets.push(this);
      this.number = sockets.length;
      log.push({ opened: this.number, asked: Object.fromEntries(new URL(url).searchParams) });
      setImmediate(() => (reachable ? this.onopen() : this.end()));
    }
    send(frame) {
      log.push({ over: this.number, frame: JSON.parse(frame) });
    }
    close(code = 1005) {
      log.push({ closed: this.number, code });
      setImmediate(() => this.end());
    }
    end() {
      if (closed.has(this)) return;
      closed.add(this);
      this.onclose();
    }
  },
);

const inline = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const live = inline(readFileSync(new URL("headcount-live.js", pathToFileURL(file)), "utf8"));
// It dials, but does not listen: tests of that are in live.mjs.
const dials = inline(`export { dial } from "${live}"; export const listen = () => {};`);
await import(dials); // from now on, importing it takes no time
const source = readFileSync(file, "utf8")
  .replaceAll("import.meta.url", '"https://api.example/headcount.js"')
  .replaceAll('"./headcount-live.js"', `"${dials}"`);
const client = await import(inline(source));
const does = {
  connect: (options) => client.connect({ space: "site:main", presence: "socket", ...options }),
  identify: (person) => client.identify(person),
  update: (change) => client.update(change),
  /** As an element does. */
  watch: () => does.connect().subscribe(({ count }) => log.push({ count })),
  notices: () => addEventListener("headcount-notice", ({ detail: { notice } }) => log.push({ notice })),
  subscribe: () => client.subscribe(({ count }) => log.push({ count })),
  leave: () => client.leave(),
  start: () => client.start(),
  pass,
  days(number) {
    now += number * 86_400_000; // of a browser that is closed
  },
  hide() {
    page.hidden = true;
    page.dispatchEvent(new Event("visibilitychange"));
  },
  /** Storage is forbidden from now on, and the page gave the tab a name. */
  forbid(name) {
    globalThis.name = name;
    for (const storage of [localStorage, sessionStorage])
      storage.getItem = storage.setItem = storage.removeItem = () => {
        throw new Error("forbidden");
      };
  },
  unload() {
    for (const target of [capturing, events]) target.dispatchEvent(new Event("pagehide"));
  },
  lose: () => sockets.at(-1).end(),
  receive: (message) => sockets.at(-1).onmessage({ data: JSON.stringify(message) }),
  door(url, works = true) {
    [door, doorWorks] = [url, works];
  },
  /** The page's address and referrer, and signals of the browser. */
  come({ search = "", referrer = "", ...signals }) {
    Object.assign(location, { search, host: "shop.example" });
    Object.assign(page, { referrer });
    Object.assign(navigator, signals);
  },
  network(works) {
    reachable = works;
  },
};
for (const [name, ...given] of JSON.parse(readFileSync(0, "utf8"))) {
  await does[name](...given);
  await settle();
}
process.stdout.write(JSON.stringify(log));
