// 004, site traffic: the `@supabase/supabase-js` package, as a page written for Supabase uses it.
import { createClient } from "@supabase/supabase-js";

// supabase-js needs a WebSocket; node.mjs provides one for Node before 22.
const clients = new Map();

function connect(url, key) {
  const name = `${url} ${key}`;
  if (!clients.has(name)) clients.set(name, createClient(url, key));
  return clients.get(name);
}

const seen = ({ data, error, status }) => ({ data, error, status });

export const insert = async (url, key, rows) =>
  seen(await connect(url, key).from("heartbeats").insert(rows));

export const insertAndSelect = async (url, key, row) =>
  seen(await connect(url, key).from("heartbeats").insert(row).select().single());

export const rpc = async (url, key, name, args, options) =>
  seen(await connect(url, key).rpc(name, args, options));

export const rpcSingle = async (url, key, name, args) =>
  seen(await connect(url, key).rpc(name, args).single());

export const rpcMaybeSingle = async (url, key, name, args) =>
  seen(await connect(url, key).rpc(name, args).maybeSingle());

/** With filters and the like: each step is a method's name and its arguments. */
export const rpcWith = async (url, key, name, args, steps) =>
  seen(await steps.reduce((query, [method, ...given]) => query[method](...given), connect(url, key).rpc(name, args)));

/** With a signed-in user's token next to the project's key, as Supabase Auth sends it. */
export const rpcSignedIn = async (url, key, token, name) => {
  const accessToken = async () => token;
  return seen(await createClient(url, key, { accessToken }).rpc(name));
};

export const readTable = async (url, key) =>
  seen(await connect(url, key).from("heartbeats").select("*"));

// src/services/heartbeatService.ts, unchanged. For pages only: it needs localStorage.

const HEARTBEAT_INTERVAL = 30_000; // 30 seconds
const SESSION_ID_KEY = "heartbeat_session_id";
let supabase;

function getSessionId() {
  let id = localStorage.getItem(SESSION_ID_KEY);
  if (!id) {
    id = crypto.randomUUID();
    localStorage.setItem(SESSION_ID_KEY, id);
  }
  return id;
}

let intervalId = null;

function startHeartbeat(userId) {
  if (intervalId) return; // Already running

  const sendHeartbeat = async () => {
    await supabase.from("heartbeats").insert({
      session_id: getSessionId(),
      user_id: userId,
      page_path: window.location.pathname,
    });
  };

  sendHeartbeat(); // Send immediately on start
  intervalId = window.setInterval(sendHeartbeat, HEARTBEAT_INTERVAL);
}

function stopHeartbeat() {
  if (intervalId) {
    clearInterval(intervalId);
    intervalId = null;
  }
}

function updateHeartbeatUser(userId) {
  stopHeartbeat();
  startHeartbeat(userId);
}

/** The page's start: `startHeartbeat(user?.id)`. Returns its session id. */
export function openSite(url, key, userId) {
  supabase = connect(url, key);
  startHeartbeat(userId ?? undefined);
  return getSessionId();
}

export const signIn = (userId) => updateHeartbeatUser(userId);

export const leaveSite = () => stopHeartbeat();
