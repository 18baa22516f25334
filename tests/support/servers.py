"""Web servers on this machine: sites that tests put the clients into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Quiet:
    """Of a handler of requests: it logs none of them."""

    def log_message(self, *_: Any) -> None:
        return


class _Files(Quiet, SimpleHTTPRequestHandler):
    pass


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Handle requests to a free port until the block ends; yields its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """Serve a folder until the block ends; yields its origin."""
    with listening(partial(_Files, directory=str(folder))) as origin:
        yield origin
