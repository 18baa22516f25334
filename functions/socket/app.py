"""WebSocket API: ``$connect`` (token check, or a viewer's join), ``$disconnect`` and frames."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from headcount.errors import RequestError
from headcount.logs import correlated
from headcount.model.access import require_caller
from headcount.web import held_sessions
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.robots import robot_of
from headcount.wiring import Services, build_at_start, services

_OK = {"statusCode": 200}
_SYNC_PATH = re.compile(r"/api/[^/]+/sync")
_SYNC_FRAMES = ("Connect", "ModifyQuerySet", "Authenticate", "Mutation", "Action", "Event")


@correlated
def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Handle one event of a connection."""
    connection = event["requestContext"]["connectionId"]
    here = services()
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            try:
                if _is_sync(event):
                    from headcount.systems import course_viewers_frames

                    course_viewers_frames.connect(here, event)
                elif held_sessions.holds_session(event):
                    held_sessions.connect(here, event)
                else:
                    caller = require_caller(Call.from_socket_event(here, event).authenticate())
                    here.dashboard_socket.connect(connection, caller, _path(event))
            except RequestError as error:
                return respond_error(error)
        case "DISCONNECT":
            held = here.dashboard_socket.disconnect(connection)
            if held is not None:
                held_sessions.disconnect(here, event, held)
        case _:
            if _handle_sync_frame(here, event):
                pass
            elif not held_sessions.handle_frame(here, event):
                sent_at = event["requestContext"].get("requestTimeEpoch")
                here.dashboard_socket.receive(connection, event.get("body") or "", sent_at)
    here.meter.write_beats(event["requestContext"]["requestId"])
    return _OK


def _is_sync(event: Mapping[str, Any]) -> bool:
    """Whether a client of Convex's connects: at ``/api/<its version>/sync``."""
    return bool(_SYNC_PATH.fullmatch(_path(event) or ""))


def _handle_sync_frame(here: Services, event: Mapping[str, Any]) -> bool:
    """Handle a frame of Convex's sync protocol; False if it is none: others import nothing."""
    body = event.get("body") or ""
    if '"type"' not in body:
        return False
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(message, dict) or message.get("type") not in _SYNC_FRAMES:
        return False
    from headcount.systems import course_viewers_frames

    return course_viewers_frames.receive(here, event, message)


def _path(event: Mapping[str, Any]) -> str | None:
    """The decoded path of the request to the edge; a WebSocket API itself has no paths."""
    path = (event.get("queryStringParameters") or {}).get("path")
    return "/".join(unquote(part) for part in path.split("/")) if path else None


build_at_start(
    lambda here: (
        here.dashboard_socket,
        here.session_recorder,
        here.join_limits,
        here.frames,
        here.meter,
        robot_of(""),
    )
)
