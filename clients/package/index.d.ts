/** Headcount's client, the address of its API, and a space as a store. */

export * from "./headcount.js";
export { configure, follow } from "./space.js";
export type { Follow, Here, Space, Viewer } from "./space.js";
