"""Stream analytics: streams, who watches them, how well they play, and what viewers do."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from typing_extensions import TypedDict

from headcount.errors import BusyError, ConflictError, InvalidRequestError, NotFoundError
from headcount.headcounts import Headcount, Reading
from headcount.messages import parse
from headcount.spaces import ID, Space
from headcount.streams import KIND, Status, Stream, registered, started, stopped
from headcount.systems.stream_analytics.bodies import Happening, Registration, Report
from headcount.systems.stream_analytics.days import DayData, days_of
from headcount.systems.stream_analytics.feeds import EARNED, OVERVIEW
from headcount.systems.stream_analytics.state import (
    REVENUE,
    EngagementData,
    MetricsData,
    RealTimeData,
    SourceData,
    engagement_data,
    infrastructure_data,
    metrics_data,
    peak_viewers,
    real_time_data,
)
from headcount.times import HOUR, MINUTE, day_of, iso
from headcount.tokens import Action, Scope, covers
from headcount.web.answers import FacetValue, Measure
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Reply, Route, Who

shape_error = respond_error

MAX_STREAMS = 1_000
MAX_CHANNEL_STREAMS = 200
"""Streams of a channel, the newest, that its history is made of."""
MAX_SOURCES = 16
UP_TO = 2_000
"""Viewers up to whom an answer is of this very moment; beyond, as published a moment ago."""
_TRIES = 8
"""Each lost race means that somebody else's write to the same stream went through."""


# ---------------------------------------------------------------------------------------- answers


class StreamData(TypedDict):
    """A registered stream and its viewers. Times are ISO 8601."""

    id: str
    title: str | None
    channelId: str | None
    eventId: str | None
    status: Status
    createdAt: str
    startedAt: str | None
    stoppedAt: str | None
    currentViewers: int
    peakViewers: int
    totalViews: int


class _Succeeded(TypedDict):
    success: bool


class StreamAnswer(_Succeeded, StreamData):
    """One stream."""


class Streams(TypedDict):
    """Newest first."""

    success: bool
    streams: list[StreamData]


class Done(TypedDict):
    """What was sent is stored."""

    success: bool


class _OfStream(TypedDict):
    success: bool
    streamId: str


class Metrics(_OfStream, MetricsData):
    """A stream's numbers."""


class RealTime(_OfStream, RealTimeData):
    """The state of a stream's dashboard."""


class Comprehensive(TypedDict):
    """All that is known of a stream. ``stream``: null where it is not registered."""

    success: bool
    streamId: str
    stream: StreamData | None
    metrics: MetricsData
    realTime: RealTimeData
    engagement: EngagementData
    quality: dict[str, Measure]
    infrastructure: dict[str, SourceData]
    facets: dict[str, list[FacetValue]]
    days: list[DayData]


class _OfChannel(TypedDict):
    success: bool
    channelId: str
    streams: list[str]
    days: list[DayData]


_Period = TypedDict("_Period", {"from": str, "to": str})


class Historical(_OfChannel, _Period):
    """A channel's days, oldest first; days with nobody in any of its streams have no row."""


# --------------------------------------------------------------------------------------- registry


def register(call: Call) -> Reply:
    """Register a stream, or change its title, channel or event: what is left out stays."""
    said = parse(Registration, call.request.json(), '{"id": "stream-1", "title": "Opening"}')
    call.require(Scope(Action.INGEST, f"{KIND}:{said.id or '*'}"))  # any, where we choose it
    stream = said.id or call.services.new_id()
    now = call.now
    found, is_new = _change(
        call,
        stream,
        lambda old: registered(
            old, stream, title=said.title, channel=said.channel_id, event=said.event_id, now=now
        ),
    )
    return Reply(_answer(call, found), HTTPStatus.CREATED if is_new else HTTPStatus.OK)


def streams(call: Call) -> Streams:
    """Registered streams, newest first, at most 1,000, with viewers as published a moment ago.

    Those that the token may read.
    """
    status, channel = call.query("status"), call.query("channelId")
    if status is not None and status not in set(Status):
        raise InvalidRequestError(f"'status' must be one of: {', '.join(Status)}.")
    table = call.services.streams
    found = table.all() if channel is None else table.of_channel(_id("channelId", channel))
    allowed = call.spaces(Action.READ)
    chosen = [one for one in found if status in {None, one.status} and covers(allowed, one.space)][
        :MAX_STREAMS
    ]
    heads = call.services.headcounts.many(one.space for one in chosen)
    return {
        "success": True,
        "streams": [_fields(one, heads.get(one.space, Headcount(one.space))) for one in chosen],
    }


