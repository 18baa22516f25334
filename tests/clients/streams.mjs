// 003, stream analytics: plain `fetch` and `WebSocket`, at the endpoints in its documentation.

async function seen(response) {
  return { status: response.status, body: await response.json() };
}

/** A request to VITE_API_URL. */
export const request = async (url, token, method, path, body) =>
  seen(
    await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...(body ? { "Content-Type": "application/json" } : {}),
      },
      body: body ? JSON.stringify(body) : undefined,
    }),
  );

const sockets = new Map();

/** Connect to a feed of VITE_WS_URL. Fails if the connection is refused. */
export const connect = (name, url) =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const messages = [];
    let isOpen = false;
    sockets.set(name, { socket, messages });
    socket.onopen = () => {
      isOpen = true;
      resolve(null);
    };
    socket.onmessage = (event) => messages.push(JSON.parse(event.data));
    socket.onerror = () => {};
    socket.onclose = ({ code }) => {
      sockets.delete(name);
      if (!isOpen) reject(new Error(`closed with ${code} before it was open`));
    };
  });

/** All messages of a feed so far. */
export const messages = (name) => sockets.get(name)?.messages ?? null;

export const say = (name, message) => sockets.get(name).socket.send(JSON.stringify(message));

export const close = (name) => sockets.get(name)?.socket.close();
