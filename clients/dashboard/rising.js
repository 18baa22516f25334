/** What rises: a space above what is usual at this time, pages above some minutes before. Pure. */

import { MINUTE, decimal, fewer } from './tools.js';

export const FEWEST = 5; // people: with fewer, chance alone doubles them
const FACTOR = 1.5;
const LEAST_MORE = 3;
const KEEP_EVERY = MINUTE;
const [LEAST_SPAN, MOST_SPAN] = [5 * MINUTE, 11 * MINUTE];
const SHOWN = 3;

/** Such as "↑ 2.3× usual"; '' if it is not more, or if what is usual ({low, median, high}, quartiles) is not known. */
export function aboveUsual(people, usual) {
  if (!usual || people < FEWEST || people <= usual.high || people < FACTOR * usual.median) return '';
  if (usual.median >= 1) return `↑ ${fewer(people / usual.median)}× usual`;
  return usual.high ? `↑ usually ${decimal(usual.low)}–${decimal(usual.high)}` : '↑ usually nobody';
}

/** The values of a facet as they were at times of the last minutes, oldest first, with those of now: one a minute. */
export function remember(kept, at, values) {
  const recent = kept.filter((one) => at - one.at < MOST_SPAN);
  if (recent.length && at - recent.at(-1).at < KEEP_EVERY) return recent;
  return [...recent, { at, people: new Map(values.map(({ value, people }) => [value, people])) }];
}

/** {since, values: [{value, people, before}]}: those that rise most since the first remembered time, ten minutes ago or at least five. */
export function risingSince(kept, at, values) {
  const then = kept.find((one) => at - one.at < MOST_SPAN);
  if (!then || at - then.at < LEAST_SPAN) return { since: null, values: [] };
  const isCut = then.people.has('other'); // who was under a value that is not listed then is not known
  const known = values.filter(({ value }) => value !== 'other' && (then.people.has(value) || !isCut));
  const rising = known.map(({ value, people }) => ({ value, people, before: then.people.get(value) ?? 0 }));
  const most = rising.filter(({ people, before }) => people >= FEWEST && people - before >= LEAST_MORE && people >= FACTOR * before);
  return { since: then.at, values: most.sort((a, b) => b.people - b.before - (a.people - a.before)).slice(0, SHOWN) };
}
