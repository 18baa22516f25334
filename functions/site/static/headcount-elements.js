// Headcount's elements: <headcount-badge>, <headcount-live>, <headcount-traffic>, <headcount-stream>.
//
//   <script type="module" src="https://<api>/headcount-elements.js"></script>
//   <headcount-badge space="course:intro"></headcount-badge>
//
// Attributes, properties, events, parts and custom properties: docs/elements.md.

import { authorization, connect } from "./headcount.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const ANSWER_WITHIN = 15 * SECOND;
const LONGEST_RETRY = MINUTE;
const SHORTEST_INTERVAL = SECOND;
const SOCKET_PING = 4 * MINUTE;
const QUIET_REFRESH = 30 * SECOND; // what a socket does not tell, while it tells the rest
const ANNOUNCE_EVERY = 10 * SECOND;
const CLOSE_AFTER = 200;
const MOVE_TAKES = 500;
const NAMES = 5;
const DASH = "–";

// --- Words -----------------------------------------------------------------------------------

const texts = {
  peopleHere: { one: "{n} person here now", other: "{n} people here now" },
  andMore: { one: "and {n} more", other: "and {n} more" },
  watching: "here now",
  anonymous: "Anonymous",
  liveTitle: "Live analytics",
  trafficTitle: "Live traffic",
  streamTitle: "Live stream",
  refresh: "Refresh",
  live: "Live",
  polling: "Polling",
  paused: "Paused",
  connecting: "Connecting…",
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
  nobody: "Nobody is here right now.",
  nobodyHint: "Viewers show up here within seconds.",
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
  hourSummary: "At most {most}, now {now}",
  nothingYet: "No numbers yet",
  notAllowed: "An administrator's token is needed to see this.",
  unreachable: "The numbers can't be reached. Trying again.",
  unnamed: "Say which: set {attribute}.",
};
const elements = new Set(); // those on the page

/** Say it in other words: the keys are those of `words`. */
export function translate(others) {
  Object.assign(texts, others);
  for (const element of elements) element.rebuild();
}

/** The words as they are now. */
export const words = () => ({ ...texts });

// --- Small tools -----------------------------------------------------------------------------

const SVG = new Set(["svg", "path"]);

