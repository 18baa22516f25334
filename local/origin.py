"""One origin for the emulator's HTTP and WebSocket APIs, like the edge on AWS.

Requests go to the HTTP API unchanged, those to the host of a function URL to that function;
WebSockets at /ws, at /api/ws/... and at Convex's path as the edge maps them, go to the WebSocket
API. The limits of API Gateway apply here, too. There is no product logic: a route that is not in
the template is a 404.
"""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable
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

MAX_PAYLOAD = 10 * 1024 * 1024  # an HTTP API's payload limit
MAX_MESSAGE = 32 * 1024  # a WebSocket API's frame limit; clients send a message as one frame
TIMEOUT = ClientTimeout(total=30)  # an HTTP API's integration timeout
# The emulator starts a process per parallel request, which stalls on few cores; waiting for a warm
# process is faster.
AT_ONCE = min(6, max(3, os.cpu_count() or 1))
UNCODED = "!'()*"  # not encoded by the edge's encodeURIComponent, besides letters, digits and -._~
SYNC_PATH = re.compile(r"/api/.*\..*\..*/sync")  # the edge's /api/*.*.*/sync, with a version
FUNCTION_HOST = re.compile(r"([a-z0-9]{32})\.lambda-url\.")
UNSENT_CLOSES = (1005, 1015)  # codes that must not be sent
LOST = (None, 1006)  # neither side closed it: the connection failed

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
    """The current base URLs of the two APIs, each ending with its stage, and of function URLs."""

    http: str
    socket: str
    functions: str


class Origin:
    """The proxy. It calls `upstream` for every request, because a deploy can change the APIs.

    `opens` says where a short path leads, if it leads anywhere; that address holds a token.
    `docs` answers /docs and what is below.
    """

    def __init__(
        self,
        upstream: Callable[[], Upstream],
        opens: Callable[[str], str | None],
        docs: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> None:
        self._upstream = upstream
        self._opens = opens
        self._docs = docs
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._sockets: set[web.WebSocketResponse] = set()
        self._session: ClientSession

    async def start(self, hosts: list[str], port: int) -> web.AppRunner:
        """Serve on these addresses until `cleanup()` of the returned runner."""
        app = web.Application(client_max_size=MAX_PAYLOAD)
        app.router.add_get(r"/docs{path:(/.*)?}", self._docs)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._handle)
        app.on_startup.append(self._open)
        app.on_shutdown.append(self._end_sockets)
        app.on_cleanup.append(self._close)
        # Its log lines on malformed requests can contain tokens; the client gets an error anyway.
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
        if request.method == "GET" and (place := self._opens(request.path)) is not None:
            headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
            return web.Response(status=302, headers={"Location": place, **headers})
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return gateway_error(413, "Request Entity Too Large")
        try:
            async with self._slots, asyncio.timeout(TIMEOUT.total):
                return await self._forward(request, body)
        except (ClientError, TimeoutError):
            return gateway_error(503, "Service Unavailable")

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        upstream, dropped = self._upstream(), HOP_BY_HOP | {"content-length"}
        base = upstream.http
        if function := FUNCTION_HOST.match(request.host):
            base = f"{upstream.functions}/{function[1]}"
            dropped |= {"host"}  # by which the emulator would pass on the whole path
        async with self._session.request(
            request.method,
            URL(base + request.raw_path, encoded=True),
            headers=forwarded_headers(request, dropped),
            data=body or None,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            return web.Response(
                status=answer.status, headers=end_to_end(answer.headers), body=content
            )

    async def _bridge(self, request: web.Request, query: str) -> web.StreamResponse:
        """Connect upstream first, so that a refused client gets the refusal, not an open socket."""
        url = URL(f"{self._upstream().socket}{query}", encoded=True)
        protocols = request.headers.get("Sec-WebSocket-Protocol", "")
        try:
            async with self._slots, asyncio.timeout(TIMEOUT.total):
                upstream = await self._session.ws_connect(
                    url,
                    headers=forwarded_headers(request, HOP_BY_HOP | HANDSHAKE),
                    protocols=[name.strip() for name in protocols.split(",") if name.strip()],
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
            await connect(client, upstream)
        finally:
            self._sockets.discard(client)
            await upstream.close(code=1001)
        return client


def socket_query(request: web.Request) -> str | None:
    """The query string for the WebSocket API (with its `?`); None if the request is not for it.

    A WebSocket API has no paths, so the query carries one below /api/ws/, or Convex's, as at the
    edge (EdgeSocketPath in template.yaml). It replaces any `path` of the client's.
    """
    path, _, query = request.raw_path.partition("?")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return None
    if path == "/ws":
        return f"?{query}" if query else ""
    if path.startswith("/api/ws/") or SYNC_PATH.fullmatch(path):
        kept = [pair for pair in query.split("&") if pair and not is_path(pair)]
        return "?" + "&".join([*kept, f"path={quote(path, safe=UNCODED)}"])
    return None


def is_path(pair: str) -> bool:
    """Whether the name in this `name=value` of a query is "path", in any encoding."""
    return unquote(pair.partition("=")[0]) == "path"


def forwarded_headers(request: web.Request, dropped: set[str]) -> CIMultiDict[str]:
    """The client's headers, and those that a gateway adds about the client."""
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
    """An error in the gateway's own format."""
    return web.json_response({"message": message}, status=status)


async def connect(client: web.WebSocketResponse, upstream: ClientWebSocketResponse) -> None:
    """Forward messages and closes in both directions until either side ends."""
    directions = [
        asyncio.create_task(forward(client, upstream)),
        asyncio.create_task(forward(upstream, client)),
    ]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


Socket = web.WebSocketResponse | ClientWebSocketResponse


async def forward(source: Socket, target: Socket) -> None:
    """Forward the messages of one side to the other, and finally its close code."""
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
    """End a connection without a close frame, as when the network fails."""
    plain = target.get_extra_info("socket")
    if plain is not None:  # otherwise it has ended already
        with suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)
