/** The address: view, space, tab and filters, so that every screen has a link. */

const SETTINGS = ['tab', 'section', 'range', 'period', 'from', 'to', 'compare', 'q', 'kind', 'who', 'state', 'device', 'where', 'sort', 'show', 'person'];
const LIVE_PATH = '/admin/live';
const SPACE = /^(~(kind|group):[a-z][a-z0-9-]{0,31}|[a-z][a-z0-9-]{0,31}:[A-Za-z0-9._~@:+-]{1,128})$/;
export const VIEWS = ['spaces', 'space', 'live', 'streams', 'people', 'connection'];
export const isSpace = (text) => SPACE.test(text);

/** Removes the token from the address (fragment or query) and leaves only the place. `wanted` is a space's name that is none. */
export function readAddress() {
  const query = new URLSearchParams(location.search);
  const fragment = new URLSearchParams(location.hash.slice(1).replaceAll('+', '%2B')); // a space id may contain a plus
  const read = (name) => fragment.get(name) ?? query.get(name) ?? '';
  const space = isSpace(read('space')) ? read('space') : null;
  const named = VIEWS.includes(read('view')) ? read('view') : null;
  const standard = location.pathname === LIVE_PATH ? 'live' : 'spaces';
  const view = space && (!named || named === 'space') ? 'space' : named && named !== 'space' ? named : standard;
  const place = { view, space };
  for (const name of SETTINGS) place[name] = read(name);
  history.replaceState(null, '', addressOf(place));
  return { token: read('token') || null, place, wanted: space || named ? '' : read('space'), isPlain: !space && !named && standard === 'spaces' };
}

/** A link to a place. */
export function addressOf({ view, space, ...settings }) {
  const path = view === 'live' && location.pathname === LIVE_PATH ? LIVE_PATH : '/dashboard';
  const parts = view === 'space' ? [['space', space]] : [['view', view]];
  for (const name of SETTINGS) if (settings[name]) parts.push([name, settings[name]]);
  return `${path}#${parts.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll('%3A', ':')}`).join('&')}`;
}

/** Whether two places differ at most in the tab and the section of one space. */
export const isSameSpace = (one, other) => one.view === 'space' && addressOf({ ...one, tab: '', section: '' }) === addressOf({ ...other, tab: '', section: '' });

/** Keeps a filter in the address, without a new history entry. */
export function keepSetting(place, name, value) {
  place[name] = value;
  history.replaceState(null, '', addressOf(place));
}
