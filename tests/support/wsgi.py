"""A world as a WSGI app: requests become events, as in the gateway, for the real handlers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from lab.harness.events import http_event
from lab.harness.template import template
from lab.harness.world import World

Headers = list[tuple[str, str]]


class Gateway:
    """The HTTP API of a world. ``admin``: every request carries the admin's token."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.admin = False

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[[str, Headers], Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        assert self.world is not None, "set the gateway's world first"
        event = _event(environ, self.world.new_id())
        # Schemathesis says that it reads compressed answers, and does not.
        event["headers"].pop("accept-encoding", None)
        if self.admin:
            event["headers"]["authorization"] = f"Bearer {self.world.admin}"
        response = self.world.invoke(
            template().function_of(environ["REQUEST_METHOD"], event["rawPath"]), event
        )
        status = int(response["statusCode"])
        headers = [(name, str(value)) for name, value in response.get("headers", {}).items()]
        start_response(f"{status} {_phrase(status)}", headers)
        return [(response.get("body") or "").encode()]


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Own"


def _event(environ: Mapping[str, Any], request: str) -> dict[str, Any]:
    path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
    query: dict[str, str] = {}
    for name, value in parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    cookies = [one.strip() for one in headers.pop("cookie", "").split(";") if one.strip()]
    event = http_event(
        environ["REQUEST_METHOD"],
        path,
        query=query,
        headers={**headers, "content-type": environ.get("CONTENT_TYPE", "")},
        cookies=cookies,
        request=request,
    )
    event["rawQueryString"] = environ.get("QUERY_STRING", "")
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if body:
        event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return event
