/** Headcount's React hooks: the old systems' hooks and services, on Headcount's API. */

import type { ReactNode } from "react";

/** A token, or a function that gets a fresh one before each request. */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);

export interface Settings {
  /** Where the API is; by default where this module came from, `""`: the page's own origin. */
  origin?: string;
  /** Who asks: an admin's token for what only admins see, a user's to prove who is here. */
  token?: Token | null;
  /** Who is signed in, for live activity; otherwise this browser's anonymous id. */
  userId?: string | number | null;
  /** Where sockets are; by default as the API says. An address without a path gets `/api/ws/...`. */
  socketUrl?: string;
}

/** Say where the API is, and who asks. What is left out stays as it was. */
export function configure(settings: Settings): void;

// Live activity

export interface Content {
  contentId?: string;
  contentTitle?: string;
  /** Such as `movie`. */
  contentType?: string;
  seasonNumber?: number;
  episodeNumber?: number;
  /** Such as `1080p`. */
  quality?: string;
  /** Two letters; by default as the edge says. */
  country?: string;
}

export interface Activity extends Content {
  type: "watching" | "browsing";
  /** Seconds. */
  currentPosition?: number;
  /** Seconds. */
  duration?: number;
  /** Fields of your own. */
  [field: string]: string | number | boolean | null | undefined;
}

export interface UserSession {
  userId: string;
  sessionId: string;
}

export interface AnalyticsService {
  /** Be active from now on. */
  initialize(): void;
  /** Undo `initialize`. */
  deactivate(): void;
  /** All that somebody is doing now: progress is sent every 5 s, anything else at once. */
  updateActivity(activity: Activity): void;
  /** null on a server. */
  getUserSession(): UserSession | null;
}

export const analyticsService: AnalyticsService;

export interface AnalyticsProviderProps extends Settings {
  children?: ReactNode;
}

/** Active while mounted. The props besides are `configure`'s. */
export function AnalyticsProvider(props: AnalyticsProviderProps): ReactNode;

export interface Analytics extends AnalyticsService {
  analyticsService: AnalyticsService;
}

/** The same functions at each call. */
export function useAnalytics(): Analytics;

export interface WatchProgress {
  handleWatchStart(currentTime: number, duration: number): void;
  handleProgress(currentTime: number, duration: number): void;
  /** Browsing again. */
  handleWatchEnd(): void;
}

/** What a player calls while somebody watches this; unmounted, they browse. */
export function useWatchProgress(content: Content): WatchProgress;

// Link analytics

export interface ViewerTracking {
  /** A whole number from 1. */
  updatePage(page: number): void;
}

/** View a link while mounted. Nothing happens while the session is "". */
export function useViewerTracking(
  linkId: string,
  sessionId: string,
  fingerprint: string,
  email?: string,
): ViewerTracking;

export interface LinkMetrics {
  activeViewers: number;
  totalViews: number;
  viewsToday: number;
  viewsThisWeek: number;
  viewsThisMonth: number;
  peakConcurrentViewers: number;
  /** Seconds. */
  avgViewDuration: number;
}

/** Times are epoch milliseconds. */
export interface LinkViewer {
  sessionId: string;
  email: string | null;
  joinedAt: number;
  lastActivity: number;
  currentPage: number | null;
  /** Seconds so far. */
  duration: number;
}

export interface LinkAnalytics {
  metrics: LinkMetrics;
  activeViewers: LinkViewer[];
}

/** What is loaded again and again. After an error the data of before stay. */
export interface Polled<Data> {
  data: Data | null;
  /** Until the first answer. */
  loading: boolean;
  /** What is wrong, in a sentence. */
  error: string | null;
  /** Load now; settled when that is done. Never rejects. */
  refresh(): Promise<void>;
}

/** A link's numbers and viewers, for admins. The interval is in milliseconds. */
export function useRealtimeAnalytics(linkId: string, refreshInterval?: number): Polled<LinkAnalytics>;

// Course viewers

export interface ViewerCountOptions {
  chapterId?: string | null;
  /** Without one a token's user, else this browser's visitor. */
  user?: { userId: string | number; name?: string | null; avatar?: string | null } | null;
  /** Counted and not named. */
  anonymous?: boolean;
  /** Ask for up to five viewers. */
  showAvatars?: boolean;
  /** Milliseconds between two looks at the count, 30,000 by default and at most. */
  refreshInterval?: number;
}

/** Times are epoch milliseconds. */
export interface CourseViewer {
  userId: string | null;
  name: string | null;
  avatar: string | null;
  chapterId: string | null;
  joinedAt: number;
  lastSeen: number;
}

export interface ViewerCount {
  /** 1 at first: you are here. */
  total: number;
  byChapter: Record<string, number>;
  /** Empty where the reader may not see names. */
  viewers: CourseViewer[];
  error: string | null;
}

/** View a course while mounted: how many do, also by chapter, and who. */
export function useViewerCount(courseId: string, options?: ViewerCountOptions): ViewerCount;

// Stream analytics

/** A number that nothing came in for is null. */
export interface RealTimeAnalyticsState {
  currentViewers: number;
  peakViewers: number;
  totalViews: number;
  /** Seconds. */
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
  viewerTimeline: { timestamp: Date; viewers: number; chatActivity: number | null }[];
  /** Whether numbers come: by the socket or by polling. */
  isConnected: boolean;
  lastUpdated: Date | null;
  error: string | null;

  // What only a socket says of one stream:
  quality?: number | null;
  buffering?: number | null;
  errors?: number | null;
  // ... and of all streams together:
  totalViewers?: number;
  activeStreams?: number;
  revenueToday?: number | null;
  avgEngagement?: number | null;
  serverLoad?: number | null;
}

export interface Stream {
  id: string;
  title: string | null;
  channelId: string | null;
  eventId: string | null;
  status: "idle" | "live" | "stopped";
  createdAt: string;
  startedAt: string | null;
  stoppedAt: string | null;
  currentViewers: number;
  peakViewers: number;
  totalViews: number;
}

export interface RealTimeAnalyticsOptions {
  /** Without one: all streams together. */
  streamId?: string;
  enabled?: boolean;
  enableWebSocket?: boolean;
  /** Milliseconds between two polls while there is no socket, 5,000 by default. */
  pollingInterval?: number;
}

export interface RealTimeAnalytics {
  data: RealTimeAnalyticsState;
  isConnected: boolean;
  refresh(): Promise<void>;
  /** Registered streams that are live; none, and `data.error`, where that can't be told. */
  getActiveStreams(): Promise<Stream[]>;
}

/** A stream's numbers, for admins. */
export function useRealTimeAnalytics(options?: RealTimeAnalyticsOptions): RealTimeAnalytics;

// Site traffic

/** Be on the site, as this user or (null) anonymously. */
export function startHeartbeat(userId?: string | null): void;

/** Beat no more: the session is over 60 s after its last beat. */
export function stopHeartbeat(): void;

/** Somebody signed in, or (null) out. */
export function updateHeartbeatUser(userId?: string | null): void;

export interface LiveTraffic {
  active_users: number;
  active_sessions: number;
  authenticated_users: number;
  anonymous_sessions: number;
  top_pages: { path: string; count: number }[] | null;
}

/** The site's live traffic, for admins. The interval is in milliseconds. */
export function useLiveTraffic(interval?: number): Polled<LiveTraffic>;
