"""Who is in a space at this moment, from the sessions themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headcount.model.tally import Tally, tally_of

if TYPE_CHECKING:
    from headcount.model.session import Session
    from headcount.model.space import Space
    from headcount.store.counts import CountsTable, SpaceCounts
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.presence import PresenceTable


@dataclass(frozen=True, slots=True)
class Present:
    """The people in a space, and sessions of theirs: all, or the first of a large space."""

    tally: Tally
    sessions: list[Session]


@dataclass(frozen=True, slots=True)
class LiveReader:
    """Reads three tables and nothing of the past. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    shards: int  # that new sessions are spread over
    clock: Callable[[], int]

    def now(self, space: Space, up_to: int) -> Present:
        """Who is in a space, counted by reading every row if it has at most ``up_to`` sessions;
        otherwise as published, with the first ``up_to`` of its sessions."""
        published = self.headcounts.get(space.id).tally
        if published.sessions > up_to:
            return Present(published, self.first(space, up_to))
        rows = self.rows(space, self.counts.space(space.id))
        now = self.clock()
        return Present(tally_of(rows, now), [row for row in rows if row.live(now)])

    def rows(self, space: Space, counted: SpaceCounts) -> list[Session]:
        """Every row of a space."""
        return [
            row
            for shard in shards_of(counted, at_least=self.shards)
            for row in self.presence.partition(space.id, shard)
        ]

    def first(self, space: Space, limit: int) -> list[Session]:
        """The first ``limit`` live sessions of a space."""
        now = self.clock()
        found: list[Session] = []
        for shard in shards_of(self.counts.space(space.id), at_least=self.shards):
            after: str | None = None
            while len(found) < limit:
                rows, after = self.presence.page(space.id, shard, limit=limit, after=after)
                found += [row for row in rows if row.live(now)]
                if after is None:
                    break
        return found[:limit]


def shards_of(counted: SpaceCounts, at_least: int) -> list[int]:
    """The shards with a count, and ``at_least`` this many."""
    return sorted({count.shard for count in counted.shards} | set(range(at_least)))
