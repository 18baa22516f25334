"""The counts that beats' answers carry, and what else a beat must know of its space."""

from __future__ import annotations

from headcount.store.summaries import SpaceSummary, SummariesTable
from headcount.times import SECOND

_LIFE = SECOND
_KEPT = 1_000
_NOTHING = SpaceSummary()


class SummaryCache:
    """Remembers each space's published count for a second, so that the counts which beats carry,
    the message to everyone and who is denied cost at most one half-unit read per space, second and
    process."""

    def __init__(self, table: SummariesTable) -> None:
        self._table = table
        self._seen: dict[str, tuple[int, SpaceSummary]] = {}  # space -> read at, what was there

    def summary(self, space: str, now: int) -> SpaceSummary:
        """As published a moment ago."""
        read_at, seen = self._seen.get(space, (-_LIFE, _NOTHING))
        if not 0 <= now - read_at < _LIFE:
            seen = self._table.summary(space)
            if len(self._seen) >= _KEPT:
                self._seen.clear()
            self._seen[space] = now, seen
        return seen
