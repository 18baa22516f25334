"""A clock that only moves when told to."""

from __future__ import annotations

from headcount.times import parse_iso

NOON = parse_iso("2026-11-21T12:00:00Z")
"""Where tests begin: a Saturday, far from midnight."""


class Clock:
    """Epoch milliseconds when called. Sleeping takes no time and moves it on."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        """What the code under test calls instead of waiting."""
        self.slept.append(seconds)
        self.now += round(seconds * 1000)

    def advance(self, seconds: float) -> int:
        """Let time pass (backwards too); returns the new time."""
        self.now += round(seconds * 1000)
        return self.now

    def set(self, time: str) -> int:
        """Go to a time in ISO 8601; returns it."""
        self.now = parse_iso(time)
        return self.now
