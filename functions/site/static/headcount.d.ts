/** Headcount's client: presence of this tab in one or more spaces. */

/** What the person is on. What is left out stays as it was; `facets` and the like are replaced whole. */
export interface Doing {
  /** Up to 100 characters; null or none: the address's path. */
  page?: string | null;
  /** Breakdowns, such as `{chapter: "intro"}`: up to 8, values of up to 64 bytes. */
  facets?: Record<string, string | number | null | undefined>;
  /** Shown beside the session, such as `{position: 120, duration: 3600}`: sent every 5 s at most. */
  details?: Record<string, string | number>;
  /** As of now, averaged over a space's sessions, such as `{bandwidth: 4200}`. */
  quality?: Record<string, number>;
  /** How often so far in this visit, such as `{chat: 3}`: whole numbers, added up. */
  engagement?: Record<string, number>;
}

/** A token, or a function that gets a fresh one before each beat. */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** Who the person is. Without a token it is a claim. */
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
  /** Where the API is; by default where this module came from. */
  endpoint?: string;
  /** A hidden tab says so and has a longer lease (`"hidden"`, the default), or leaves. */
  hidden?: "hidden" | "leave";
  /** `"hash"`: the page is the path and the hash. */
  route?: "path" | "hash";
  /** Signals that keep this browser from being counted: any of `dnt` and `gpc`. */
  respect?: "dnt" | "gpc" | "dnt gpc" | "gpc dnt" | ("dnt" | "gpc")[];
  /** `"manual"`: wait for `start()`. Else wait until it says true. Nothing is stored or sent before. */
  consent?: "manual" | Consent;
  /** `"socket"`: be present by holding a WebSocket instead of beating: the same numbers, for less. */
  presence?: "http" | "socket";
  /** Where the WebSocket API is; by default where the API says. */
  socketUrl?: string;
}

/** What an answer to a beat says: people in the space, and the version of its headcount. */
export interface Count {
  space: string;
  count: number;
  version: number;
}

/** What an admin tells everyone in a space. */
export interface Notice {
  id: string;
  /** One plain line: show it as text, never as HTML. */
  text: string;
  level: "info" | "warning";
  /** When it is over, ISO 8601. */
  until: string;
}

/** What a space's visitors are told now; null: it is over. */
export interface NoticeChange {
  space: string;
  notice: Notice | null;
}

/** An admin wants this person out of a space until then, ISO 8601: then it tries again by itself. */
export interface Removal {
  space: string;
  until: string;
}

/** This tab in one space. No method throws. */
export interface Presence {
  readonly space: string;
  /** As last heard; undefined before the first answer. */
  readonly count: number | undefined;
  /** What an admin tells everyone now, or null. */
  readonly notice: Notice | null;
  update(change: Doing): void;
  /** Hear the count, now and whenever it changes. Gives what stops it. */
  subscribe(listener: (count: Count) => void): () => void;
  /** Be present: after consent was given, or again after leaving. */
  start(): void;
  leave(): void;
  /** Undo one `connect`: leaves when nobody else on the page has connected to this space. */
  release(): void;
  /** The same as the module's: a page has one person. */
  identify(person?: Person | null): void;
}

/** Be in a space. Connecting to the same space again gives the same presence. */
export function connect(options: Options): Presence;

/** The person signed in, or (with nothing) out: in all spaces of this page. */
export function identify(person?: Person | null): void;

/** What the person is on, in the page's first space. */
export function update(change: Doing): void;

/** Hear the count of the page's first space, now and whenever it changes. */
export function subscribe(listener: (count: Count) => void): () => void;

/** Be present in all spaces of this page: after consent was given, or again after leaving. */
export function start(): void;

/** Stop being present, in all spaces of this page. */
export function leave(): void;

/** Leave, and let this browser be a new one the next time. */
export function forget(): void;

/** Headers that say who asks: by the token given, else by the one that the client has. */
export function authorization(token?: Token | null): Promise<Record<string, string>>;

declare global {
  interface WindowEventMap {
    /** Every answer's count. */
    headcount: CustomEvent<Count>;
    /** A message to everyone is there (once for each), or over. */
    "headcount-notice": CustomEvent<NoticeChange>;
    /** An admin removed this person: each time that is heard. */
    "headcount-removed": CustomEvent<Removal>;
  }
}
