/** What the views share: the place the address names, and reads that repeat while their view is open. */

import { attempt, mayRead } from './server.js';
import { SECOND, paced } from './tools.js';

export const app = {
  place: { view: 'spaces', space: null },
  /** Goes to a place; set by dashboard.js. */
  go: () => {},
  /** Called when the freshness of what is shown may have changed. */
  changed: () => {},
};

/** Reads `load` every so often while `view` is open; `contactAt` is when it last worked. */
export function polling(view, source, load, every) {
  const poll = { contactAt: null, every, outcome: null };
  poll.refresh = paced(async (force) => {
    if (app.place.view !== view || !mayRead(force)) return;
    const outcome = await attempt(source, load);
    if (outcome === 'aborted') return;
    poll.outcome = outcome;
    if (outcome === 'ok') poll.contactAt = Date.now();
    app.changed();
  }, () => SECOND / 2);
  poll.forget = () => Object.assign(poll, { contactAt: null, outcome: null });
  setInterval(() => poll.refresh(), every);
  return poll;
}
