"""Times: epoch milliseconds inside, ISO 8601 UTC outside, UTC days everywhere."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

CLOCKS_DIFFER = SECOND
"""By how much the clocks of two servers may."""

CLOCK_WAS_WRONG = MINUTE
"""A time that lies farther ahead was written by a clock that was wrong: nobody waits for it."""

LATEST = 2**32 * SECOND
"""No time that is stored lies behind it, in 2106: some are kept in four bytes of seconds."""


def whole_seconds(millis: int) -> int:
    """Milliseconds as seconds, rounded up: how long to wait for all of them."""
    return -(-millis // SECOND)


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def iso(millis: int) -> str:
    """``1764547200123`` -> ``2025-12-01T00:00:00.123Z``."""
    moment = datetime.fromtimestamp(millis // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03d}Z"


def parse_iso(text: str) -> int:
    """The inverse of ``iso``; a time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1000)
    except OverflowError as error:  # an offset that leaves the calendar
        raise ValueError(text) from error


def day_of(millis: int) -> str:
    """The UTC day, ``2025-12-01``."""
    return f"{datetime.fromtimestamp(millis // 1000, UTC):%Y-%m-%d}"


def week_of(day: str) -> str:
    """The ISO week of a day, ``2025-W49``."""
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


def month_of(day: str) -> str:
    """The calendar month of a day, ``2025-12``."""
    return day[:7]


def parse_day(text: str) -> str:
    """A day as ``YYYY-MM-DD`` and nothing else. Raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text).isoformat()


def day_start(day: str) -> int:
    """The first millisecond of a UTC day."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def add_days(day: str, count: int) -> str:
    """The day ``count`` days later (earlier when negative)."""
    return (date.fromisoformat(day) + timedelta(days=count)).isoformat()
