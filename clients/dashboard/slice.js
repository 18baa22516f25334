/** The values that the whole screen is limited to: in the address, as chips, and as parameters of the API. */

import { keepSetting } from './address.js';
import { app } from './app.js';
import { $, element, reconcile, setText } from './tools.js';

const MOST = 8;

/** [facet, value] pairs, all of which must hold. */
export const conditions = () => (app.place.where ? app.place.where.split('\n').map((one) => [one.slice(0, one.indexOf(':')), one.slice(one.indexOf(':') + 1)]) : []);
export const isSliced = () => Boolean(app.place.where);
export const holds = (facet, value) => conditions().some(([one, other]) => one === facet && other === value);
export const whereQuery = () => conditions().map(([facet, value]) => ['where', `${facet}:${value}`]);

function keep(pairs) {
  keepSetting(app.place, 'where', pairs.map((pair) => pair.join(':')).join('\n'));
}

/** Limits the screen to a value, or no longer if it was. A facet has one value at a time. */
export function toggle(facet, value) {
  const others = conditions().filter(([one]) => one !== facet);
  keep(holds(facet, value) ? others : [...others, [facet, value]].slice(-MOST));
}

/** Draws a chip with a button for each condition. `titleOf` and `labelOf` say how they read; `changed` is called after one is removed. */
export function renderChips(note, { titleOf, labelOf, changed }) {
  $('slice').hidden = !isSliced();
  setText($('slice-note'), note);
  reconcile($('slice-chips'), conditions(), (pair) => pair.join(':'), () => element('button', { type: 'button' }), (chip, [facet, value]) => {
    const text = `${titleOf(facet)}: ${labelOf(facet, value)}`;
    setText(chip, `${text} ✕`);
    chip.setAttribute('aria-label', `Remove the filter ${text}`);
    chip.onclick = () => {
      toggle(facet, value);
      changed();
      ($('slice-chips').firstChild ?? $('people')).focus();
    };
  });
}

export const clear = () => keep([]);
