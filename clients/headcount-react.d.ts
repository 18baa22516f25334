/** Headcount's React hooks: the old systems' hooks and services, on Headcount's API. */

import type { ReactNode } from "react";

/** A token, or a function that returns a fresh one before each request. */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);

export interface Settings {
  /** The API's address; by default where this module came from. `""` is the page's own origin. */
  origin?: string;
  /** An admin's token for data that only admins see, a user's to prove who is here. */
  token?: Token | null;
  /** The signed-in user, for live activity; by default this browser's anonymous id. */
  userId?: string | number | null;
  /** The address for sockets; by default the API is asked. An address without a path gets `/api/ws/...`. */
  socketUrl?: string;
}

/** Set the API's address and the token. Omitted settings stay as they were. */
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
  /** Two letters; by default the edge adds it. */
  country?: string;
}

export interface Activity extends Content {
  type: "watching" | "browsing";
  /** Seconds. */
  currentPosition?: number;
  /** Seconds. */
  duration?: number;
  /** Your own fields. */
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
  /** Describe the whole activity. Progress is sent every 5 s at most, any other change at once. */
  updateActivity(activity: Activity): void;
  /** null on a server. */
  getUserSession(): UserSession | null;
}

export const analyticsService: AnalyticsService;

export interface AnalyticsProviderProps extends Settings {
  children?: ReactNode;
}

/** Active while mounted. The other props are the settings of `configure`. */
export function AnalyticsProvider(props: AnalyticsProviderProps): ReactNode;

export interface Analytics extends AnalyticsService {
  analyticsService: AnalyticsService;
}

/** Every call returns the same functions. */
export function useAnalytics(): Analytics;

export interface WatchProgress {
  handleWatchStart(currentTime: number, duration: number): void;
  handleProgress(currentTime: number, duration: number): void;
  /** Back to browsing. */
  handleWatchEnd(): void;
}

/** Handlers for a player that shows this content. After the unmount the user is browsing. */
export function useWatchProgress(content: Content): WatchProgress;

// Link analytics

export interface ViewerTracking {
  /** A whole number from 1. */
  updatePage(page: number): void;
}

/** View a link while mounted. Does nothing while the session is "". */
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

/** Data that is loaded repeatedly. After an error `data` keeps its value. */
export interface Polled<Data> {
  data: Data | null;
  /** True until the first response. */
  loading: boolean;
  /** What is wrong, as a sentence. */
  error: string | null;
  /** Load now. Resolves when that is done, and never rejects. */
  refresh(): Promise<void>;
}

/** A link's numbers and viewers, for admins. The interval is in milliseconds. */
export function useRealtimeAnalytics(linkId: string, refreshInterval?: number): Polled<LinkAnalytics>;

// Course viewers

export interface ViewerCountOptions {
  chapterId?: string | null;
  /** By default the token's user, or else this browser's visitor. */
  user?: { userId: string | number; name?: string | null; avatar?: string | null } | null;
  /** Count the viewer without a name. */
  anonymous?: boolean;
  /** Request up to five viewers. */
  showAvatars?: boolean;
  /** How often to read the count, in milliseconds: 30,000 by default and at most. */
  refreshInterval?: number;
}

/** Times are epoch milliseconds. */
export interface CourseViewer {
  userId: string | null;
  /** A token proved the user; otherwise it is what they claim to be. */
  verified: boolean;
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
  /** Empty if the reader may not see names. */
  viewers: CourseViewer[];
  error: string | null;
}

/** View a course while mounted: the number of viewers, in total and by chapter, and up to five names. */
export function useViewerCount(courseId: string, options?: ViewerCountOptions): ViewerCount;

// Stream analytics

/** A number that nobody reported is null. */
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
  /** Whether numbers come in, over the socket or by polling. */
  isConnected: boolean;
  lastUpdated: Date | null;
  error: string | null;

  // Only in socket messages, for one stream:
  quality?: number | null;
  buffering?: number | null;
  errors?: number | null;
  // ... and for all streams together:
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
  /** By default all streams together. */
  streamId?: string;
  enabled?: boolean;
  enableWebSocket?: boolean;
  /** How often to poll while there is no socket, in milliseconds: 5,000 by default. */
  pollingInterval?: number;
}

export interface RealTimeAnalytics {
  data: RealTimeAnalyticsState;
  isConnected: boolean;
  refresh(): Promise<void>;
  /** The registered streams that are live. If they can't be loaded: an empty list, and `data.error`. */
  getActiveStreams(): Promise<Stream[]>;
}

/** A stream's numbers, or without a `streamId` those of all streams together, for admins. */
export function useRealTimeAnalytics(options?: RealTimeAnalyticsOptions): RealTimeAnalytics;

// Site traffic

/** Be on the site, as this user or (null) anonymously. */
export function startHeartbeat(userId?: string | null): void;

/** Stop beating: the session ends 60 s after its last beat. */
export function stopHeartbeat(): void;

/** The user has signed in, or (null) out. */
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
