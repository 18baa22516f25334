/** The state of the dashboard's own socket. */

import { connect, connectionState, feed, probe } from '../feed.js';
import { updatePairs } from '../tables.js';
import { $, SECOND, clockTime, duration, element, number, reconcile, setText } from '../tools.js';

const STATES = { live: 'Live', connecting: 'Connecting', reconnecting: 'Reconnecting', polling: 'Polling instead', offline: 'Offline', 'signed-out': 'Signed out' };

function facts() {
  const { facts: known, url, space, version } = feed;
  const ago = (at) => (at ? `${duration(Date.now() - at)} ago` : '–');
  return [
    ['State', STATES[connectionState()]],
    ['Connected since', known.connectedAt ? `${clockTime(known.connectedAt, true)} (${duration(Date.now() - known.connectedAt)})` : 'not connected'],
    ['Reconnects', number(Math.max(0, known.connections - 1))],
    ['Failures in a row', number(feed.failures)],
    ['Subscribed to', space ?? 'nothing (no space is open)'],
    ['Version', version < 0 ? '–' : number(version)],
    ['Frames received', `${number(known.frames)} (${number(Math.ceil(known.bytes / 1024))} KB)`],
    ['Headcounts', number(known.headcounts)],
    ['Last frame', ago(known.lastFrameAt)],
    ['Last response time', known.responseTime === null ? '–' : `${number(Math.round(known.responseTime))} ms`],
    ['Repeated versions', number(known.repeats)],
    ['Skipped versions', number(known.gaps)],
    ['Address', url ? new URL(url, location.href).href.replace(/^http/, 'ws') : '–'],
  ];
}

function render() {
  updatePairs($('socket'), facts());
  reconcile($('events'), feed.facts.events, ({ at, what }) => `${at} ${what}`, () => element('li', {}, element('time'), element('span')), (row, { at, what }) => {
    setText(row.firstChild, clockTime(at, true));
    setText(row.lastChild, what);
  });
}

$('ping').onclick = () => probe(2 * SECOND);
$('reconnect').onclick = () => connect();

export const view = {
  title: 'Connection',
  enter: render,
  refresh: () => probe(),
  tick: render,
  forget: render,
  csv: { connection: () => ['connection', [['what', 'value'], ...facts().map(([what, value]) => [what, value])]] },
};
