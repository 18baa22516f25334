/** Hours by weekday: the average number of people in each of the week's 168 hours. Pure. */

import { MINUTE } from './tools.js';

const QUARTER = 15 * MINUTE; // in every time zone, hours begin at a multiple of this

/** Rows from Monday to Sunday with 24 cells: average people, or null if no whole minute was covered. */
export function heatOf(points, from, to) {
  const cells = Array.from({ length: 7 }, () => Array.from({ length: 24 }, () => ({ people: 0, minutes: 0 })));
  const cellAt = (at) => {
    const time = new Date(at);
    return cells[(time.getDay() + 6) % 7][time.getHours()];
  };
  for (let at = from; at < to; ) {
    const next = Math.min(to, (Math.floor(at / QUARTER) + 1) * QUARTER);
    cellAt(at).minutes += (next - at) / MINUTE;
    at = next;
  }
  for (const { at, people } of points) {
    const time = Date.parse(at);
    if (time < from || time >= to) continue;
    if (people === null) cellAt(time).minutes -= 1; // not sampled: out of the mean
    else cellAt(time).people += people;
  }
  // A minute without a sample had no visitors.
  return cells.map((row) => row.map(({ people, minutes }) => (minutes >= 1 ? people / minutes : null)));
}
