// Vue: the live count of any space.

import { onScopeDispose, shallowReactive, toRefs, toValue, watch } from "vue";
import { atFirst, configure, follow, nowhere, split } from "./space.js";

export { configure };

/** Be in a space while the component (or the effect scope) lives. The space and the options may be refs or getters. */
export function useHeadcount(space, options) {
  const state = shallowReactive({ ...atFirst() });
  let store = nowhere;
  let unsubscribe = () => {};
  const asked = () => split(toValue(options) ?? {});

  function enter() {
    unsubscribe();
    Object.assign(state, atFirst());
    const [entering, doing] = asked();
    store = toValue(space) ? follow(toValue(space), entering) : nowhere;
    store.update(doing);
    unsubscribe = store.subscribe((change) => Object.assign(state, change));
  }

  watch(() => JSON.stringify([toValue(space), asked()[0]]), enter, { immediate: true });
  watch(() => JSON.stringify(asked()[1]), (doing) => store.update(JSON.parse(doing)));
  onScopeDispose(() => unsubscribe());
  return { ...toRefs(state), update: (change) => store.update(change), leave: () => store.leave(), start: () => store.start() };
}