function h(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/** One child per item, in order; those that stay keep their state. */
function reconcile(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item, index) => {
    const key = String(keyOf(item, index));
    const node = old.get(key) ?? create(item);
    old.delete(key);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  for (const node of old.values()) node.remove();
  nodes.forEach((node, i) => parent.children[i] === node || parent.insertBefore(node, parent.children[i] ?? null));
}

function avatar(viewer) {
  const name = viewer.name?.trim();
  const initial = name ? [...name][0].toUpperCase() : "";
  const frame = h("span", { class: "avatar", part: "avatar", "aria-hidden": "true" }, initial);
  if (typeof viewer.avatar === "string" && viewer.avatar.startsWith("https://")) {
    const image = h("img", { alt: "", loading: "lazy", referrerpolicy: "no-referrer", src: viewer.avatar });
    image.onerror = () => image.remove();
    frame.append(image);
  }
  return frame;
}

const pulse = () => h("span", { class: "pulse", part: "pulse", "aria-hidden": "true" });

// --- Style -----------------------------------------------------------------------------------

const CSS = `
:host {
  --_ink: var(--headcount-ink, light-dark(#14171c, #e9ebef));
  --_soft: var(--headcount-soft, light-dark(#545c69, #a3acba));
  --_card: var(--headcount-card, light-dark(#ffffff, #15181e));
  --_edge: var(--headcount-edge, light-dark(#dfe3e9, #2c323c));
  --_fill: var(--headcount-fill, light-dark(#f1f3f6, #1f242c));
  --_accent: var(--headcount-accent, light-dark(#3f51d1, #8c9eff));
  --_live: var(--headcount-live, light-dark(#147a43, #4cd08a));
  --_wait: var(--headcount-wait, light-dark(#855400, #f0b54a));
  --_bad: var(--headcount-bad, light-dark(#b3261e, #ff8a80));
  --_radius: var(--headcount-radius, 12px);
  display: block; color: var(--_ink); text-align: start;
  font: var(--headcount-font, 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
  font-variant-numeric: tabular-nums;
}
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
.spark { display: block; inline-size: 100%; block-size: 56px; overflow: visible; direction: ltr; }
.spark path { fill: none; stroke: var(--_accent); stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }

.badge-frame { position: relative; display: inline-block; }
.badge {
  display: inline-flex; align-items: center; gap: 8px; padding: 4px 11px; border: 1px solid color-mix(in srgb, var(--_live) 30%, transparent);
  border-radius: 999px; background: var(--headcount-badge, color-mix(in srgb, var(--_live) 9%, var(--_card))); color: var(--_live); font-weight: 600;
}
.badge[data-state="waiting"] .pulse::after { animation: none; opacity: 0; }
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

function dress(root) {
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

class Refused extends Error {}

const text = { read: (value) => value ?? "", write: (value) => (value == null || value === "" ? null : String(value)) };
const flag = { read: (value) => value !== null && value !== "false", write: (value) => (value ? "" : null) };
const flagOn = { read: (value) => value !== "false", write: (value) => (value ? null : "false") };
const interval = (standard) => ({
  read: (value) => Math.max(SHORTEST_INTERVAL, Number(value) || standard),
  write: (value) => (value == null ? null : String(value)),
});

const COMMON = { endpoint: text, theme: text, headingLevel: text };
const attributeOf = (property) => property.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Importable where there is no browser: on a server, the tags stay as they are. */
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

  /** A token, or a function that gets one. As a property it is not reflected: attributes are seen by all. */
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
    dress(this.shadowRoot);
    this.build();
  }

  say(key, values = {}) {
    let said = texts[key];
    if (typeof said === "object") said = said[new Intl.PluralRules(this.#locale()).select(values.n)] ?? said.other;
    return said.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? this.number(values[name]) : values[name]));
  }

  number(value, options) {
    return Number.isFinite(value) ? value.toLocaleString(this.#locale(), options) : DASH;
  }

  time(at) {
    return new Date(at).toLocaleTimeString(this.#locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit" });
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
      return new Intl.DisplayNames(this.#locale(), { type: "region" }).of(code);
    } catch {
      return code; // "other"
    }
  }

  #locale() {
    try {
      return Intl.getCanonicalLocales(this.closest("[lang]")?.lang || navigator.language);
    } catch {
      return undefined;
    }
  }

  url(path) {
    return new URL(path, this.endpoint || import.meta.url);
  }

  /** The JSON at a path, as whoever holds the token. */
  async get(path) {
    const headers = await authorization(this.token ?? undefined);
    const answer = await fetch(this.url(path), { headers, cache: "no-store", signal: AbortSignal.timeout?.(ANSWER_WITHIN) });
    const body = await answer.json().catch(() => ({}));
    if (answer.ok) return body;
    if (answer.status === 401 || answer.status === 403) throw new Refused(this.say("notAllowed"));
    if (answer.status < 500 && answer.status !== 429) throw new Refused(body.error ?? String(answer.status));
    throw new Error(body.error ?? String(answer.status));
  }

  announce(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

function declare(type, own) {
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

/** Runs at most one load at a time, again after an interval, later after failures, and not while the tab is hidden. */
class Poll {
  #load;
  #every;
  #timer;
  #running = false;
  #again = false;
  #stopped = true;
  #failures = 0;
  #dueAt = 0;

  constructor(load, every) {
    this.#load = load;
    this.#every = every;
  }

  start() {
    this.#stopped = false;
    document.addEventListener("visibilitychange", this.#turned);
    this.ask(0);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#turned);
  }

  /** Load within so many milliseconds. */
  ask(within) {
    this.#dueAt = Date.now() + within;
    clearTimeout(this.#timer);
    if (!this.#stopped && !document.hidden) this.#timer = setTimeout(() => this.run(), within);
  }

  /** The same, but what is due earlier stays so: a frame a second must not put it off for ever. */
  hasten(within) {
    if (Date.now() + within < this.#dueAt) this.ask(within);
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
    const every = this.#every();
    if (again) this.ask(0);
    else if (outcome !== "refused" && every !== Infinity)
      this.ask(this.#failures ? Math.min(every * 2 ** this.#failures, Math.max(every, LONGEST_RETRY)) : every);
    else this.#dueAt = Infinity;
  }

  #turned = () => {
    if (document.hidden) clearTimeout(this.#timer);
    else if (this.#dueAt !== Infinity) this.ask(Math.max(0, this.#dueAt - Date.now()));
  };
}

// --- <headcount-badge> ---------------------------------------------------------------------------

export class HeadcountBadge extends HeadcountElement {
  #presence = null;
  #unsubscribe = null;
  #poll = null;
  #count;
  #viewers = null;
  #viewersAt = -Infinity;
  #closing;
  #announced;
  #parts = {};

  /** People in the space, as last heard. */
  get count() {
    return this.#count;
  }

  build() {
    const label = h("span", { part: "label" });
    const count = h("span", { part: "count" });
    const tip = h("div", { id: "tip", class: "tip", part: "tooltip", role: "group", hidden: "" });
    const button = h(
      "button",
      { type: "button", class: "badge", part: "badge", "aria-expanded": "false", "aria-controls": "tip" },
      pulse(),
      count,
      " ",
      label,
    );
    const status = h("span", { class: "unseen", role: "status" });
    const frame = h("span", { class: "badge-frame" }, button, tip, status);
    const react = { click: () => this.#open(), focusin: () => this.#open(), pointerenter: () => this.#open(), pointerleave: () => this.#closeSoon(), focusout: () => this.#closeSoon(), keydown: (event) => event.key === "Escape" && this.#close() };
    for (const [type, listener] of Object.entries(react)) frame.addEventListener(type, listener);
    this.shadowRoot.append(frame);
    this.#parts = { button, count, label, tip, status };
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
    if (!this.space) return;
    if (this.passive) {
      this.#poll = new Poll(() => this.#look(), () => this.refreshInterval);
      this.#poll.start();
      return;
    }
    const { space, chapter } = this;
    this.#presence = connect({ space, endpoint: this.endpoint || undefined, ...(chapter && this.#doing) });
    if (chapter) this.#presence.update(this.#doing);
    this.#unsubscribe = this.#presence.subscribe(({ count }) => this.#heard(count));
  }

  stop() {
    this.#poll?.stop();
    this.#unsubscribe?.();
    // Whoever moves an element takes it off the page and puts it back: that is no leave.
    const presence = this.#presence;
    setTimeout(() => presence?.release(), MOVE_TAKES);
    this.#poll = this.#unsubscribe = this.#presence = null;
    this.#count = undefined;
    this.#viewers = null;
    clearTimeout(this.#closing);
    clearTimeout(this.#announced);
    this.#announced = null;
  }

  async #look() {
    try {
      const { people } = await this.get(`/v1/spaces/${encodeURIComponent(this.space)}`);
      this.#heard(people);
      return "ok";
    } catch (error) {
      return error instanceof Refused ? "refused" : "failed";
    }
  }

  #heard(count) {
    // The first answer is as published a moment ago, without its reader: hear again soon.
    if (this.#count === undefined) this.#presence?.update({});
    if (count === this.#count) return;
    this.#count = count;
    this.#render();
    this.announce("headcount-update", { space: this.space, count });
    // Once in a while, and the latest: every change read aloud would be noise.
    this.#announced ??= setTimeout(() => {
      this.#announced = null;
      setText(this.#parts.status, this.say("peopleHere", { n: this.#count }));
    }, ANNOUNCE_EVERY);
  }

  #render() {
    const { button, count, label, tip } = this.#parts;
    const known = this.#count !== undefined;
    button.dataset.state = known ? "live" : "waiting";
    setText(count, this.number(this.#count));
    setText(label, this.label || this.say("watching"));
    const some = this.#viewers?.viewers ?? [];
    const people = Math.max(this.#count ?? 0, some.length); // names are newer than the last beat
    const sentence = this.say("peopleHere", { n: people });
    tip.setAttribute("aria-label", sentence);
    const rows = some.map((viewer) =>
      h("li", { class: "row", part: "viewer" }, avatar(viewer), h("span", { class: "what" }, h("bdi", {}, viewer.name || this.say("anonymous")))),
    );
    const more = people - some.length;
    tip.replaceChildren(
      h("p", {}, sentence),
      ...(rows.length ? [h("ul", { class: "rows" }, ...rows)] : []),
      ...(rows.length && more > 0 ? [h("p", { class: "more" }, this.say("andMore", { n: more }))] : []),
    );
  }

  #open() {
    clearTimeout(this.#closing);
    const { button, tip } = this.#parts;
    if (!tip.hidden) return;
    tip.hidden = false;
    button.setAttribute("aria-expanded", "true");
    this.#place();
    if (Date.now() - this.#viewersAt > 5 * SECOND) this.#name();
  }

  /** Within the window, whatever the direction. */
  #place() {
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
    this.#closing = setTimeout(() => this.matches(":hover") || this.shadowRoot.activeElement || this.#close(), CLOSE_AFTER);
  }

  #close() {
    this.#parts.tip.hidden = true;
    this.#parts.button.setAttribute("aria-expanded", "false");
  }

  /** Ask for names: only who may see them is answered, so only who seems to is asked for. */
  async #name() {
    if (!this.space || !(this.names || this.token)) return;
    this.#viewersAt = Date.now();
    const { space } = this;
    const [kind, ...id] = space.split(":");
    const path =
      kind === "course"
        ? `/api/courses/${encodeURIComponent(id.join(":"))}/viewers?limit=${NAMES}`
        : `/v1/spaces/${encodeURIComponent(space)}/viewers?limit=20`;
    try {
      const { viewers } = await this.get(path);
      if (space !== this.space) return; // it shows another one by now
      const people = new Map();
      for (const viewer of viewers) people.set(viewer.userId ?? viewer.visitorId ?? viewer.sessionId ?? viewer, viewer);
      const named = [...people.values()].sort((a, b) => !a.name - !b.name);
      this.#viewers = { viewers: named.slice(0, NAMES) };
    } catch {
      this.#viewers = null;
    }
    this.#render();
    if (!this.#parts.tip.hidden) this.#place();
  }
}
declare(HeadcountBadge, { space: text, chapter: text, label: text, names: flag, passive: flag, refreshInterval: interval(30 * SECOND) });

// --- What the widgets share ------------------------------------------------------------------------

class Widget extends HeadcountElement {
  static title = "";
  static needs = [];
  #poll = null;
  #data = null;
  #state = "connecting";
  #error = "";
  #loadedAt;
  #run = 0;
  #parts = {};

  /** What is shown, as it came. */
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
    const title = h("div", { id: "title", class: "title", part: "title", role: "heading", "aria-level": level }, this.say(this.constructor.title));
    const status = h("span", { class: "status", part: "status", role: "status" }, pulse(), h("span"));
    const asOf = h("span", { class: "as-of", part: "as-of" });
    const button = h("button", { type: "button", class: "refresh", part: "refresh", onclick: () => this.refresh() }, this.say("refresh"));
    const error = h("p", { class: "error", part: "error", role: "alert", hidden: "" });
    const content = h("div", { part: "content" });
    this.#parts = { status, asOf, error };
    this.shadowRoot.append(
      h("section", { class: "card", part: "card", "aria-labelledby": "title" }, h("div", { class: "head", part: "header" }, title, status, asOf, button), error, content),
    );
    this.fill(content, String(Number(level) + 1));
    this.#render();
  }

  start() {
    this.#data = null;
    this.#loadedAt = undefined;
    this.#error = "";
    this.#state = "connecting";
    const missing = this.constructor.needs.length && !this.constructor.needs.some((name) => this[name]);
    if (missing) {
      this.#state = "stopped";
      this.#error = this.say("unnamed", { attribute: this.constructor.needs.map(attributeOf).join(" / ") });
    } else {
      this.#poll = new Poll(() => this.#load(), () => this.every());
      this.#poll.start();
    }
    this.#render();
  }

  stop() {
    this.#run += 1;
    this.#poll?.stop();
    this.#poll = null;
  }

  every() {
    return this.refreshInterval;
  }

  /** Have the next load within so many milliseconds. */
  soon(within) {
    this.#poll?.hasten(within);
  }

  /** Show what came by another way. */
  take(data) {
    this.#data = data;
    this.#loadedAt = Date.now();
    this.#render();
    this.announce("headcount-update", data);
  }

  turn(state) {
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
      this.take(data);
      return "ok";
    } catch (error) {
      if (run !== this.#run) return "refused";
      const refused = error instanceof Refused;
      this.#error = refused ? error.message : this.say("unreachable");
      this.#state = refused ? "stopped" : "reconnecting";
      this.#render();
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
    setText(status.lastElementChild, this.say(this.#state));
    setText(error, this.#error);
    error.hidden = !this.#error;
    setText(asOf, this.#loadedAt ? this.say("asOf", { time: this.time(this.#loadedAt) }) : "");
    this.show(this.#data);
  }

  // Pieces of a widget.

  metric(parent, key, first) {
    const value = h("dd", { part: "value" }, DASH);
    parent.append(h("div", { class: first ? "metric first" : "metric", part: "metric" }, h("dt", { part: "label" }, this.say(key)), value));
    return value;
  }

  pair(parent, key) {
    const value = h("dd", { part: "value" }, DASH);
    parent.append(h("div", {}, h("dt", { part: "label" }, this.say(key)), value));
    return value;
  }

  subtitle(key, level) {
    return h("div", { id: key, class: "sub", part: "subtitle", role: "heading", "aria-level": level }, this.say(key));
  }

  showBars(list, entries, nameOf = (name) => name) {
    const sorted = Object.entries(entries ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 6);
    const most = sorted[0]?.[1] || 1;
    reconcile(
      list,
      sorted,
      ([name]) => name,
      () => h("li", {}, h("span", { class: "what" }, h("bdi")), h("span"), h("span", { class: "bar", part: "bar", "aria-hidden": "true" })),
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
  #cells = {};
  #list;
  #empty;

  fill(content, level) {
    const metrics = h("dl", { class: "metrics", part: "metrics" });
    const keys = ["activeNow", "totalViews", "viewsToday", "averageTime", "thisWeek", "thisMonth", "peakViewers"];
    this.#cells = Object.fromEntries(keys.map((key, i) => [key, this.metric(metrics, key, i === 0)]));
    this.#list = h("ul", { class: "rows", part: "list", "aria-labelledby": "activeViewers" });
    this.#empty = h("p", { class: "empty", part: "empty", hidden: "" }, this.say("nobody"), h("br"), this.say("nobodyHint"));
    content.append(metrics, this.subtitle("activeViewers", level), this.#list, this.#empty);
  }

  async load() {
    if (this.link) return this.get(`/api/send/realtime/${encodeURIComponent(this.link)}`);
    const path = `/v1/spaces/${encodeURIComponent(this.space)}`;
    const [head, { viewers }] = await Promise.all([this.get(path), this.get(`${path}/viewers?limit=${NAMES}`)]);
    return {
      metrics: {
        activeViewers: head.people,
        totalViews: head.views.total,
        viewsToday: head.views.today,
        viewsThisWeek: head.views.week,
        viewsThisMonth: head.views.month,
        peakConcurrentViewers: head.peak?.people ?? 0,
        avgViewDuration: head.avgSeconds ?? undefined,
      },
      activeViewers: viewers.map((viewer) => ({
        sessionId: viewer.sessionId,
        email: viewer.name ?? viewer.userId,
        avatar: viewer.avatar,
        currentPage: viewer.page,
        duration: (Date.parse(viewer.lastSeen) - Date.parse(viewer.joinedAt)) / SECOND,
      })),
    };
  }

  show(data) {
    const { metrics = {}, activeViewers = [] } = data ?? {};
    const shown = {
      activeNow: metrics.activeViewers,
      totalViews: metrics.totalViews,
      viewsToday: metrics.viewsToday,
      thisWeek: metrics.viewsThisWeek,
      thisMonth: metrics.viewsThisMonth,
      peakViewers: metrics.peakConcurrentViewers,
    };
    for (const [key, value] of Object.entries(shown)) setText(this.#cells[key], this.number(value));
    setText(this.#cells.averageTime, this.duration(metrics.avgViewDuration));
    this.#empty.hidden = !data || activeViewers.length > 0;
    this.#list.hidden = !activeViewers.length;
    reconcile(
      this.#list,
      activeViewers.slice(0, NAMES),
      (viewer) => viewer.sessionId,
      () => h("li", { class: "row", part: "viewer" }, pulse(), h("span", { class: "what" }, h("bdi")), h("bdi", { class: "beside" }), h("span", { class: "beside" })),
      (row, viewer) => {
        const [, who, where, long] = row.children;
        setText(who.firstChild, viewer.email || this.say("anonymous"));
        const page = viewer.currentPage;
        setText(where, page == null ? "" : typeof page === "number" ? this.say("page", { page }) : page);
        setText(long, this.duration(viewer.duration));
      },
    );
  }
}
declare(HeadcountLive, { link: text, space: text, refreshInterval: interval(5 * SECOND) });

// --- <headcount-traffic> -----------------------------------------------------------------------------

export class HeadcountTraffic extends Widget {
  static title = "trafficTitle";
  #cells = {};
  #pages;
  #empty;

  fill(content, level) {
    const metrics = h("dl", { class: "metrics", part: "metrics" });
    this.#cells = {
      active: this.metric(metrics, "activeNow", true),
      loggedIn: this.metric(metrics, "loggedIn"),
      anonymous: this.metric(metrics, "anonymousSessions"),
    };
    this.#pages = h("ol", { class: "rows", part: "list", "aria-labelledby": "topPages" });
    this.#empty = h("p", { class: "empty", part: "empty", hidden: "" }, this.say("nobody"));
    content.append(metrics, this.subtitle("topPages", level), this.#pages, this.#empty);
  }

  load() {
    return this.get("/api/traffic/live");
  }

  show(data) {
    setText(this.#cells.active, this.number(data?.activeSessions));
    setText(this.#cells.loggedIn, this.number(data?.authenticatedUsers));
    setText(this.#cells.anonymous, this.number(data?.anonymousSessions));
    const pages = data?.topPages ?? [];
    this.#empty.hidden = !data || pages.length > 0;
    this.#pages.hidden = !pages.length;
    reconcile(
      this.#pages,
      pages,
      ({ path }) => path,
      () => h("li", { class: "row", part: "page" }, h("span", { class: "what" }, h("bdi")), h("span", { class: "beside" })),
      (row, { path, count }) => {
        setText(row.firstChild.firstChild, path);
        setText(row.lastChild, this.number(count));
      },
    );
  }
}
declare(HeadcountTraffic, { refreshInterval: interval(10 * SECOND) });

// --- <headcount-stream> ------------------------------------------------------------------------------

export class HeadcountStream extends Widget {
  static title = "streamTitle";
  static needs = ["streamId"];
  #cells = {};
  #devices;
  #countries;
  #spark;
  #summary;
  #socket = null;
  #retry;
  #ping;
  #failures = 0;

  get #isLive() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  fill(content, level) {
    const metrics = h("dl", { class: "metrics", part: "metrics" });
    const pairs = () => h("dl", { class: "pairs", part: "pairs" });
    const [performance, engagement] = [pairs(), pairs()];
    for (const [i, key] of ["currentViewers", "peakViewers", "totalViews", "averageTime"].entries()) this.#cells[key] = this.metric(metrics, key, i === 0);
    for (const key of ["bandwidth", "latency", "errorRate", "uptime"]) this.#cells[key] = this.pair(performance, key);
    for (const key of ["chat", "reactions", "shares"]) this.#cells[key] = this.pair(engagement, key);
    const bars = (key) => h("ul", { class: "bars", part: key, "aria-labelledby": key, "data-empty": this.say("nothingYet") });
    this.#devices = bars("devices");
    this.#countries = bars("countries");
    this.#spark = h("svg", { class: "spark", part: "timeline", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-labelledby": "lastHour hourSummary" }, h("path"));
    this.#summary = h("span", { id: "hourSummary", class: "unseen" });
    const block = (key, ...nodes) => h("div", {}, this.subtitle(key, level), ...nodes);
    content.append(
      metrics,
      block("lastHour", this.#spark, this.#summary),
      h("div", { class: "columns" }, block("devices", this.#devices), block("countries", this.#countries), block("performance", performance), block("engagement", engagement)),
    );
  }

  start() {
    super.start();
    if (this.streamId && this.autoRefresh) this.#open();
  }

  stop() {
    super.stop();
    this.#drop();
    this.#failures = 0;
  }

  load() {
    return this.get(`/api/v1/analytics/real-time/${encodeURIComponent(this.streamId)}`);
  }

  every() {
    if (!this.autoRefresh) return Infinity;
    return this.#isLive ? Math.max(this.refreshInterval, QUIET_REFRESH) : this.refreshInterval;
  }

  stateWhenLoaded() {
    if (!this.autoRefresh) return "paused";
    return this.#isLive ? "live" : "polling";
  }

  async #open() {
    this.#drop();
    const socket = {}; // until there is a real one: whose turn it is
    this.#socket = socket;
    try {
      const { socketUrl } = await (await fetch(this.url("/dashboard/config.json"))).json();
      const bearer = (await authorization(this.token ?? undefined)).authorization?.slice("Bearer ".length);
      if (this.#socket !== socket) return;
      const url = new URL(socketUrl, this.url("/"));
      url.protocol = url.protocol.replace("http", "ws");
      url.searchParams.set("path", `/api/ws/streams/${this.streamId}/metrics`);
      if (bearer) url.searchParams.set("token", bearer);
      this.#listen(new WebSocket(url));
    } catch {
      if (this.#socket === socket) this.#lost();
    }
  }

  #listen(socket) {
    this.#socket = socket;
    const ping = () => this.#isLive && socket.send('{"action":"ping"}');
    socket.onopen = () => {
      if (this.state === "polling") this.turn("live");
      ping(); // its answer is the state of now
    };
    socket.onclose = () => this.#socket === socket && this.#lost();
    socket.onmessage = ({ data }) => this.#socket === socket && this.#heard(data);
    this.#ping = setInterval(ping, SOCKET_PING);
  }

  #heard(message) {
    let said;
    try {
      said = JSON.parse(message);
    } catch {
      return;
    }
    if (said.type !== "metrics") return;
    this.#failures = 0;
    if (!this.data) return this.turn("live");
    this.take({ ...this.data, ...said.data });
    this.turn("live");
    this.soon(this.refreshInterval); // for what the message does not say
  }

  #lost() {
    this.#drop();
    if (this.state === "live") {
      this.turn("polling");
      this.soon(0);
    }
    const ceiling = Math.min(30 * SECOND, SECOND * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.state !== "stopped" && this.#open(), ceiling * (0.5 + Math.random() / 2));
  }

  #drop() {
    clearTimeout(this.#retry);
    clearInterval(this.#ping);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close?.();
  }

  show(data) {
    const now = data ?? {};
    const fraction = { maximumFractionDigits: 1 };
    const shown = {
      currentViewers: this.number(now.currentViewers),
      peakViewers: this.number(now.peakViewers),
      totalViews: this.number(now.totalViews),
      averageTime: this.duration(now.avgViewDuration ?? undefined),
      bandwidth: Number.isFinite(now.bandwidth) ? `${this.number(now.bandwidth, fraction)} kbit/s` : DASH,
      latency: Number.isFinite(now.latency) ? `${this.number(now.latency, fraction)} ms` : DASH,
      errorRate: this.number(now.errorRate, { maximumFractionDigits: 3 }),
      uptime: Number.isFinite(now.uptime) ? `${this.number(now.uptime, { maximumFractionDigits: 2 })} %` : DASH,
      chat: this.number(now.chatMessages),
      reactions: this.number(now.reactions),
      shares: this.number(now.shares),
    };
    for (const [key, value] of Object.entries(shown)) setText(this.#cells[key], value);
    this.showBars(this.#devices, now.deviceDistribution);
    this.showBars(this.#countries, now.geographicDistribution, (code) => this.country(code));
    this.#draw(now.viewerTimeline ?? []);
  }

  #draw(points) {
    const most = Math.max(1, ...points.map(({ viewers }) => viewers));
    const last = points.at(-1);
    const end = last ? Date.parse(last.timestamp) : 0;
    const x = (at) => (100 - ((end - Date.parse(at)) / (60 * MINUTE)) * 100).toFixed(2);
    const path = points.map(({ timestamp, viewers }, i) => `${i ? "L" : "M"}${x(timestamp)} ${(96 - (viewers / most) * 92).toFixed(1)}`).join("");
    this.#spark.firstChild.setAttribute("d", path);
    setText(this.#summary, last ? this.say("hourSummary", { most, now: last.viewers }) : this.say("nothingYet"));
  }
}
declare(HeadcountStream, { streamId: text, refreshInterval: interval(5 * SECOND), autoRefresh: flagOn });

// --- Defining them -----------------------------------------------------------------------------------

const ALL = {
  "headcount-badge": HeadcountBadge,
  "headcount-live": HeadcountLive,
  "headcount-traffic": HeadcountTraffic,
  "headcount-stream": HeadcountStream,
};

for (const [name, type] of Object.entries(ALL)) {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, type);
}
