"""A clock that only tests move."""

from __future__ import annotations

from headcount.times import parse_iso

NOON = parse_iso("2026-11-21T12:00:00Z")
"""Where tests begin: a Saturday, far from midnight."""


class Clock:
    """Returns epoch milliseconds when called. Sleeping takes no time and advances it."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock; the code under test calls this instead of waiting."""
        self.slept.append(seconds)
        self.now += round(seconds * 1000)

    def advance(self, seconds: float) -> int:
        """Advance the clock, or set it back; returns the new time."""
        self.now += round(seconds * 1000)
        return self.now

    def set(self, time: str) -> int:
        """Set the clock to a time in ISO 8601; returns it."""
        self.now = parse_iso(time)
        return self.now
