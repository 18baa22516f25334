// 001, course viewers: the `convex` package, used as in a page written for Convex.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";

/** A client as `new ConvexHttpClient(process.env.CONVEX_URL)` makes it, signed in or not. */
function connect(url, token) {
  const convex = new ConvexHttpClient(url);
  if (token) convex.setAuth(token);
  return convex;
}

export const recordPresence = (url, token, args) =>
  connect(url, token).mutation(api.liveViewers.recordPresence, args);

export const removePresence = (url, token, args) =>
  connect(url, token).mutation(api.liveViewers.removePresence, args);

export const getLiveViewerCount = (url, token, args) =>
  connect(url, token).query(api.liveViewers.getLiveViewerCount, args);

export const getActiveViewers = (url, token, args) =>
  connect(url, token).query(api.liveViewers.getActiveViewers, args);

/** Any kind of function, by its name: what `function()` of the client is for. */
export const anyFunction = (url, name, args) => connect(url).function(name, undefined, args);

/** With the limit as an int64, which the client encodes in its own way. */
export const getFirstViewers = (url, token, courseId, limit) =>
  connect(url, token).query(api.liveViewers.getActiveViewers, { courseId, limit: BigInt(limit) });

/** What the badge does when it mounts. `chapterId` is undefined until a chapter is chosen. */
export async function mountBadge(url, courseId, userId) {
  const convex = new ConvexHttpClient(url);
  await convex.mutation(api.liveViewers.recordPresence, { courseId, userId, chapterId: undefined });
  return convex.query(api.liveViewers.getLiveViewerCount, { courseId });
}

/** One client's mutations, sent one after another, and the count right after them. */
export async function followChapters(url, courseId, userId, chapters) {
  const convex = new ConvexHttpClient(url);
  const sent = chapters.map((chapterId) =>
    convex.mutation(api.liveViewers.recordPresence, { courseId, userId, chapterId }),
  );
  await Promise.all(sent);
  return convex.query(api.liveViewers.getLiveViewerCount, { courseId });
}

/** Many people at once, without the client's queue. */
export async function crowd(url, courseId, people) {
  const convex = new ConvexHttpClient(url);
  const arrive = (person) =>
    convex.mutation(api.liveViewers.recordPresence, { courseId, ...person }, { skipQueue: true });
  await Promise.all(people.map(arrive));
}

/** The list before and after `clearAuth`, with the same client. */
export async function signOut(url, token, courseId) {
  const convex = connect(url, token);
  const before = await convex.query(api.liveViewers.getActiveViewers, { courseId });
  convex.clearAuth();
  const after = await convex
    .query(api.liveViewers.getActiveViewers, { courseId })
    .then(() => "allowed", () => "refused");
  return { before, after };
}

/** A query at one timestamp, which the client requests from the server first. */
export const consistentCount = (url, courseId) =>
  connect(url).consistentQuery(api.liveViewers.getLiveViewerCount, { courseId });

export const callUnknownFunction = (url) => connect(url).query(api.liveViewers.getViewerMood, {});
