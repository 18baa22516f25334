/** What spaces are called: those with a title, such as registered streams. */

import { spaceName } from './server.js';

const titles = new Map(); // space -> title

/** Keeps a space's title. Returns whether that is news. */
export function learnTitle(space, title) {
  const known = titles.get(space);
  if (title) titles.set(space, title);
  else titles.delete(space);
  return known !== titles.get(space);
}

export const forgetTitles = () => titles.clear();
export const titleOf = (space) => titles.get(space) ?? spaceName(space);
/** The spaces with a title. */
export const titled = () => [...titles.keys()];
export const hasTitle = (space) => titles.has(space);
