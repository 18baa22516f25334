"""What goes wrong, how often, and how often it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random

CALLS = ("throttled", "server error", "timeout before the effect", "timeout after the effect")
CONFLICT = "transaction conflict"
CRASH = "crash between two calls"
STALL = "stall"
CLOCK_BACK = "clock stepped back"
BATCH_TWICE = "batch handed over twice"
BATCH_REPLAYED = "old batch replayed"
BATCH_DROPPED = "batch dropped"
BATCH_DELAYED = "batch delayed"
POISON = "poison record"
BATCH_PARKED = "batch parked"
MESSAGE_TWICE = "queued message twice"
ENTRY_NOT_TAKEN = "event not taken by the bus"
SWEEP_LATE = "cleanup late"
SWEEP_SKIPPED = "cleanup skipped"
SWEEP_TWICE = "cleanup twice at once"
DAILY_TWICE = "daily run again"
TTL_LATE = "TTL behind"
GONE = "connection gone without a word"
SLOW_POST = "post timed out"
REQUEST_TWICE = "request sent several times"
REQUEST_LOST = "answer lost"
OVERTAKEN = "leave while a beat is under way"

RATES: Mapping[str, float] = {
    "throttled": 0.010,
    "server error": 0.005,
    "timeout before the effect": 0.005,
    "timeout after the effect": 0.010,
    CONFLICT: 0.05,
    CRASH: 0.006,
    STALL: 0.012,
    CLOCK_BACK: 0.02,
    BATCH_TWICE: 0.05,
    BATCH_REPLAYED: 0.12,
    BATCH_DROPPED: 0.02,
    BATCH_DELAYED: 0.05,
    POISON: 0.02,
    MESSAGE_TWICE: 0.1,
    ENTRY_NOT_TAKEN: 0.1,
    SWEEP_LATE: 0.1,
    SWEEP_SKIPPED: 0.1,
    SWEEP_TWICE: 0.1,
    SLOW_POST: 0.02,
    REQUEST_TWICE: 0.1,
    REQUEST_LOST: 0.03,
}
"""How likely each is where it may happen, in ordinary weather."""


class Faults:
    """The weather of one simulation: which kinds there are, and how bad each is."""

    def __init__(self, random: Random, note: Callable[[str], None]) -> None:
        self.random = random
        self.on = True
        self.injected: Counter[str] = Counter()
        self._note = note
        # Each schedule leaves some kinds out and has others in plenty: all at once, at the same
        # rate in every schedule, would hide what only a few of them do together.
        self.rates = {kind: rate * random.choice((0, 0.5, 1, 1, 3)) for kind, rate in RATES.items()}
        self._of_calls: dict[tuple[str, ...], float] = {}

    def strikes(self, kind: str) -> bool:
        """Whether this goes wrong now."""
        if not self.on or self.random.random() >= self.rates[kind]:
            return False
        self.count(kind)
        return True

    def of_call(self, kinds: tuple[str, ...]) -> str | None:
        """What of these a call meets, if anything."""
        if not self.on:
            return None
        if kinds not in self._of_calls:
            self._of_calls[kinds] = sum(self.rates[kind] for kind in kinds)
        left = self.random.random()
        if left >= self._of_calls[kinds]:
            return None
        for kind in kinds:
            left -= self.rates[kind]
            if left < 0:
                self.count(kind)
                return kind
        return None

    def count(self, kind: str) -> None:
        """Something went wrong on purpose."""
        self.injected[kind] += 1
        self._note(f"FAULT {kind}")
