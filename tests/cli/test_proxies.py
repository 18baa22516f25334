"""Requests and WebSockets go through the proxy that the environment names."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from headcount_cli.api import open_session
from headcount_cli.feed import Feed, Update
from headcount_cli.proxies import proxy_for

from lab.harness.world import World
from tests.cli.conftest import Run, run_in
from tests.cli.test_watching import headcount

SITE = "site:main"


class Proxy:
    """A proxy on 127.0.0.1 that also plays the servers behind it. ``lines``: its request lines.

    It tunnels to itself, so that names which do not resolve can be asked for.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.credentials: list[str] = []
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.thread.start()
        assert self.ready.wait(10)

    async def _serve(self) -> None:
        application = web.Application()
        application.router.add_get("/ws", self._socket)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.behind = runner.addresses[0][1]
        self.stopped = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.ready.set()
            await self.stopped.wait()
        await runner.cleanup()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        await answer.receive_json()
        await answer.send_json(headcount(1, 147))
        with suppress(TypeError):
            await answer.receive()
        return answer

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        self.lines.append(lines[0])
        self.credentials += [one for one in lines if one.lower().startswith("proxy-authorization")]
        method, target, _ = lines[0].split()
        if method == "CONNECT":  # a tunnel to nowhere: that it was asked for is enough
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        upstream, sink = await asyncio.open_connection("127.0.0.1", self.behind)
        lines[0] = f"{method} {urlsplit(target).path} HTTP/1.1"
        sink.write("\r\n".join(lines).encode())

        async def copy(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    into.write(data)
                    await into.drain()
            into.close()

        await asyncio.gather(copy(reader, sink), copy(upstream, writer))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(10)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy; no variable of this machine names another one."""
    for name in ("HTTP", "HTTPS", "WS", "WSS", "ALL", "NO"):
        monkeypatch.delenv(f"{name}_PROXY", raising=False)
        monkeypatch.delenv(f"{name}_proxy".lower(), raising=False)
    proxy = Proxy()
    yield proxy
    proxy.stop()


def watch(run: Run, url: str, **environment: str) -> str:
    done = run(
        "watch", SITE, "--count", "1", "--socket-url", url, NO_PROXY="127.0.0.1", **environment
    )
    assert done.exit_code == 0, done.stderr
    return str(done.stdout)


def test_a_websocket_goes_through_the_proxy(here: World, run: Run, proxy: Proxy) -> None:
    shown = watch(run, "ws://socket.test/ws", HTTP_PROXY=proxy.url)
    assert "147 people" in shown
    assert proxy.lines == ["GET http://socket.test/ws HTTP/1.1"]


def test_credentials_of_the_proxy_are_sent(here: World, run: Run, proxy: Proxy) -> None:
    watch(run, "ws://socket.test/ws", HTTP_PROXY=proxy.url.replace("//", "//ada:secret@"))
    assert proxy.credentials == ["Proxy-Authorization: Basic YWRhOnNlY3JldA=="]


@pytest.mark.parametrize("words", [("spaces",), ("demo", "--duration", "1")])
def test_every_request_goes_through_the_proxy(proxy: Proxy, words: tuple[str, ...]) -> None:
    done = run_in({"HEADCOUNT_URL": "https://api.test", "HTTPS_PROXY": proxy.url}, *words)
    assert done.exit_code == 1
    assert proxy.lines == ["CONNECT api.test:443 HTTP/1.1"]


def test_a_websocket_with_tls_is_tunnelled(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)

    async def listen() -> Update:
        async with open_session() as session:
            feed = Feed("wss://socket.test/ws", lambda: None, SITE, session)
            async for update in feed.listen():
                return update
        raise AssertionError

    assert "502" in asyncio.run(listen()).reason
    assert proxy.lines == ["CONNECT socket.test:443 HTTP/1.1"]


def test_no_proxy_is_respected(proxy: Proxy, here: World, run: Run) -> None:
    url = f"ws://127.0.0.1:{proxy.behind}/ws"
    for environment in ({"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url}, {}):
        assert "147 people" in watch(run, url, **environment)
    assert proxy.lines == []


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("wss://a.test/ws", "http://secure:1"),
        ("https://a.test", "http://secure:1"),
        ("ws://a.test", "http://plain:2"),
        ("http://a.test", "http://plain:2"),
        ("wss://inside.test", None),
        ("ws://deep.inside.test", None),
        ("wss://[::1]/ws", None),
    ],
)
def test_a_websocket_has_the_proxy_of_its_pages(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, url: str, found: str | None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:1")
    monkeypatch.setenv("http_proxy", "http://plain:2")
    monkeypatch.setenv("NO_PROXY", ".inside.test,inside.test,::1")
    assert proxy_for(url) == found
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for(url) is None


def test_an_unknown_kind_of_proxy_is_a_sentence(proxy: Proxy) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run_in(
        {"HEADCOUNT_URL": "https://api.test", "HTTPS_PROXY": f"socks5://127.0.0.1:{port}"}, "spaces"
    )
    assert done.exit_code in (1, 2)
    assert len(done.stderr.splitlines()) == 1
