"""A webhook receiver on this machine, which keeps the posts and answers as a test says."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True)
class Post:
    """A received post."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The event in the body."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def is_signed_with(self, secret: str) -> bool:
        """Whether the signature matches the body, as documented."""
        fields = dict(part.split("=", 1) for part in self.headers["headcount-signature"].split(","))
        text = fields["t"].encode() + b"." + self.body
        return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest() == fields["v1"]


@dataclass
class Sink:
    """The received posts, and the statuses of the next answers (204 after those)."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    location: str = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The received events, in order."""
        return [post.event for post in self.posts]


@contextmanager
def receiver(sees: Callable[[Post], object] = lambda _: None) -> Iterator[Sink]:
    """A receiver on the loopback interface."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            post = Post(self.path, headers, body)
            sink.posts.append(post)
            sees(post)
            self.send_response(sink.statuses.pop(0) if sink.statuses else 204)
            if sink.location:
                self.send_header("Location", sink.location)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        sink.url = f"http://localhost:{server.server_port}/hook?from=headcount"
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
