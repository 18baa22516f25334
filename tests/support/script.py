"""A server on this machine that sends scripted answers, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

CLOSE = b""
"""Instead of an answer: the connection is closed."""
NO_ANSWER = None
"""Instead of an answer: the connection stays open, and nothing is sent."""


@dataclass
class Script:
    """The server's port, and the received requests."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def scripted(*connections: Sequence[bytes | None]) -> Iterator[Script]:
    """A server whose nth connection gets the nth answers; each is then closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    script = Script(listener.getsockname()[1])
    held: list[socket.socket] = []

    def serve() -> None:
        for answers in connections:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over
            script.connections += 1
            held.append(connection)
            for answer in answers:
                if not (request := _request(connection)):
                    break  # the other side hung up
                script.requests.append(request)
                if answer is NO_ANSWER:
                    break
                connection.sendall(answer)
            else:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        # Closing the listener alone does not end a waiting accept().
        with socket.socket() as waker:
            waker.connect_ex(("127.0.0.1", script.port))
        listener.close()
        thread.join(5)
        for connection in held:
            connection.close()


def answer(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    """A response as the services send it."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
