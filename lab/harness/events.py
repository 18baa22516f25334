"""Events as AWS sends them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode


def path_of(space: str) -> str:
    """A space's path in the API."""
    return f"/v1/spaces/{quote(space, safe='')}"


def _address_of(message: Mapping[str, Any] | None) -> str:
    """The address of the browser that sends a message."""
    message = message or {}
    session = next((message[name] for name in _BROWSERS if message.get(name)), None)
    if session is None:
        return "203.0.113.7"
    number = int.from_bytes(hashlib.blake2b(ascii(session).encode(), digest_size=2).digest())
    return f"10.1.{number // 256}.{number % 256}"


_BROWSERS = ("sessionId", "session_id", "userId", "user_id")


def http_event(
    method: str,
    path: str,
    *,
    query: Mapping[str, str | list[str]] | None = None,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    cookies: list[str] | None = None,
    request: str = "request-1",
    encode: bool = False,
    source: str | None = None,
) -> dict[str, Any]:
    """An HTTP API event, payload format 2.0. A ``body`` that is not text is encoded as JSON. By
    default each session has an address of its own."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": urlencode(query or {}, doseq=True),
        "headers": {"host": "api.example.test", "content-type": "application/json"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api1234567",
            "domainName": "api.example.test",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source or _address_of(body if isinstance(body, dict) else query),
                "userAgent": "Mozilla/5.0",
            },
            "requestId": request,
            "routeKey": "$default",
            "stage": "$default",
            "time": "21/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1795262400000,
        },
        "isBase64Encoded": encode,
    }
    event["headers"] |= headers or {}
    if query:
        event["queryStringParameters"] = {
            name: value if isinstance(value, str) else ",".join(value)
            for name, value in query.items()
        }
    if cookies:
        event["cookies"] = cookies
    if body is not None:
        text = body if isinstance(body, str) else json.dumps(body)
        event["body"] = base64.b64encode(text.encode()).decode() if encode else text
    return event


def socket_event(
    kind: str,
    connection: str,
    *,
    body: str | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    request: str | None = None,
    code: int = 1001,
    at: int = 1795262400000,
    source: str | None = None,
) -> dict[str, Any]:
    """A WebSocket API event: ``CONNECT``, ``DISCONNECT`` (with a code) or ``MESSAGE``.

    ``at`` is when the gateway received it (epoch milliseconds).
    """
    route = {"CONNECT": "$connect", "DISCONNECT": "$disconnect"}.get(kind, "$default")
    event: dict[str, Any] = {
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "connectionId": connection,
            "requestId": request or f"{connection}-request",
            "apiId": "socket1234",
            "stage": "live",
            "domainName": "socket.example.test",
            "connectedAt": 1795262400000,
            "requestTimeEpoch": at,
            "identity": {"sourceIp": source or _address_of(query)},
        },
        "isBase64Encoded": False,
    }
    if kind == "CONNECT":
        event["headers"] = {"Host": "socket.example.test", **(headers or {})}
        if query:
            event["queryStringParameters"] = dict(query)
    if kind == "DISCONNECT":
        event["requestContext"]["disconnectStatusCode"] = code
    if body is not None:
        event["body"] = body
    return event
