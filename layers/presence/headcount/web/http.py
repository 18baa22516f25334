"""From HTTP API events (payload 2.0) to requests, and from results or errors to responses."""

from __future__ import annotations

import base64
import binascii
import json
import re
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from headcount import logs
from headcount.errors import (
    BusyError,
    InvalidRequestError,
    RequestError,
    TooLargeError,
    UnexpectedError,
    failures,
    is_busy,
    refusals,
)
from headcount.logs import logger

Event = Mapping[str, Any]
Response = dict[str, Any]

MAX_BODY = 16 * 1024
MIN_ZIPPED = 8 * 1024
"""Characters from which an answer is compressed."""
_GZIP = re.compile(r"(^|[,\s])(gzip|\*)\s*(;\s*q=(?!0(\.0*)?\s*(,|$))|,|$)", re.IGNORECASE)
_PREFLIGHT_MAX_AGE = 7200  # seconds; browsers cache a preflight response no longer


class Request(Struct, frozen=True):
    """A decoded request."""

    id: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # lower-case names
    cookies: list[str]
    event: Event

    @classmethod
    def from_event(cls, event: Event) -> Request:
        """Decode a payload 2.0 event."""
        context = event["requestContext"]
        headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
        path = event["rawPath"]
        return cls(
            id=context["requestId"],
            method=context["http"]["method"].upper(),
            # A client whose base URL ends with a slash asks for "//api/query".
            path=re.sub("^/+", "/", path) if path.startswith("//") else path,
            query=event.get("queryStringParameters") or {},
            headers=headers,
            cookies=event.get("cookies") or headers.get("cookie", "").split(";"),
            event=event,
        )

    def source(self, edge_key: str) -> str:
        """The network that the request comes from: an IPv4 address, or the first half of an IPv6
        one; empty if it is not known. Behind the edge, which proves itself by ``edge_key``, it is
        the viewer's."""
        context = self.event["requestContext"]
        address = (context.get("http") or context.get("identity") or {}).get("sourceIp", "")
        if self.headers.get("x-headcount-edge") == edge_key:
            # The edge adds the viewer's, and the gateway the edge's; those before may be forged.
            chain = [one.strip() for one in self.headers.get("x-forwarded-for", "").split(",")]
            while len(chain) > 1 and chain[-1] == address:
                chain.pop()
            address = chain[-1]
        return _network(address)

    def json(self, limit: int = MAX_BODY) -> Any:
        """The body's JSON, whatever its content type, as ``sendBeacon`` sends text/plain.

        ``limit`` is in bytes. Raises TooLargeError or InvalidRequestError.
        """
        raw = self.event.get("body") or ""
        too_large = TooLargeError(f"The body is too large: at most {limit} bytes are allowed.")
        if len(raw) > 2 * limit:
            raise too_large
        try:
            data = base64.b64decode(raw) if self.event.get("isBase64Encoded") else raw.encode()
            if len(data) > limit:
                raise too_large
            return _decoded(data)
        except (ValueError, RecursionError, binascii.Error):
            raise InvalidRequestError(
                "The body is not valid JSON. Send a JSON object, in UTF-8."
            ) from None


def _network(address: str) -> str:
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed[:12] == _MAPPED_IPV4:
        return socket.inet_ntoa(packed[12:])
    return packed[:8].hex()


_MAPPED_IPV4 = bytes(10) + b"\xff\xff"


class Cors(Struct, frozen=True):
    """Which pages may call the API: exact origins, or ``*``."""

    origins: list[str]

    def headers(self, request: Request) -> dict[str, str]:
        """The CORS headers of a response."""
        if "*" in self.origins:
            return {"access-control-allow-origin": "*"}
        origin = request.headers.get("origin", "")
        if origin not in self.origins:
            return {"vary": "origin"}
        # Beacons of JSON, and requests that include cookies, come with credentials. A token in a
        # cookie counts from named origins anyway.
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "vary": "origin",
        }

    def preflight(self, request: Request) -> Response:
        """The response to OPTIONS."""
        return {
            "statusCode": HTTPStatus.NO_CONTENT.value,
            "headers": {
                "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
                "access-control-allow-headers": _allowed_headers(request),
                "access-control-max-age": str(_PREFLIGHT_MAX_AGE),
            },
        }


