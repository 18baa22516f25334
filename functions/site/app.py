"""HTTP API, ``/dashboard``, ``/admin/live`` and ``/headcount*``: the files that browsers load.

``/`` leads to the dashboard.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from headcount.auth.discovery import Issuer

_BUILT = Path(__file__).parent / "built"
"""The files that local/bundle.py builds from clients/."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "application/typescript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".tgz": "application/gzip",
}
_LIVE = "/admin/live"
_PAGE = "index.html"
_CONFIG = "config.json"
_METHODS = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'{others}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    # Browsers check the ETag at every load, so that a deploy takes effect at once.
    "cache-control": "no-cache",
    # Browsers fetch modules with CORS, and any page may embed the client.
    "access-control-allow-origin": "*",
}


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Respond with the file at /dashboard, /dashboard/{file}, /admin/live or /headcount*."""
    method = event["requestContext"]["http"]["method"]
    if method not in _METHODS:
        refusal = _error(
            HTTPStatus.METHOD_NOT_ALLOWED, f"{method} does not work here. Use {_METHODS[0]}."
        )
        return {**refusal, "headers": {**refusal["headers"], "allow": ", ".join(_METHODS)}}
    response = _respond(event)
    if method == "HEAD":
        return {name: response[name] for name in ("statusCode", "headers")}
    return response


def _error(status: HTTPStatus, message: str) -> dict[str, Any]:
    return {
        "statusCode": status.value,
        "headers": {
            **_HEADERS,
            "content-security-policy": _policy(os.environ["SOCKET_URL"]),
            "content-type": _TYPES[".json"],
            "cache-control": "no-store",
        },
        "body": json.dumps({"success": False, "error": message}),
    }


def _respond(event: Mapping[str, Any]) -> dict[str, Any]:
    path = event["rawPath"].removesuffix("/")
    if not path:
        # Relative, because an API's own address may have more in front.
        headers = {**_HEADERS, "content-security-policy": _policy(os.environ["SOCKET_URL"])}
        return {
            "statusCode": HTTPStatus.FOUND.value,
            "headers": {**headers, "location": "dashboard"},
        }
    name = path.removeprefix("/dashboard").strip("/") or _PAGE
    if path == _LIVE:
        name = _PAGE  # the page chooses the view by its address
    files = _files()
    issuer = _issuer()
    if name == _CONFIG:
        sign_in = issuer.config() if issuer is not None else None
        config = {
            "socketUrl": os.environ["SOCKET_URL"],
            "signIn": sign_in,
            "containers": bool(os.environ["CONTAINERS"]),
        }
        content, compressed, tag = _encoded(json.dumps(config).encode())
    elif name in files:
        content, compressed, tag = files[name]
    else:
        return _error(HTTPStatus.NOT_FOUND, "There is nothing at this path. Try /dashboard.")
    # Only the page itself calls the issuer.
    called = issuer.origins() if issuer is not None and name == _PAGE else ()
    if called:  # a browser may keep the policy with the page, for as long as the tag is the same
        tag = f'{tag[:-1]}-{hashlib.blake2b(" ".join(called).encode(), digest_size=4).hexdigest()}"'
    headers = {
        **_HEADERS,
        "content-security-policy": _policy(os.environ["SOCKET_URL"], *called),
        "content-type": _TYPES[Path(name).suffix],
        "etag": tag,
        "vary": "accept-encoding",
    }
    requested = {key.lower(): value for key, value in event.get("headers", {}).items()}
    if requested.get("if-none-match") == tag:
        return {"statusCode": HTTPStatus.NOT_MODIFIED.value, "headers": headers}
    if "gzip" in requested.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        content = compressed
    return {
        "statusCode": HTTPStatus.OK.value,
        "headers": headers,
        "body": base64.b64encode(content).decode(),
        "isBase64Encoded": True,
    }


@cache
def _policy(socket_url: str, *called: str) -> str:
    """Allow only this origin, the WebSocket API, by host, because its address has no path, and
    the origins that are called to sign people in."""
    address = urlsplit(socket_url)
    socket = [f"{address.scheme}://{address.netloc}"] if address.netloc else []
    return _POLICY.format(others="".join(f" {one}" for one in (*socket, *called)))


@cache
def _files() -> dict[str, tuple[bytes, bytes, str]]:
    """Name -> (content, gzipped content, ETag)."""
    return {path.name: _encoded(path.read_bytes()) for path in _BUILT.iterdir()}


def _encoded(content: bytes) -> tuple[bytes, bytes, str]:
    """The content, gzipped too, and its ETag."""
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    return content, gzip.compress(content, mtime=0), tag


@cache
def _issuer() -> Issuer | None:
    """The issuer at which people sign in; None without one. Nothing is imported for that."""
    if "sign-in-client=" not in os.environ["SETTINGS"]:
        return None
    from headcount.auth.discovery import Issuer
    from headcount.settings import Settings
    from headcount.wiring import system_clock

    settings = Settings(os.environ)
    sign_in = settings.sign_in
    return Issuer(sign_in, system_clock, insecure=settings.emulated) if sign_in else None
