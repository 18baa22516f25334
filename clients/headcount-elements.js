// Headcount's elements: <headcount-badge>, <headcount-live>, <headcount-traffic>, <headcount-stream>.
//
//   <script type="module" src="https://<api>/headcount-elements.js"></script>
//   <headcount-badge space="course:intro"></headcount-badge>
//
// Attributes, properties, events, parts and custom properties: docs/elements.md.

import { authorization, connect } from "./headcount.js";
import { peopleOf } from "./shared/people.js";
import { phrase } from "./shared/phrase.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const REQUEST_TIMEOUT = 15 * SECOND;
const MAX_RETRY = MINUTE;
const MIN_INTERVAL = SECOND;
const SOCKET_PING = 4 * MINUTE;
const MAX_SOCKET_RETRY = 30 * SECOND;
const SOCKET_REFRESH = 30 * SECOND; // for data that socket messages leave out
const ANNOUNCE_INTERVAL = 10 * SECOND;
const NAMES_INTERVAL = 5 * SECOND;
const FIRST_COUNT = 20 * SECOND; // then a badge without one has a reason
const CLOSE_DELAY = 200;
const MOVE_TIMEOUT = 500;
const MAX_NAMES = 5;
const MAX_BARS = 6;
const DASH = "–";

// --- Texts -----------------------------------------------------------------------------------

const texts = {
  peopleHere: { one: "{n} person here now", other: "{n} people here now" },
  andMore: { one: "and {n} more", other: "and {n} more" },
  watching: "here now",
  anonymous: "Anonymous",
  notVerified: "not verified",
  liveTitle: "Live analytics",
  trafficTitle: "Live traffic",
  streamTitle: "Live stream",
  refresh: "Refresh",
  live: "Live",
  polling: "Polling",
  paused: "Paused",
  connecting: "Connecting…",
  stale: "Not up to date: the last count came at {time}.",
  reconnecting: "Reconnecting…",
  stopped: "Stopped",
  asOf: "As of {time}",
  activeNow: "Active now",
  totalViews: "Total views",
  viewsToday: "Views today",
  averageTime: "Average time",
  thisWeek: "This week",
  thisMonth: "This month",
  peakViewers: "Peak viewers",
  activeViewers: "Active viewers",
  nobody: "No one is here right now.",
  nobodyHint: "Viewers appear here within seconds.",
  page: "Page {page}",
  loggedIn: "Logged in",
  anonymousSessions: "Anonymous",
  topPages: "Top pages",
  currentViewers: "Current viewers",
  devices: "Devices",
  countries: "Countries",
  performance: "Performance",
  engagement: "Engagement",
  bandwidth: "Bandwidth",
  latency: "Latency",
  errorRate: "Error rate",
  uptime: "Uptime",
  chat: "Chat messages",
  reactions: "Reactions",
  shares: "Shares",
  lastHour: "Viewers in the last hour",
  hourSummary: "Peak {most}, now {now}",
  nothingYet: "No data yet",
  notAllowed: "You need an administrator's token to see this.",
  unreachable: "Can't reach the server. Trying again.",
  unnamed: "Set the attribute {attribute}.",
};
const elements = new Set(); // those on the page

/** Replace texts, in all elements. The keys are those of `words`. */
export function translate(others) {
  Object.assign(texts, others);
  for (const element of elements) element.rebuild();
}

/** All texts as they are now. */
export const words = () => ({ ...texts });

// --- Helpers -----------------------------------------------------------------------------------

const SVG = new Set(["svg", "path"]);

function h(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.map((child) => (typeof child === "string" ? shown(child) : child)));
  return node;
}

function setText(node, text) {
  const safe = shown(text);
  if (node.textContent !== safe) node.textContent = safe;
}

