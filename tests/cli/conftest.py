"""The command line in this process, against the real handlers behind a server on a free port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from headcount_cli.app import app
from typer.testing import CliRunner

from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.world import World, world_on
from tests.support.wsgi import Gateway

Run = Callable[..., Any]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def served(application: Any) -> Iterator[str]:
    """A WSGI application's address."""
    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def gateway() -> Gateway:
    """The server in front of the world."""
    return Gateway()


@pytest.fixture
def here(
    request: pytest.FixtureRequest, memory: Engine, clock: Clock, gateway: Gateway
) -> Iterator[World]:
    """A deployment that the command line reaches; the template's parameters are its parameter."""
    with world_on(memory, clock, **getattr(request, "param", {})) as world:
        gateway.world = world
        yield world


@pytest.fixture
def url(gateway: Gateway) -> Iterator[str]:
    """Where the deployment answers."""
    yield from served(gateway)


@pytest.fixture
def run(here: World, url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as an admin; ``environment`` changes its variables."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return lambda *words, **environment: run_in(
        {"HEADCOUNT_URL": url, "HEADCOUNT_TOKEN": here.admin, **environment}, *words
    )


def run_in(environment: dict[str, str | None], *words: str, stdin: str | None = None) -> Any:
    """Run a command with these variables; it must not show a traceback."""
    done = CliRunner().invoke(
        app, list(words), env={"HEADCOUNT_LOCAL_DIR": "/nowhere", **environment}, input=stdin
    )
    unexpected = done.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), repr(unexpected)
    return done
