"""HTTP API, ``/dashboard``, ``/admin/live``, ``/headcount*``: dashboard, client and elements."""

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
from typing import Any
from urllib.parse import urlsplit

_HERE = Path(__file__).parent
# What local/bundle.py made goes before what it was made from.
_FOLDERS = (_HERE / "static", _HERE / "built")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "application/typescript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_LIVE = "/admin/live"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'{socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    # Checked at every load against the ETag: a deploy is seen at once.
    "cache-control": "no-cache",
    # Modules are fetched with CORS, and any page may embed the client.
    "access-control-allow-origin": "*",
}


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Answer /dashboard, /dashboard/{file}, /admin/live and /headcount*: a file each."""
    answer = _answer(event)
    if event["requestContext"]["http"]["method"] == "HEAD":
        return {name: answer[name] for name in ("statusCode", "headers")}
    return answer


def _answer(event: Mapping[str, Any]) -> dict[str, Any]:
    path = event["rawPath"].removesuffix("/")
    name = path.removeprefix("/dashboard").strip("/") or "index.html"
    if path == _LIVE:
        name = "index.html"  # which knows by its address what to show
    files = _files()
    if name not in files:
        return {
            "statusCode": HTTPStatus.NOT_FOUND.value,
            "headers": {
                **_HEADERS,
                "content-security-policy": _policy(os.environ["SOCKET_URL"]),
                "content-type": _TYPES[".json"],
                "cache-control": "no-store",
            },
            "body": json.dumps(
                {"success": False, "error": "There is nothing at this path. Try /dashboard."}
            ),
        }
    content, packed, tag = files[name]
    headers = {
        **_HEADERS,
        "content-security-policy": _policy(os.environ["SOCKET_URL"]),
        "content-type": _TYPES[Path(name).suffix],
        "etag": tag,
        "vary": "accept-encoding",
    }
    sent = {key.lower(): value for key, value in event.get("headers", {}).items()}
    if sent.get("if-none-match") == tag:
        return {"statusCode": HTTPStatus.NOT_MODIFIED.value, "headers": headers}
    if "gzip" in sent.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        content = packed
    return {
        "statusCode": HTTPStatus.OK.value,
        "headers": headers,
        "body": base64.b64encode(content).decode(),
        "isBase64Encoded": True,
    }


@cache
def _policy(socket_url: str) -> str:
    """Nobody but ourselves, and the one socket: its address has no path of its own to name."""
    address = urlsplit(socket_url)
    socket = f" {address.scheme}://{address.netloc}" if address.netloc else ""
    return _POLICY.format(socket=socket)


@cache
def _files() -> dict[str, tuple[bytes, bytes, str]]:
    """name -> (content, gzipped content, ETag)."""
    contents = {
        path.name: path.read_bytes()
        for folder in _FOLDERS
        if folder.is_dir()
        for path in folder.iterdir()
    }
    config = {"socketUrl": os.environ["SOCKET_URL"]}
    contents["config.json"] = json.dumps(config).encode()
    return {
        name: (
            content,
            gzip.compress(content, mtime=0),
            f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"',
        )
        for name, content in contents.items()
    }
