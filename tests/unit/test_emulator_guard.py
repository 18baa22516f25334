"""The emulator runs any code that it is sent: it answers those who know its secret path alone."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from local.emulator import emulator_environment
from local.emulator_main import guarded
from local.outputs import write_private
from local.settings import Settings

SECRET, ORIGIN = "a-secret", "the-origins-secret"
HOST = ("host", "127.0.0.1:4566")
PAGE = ("origin", "http://localhost:3000")


def ask(path: str, *headers: tuple[str, str], kind: str = "http") -> tuple[Any, str | None]:
    """The status or close code that was sent, and the path that the emulator was asked for."""
    passed: list[str] = []
    sent: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["raw_path"].decode() == scope["path"]
        passed.append(scope["path"])

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    scope = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(guarded(app, SECRET, ORIGIN)(scope, receive, send))
    outcome = sent[0].get("status") or sent[0].get("code") if sent else None
    return outcome, passed[0] if passed else None


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("path", "inner"),
    [
        (f"/{SECRET}", "/"),
        (f"/{SECRET}/", "/"),
        (f"/{SECRET}/2015-03-31/functions", "/2015-03-31/functions"),
        (f"/{ORIGIN}/_aws/execute-api/a/live", "/_aws/execute-api/a/live"),
        (f"/{ORIGIN}/_aws/lambda-url/a/v1", "/_aws/lambda-url/a/v1"),
    ],
)
def test_who_knows_the_path_is_answered(kind: str, path: str, inner: str) -> None:
    assert ask(path, HOST, kind=kind) == (None, inner)


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/2015-03-31/functions",
        "/_ministack/health",
        f"/{SECRET}x/",
        f"//{SECRET}/",
        f"/x/{SECRET}/",
        f"/{ORIGIN}",
        f"/{ORIGIN}/2015-03-31/functions",
        f"/{ORIGIN}/_aws/execute-apis",
        f"/{ORIGIN}/_aws/lambda-urls/a",
    ],
)
def test_who_does_not_know_the_path_is_refused(kind: str, path: str) -> None:
    assert ask(path, HOST, kind=kind) == (403 if kind == "http" else 1008, None)


@pytest.mark.parametrize(
    "headers",
    [
        [HOST, PAGE],
        [HOST, ("origin", "null")],
        [HOST, ("origin", "http://127.0.0.1:4566")],
        [HOST, ("sec-fetch-site", "cross-site")],
        [HOST, ("Sec-Fetch-Site", "same-site")],
        [("host", "rebound.example:4566")],
        [("host", "127.0.0.1.example:4566")],
        [("host", "localhost.example")],
        [HOST, ("host", "rebound.example")],
        [],
    ],
)
def test_a_page_that_knows_the_path_is_refused_all_the_same(headers: list[tuple[str, str]]) -> None:
    assert ask(f"/{SECRET}/", *headers) == (403, None)


def test_the_origin_passes_on_what_pages_ask_of_apis() -> None:
    site = ("sec-fetch-site", "cross-site")
    path = "/_aws/execute-api/a/$default/v1/spaces/site:main"
    assert ask(f"/{ORIGIN}{path}", HOST, PAGE, site) == (None, path)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:4566", "host.docker.internal:1"]
)
def test_this_machines_names_are_no_foreign_hosts(host: str) -> None:
    assert ask(f"/{SECRET}/", ("host", host)) == (None, "/")


def test_the_address_has_the_secret_while_the_emulator_runs(tmp_path: Path) -> None:
    settings = Settings(1, 4567, tmp_path)
    assert settings.gateway_url == "http://127.0.0.1:4567"
    write_private(settings.secret_file, SECRET)
    assert settings.gateway_url == f"http://127.0.0.1:4567/{SECRET}"
    assert stat.S_IMODE(settings.secret_file.stat().st_mode) == 0o600
    environment = emulator_environment(settings)
    assert environment["AWS_ENDPOINT_URL"] == settings.gateway_url  # for its functions
    assert settings.origin_secret in settings.origin_api_url
    assert settings.origin_secret not in repr(settings)
