// Svelte: the live count of any space, as a store: `const here = headcount("site:main")`, then `$here.count`.

export { configure, follow as headcount } from "./space.js";
