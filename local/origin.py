"""One origin in front of the emulator's HTTP and WebSocket APIs, as the edge is on AWS.

Every request goes to the HTTP API as it came; WebSockets at /ws (and /api/ws/..., as the edge
maps them) go to the WebSocket API. What API Gateway limits is limited here as well. There is no
product logic: a route that is not in the template is a 404.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, unquote

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    DummyCookieJar,
    TCPConnector,
    WSMsgType,
    WSServerHandshakeError,
    web,
)
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

MAX_BODY = 10 * 1024 * 1024  # an HTTP API's payload limit
MAX_MESSAGE = 32 * 1024  # a WebSocket API's frame limit; clients send a message as one frame
TIMEOUT = ClientTimeout(total=30)  # an HTTP API's integration timeout
# The emulator starts a process per parallel request, and on few cores stalls on many: waiting for
# a warm one is faster.
AT_ONCE = min(6, max(3, os.cpu_count() or 1))
UNCODED = "!'()*"  # what the edge's encodeURIComponent leaves alone beside letters, digits and -._~
UNSENT_CLOSES = (1005, 1015)  # codes that must not be sent
LOST = (None, 1006)  # nobody closed it: the connection is gone

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
HANDSHAKE = {
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
}
OWN_HEADERS = ["User-Agent", "Accept", "Accept-Encoding", "Content-Type"]


@dataclass(frozen=True)
class Upstream:
    """Where the two APIs are now: base URLs that end with their stage."""

    http: str
    socket: str


class Origin:
    """The proxy; `upstream` is asked at every request, because a deploy can change the APIs."""

    def __init__(self, upstream: Callable[[], Upstream]) -> None:
        self._upstream = upstream
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._sockets: set[web.WebSocketResponse] = set()
        self._session: ClientSession

    async def start(self, hosts: list[str], port: int) -> web.AppRunner:
        """Serve on these addresses; `cleanup()` of what is returned ends it."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._handle)
        app.on_startup.append(self._open)
        app.on_shutdown.append(self._end_sockets)
        app.on_cleanup.append(self._close)
        # What it logs of a malformed request can hold a token; the client is told all the same.
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, max_field_size=10240)
        await runner.setup()
        for host in hosts:
            await web.TCPSite(runner, host, port).start()
        return runner

    async def _open(self, _: web.Application) -> None:
        self._session = ClientSession(
            auto_decompress=False,
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=OWN_HEADERS,
        )

    async def _close(self, _: web.Application) -> None:
        await self._session.close()

    async def _end_sockets(self, _: web.Application) -> None:
        ends = [client.close(code=1001, message=b"Going away") for client in self._sockets]
        await asyncio.gather(*ends, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = socket_query(request)
        if query is not None:
            return await self._bridge(request, query)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return gateway_error(413, "Request Entity Too Large")
        url = URL(self._upstream().http + request.raw_path, encoded=True)
        try:
            async with self._slots, asyncio.timeout(TIMEOUT.total):
                return await self._forward(request, url, body)
        except (ClientError, TimeoutError):
            return gateway_error(503, "Service Unavailable")

    async def _forward(self, request: web.Request, url: URL, body: bytes) -> web.Response:
        async with self._session.request(
            request.method,
            url,
            headers=forwarded_headers(request, HOP_BY_HOP | {"content-length"}),
            data=body or None,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            return web.Response(
                status=answer.status, headers=end_to_end(answer.headers), body=content
            )

    async def _bridge(self, request: web.Request, query: str) -> web.StreamResponse:
        """Connect upstream first: a refused client sees the refusal, not an open socket."""
        url = URL(f"{self._upstream().socket}{query}", encoded=True)
        asked = request.headers.get("Sec-WebSocket-Protocol", "")
        try:
            async with self._slots, asyncio.timeout(TIMEOUT.total):
                upstream = await self._session.ws_connect(
                    url,
                    headers=forwarded_headers(request, HOP_BY_HOP | HANDSHAKE),
                    protocols=[name.strip() for name in asked.split(",") if name.strip()],
                    max_msg_size=0,
                )
        except WSServerHandshakeError as refusal:
            return gateway_error(refusal.status, HTTPStatus(refusal.status).phrase)
        except (ClientError, TimeoutError):
            return gateway_error(503, "Service Unavailable")
        client = web.WebSocketResponse(
            max_msg_size=MAX_MESSAGE,
            protocols=[upstream.protocol] if upstream.protocol else [],
        )
        try:
            await client.prepare(request)
            self._sockets.add(client)
            await join(client, upstream)
        finally:
            self._sockets.discard(client)
            await upstream.close(code=1001)
        return client


def socket_query(request: web.Request) -> str | None:
    """The WebSocket API's query string for this request (with its `?`); None: not for it.

    A WebSocket API has no paths, so one below /api/ws/ travels in the query, as at the edge
    (EdgeSocketPath in template.yaml): as the only `path` there, so that the client's own can't win.
    """
    path, _, query = request.raw_path.partition("?")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return None
    if path == "/ws":
        return f"?{query}" if query else ""
    if path.startswith("/api/ws/"):
        kept = [pair for pair in query.split("&") if pair and not is_path(pair)]
        return "?" + "&".join([*kept, f"path={quote(path, safe=UNCODED)}"])
    return None


def is_path(pair: str) -> bool:
    """Whether this `name=value` of a query is named "path", however that is spelt."""
    return unquote(pair.partition("=")[0]) == "path"


def forwarded_headers(request: web.Request, dropped: set[str]) -> CIMultiDict[str]:
    """The client's headers, and those a gateway adds about the client."""
    headers = end_to_end(request.headers, dropped)
    chain = [*headers.getall("X-Forwarded-For", []), request.remote or ""]
    headers["X-Forwarded-For"] = ", ".join(chain)
    headers["X-Forwarded-Proto"] = request.scheme
    headers["X-Forwarded-Port"] = str(request.url.port or "")
    return headers


def end_to_end(
    headers: CIMultiDictProxy[str], dropped: set[str] = HOP_BY_HOP | {"content-length"}
) -> CIMultiDict[str]:
    return CIMultiDict((n, v) for n, v in headers.items() if n.lower() not in dropped)


def gateway_error(status: int, message: str) -> web.Response:
    """An answer of the gateway's own, in its shape."""
    return web.json_response({"message": message}, status=status)


async def join(client: web.WebSocketResponse, upstream: ClientWebSocketResponse) -> None:
    """Carry messages and closes both ways until either side ends."""
    ways = [
        asyncio.create_task(carry(client, upstream)),
        asyncio.create_task(carry(upstream, client)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


Socket = web.WebSocketResponse | ClientWebSocketResponse


async def carry(source: Socket, target: Socket) -> None:
    """Carry what one side sends to the other, and at last the code it closed with."""
    with suppress(ConnectionError, ClientError):
        async for message in source:
            if message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
        code = source.close_code
        if code in LOST:
            drop(target)
        else:
            await target.close(code=1001 if code in UNSENT_CLOSES else code)


def drop(target: Socket) -> None:
    """End a connection without a word, as when a network goes."""
    plain = target.get_extra_info("socket")
    if plain is not None:  # else it has ended already
        with suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)
