"""Are the published numbers those of a fresh recount? The cleanup repairs, ``explain`` shows.

A number that differs is wrong only if nothing in flight explains the difference: a write is counted
and published seconds after it was made, and an expired lease is ended by the next sweep. So a
difference is *drift* if

- nothing is in flight: no session of the shard was written in the last ``IN_FLIGHT``, and all
  expired leases are ended; or, if the counts are right but not published, no count was written in
  that time; or
- something is overdue: a write older than ``IN_FLIGHT`` without a recount (a version) after it.
  Where versions wait for the fan-out, only writes from ``FANOUT_ALLOWANCE`` after the last version
  are overdue.

A row that can't be read is drift, too: only a new row repairs it.

Changes in flight are left alone: a recount would hide whether they arrive. If they were lost,
nothing is in flight any more when the next sweep audits the space.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.model.headcount import MAX_FANOUT_DELAY, Headcount
from headcount.model.session import Session, Write, moved_away
from headcount.model.tally import Tally, TallyBuilder, merge
from headcount.store.counts import CountsTable, ShardCount
from headcount.store.presence import PresenceTable
from headcount.times import CLOCK_WAS_WRONG, CLOCKS_DIFFER, MINUTE, SECOND

if TYPE_CHECKING:
    from headcount.store.headcounts import HeadcountsTable

IN_FLIGHT = 30 * SECOND
"""A write takes about 1 s to reach ``count``, up to 17 s until a large shard's recount is due, and
about 1 s to be published. Reading a shard of 30,000 sessions may take longer than all of that."""

FANOUT_ALLOWANCE = MAX_FANOUT_DELAY + IN_FLIGHT
"""How long a version that is sent in chunks may wait for the fan-out. Counts continue meanwhile: if
they stop, that is noticed as soon as in other spaces."""


def is_recent(written_at: int, now: int) -> bool:
    """Whether something written at that time may be in flight. A time in the future was written by
    a wrong clock, and the true time is unknown."""
    return now - IN_FLIGHT <= written_at <= now + CLOCK_WAS_WRONG


@dataclass(slots=True)
class ShardScan:
    """What was found in a shard's rows, without the rows. ``at``: before they were read."""

    at: int
    builder: TallyBuilder = field(default_factory=TallyBuilder)
    written: int = 0  # sessions written recently: joins, changes, leaves, ends
    expired: int = 0  # sessions whose lease expired, which the next sweep ends
    leaving: bool = False  # an ended visit's engagement may be in flight to the totals
    moving: bool = False  # a session recently moved to another shard
    settled: int | None = None  # the last write that is not recent

    def add(self, row: Session) -> None:
        """Add a row."""
        if row.live(self.at):
            self.builder.add(row)
        elif not row.ended:
            self.expired += 1
        elif row.telemetry.engagement:
            self.leaving = True
        if self._is_recent(row):
            self.written += 1
            self.moving |= moved_away(row)
        written = _written_at(row)
        if written is not None and written < self.at - IN_FLIGHT:
            self.settled = max(written, self.settled or written)

    def _is_recent(self, row: Session) -> bool:
        if not row.ended:
            return is_recent(row.changed_at, self.at)
        # A sweep writes the end of a lease up to a minute later.
        delay = MINUTE if row.ended_by == "expiry" else 0
        return is_recent((row.ended_at or 0) + delay, self.at)


