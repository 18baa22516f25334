/** Headcount's elements. Attributes are the properties' names in kebab-case. */

import type { Token } from "./headcount.js";

/** What all elements have. */
interface HeadcountElement extends HTMLElement {
  /** A token, or a function that returns one; by default the client's. Not reflected. */
  token: Token | null;
  /** The API's address; by default where this module came from. */
  endpoint: string;
  /** `light` or `dark`; by default the page's `color-scheme`. */
  theme: string;
  /** `aria-level` of the title, 2 by default. */
  headingLevel: string;
}

/** `<headcount-badge>`: the live count of a space. The reader is in the space too. */
export class HeadcountBadge extends HTMLElement {
  space: string;
  /** The reader's facet `chapter`. */
  chapter: string;
  /** The text after the number, or a sentence by plural form: `"{n} person is|{n} people are viewing this"`. */
  label: string;
  /** `"hide"`: show nothing while the count is not known; by default the badge is grey, with a dash. */
  whenUnknown: string;
  /** Show up to five people's pictures or initials, if the reader may see names. */
  avatars: boolean;
  /** Text as that around it, without a frame. */
  plain: boolean;
  /** Request names when the tooltip opens, even without a token. */
  names: boolean;
  /** Show the count without being counted. */
  passive: boolean;
  /** How often a passive badge reads the count, in milliseconds. */
  refreshInterval: number;
  readonly count: number | undefined;
}
/** The attribute `stale` is set while neither a socket nor a request brought a count in time. */
export interface HeadcountBadge extends HeadcountElement {}

/** What the widgets have. */
interface HeadcountWidget<Data> extends HeadcountElement {
  /** Milliseconds. */
  refreshInterval: number;
  /** The response that is shown. */
  readonly data: Data | null;
  readonly state: "connecting" | "live" | "polling" | "paused" | "reconnecting" | "stopped";
  /** Load now. */
  refresh(): Promise<void> | undefined;
}

export interface LinkAnalytics {
  metrics: {
    activeViewers: number;
    totalViews: number;
    viewsToday: number;
    viewsThisWeek: number;
    viewsThisMonth: number;
    peakConcurrentViewers: number;
    avgViewDuration: number | undefined;
  };
  activeViewers: {
    sessionId: string;
    email: string | null;
    currentPage: number | string | null;
    duration: number;
  }[];
}

/** `<headcount-live>`: who is viewing a link or is in a space right now. */
export class HeadcountLive extends HTMLElement {
  link: string;
  /** Instead of a link. */
  space: string;
}
export interface HeadcountLive extends HeadcountWidget<LinkAnalytics> {}

export interface LiveTraffic {
  activeUsers: number;
  activeSessions: number;
  authenticatedUsers: number;
  anonymousSessions: number;
  topPages: { path: string; count: number }[] | null;
}

/** `<headcount-traffic>`: how many people are on the site, and on which pages. */
export class HeadcountTraffic extends HTMLElement {}
export interface HeadcountTraffic extends HeadcountWidget<LiveTraffic> {}

export interface StreamState {
  currentViewers: number;
  peakViewers: number;
  totalViews: number;
  avgViewDuration: number | null;
  bandwidth: number | null;
  latency: number | null;
  errorRate: number | null;
  uptime: number | null;
  chatMessages: number | null;
  reactions: number | null;
  shares: number | null;
  geographicDistribution: Record<string, number>;
  deviceDistribution: Record<string, number>;
  viewerTimeline: { timestamp: string; viewers: number; chatActivity: number | null }[];
  lastUpdated: string;
}

/** `<headcount-stream>`: a live stream's dashboard. */
export class HeadcountStream extends HTMLElement {
  streamId: string;
  autoRefresh: boolean;
}
export interface HeadcountStream extends HeadcountWidget<StreamState> {}

/** A text, or one with `{n}` for each plural form of the language. */
export type Words = Record<string, string | { other: string; [form: string]: string }>;

/** Replace texts, in all elements. The keys are those of `words`. */
export function translate(words: Words): void;

/** All texts as they are now. */
export function words(): Words;

declare global {
  interface HTMLElementTagNameMap {
    "headcount-badge": HeadcountBadge;
    "headcount-live": HeadcountLive;
    "headcount-traffic": HeadcountTraffic;
    "headcount-stream": HeadcountStream;
  }
}
