// The client, with the address of the API and a space as a store.

export * from "./headcount.js";
export { configure, follow } from "./space.js";