@dataclass(frozen=True)
class SpaceAudit:
    """A space as it was read for an audit: first the published numbers, then the counts, then the
    sessions, so that each is at least as new as the one before. ``at``: before the sessions."""

    head: Headcount
    counts: Mapping[int, ShardCount]
    scans: Mapping[int, ShardScan]  # of the shards that were read
    at: int
    ended_by_us: Collection[int] = ()  # shards in which the calling sweep has just ended visits
    rows: Mapping[int, Sequence[Session]] = field(default_factory=dict)  # if they are to be shown

    @cached_property
    def recount(self) -> Tally:
        """The numbers that should be published; those of shards that were not read come from their
        counts."""
        counted = {shard: count.tally for shard, count in self.counts.items()}
        return merge((counted | self._recounts).values())

    @cached_property
    def miscounted(self) -> list[int]:
        """The shards whose count differs from their sessions."""
        return [
            shard
            for shard, numbers in self._recounts.items()
            if self._is_unreadable(shard)
            or self.counts.get(shard, ShardCount(self.head.space, shard)).tally != numbers
        ]

    @cached_property
    def unpublished(self) -> bool:
        """Whether the published numbers differ from the counts."""
        counted = [self.counts[shard].tally for shard in sorted(self.counts)]
        return not self.head.readable or self.head.tally != merge(counted)

    @property
    def agrees(self) -> bool:
        """Whether all numbers agree."""
        return not self.miscounted and not self.unpublished

    @cached_property
    def written(self) -> int:
        """The number of sessions written recently: joins, changes, leaves, ends."""
        return sum(scan.written for scan in self.scans.values())

    @cached_property
    def expired(self) -> int:
        """The number of sessions whose lease expired, which the next sweep ends."""
        return sum(scan.expired for scan in self.scans.values())

    @cached_property
    def settled(self) -> bool:
        """Whether no engagement of ended visits is in flight to the totals."""
        leaving = any(scan.leaving for scan in self.scans.values())
        return not (leaving or self.written or self.expired)

    @cached_property
    def counted(self) -> int:
        """The number of shards counted recently, whose counts may not be published yet."""
        return sum(is_recent(count.counted_at, self.at) for count in self.counts.values())

    @cached_property
    def drifted(self) -> list[int]:
        """The shards to recount because of drift: any one if only the published numbers drifted."""
        if self._is_moving:
            return []
        wrong = [
            shard
            for shard in self.miscounted
            if self._is_unreadable(shard)
            or not self._in_flight(shard)
            or self._overdue(shard, self._counted_at(shard))
        ]
        if wrong or not self.unpublished:
            return wrong
        allowance = FANOUT_ALLOWANCE if self.head.in_chunks(self.at) else 0
        late = not self.head.readable or any(
            self._overdue(shard, self.head.as_of + allowance) for shard in self.scans
        )
        return [min(self.counts, default=0)] if late or not self.counted else []

    @cached_property
    def _recounts(self) -> dict[int, Tally]:
        return {shard: self.scans[shard].builder.build() for shard in sorted(self.scans)}

    @property
    def _is_moving(self) -> bool:
        """Whether a session is moving between shards: its earlier writes are new to the shard that
        it moves to."""
        return any(scan.moving for scan in self.scans.values())

    def _is_unreadable(self, shard: int) -> bool:
        return shard in self.counts and not self.counts[shard].readable

    def _counted_at(self, shard: int) -> int:
        return self.counts[shard].counted_at if shard in self.counts else 0

    def _in_flight(self, shard: int) -> bool:
        scan = self.scans[shard]
        return shard in self.ended_by_us or scan.written > 0 or scan.expired > 0

    def _overdue(self, shard: int, since: int) -> bool:
        """Whether a write that should be counted by now was made after ``since``."""
        settled = self.scans[shard].settled
        return settled is not None and since + CLOCKS_DIFFER < settled


def _written_at(row: Session) -> int | None:
    """When the last write that wakes ``count`` was made; None if the row does not have it."""
    if not row.ended:
        return row.changed_at
    return row.ended_at if row.write is Write.LEAVE and row.ended_by == "leave" else None


class Auditor(Struct, frozen=True, eq=False):
    """Audits spaces. ``clock`` returns epoch milliseconds."""

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
    ) -> SpaceAudit:
        """Read these shards of a space and, with ``counted``, all shards that have a count; reads
        are consistent. ``keep`` the rows only to show them."""
        head = self.headcounts.get(space)
        counts = {count.shard: count for count in self.counts.space(space).shards}
        now = self.clock()
        scans: dict[int, ShardScan] = {}
        rows: dict[int, list[Session]] = {}
        for shard in {*shards, *(counts if counted else ())}:
            scan = scans[shard] = ShardScan(now)
            for page in self.presence.pages(space, shard):
                for row in page:
                    scan.add(row)
                if keep:
                    rows.setdefault(shard, []).extend(page)
        return SpaceAudit(head, counts, scans, now, ended_by_us, rows)
