"""Days of one stream or of a channel's, in the documented fields. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import TypedDict

from headcount.systems.stream_analytics.state import CHAT, REACTION, REVENUE, SHARE, total


class DayData(TypedDict):
    """A UTC day. ``uniqueViewers`` are added up over streams, ``peakViewers`` is the highest of
    any, ``avgViewDuration`` the mean over all visits, in seconds within the day."""

    date: str
    uniqueViewers: int
    views: int
    peakViewers: int
    avgViewDuration: int
    chatMessages: int | None
    reactions: int | None
    shares: int | None
    revenue: float | None


def days_of(rows: Iterable[Mapping[str, Any]]) -> list[DayData]:
    """Days, oldest first, from the rows of ``GET /v1/spaces/{space}/days`` of each stream."""
    by_date: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_date[row["date"]].append(row)
    return [_day(date, by_date[date]) for date in sorted(by_date)]


def _day(date: str, rows: list[Mapping[str, Any]]) -> DayData:
    return {
        "date": date,
        "uniqueViewers": sum(row["uniquePeople"] for row in rows),
        "views": sum(row["views"] for row in rows),
        "peakViewers": max(row["peak"] for row in rows),
        "avgViewDuration": _average_seconds(rows),
        "chatMessages": _count(rows, CHAT),
        "reactions": _count(rows, REACTION),
        "shares": _count(rows, SHARE),
        "revenue": total(row["engagement"].get(REVENUE) for row in rows),
    }


def _average_seconds(rows: list[Mapping[str, Any]]) -> int:
    # A visit that began the day before is no view of this day, but lasts in it.
    visits: list[int] = [max(row["views"], row["uniqueSessions"]) for row in rows]
    spent: int = sum(number * row["avgSeconds"] for number, row in zip(visits, rows, strict=True))
    return round(spent / max(1, sum(visits)))


def _count(rows: list[Mapping[str, Any]], name: str) -> int | None:
    done = total(row["engagement"].get(name) for row in rows)
    return None if done is None else round(done)
