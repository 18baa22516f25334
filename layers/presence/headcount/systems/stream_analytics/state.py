"""A headcount's numbers as the fields that stream dashboards know. Pure.

A number that nothing came in for is None, never invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from typing_extensions import TypedDict

from headcount.headcounts import PRIVATE, Headcount
from headcount.store.history import Point
from headcount.streams import Status, Stream, stream_in
from headcount.times import HOUR, MINUTE, day_of, iso

FRESH = 5 * MINUTE
"""How long what a server reported counts."""

CHAT, REACTION, SHARE = "chat", "reaction", "share"
ACTIONS = (CHAT, REACTION, SHARE)
REVENUE = f"{PRIVATE}revenue"
"""Under this name revenue is added up: no viewer's beat can say it, and public counts omit it."""

_DECIMALS = 6


class MetricsData(TypedDict):
    """A stream's numbers: the ``data`` of a ``metrics`` message."""

    currentViewers: int
    peakViewers: int
    totalViews: int
    avgViewDuration: int | None
    chatMessages: int | None
    bandwidth: float | None
    quality: float | None
    buffering: float | None
    errors: float | None


class OverviewData(TypedDict):
    """All streams' numbers: the ``data`` of an ``analytics`` message."""

    totalViewers: int
    activeStreams: int
    revenueToday: float | None
    avgEngagement: float | None
    errorRate: float | None
    serverLoad: float | None


class TimelinePoint(TypedDict):
    """A minute's sample. ``chatActivity``: messages since the point before."""

    timestamp: str
    viewers: int
    chatActivity: int | None


class RealTimeData(TypedDict):
    """The state of a stream's dashboard."""

    currentViewers: int
    peakViewers: int
    totalViews: int
    avgViewDuration: int | None
    bandwidth: float | None
    latency: float | None
    errorRate: float | None
    uptime: float | None
    chatMessages: int | None
    reactions: int | None
    shares: int | None
    geographicDistribution: dict[str, int]
    deviceDistribution: dict[str, int]
    viewerTimeline: list[TimelinePoint]
    isConnected: bool
    lastUpdated: str
    error: None


class EngagementData(TypedDict):
    """What viewers did, and what came in; ``perView``: chat, reactions and shares per view."""

    chatMessages: int | None
    reactions: int | None
    shares: int | None
    revenue: float | None
    revenueToday: float | None
    perView: float | None


class SourceData(TypedDict):
    """What a server reported last. ``stale``: too long ago to count."""

    at: str
    stale: bool
    numbers: dict[str, float]


def metrics_data(head: Headcount, now: int) -> MetricsData:
    """The documented numbers of a stream, as of a headcount."""
    return {
        "currentViewers": head.tally.people,
        "peakViewers": peak_viewers(head),
        "totalViews": head.views.total,
        "avgViewDuration": head.avg_seconds,
        "chatMessages": _done(head, CHAT),
        "bandwidth": _viewers_or_servers(head, "bandwidth", now),
        "quality": _mean(head, "quality"),
        "buffering": _sum(head, "buffering"),
        "errors": _sum(head, "errors"),
    }


def overview_data(
    heads: Iterable[Headcount], streams: Iterable[Stream], earned: Headcount, now: int
) -> OverviewData:
    """All streams together, from the headcounts of their spaces.

    ``earned`` has the revenue of all streams, watched or not.
    Active are registered streams that are live, and unregistered ones that have viewers.
    """
    every = list(heads)
    status = {stream.id: stream.status for stream in streams}
    watched = {stream_in(head.space) for head in every if head.tally.people} - status.keys()
    active = watched | {stream for stream, said in status.items() if said is Status.LIVE}
    here = [head for head in every if stream_in(head.space) in active]
    return {
        "totalViewers": sum(head.tally.people for head in here),
        "activeStreams": len(active),
        "revenueToday": revenue_today(earned, now),
        "avgEngagement": _per_view(here),
        "errorRate": _average([error_rate(head, now) for head in here]),
        "serverLoad": _average([_servers(head, "load", now) for head in here]),
    }


