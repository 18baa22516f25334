"""Is what is published what a fresh recount gives? The cleanup acts on it, ``explain`` shows it.

A number that differs is wrong only when nothing that is still on its way explains it: a write is
counted and published seconds after it was made, and a lease that ran out is ended by the next
sweep. So a difference is *drift* when

- nothing is on its way: no session of the shard was written in the last ``SETTLING``, no lease ran
  out that is not ended yet; or, where counts are right and not what is published, no count was
  written in that time; or
- something is overdue: a write older than ``SETTLING`` that no recount (no version) came after; of
  a space whose versions wait for the fan-out, ``HELD_UP`` later.

A row that can't be read is drift, too: nothing brings it right but a row in its place.

What is on its way is left alone: a recount would hide what became of it. If it got lost, nothing is
on its way any more when the next sweep looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from headcount.headcounts import LONGEST_PACE, Headcount
from headcount.session import Session, Write
from headcount.store.counts import Count, CountsTable
from headcount.store.headcounts import HeadcountsTable
from headcount.store.presence import PresenceTable, moved_away
from headcount.tally import Tally, Tallying, merge
from headcount.times import CLOCK_WAS_WRONG, CLOCKS_DIFFER, MINUTE, SECOND

SETTLING = 30 * SECOND
"""A write takes about 1 s to reach ``count``, up to 11 s until a large shard's recount is due and
about 1 s to be published; and to read a shard of 30,000 sessions may take longer than all of
that."""

HELD_UP = LONGEST_PACE + SETTLING
"""How long a version of a space that is told in chunks may wait for the fan-out. Counts go on
meanwhile: should they stop, it is seen as soon as elsewhere."""


def lately(written_at: int, now: int) -> bool:
    """Whether what was written then may be on its way. What seems to come from later was written
    by a clock that was wrong, nobody knows when."""
    return now - SETTLING <= written_at <= now + CLOCK_WAS_WRONG


@dataclass(slots=True)
class Look:
    """A shard as it was read: what its rows say, of which none is kept. ``at``: before that."""

    at: int
    tallying: Tallying = field(default_factory=Tallying)
    written: int = 0  # sessions written a moment ago: joins, changes, leaves, ends
    run_out: int = 0  # leases that ran out and that the next sweep ends
    leaving: bool = False  # what was done in a visit that ended may be on its way to the totals
    moving: bool = False  # a session left for another shard a moment ago
    settled: int | None = None  # the last write that is not of a moment ago

    def add(self, row: Session) -> None:
        """One more row."""
        if row.live(self.at):
            self.tallying.add(row)
        elif not row.ended:
            self.run_out += 1
        elif row.riding.engagement:
            self.leaving = True
        if self._is_young(row):
            self.written += 1
            self.moving |= moved_away(row)
        written = _written_at(row)
        if written is not None and written < self.at - SETTLING:
            self.settled = max(written, self.settled or written)

    def _is_young(self, row: Session) -> bool:
        if not row.ended:
            return lately(row.changed_at, self.at)
        # A lease's end is written by a sweep, up to a minute later.
        delay = MINUTE if row.ended_by == "expiry" else 0
        return lately((row.ended_at or 0) + delay, self.at)


@dataclass(frozen=True)
class Audit:
    """A space as it was read for an audit: first what is published, then what is counted, then the
    sessions, so that what comes later is at least as new. ``at``: before the sessions were read."""

    head: Headcount
    counts: Mapping[int, Count]
    looks: Mapping[int, Look]  # at the shards that were read
    at: int
    ended_by_us: Collection[int] = ()  # shards in which the sweep that asks has just ended visits
    rows: Mapping[int, Sequence[Session]] = field(default_factory=dict)  # where they were kept

    @cached_property
    def recount(self) -> Tally:
        """The numbers that should be published; of shards that were not read, as they are
        counted."""
        counted = {shard: count.tally for shard, count in self.counts.items()}
        return merge((counted | self._recounts).values())

    @cached_property
    def miscounted(self) -> list[int]:
        """The shards whose count differs from their sessions."""
        return [
            shard
            for shard, numbers in self._recounts.items()
            if self._cannot_be_read(shard)
            or self.counts.get(shard, Count(self.head.space, shard)).tally != numbers
        ]

    @cached_property
    def unpublished(self) -> bool:
        """Whether what is published differs from what is counted."""
        counted = [self.counts[shard].tally for shard in sorted(self.counts)]
        return not self.head.readable or self.head.tally != merge(counted)

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.miscounted and not self.unpublished

    @cached_property
    def written(self) -> int:
        """How many sessions were written a moment ago: joins, changes, leaves, ends."""
        return sum(look.written for look in self.looks.values())

    @cached_property
    def run_out(self) -> int:
        """How many leases ran out that the next sweep ends."""
        return sum(look.run_out for look in self.looks.values())

    @cached_property
    def settled(self) -> bool:
        """Whether of all that was done in visits that ended nothing is on its way to the totals."""
        leaving = any(look.leaving for look in self.looks.values())
        return not (leaving or self.written or self.run_out)

    @cached_property
    def counted(self) -> int:
        """How many shards were counted a moment ago, and may not be published yet."""
        return sum(lately(count.counted_at, self.at) for count in self.counts.values())

    @cached_property
    def drifted(self) -> list[int]:
        """The shards to recount because of drift: where only what is published drifted, any."""
        if self._is_moving:
            return []
        wrong = [
            shard
            for shard in self.miscounted
            if self._cannot_be_read(shard)
            or not self._on_its_way(shard)
            or self._overdue(shard, self._counted_at(shard))
        ]
        if wrong or not self.unpublished:
            return wrong
        held_up = HELD_UP if self.head.in_chunks(self.at) else 0
        late = not self.head.readable or any(
            self._overdue(shard, self.head.as_of + held_up) for shard in self.looks
        )
        return [min(self.counts, default=0)] if late or not self.counted else []

    @cached_property
    def _recounts(self) -> dict[int, Tally]:
        return {shard: self.looks[shard].tallying.done() for shard in sorted(self.looks)}

    @property
    def _is_moving(self) -> bool:
        """Whether a session moves between shards: it brings a past along that is new to the one it
        comes to."""
        return any(look.moving for look in self.looks.values())

    def _cannot_be_read(self, shard: int) -> bool:
        return shard in self.counts and not self.counts[shard].readable

    def _counted_at(self, shard: int) -> int:
        return self.counts[shard].counted_at if shard in self.counts else 0

    def _on_its_way(self, shard: int) -> bool:
        look = self.looks[shard]
        return shard in self.ended_by_us or look.written > 0 or look.run_out > 0

    def _overdue(self, shard: int, since: int) -> bool:
        """Whether a write that is old enough came after ``since``."""
        settled = self.looks[shard].settled
        return settled is not None and since + CLOCKS_DIFFER < settled


def _written_at(row: Session) -> int | None:
    """When the last write that wakes ``count`` was made; None where the row does not say."""
    if not row.ended:
        return row.changed_at
    return row.ended_at if row.write is Write.LEAVE and row.ended_by == "leave" else None


@dataclass(frozen=True, slots=True)
class Auditor:
    """What auditing needs. ``clock`` gives epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    clock: Callable[[], int]

    def audit(
        self,
        space: str,
        shards: Iterable[int] = (),
        ended_by_us: Collection[int] = (),
        *,
        counted: bool = True,
        keep: bool = False,
    ) -> Audit:
        """Read these shards of a space and, unless told otherwise, all that are counted: all
        consistent. The rows are kept only where they are to be shown."""
        head = self.headcounts.get(space)
        counts = {count.shard: count for count in self.counts.space(space).shards}
        now = self.clock()
        looks: dict[int, Look] = {}
        rows: dict[int, list[Session]] = {}
        for shard in {*shards, *(counts if counted else ())}:
            look = looks[shard] = Look(now)
            for page in self.presence.pages(space, shard):
                for row in page:
                    look.add(row)
                if keep:
                    rows.setdefault(shard, []).extend(page)
        return Audit(head, counts, looks, now, ended_by_us, rows)
