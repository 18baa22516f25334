"use client";
// React: the live count of any space.

import { createElement, useEffect, useMemo, useSyncExternalStore } from "react";
import { phrase } from "../shared/phrase.js";
import { atFirst, configure, follow, nowhere, split } from "./space.js";

export { configure };

const LABEL = "{n} person here now|{n} people here now";

/** Be in a space, such as `course:intro`, while mounted. A space of null is none. */
export function useHeadcount(space, options) {
  const [entering, doing] = split(options);
  const store = useMemo(() => (space ? follow(space, entering) : nowhere), [space, JSON.stringify(entering)]);
  const now = JSON.stringify(doing); // leaves out what is undefined
  useEffect(() => store.update(JSON.parse(now)), [store, now]); // before the subscription below: the first beat has it
  const state = useSyncExternalStore(store.subscribe, store.get, atFirst);
  return useMemo(() => ({ ...state, update: store.update, leave: store.leave, start: store.start }), [state, store]);
}

/** The live count as a text, `fallback` while it is not known. */
export function ViewerCount({ space, endpoint, options, label = LABEL, lang, fallback = null, ...attributes }) {
  const { count, stale } = useHeadcount(space, { endpoint, ...options });
  if (count === null) return fallback;
  const locale = lang ?? (document.documentElement.lang || undefined);
  const form = phrase(label, count, locale);
  return createElement("span", { lang, "data-stale": stale || undefined, ...attributes }, form.replace("{n}", count.toLocaleString(locale)));
}