def real_time_data(head: Headcount, points: Sequence[Point], now: int) -> RealTimeData:
    """The state of a stream's dashboard. ``points``: the last hour's, and any before."""
    return {
        "currentViewers": head.tally.people,
        "peakViewers": peak_viewers(head),
        "totalViews": head.views.total,
        "avgViewDuration": head.avg_seconds,
        "bandwidth": _viewers_or_servers(head, "bandwidth", now),
        "latency": _viewers_or_servers(head, "latency", now),
        "errorRate": error_rate(head, now),
        "uptime": _servers(head, "uptime", now),
        "chatMessages": _done(head, CHAT),
        "reactions": _done(head, REACTION),
        "shares": _done(head, SHARE),
        "geographicDistribution": _people(head, "country"),
        "deviceDistribution": _people(head, "device"),
        "viewerTimeline": timeline(head, points, now),
        "isConnected": True,
        "lastUpdated": iso(head.as_of or now),
        "error": None,
    }


def engagement_data(head: Headcount, now: int) -> EngagementData:
    """What viewers did in a stream, and what it earned."""
    return {
        "chatMessages": _done(head, CHAT),
        "reactions": _done(head, REACTION),
        "shares": _done(head, SHARE),
        "revenue": _rounded(head.engagement.get(REVENUE)),
        "revenueToday": revenue_today(head, now),
        "perView": _per_view([head]),
    }


def infrastructure_data(head: Headcount, now: int) -> dict[str, SourceData]:
    """The last report of every source."""
    return {
        source: {
            "at": iso(reading.at),
            "stale": not _fresh(reading.at, now),
            "numbers": dict(reading.numbers),
        }
        for source, reading in sorted(head.readings.items())
    }


def timeline(head: Headcount, points: Sequence[Point], now: int) -> list[TimelinePoint]:
    """A point for each minute of the last hour with anyone in the stream, and this moment.

    ``chatActivity`` is None where there is no point before, or nobody ever chatted.
    """
    moments = [
        (point.at, point.people, point.engagement.get(CHAT)) for point in points if point.at < now
    ]
    moments.append((now, head.tally.people, head.engagement.get(CHAT)))
    before = [None, *moments]
    return [
        {
            "timestamp": iso(at),
            "viewers": people,
            "chatActivity": None
            if earlier is None or chat is None
            else max(0, round(chat - (earlier[2] or 0))),
        }
        for (at, people, chat), earlier in zip(moments, before, strict=False)
        if at >= now - HOUR
    ]


def error_rate(head: Headcount, now: int) -> float | None:
    """What servers report, else the mean number of errors of the viewers that report them."""
    reported = _servers(head, "errorRate", now)
    return reported if reported is not None else _mean(head, "errors")


def revenue_today(head: Headcount, now: int) -> float | None:
    """What came in on this UTC day; None for a stream that no revenue was ever reported of."""
    if REVENUE not in head.engagement:
        return None
    today = head.engagement_today if day_of(head.as_of) == day_of(now) else {}
    return _rounded(today.get(REVENUE, 0))


def peak_viewers(head: Headcount) -> int:
    """The most people ever published, or here now."""
    return max(head.tally.people, head.peak.people if head.peak else 0)


def _done(head: Headcount, name: str) -> int | None:
    done = head.engagement.get(name)
    return None if done is None else round(done)


def _mean(head: Headcount, name: str) -> float | None:
    sessions, total = head.tally.quality.get(name, (0, 0.0))
    return _rounded(total / sessions) if sessions else None


def _sum(head: Headcount, name: str) -> float | None:
    sessions, total = head.tally.quality.get(name, (0, 0.0))
    return _rounded(total) if sessions else None


def _servers(head: Headcount, name: str, now: int) -> float | None:
    fresh = (one.numbers for one in head.readings.values() if _fresh(one.at, now))
    return _average([numbers.get(name) for numbers in fresh])


def _viewers_or_servers(head: Headcount, name: str, now: int) -> float | None:
    said = _mean(head, name)
    return said if said is not None else _servers(head, name, now)


def _fresh(at: int, now: int) -> bool:
    return at > now - FRESH


def _people(head: Headcount, facet: str) -> dict[str, int]:
    values = head.tally.facets.get(facet, {})
    return {value: people for value, (_, people) in values.items() if people}


def _per_view(heads: Sequence[Headcount]) -> float | None:
    done = total([head.engagement.get(name) for head in heads for name in ACTIONS])
    views = sum(head.views.total for head in heads)
    return None if done is None or not views else _rounded(done / views)


def total(numbers: Iterable[float | None]) -> float | None:
    """Their sum; None where there is none."""
    said = [number for number in numbers if number is not None]
    return _rounded(sum(said)) if said else None


def _average(numbers: Iterable[float | None]) -> float | None:
    said = [number for number in numbers if number is not None]
    return _rounded(sum(said) / len(said)) if said else None


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, _DECIMALS)
