"""WebSocket API: ``$connect`` (token check), ``$disconnect``, and dashboards' frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from headcount.clients import services
from headcount.errors import RequestError
from headcount.tokens import require_admin, token_in
from headcount.web.http import respond_error

_OK = {"statusCode": 200}


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Handle one event of a connection."""
    connection = event["requestContext"]["connectionId"]
    switchboard = services().switchboard
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            try:
                _require_admin(event)
                switchboard.connect(connection, _path(event))
            except RequestError as error:
                return respond_error(error)
        case "DISCONNECT":
            switchboard.disconnect(connection)
        case _:
            switchboard.hear(connection, event.get("body") or "")
    return _OK


def _path(event: Mapping[str, Any]) -> str | None:
    """The path the edge was asked for, decoded: a WebSocket API has none of its own."""
    path = (event.get("queryStringParameters") or {}).get("path")
    return "/".join(unquote(part) for part in path.split("/")) if path else None


def _require_admin(event: Mapping[str, Any]) -> None:
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    token = token_in(
        headers,
        event.get("queryStringParameters") or {},
        headers.get("cookie", "").split(";"),
        services().settings.token_cookie,
    )
    require_admin(services().verifier.verify(token) if token else None)
