/** A space as a store: what the hooks share. */

import type { Doing, Notice, Options } from "./headcount.js";

/** A session in a space. */
export interface Viewer {
  sessionId: string;
  visitorId: string | null;
  userId: string | null;
  /** A token proved the user; otherwise it is what they claim to be. */
  verified: boolean;
  name: string | null;
  avatar: string | null;
  page: string | null;
  facets: Record<string, string>;
  quality: Record<string, number>;
  engagement: Record<string, number>;
  details: Record<string, string | number>;
  state: "active" | "hidden";
  /** ISO 8601. */
  joinedAt: string;
  lastSeen: string;
}

/** The state of a space. */
export interface Here {
  /** People in the space; null until the first count. */
  readonly count: number | null;
  /** Up to 100 sessions, with the option `names`, if the reader may see them. */
  readonly viewers: readonly Viewer[];
  /** The people of these sessions, one session each. */
  readonly people: readonly Viewer[];
  /** Counts come in. */
  readonly connected: boolean;
  /** Neither a socket nor a beat brought a count in time: `count` may be wrong by now. */
  readonly stale: boolean;
  /** The message from an admin to everyone in the space. It is text: never HTML. */
  readonly notice: Notice | null;
  /** Why there is no count, as a sentence. */
  readonly error: string | null;
}

/** What one can do in a space. The functions stay the same. */
export interface Acts {
  /** What the person is doing. */
  update(change: Doing): void;
  /** Leave the space, in all of this page. */
  leave(): void;
  /** Be present: after consent was given, or again. */
  start(): void;
}

/** How to enter a space: those of `connect`, and: */
export interface Follow extends Omit<Options, "space"> {
  /** The API's address; by default that of `configure`. */
  endpoint?: string;
  /** Read who is here with each change, every 5 s at most. */
  names?: boolean;
}

/** A space as a store: this tab is in it while somebody subscribes. */
export interface Space extends Acts {
  get(): Here;
  /** Receive the state, now and whenever it changes. Returns a function that unsubscribes. */
  subscribe(listener: (here: Here) => void): () => void;
}

/** Set the API's address, for all spaces that are entered from now on. */
export function configure(settings: { endpoint: string }): void;

/** A store of a space, such as `site:main`. Does nothing on a server. */
export function follow(space: string, options?: Follow): Space;
