/** Svelte: the live count of any space, as a store, and types for the elements. */

import type { HTMLAttributes } from "svelte/elements";
import type { Follow, Space } from "./space.js";

export { configure } from "./space.js";
export type { Acts, Follow, Here, Space, Viewer } from "./space.js";

/** A store of a space, such as `site:main`: this tab is in it while a component that shows it is mounted. */
export function headcount(space: string, options?: Follow): Space;

declare module "svelte/elements" {
  interface SvelteHTMLElements {
    "headcount-badge": HTMLAttributes<HTMLElement> & Record<string, unknown>;
    "headcount-live": HTMLAttributes<HTMLElement> & Record<string, unknown>;
    "headcount-traffic": HTMLAttributes<HTMLElement> & Record<string, unknown>;
    "headcount-stream": HTMLAttributes<HTMLElement> & Record<string, unknown>;
  }
}