def stream(call: Call) -> StreamAnswer:
    """A registered stream."""
    return _answer(call, _known(call.services.streams.get(_stream_id(call))))


def start(call: Call) -> StreamAnswer:
    """Start a stream, which registers it; one that is live goes on as it was."""
    name, now = _stream_id(call), call.now
    call.note(call.space(KIND, name), "startStream")
    return _answer(call, _change(call, name, lambda old: started(old, name, now=now))[0])


def stop(call: Call) -> StreamAnswer:
    """Stop a stream; one that is stopped stays as it was."""
    name, now = _stream_id(call), call.now
    space = call.space(KIND, name)
    _known(call.services.streams.get(name))
    call.note(space, "stopStream")
    return _answer(call, _change(call, name, lambda old: stopped(_known(old), now=now))[0])


def _change(
    call: Call, stream: str, decide: Callable[[Stream | None], Stream]
) -> tuple[Stream, bool]:
    """The stream as it was decided and is stored, and whether it is new."""
    table = call.services.streams
    call.space(KIND, stream)  # before anything is stored of a kind that is not declared
    for _ in range(_TRIES):
        old = table.get(stream)
        new = decide(old)
        if new is old:
            return new, False
        if table.save(old, new):
            if old is None or old.status is not new.status:
                call.services.errand_queue.say(OVERVIEW)  # how many streams are active
            return new, old is None
    raise BusyError


def _known(stream: Stream | None) -> Stream:
    if stream is None:
        raise NotFoundError(
            "There is no stream with this id. POST /api/streams registers one; "
            "POST /api/streams/{id}/start registers and starts it."
        )
    return stream


def _answer(call: Call, stream: Stream) -> StreamAnswer:
    head = call.services.reader.now(call.space(KIND, stream.id), up_to=UP_TO).head
    return {"success": True, **_fields(stream, head)}


def _fields(stream: Stream, head: Headcount) -> StreamData:
    return {
        "id": stream.id,
        "title": stream.title,
        "channelId": stream.channel,
        "eventId": stream.event,
        "status": stream.status,
        "createdAt": iso(stream.created_at),
        "startedAt": iso(stream.started_at) if stream.started_at is not None else None,
        "stoppedAt": iso(stream.stopped_at) if stream.stopped_at is not None else None,
        "currentViewers": head.tally.people,
        "peakViewers": peak_viewers(head),
        "totalViews": head.views.total,
    }


# --------------------------------------------------------------------------------------- analytics


def metrics(call: Call) -> Metrics:
    """A stream's numbers now. One that nobody was ever in has zeros, and null for the rest."""
    space = _space(call)
    head = call.services.reader.now(space, up_to=UP_TO).head
    return {"success": True, "streamId": call.params["id"], **metrics_data(head, call.now)}


def real_time(call: Call) -> RealTime:
    """The state of a stream's dashboard, its last hour included."""
    space = _space(call)
    head = call.services.reader.now(space, up_to=UP_TO).head
    return {"success": True, "streamId": call.params["id"], **_real_time(call, head)}


def comprehensive(call: Call) -> Comprehensive:
    """All that is known of a stream: its registration, numbers, facets and last 30 days."""
    space = _space(call)
    name = call.params["id"]
    registered_as = call.services.streams.get(name)
    head = call.services.reader.now(space, up_to=UP_TO).head
    published = head.body(call.now)
    return {
        "success": True,
        "streamId": name,
        "stream": _fields(registered_as, head) if registered_as else None,
        "metrics": metrics_data(head, call.now),
        "realTime": _real_time(call, head),
        "engagement": engagement_data(head, call.now),
        "quality": published["quality"],
        "infrastructure": infrastructure_data(head, call.now),
        "facets": published["facets"],
        "days": days_of(call.services.reader.days(space, None, None)["days"]),
    }


def historical(call: Call) -> Historical:
    """The days of a channel's streams (its 200 newest) together; the last 30 unless told."""
    channel = _id("channelId", call.params["id"])
    reader = call.services.reader
    first, last = reader.period(call.query("from"), call.query("to"))
    found = [one.id for one in call.services.streams.of_channel(channel)[:MAX_CHANNEL_STREAMS]]
    rows = [row for one in found for row in reader.days(call.space(KIND, one), first, last)["days"]]
    return {
        "success": True,
        "channelId": channel,
        "from": first,
        "to": last,
        "streams": found,
        "days": days_of(rows),
    }


def _real_time(call: Call, head: Headcount) -> RealTimeData:
    now = call.now
    # One minute more: the first point's chat activity is counted from the one before.
    points = call.services.history.points(head.space, now - HOUR - MINUTE, now)
    return real_time_data(head, points, now)


