/** A line chart. The pointer and the arrow keys read it point by point. */

import uPlot from 'uplot';
import { element, setAttribute, setText } from './tools.js';
import { zoneName } from './zone.js';

const FAMILY = 'system-ui, sans-serif';

const scheme = matchMedia('(prefers-color-scheme: dark)');

function roundTop(most) {
  const scale = 10 ** Math.floor(Math.log10(most || 1));
  return [1, 2, 4, 6, 8, 10].map((n) => n * scale).find((n) => n >= most && n > 1);
}

/**
 * Draws into `frame`, a focusable slider. `lines` are {color: a custom property, fill?, dash?, isQuiet?: without a point
 * where the pointer is, bars?}; `band` names the two lines with a colour between them; `describe(i)` is the text of
 * point i; `label(seconds)` is a time on the axis. `draw(times, values, from, to, marks, peak)` takes seconds;
 * `peak` is {at, value} of the highest.
 */
export function createChart(frame, { lines, describe, label, band }) {
  const readout = element('p', { class: 'readout', hidden: '' });
  const color = (name) => getComputedStyle(frame).getPropertyValue(name).trim();
  let count = 0;
  let reading = false;
  let marks = []; // times
  let peak = null;
  const summit = element('i', { class: 'summit', 'aria-hidden': 'true', hidden: '' });

  /** The frame's own size of type, in whole pixels: of 11.5px, uPlot would scale the 5 to the screen's density. */
  const type = () => Math.round(parseFloat(getComputedStyle(frame).fontSize));
  const em = (n) => () => n * type();
  /** As wide as the longest label, and as half of one of the times below it, which begin at the same place. */
  const widthOf = (plot, labels, axis) => {
    plot.ctx.font = plot.axes[axis].font[0];
    return Math.max(2.5 * type(), ...(labels ?? []).map((text) => plot.ctx.measureText(text).width / devicePixelRatio)) + 8;
  };
  /** After the type became larger or smaller: a wall display, a larger window. */
  function scaleType() {
    const size = type();
    for (const axis of plot.axes) axis.font = [`${Math.round(size * devicePixelRatio)}px ${FAMILY}`, Math.round(size * devicePixelRatio), size];
  }

  const fade = (plot, name) => {
    const { top, height } = plot.bbox;
    const gradient = plot.ctx.createLinearGradient(0, top, 0, top + height);
    gradient.addColorStop(0, `color-mix(in srgb, ${color(name)} 26%, transparent)`);
    gradient.addColorStop(1, `color-mix(in srgb, ${color(name)} 2%, transparent)`);
    return gradient;
  };
  const plot = new uPlot(
    {
      width: frame.clientWidth || 600,
      height: frame.clientHeight || 216,
      padding: [14, em(2.8), 0, 0], // half a label on the right
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: (_, i) => (lines[i - 1].isQuiet ? 0 : 9), fill: (_, i) => color(lines[i - 1].color), stroke: () => color('--card'), width: 2 } },
      scales: {
        x: { time: true },
        y: { auto: false, range: (_, least, most) => [least ?? 0, most ?? 2] },
      },
      axes: [
        { stroke: () => color('--soft'), font: `${type()}px ${FAMILY}`, grid: { show: false }, ticks: { show: false }, size: em(2.4), gap: 7, space: em(6.5), values: (_, at) => at.map((seconds) => label(seconds)) },
        {
          stroke: () => color('--soft'), font: `${type()}px ${FAMILY}`, size: widthOf, gap: 6, space: em(3.6), ticks: { show: false },
          grid: { stroke: () => color('--edge'), width: 1, dash: [2, 4] }, incrs: [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b),
          values: (_, at) => at.map((n) => n.toLocaleString()),
        },
      ],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zoneName()),
      bands: band ? [{ series: band, fill: () => `color-mix(in srgb, ${color('--second')} 22%, transparent)` }] : [],
      series: [
        {},
        ...lines.map(({ color: name, fill, dash, width, bars }) => ({
          stroke: () => (bars ? 'transparent' : color(name)),
          width: width ?? 2,
          dash,
          ...(bars ? { paths: uPlot.paths.bars({ size: [0.7, 64], radius: 0.15 }), fill: () => color(name) } : {}),
          ...(fill ? { fill: (self) => fade(self, name) } : {}),
          points: { show: (_, __, first, last) => !bars && Boolean(width ?? 2) && first === last },
        })),
      ],
      hooks: {
        setCursor: [() => show()],
        drawAxes: [(self) => drawMarks(self)],
        draw: [(self) => (markLast(self), markPeak(self))],
      },
    },
    [[], ...lines.map(() => [])],
    frame,
  );
  frame.append(readout);
  plot.over.append(summit);

  /** A line where something happened; what it was is in the list below the chart. */
  function drawMarks(self) {
    const { ctx, bbox } = self;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = color('--warm');
    ctx.lineWidth = devicePixelRatio;
    for (const at of marks) {
      const x = Math.round(self.valToPos(at, 'x', true));
      ctx.beginPath();
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.arc(x, bbox.top, 3 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fill();
    }
    ctx.restore();
  }

  /** Highlights the latest value, which is the number at the top of the page. */
  function markLast(self) {
    if (lines[0].bars) return;
    const last = self.data[0].length - 1;
    if (last < 0 || self.data[1][last] == null) return;
    const { ctx } = self;
    ctx.beginPath();
    ctx.arc(self.valToPos(self.data[0][last], 'x', true), self.valToPos(self.data[1][last], 'y', true), 4 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.fillStyle = color(lines[0].color);
    ctx.strokeStyle = color('--card');
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.fill();
    ctx.stroke();
  }

  function markPeak(self) {
    summit.hidden = !peak;
    if (!peak) return;
    summit.style.setProperty('--x', `${self.valToPos(peak.at, 'x')}px`);
    summit.style.setProperty('--y', `${self.valToPos(peak.value, 'y')}px`);
  }

  function show() {
    const index = plot.cursor.idx;
    const at = reading || frame.matches(':hover') ? index : null;
    const read = at ?? count - 1;
    setAttribute(frame, 'aria-valuemax', Math.max(0, count - 1));
    setAttribute(frame, 'aria-valuenow', Math.max(0, read));
    setAttribute(frame, 'aria-valuetext', count ? describe(read) : 'No data yet');
    readout.hidden = at === null || at === undefined || !count;
    if (readout.hidden) return;
    setText(readout, describe(at));
    const x = plot.valToPos(plot.data[0][at], 'x') + plot.over.offsetLeft;
    const half = readout.offsetWidth / 2;
    readout.style.setProperty('--x', `${Math.min(Math.max(x, half), frame.clientWidth - half)}px`);
  }

  function readAt(index) {
    reading = index !== null;
    const at = index === null ? null : plot.data[0][index];
    plot.setCursor(at === null ? { left: -10, top: -10 } : { left: plot.valToPos(at, 'x'), top: 10 });
    if (at === null) show();
  }

  frame.onfocus = () => count && frame.matches(':focus-visible') && readAt(count - 1);
  frame.onblur = () => readAt(null);
  frame.onkeydown = (event) => {
    const index = reading ? plot.cursor.idx ?? count - 1 : count - 1;
    const step = event.shiftKey ? 10 : 1;
    const target = { ArrowLeft: index - step, ArrowDown: index - step, ArrowRight: index + step, ArrowUp: index + step, PageDown: index - 60, PageUp: index + 60, Home: 0, End: count - 1 }[event.key];
    if (target === undefined || !count) return;
    event.preventDefault();
    readAt(Math.min(Math.max(target, 0), count - 1));
  };
  new ResizeObserver(() => frame.clientWidth && (scaleType(), plot.setSize({ width: frame.clientWidth, height: frame.clientHeight }))).observe(frame);
  scheme.addEventListener('change', () => plot.redraw(false));

  return {
    draw(times, values, from, to, marked = [], highest = null) {
      count = times.length;
      marks = marked;
      peak = highest;
      const most = values.flat().reduce((a, b) => Math.max(a, b ?? 0), peak?.value ?? 0);
      plot.setData([times, ...values], false);
      plot.batch(() => {
        plot.setScale('x', { min: from, max: to });
        plot.setScale('y', { min: 0, max: roundTop(most) });
      });
      show();
    },
  };
}
