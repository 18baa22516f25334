"""The counts that beats' answers carry."""

from __future__ import annotations

from dataclasses import dataclass, field

from headcount.store.headcounts import HeadcountsTable
from headcount.times import SECOND

_LIFE = SECOND
_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Badges:
    """Remembers each space's published count for a second, so that the counts which beats carry
    cost at most one half-unit read per space, second and process."""

    headcounts: HeadcountsTable
    _counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """space -> read at, people, version"""

    def people(self, space: str, now: int) -> tuple[int, int]:
        """(people, version) as published a moment ago."""
        read_at, people, version = self._counts.get(space, (-_LIFE, 0, 0))
        if not 0 <= now - read_at < _LIFE:
            people, version = self.headcounts.people(space)
            if len(self._counts) >= _KEPT:
                self._counts.clear()
            self._counts[space] = now, people, version
        return people, version
