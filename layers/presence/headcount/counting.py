"""``count``: recount what changed, and keep the ledger of visits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headcount.session import Session, Write
from headcount.stays import Stay, latest
from headcount.store.counts import Count, CountsTable
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import tally_of
from headcount.times import SECOND
from headcount.visits import Visit

_TRIES = 20
"""Each lost race means that another recount of the same shard went through."""


def pace(rows: int) -> int:
    """Milliseconds between recounts of a shard: 1 s up to 300 rows, 5 s from 1,000 rows on.

    A recount reads every row, so its cost per second is held under a tenth of the beats'.
    """
    return max(SECOND, min(5 * SECOND, SECOND + (rows - 300) * 4 * SECOND // 700))


@dataclass(frozen=True, slots=True)
class Counter:
    """What counting needs. ``clock`` gives epoch milliseconds, ``sleep`` takes seconds."""

    presence: PresenceTable
    counts: CountsTable
    visits: VisitsTable
    clock: Callable[[], int]
    sleep: Callable[[float], None]

    def count(self, written: Iterable[Session]) -> None:
        """Handle a batch of joins, changes and leaves: the ledger first, then the numbers.

        Whoever reads the numbers finds the views that led to them. Every step may be repeated.
        """
        batch = list(written)
        self.settle(batch)
        by_shard: dict[tuple[str, int], list[Session]] = defaultdict(list)
        for session in batch:
            by_shard[session.space, session.shard].append(session)
        due = []
        for space, shard in by_shard:
            last = self.counts.shard(space, shard)
            due.append((last.counted_at + pace(last.rows) if last.version else 0, space, shard))
        for at, space, shard in sorted(due):
            wait = at - self.clock()
            # Beyond its longest pace a wait can only come from a clock that stepped back.
            self.sleep(max(0, min(wait, 5 * SECOND)) / 1000)
            self.recount(space, shard, by_shard[space, shard])

    def settle(self, written: Iterable[Session]) -> None:
        """Record the visits that began or ended."""
        began: dict[str, Visit] = {}
        ended: dict[str, Visit] = {}
        for session in written:
            if not session.visit or moved_away(session):
                continue
            visit = Visit.of(session)
            if session.write is Write.JOIN:
                began[visit.id] = visit
            elif visit.ended_at is not None:
                ended[visit.id] = visit
        # A visit that began and ended in one batch is one row, written once.
        self.visits.record(ended.get(id_, visit) for id_, visit in began.items())
        self.visits.end(visit for id_, visit in ended.items() if id_ not in began)

    def recount(self, space: str, shard: int, written: Iterable[Session] = ()) -> Count:
        """Read the shard and write its numbers absolutely.

        The visits that ended are in its rows, but for a session's that came back since: that one
        is among those ``written``.

        The version is read before the sessions: if anybody wrote a recount in between, theirs may
        rest on newer rows than ours, so ours is not written but made again.
        """
        gone = stays_in(written)
        for _ in range(_TRIES):
            before = self.counts.shard(space, shard)
            now = self.clock()
            rows = self.presence.partition(space, shard)
            count = Count(
                space=space,
                shard=shard,
                version=before.version + 1,
                tally=tally_of(rows, now),
                rows=len(rows),
                counted_at=now,
                stays=latest(before.stays, stays_in(rows), gone),
            )
            if self.counts.save(count):
                return count
        raise RecountContendedError(f"{space} shard {shard}: lost {_TRIES} races")


def stays_in(rows: Iterable[Session]) -> list[Stay]:
    """The visits among a shard's rows that have ended."""
    return [
        Stay.of(row)
        for row in rows
        if row.ended and row.visit and row.ended_at is not None and not moved_away(row)
    ]


class RecountContendedError(RuntimeError):
    """Other recounts kept winning; the stream tries the batch again."""
