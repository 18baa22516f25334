"""HTTP/1.1 over connections that stay open: just what AWS's JSON services speak.

The standard library's client parses headers as mail. Here a response is its status, its length and
its body; what those services never send is refused, not guessed at.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from urllib.parse import urlsplit

_CHUNK = 65_536
_LONGEST_HEAD = 65_536


class WireError(OSError):
    """The connection failed, or what came was no HTTP. ``stale``: before anything came back."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service answers."""

    host: str
    port: int
    tls: bool
    path: str = ""

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """From ``https://host:port/path``."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        if not parts.hostname or parts.scheme not in {"http", "https"}:
            raise ValueError(f"{url!r} is no endpoint: write https://host")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The Host header: the port only where it isn't the scheme's own."""
        usual = 443 if self.tls else 80
        return self.host if self.port == usual else f"{self.host}:{self.port}"


@cache
def tls_context() -> ssl.SSLContext:
    """Reads the machine's certificate authorities: once per process."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Connection:
    """One connection. Not for two threads at once."""

    def __init__(self, endpoint: Endpoint, *, connect_timeout: float, read_timeout: float) -> None:
        plain = socket.create_connection((endpoint.host, endpoint.port), connect_timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = (
                tls_context().wrap_socket(plain, server_hostname=endpoint.host)
                if endpoint.tls
                else plain
            )
        except BaseException:
            plain.close()
            raise
        self._socket.settimeout(read_timeout)
        self.reusable = True

    def exchange(self, request: bytes) -> Response:
        """Send a request and read its response."""
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
        """Close it."""
        self._socket.close()

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(_CHUNK)
            if not more:
                raise WireError("closed before a response came", stale=not data)
            data += more
            if len(data) > _LONGEST_HEAD and b"\r\n\r\n" not in data:
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
    first, *lines = head.split(b"\r\n")
    try:
        version, status, *_ = first.split(b" ", 2)
        code = int(status)
    except ValueError:
        raise WireError("no HTTP response") from None
    if not version.startswith(b"HTTP/1.1"):
        raise WireError("no HTTP/1.1 response")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return code, headers


@dataclass(slots=True)
class Pool:
    """Connections to one endpoint, for any number of threads. Times are seconds."""

    endpoint: Endpoint
    connect_timeout: float
    read_timeout: float
    _idle: list[Connection] = field(default_factory=list, init=False)

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request, over a connection that is open if there is one.

        One that the other side closed while it idled is replaced. Raises OSError (TimeoutError and
        WireError among them).
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = (
            f"{method} {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        while True:
            reused = True
            try:
                connection = self._idle.pop()
            except IndexError:
                reused = False
                connection = Connection(
                    self.endpoint,
                    connect_timeout=self.connect_timeout,
                    read_timeout=self.read_timeout,
                )
            try:
                response = connection.exchange(request)
            except WireError as error:
                if reused and error.stale:
                    continue
                raise
            finally:
                if connection.reusable:
                    self._idle.append(connection)
                else:
                    connection.close()
            return response

    def close(self) -> None:
        """Close the connections that idle."""
        while self._idle:
            self._idle.pop().close()
