// 002, link analytics: the "Manual API Calls" of its documentation.

async function seen(response) {
  return { status: response.status, body: await response.json() };
}

export const metrics = async (url, token, linkId) => {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`${url}/api/send/realtime/${linkId}`, { headers });
  return seen(response);
};

export const post = async (url, linkId, body) =>
  seen(
    await fetch(`${url}/api/send/realtime/${linkId}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
  );

export const join = (url, linkId, { sessionId, fingerprint, email }) =>
  post(url, linkId, { action: "join", sessionId, fingerprint, email });

export const heartbeat = (url, linkId, { sessionId, currentPage }) =>
  post(url, linkId, { action: "heartbeat", sessionId, currentPage });

export const leave = (url, linkId, { sessionId, duration }) =>
  post(url, linkId, { action: "leave", sessionId, duration });
