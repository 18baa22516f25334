/** Headcount's elements. Attributes are the properties' names in kebab-case. */

import type { Token } from "./headcount.js";

/** What all elements have. */
interface HeadcountElement extends HTMLElement {
  /** A token, or a function that gets one; by default the one that the client has. Not reflected. */
  token: Token | null;
  /** Where the API is; by default where this module came from. */
  endpoint: string;
  /** `light` or `dark`; by default as the page's `color-scheme`. */
  theme: string;
  /** `aria-level` of the title, 2 by default. */
  headingLevel: string;
}

/** `<headcount-badge>`: the live count of a space that the reader is in, too. */
export class HeadcountBadge extends HTMLElement {
  space: string;
  /** The facet `chapter` of whoever reads the page. */
  chapter: string;
  /** What follows the number. */
  label: string;
  /** Ask for names when the tooltip is opened, also without a token. */
  names: boolean;
  /** Show the count without being counted. */
  passive: boolean;
  /** Milliseconds between two looks of a passive badge. */
  refreshInterval: number;
  readonly count: number | undefined;
}
export interface HeadcountBadge extends HeadcountElement {}

/** What the widgets have. */
interface HeadcountWidget<Data> extends HeadcountElement {
  /** Milliseconds. */
  refreshInterval: number;
  /** What is shown, as it came. */
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

/** `<headcount-live>`: who views a link, or is in a space, right now. */
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

/** `<headcount-traffic>`: how many are on the site, and on which pages. */
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

/** A text with `{n}`, or one for each plural form of the language. */
export type Words = Record<string, string | { other: string; [form: string]: string }>;

/** Say it in other words: the keys are those of `words`. */
export function translate(words: Words): void;

/** The words as they are now. */
export function words(): Words;

declare global {
  interface HTMLElementTagNameMap {
    "headcount-badge": HeadcountBadge;
    "headcount-live": HeadcountLive;
    "headcount-traffic": HeadcountTraffic;
    "headcount-stream": HeadcountStream;
  }
}
