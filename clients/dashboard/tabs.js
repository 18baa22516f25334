/** The tabs of a space, and the cards that links lead to. */

import { addressOf } from './address.js';
import { app } from './app.js';
import { allows, isRollup } from './server.js';
import { $, SECOND } from './tools.js';

const CARDS = { sessions: 'viewers-title', hours: 'heat-title', days: 'days-title', stream: 'stream-title' };
const TAB_OF_SECTION = { sessions: 'people', hours: 'history', days: 'history', stream: 'stream' };
const SETTLING = 10 * SECOND; // late content moves a card for so long
const BY_HAND = ['wheel', 'touchmove', 'pointerdown', 'keydown'];

const HAS = {
  live: () => true,
  history: (space) => allows('read', space) || isRollup(space),
  people: (space) => allows('people', space),
  stream: (space) => space.startsWith('stream:'),
};

/** The tab that a place opens: its own, or that of the section it names. */
export function tabOf({ space, tab, section, show }) {
  const wanted = show === 'wall' ? 'live' : tab || TAB_OF_SECTION[section];
  return HAS[wanted]?.(space) ? wanted : 'live';
}

export const isOpen = (tab) => app.place.view === 'space' && tabOf(app.place) === tab;

export function renderTabs() {
  const { place } = app;
  $('tabs').hidden = place.view !== 'space';
  if ($('tabs').hidden) return;
  const open = tabOf(place);
  for (const link of $('tabs').children) {
    const { tab } = link.dataset;
    link.hidden = !HAS[tab](place.space);
    link.setAttribute('href', addressOf({ ...place, tab: tab === 'live' ? '' : tab, section: '' }));
    if (tab === open) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    $(`tab-${tab}`).hidden = tab !== open;
  }
}

let pinned = null;

/** Scrolls to the card of the address's section, and stays there while content loads, until the reader moves. */
export function land() {
  pinned?.();
  const card = $(CARDS[app.place.section]);
  if (!card) return;
  const scroll = () => card.scrollIntoView();
  const sizes = new ResizeObserver(scroll);
  sizes.observe($('main'));
  const release = () => {
    sizes.disconnect();
    clearTimeout(timer);
    for (const name of BY_HAND) removeEventListener(name, release);
    pinned = null;
  };
  const timer = setTimeout(release, SETTLING);
  for (const name of BY_HAND) addEventListener(name, release, { passive: true });
  pinned = release;
  scroll();
}
