/** Periods of time, what they are compared with, and their numbers from what is stored. Pure, but for the zone. */

import { DAY, HOUR, MINUTE } from './tools.js';
import { addDays, dateOf, moment, shiftDays, startOf, wall } from './zone.js';

const QUARTER = 15 * MINUTE; // in every time zone, days begin at a multiple of this
const LONGEST = 31 * DAY; // of a series of steps

export const PERIODS = { hour: 'Last hour', day: 'Last 24 hours', week: 'Last 7 days', '28d': 'Last 28 days', month: 'This month', 'last-month': 'Last month', custom: 'Chosen days' };

const isDate = (text) => /^[1-9]\d{3}-\d{2}-\d{2}$/.test(text ?? '') && !Number.isNaN(Date.parse(text));
const firstOfMonth = (date) => `${date.slice(0, 7)}-01`;
const monthBefore = (date) => firstOfMonth(addDays(firstOfMonth(date), -1));

/** The period of a place: {name, from, to, isRunning}, in milliseconds. */
export function periodOf({ period, from, to }, now) {
  const today = dateOf(now);
  const running = (name, start) => ({ name, from: start, to: now, isRunning: true });
  if (period === 'hour') return running('hour', now - HOUR);
  if (period === 'day') return running('day', now - DAY);
  if (period === 'week') return running('week', startOf(addDays(today, -6)));
  if (period === 'month') return running('month', startOf(firstOfMonth(today)));
  if (period === 'last-month') return { name: period, from: startOf(monthBefore(today)), to: startOf(firstOfMonth(today)), isRunning: false };
  if (period === 'custom' && isDate(from) && isDate(to) && from <= to && from <= today) {
    const end = startOf(addDays(to, 1));
    return { name: 'custom', from: startOf(from), to: Math.min(end, now), isRunning: end > now };
  }
  return running('28d', startOf(addDays(today, -27)));
}

/** What a period is compared with: {from, to}. `week` is the same a week earlier, `before` yesterday or the period before. */
export function earlierPeriod(period, mode) {
  const { name, from, to, isRunning } = period;
  if (mode === 'none') return null;
  const back = (count) => ({ from: shiftDays(from, -count), to: shiftDays(to, -count) });
  if (mode === 'week') return back(7);
  if (name === 'hour' || name === 'day') return back(1);
  const isMonth = name === 'month' || name === 'last-month';
  const earlier = isMonth ? { from: startOf(monthBefore(dateOf(from))) } : back(daysOf(period).length);
  if (isMonth) earlier.to = Math.min(from, moment(wall(earlier.from) + wall(to) - wall(from))); // it may be shorter
  return isRunning ? earlier : { ...earlier, to: from };
}

/** The part of a period that a series can have: {from, to, step: minutes}. Hours and days of every zone begin with a step. */
export function stepsOf({ from, to }) {
  const span = Math.min(to - from, LONGEST);
  const step = span <= HOUR ? 1 : span <= DAY ? 5 : 15;
  return { from: Math.floor((to - span) / (step * MINUTE)) * step * MINUTE, to, step };
}

/** Such as 2026-11-21 of a moment, in UTC. */
export const utcDate = (at) => new Date(at).toISOString().slice(0, 10);
export const quarterOf = (at) => Math.floor(at / QUARTER) * QUARTER;

/**
 * The views from one quarter of an hour to another, by the rows of UTC days, or null if that is not stored. A day without
 * a row had none, from `knownFrom` on.
 */
export function viewsBetween(rows, from, to, knownFrom) {
  if (knownFrom === null || from < knownFrom) return null;
  const days = new Map(rows.map((row) => [row.date, row]));
  let views = 0;
  for (let at = from; at < to; ) {
    const date = utcDate(at);
    const start = Date.parse(`${date}T00:00:00Z`);
    const end = Math.min(to, start + DAY);
    const row = days.get(date);
    if (row && end - at === DAY) views += row.views;
    else if (row) {
      if (!row.viewsByQuarter) return null;
      views += row.viewsByQuarter.slice((at - start) / QUARTER, Math.ceil((end - start) / QUARTER)).reduce((a, b) => a + b, 0);
    }
    at = end;
  }
  return views;
}

/** Since when days are known: from the first stored one on, or the first sample. */
export function knownSince(rows, since) {
  const times = [rows.length ? Date.parse(`${rows[0].date}T00:00:00Z`) : NaN, Date.parse(since ?? '')].filter(Number.isFinite);
  return times.length ? Math.min(...times) : null;
}

/** How much more it is now than before, such as "+12%"; a dash if there is nothing to compare with. */
export function change(now, before) {
  if (!Number.isFinite(now) || !Number.isFinite(before) || before <= 0) return '–';
  const share = now / before - 1;
  const rounded = Math.round(share * 100);
  if (rounded >= 1000) return `×${Math.round(now / before).toLocaleString()}`;
  return rounded === 0 ? '±0%' : `${rounded > 0 ? '+' : '−'}${Math.abs(rounded)}%`;
}

/** The sign of a change: 1, -1, or 0. */
export const wayOf = (text) => (/^[+×]/.test(text) ? 1 : text.startsWith('−') ? -1 : 0);

/** The mean of the steps that are known, and their peak with its place; null without any. */
export function summaryOf({ people, peaks }) {
  let sum = 0;
  let count = 0;
  let best = -1;
  people.forEach((value, i) => {
    if (value === null) return;
    sum += value;
    count += 1;
    if (best < 0 || peaks[i] > peaks[best]) best = i;
  });
  return count ? { mean: sum / count, peak: peaks[best], index: best } : null;
}

/** Both periods' sums over the steps that both know: a mean of a whole day is not compared with one of its evening. */
export function comparable(now, before) {
  const both = now.people.map((one, i) => one !== null && before?.people[i] != null);
  const only = (series) => ({ people: series.people.map((one, i) => (both[i] ? one : null)), peaks: series.peaks });
  return both.some(Boolean) ? [summaryOf(only(now)), summaryOf(only(before))] : [null, null];
}

/** The days of a period in the zone: {date, from, to}. */
export function daysOf({ from, to }) {
  const days = [];
  for (let date = dateOf(from); ; date = addDays(date, 1)) {
    const start = startOf(date);
    if (start >= to) return days;
    days.push({ date, from: start, to: startOf(addDays(date, 1)) });
  }
}

/** Whether all these days are UTC's: only then rows of UTC days are theirs. */
export const areUtc = (days) => days.every(({ date, from }) => from === Date.parse(`${date}T00:00:00Z`));
