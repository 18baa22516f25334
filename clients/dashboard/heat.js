/** Hours by weekday: the average number of people in each of the week's 168 hours. Pure. */

import { MINUTE } from './tools.js';
import { wall } from './zone.js';

/**
 * Rows from Monday to Sunday with 24 cells: average people in the hours of the zone, or null if none of it is known.
 * `people` has a number for each `step` (minutes, at most 15: in every zone, hours begin at a quarter's multiple).
 */
export function heatOf(people, from, step) {
  const cells = Array.from({ length: 7 }, () => Array.from({ length: 24 }, () => ({ sum: 0, count: 0 })));
  people.forEach((value, i) => {
    if (value === null) return;
    const time = new Date(wall(from + i * step * MINUTE));
    const cell = cells[(time.getUTCDay() + 6) % 7][time.getUTCHours()];
    cell.sum += value;
    cell.count += 1;
  });
  return cells.map((row) => row.map(({ sum, count }) => (count ? sum / count : null)));
}
