"""Stream analytics: streams, their viewers, playback quality, engagement and revenue."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from typing_extensions import TypedDict

from headcount.errors import BusyError, ConflictError, InvalidRequestError, NotFoundError
from headcount.model.access import Action, Scope, covers
from headcount.model.headcount import Headcount, Reading
from headcount.model.session import MAX_GROWTH
from headcount.model.space import ID, Space
from headcount.model.stream import KIND, Status, Stream, registered, started, stopped
from headcount.systems.stream_analytics.bodies import Registration, Report, StreamEvent
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
from headcount.web.answers import FacetValue, Measure
from headcount.web.bodies import parse
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import DAYS, Query, Reply, Route, Who

shape_error = respond_error

MAX_STREAMS = 1_000
MAX_CHANNEL_STREAMS = 200
"""The newest streams of a channel, from which its history is made."""
MAX_SOURCES = 16
_SAVE_TRIES = 8
"""A try fails only when another write to the same stream succeeds."""


# -------------------------------------------------------------------------------------- responses


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
    """The body is stored."""

    success: bool


class _OfStream(TypedDict):
    success: bool
    streamId: str


class Metrics(_OfStream, MetricsData):
    """A stream's numbers."""


class RealTime(_OfStream, RealTimeData):
    """The state of a stream's dashboard."""


class Comprehensive(TypedDict):
    """Everything about a stream. ``stream`` is null if it is not registered."""

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
    """A channel's days, oldest first; days without viewers of its streams have no row."""


# --------------------------------------------------------------------------------------- registry


def register(call: Call) -> Reply:
    """Register a stream, or change its title, channel or event. Omitted fields are kept."""
    body = parse(Registration, call.request.json(), '{"id": "stream-1", "title": "Opening"}')
    call.require_scope(Scope(Action.INGEST, f"{KIND}:{body.id or '*'}"))  # without an id: any
    stream = body.id or call.services.new_id()
    now = call.now
    found, is_new = _change(
        call,
        stream,
        lambda old: registered(
            old, stream, title=body.title, channel=body.channel_id, event=body.event_id, now=now
        ),
    )
    return Reply(_stream_body(call, found), HTTPStatus.CREATED if is_new else HTTPStatus.OK)


def streams(call: Call) -> Streams:
    """Registered streams that the token may read, newest first, at most 1,000.

    Their viewers are as last published.
    """
    status, channel = call.query("status"), call.query("channelId")
    if status is not None and status not in set(Status):
        raise InvalidRequestError(f"'status' must be one of: {', '.join(Status)}.")
    table = call.services.streams
    found = table.all() if channel is None else table.of_channel(_valid_id("channelId", channel))
    allowed = call.allowed_spaces(Action.READ)
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
    return _stream_body(call, _registered(call.services.streams.get(_stream_id(call))))


def start(call: Call) -> StreamAnswer:
    """Start a stream, and register it if it is new. A live stream is not changed."""
    name, now = _stream_id(call), call.now
    call.log_action(call.space(KIND, name), "startStream")
    return _stream_body(call, _change(call, name, lambda old: started(old, name, now=now))[0])


def stop(call: Call) -> StreamAnswer:
    """Stop a stream. A stopped stream is not changed."""
    name, now = _stream_id(call), call.now
    space = call.space(KIND, name)
    _registered(call.services.streams.get(name))
    call.log_action(space, "stopStream")
    return _stream_body(
        call, _change(call, name, lambda old: stopped(_registered(old), now=now))[0]
    )


def _change(
    call: Call, stream: str, decide: Callable[[Stream | None], Stream]
) -> tuple[Stream, bool]:
    """Store what ``decide`` makes of the stream. Returns it, and whether it is new."""
    table = call.services.streams
    call.space(KIND, stream)  # raises if the kind is not declared
    for _ in range(_SAVE_TRIES):
        old = table.get(stream)
        new = decide(old)
        if new is old:
            return new, False
        if table.save(old, new):
            if old is None or old.status is not new.status:
                call.services.deferred_queue.send_feed(OVERVIEW)  # how many streams are active
            return new, old is None
    raise BusyError


def _registered(stream: Stream | None) -> Stream:
    if stream is None:
        raise NotFoundError(
            "There is no stream with this id. POST /api/streams registers one; "
            "POST /api/streams/{id}/start registers and starts it."
        )
    return stream


