/** Vue: the live count of any space, and types for the elements in templates. */

import type { MaybeRefOrGetter, Ref } from "vue";
import type { HeadcountBadge, HeadcountLive, HeadcountStream, HeadcountTraffic } from "./headcount-elements.js";
import type { Acts, Follow, Here } from "./space.js";

export { configure } from "./space.js";
export type { Acts, Follow, Here, Viewer } from "./space.js";

export type Headcount = { readonly [Name in keyof Here]: Ref<Here[Name]> } & Acts;

/** Be in a space while the component lives, and hear its count as it changes. A space of null is none. */
export function useHeadcount(
  space: MaybeRefOrGetter<string | null | undefined>,
  options?: MaybeRefOrGetter<Follow | undefined>,
): Headcount;

type Element<Type> = new () => { $props: Partial<Omit<Type, keyof HTMLElement>> & Record<string, unknown> };

declare module "vue" {
  interface GlobalComponents {
    HeadcountBadge: Element<HeadcountBadge>;
    HeadcountLive: Element<HeadcountLive>;
    HeadcountTraffic: Element<HeadcountTraffic>;
    HeadcountStream: Element<HeadcountStream>;
  }
}
