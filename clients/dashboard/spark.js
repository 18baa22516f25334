/** A space's last hour as a line, as small as a word. Read when it is seen, and then once a minute. */

import { mayRead, server, serverNow, timelineBetween } from './server.js';
import { HOUR, MINUTE, drawn } from './tools.js';

const [WIDTH, HEIGHT] = [72, 20];
const AT_ONCE = 4;
const read = new Map(); // space -> {at: when it was read, line}
const shown = new Set(); // lines within the window
let reading = 0;

export function sparkline(space) {
  const svg = drawn('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'spark', 'aria-hidden': 'true' }, drawn('polyline'));
  svg.dataset.space = space;
  watch.observe(svg);
  return svg;
}

const watch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) shown.add(target);
    else shown.delete(target);
    draw(target);
  }
  fill();
});

/** From the left, an hour ago, to the right, now. A minute without a sample had no visitors. */
export function lineOf(points, now) {
  const people = new Map(points.map((point) => [Math.floor(Date.parse(point.at) / MINUTE), point.people]));
  const last = Math.floor(now / MINUTE) - 1; // the sample of the running minute is not there yet
  const values = Array.from({ length: HOUR / MINUTE }, (_, i) => people.get(last - 59 + i) ?? 0);
  const most = Math.max(1, ...values);
  return values.map((value, i) => `${((i / 59) * (WIDTH - 2) + 1).toFixed(1)},${(HEIGHT - 1.5 - (value / most) * (HEIGHT - 3)).toFixed(1)}`).join(' ');
}

function draw(svg) {
  svg.firstChild.setAttribute('points', read.get(svg.dataset.space)?.line ?? '');
}

const isDue = (space) => Date.now() - (read.get(space)?.at ?? -Infinity) > MINUTE;

async function fill() {
  if (!mayRead() || reading >= AT_ONCE) return;
  const due = [...shown].find((svg) => svg.isConnected && isDue(svg.dataset.space));
  if (!due) return;
  const { space } = due.dataset;
  const { signal } = server.scope;
  read.set(space, { ...read.get(space), at: Date.now() });
  reading += 1;
  fill();
  const now = serverNow();
  const points = await timelineBetween(space, now - HOUR, now).catch(() => null);
  reading -= 1;
  if (signal.aborted) read.delete(space);
  else if (points) read.set(space, { at: Date.now(), line: lineOf(points, now) });
  shown.forEach(draw);
  fill();
}

export function forgetLines() {
  read.clear();
  shown.forEach(draw);
}

setInterval(fill, MINUTE / 4);
