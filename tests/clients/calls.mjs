// The functions that tests can call, by name. Arguments and results are JSON.
import * as activity from "./activity.mjs";
import * as courses from "./courses.mjs";
import * as links from "./links.mjs";
import * as streams from "./streams.mjs";
import * as sync from "./sync.mjs";
import * as traffic from "./traffic.mjs";

const systems = { activity, courses, links, streams, sync, traffic };
const LIMIT = 40_000; // ms

/** Call "system.function". Returns `{value}`, or `{error}` if it throws. */
export async function call(name, args) {
  const [system, fn] = name.split(".");
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name} took over ${LIMIT} ms`)), LIMIT);
  });
  try {
    const value = await Promise.race([systems[system][fn](...args), late]);
    return { value: value ?? null };
  } catch (error) {
    const { name: kind, message, data } = error;
    return { error: { kind, message, data: data ?? null } };
  } finally {
    clearTimeout(timer);
  }
}
