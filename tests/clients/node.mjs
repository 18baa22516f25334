// Calls from the tests in Node: a line of JSON in, `[name, args]`, and a line of JSON out.
import { createInterface } from "node:readline";
import WebSocket from "ws";

globalThis.WebSocket ??= WebSocket; // built into Node from version 22 on
console.log = console.info = console.warn = console.error; // stdout is for results

const { call } = await import("./calls.mjs");

for await (const line of createInterface({ input: process.stdin })) {
  const [name, args] = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await call(name, args))}\n`);
}
process.exit(0);
