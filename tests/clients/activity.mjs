// 000, live activity: plain `fetch`, as in its documentation.

const path = "/api/analytics/live-activity";

async function seen(response) {
  return { status: response.status, body: await response.json() };
}

export const heartbeat = async (url, activity) =>
  seen(
    await fetch(`${url}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(activity),
    }),
  );

export const list = async (url, token, maxAge) => {
  const query = maxAge === undefined || maxAge === null ? "" : `?maxAge=${maxAge}`;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return seen(await fetch(`${url}${path}${query}`, { headers }));
};

/** Deactivate on logout. */
export const logout = async (url, session) => {
  const activityId = `live_${session.userId}_${session.sessionId}`;
  return seen(
    await fetch(`${url}/api/analytics/live-activity?id=${activityId}`, {
      method: "DELETE",
    }),
  );
};

/** Deactivate on page unload: `keepalive` lets the request outlive the page. */
export const logoutOnUnload = (url, session) => {
  const activityId = `live_${session.userId}_${session.sessionId}`;
  addEventListener("pagehide", () => {
    fetch(`${url}${path}?id=${activityId}`, { method: "DELETE", keepalive: true });
  });
};
