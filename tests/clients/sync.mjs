// 001, course viewers: the reactive clients of the `convex` package, over the sync socket.
import { ConvexClient } from "convex/browser";
import { ConvexReactClient } from "convex/react";
import { anyApi as api } from "convex/server";

const clients = new Map();

/** Open a client. `kind` is "react" or "plain"; its sockets can be cut. */
export function open(name, kind, url) {
  const sockets = [];
  class Cuttable extends WebSocket {
    constructor(...given) {
      super(...given);
      sockets.push(this);
    }
  }
  const options = { webSocketConstructor: Cuttable, logger: false, unsavedChangesWarning: false };
  const client =
    kind === "react" ? new ConvexReactClient(url, options) : new ConvexClient(url, options);
  clients.set(name, { client, sockets, seen: {}, ends: {}, signedIn: [] });
}

const of = (name) => clients.get(name);
const fn = (name) => api.liveViewers[name];

/** Follow a query; `key` names it. */
export function follow(name, key, query, args) {
  const { client, seen, ends } = of(name);
  seen[key] = [];
  if (client instanceof ConvexReactClient) {
    const watch = client.watchQuery(fn(query), args);
    const note = () => {
      try {
        seen[key].push(watch.localQueryResult());
      } catch (error) {
        seen[key].push({ error: error.message });
      }
    };
    ends[key] = watch.onUpdate(note);
  } else {
    const failed = (error) => seen[key].push({ error: error.message });
    ends[key] = client.onUpdate(fn(query), args, (value) => seen[key].push(value), failed);
  }
}

export const unfollow = (name, key) => void of(name).ends[key]();
export const seen = (name, key) => of(name).seen[key];
export const last = (name, key) => of(name).seen[key].at(-1);
export const state = (name) => of(name).client.connectionState();
export const sockets = (name) => of(name).sockets.length;
export const mutate = (name, mutation, args) => of(name).client.mutation(fn(mutation), args);

/** Call a mutation with an optimistic update: the count it shows at once, and after it settled. */
export async function mutateOptimistically(name, key, mutation, args) {
  const { client, seen } = of(name);
  const { courseId } = args;
  const before = seen[key].length;
  const optimisticUpdate = (store) => {
    const count = store.getQuery(fn("getLiveViewerCount"), { courseId });
    store.setQuery(fn("getLiveViewerCount"), { courseId }, { ...count, total: count.total + 100 });
  };
  await client.mutation(fn(mutation), args, { optimisticUpdate });
  return seen[key].slice(before);
}

/** Sign in with these tokens, one after another as the client asks for them. */
export function setAuth(name, ...tokens) {
  const { client, signedIn } = of(name);
  let next = 0;
  client.setAuth(
    async () => tokens[Math.min(next++, tokens.length - 1)],
    (isAuthenticated) => signedIn.push(isAuthenticated),
  );
}

export const signedIn = (name) => of(name).signedIn;

export function clearAuth(name) {
  const { client } = of(name);
  if (client instanceof ConvexReactClient) client.clearAuth();
  else client.client.clearAuth();
}

/** Cut the connection, as a lost network does. */
export function cut(name) {
  const socket = of(name).sockets.at(-1);
  if (socket.terminate) socket.terminate();
  else socket.close();
}

export async function close(name) {
  await of(name).client.close();
  clients.delete(name);
}
