"""``count``: recount what changed, and keep the ledger of visits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from headcount.session import Session, Write
from headcount.stays import Stay, Stays, latest
from headcount.store.counts import Count, CountsTable
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import tally_of
from headcount.times import SECOND
from headcount.visits import Visit

PATIENCE = SECOND
"""How long a batch waits for recounts that are not due yet: the spaces behind it wait with it."""

CLOCKS_DIFFER = SECOND
"""By how much the clocks of two servers may."""

_SLOWEST_PACE = 5 * SECOND
_LIVELY, _LARGE = 30, 300
"""Rows of a shard up to which, and from which on, its pace stays the same."""
_TRIES = 20
"""Each lost race means that another recount of the same shard went through."""


def pace(rows: int) -> int:
    """Milliseconds between recounts of a shard: 1 s up to 30 rows, 5 s from 300 rows on.

    A recount and its version cost about as much for 30 rows as for 120, so a viewer of a hundred
    pays most for them. A large shard's recount costs by the row: what is paid for a viewer-hour
    depends on the pace alone. In between it is logarithmic. Slower would be cheaper still, but
    people watch these numbers. docs/cost.md has the figures.
    """
    grown = math.log(max(rows, _LIVELY) / _LIVELY) / math.log(_LARGE / _LIVELY)
    return min(_SLOWEST_PACE, round(SECOND + (_SLOWEST_PACE - SECOND) * grown))


class Later(Protocol):
    """Where recounts are left that are not due for a while."""

    def recount(self, space: str, shard: int, *, at: int, stays: Stays, after: int) -> None:
        """Have a shard recounted in ``after`` seconds, unless one that began after ``at`` (epoch
        milliseconds) is there by then. ``stays`` are the visits that ended in the batch."""


@dataclass(frozen=True, slots=True)
class Recounter:
    """What recounting needs. ``clock`` gives epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    clock: Callable[[], int]

    def recount(self, space: str, shard: int, gone: Iterable[Stay] = ()) -> Count:
        """Read the shard and write its numbers absolutely.

        The visits that ended are in its rows, but for a session's that came back since: that one
        is among those ``gone``.

        The version is read before the sessions: if anybody wrote a recount in between, theirs may
        rest on newer rows than ours, so ours is not written but made again.
        """
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

    def recount_since(self, space: str, shard: int, *, at: int, gone: Stays) -> None:
        """Recount a shard, unless a recount that began after ``at`` holds what was known then.

        One that seems to come from the future is from before a clock stepped back: it says nothing.
        """
        last = self.counts.shard(space, shard)
        began_after = at + CLOCKS_DIFFER < last.counted_at <= self.clock() + CLOCKS_DIFFER
        if not began_after or latest(last.stays, gone) != last.stays:
            self.recount(space, shard, gone)


@dataclass(frozen=True, slots=True)
class Counter:
    """What counting needs. ``clock`` gives epoch milliseconds, ``sleep`` takes seconds.

    ``left`` is when the recounts that this process left for later are run, at the earliest.
    """

    recounter: Recounter
    later: Later
    visits: VisitsTable
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    left: dict[tuple[str, int], int] = field(default_factory=dict)

    def count(self, written: Iterable[Session]) -> None:
        """Handle a batch of joins, changes and leaves: the ledger first, then the numbers.

        Whoever reads the numbers finds the views that led to them. What was done in visits that
        ended joins the totals last, when no recount holds it as going on any more: a version in
        between would say it twice, and these numbers never fall. Every step may be repeated.
        A space whose pace has it wait longer than the others should is left for later.
        """
        batch = list(written)
        engaged = self.settle(batch)
        busy = {(session.space, session.shard) for session in batch if _engaged_to_the_end(session)}
        by_shard: dict[tuple[str, int], list[Session]] = defaultdict(list)
        for session in batch:
            by_shard[session.space, session.shard].append(session)
        due = []
        for space, shard in by_shard:
            last = self.recounter.counts.shard(space, shard)
            due.append((last.counted_at + pace(last.rows) if last.version else 0, space, shard))
        start = self.clock()
        for at, space, shard in sorted(due):
            gone = latest(stays_in(by_shard[space, shard]))
            calm = (space, shard) not in busy
            left = calm and self._left(space, shard, start)
            if left and not gone:
                continue
            if left or (calm and at - start > PATIENCE):
                self._leave(space, shard, start=start, wait=at - start, gone=gone)
                continue
            self.sleep(max(0, min(at - self.clock(), _SLOWEST_PACE)) / 1000)
            self.recounter.recount(space, shard, gone)
        self.visits.end(engaged)

    def _leave(self, space: str, shard: int, *, start: int, wait: int, gone: Stays) -> None:
        """Leave a recount for later.

        It speaks for every batch of this process that begins before it is run, so no recount of
        before that makes it needless. Behind one that was left already only a batch's visits are
        to be told: should that one hold them, nothing is recounted.
        """
        # Beyond the slowest pace a wait can only come from a clock that stepped back.
        wait = min(wait, _SLOWEST_PACE)
        if left := self._left(space, shard, start):
            after = -(-max(wait, left + SECOND) // SECOND)
            self.later.recount(space, shard, at=start, stays=gone, after=after)
            return
        after = -(-wait // SECOND)
        at = start + after * SECOND
        self.later.recount(space, shard, at=at, stays=gone, after=after)
        self.left[space, shard] = at

    def _left(self, space: str, shard: int, start: int) -> int:
        """Milliseconds until a recount that was left is run, at the earliest; 0: there is none."""
        left = self.left.get((space, shard), 0) - start
        return left if 0 < left <= _SLOWEST_PACE else 0  # or the clock stepped back

    def settle(self, written: Iterable[Session]) -> list[Visit]:
        """Record the visits that began or ended, but for those ended ones that it returns: what was
        done in them is still to be added up."""
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
        engaged = {id_: ended.pop(id_) for id_ in list(ended) if ended[id_].engagement}
        # A visit that began and ended in one batch is one row, written once.
        self.visits.record(ended.get(id_, visit) for id_, visit in began.items())
        self.visits.end(visit for id_, visit in ended.items() if id_ not in began)
        return list(engaged.values())


def _engaged_to_the_end(session: Session) -> bool:
    return session.ended and bool(session.riding.engagement)


def stays_in(rows: Iterable[Session]) -> list[Stay]:
    """The visits among a shard's rows that have ended."""
    return [
        Stay.of(row)
        for row in rows
        if row.ended and row.visit and row.ended_at is not None and not moved_away(row)
    ]


class RecountContendedError(RuntimeError):
    """Other recounts kept winning; the stream tries the batch again."""