def _allowed_headers(request: Request) -> str:
    """The headers to allow: those asked for, because libraries send headers of their own. None of
    them lets a request do more here than it could without it."""
    asked = request.headers.get("access-control-request-headers", "").lower().split(",")
    names = {name.strip() for name in asked[:_MAX_ALLOWED_HEADERS]}
    return ", ".join(sorted({*_ALWAYS_ALLOWED, *filter(_HEADER_NAME.fullmatch, names)}))


_SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
}
_EXPOSED = {"retry-after", "content-range"}
"""Pages may read when to try again after a refusal, and how many rows an insert counted."""
_ALWAYS_ALLOWED = ("authorization", "content-type")
_MAX_ALLOWED_HEADERS = 32
_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")


def respond(body: Any, status: int = HTTPStatus.OK) -> Response:
    """A JSON response."""
    return {
        "statusCode": int(status),
        "headers": {
            "content-type": "application/json; charset=utf-8",
            "cache-control": "no-store",
        },
        "body": _encoded(body),
    }


_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode


def _encoded(body: Any) -> str:
    """A body as JSON. Lone surrogates, which a client may send but UTF-8 can't encode, become
    ``?``."""
    try:
        return _encode(body).decode()
    except UnicodeEncodeError:
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="replace").decode()


def _decoded(data: bytes) -> Any:
    """A body from JSON. What the strict and fast decoder refuses, the lenient one of the standard
    library decides, such as numbers of any size. Raises ValueError."""
    try:
        return _decode(data)
    except ValueError:
        return json.loads(data)


def respond_error(error: RequestError) -> Response:
    """An error in the native API's format."""
    body: dict[str, Any] = {"success": False, "error": error.message}
    if error.details:
        body["details"] = error.details
    response = respond(body, error.status)
    response["headers"].update({name.lower(): text for name, text in error.headers.items()})
    return response


def _zip(request: Request, response: Response) -> None:
    """Compress a large answer for a client that accepts it: traffic is billed."""
    headers = response["headers"]
    headers["vary"] = ", ".join(filter(None, (headers.get("vary"), "accept-encoding")))
    if not _GZIP.search(request.headers.get("accept-encoding", "")):
        return
    import gzip

    zipped = gzip.compress(response["body"].encode(), 6, mtime=0)
    headers["content-encoding"] = "gzip"
    response |= {"body": base64.b64encode(zipped).decode(), "isBase64Encoded": True}


def respond_to(
    event: Event,
    cors: Cors,
    handle: Callable[[Request], Response],
    shape_error: Callable[[Request, RequestError], Response],
) -> Response:
    """Handle an event, with the preflight, errors and CORS headers that all routes share.

    ``shape_error`` formats an error as the route's clients expect it. An unexpected exception is
    logged, and its response is a 500 that does not reveal it.
    """
    request = Request.from_event(event)
    logs.handling.append(event)  # not ``correlated``: this is a beat's way, too
    try:
        try:
            preflight = request.method == "OPTIONS"
            response = cors.preflight(request) if preflight else handle(request)
        except RequestError as error:
            response = shape_error(request, error)
        except failures() as error:
            if not isinstance(error, refusals()) or is_busy(error):
                logger().warning("dependency busy", extra={"request": request.id}, exc_info=True)
                response = shape_error(request, BusyError())
            else:
                response = shape_error(request, _unexpected(request))
        except Exception:
            response = shape_error(request, _unexpected(request))
        headers = response.setdefault("headers", {})
        if exposed := _EXPOSED & headers.keys():
            headers["access-control-expose-headers"] = ", ".join(sorted(exposed))
        headers.update(_SECURITY)
        headers.update(cors.headers(request))
        if len(response.get("body") or "") >= MIN_ZIPPED:
            _zip(request, response)
        return response
    finally:
        logs.handling.remove(event)


def _unexpected(request: Request) -> RequestError:
    logger().exception("unexpected error", extra={"request": request.id})
    return UnexpectedError(
        f"Something went wrong. Try again. If the error persists, report request {request.id}."
    )
