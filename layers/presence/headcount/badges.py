"""The counts that beats' answers carry, and what else a beat must know of its space."""

from __future__ import annotations

from dataclasses import dataclass, field

from headcount.store.headcounts import Glance, HeadcountsTable
from headcount.times import SECOND

_LIFE = SECOND
_KEPT = 1_000
_NOTHING = Glance()


@dataclass(frozen=True, slots=True)
class Badges:
    """Remembers each space's published count for a second, so that the counts which beats carry,
    the message to everyone and who is denied cost at most one half-unit read per space, second and
    process."""

    headcounts: HeadcountsTable
    _seen: dict[str, tuple[int, Glance]] = field(default_factory=dict)
    """space -> read at, what was there"""

    def glance(self, space: str, now: int) -> Glance:
        """As published a moment ago."""
        read_at, seen = self._seen.get(space, (-_LIFE, _NOTHING))
        if not 0 <= now - read_at < _LIFE:
            seen = self.headcounts.glance(space)
            if len(self._seen) >= _KEPT:
                self._seen.clear()
            self._seen[space] = now, seen
        return seen
