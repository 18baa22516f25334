// docs/course-viewers.md quotes the hook; the badge is what an app makes of it.
import { ConvexHttpClient } from "convex/browser";

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
