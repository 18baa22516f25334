/** Headcount's client: presence of this tab in one or more spaces. */

/** What the person is doing. Omitted fields stay as they were; a given object is replaced as a whole. */
export interface Doing {
  /** Up to 100 characters. null or omitted: the path of the address. */
  page?: string | null;
  /** Breakdowns, such as `{chapter: "intro"}`: up to 8, values of up to 64 bytes. */
  facets?: Record<string, string | number | null | undefined>;
  /** Shown with the session, such as `{position: 120, duration: 3600}`: sent every 5 s at most. */
  details?: Record<string, string | number>;
  /** Current values, averaged over a space's sessions, such as `{bandwidth: 4200}`. */
  quality?: Record<string, number>;
  /** Totals so far in this visit, such as `{chat: 3}`: whole numbers, added up over the space. */
  engagement?: Record<string, number>;
}

/** A token, or a function that returns a fresh one before each beat. */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** Who the person is. Without a token this is an unverified claim. */
export interface Person {
  userId?: string | number | null;
  name?: string | null;
  avatar?: string | null;
  token?: Token | null;
}

export type Consent = boolean | PromiseLike<boolean> | (() => boolean | PromiseLike<boolean>);

export interface Options extends Doing {
  /** `kind:id`, such as `site:main`. */
  space: string;
  /** The API's address; by default where this module came from. */
  endpoint?: string;
  /** A hidden tab reports that it is hidden and gets a longer lease (`"hidden"`, the default), or leaves. */
  hidden?: "hidden" | "leave";
  /** `"hash"`: the page is path and hash. */
  route?: "path" | "hash";
  /** Browser signals that prevent counting: `dnt`, `gpc` or both. */
  respect?: "dnt" | "gpc" | "dnt gpc" | "gpc dnt" | ("dnt" | "gpc")[];
  /** `"off"`: don't send where a visit came from: referrer, campaign, entry page, new or returning. */
  sources?: "on" | "off";
  /** `"manual"`: wait for `start()`. Otherwise wait for true. Nothing is stored or sent before. */
  consent?: "manual" | Consent;
  /** `"socket"`: be present by holding a WebSocket instead of beating: the same numbers at a lower price. */
  presence?: "http" | "socket";
  /** The WebSocket API's address; by default the API is asked for it. */
  socketUrl?: string;
}

/** The response to a beat: people in the space, and the version of its headcount. */
export interface Count {
  space: string;
  count: number;
  version: number;
}

/** A message from an admin to everyone in a space. */
export interface Notice {
  id: string;
  /** One plain line: show it as text, never as HTML. */
  text: string;
  level: "info" | "warning";
  /** When it ends, ISO 8601. */
  until: string;
}

/** The message now shown to a space's visitors, or null when it has ended. */
export interface NoticeChange {
  space: string;
  notice: Notice | null;
}

/** An admin removed this person from a space until then, ISO 8601. Afterwards the client tries again. */
export interface Removal {
  space: string;
  until: string;
}

/** The client gave up because the page is wrong: it tries again when something changes. */
export interface Stop {
  space: string;
  /** The server's message, or its status. */
  reason: string | number;
}

/** This tab in one space. No method throws. */
export interface Presence {
  readonly space: string;
  /** The last count received; undefined before the first response. */
  readonly count: number | undefined;
  /** The message shown to everyone now, or null. */
  readonly notice: Notice | null;
  update(change: Doing): void;
  /** Receive the count, now and whenever it changes. Returns a function that unsubscribes. */
  subscribe(listener: (count: Count) => void): () => void;
  /** Be present: after consent, or again after leaving. */
  start(): void;
  leave(): void;
  /** Undo one `connect`: leaves when nothing else on the page is connected to this space. */
  release(): void;
  /** The same as the module's function: a page has one person. */
  identify(person?: Person | null): void;
}

/** Be present in a space. Connecting to the same space again returns the same presence. */
export function connect(options: Options): Presence;

/** The person has signed in, or (without an argument) out: in all spaces of this page. */
export function identify(person?: Person | null): void;

/** What the person is doing, in the page's first space. */
export function update(change: Doing): void;

/** Receive the count of the page's first space, now and whenever it changes. */
export function subscribe(listener: (count: Count) => void): () => void;

/** Be present in all spaces of this page: after consent, or again after leaving. */
export function start(): void;

/** Stop being present, in all spaces of this page. */
export function leave(): void;

/** Leave, and count this browser as a new one next time. */
export function forget(): void;

/** The Authorization header: from the given token, or else the client's. */
export function authorization(token?: Token | null): Promise<Record<string, string>>;

declare global {
  interface WindowEventMap {
    /** Every count that is received: with each response, and as it changes if somebody subscribed. */
    headcount: CustomEvent<Count>;
    /** None came in time, if somebody subscribed. The next `headcount` ends that. */
    "headcount-stale": CustomEvent<{ space: string }>;
    /** A response has no count, because only admins may read it. */
    "headcount-withheld": CustomEvent<{ space: string }>;
    /** A message to everyone started (once for each message) or ended. */
    "headcount-notice": CustomEvent<NoticeChange>;
    /** An admin removed this person: fires each time a beat is refused for it. */
    "headcount-removed": CustomEvent<Removal>;
    "headcount-stopped": CustomEvent<Stop>;
  }
}
