"""Times: epoch milliseconds inside, ISO 8601 UTC outside, UTC days everywhere."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

CLOCKS_DIFFER = SECOND
"""The largest difference between two servers' clocks that is normal."""

CLOCK_WAS_WRONG = MINUTE
"""A time further in the future than this was written by a wrong clock, and is not waited for."""

LATEST = 2**32 * SECOND
"""All stored times are before this one, in 2106: some are stored as seconds in four bytes."""


def whole_seconds(millis: int) -> int:
    """Milliseconds as seconds, rounded up."""
    return -(-millis // SECOND)


def growing_wait(tries: int, first: float, longest: float, *, factor: float = 2.0) -> float:
    """How long to wait after this many failed tries: ``first``, each time ``factor`` times as long,
    at most ``longest``."""
    return min(longest, first * factor ** min(tries - 1, 20))  # a higher power could overflow


_EPOCH = datetime(1970, 1, 1)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def iso(millis: int) -> str:
    """``1764547200123`` -> ``2025-12-01T00:00:00.123Z``."""
    moment = _EPOCH + timedelta(milliseconds=millis)  # formatted in a third of strftime's time
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def parse_iso(text: str) -> int:
    """The inverse of ``iso``; a time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1000)
    except OverflowError as error:  # an offset that leads out of the calendar
        raise ValueError(text) from error


def day_of(millis: int) -> str:
    """The UTC day, ``2025-12-01``."""
    return _day(millis // DAY)


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    """The day with this number since 1970: formatting it takes longer than a beat's checks."""
    return f"{datetime.fromtimestamp(number * DAY // SECOND, UTC):%Y-%m-%d}"


def week_of(day: str) -> str:
    """The ISO week of a day, ``2025-W49``."""
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


def month_of(day: str) -> str:
    """The calendar month of a day, ``2025-12``."""
    return day[:7]


def parse_day(text: str) -> str:
    """A day in exactly the form ``YYYY-MM-DD``. Raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text).isoformat()


def day_start(day: str) -> int:
    """The first millisecond of a UTC day."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def add_days(day: str, count: int) -> str:
    """The day ``count`` days later (earlier when negative)."""
    return (date.fromisoformat(day) + timedelta(days=count)).isoformat()
