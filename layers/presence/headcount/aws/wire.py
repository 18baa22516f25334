"""HTTP/1.1 over persistent connections: the part of it that AWS's JSON services use.

The standard library's client spends its time parsing headers as mail. This one reads a response's
status, length and body, and refuses what those services never send.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

IDLE = 50_000
"""Milliseconds after which an idle connection is not used again.

The server closes it after about a minute, which is noticed at once. But a NAT gateway or a firewall
in between drops it silently, and a machine that was frozen meanwhile may notice neither. A request
over such a connection waits for its whole timeout, and the retry takes the next such connection.
"""

_ROOTS = os.path.join(os.path.dirname(__file__), "roots.pem")  # noqa: PTH118, PTH120 - pathlib takes 3 ms
_HEADERS = re.compile(rb"^(connection|content-length|transfer-encoding)[ \t]*:([^\r]*)", re.M)
"""Those that say where a response ends, in lower case."""
_CHUNK = 65_536
_MAX_HEAD = 65_536


class WireError(OSError):
    """The connection failed, or the response was not HTTP/1.1. ``stale``: no byte of it came."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class Response(Struct, frozen=True):
    """A response's status and body."""

    status: int
    body: bytes


class Endpoint(Struct, frozen=True):
    """The address of a service."""

    host: str
    port: int
    tls: bool
    path: str = ""

    @classmethod
    def from_url(cls, url: str) -> Endpoint:
        """Parse ``https://host:port/path``. Raises ValueError."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        if not parts.hostname or parts.scheme not in {"http", "https"}:
            raise ValueError(f"{url!r} is not an endpoint: write https://host")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The Host header: with the port only if it isn't the scheme's default."""
        usual = 443 if self.tls else 80
        return self.host if self.port == usual else f"{self.host}:{self.port}"


@cache
def tls_context() -> ssl.SSLContext:
    """The TLS settings, with the machine's certificate authorities, read once per process."""
    return _context()


@cache
def aws_tls_context() -> ssl.SSLContext:
    """The TLS settings for AWS's own endpoints, whose few authorities are read in a millisecond:
    reading all of the machine's takes 15 ms of every start."""
    return _context(_ROOTS)


def _context(authorities: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Trust:
    """Whose certificates AWS's endpoints may have: Amazon's, or where one has another, as in some
    partitions and behind proxies that open TLS, whatever the machine trusts."""

    def __init__(self) -> None:
        self._context: Callable[[], ssl.SSLContext] = aws_tls_context

    def connect(self, host: bytes, open_socket: Callable[[], socket.socket]) -> ssl.SSLSocket:
        """A TLS connection to a host. Raises OSError."""
        while True:
            context = self._context
            plain = open_socket()
            try:
                return context().wrap_socket(plain, server_hostname=host)
            except BaseException as error:
                plain.close()
                if context is tls_context or not isinstance(error, ssl.SSLCertVerificationError):
                    raise
                self._context = tls_context


_trust = _Trust()


class Connection:
    """A connection, for one thread at a time."""

    def __init__(self, endpoint: Endpoint, connect_timeout: float, read_timeout: float) -> None:
        host = endpoint.host.encode("ascii")  # looking up a text imports a codec for other scripts

        def open_socket() -> socket.socket:
            address: Any = host, endpoint.port  # typeshed knows only texts
            plain = socket.create_connection(address, connect_timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain

        self._socket = _trust.connect(host, open_socket) if endpoint.tls else open_socket()
        self._socket.settimeout(read_timeout)
        self.reusable = True

    def exchange(self, request: bytes) -> Response:
        """Send a request and read its response. Raises OSError."""
        self.reusable = False
        try:
            self._socket.sendall(request)
            head, rest = self._head()
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(str(error), stale=True) from error
        status, headers = _parse(head)
        length = headers.get(b"content-length")
        if length is not None:
            body = self._exactly(rest, int(length))
        elif headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = self._chunked(rest)
        elif status == HTTPStatus.NO_CONTENT:
            body = b""
        else:
            raise WireError("a response without a length")
        self.reusable = headers.get(b"connection", b"").lower() != b"close"
        return Response(status, body)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(_CHUNK)
            if not more:
                raise WireError("closed before a response came", stale=not data)
            data += more
            if len(data) > _MAX_HEAD and b"\r\n\r\n" not in data:
                raise WireError("headers without an end")
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _more(self) -> bytes:
        more = self._socket.recv(_CHUNK)
        if not more:
            raise WireError("closed in the middle of a response")
        return more

    def _exactly(self, data: bytes, length: int) -> bytes:
        if len(data) == length:
            return data
        parts, have = [data], len(data)
        while have < length:
            more = self._more()
            parts.append(more)
            have += len(more)
        return b"".join(parts)[:length]

    def _chunked(self, data: bytes) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in data:
                data += self._more()
            size, _, data = data.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            while len(data) < length + 2:
                data += self._more()
            body += data[:length]
            data = data[length + 2 :]
            if length == 0:
                return body


def _parse(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    head = head.lower()
    first, _, rest = head.partition(b"\r\n")
    try:
        version, status, *_ = first.split(b" ", 2)
        code = int(status)
    except ValueError:
        raise WireError("not an HTTP response") from None
    if not version.startswith(b"http/1.1"):
        raise WireError("not an HTTP/1.1 response")
    return code, {name: value.strip() for name, value in _HEADERS.findall(rest)}


class Pool:
    """Connections to one endpoint, for any number of threads. Timeouts are seconds.

    ``clock`` returns epoch milliseconds: the process's own clock stands still while it is frozen.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        connect_timeout: float,
        read_timeout: float,
        clock: Callable[[], int],
    ) -> None:
        self.endpoint = endpoint
        self._timeouts = connect_timeout, read_timeout
        self._clock = clock
        # Each with the beginning of its last request, the latest last.
        self._idle: list[tuple[int, Connection]] = []

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request, over an idle connection if there is one.

        If the server has closed that connection meanwhile, or it idled for too long, another is
        used. Raises OSError, including TimeoutError and WireError.
        """
        now = self._clock()
        # A list: it is made in one call, on every beat's way.
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = (
            f"{method} {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        while True:
            reused = True
            try:
                since, connection = self._idle.pop()
                if not 0 <= now - since < IDLE:
                    connection.close()
                    continue
            except IndexError:
                reused = False
                connection = Connection(self.endpoint, *self._timeouts)
            try:
                response = connection.exchange(request)
            except WireError as error:
                if reused and error.stale:
                    continue
                raise
            finally:
                if connection.reusable:
                    self._idle.append((now, connection))
                else:
                    connection.close()
            return response

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()
