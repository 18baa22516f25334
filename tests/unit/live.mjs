// A page without a browser: headcount-live.js, with time and the network in our hands.
//
//   node live.mjs <headcount-live.js>: runs the story on stdin, prints what happened as JSON.

import { readFileSync } from "node:fs";

const [file] = process.argv.slice(2);
const log = [];
let now = 1_795_262_400_000;
let repeats = [];
let ids = 0;
let reachable = true;
let socketUrl = "wss://socket.example/live";
let answers = true;

Date.now = () => now;
Math.random = () => 0.5;
globalThis.setInterval = (run, every) => {
  repeats.push({ id: ++ids, every, at: now + every, run });
  return ids;
};
globalThis.clearInterval = (id) => {
  repeats = repeats.filter((one) => one.id !== id);
};

const settle = async () => {
  for (let turn = 0; turn < 30; turn++) await new Promise(setImmediate);
};

async function pass(seconds) {
  const end = now + seconds * 1000;
  await settle();
  for (;;) {
    const next = repeats.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
    if (!next) break;
    now = next.at;
    next.at += next.every;
    next.run();
    await settle();
  }
  now = end;
}

const events = new EventTarget();
const page = Object.assign(new EventTarget(), { hidden: false });
const stub = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true });
stub("document", page);
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) stub(name, events[name].bind(events));
stub("fetch", async () => {
  if (!reachable) throw new Error("offline");
  return { json: async () => ({ socketUrl }) };
});

const sockets = [];
stub(
  "WebSocket",
  class {
    static OPEN = 1;
    readyState = 1;
    constructor(url) {
      sockets.push(this);
      this.number = sockets.length;
      log.push({ opened: this.number, at: (now - 1_795_262_400_000) / 1000, asked: Object.fromEntries(new URL(url).searchParams) });
      setImmediate(() => (reachable ? answers && this.hear(1, this.number) : this.onclose?.()));
    }
    hear(count, version) {
      this.onmessage?.({ data: JSON.stringify({ type: "count", space: "site:main", count, version }) });
    }
    send(frame) {
      log.push({ over: this.number, at: (now - 1_795_262_400_000) / 1000, frame: JSON.parse(frame) });
      if (answers) setImmediate(() => this.onmessage?.({ data: '{"type":"pong"}' }));
    }
    close() {
      log.push({ closed: this.number });
    }
  },
);

addEventListener("headcount-stale", ({ detail }) => log.push({ stale: detail.space, at: (now - 1_795_262_400_000) / 1000 }));
const { listen } = await import(`data:text/javascript,${encodeURIComponent(readFileSync(file, "utf8"))}`);
const channels = {};
const does = {
  /** Somebody shows the count. `due`: after how many seconds the next beat is. */
  listen(name, due) {
    channels[name] = {
      dueAt: now + due * 1000,
      space: "site:main",
      endpoint: "https://api.example/",
      isWanted: true,
      wanted: () => channels[name].isWanted,
      show: ({ count }) => log.push({ [name]: count }),
      ...(due && { due: () => channels[name].dueAt }),
    };
    listen(channels[name]);
  },
  again: (name) => listen(channels[name]),
  unwant(name) {
    channels[name].isWanted = false;
  },
  end(name) {
    channels[name].ended = true;
  },
  hear: (count, version) => sockets.at(-1).hear(count, version),
  /** A beat is answered. `due`: after how many seconds the next one is, which the client knows a moment later. */
  beat(due) {
    dispatchEvent(new CustomEvent("headcount", { detail: { space: "site:main" } }));
    if (due) queueMicrotask(() => Object.values(channels).forEach((one) => (one.dueAt = now + due * 1000)));
  },
  lose: () => sockets.at(-1).onclose?.(),
  pass,
  hide(isHidden) {
    page.hidden = isHidden;
    page.dispatchEvent(new Event("visibilitychange"));
  },
  go: (type) => events.dispatchEvent(new Event(type)),
  network(works) {
    reachable = works;
  },
  answering(works) {
    answers = works;
  },
  site(url) {
    socketUrl = url;
  },
};
for (const [name, ...given] of JSON.parse(readFileSync(0, "utf8"))) {
  await does[name](...given);
  await settle();
}
process.stdout.write(JSON.stringify({ log, timers: repeats.length }));
