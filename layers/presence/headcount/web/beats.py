"""The native API's beats and leaves: all that the ``beat`` function has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headcount.model.beat import Leave
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.parsing import SEQ, parse_beat, parse_leave, parse_seq
from headcount.web.routing import Query, Route, Who

if TYPE_CHECKING:
    from headcount.web import answers

shape_error = respond_error

# By name: importing them would take longer at every start than the rest of a beat.
_ANSWERS, _BODIES = "headcount.web.answers:", "headcount.web.bodies:"


def beat(call: Call) -> answers.Recorded:
    """Record a beat: the session is still here, and this is what it is doing."""
    space = call.path_space
    beat = parse_beat(call.request.json(), space.id)
    interval = call.interval(space, beat.state)
    result = call.record_beat(space, beat, call.identify(beat.user_id), lease=interval.lease)
    body: answers.Recorded = {
        "success": True,
        "space": space.id,
        "leaseSeconds": interval.lease,
        "nextBeatIn": interval.beat,
    }
    if (door := call.beat_url) is not None:
        body["beatAt"] = door
    if result.people is not None and result.version is not None:
        body["count"], body["version"] = result.people, result.version
    if result.notice is not None:
        body["notice"] = result.notice.body()
    return body


def leave(call: Call) -> answers.Left:
    """End a session's visit. A POST with any content type, for sendBeacon."""
    return _end_visit(call, parse_leave(call.request.json()))


def delete(call: Call) -> answers.Left:
    """End a session's visit."""
    seq = call.query("seq")
    session = call.query("sessionId")
    body: dict[str, object] = {} if session is None else {"sessionId": session}
    if seq is not None:
        body["seq"] = parse_seq(seq)
    return _end_visit(call, parse_leave(body))


def _end_visit(call: Call, leave: Leave) -> answers.Left:
    space = call.path_space
    call.record_leave(space, leave)
    return {"success": True, "space": space.id}


_PRESENCE = "/v1/spaces/<space>/presence"
_LEAVING = [
    Query("sessionId", "The session that leaves", _BODIES + "SessionId", required=True),
    Query("seq", "The message's sequence number, if the client sends them", SEQ),
]

ROUTES = [
    Route("POST", _PRESENCE, beat, Who.ANYONE, _ANSWERS + "Recorded", _BODIES + "BeatMessage"),
    Route("DELETE", _PRESENCE, delete, Who.ANYONE, _ANSWERS + "Left", query=_LEAVING),
    Route(
        "POST",
        f"{_PRESENCE}/leave",
        leave,
        Who.ANYONE,
        _ANSWERS + "Left",
        _BODIES + "LeaveMessage",
    ),
]
