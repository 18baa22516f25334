// The people behind sessions: one person may have several.

/** One session of each person, in the order of the sessions. A proven user is not one who claims to be it. */
export function peopleOf(viewers) {
  const people = new Map();
  for (const viewer of viewers) {
    const { userId, verified, visitorId, sessionId } = viewer;
    people.set((userId && `${verified} ${userId}`) ?? visitorId ?? sessionId ?? viewer, viewer);
  }
  return [...people.values()];
}
