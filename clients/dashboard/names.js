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

const names = new Map(); // a person's key -> the name that they gave

/** Keeps what a person is called, as long as this page is open. */
export function learnPerson(key, name) {
  if (name) names.set(key, name);
}
export const personNamed = (key) => names.get(key) ?? '';
/** The keys of the people who are called so, whatever the case. */
export const keysCalled = (text) => [...names].filter(([, name]) => name.toLowerCase() === text.toLowerCase()).map(([key]) => key);

export function forgetTitles() {
  titles.clear();
  names.clear();
}
export const titleOf = (space) => titles.get(space) ?? spaceName(space);
/** The spaces with a title. */
export const titled = () => [...titles.keys()];
export const hasTitle = (space) => titles.has(space);
