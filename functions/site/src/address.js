/** The address: which view of which space, and what is filtered there, so that every screen is a link. */

const SETTINGS = ['section', 'range', 'q', 'kind', 'who', 'state', 'device', 'sort'];
const LIVE_PATH = '/admin/live';
const SPACE = /^[a-z][a-z0-9-]{0,31}:[A-Za-z0-9._~@:+-]{1,128}$/;
export const VIEWS = ['spaces', 'space', 'live', 'streams', 'connection'];

/** Takes the token out of the address (fragment or query) and leaves only the place there. */
export function readAddress() {
  const query = new URLSearchParams(location.search);
  const fragment = new URLSearchParams(location.hash.slice(1).replaceAll('+', '%2B')); // a space may hold a plus
  const said = (name) => fragment.get(name) ?? query.get(name) ?? '';
  const space = SPACE.test(said('space')) ? said('space') : null;
  const named = VIEWS.includes(said('view')) ? said('view') : null;
  const usual = location.pathname === LIVE_PATH ? 'live' : 'spaces';
  const view = space && (!named || named === 'space') ? 'space' : named && named !== 'space' ? named : usual;
  const place = { view, space };
  for (const name of SETTINGS) place[name] = said(name);
  history.replaceState(null, '', addressOf(place));
  return { given: said('token') || null, place };
}

/** A link to a place. */
export function addressOf({ view, space, ...settings }) {
  const path = view === 'live' && location.pathname === LIVE_PATH ? LIVE_PATH : '/dashboard';
  const said = view === 'space' ? [['space', space]] : [['view', view]];
  for (const name of SETTINGS) if (settings[name]) said.push([name, settings[name]]);
  return `${path}#${said.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll('%3A', ':')}`).join('&')}`;
}

/** Keeps a filter in the address without a step in the history. */
export function keepSetting(place, name, value) {
  place[name] = value;
  history.replaceState(null, '', addressOf(place));
}
