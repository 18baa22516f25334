// 002, link analytics: the "Manual API Calls" of its document.

async function seen(response) {
  return { status: response.status, body: await response.json() };
}

export const metrics = async (url, token, linkId) => {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`${url}/api/send/realtime/${linkId}`, { headers });
  return seen(response);
};

export const join = async (url, linkId, { sessionId, fingerprint, email }) =>
  seen(
    await fetch(`${url}/api/send/realtime/${linkId}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        action: "join",
        sessionId,
        fingerprint,
        email,
      }),
    }),
  );

export const heartbeat = async (url, linkId, { sessionId, currentPage }) =>
  seen(
    await fetch(`${url}/api/send/realtime/${linkId}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        action: "heartbeat",
        sessionId,
        currentPage,
      }),
    }),
  );

export const leave = async (url, linkId, { sessionId, duration }) =>
  seen(
    await fetch(`${url}/api/send/realtime/${linkId}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        action: "leave",
        sessionId,
        duration,
      }),
    }),
  );

/** Whatever else somebody might post. */
export const post = async (url, linkId, body) =>
  seen(
    await fetch(`${url}/api/send/realtime/${linkId}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
  );