def _stream_body(call: Call, stream: Stream) -> StreamAnswer:
    head = call.services.reader.now(call.space(KIND, stream.id)).head
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
    """A stream's current numbers. A stream that never had viewers has zeros and nulls."""
    space = _stream_space(call)
    head = call.services.reader.now(space).head
    return {"success": True, "streamId": call.params["id"], **metrics_data(head, call.now)}


def real_time(call: Call) -> RealTime:
    """The state of a stream's dashboard, including its last hour."""
    space = _stream_space(call)
    head = call.services.reader.now(space).head
    return {"success": True, "streamId": call.params["id"], **_real_time(call, head)}


def comprehensive(call: Call) -> Comprehensive:
    """Everything about a stream: its registration, numbers, facets and last 30 days."""
    space = _stream_space(call)
    name = call.params["id"]
    stream = call.services.streams.get(name)
    head = call.services.reader.now(space).head
    published = head.body(call.now)
    return {
        "success": True,
        "streamId": name,
        "stream": _fields(stream, head) if stream else None,
        "metrics": metrics_data(head, call.now),
        "realTime": _real_time(call, head),
        "engagement": engagement_data(head, call.now),
        "quality": published["quality"],
        "infrastructure": infrastructure_data(head, call.now),
        "facets": published["facets"],
        "days": days_of(call.services.reader.days(space, None, None)["days"]),
    }


def historical(call: Call) -> Historical:
    """The days of a channel's 200 newest streams together, by default the last 30."""
    channel = _valid_id("channelId", call.params["id"])
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
    # One minute more, because the first point's chat activity is counted from the point before.
    points = call.services.history.points(head.space, now - HOUR - MINUTE, now)
    return real_time_data(head, points, now)


# ------------------------------------------------------------------------------------------ ingest


def happen(call: Call) -> Done:
    """Add engagement (chat, reaction, share) or, for servers, revenue.

    Engagement needs a session that is in the stream now, of which it counts as a message, or a
    token with the scope ``ingest``.

    Every request adds, so a client that repeats one after a lost response counts it twice.
    """
    space = _stream_space(call)
    event = parse(StreamEvent, call.request.json(), '{"type": "chat"}')
    also = None
    if event.type == "revenue":
        call.require_scope(Scope(Action.INGEST, space.id))
        if event.amount is None or event.count is not None:
            raise InvalidRequestError("revenue needs an amount, a number, and takes no count.")
        added = {REVENUE: event.amount}
        also = EARNED
    elif event.amount is not None:
        raise InvalidRequestError(f"{event.type} takes no amount. Send a count, or neither.")
    else:
        added = {event.type: float(event.count or 1)}
        if event.session_id is None or call.may_ingest(space):
            call.require_scope(Scope(Action.INGEST, space.id))
        else:
            call.record_events(space, event.session_id, min(event.count or 1, MAX_GROWTH))
            added = {event.type: float(min(event.count or 1, MAX_GROWTH))}
    call.services.counts.add_engagement(space.id, day_of(call.now), added, also=also)
    return {"success": True}


def report(call: Call) -> Done:
    """Store a server's measurements of a stream; they replace its last report.

    They count for 5 minutes.
    """
    space = _stream_space(call)
    body = parse(Report, call.request.json(), '{"source": "rtmp", "bandwidth": 4500}')
    counts = call.services.counts
    sources = counts.space(space.id).readings
    if body.source not in sources and len(sources) >= MAX_SOURCES:
        raise ConflictError(
            f"This stream has {MAX_SOURCES} sources already. Report under one of their names: "
            f"{', '.join(sorted(sources))}."
        )
    counts.put_reading(space.id, body.source, Reading(call.now, body.numbers))
    return {"success": True}


def _stream_space(call: Call) -> Space:
    return call.space(KIND, _stream_id(call))


def _stream_id(call: Call) -> str:
    return _valid_id("The stream's id", call.params["id"])


def _valid_id(name: str, value: str) -> str:
    if not ID.fullmatch(value):
        raise InvalidRequestError(f"{name} is not valid: use 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return value


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
            Query("status", "Only streams with this status", _STATUS),
            Query("channelId", "Only streams of this channel"),
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
        body=StreamEvent,
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
        query=DAYS,
        needs=Scope(Action.READ, f"{KIND}:*"),
    ),
]
