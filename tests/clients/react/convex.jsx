// docs/course-viewers.md quotes the hook. The badge is how an app uses it.
import { ConvexHttpClient } from "convex/browser";
import { ConvexProvider, ConvexReactClient, useMutation, useQuery } from "convex/react";

import { useEffect, useState } from "react";
import { anyApi as api } from "convex/server";

export function useViewerCount(convex, courseId, who, chapterId) {
  const [count, setCount] = useState({ total: 1, byChapter: {} }); // you are here: show it at once
  const me = JSON.stringify({ courseId, ...who });
  useEffect(() => {
    const beat = async () => {
      await convex.mutation(api.liveViewers.recordPresence, { ...JSON.parse(me), chapterId });
      setCount(await convex.query(api.liveViewers.getLiveViewerCount, { courseId }));
    };
    beat().catch(console.error);
    const timer = setInterval(() => beat().catch(console.error), 30_000);
    return () => clearInterval(timer);
  }, [convex, courseId, me, chapterId]);
  useEffect(
    () => () => {
      convex.mutation(api.liveViewers.removePresence, JSON.parse(me)).catch(console.error);
    },
    [convex, me],
  );
  return count;
}

export function ConvexBadge({ address, courseId, who, chapterId }) {
  const [convex] = useState(() => new ConvexHttpClient(address));
  const { total } = useViewerCount(convex, courseId, who, chapterId);
  return <p>Viewers: {total}</p>;
}

// The badge as it was written for Convex, of a user whose token says who they are.
function LiveViewerBadge({ courseId, chapterId }) {
  const count = useQuery(api.liveViewers.getLiveViewerCount, { courseId });
  const recordPresence = useMutation(api.liveViewers.recordPresence);
  const removePresence = useMutation(api.liveViewers.removePresence);
  useEffect(() => {
    const beat = () => recordPresence({ courseId, chapterId });
    beat();
    const timer = setInterval(beat, 30_000);
    return () => clearInterval(timer);
  }, [courseId, chapterId, recordPresence]);
  useEffect(() => () => void removePresence({ courseId }), [courseId, removePresence]);
  return <b title={JSON.stringify(count?.byChapter)}>{count?.total}</b>;
}

function Listener({ courseId }) {
  return <b>{useQuery(api.liveViewers.getLiveViewerCount, { courseId })?.total}</b>;
}

const clients = new Map();

export function LivePage({ address, courseId, chapterId, token }) {
  if (address === undefined) return <p>closed</p>;
  if (!clients.has(address)) {
    const client = new ConvexReactClient(address);
    if (token) client.setAuth(async () => token);
    clients.set(address, client);
  }
  const Badge = token ? LiveViewerBadge : Listener;
  return (
    <ConvexProvider client={clients.get(address)}>
      <Badge courseId={courseId} chapterId={chapterId} />
    </ConvexProvider>
  );
}
