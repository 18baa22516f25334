// Pages as in apps that migrate. Quoted in docs/react.md.
import { useEffect, useState } from "react";

import {
  AnalyticsProvider,
  analyticsService,
  startHeartbeat,
  stopHeartbeat,
  updateHeartbeatUser,
  useAnalytics,
  useLiveTraffic,
  useRealTimeAnalytics,
  useRealtimeAnalytics,
  useViewerCount,
  useViewerTracking,
  useWatchProgress,
} from "./headcount-react.js";
import type { Content, Stream } from "./headcount-react.js";

// Live activity

export function App({ film }: { film?: Content }) {
  return <AnalyticsProvider>{film ? <Player film={film} /> : <Catalogue />}</AnalyticsProvider>;
}

function Player({ film }: { film: Content }) {
  const { handleWatchStart, handleProgress } = useWatchProgress(film);
  return (
    <video
      onPlay={({ currentTarget: { currentTime, duration } }) => handleWatchStart(currentTime, duration)}
      onTimeUpdate={({ currentTarget: { currentTime, duration } }) => handleProgress(currentTime, duration)}
    />
  );
}

function Catalogue() {
  const { updateActivity } = useAnalytics();
  const preview = () =>
    updateActivity({
      type: "watching",
      contentId: "12345",
      contentTitle: "Movie Title",
      contentType: "movie",
      currentPosition: 0,
      duration: 3600,
      quality: "1080p",
    });
  return (
    <>
      <button onClick={preview}>Preview</button>
      <button onClick={() => updateActivity({ type: "browsing" })}>Stop</button>
    </>
  );
}

export const session = () => analyticsService.getUserSession();

// Link analytics

interface LinkPageProps {
  linkId: string;
  visitorSession?: { sessionId: string; fingerprint: string };
  email?: string;
}

export function LinkPage({ linkId, visitorSession, email }: LinkPageProps) {
  const { updatePage } = useViewerTracking(
    linkId,
    visitorSession?.sessionId || "",
    visitorSession?.fingerprint || "",
    email || undefined,
  );
  return <button onClick={() => updatePage(3)}>Page 3</button>;
}

export function LinkWidget({ linkId, every }: { linkId: string; every?: number }) {
  const { data, loading, error, refresh } = useRealtimeAnalytics(linkId, every);
  return (
    <>
      <button onClick={refresh}>Refresh</button>
      {loading && <p>Loading</p>}
      {error && <p role="alert">{error}</p>}
      {data && <p>Viewers: {data.metrics.activeViewers}</p>}
      {data?.activeViewers.map((viewer) => (
        <p key={viewer.sessionId}>
          {viewer.email ?? "Anonymous"} on page {viewer.currentPage}
        </p>
      ))}
    </>
  );
}

// Course viewers

interface BadgeProps {
  courseId: string;
  chapterId?: string;
  showAvatars?: boolean;
  user?: { userId: string; name?: string; avatar?: string };
}

export function LiveViewerBadge({ courseId, chapterId, showAvatars, user }: BadgeProps) {
  const { total, byChapter, viewers, error } = useViewerCount(courseId, { chapterId, showAvatars, user });
  return (
    <span title={viewers.map(({ name }) => name ?? "Anonymous").join(", ")}>
      Watching: {total}, this chapter: {byChapter[chapterId ?? ""] ?? 0} {error}
    </span>
  );
}

// Stream analytics

export function CustomAnalytics({ streamId, enabled = true, enableWebSocket = true }: StreamProps) {
  const { data, isConnected, refresh, getActiveStreams } = useRealTimeAnalytics({
    streamId,
    enabled,
    enableWebSocket,
  });
  const [streams, setStreams] = useState<Stream[]>([]);
  return (
    <div>
      <p>Viewers: {data.currentViewers}</p>
      <p>Status: {isConnected ? "Live" : "Offline"}</p>
      <p>As of: {data.lastUpdated?.toISOString() ?? "never"}</p>
      <p>Points: {data.viewerTimeline.map(({ timestamp }) => timestamp.getTime()).length}</p>
      <p role="alert">{data.error}</p>
      <button onClick={refresh}>Refresh</button>
      <button onClick={async () => setStreams(await getActiveStreams())}>Streams</button>
      <p>Active: {streams.map(({ id }) => id).join(" ")}</p>
    </div>
  );
}

interface StreamProps {
  streamId?: string;
  enabled?: boolean;
  enableWebSocket?: boolean;
}

// Site traffic

export function Site({ user }: { user?: { id: string } }) {
  useEffect(() => {
    startHeartbeat(user?.id);
    return stopHeartbeat;
  }, []);
  useEffect(() => updateHeartbeatUser(user?.id), [user?.id]);
  return null;
}

export function LiveTrafficCard() {
  const { data: traffic, error } = useLiveTraffic();
  return (
    <div>
      <p>Active Now: {traffic?.active_sessions ?? 0}</p>
      <p>Logged In: {traffic?.authenticated_users ?? 0}</p>
      <p>Anonymous: {traffic?.anonymous_sessions ?? 0}</p>
      {traffic?.top_pages?.map((page) => (
        <p key={page.path}>
          {page.path} {page.count}
        </p>
      ))}
      {error && <p role="alert">{error}</p>}
    </div>
  );
}
