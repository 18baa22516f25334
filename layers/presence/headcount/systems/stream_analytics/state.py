"""A headcount's numbers in the fields of stream dashboards. Pure.

A number for which there is no data is None, never invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from typing_extensions import TypedDict

from headcount.model.headcount import PRIVATE_PREFIX, Headcount, Point
from headcount.model.stream import Status, Stream, stream_in
from headcount.times import HOUR, MINUTE, day_of, iso

REPORT_LIFETIME = 5 * MINUTE
"""How long a server's report counts."""

CHAT, REACTION, SHARE = "chat", "reaction", "share"
ACTIONS = (CHAT, REACTION, SHARE)
REVENUE = f"{PRIVATE_PREFIX}revenue"
"""The name under which revenue is added up. Viewers' beats can't use it; public counts omit it."""

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
    """Engagement and revenue. ``perView``: chat, reactions and shares per view."""

    chatMessages: int | None
    reactions: int | None
    shares: int | None
    revenue: float | None
    revenueToday: float | None
    perView: float | None


class SourceData(TypedDict):
    """A server's latest report. ``stale``: too old to count."""

    at: str
    stale: bool
    numbers: dict[str, float]


def metrics_data(head: Headcount, now: int) -> MetricsData:
    """A stream's numbers as of a headcount."""
    return {
        "currentViewers": head.tally.people,
        "peakViewers": peak_viewers(head),
        "totalViews": head.views.total,
        "avgViewDuration": head.avg_seconds,
        "chatMessages": _engagement(head, CHAT),
        "bandwidth": _from_viewers_or_servers(head, "bandwidth", now),
        "quality": _mean(head, "quality"),
        "buffering": _sum(head, "buffering"),
        "errors": _sum(head, "errors"),
    }


def overview_data(
    heads: Iterable[Headcount], streams: Iterable[Stream], earned: Headcount, now: int
) -> OverviewData:
    """All streams together, from the headcounts of their spaces.

    ``earned`` has the revenue of all streams, watched or not. A stream is active if it is
    registered and live, or unregistered and has viewers.
    """
    every = list(heads)
    registered = {stream.id: stream.status for stream in streams}
    watched = {stream_in(head.space) for head in every if head.tally.people} - registered.keys()
    active = watched | {id_ for id_, status in registered.items() if status is Status.LIVE}
    active_heads = [head for head in every if stream_in(head.space) in active]
    return {
        "totalViewers": sum(head.tally.people for head in active_heads),
        "activeStreams": len(active),
        "revenueToday": revenue_today(earned, now),
        "avgEngagement": _per_view(active_heads),
        "errorRate": _average([error_rate(head, now) for head in active_heads]),
        "serverLoad": _average([_from_servers(head, "load", now) for head in active_heads]),
    }


def real_time_data(head: Headcount, points: Sequence[Point], now: int) -> RealTimeData:
    """The state of a stream's dashboard. ``points``: those of the last hour, or more."""
    return {
        "currentViewers": head.tally.people,
        "peakViewers": peak_viewers(head),
        "totalViews": head.views.total,
        "avgViewDuration": head.avg_seconds,
        "bandwidth": _from_viewers_or_servers(head, "bandwidth", now),
        "latency": _from_viewers_or_servers(head, "latency", now),
        "errorRate": error_rate(head, now),
        "uptime": _from_servers(head, "uptime", now),
        "chatMessages": _engagement(head, CHAT),
        "reactions": _engagement(head, REACTION),
        "shares": _engagement(head, SHARE),
        "geographicDistribution": _people(head, "country"),
        "deviceDistribution": _people(head, "device"),
        "viewerTimeline": timeline(head, points, now),
        "isConnected": True,
        "lastUpdated": iso(head.as_of or now),
        "error": None,
    }


def engagement_data(head: Headcount, now: int) -> EngagementData:
    """A stream's engagement and revenue."""
    return {
        "chatMessages": _engagement(head, CHAT),
        "reactions": _engagement(head, REACTION),
        "shares": _engagement(head, SHARE),
        "revenue": _rounded(head.engagement.get(REVENUE)),
        "revenueToday": revenue_today(head, now),
        "perView": _per_view([head]),
    }


def infrastructure_data(head: Headcount, now: int) -> dict[str, SourceData]:
    """The latest report of every source."""
    return {
        source: {
            "at": iso(reading.at),
            "stale": not _is_fresh(reading.at, now),
            "numbers": dict(reading.numbers),
        }
        for source, reading in sorted(head.readings.items())
    }


def timeline(head: Headcount, points: Sequence[Point], now: int) -> list[TimelinePoint]:
    """A point for each minute of the last hour with viewers, and one for now.

    ``chatActivity`` is None if no earlier point is known, or if no one has chatted yet.
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
    """The error rate that servers report, or else the mean of the errors that viewers report."""
    reported = _from_servers(head, "errorRate", now)
    return reported if reported is not None else _mean(head, "errors")


def revenue_today(head: Headcount, now: int) -> float | None:
    """The revenue of this UTC day; None for a stream that never had any."""
    if REVENUE not in head.engagement:
        return None
    today = head.engagement_today if day_of(head.as_of) == day_of(now) else {}
    return _rounded(today.get(REVENUE, 0))


def peak_viewers(head: Headcount) -> int:
    """The highest number of people, ever published or now."""
    return max(head.tally.people, head.peak.people if head.peak else 0)


def _engagement(head: Headcount, name: str) -> int | None:
    number = head.engagement.get(name)
    return None if number is None else round(number)


def _mean(head: Headcount, name: str) -> float | None:
    sessions, total = head.tally.quality.get(name, (0, 0.0))
    return _rounded(total / sessions) if sessions else None


def _sum(head: Headcount, name: str) -> float | None:
    sessions, total = head.tally.quality.get(name, (0, 0.0))
    return _rounded(total) if sessions else None


def _from_servers(head: Headcount, name: str, now: int) -> float | None:
    fresh = (one.numbers for one in head.readings.values() if _is_fresh(one.at, now))
    return _average([numbers.get(name) for numbers in fresh])


def _from_viewers_or_servers(head: Headcount, name: str, now: int) -> float | None:
    mean = _mean(head, name)
    return mean if mean is not None else _from_servers(head, name, now)


def _is_fresh(at: int, now: int) -> bool:
    return at > now - REPORT_LIFETIME


def _people(head: Headcount, facet: str) -> dict[str, int]:
    values = head.tally.facets.get(facet, {})
    return {value: people for value, (_, people) in values.items() if people}


def _per_view(heads: Sequence[Headcount]) -> float | None:
    done = total([head.engagement.get(name) for head in heads for name in ACTIONS])
    views = sum(head.views.total for head in heads)
    return None if done is None or not views else _rounded(done / views)


def total(numbers: Iterable[float | None]) -> float | None:
    """The sum of the numbers that are not None; None if there are none."""
    known = [number for number in numbers if number is not None]
    return _rounded(sum(known)) if known else None


def _average(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return _rounded(sum(known) / len(known)) if known else None


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, _DECIMALS)
