/** React: the live count of any space, and types for the elements in JSX. */

import type { HTMLAttributes, ReactNode } from "react";
import type { Token } from "./headcount.js";
import type { Acts, Follow, Here } from "./space.js";

export { configure } from "./space.js";
export type { Acts, Follow, Here, Viewer } from "./space.js";

export interface Headcount extends Here, Acts {}

/** Be in a space, such as `course:intro`, while mounted, and hear its count as it changes. A space of null is none. */
export function useHeadcount(space: string | null | undefined, options?: Follow): Headcount;

export interface ViewerCountProps extends Omit<HTMLAttributes<HTMLSpanElement>, "children"> {
  space: string | null | undefined;
  /** The API's address; by default that of `configure`. */
  endpoint?: string;
  options?: Follow;
  /** The sentence, by plural form: `"{n} person is|{n} people are viewing this"`. */
  label?: string;
  /** The language of the label; by default the page's. */
  lang?: string;
  /** Shown while the count is not known; by default nothing. */
  fallback?: ReactNode;
}

/** The live count as a text, in a `<span>` with `data-stale` if no count came in time. */
export function ViewerCount(props: ViewerCountProps): ReactNode;

/**
 * The elements' attributes. In React 19 `token` is set as a property, so it may be a function. React has an interface
 * `Attributes` of its own, which would win below.
 */
interface ElementAttributes extends HTMLAttributes<HTMLElement> {
  class?: string;
  endpoint?: string;
  token?: Token | null;
  theme?: "light" | "dark";
  "heading-level"?: number | string;
  "refresh-interval"?: number | string;
}

interface BadgeAttributes extends ElementAttributes {
  space: string;
  chapter?: string;
  label?: string;
  "when-unknown"?: "dim" | "hide";
  avatars?: boolean;
  names?: boolean;
  passive?: boolean;
  plain?: boolean;
}

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "headcount-badge": BadgeAttributes;
      "headcount-live": ElementAttributes & { link?: string; space?: string };
      "headcount-traffic": ElementAttributes;
      "headcount-stream": ElementAttributes & { "stream-id": string; "auto-refresh"?: "false" };
    }
  }
}