# ------------------------------------------------------------------------------------------ ingest


def happen(call: Call) -> Done:
    """Add what viewers did (chat, reaction, share) or, for admins, what came in (revenue).

    Every request adds: a client that is not sure whether one arrived may count it twice.
    """
    space = _space(call)
    said = parse(Happening, call.request.json(), '{"type": "chat"}')
    also = None
    if said.type == "revenue":
        call.require(Scope(Action.INGEST, space.id))
        if said.amount is None or said.count is not None:
            raise InvalidRequestError("revenue needs an amount, a number, and takes no count.")
        added = {REVENUE: said.amount}
        also = EARNED
    elif said.amount is not None:
        raise InvalidRequestError(f"{said.type} takes no amount. Send a count, or neither.")
    else:
        added = {said.type: float(said.count or 1)}
    call.services.counts.add_engagement(space.id, day_of(call.now), added, also=also)
    return {"success": True}


def report(call: Call) -> Done:
    """Keep what a server measures of a stream, in place of what it reported before.

    It counts for 5 minutes.
    """
    space = _space(call)
    said = parse(Report, call.request.json(), '{"source": "rtmp", "bandwidth": 4500}')
    counts = call.services.counts
    sources = counts.space(space.id).readings
    if said.source not in sources and len(sources) >= MAX_SOURCES:
        raise ConflictError(
            f"This stream has {MAX_SOURCES} sources already. Report under one of their names: "
            f"{', '.join(sorted(sources))}."
        )
    counts.report(space.id, said.source, Reading(call.now, said.numbers))
    return {"success": True}


def _space(call: Call) -> Space:
    return call.space(KIND, _stream_id(call))


def _stream_id(call: Call) -> str:
    return _id("The stream's id", call.params["id"])


def _id(what: str, text: str) -> str:
    if not ID.fullmatch(text):
        raise InvalidRequestError(f"{what} is not valid: use 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return text


_DAY: dict[str, Any] = {"type": "string", "format": "date"}
_STATUS: dict[str, Any] = {"type": "string", "enum": list(Status)}
_STREAM = "/api/streams/<id>"
_READ, _INGEST = Scope(Action.READ, f"{KIND}:<id>"), Scope(Action.INGEST, f"{KIND}:<id>")
_UNKNOWN = [HTTPStatus.NOT_FOUND]
_ANALYTICS = "/api/v1/analytics"

ROUTES = [
    Route(
        "POST",
        "/api/streams",
        register,
        Who.ADMIN,
        StreamAnswer,
        body=Registration,
        status=HTTPStatus.CREATED,
        also=[HTTPStatus.OK],
        needs=Scope(Action.INGEST, None),
    ),
    Route(
        "GET",
        "/api/streams",
        streams,
        Who.ADMIN,
        Streams,
        query=[
            Query("status", "Only these", _STATUS),
            Query("channelId", "Only this channel's"),
        ],
        needs=Scope(Action.READ, None),
    ),
    Route("GET", _STREAM, stream, Who.ADMIN, StreamAnswer, errors=_UNKNOWN, needs=_READ),
    Route("POST", f"{_STREAM}/start", start, Who.ADMIN, StreamAnswer, needs=_INGEST),
    Route("POST", f"{_STREAM}/stop", stop, Who.ADMIN, StreamAnswer, errors=_UNKNOWN, needs=_INGEST),
    Route("GET", f"{_ANALYTICS}/streams/<id>/metrics", metrics, Who.ADMIN, Metrics, needs=_READ),
    Route(
        "POST",
        f"{_ANALYTICS}/streams/<id>/events",
        happen,
        Who.ANYONE,
        Done,
        body=Happening,
        errors=[HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN],
        needs=_INGEST,
    ),
    Route(
        "POST",
        f"{_ANALYTICS}/streams/<id>/infrastructure",
        report,
        Who.ADMIN,
        Done,
        body=Report,
        errors=[HTTPStatus.CONFLICT],
        needs=_INGEST,
    ),
    Route("GET", f"{_ANALYTICS}/real-time/<id>", real_time, Who.ADMIN, RealTime, needs=_READ),
    Route(
        "GET",
        f"{_ANALYTICS}/comprehensive/<id>",
        comprehensive,
        Who.ADMIN,
        Comprehensive,
        needs=_READ,
    ),
    Route(
        "GET",
        f"{_ANALYTICS}/historical/<id>",
        historical,
        Who.ADMIN,
        Historical,
        query=[Query("from", "The first UTC day", _DAY), Query("to", "The last UTC day", _DAY)],
        needs=Scope(Action.READ, f"{KIND}:*"),
    ),
]
