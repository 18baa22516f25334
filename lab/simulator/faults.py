"""The kinds of faults, their rates, and how often each was injected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random

CALLS = ("throttled", "server error", "timeout before the effect", "timeout after the effect")
CONFLICT = "transaction conflict"
UNPROCESSED = "unprocessed items of a batch"
CRASH = "crash between two calls"
STALL = "stall"
CLOCK_BACK = "clock stepped back"
BATCH_TWICE = "batch delivered twice"
BATCH_REPLAYED = "old batch replayed"
BATCH_DROPPED = "batch dropped"
BATCH_DELAYED = "batch delayed"
POISON = "poison record"
BATCH_EXPIRED = "batch too old to retry"
MESSAGE_TWICE = "queued message twice"
OUT_OF_SIGHT = "message back after the visibility timeout"
GROUP_WAITS = "FIFO group blocked by its first message"
HOPS = "more than 16 runs in a chain of messages"
ENTRY_REFUSED = "event refused by the bus"
SWEEP_LATE = "cleanup late"
SWEEP_SKIPPED = "cleanup skipped"
SWEEP_TWICE = "cleanup twice at once"
DAILY_TWICE = "daily run again"
TTL_LATE = "TTL late"
SLOW_POST = "post timed out"
REQUEST_TWICE = "request sent several times"
REQUEST_LOST = "response lost"
OVERTAKEN = "leave overtakes a beat"

RATES: Mapping[str, float] = {
    "throttled": 0.010,
    "server error": 0.005,
    "timeout before the effect": 0.005,
    "timeout after the effect": 0.010,
    CONFLICT: 0.05,
    UNPROCESSED: 0.1,
    CRASH: 0.006,
    STALL: 0.012,
    CLOCK_BACK: 0.02,
    BATCH_TWICE: 0.05,
    BATCH_REPLAYED: 0.12,
    BATCH_DROPPED: 0.02,
    BATCH_DELAYED: 0.05,
    POISON: 0.02,
    MESSAGE_TWICE: 0.1,
    ENTRY_REFUSED: 0.1,
    SWEEP_LATE: 0.1,
    SWEEP_SKIPPED: 0.1,
    SWEEP_TWICE: 0.1,
    SLOW_POST: 0.02,
    REQUEST_TWICE: 0.1,
    REQUEST_LOST: 0.03,
}
"""The basic probability of each kind, wherever it may happen."""

_LASTS = 150_000
"""Milliseconds after which a fault has no effect on what is sent: longer than a stall, and than a
chunk of a count waits."""


class Faults:
    """Injects faults into one simulation, each kind at its own rate."""

    def __init__(
        self, random: Random, note: Callable[[str], None], clock: Callable[[], int]
    ) -> None:
        self.random = random
        self.on = True
        self.injected: Counter[str] = Counter()
        self._last = 0
        self._note = note
        self._clock = clock
        # Each schedule omits some kinds and has many of others: with all kinds at the same rate in
        # every schedule, combinations of only a few would never occur.
        self.rates = {kind: rate * random.choice((0, 0.5, 1, 1, 3)) for kind, rate in RATES.items()}
        self._of_calls: dict[tuple[str, ...], float] = {}

    def strikes(self, kind: str) -> bool:
        """Draw whether this fault happens now, and count it."""
        if not self.on or self.random.random() >= self.rates[kind]:
            return False
        self.count(kind)
        return True

    def of_call(self, kinds: tuple[str, ...]) -> str | None:
        """Draw which of these faults a call has, if any."""
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

    def recent(self, now: int) -> bool:
        """Whether there was a fault whose effect may not be over."""
        return now - self._last < _LASTS

    def count(self, kind: str) -> None:
        """Count a fault, and note it in the trace."""
        self.injected[kind] += 1
        self._last = self._clock()
        self._note(f"FAULT {kind}")
