"""HTTP API events (payload 2.0) to requests, and results or errors to responses."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount.errors import (
    BusyError,
    InvalidRequestError,
    RequestError,
    TooLargeError,
    UnexpectedError,
    is_busy,
)
from headcount.logs import logger

Event = Mapping[str, Any]
Response = dict[str, Any]

MAX_BODY = 16 * 1024
_PREFLIGHT_LIFE = 7200  # the longest that browsers keep a preflight's answer


@dataclass(frozen=True, slots=True)
class Request:
    """A request, decoded."""

    id: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # lower-case names
    cookies: list[str]
    event: Event

    @classmethod
    def of(cls, event: Event) -> Request:
        """From a payload 2.0 event."""
        context = event["requestContext"]
        headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
        return cls(
            id=context["requestId"],
            method=context["http"]["method"].upper(),
            # A client whose base URL ends with a slash asks for "//api/query".
            path=re.sub("^/+", "/", event["rawPath"]),
            query=event.get("queryStringParameters") or {},
            headers=headers,
            cookies=event.get("cookies") or headers.get("cookie", "").split(";"),
            event=event,
        )

    def json(self, limit: int = MAX_BODY) -> Any:
        """The decoded body, whatever its content type: ``sendBeacon`` sends text/plain."""
        raw = self.event.get("body") or ""
        too_large = TooLargeError(f"The body is too large: at most {limit} bytes are allowed.")
        if len(raw) > 2 * limit:
            raise too_large
        try:
            data = base64.b64decode(raw) if self.event.get("isBase64Encoded") else raw.encode()
            if len(data) > limit:
                raise too_large
            return json.loads(data)
        except (ValueError, RecursionError, binascii.Error):
            raise InvalidRequestError(
                "The body is not valid JSON. Send a JSON object, in UTF-8."
            ) from None


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages may call the API: exact origins, or ``*``."""

    origins: list[str]

    def headers(self, request: Request) -> dict[str, str]:
        """What a browser is told."""
        if "*" in self.origins:
            return {"access-control-allow-origin": "*"}
        origin = request.headers.get("origin", "")
        allowed = {"access-control-allow-origin": origin} if origin in self.origins else {}
        return {**allowed, "vary": "origin"}

    def preflight(self, request: Request) -> Response:
        """The answer to OPTIONS."""
        return {
            "statusCode": HTTPStatus.NO_CONTENT.value,
            "headers": {
                "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
                "access-control-allow-headers": _allowed_headers(request),
                "access-control-max-age": str(_PREFLIGHT_LIFE),
            },
        }


def _allowed_headers(request: Request) -> str:
    """What was asked for: libraries bring headers of their own, and none of them does anything
    here that a request without it could not."""
    asked = request.headers.get("access-control-request-headers", "").lower().split(",")
    names = {name.strip() for name in asked[:_HEADERS_ASKED]}
    return ", ".join(sorted({*_HEADERS, *filter(_HEADER_NAME.fullmatch, names)}))


_SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
}
_EXPOSED = {"retry-after", "content-range"}
"""When to come back is what a refused page has to know, and how many rows an insert counted."""
_HEADERS = ("authorization", "content-type")
_HEADERS_ASKED = 32
_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")


def respond(body: Any, status: int = HTTPStatus.OK) -> Response:
    """A JSON response."""
    return {
        "statusCode": int(status),
        "headers": {
            "content-type": "application/json; charset=utf-8",
            "cache-control": "no-store",
        },
        "body": _sendable(json.dumps(body, separators=(",", ":"), ensure_ascii=False)),
    }


def _sendable(text: str) -> str:
    """Half a character of a client's can be repeated in no answer: it becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def respond_error(error: RequestError) -> Response:
    """An error in the API's own shape."""
    body: dict[str, Any] = {"success": False, "error": error.message}
    if error.details:
        body["details"] = error.details
    response = respond(body, error.status)
    response["headers"].update({name.lower(): text for name, text in error.headers.items()})
    return response


def answer(
    event: Event,
    cors: Cors,
    handle: Callable[[Request], Response],
    shape: Callable[[Request, RequestError], Response] = lambda _, error: respond_error(error),
) -> Response:
    """One request from event to response: preflight, errors and CORS headers are the same for all.

    ``shape`` says an error as the route's clients expect it. An unexpected one is logged and
    answered with a plain 500: it says nothing of our insides.
    """
    request = Request.of(event)
    if request.method == "OPTIONS":
        response = cors.preflight(request)
    else:
        try:
            response = handle(request)
        except RequestError as error:
            response = shape(request, error)
        except (ClientError, BotoCoreError) as error:
            if not isinstance(error, ClientError) or is_busy(error):
                logger().warning("dependency busy", extra={"request": request.id}, exc_info=True)
                response = shape(request, BusyError())
            else:
                response = shape(request, _unexpected(request))
        except Exception:
            response = shape(request, _unexpected(request))
    headers = response.setdefault("headers", {})
    if exposed := _EXPOSED & headers.keys():
        headers["access-control-expose-headers"] = ", ".join(sorted(exposed))
    headers.update(_SECURITY)
    headers.update(cors.headers(request))
    return response


def _unexpected(request: Request) -> RequestError:
    logger().exception("unexpected error", extra={"request": request.id})
    return UnexpectedError(
        f"Something went wrong here. Try again; if it stays, quote {request.id}."
    )
