"""The native API: beats and leaves, headcounts, viewers, timelines, days and live spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headcount.beats import Leave, parse_beat, parse_leave
from headcount.errors import InvalidRequestError
from headcount.spaces import Space
from headcount.tokens import Action, Scope, covers
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Reply, Route, Who

if TYPE_CHECKING:
    from headcount.web.answers import Left, Recorded

shape_error = respond_error

# By name: to import them would cost every start more than all the rest of the beat.
_ANSWERS, _MESSAGES = "headcount.web.answers:", "headcount.messages:"

_PUBLIC_FOR = "public, max-age=1"
"""Counts that anybody may see may be a second old at the edge: a version a second is published."""


def beat(call: Call) -> Recorded:
    """Record a beat: a session is here, and this is what it is doing."""
    space = _space(call)
    said = parse_beat(call.request.json(), space.id)
    count = call.record_beat(space, said, call.identify(said.user_id))
    answer: Recorded = {
        "success": True,
        "space": space.id,
        "count": count.people,
        "version": count.version,
        "leaseSeconds": space.kind.lease_for(said.state),
        "nextBeatIn": space.kind.beat_for(said.state),
    }
    if count.notice is not None:
        answer["notice"] = count.notice.body()  # type: ignore[typeddict-item]
    return answer


def leave(call: Call) -> Left:
    """End a session's visit: a POST for sendBeacon, whatever its content type."""
    return _left(call, parse_leave(call.request.json()))


def delete(call: Call) -> Left:
    """End a session's visit."""
    seq = call.query("seq")
    if seq is not None and not (seq.isascii() and seq.isdecimal()):
        raise InvalidRequestError("'seq' must be a whole number.")
    session = call.query("sessionId")
    message: dict[str, object] = {} if session is None else {"sessionId": session}
    return _left(call, parse_leave(message if seq is None else {**message, "seq": int(seq[:17])}))


def headcount(call: Call) -> Any:
    """The published numbers of a space."""
    space = _space(call)
    call.require_counts(space)
    body = call.services.reader.headcount(space)
    if space.kind.counts_are_public and not call.has_token:
        return Reply(body, headers={"cache-control": _PUBLIC_FOR})
    return body


def spaces(call: Call) -> Any:
    """Spaces with anyone in them, largest first: those that the token may read."""
    allowed = call.spaces(Action.READ)
    return call.services.reader.spaces(call.query("kind"), lambda space: covers(allowed, space))


def viewers(call: Call) -> Any:
    """Who is in a space, a page at a time, in the order of their session ids."""
    return call.services.reader.viewers(_space(call), call.query("limit"), call.query("cursor"))


def snapshot(call: Call) -> Any:
    """The visits that have not ended, and the number of the event that they are told up to."""
    return call.services.reader.snapshot(_space(call), call.query("limit"), call.query("cursor"))


def explain(call: Call) -> Any:
    """Explain a space's numbers: a fresh recount beside them, and which sessions make them up."""
    return call.services.explainer.explain(_space(call), call.query("limit"), call.query("cursor"))


def timeline(call: Call) -> Any:
    """A point for each minute with anyone in the space; the last hour unless told otherwise."""
    return call.services.reader.timeline(_space(call), call.query("from"), call.query("to"))


def days(call: Call) -> Any:
    """A row for each UTC day anyone was in the space, today so far included."""
    return call.services.reader.days(_space(call), call.query("from"), call.query("to"))


def _space(call: Call) -> Space:
    return call.services.settings.kinds.space(call.params["space"])


def _left(call: Call, message: Leave) -> Left:
    space = _space(call)
    call.record_leave(space, message)
    return {"success": True, "space": space.id}


_SEQ = {"type": "string", "pattern": "^[0-9]+$"}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}
_TIME = {"type": "string", "format": "date-time"}
_DAY = {"type": "string", "format": "date"}
_READ, _PEOPLE = Scope(Action.READ, "<space>"), Scope(Action.PEOPLE, "<space>")


def _pages(limit: str) -> list[Query]:
    """The parameters of what comes in pages."""
    return [Query("limit", limit, _LIMIT), Query("cursor", "The cursor of the page before")]


ROUTES = [
    Route(
        "POST",
        "/v1/spaces/<space>/presence",
        beat,
        Who.ANYONE,
        _ANSWERS + "Recorded",
        body=_MESSAGES + "BeatMessage",
    ),
    Route(
        "DELETE",
        "/v1/spaces/<space>/presence",
        delete,
        Who.ANYONE,
        _ANSWERS + "Left",
        query=[
            Query("sessionId", "The session that leaves", _MESSAGES + "SessionId", required=True),
            Query("seq", "Its number, where the client counts its messages", _SEQ),
        ],
    ),
    Route(
        "POST",
        "/v1/spaces/<space>/presence/leave",
        leave,
        Who.ANYONE,
        _ANSWERS + "Left",
        body=_MESSAGES + "LeaveMessage",
    ),
    Route(
        "GET",
        "/v1/spaces",
        spaces,
        Who.ADMIN,
        _ANSWERS + "LiveSpaces",
        query=[Query("kind", "Only these")],
        needs=Scope(Action.READ, None),
    ),
    Route("GET", "/v1/spaces/<space>", headcount, Who.COUNTS, _ANSWERS + "Headcount", needs=_READ),
    Route(
        "GET",
        "/v1/spaces/<space>/viewers",
        viewers,
        Who.ADMIN,
        _ANSWERS + "Viewers",
        query=_pages("Sessions per page"),
        needs=_PEOPLE,
    ),
    Route(
        "GET",
        "/v1/spaces/<space>/snapshot",
        snapshot,
        Who.ADMIN,
        _ANSWERS + "Snapshot",
        query=_pages("Visits per page"),
        needs=_PEOPLE,
        errors=[409],
    ),
    Route(
        "GET",
        "/v1/spaces/<space>/explain",
        explain,
        Who.ADMIN,
        _ANSWERS + "Explanation",
        query=_pages("Rows per page, counted or not"),
        needs=_PEOPLE,
    ),
    Route(
        "GET",
        "/v1/spaces/<space>/timeline",
        timeline,
        Who.ADMIN,
        _ANSWERS + "Timeline",
        query=[Query("from", "The first moment", _TIME), Query("to", "The last moment", _TIME)],
        needs=_READ,
    ),
    Route(
        "GET",
        "/v1/spaces/<space>/days",
        days,
        Who.ADMIN,
        _ANSWERS + "Days",
        query=[Query("from", "The first UTC day", _DAY), Query("to", "The last UTC day", _DAY)],
        needs=_READ,
    ),
]