/** Texts from others without what is invisible or turns their direction; joiners belong to letters and emoji. */
const shown = (text) => String(text).replace(/(?![\u200c\u200d\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "");

/** A name, or "" if it shows nothing: spaces, fillers, invisible characters. */
const nameOf = (viewer) => (/^[\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800]*$/u.test(viewer.name ?? "") ? "" : shown(viewer.name).trim());

/** One child per item, in order. Children are kept by key, with their state. */
function reconcile(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const key = String(keyOf(item));
    const node = old.get(key) ?? create();
    old.delete(key);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  for (const node of old.values()) node.remove();
  nodes.forEach((node, i) => parent.children[i] === node || parent.insertBefore(node, parent.children[i] ?? null));
}

function avatar(viewer) {
  const name = nameOf(viewer);
  const initial = name ? [...name][0].toUpperCase() : "";
  const frame = h("span", { class: "avatar", part: "avatar", "aria-hidden": "true" }, initial);
  if (typeof viewer.avatar === "string" && viewer.avatar.startsWith("https://")) {
    const image = h("img", { alt: "", loading: "lazy", referrerpolicy: "no-referrer", src: viewer.avatar });
    image.onerror = () => image.remove();
    frame.append(image);
  }
  return frame;
}

/** The options of the page's first space. */
const defaults = () => globalThis[Symbol.for("headcount")].defaults;

const warned = new Set();

/** What is wrong with the page is in the console once. */
function warn(message) {
  if (warned.has(message)) return;
  warned.add(message);
  console.warn(message);
}

const pulse = () => h("span", { class: "pulse", part: "pulse", "aria-hidden": "true" });
const what = () => h("span", { class: "what" }, h("bdi"));
const beside = (tag = "span") => h(tag, { class: "beside" });

// --- Style -----------------------------------------------------------------------------------

const CSS = `
:host {
  --_ink: var(--headcount-ink, light-dark(#14171c, #e9ebef));
  --_soft: var(--headcount-soft, light-dark(#545c69, #a3acba));
  --_card: var(--headcount-card, light-dark(#ffffff, #15181e));
  --_edge: var(--headcount-edge, light-dark(#dfe3e9, #2c323c));
  --_fill: var(--headcount-fill, light-dark(#f1f3f6, #1f242c));
  --_accent: var(--headcount-accent, light-dark(#3f51d1, #8c9eff));
  --_live: var(--headcount-live, light-dark(#0f6e3b, #4cd08a));
  --_wait: var(--headcount-wait, light-dark(#855400, #f0b54a));
  --_bad: var(--headcount-bad, light-dark(#b3261e, #ff8a80));
  --_radius: var(--headcount-radius, 12px);
  display: block; color: var(--_ink); text-align: start;
  font: var(--headcount-font, 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
  font-variant-numeric: tabular-nums;
}
:host(headcount-badge) { display: inline-flex; vertical-align: middle; }
:host([plain]) { vertical-align: baseline; color: inherit; font: var(--headcount-font, inherit); }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]), [hidden] { display: none !important; }
*, ::before, ::after { box-sizing: border-box; }
p, dl, dd, ul, ol { margin: 0; padding: 0; }
ul, ol { list-style: none; }
button { font: inherit; color: inherit; cursor: pointer; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.unseen { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
bdi { unicode-bidi: isolate; }

.pulse { position: relative; flex: none; inline-size: 8px; block-size: 8px; border-radius: 50%; background: var(--_live); }
.pulse::after { content: ""; position: absolute; inset: 0; border-radius: 50%; background: inherit; animation: pulse 2s ease-out infinite; }
@keyframes pulse { from { transform: scale(1); opacity: 0.6; } 70%, to { transform: scale(2.6); opacity: 0; } }
@media (prefers-reduced-motion: reduce) {
  .pulse::after { animation: none; opacity: 0; }
  * { transition: none !important; }
}

.avatar {
  display: grid; flex: none; place-items: center; position: relative; overflow: hidden; inline-size: 24px; block-size: 24px;
  border-radius: 50%; background: var(--_fill); color: var(--_soft); font-size: 11px; font-weight: 600;
}
.avatar img { position: absolute; inset: 0; inline-size: 100%; block-size: 100%; object-fit: cover; }

.card { padding: 16px; border: 1px solid var(--_edge); border-radius: var(--_radius); background: var(--_card); }
.head { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; margin-block-end: 14px; }
.title { font-size: 1.07em; font-weight: 650; }
.status { display: inline-flex; align-items: center; gap: 7px; color: var(--_wait); font-size: 0.93em; font-weight: 600; }
.status[data-state="live"], .status[data-state="polling"] { color: var(--_live); }
.status:not([data-state="live"], [data-state="polling"]) .pulse { background: currentColor; }
.status:not([data-state="live"], [data-state="polling"]) .pulse::after { animation: none; opacity: 0; }
.status[data-state="stopped"] { color: var(--_bad); }
.as-of { margin-inline-start: auto; color: var(--_soft); font-size: 0.93em; }
.refresh { padding: 3px 10px; border: 1px solid var(--_edge); border-radius: 8px; background: var(--_card); font-size: 0.93em; }
.refresh:hover { background: var(--_fill); }
.error { margin-block-end: 12px; color: var(--_bad); overflow-wrap: anywhere; }
.metrics { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5em, 1fr)); gap: 8px; }
.metric { display: flex; flex-direction: column; padding: 10px 12px; border-radius: calc(var(--_radius) * 0.66); background: var(--_fill); }
.metric dt { color: var(--_soft); font-size: 0.93em; }
.metric dd { font-size: 1.5em; font-weight: 650; line-height: 1.25; }
.metric.first dd { color: var(--_live); }
.sub { margin-block: 18px 8px; font-weight: 600; }
.empty { padding: 12px; border: 1px dashed var(--_edge); border-radius: calc(var(--_radius) * 0.66); color: var(--_soft); text-align: center; }
.rows { display: grid; gap: 8px; }
.row { display: flex; align-items: center; gap: 9px; min-inline-size: 0; }
.row .what { flex: 1; min-inline-size: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row .beside { flex: none; color: var(--_soft); }
.bars { display: grid; gap: 7px; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: 2px 10px; }
.bars:empty::before { content: attr(data-empty); color: var(--_soft); }
.bars .what { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars .bar { grid-column: 1 / -1; block-size: 6px; border-radius: 3px; background: var(--_fill); overflow: hidden; }
.bars .bar::after { content: ""; display: block; block-size: 100%; inline-size: calc(var(--share) * 100%); border-radius: inherit; background: var(--_accent); transition: inline-size 0.4s; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(13em, 1fr)); gap: 0 24px; }
.pairs { display: grid; gap: 5px; }
.pairs div { display: flex; justify-content: space-between; gap: 12px; }
.pairs dt { color: var(--_soft); }
.pairs dd { font-weight: 600; unicode-bidi: plaintext; }
.chart { position: relative; direction: ltr; padding-inline-start: 2.6em; color: var(--_soft); font-size: 0.86em; }
.spark { display: block; inline-size: 100%; block-size: 72px; overflow: visible; border-block: 1px solid var(--_edge); }
.spark path { fill: none; stroke: var(--_accent); stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.chart .most, .chart .least { position: absolute; inset-inline-start: 0; inline-size: 2.1em; text-align: end; line-height: 1; }
.chart .most { inset-block-start: 0; }
.chart .least { inset-block-start: calc(72px - 1em); }
.times { display: flex; justify-content: space-between; min-block-size: 1.45em; }
.at { position: absolute; inset-block: 0 auto; inset-inline-start: calc(2.6em + (100% - 2.6em) * var(--x)); block-size: 72px; border-inline-start: 1px solid var(--_soft); pointer-events: none; }
.at span { position: absolute; inset-block-end: 100%; translate: calc(-100% * var(--x)); padding: 2px 7px; border: 1px solid var(--_edge); border-radius: 7px; background: var(--_card); color: var(--_ink); white-space: nowrap; }

.badge-frame { position: relative; display: inline-block; }
.badge {
  display: inline-flex; align-items: center; gap: 8px; padding: 4px 11px; border: 1px solid color-mix(in srgb, var(--_live) 30%, transparent);
  border-radius: 999px; background: var(--headcount-badge, color-mix(in srgb, var(--_live) 9%, var(--_card))); color: var(--_live); font-weight: 600;
}
.badge:not([data-state="live"]) { border-color: var(--_edge); background: var(--_fill); color: var(--_soft); }
.badge:not([data-state="live"]) .pulse { background: currentColor; }
.badge:not([data-state="live"]) .pulse::after { animation: none; opacity: 0; }
.badge[data-state="stopped"] { color: var(--_bad); }
:host([plain]) .badge { padding: 0; border: 0; border-radius: 4px; background: none; color: inherit; font-weight: inherit; text-align: start; }
:host([when-unknown="hide"]) .badge-frame:has(.badge:is([data-state="waiting"], [data-state="stopped"])) { display: none; }
.sentence { white-space: pre-wrap; }
.stack { display: inline-flex; }
.stack:empty { display: none; }
.stack .avatar { outline: 2px solid var(--_card); }
.stack .avatar + .avatar { margin-inline-start: -8px; }
.tip {
  position: absolute; z-index: 10; inset-block-start: calc(100% + 6px); inset-inline-start: 0; inline-size: max-content; max-inline-size: min(260px, 92vw);
  padding: 10px 12px; border: 1px solid var(--_edge); border-radius: var(--_radius); background: var(--_card); color: var(--_ink);
  box-shadow: 0 6px 24px rgb(0 0 0 / 16%);
}
.tip.above { inset-block: auto calc(100% + 6px); }
.tip .rows { margin-block-start: 8px; }
.tip .more { margin-block-start: 8px; color: var(--_soft); }
`;

let sheet;

function addStyle(root) {
  try {
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(CSS);
    }
    root.adoptedStyleSheets = [sheet];
  } catch {
    root.prepend(h("style", {}, CSS)); // a browser without constructable style sheets
  }
}

// --- What all elements share ---------------------------------------------------------------------

/** Trying again does not help: the request needs another token or another element. */
class Refused extends Error {}

// How a property is read from its attribute and written to it; null removes the attribute.
const string = { read: (value) => value ?? "", write: (value) => (value == null || value === "" ? null : String(value)) };
const flag = { read: (value) => value !== null && value !== "false", write: (value) => (value ? "" : null) };
const flagOn = { read: (value) => value !== "false", write: (value) => (value ? null : "false") };
const interval = (standard) => ({
  read: (value) => Math.max(MIN_INTERVAL, Number(value) || standard),
  write: (value) => (value == null ? null : String(value)),
});

const COMMON = { endpoint: string, theme: string, headingLevel: string };
const attributeOf = (property) => property.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Without a browser (on a server) the module can be imported, and the tags stay as they are. */
const Base = globalThis.HTMLElement ?? class {};

class HeadcountElement extends Base {
  static properties = {};

  static get observedAttributes() {
    return [...Object.keys(this.properties).map(attributeOf), "token", "lang"];
  }

  #token = null;
  #built = false;

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
  }

  /** A token, or a function that returns one. The property is not reflected: every script can read attributes. */
  get token() {
    return this.#token ?? this.getAttribute("token");
  }

  set token(value) {
    if (this.#token === value) return;
    this.#token = value;
    this.attributeChangedCallback("token");
  }

  connectedCallback() {
    for (const name of [...Object.keys(this.constructor.properties), "token"]) {
      if (!Object.hasOwn(this, name)) continue;
      const early = this[name]; // set before the element was defined
      delete this[name];
      this[name] = early;
    }
    elements.add(this);
    this.rebuild();
    this.start();
  }

  disconnectedCallback() {
    elements.delete(this);
    this.stop();
  }

  attributeChangedCallback(name, old, value) {
    if (!this.#built || !this.isConnected || (old !== undefined && old === value)) return;
    if (name === "theme") return;
    this.stop();
    this.rebuild();
    this.start();
  }

  rebuild() {
    this.#built = true;
    this.shadowRoot.replaceChildren();
    addStyle(this.shadowRoot);
    this.build();
  }

  text(key, values = {}) {
    let text = texts[key];
    if (typeof text === "object") text = text[new Intl.PluralRules(this.locale()).select(values.n)] ?? text.other;
    return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? this.number(values[name]) : values[name]));
  }

  number(value, options) {
    return Number.isFinite(value) ? value.toLocaleString(this.locale(), options) : DASH;
  }

  time(at) {
    return new Date(at).toLocaleTimeString(this.locale(), { hour: "numeric", minute: "2-digit", second: "2-digit" });
  }

  minute(at) {
    return new Date(at).toLocaleTimeString(this.locale(), { hour: "numeric", minute: "2-digit" });
  }

  duration(seconds) {
    if (!Number.isFinite(seconds)) return DASH;
    const unit = (value, name) => this.number(value, { style: "unit", unit: name, unitDisplay: "narrow" });
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return unit(whole, "second");
    if (whole < 3600) return `${unit(Math.floor(whole / 60), "minute")} ${unit(whole % 60, "second")}`;
    return `${unit(Math.floor(whole / 3600), "hour")} ${unit(Math.floor(whole / 60) % 60, "minute")}`;
  }

  country(code) {
    try {
      return new Intl.DisplayNames(this.locale(), { type: "region" }).of(code);
    } catch {
      return code; // "other"
    }
  }

  locale() {
    try {
      return Intl.getCanonicalLocales(this.closest("[lang]")?.lang || navigator.language);
    } catch {
      return undefined;
    }
  }

  url(path) {
    return new URL(path, this.endpoint || defaults().endpoint || import.meta.url);
  }

  /** The JSON at a path, requested with this element's token or the client's. */
  async get(path) {
    const headers = await authorization(this.token ?? undefined);
    const url = this.url(path);
    if (!url.protocol.startsWith("http")) throw new Refused(this.text("unnamed", { attribute: "endpoint" })); // in a bundle
    const response = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.timeout?.(REQUEST_TIMEOUT) });
    const body = await response.json().catch(() => undefined);
    const { ok, status } = response;
    if (ok && body) return body; // else something else on the way answers
    if (status === 401 || status === 403) throw new Refused(this.text("notAllowed"));
    throw new (status > 399 && status < 500 && status !== 429 ? Refused : Error)(body?.error ?? String(status));
  }

  announce(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

function defineProperties(type, own) {
  type.properties = { ...COMMON, ...own };
  for (const [name, kind] of Object.entries(type.properties)) {
    const attribute = attributeOf(name);
    Object.defineProperty(type.prototype, name, {
      configurable: true,
      enumerable: true,
      get() {
        return kind.read(this.getAttribute(attribute));
      },
      set(value) {
        const written = kind.write(value);
        if (written === this.getAttribute(attribute)) return;
        if (written === null) this.removeAttribute(attribute);
        else this.setAttribute(attribute, written);
      },
    });
  }
}

/** Loads repeatedly: one load at a time, less often after failures, and not while the tab is hidden. */
class Poll {
  #load;
  #interval;
  #timer;
  #running = false;
  #again = false;
  #stopped = false;
  #failures = 0;
  #dueAt = 0;

  /** `load` returns "ok", "failed" or, if trying again does not help, "refused". `interval` returns milliseconds. */
  constructor(load, interval) {
    this.#load = load;
    this.#interval = interval;
    document.addEventListener("visibilitychange", this.#toggled);
    this.#schedule(0);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#toggled);
  }

  #schedule(delay) {
    this.#dueAt = Date.now() + delay;
    clearTimeout(this.#timer);
    if (!this.#stopped && !document.hidden) this.#timer = setTimeout(() => this.run(), delay);
  }

  /** Load within so many milliseconds. Never postpones: a frame every second must not delay a load for ever. */
  runWithin(delay) {
    if (Date.now() + delay < this.#dueAt) this.#schedule(delay);
  }

  async run() {
    if (this.#running) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#running = true;
    const outcome = await this.#load();
    this.#running = false;
    const again = this.#again;
    this.#again = false;
    if (this.#stopped) return;
    this.#failures = outcome === "failed" ? this.#failures + 1 : 0;
    const interval = this.#interval();
    if (again) this.#schedule(0);
    else if (outcome !== "refused" && interval !== Infinity)
      this.#schedule(this.#failures ? Math.min(interval * 2 ** this.#failures, Math.max(interval, MAX_RETRY)) : interval);
    else this.#dueAt = Infinity;
  }

  #toggled = () => {
    if (document.hidden) clearTimeout(this.#timer);
    else if (this.#dueAt !== Infinity) this.#schedule(Math.max(0, this.#dueAt - Date.now()));
  };
}

// --- <headcount-badge> ---------------------------------------------------------------------------

export class HeadcountBadge extends HeadcountElement {
  #presence = null;
  #unsubscribe = null;
  #poll = null;
  #count;
  #viewers = [];
  #viewersAt = -Infinity;
  #loading; // names, for the row of avatars
  #refused; // the token, or none, that may not read names
  #closing;
  #announcing;
  #overdue;
  #error = "";
  #heardAt;
  #channel = null; // of a passive badge: how it listens
  #parts = {};

  /** People in the space, as last received. */
  get count() {
    return this.#count;
  }

  build() {
    const before = h("span", { part: "before" });
    const label = h("span", { part: "label" });
    const count = h("span", { part: "count" });
    const stack = h("span", { class: "stack", part: "avatars" });
    const tip = h("div", { id: "tip", class: "tip", part: "tooltip", role: "group", hidden: "" });
    const button = h(
      "button",
      { type: "button", class: "badge", part: "badge", "aria-expanded": "false", "aria-controls": "tip" },
      pulse(),
      stack,
      h("span", { class: "sentence" }, before, count, label),
    );
    const status = h("span", { class: "unseen", role: "status" });
    const open = () => this.#open();
    const closeSoon = () => this.#closeSoon();
    const listeners = { onclick: open, onfocusin: open, onpointerenter: open, onpointerleave: closeSoon, onfocusout: closeSoon };
    this.shadowRoot.append(h("span", { class: "badge-frame", ...listeners }, button, tip, status));
    this.#parts = { button, before, count, label, stack, tip, status };
    this.#render();
  }

  attributeChangedCallback(name, old, value) {
    if (["space", "endpoint", "passive", "refresh-interval"].includes(name)) super.attributeChangedCallback(name, old, value);
    else if (name === "chapter" && old !== value) this.#presence?.update(this.#doing);
    else if (this.isConnected && this.#parts.tip) this.#render();
    this.#viewersAt = -Infinity;
  }

  get #doing() {
    return { facets: this.chapter ? { chapter: this.chapter } : {} };
  }

  start() {
    this.#error = "";
    if (!this.space) {
      this.#stopped(this.text("unnamed", { attribute: "space" }));
      warn(`<headcount-badge>: ${this.#error}`);
      return;
    }
    addEventListener("headcount", this.#onCount);
    addEventListener("headcount-stale", this.#onStale);
    this.#overdue = setTimeout(() => this.#warnOfSilence(), FIRST_COUNT);
    if (this.passive) {
      this.#poll = new Poll(() => this.#load(), () => (this.#channel?.open ? Infinity : this.refreshInterval));
      return;
    }
    addEventListener("headcount-stopped", this.#onStopped);
    addEventListener("headcount-withheld", this.#onWithheld);
    const { space, chapter } = this;
    this.#presence = connect({ space, endpoint: this.endpoint || undefined, ...(chapter && this.#doing) });
    if (chapter) this.#presence.update(this.#doing);
    this.#unsubscribe = this.#presence.subscribe(({ count }) => this.#receive(count));
  }

  stop() {
    clearTimeout(this.#overdue);
    this.#poll?.stop();
    this.#unsubscribe?.();
    removeEventListener("headcount", this.#onCount);
    removeEventListener("headcount-stale", this.#onStale);
    removeEventListener("headcount-stopped", this.#onStopped);
    removeEventListener("headcount-withheld", this.#onWithheld);
    if (this.#channel) this.#channel.ended = true;
    this.removeAttribute("stale");
    // Moving an element removes it from the page and puts it back: that is no leave.
    const presence = this.#presence;
    setTimeout(() => presence?.release(), MOVE_TIMEOUT);
    this.#poll = this.#unsubscribe = this.#presence = this.#channel = null;
    this.#count = this.#refused = undefined;
    this.#viewers = [];
    clearTimeout(this.#closing);
    this.#close();
    clearTimeout(this.#announcing);
    clearTimeout(this.#loading);
    this.#announcing = this.#loading = null;
  }

  #warnOfSilence() {
    const { consent, respect } = defaults();
    if (this.#count !== undefined || this.#error || document.hidden || consent !== undefined || respect) return;
    warn(`<headcount-badge>: no count of ${this.space} came. Does ${this.endpoint || "its API"} answer, and may everyone read it?`);
  }

  async #load() {
    try {
      const { people } = await this.get(`/v1/spaces/${encodeURIComponent(this.space)}`);
      this.#receive(people);
      this.#setStale(false);
      this.#listen();
      return "ok";
    } catch (error) {
      if (!(error instanceof Refused)) {
        if (this.#heardAt && Date.now() - this.#heardAt > this.refreshInterval) this.#setStale(true);
        return "failed";
      }
      warn(`<headcount-badge>: ${error.message}`);
      this.#stopped(error.message);
      return "refused";
    }
  }

  /** Without being counted. A page that is present in the space hears its count anyway. */
  #listen() {
    if (this.#channel || !this.isConnected) return;
    const { space } = this;
    const channel = {
      space,
      endpoint: this.url("/").href,
      authorization: () => authorization(this.token ?? undefined),
      wanted: () => !channel.ended,
      show: ({ count }) => {
        if (channel.ended) return;
        this.#receive(count);
        this.#setStale(false);
      },
      toggled: () => channel.ended || channel.open || this.#poll?.runWithin(0),
    };
    this.#channel = channel;
    import("./headcount-live.js").then(({ listen }) => listen(channel)).catch(() => {});
  }

  #onCount = ({ detail: { space, count } }) => {
    if (space !== this.space) return;
    if (this.passive) this.#receive(count);
    this.#setStale(false);
    if (this.#refused !== undefined) this.#loadNamesSoon(); // the person may have signed in
  };

  #onStale = ({ detail: { space } }) => space === this.space && !this.passive && this.#setStale(true);

  #setStale(isStale) {
    if (!isStale) this.#heardAt = Date.now();
    if (isStale === this.hasAttribute("stale")) return;
    this.toggleAttribute("stale", isStale);
    this.#render();
  }

  #onStopped = ({ detail: { space, reason } }) => space === this.space && this.#stopped(String(reason));

  #onWithheld = ({ detail: { space } }) => {
    const reason = this.text("notAllowed");
    if (space !== this.space || this.#error === reason) return;
    warn(`<headcount-badge>: no count of ${space}: ${reason}`);
    this.#stopped(reason);
  };

  /** Trying again does not help: the page has to be corrected. */
  #stopped(reason) {
    this.#error = reason;
    this.#count = undefined;
    this.#render();
    this.announce("headcount-error", { message: reason, refused: true });
  }

  #receive(count) {
    this.#error = "";
    // The first response was published before the reader came: ask again soon.
    if (this.#count === undefined) this.#presence?.update({});
    if (count === this.#count) return;
    this.#count = count;
    this.#render();
    this.#loadNamesSoon();
    this.announce("headcount-update", { space: this.space, count });
    // Only now and then, and the latest: reading every change aloud would be noise.
    this.#announcing ??= setTimeout(() => {
      this.#announcing = null;
      setText(this.#parts.status, this.text("peopleHere", { n: this.#count }));
    }, ANNOUNCE_INTERVAL);
  }

  #render() {
    const { button, tip } = this.#parts;
    const isLive = this.#count !== undefined;
    const stale = isLive && this.hasAttribute("stale") ? this.text("stale", { time: this.time(this.#heardAt) }) : "";
    button.dataset.state = stale ? "stale" : isLive ? "live" : this.#error ? "stopped" : "waiting";
    button.title = stale;
    this.#showSentence(isLive ? this.label || this.text("watching") : this.text(this.#error ? "stopped" : "connecting"));
    this.#showStack();
    if (!isLive) return tip.replaceChildren(h("p", {}, this.#error || this.text("connecting")));
    const people = Math.max(this.#count ?? 0, this.#viewers.length); // names are newer than the last beat
    const sentence = this.text("peopleHere", { n: people });
    tip.setAttribute("aria-label", sentence);
    tip.replaceChildren(h("p", {}, sentence), ...(stale ? [h("p", { class: "more" }, stale)] : []));
    if (!this.#viewers.length) return;
    const rows = this.#viewers.map((viewer) =>
      h("li", { class: "row", part: "viewer" }, avatar(viewer), h("span", { class: "what" }, h("bdi", {}, nameOf(viewer) || this.text("anonymous")), viewer.userId && !viewer.verified ? ` (${this.text("notVerified")})` : "")),
    );
    tip.append(h("ul", { class: "rows" }, ...rows));
    const more = people - rows.length;
    if (more > 0) tip.append(h("p", { class: "more" }, this.text("andMore", { n: more })));
  }

  /** A sentence with `{n}`, in its plural form, or the text after the number. */
  #showSentence(label) {
    const { before, count, label: after } = this.#parts;
    const sentence = label.includes("{n}") ? phrase(label, this.#count, this.locale()) : `{n} ${label}`;
    const [start, ...rest] = sentence.split("{n}");
    setText(before, start);
    setText(count, rest.length ? this.number(this.#count) : "");
    setText(after, rest.join("{n}"));
  }

  #showStack() {
    const { stack } = this.#parts;
    const viewers = this.avatars ? this.#viewers : [];
    const shown = JSON.stringify(viewers.map(({ name, avatar }) => [name, avatar]));
    if (stack.shown === shown) return; // pictures that are there stay
    stack.shown = shown;
    stack.replaceChildren(...viewers.map(avatar));
  }

  #open() {
    clearTimeout(this.#closing);
    const { button, tip } = this.#parts;
    if (!tip.hidden) return;
    tip.hidden = false;
    button.setAttribute("aria-expanded", "true");
    addEventListener("keydown", this.#onKey); // of the window: who hovers has the focus elsewhere
    this.#position();
    this.#loadNamesSoon();
  }

  /** Keeps the tooltip within the window, in either writing direction. */
  #position() {
    const { tip } = this.#parts;
    tip.style.translate = "";
    tip.classList.remove("above");
    const below = tip.getBoundingClientRect();
    tip.classList.toggle("above", below.bottom > innerHeight && below.height + 12 < this.getBoundingClientRect().top);
    const width = document.documentElement.clientWidth;
    const shift = below.right > width - 8 ? width - 8 - below.right : Math.max(0, 8 - below.left);
    if (shift) tip.style.translate = `${shift}px`;
  }

  #closeSoon() {
    clearTimeout(this.#closing);
    this.#closing = setTimeout(() => this.matches(":hover") || this.shadowRoot.activeElement || this.#close(), CLOSE_DELAY);
  }

  #close() {
    this.#parts.tip.hidden = true;
    this.#parts.button.setAttribute("aria-expanded", "false");
    removeEventListener("keydown", this.#onKey);
  }

  #onKey = ({ key }) => key === "Escape" && this.#close();

  get #showsNames() {
    return this.avatars || !this.#parts.tip.hidden;
  }

  /** Now, or as soon as they may be requested again: a tooltip that is open before the first count fills by itself. */
  #loadNamesSoon() {
    if (this.#showsNames) this.#loading ??= setTimeout(() => this.#loadNames(), Math.max(0, this.#viewersAt + NAMES_INTERVAL - Date.now()));
  }

  /** Requests names, but only with a token or the attribute `names`: other readers can rarely see them. */
  async #loadNames() {
    this.#loading = null;
    if (this.#count === undefined || !this.#showsNames || !(this.names || this.avatars || this.token)) return;
    this.#viewersAt = Date.now();
    const { space } = this;
    const [kind, ...id] = space.split(":");
    const path =
      kind === "course"
        ? `/api/courses/${encodeURIComponent(id.join(":"))}/viewers?limit=${MAX_NAMES}`
        : `/v1/spaces/${encodeURIComponent(space)}/viewers?limit=20`;
    let bearer;
    try {
      ({ authorization: bearer = "" } = await authorization(this.token ?? undefined));
      if (bearer === this.#refused) return;
      this.#refused = undefined;
      const { viewers } = await this.get(path);
      if (space !== this.space) return; // changed meanwhile
      this.#viewers = peopleOf(viewers).sort((a, b) => !nameOf(a) - !nameOf(b)).slice(0, MAX_NAMES);
    } catch (error) {
      this.#viewers = [];
      if (error instanceof Refused) {
        this.#refused = bearer;
        warn(`<headcount-badge>: no names of ${space}: ${error.message}`);
      }
    }
    this.#render();
    if (!this.#parts.tip.hidden) this.#position();
  }
}
defineProperties(HeadcountBadge, { space: string, chapter: string, label: string, avatars: flag, names: flag, passive: flag, plain: flag, whenUnknown: string, refreshInterval: interval(30 * SECOND) });

// --- What the widgets share ------------------------------------------------------------------------

/** A card with numbers. Subclasses `fill` it, `load` its data and `show` them. */
class Widget extends HeadcountElement {
  static title = "";
  static needs = []; // one of these properties must be set
  #poll = null;
  #data = null;
  #state = "connecting";
  #error = "";
  #loadedAt;
  #run = 0;
  #parts = {};
  #values = {};

  /** The response that is shown. */
  get data() {
    return this.#data;
  }

  get state() {
    return this.#state;
  }

  /** Load now. */
  refresh() {
    return this.#poll?.run();
  }

  build() {
    const level = this.headingLevel || "2";
    const title = h("div", { id: "title", class: "title", part: "title", role: "heading", "aria-level": level }, this.text(this.constructor.title));
    const status = h("span", { class: "status", part: "status", role: "status" }, pulse(), h("span"));
    const asOf = h("span", { class: "as-of", part: "as-of" });
    const button = h("button", { type: "button", class: "refresh", part: "refresh", onclick: () => this.refresh() }, this.text("refresh"));
    const error = h("p", { class: "error", part: "error", role: "alert", hidden: "" });
    const content = h("div", { part: "content" });
    this.#parts = { status, asOf, error };
    this.shadowRoot.append(
      h("section", { class: "card", part: "card", "aria-labelledby": "title" }, h("div", { class: "head", part: "header" }, title, status, asOf, button), error, content),
    );
    content.append(...this.fill(String(Number(level) + 1)));
    this.#render();
  }

  start() {
    this.#data = null;
    this.#loadedAt = undefined;
    const { needs } = this.constructor;
    const missing = needs.length > 0 && !needs.some((name) => this[name]);
    this.#state = missing ? "stopped" : "connecting";
    this.#error = missing ? this.text("unnamed", { attribute: needs.map(attributeOf).join(" / ") }) : "";
    if (missing) warn(`<${this.localName}>: ${this.#error}`);
    if (!missing) this.#poll = new Poll(() => this.#load(), () => this.interval());
    this.#render();
  }

  stop() {
    this.#run += 1;
    this.#poll?.stop();
    this.#poll = null;
  }

  interval() {
    return this.refreshInterval;
  }

  loadWithin(delay) {
    this.#poll?.runWithin(delay);
  }

  /** Show data, loaded or from a socket. */
  receive(data) {
    this.#data = data;
    this.#loadedAt = Date.now();
    this.#render();
    this.announce("headcount-update", data);
  }

  setState(state) {
    this.#state = state;
    this.#render();
  }

  async #load() {
    const run = this.#run;
    try {
      const data = await this.load();
      if (run !== this.#run) return "refused";
      this.#error = "";
      this.#state = this.stateWhenLoaded();
      this.receive(data);
      return "ok";
    } catch (error) {
      if (run !== this.#run) return "refused";
      const refused = error instanceof Refused;
      this.#error = refused ? error.message : this.text("unreachable");
      this.setState(refused ? "stopped" : "reconnecting");
      this.announce("headcount-error", { message: error.message, refused });
      return refused ? "refused" : "failed";
    }
  }

  stateWhenLoaded() {
    return "live";
  }

  #render() {
    const { status, asOf, error } = this.#parts;
    if (!status) return;
    status.dataset.state = this.#state;
    setText(status.lastElementChild, this.text(this.#state));
    setText(error, this.#error);
    error.hidden = !this.#error;
    setText(asOf, this.#loadedAt ? this.text("asOf", { time: this.time(this.#loadedAt) }) : "");
    this.show(this.#data);
  }

  // Pieces of a widget.

  /** Labels with values, as tiles ("metrics") or lines ("pairs"). */
  values(kind, keys) {
    const rows = keys.map((key, i) => {
      this.#values[key] = h("dd", { part: "value" }, DASH);
      const frame = kind === "metrics" ? { class: i ? "metric" : "metric first", part: "metric" } : {};
      return h("div", frame, h("dt", { part: "label" }, this.text(key)), this.#values[key]);
    });
    return h("dl", { class: kind, part: kind }, ...rows);
  }

  setValues(texts) {
    for (const [key, text] of Object.entries(texts)) setText(this.#values[key], text);
  }

  subtitle(key, level) {
    return h("div", { id: key, class: "sub", part: "subtitle", role: "heading", "aria-level": level }, this.text(key));
  }

  /** A titled list, and what to show if it is empty. */
  list(tag, key, level, ...hint) {
    const list = h(tag, { class: "rows", part: "list", "aria-labelledby": key });
    const empty = h("p", { class: "empty", part: "empty", hidden: "" }, this.text("nobody"), ...hint);
    return [this.subtitle(key, level), list, empty];
  }

  /** Fill such a list; without data both parts are hidden. `create` makes a row's children. */
  showList([, list, empty], items, part, keyOf, create, update) {
    empty.hidden = !items || items.length > 0;
    list.hidden = !items?.length;
    reconcile(list, items ?? [], keyOf, () => h("li", { class: "row", part }, ...create()), update);
  }

  showBars(list, entries, nameOf = (name) => name) {
    const sorted = Object.entries(entries ?? {}).sort((a, b) => b[1] - a[1]).slice(0, MAX_BARS);
    const most = sorted[0]?.[1] || 1;
    reconcile(
      list,
      sorted,
      ([name]) => name,
      () => h("li", {}, what(), h("span"), h("span", { class: "bar", part: "bar", "aria-hidden": "true" })),
      (row, [name, value]) => {
        setText(row.children[0].firstChild, nameOf(name));
        setText(row.children[1], this.number(value));
        row.children[2].style.setProperty("--share", value / most);
      },
    );
  }
}

// --- <headcount-live> ------------------------------------------------------------------------------

export class HeadcountLive extends Widget {
  static title = "liveTitle";
  static needs = ["link", "space"];
  #viewers;

  fill(level) {
    this.#viewers = this.list("ul", "activeViewers", level, h("br"), this.text("nobodyHint"));
    const keys = ["activeNow", "totalViews", "viewsToday", "averageTime", "thisWeek", "thisMonth", "peakViewers"];
    return [this.values("metrics", keys), ...this.#viewers];
  }

  async load() {
    if (this.link) return this.get(`/api/send/realtime/${encodeURIComponent(this.link)}`);
    const path = `/v1/spaces/${encodeURIComponent(this.space)}`;
    const [headcount, { viewers }] = await Promise.all([this.get(path), this.get(`${path}/viewers?limit=${MAX_NAMES}`)]);
    return {
      metrics: {
        activeViewers: headcount.people,
        totalViews: headcount.views.total,
        viewsToday: headcount.views.today,
        viewsThisWeek: headcount.views.week,
        viewsThisMonth: headcount.views.month,
        peakConcurrentViewers: headcount.peak?.people ?? 0,
        avgViewDuration: headcount.avgSeconds ?? undefined,
      },
      activeViewers: viewers.map((viewer) => ({
        sessionId: viewer.sessionId,
        email: nameOf(viewer) || viewer.userId,
        avatar: viewer.avatar,
        currentPage: viewer.page,
        duration: (Date.parse(viewer.lastSeen) - Date.parse(viewer.joinedAt)) / SECOND,
      })),
    };
  }

  show(data) {
    const metrics = data?.metrics ?? {};
    this.setValues({
      activeNow: this.number(metrics.activeViewers),
      totalViews: this.number(metrics.totalViews),
      viewsToday: this.number(metrics.viewsToday),
      averageTime: this.duration(metrics.avgViewDuration || undefined), // 0: no visit has ended
      thisWeek: this.number(metrics.viewsThisWeek),
      thisMonth: this.number(metrics.viewsThisMonth),
      peakViewers: this.number(metrics.peakConcurrentViewers),
    });
    this.showList(
      this.#viewers,
      data && (data.activeViewers ?? []).slice(0, MAX_NAMES),
      "viewer",
      (viewer) => viewer.sessionId,
      () => [pulse(), what(), beside("bdi"), beside()],
      (row, viewer) => {
        const [, name, place, duration] = row.children;
        const page = viewer.currentPage;
        setText(name.firstChild, viewer.email || this.text("anonymous"));
        setText(place, typeof page === "number" ? this.text("page", { page }) : (page ?? ""));
        setText(duration, this.duration(viewer.duration));
      },
    );
  }
}
defineProperties(HeadcountLive, { link: string, space: string, refreshInterval: interval(5 * SECOND) });

// --- <headcount-traffic> -----------------------------------------------------------------------------

export class HeadcountTraffic extends Widget {
  static title = "trafficTitle";
  #pages;

  fill(level) {
    this.#pages = this.list("ol", "topPages", level);
    return [this.values("metrics", ["activeNow", "loggedIn", "anonymousSessions"]), ...this.#pages];
  }

  load() {
    return this.get("/api/traffic/live");
  }

  show(data) {
    this.setValues({
      activeNow: this.number(data?.activeSessions),
      loggedIn: this.number(data?.authenticatedUsers),
      anonymousSessions: this.number(data?.anonymousSessions),
    });
    this.showList(
      this.#pages,
      data && (data.topPages ?? []),
      "page",
      ({ path }) => path,
      () => [what(), beside()],
      (row, { path, count }) => {
        setText(row.firstChild.firstChild, path);
        setText(row.lastChild, this.number(count));
      },
    );
  }
}
defineProperties(HeadcountTraffic, { refreshInterval: interval(10 * SECOND) });

// --- <headcount-stream> ------------------------------------------------------------------------------

export class HeadcountStream extends Widget {
  static title = "streamTitle";
  static needs = ["streamId"];
  #devices;
  #countries;
  #spark;
  #summary;
  #axis = {};
  #at; // where the pointer is
  #points = []; // {at, viewers} of the last hour
  #pointer = NaN;
  #socket = null;
  #retry;
  #ping;
  #failures = 0;

  get #isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  fill(level) {
    const bars = (key) => h("ul", { class: "bars", part: key, "aria-labelledby": key, "data-empty": this.text("nothingYet") });
    this.#devices = bars("devices");
    this.#countries = bars("countries");
    this.#spark = h("svg", { class: "spark", part: "timeline", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-labelledby": "lastHour hourSummary" }, h("path"));
    this.#summary = h("span", { id: "hourSummary", class: "unseen" });
    const unread = { "aria-hidden": "true" }; // the summary says it
    this.#axis = { most: h("span", { class: "most", ...unread }), least: h("span", { class: "least", ...unread }), from: h("span"), to: h("span") };
    this.#at = h("div", { class: "at", hidden: "", ...unread }, h("span"));
    const { most, least, from, to } = this.#axis;
    const times = h("div", { class: "times", part: "axis", ...unread }, from, to);
    const point = ({ clientX }) => this.#point(clientX);
    const leave = () => this.#point(NaN);
    const chart = h("div", { class: "chart", part: "chart", onpointermove: point, onpointerdown: point, onpointerleave: leave }, most, least, this.#spark, this.#at, times);
    const block = (key, ...nodes) => h("div", {}, this.subtitle(key, level), ...nodes);
    return [
      this.values("metrics", ["currentViewers", "peakViewers", "totalViews", "averageTime"]),
      block("lastHour", chart, this.#summary),
      h(
        "div",
        { class: "columns" },
        block("devices", this.#devices),
        block("countries", this.#countries),
        block("performance", this.values("pairs", ["bandwidth", "latency", "errorRate", "uptime"])),
        block("engagement", this.values("pairs", ["chat", "reactions", "shares"])),
      ),
    ];
  }

  start() {
    super.start();
    if (this.streamId && this.autoRefresh) this.#open();
  }

  stop() {
    super.stop();
    this.#close();
    this.#failures = 0;
  }

  load() {
    return this.get(`/api/v1/analytics/real-time/${encodeURIComponent(this.streamId)}`);
  }

  interval() {
    if (!this.autoRefresh) return Infinity;
    return this.#isOpen ? Math.max(this.refreshInterval, SOCKET_REFRESH) : this.refreshInterval;
  }

  stateWhenLoaded() {
    if (!this.autoRefresh) return "paused";
    return this.#isOpen ? "live" : "polling";
  }

  async #open() {
    this.#close();
    const attempt = {}; // holds the place of the socket: a later attempt replaces it
    this.#socket = attempt;
    try {
      const { socketUrl } = await (await fetch(this.url("/dashboard/config.json"))).json();
      const bearer = (await authorization(this.token ?? undefined)).authorization?.slice("Bearer ".length);
      if (this.#socket !== attempt) return;
      const url = new URL(socketUrl, this.url("/"));
      url.protocol = url.protocol.replace("http", "ws");
      url.searchParams.set("path", `/api/ws/streams/${this.streamId}/metrics`);
      if (bearer) url.searchParams.set("token", bearer);
      this.#listen(new WebSocket(url));
    } catch {
      if (this.#socket === attempt) this.#lost();
    }
  }

  #listen(socket) {
    this.#socket = socket;
    const ping = () => this.#isOpen && socket.send('{"action":"ping"}');
    socket.onopen = () => {
      if (this.state === "polling") this.setState("live");
      ping(); // the answer is the current state
    };
    socket.onclose = () => this.#socket === socket && this.#lost();
    socket.onmessage = ({ data }) => this.#socket === socket && this.#received(data);
    this.#ping = setInterval(ping, SOCKET_PING);
  }

  #received(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.type !== "metrics") return;
    this.#failures = 0;
    if (this.data) {
      this.receive({ ...this.data, ...message.data });
      this.loadWithin(this.refreshInterval); // for data that messages leave out
    }
    this.setState("live");
  }

  #lost() {
    this.#close();
    if (this.state === "live") {
      this.setState("polling");
      this.loadWithin(0);
    }
    const longest = Math.min(MAX_SOCKET_RETRY, SECOND * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.state !== "stopped" && this.#open(), longest * (0.5 + Math.random() / 2));
  }

  #close() {
    clearTimeout(this.#retry);
    clearInterval(this.#ping);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close?.();
  }

  show(data) {
    const now = data ?? {};
    const unit = (value, name, digits) => (Number.isFinite(value) ? `${this.number(value, { maximumFractionDigits: digits })} ${name}` : DASH);
    this.setValues({
      currentViewers: this.number(now.currentViewers),
      peakViewers: this.number(now.peakViewers),
      totalViews: this.number(now.totalViews),
      averageTime: this.duration(now.avgViewDuration),
      bandwidth: unit(now.bandwidth, "kbit/s", 1),
      latency: unit(now.latency, "ms", 1),
      errorRate: this.number(now.errorRate, { maximumFractionDigits: 3 }),
      uptime: unit(now.uptime, "%", 2),
      chat: this.number(now.chatMessages),
      reactions: this.number(now.reactions),
      shares: this.number(now.shares),
    });
    this.showBars(this.#devices, now.deviceDistribution);
    this.showBars(this.#countries, now.geographicDistribution, (code) => this.country(code));
    this.#draw(now.viewerTimeline ?? []);
  }

  #draw(points) {
    const most = Math.max(1, ...points.map(({ viewers }) => viewers));
    const last = points.at(-1);
    const end = last ? Date.parse(last.timestamp) : 0;
    const start = end - HOUR;
    this.#points = points.map(({ timestamp, viewers }) => ({ at: Date.parse(timestamp), viewers })).filter(({ at }) => at >= start);
    const follows = (i) => i && this.#points[i].at - this.#points[i - 1].at < 2.5 * MINUTE; // no line over minutes without a point
    const place = ({ at, viewers }) => `${(((at - start) / HOUR) * 100).toFixed(2)} ${(100 - (viewers / most) * 100).toFixed(1)}`;
    const path = this.#points.map((one, i) => `${follows(i) ? "L" : "M"}${place(one)}${follows(i) ? "" : "h0"}`).join("");
    this.#spark.firstChild.setAttribute("d", path);
    const axis = last ? { most: this.number(most, { notation: "compact" }), least: this.number(0), from: this.minute(start), to: this.minute(end) } : {};
    for (const [name, node] of Object.entries(this.#axis)) setText(node, axis[name] ?? "");
    setText(this.#summary, last ? this.text("hourSummary", { most, now: last.viewers }) : this.text("nothingYet"));
    this.#point(this.#pointer);
  }

  /** Show the number of the minute that is nearest to a place in the window; none for NaN. */
  #point(clientX) {
    this.#pointer = clientX;
    const { left, width } = this.#spark.getBoundingClientRect();
    const end = this.#points.at(-1)?.at;
    const at = end - HOUR + ((clientX - left) / width) * HOUR;
    this.#at.hidden = !(at >= end - HOUR - HOUR / 20);
    if (this.#at.hidden) return;
    const nearest = this.#points.reduce((best, one) => (Math.abs(one.at - at) < Math.abs(best.at - at) ? one : best));
    this.#at.style.setProperty("--x", 1 - (end - nearest.at) / HOUR);
    setText(this.#at.firstChild, `${this.minute(nearest.at)}: ${this.number(nearest.viewers)}`);
  }
}
defineProperties(HeadcountStream, { streamId: string, refreshInterval: interval(5 * SECOND), autoRefresh: flagOn });

// --- Defining them -----------------------------------------------------------------------------------

/** All elements. One more has a class, its defineProperties(), its texts, a line here, its type in
 *  headcount-elements.d.ts and a section in docs/elements.md. */
const TAGS = {
  "headcount-badge": HeadcountBadge,
  "headcount-live": HeadcountLive,
  "headcount-traffic": HeadcountTraffic,
  "headcount-stream": HeadcountStream,
};

for (const [name, type] of Object.entries(TAGS)) {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, type);
}
