"""WebSocket API: ``$connect`` (token check, or a viewer's join), ``$disconnect``, and frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from headcount.clients import services
from headcount.errors import RequestError
from headcount.metrics import say_beats
from headcount.tokens import known
from headcount.web import presence_sockets
from headcount.web.calls import Call
from headcount.web.http import respond_error

_OK = {"statusCode": 200}


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Handle one event of a connection."""
    connection = event["requestContext"]["connectionId"]
    here = services()
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            try:
                if presence_sockets.holds_session(event):
                    presence_sockets.connect(here, event)
                else:
                    caller = known(Call.of_socket(here, event).verified())
                    here.switchboard.connect(connection, caller, _path(event))
            except RequestError as error:
                return respond_error(error)
        case "DISCONNECT":
            held = here.switchboard.disconnect(connection)
            if held is not None:
                presence_sockets.disconnect(here, event, held)
        case _:
            if not presence_sockets.hear(here, event):
                said_at = event["requestContext"].get("requestTimeEpoch")
                here.switchboard.hear(connection, event.get("body") or "", said_at)
    request = event["requestContext"]["requestId"]
    say_beats(here.meter, stack=here.settings.stack, now=here.clock(), request=request)
    return _OK


def _path(event: Mapping[str, Any]) -> str | None:
    """The path the edge was asked for, decoded: a WebSocket API has none of its own."""
    path = (event.get("queryStringParameters") or {}).get("path")
    return "/".join(unquote(part) for part in path.split("/")) if path else None
