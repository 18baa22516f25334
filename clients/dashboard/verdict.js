/** Whether a stream is all right, from what its viewers and servers report. Pure. docs/dashboard.md has these limits. */

import { counted, fewer, latencyOf, percent, rateOf } from './tools.js';

const LEVELS = ['Good', 'Degraded', 'Poor'];

/** From where on a number is degraded, and from where on poor. `worse: -1`: smaller is worse. */
const LIMITS = {
  buffering: { degraded: 0.5, poor: 2, worse: 1, say: (n) => `${fewer(n)} interruptions per viewer` },
  errorRate: { degraded: 0.01, poor: 0.05, worse: 1, say: (n) => `${percent(n)} of requests fail` },
  errors: { degraded: 0.5, poor: 2, worse: 1, say: (n) => `${fewer(n)} errors per viewer` },
  latency: { degraded: 3000, poor: 10_000, worse: 1, say: (n) => `latency of ${latencyOf(n)}` },
  score: { degraded: 70, poor: 40, worse: -1, say: (n) => `picture quality ${Math.round(n)} of 100` },
  lines: { degraded: 480, poor: 240, worse: -1, say: (n) => `picture of ${Math.round(n)} lines` },
  uptime: { degraded: 99.5, poor: 95, worse: -1, say: (n) => `uptime of ${fewer(n)}%` },
};
const MAX_SCORE = 100;

const reports = ({ infrastructure }) => Object.values(infrastructure);
const fresh = (body) => reports(body).filter(({ stale }) => !stale);

/** Whether servers say how many requests fail. Else it is the errors that players report. */
export const fromServers = (body) => fresh(body).some(({ numbers }) => Number.isFinite(numbers.errorRate));

/** A player's quality is a score up to 100, or lines of resolution. */
export const isScore = (quality) => quality <= MAX_SCORE;

function numbersOf(body) {
  const { realTime, metrics, quality = {} } = body;
  const picture = metrics.quality ?? NaN;
  return {
    buffering: quality.buffering?.mean,
    [fromServers(body) ? 'errorRate' : 'errors']: realTime.errorRate,
    latency: realTime.latency,
    score: isScore(picture) ? picture : NaN,
    lines: isScore(picture) ? NaN : picture,
    uptime: realTime.uptime,
  };
}

function levelOf(name, value) {
  const { degraded, poor, worse } = LIMITS[name];
  return value * worse >= poor * worse ? 2 : value * worse >= degraded * worse ? 1 : 0;
}

/** {level: good, degraded, poor, unknown or off, title, why} of GET /api/v1/analytics/comprehensive/{id}. */
export function verdictOf(body) {
  const { stream, metrics, realTime } = body;
  if (!metrics.currentViewers && stream?.status !== 'live') return { level: 'off', title: 'Off air', why: stream?.status === 'stopped' ? 'The stream was stopped and has no viewers.' : 'The stream was not started and has no viewers.' };
  const measured = Object.entries(numbersOf(body)).filter(([, value]) => Number.isFinite(value));
  const found = measured.map(([name, value]) => ({ level: levelOf(name, value), text: LIMITS[name].say(value) })).filter(({ level }) => level > 0);
  const silent = reports(body).filter(({ stale }) => stale).length;
  if (silent) found.push({ level: 1, text: `no report from ${counted(silent, 'server', 'servers')} for five minutes or more` });
  if (!measured.length && !found.length) return { level: 'unknown', title: 'Unknown', why: 'No player and no server reports how the stream is.' };
  found.sort((a, b) => b.level - a.level);
  const worst = found[0]?.level ?? 0;
  const fine = [Number.isFinite(realTime.bandwidth) && rateOf(realTime.bandwidth), ...measured.map(([name, value]) => LIMITS[name].say(value))].filter(Boolean);
  const why = worst ? found.map(({ text }) => text) : fine;
  return { level: LEVELS[worst].toLowerCase(), title: LEVELS[worst], why: `${why.join(', ').replace(/^./, (letter) => letter.toUpperCase())}.` };
}
