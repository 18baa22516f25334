"""The native API: beats and leaves, headcounts, viewers, timelines, days and live spaces."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from headcount.beats import Beat, Leave, SessionId, parse_beat, parse_leave
from headcount.errors import InvalidRequestError
from headcount.spaces import Space
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Reply, Route, Who

shape_error = respond_error

_PUBLIC_FOR = "public, max-age=1"
"""Counts that anybody may see may be a second old at the edge: a version a second is published."""


class Notice(TypedDict):
    """A message to everyone in the space: shown until a moment, a new one in its place."""

    id: str
    text: str
    level: Literal["info", "warning"]
    until: str


class Recorded(TypedDict):
    """A beat was stored. ``count`` is the space's people, as published a moment ago; ``notice`` is
    there while there is a message to everyone."""

    success: bool
    space: str
    count: int
    version: int
    leaseSeconds: int
    nextBeatIn: int
    notice: NotRequired[Notice]


class Left(TypedDict):
    """The session's visit is over, or was."""

    success: bool
    space: str


class FacetValue(TypedDict):
    """``count`` sessions say it, and ``people`` each once under what their latest beat said."""

    value: str
    count: int
    people: int


class Peak(TypedDict):
    """The highest number of people ever published, and when."""

    people: int
    at: str


class Views(TypedDict):
    """Joins: in all, and in this UTC day, ISO week and month."""

    total: int
    today: int
    week: int
    month: int


class Measure(TypedDict):
    """A quality number: the mean over the ``sessions`` that say it."""

    sessions: int
    mean: float


class Headcount(TypedDict):
    """The published numbers of a space. ``people`` = ``signedIn`` + ``anonymous``, distinct."""

    success: bool
    space: str
    people: int
    signedIn: int
    anonymous: int
    sessions: int
    signedInSessions: int
    anonymousSessions: int
    facets: dict[str, list[FacetValue]]
    peak: Peak | None
    peakSessions: int
    avgSeconds: int | None
    quality: dict[str, Measure]
    engagement: dict[str, float]
    views: Views
    version: int
    asOf: str
    notice: NotRequired[Notice]


class LiveSpace(TypedDict):
    """A space with anyone in it."""

    space: str
    people: int
    sessions: int
    signedIn: int
    anonymous: int
    asOf: str


class LiveSpaces(TypedDict):
    """Largest first."""

    success: bool
    spaces: list[LiveSpace]


class Viewer(TypedDict):
    """A session, as those see it who may."""

    sessionId: str
    visitorId: str | None
    userId: str | None
    verified: bool
    name: str | None
    avatar: str | None
    page: str | None
    facets: dict[str, str]
    quality: dict[str, float]
    engagement: dict[str, int]
    details: dict[str, str | float]
    state: str
    joinedAt: str
    lastSeen: str


class Viewers(TypedDict):
    """A page of sessions; ``cursor`` leads to the next, null on the last."""

    success: bool
    viewers: list[Viewer]
    cursor: str | None


class _Point(TypedDict):
    at: str
    people: int
    sessions: int


class Point(_Point, total=False):
    """A minute's sample. ``engagement``: the totals until then, where there are any."""

    engagement: dict[str, float]


class Timeline(TypedDict):
    """Oldest first; minutes with nobody in the space have no point."""

    success: bool
    space: str
    points: list[Point]


class Day(TypedDict):
    """A UTC day. ``avgSeconds``: mean time that a visit spent within it."""

    date: str
    uniquePeople: int
    uniqueSessions: int
    uniqueUsers: int
    views: int
    beats: int
    peak: int
    avgSeconds: int
    engagement: dict[str, float]


class Days(TypedDict):
    """Oldest first; days with nobody in the space have no row."""

    success: bool
    space: str
    days: list[Day]


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
    call.require_counts(space.kind)
    body = call.services.reader.headcount(space)
    if space.kind.counts_are_public and not call.has_token:
        return Reply(body, headers={"cache-control": _PUBLIC_FOR})
    return body


def spaces(call: Call) -> Any:
    """Spaces with anyone in them, largest first."""
    return call.services.reader.spaces(call.query("kind"))


def viewers(call: Call) -> Any:
    """Who is in a space, a page at a time, in the order of their session ids."""
    return call.services.reader.viewers(_space(call), call.query("limit"), call.query("cursor"))


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

ROUTES = [
    Route("POST", "/v1/spaces/<space>/presence", beat, Who.ANYONE, Recorded, body=Beat),
    Route(
        "DELETE",
        "/v1/spaces/<space>/presence",
        delete,
        Who.ANYONE,
        Left,
        query=[
            Query("sessionId", "The session that leaves", SessionId, required=True),
            Query("seq", "Its number, where the client counts its messages", _SEQ),
        ],
    ),
    Route("POST", "/v1/spaces/<space>/presence/leave", leave, Who.ANYONE, Left, body=Leave),
    Route("GET", "/v1/spaces", spaces, Who.ADMIN, LiveSpaces, query=[Query("kind", "Only these")]),
    Route("GET", "/v1/spaces/<space>", headcount, Who.COUNTS, Headcount),
    Route(
        "GET",
        "/v1/spaces/<space>/viewers",
        viewers,
        Who.ADMIN,
        Viewers,
        query=[
            Query("limit", "Sessions per page", _LIMIT),
            Query("cursor", "The cursor of the page before"),
        ],
    ),
    Route(
        "GET",
        "/v1/spaces/<space>/timeline",
        timeline,
        Who.ADMIN,
        Timeline,
        query=[Query("from", "The first moment", _TIME), Query("to", "The last moment", _TIME)],
    ),
    Route(
        "GET",
        "/v1/spaces/<space>/days",
        days,
        Who.ADMIN,
        Days,
        query=[Query("from", "The first UTC day", _DAY), Query("to", "The last UTC day", _DAY)],
    ),
]
