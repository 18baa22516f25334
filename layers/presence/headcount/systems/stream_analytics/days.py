"""Days of a stream or of all streams of a channel, in the documented fields. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from typing_extensions import TypedDict

from headcount.systems.stream_analytics.state import CHAT, REACTION, REVENUE, SHARE, total
from headcount.web.answers import Day


class DayData(TypedDict):
    """A UTC day. ``uniqueViewers`` is the sum over the streams, ``peakViewers`` the highest of any
    stream, ``avgViewDuration`` the mean over all visits, in seconds within the day."""

    date: str
    uniqueViewers: int
    views: int
    peakViewers: int
    avgViewDuration: int
    chatMessages: int | None
    reactions: int | None
    shares: int | None
    revenue: float | None


def days_of(rows: Iterable[Day]) -> list[DayData]:
    """Days, oldest first, from the rows of ``GET /v1/spaces/{space}/days`` of each stream."""
    by_date: dict[str, list[Day]] = defaultdict(list)
    for row in rows:
        by_date[row["date"]].append(row)
    return [_merged(date, by_date[date]) for date in sorted(by_date)]


def _merged(date: str, rows: list[Day]) -> DayData:
    return {
        "date": date,
        "uniqueViewers": sum(row["uniquePeople"] for row in rows),
        "views": sum(row["views"] for row in rows),
        "peakViewers": max(row["peak"] for row in rows),
        "avgViewDuration": _average_seconds(rows),
        "chatMessages": _engagement(rows, CHAT),
        "reactions": _engagement(rows, REACTION),
        "shares": _engagement(rows, SHARE),
        "revenue": total(row["engagement"].get(REVENUE) for row in rows),
    }


def _average_seconds(rows: list[Day]) -> int:
    # A visit that began the day before is not a view of this day, but continues in it.
    visits = [max(row["views"], row["uniqueSessions"]) for row in rows]
    spent = sum(number * row["avgSeconds"] for number, row in zip(visits, rows, strict=True))
    return round(spent / max(1, sum(visits)))


def _engagement(rows: list[Day], name: str) -> int | None:
    done = total(row["engagement"].get(name) for row in rows)
    return None if done is None else round(done)
