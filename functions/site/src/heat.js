/** Hours by weekday: the mean number of people in each of the week's 168 hours. Pure. */

import { MINUTE } from './tools.js';

const QUARTER = 15 * MINUTE; // every time zone's hours begin with one of these

/** Rows from Monday to Sunday of 24 cells: the mean people, or null where no whole minute was watched. */
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
    if (time >= from && time < to) cellAt(time).people += people;
  }
  // A minute without a sample had nobody in it.
  return cells.map((row) => row.map(({ people, minutes }) => (minutes >= 1 ? people / minutes : null)));
}
