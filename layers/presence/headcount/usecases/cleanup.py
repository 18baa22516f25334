"""``cleanup``: end expired sessions, delete ended rows, repair drift, sample the timeline.

One invocation sweeps a small table; a larger one is swept in segments, each by its own invocation.
All rows of a shard are in one segment, so a segment counts whole shards. The segment with a space's
first shard also does what concerns the whole space, from what is counted and published.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headcount.logs import logger
from headcount.model.headcount import Headcount, Point
from headcount.model.moderation import active_notice, denied_by, pack_denied
from headcount.model.session import (
    Session,
    Write,
    after_clock_repair,
    after_expiry,
    after_leave,
    has_wrong_clock,
    moved_away,
)
from headcount.model.space import Kinds, is_rollup, kind_of, shard_of
from headcount.model.tabs import end_hidden
from headcount.model.tally import Tally, TallyBuilder, merge
from headcount.model.visit import Visit
from headcount.store.keys import Counts
from headcount.store.presence import PresenceTable
from headcount.store.table import WHOLE_TABLE, Parallel, Segment
from headcount.times import CLOCK_WAS_WRONG, HOUR, MINUTE, SECOND, day_of
from headcount.usecases.audit import IN_FLIGHT, Auditor, SpaceAudit, is_recent

if TYPE_CHECKING:
    from headcount.store.counts import CountsTable, SpaceCounts
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.history import HistoryTable
    from headcount.store.visits import VisitsTable
    from headcount.usecases.count import Recounter
    from headcount.usecases.queues import PieceQueue, Place
    from headcount.usecases.rollups import RolledUp, RollupSweeper

DELETE_ENDED_AFTER = 5 * MINUTE
"""How long the row of an ended visit is kept: it holds the sequence number of the leave."""

MOVES_PER_SWEEP = 1_000
"""Sessions that a sweep moves to their shard, at most. Beats move the others, and the sweep needs
its time to end expired sessions."""

ROWS_PER_INVOCATION = 25_000
"""A table with more rows is swept in segments of this size. It takes seconds, and even if every row
has to be ended, one invocation can do it. `make bench-sizes` has the figures."""

ROWS_OF_A_SPACE = 10
"""Reading a space's counts and headcount takes as long as reading this many rows."""

READ_BUDGET = 45 * SECOND
"""How long an invocation reads rows before it leaves the rest to another."""

_MAX_SEGMENTS = 1_000
_SAMPLED_SPACES = 1_000
"""Spaces that are read to estimate the size of the table."""

DAYS_OF_BEATS = 8
"""UTC days of beats that a live session's row keeps: a day can be aggregated for a week."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A space whose published numbers were wrong: the published ones, and those of a recount.

    ``shards`` were recounted: those with a wrong count, or any one if only the headcount or the
    index of live spaces was wrong.
    """

    space: str
    version: int
    published_people: int
    published_sessions: int
    people: int
    sessions: int
    shards: list[int]

    @classmethod
    def from_audit(cls, audit: SpaceAudit, shards: list[int]) -> Drift:
        """The drift that an audit found."""
        return cls(
            space=audit.head.space,
            version=audit.head.version,
            published_people=audit.head.tally.people,
            published_sessions=audit.head.tally.sessions,
            people=audit.recount.people,
            sessions=audit.recount.sessions,
            shards=shards,
        )

    @classmethod
    def from_rollup(cls, found: RolledUp) -> Drift:
        """A roll-up that was not published as it was counted."""
        head, tally = found.head, found.tally
        return cls(
            space=head.space,
            version=head.version,
            published_people=head.tally.people,
            published_sessions=head.tally.sessions,
            people=tally.people,
            sessions=tally.sessions,
            shards=[],
        )


@dataclass(slots=True)
class Report:
    """What a sweep did."""

    rows: int = 0
    sessions: int = 0  # live ones
    ended: int = 0
    expiry_lag: int = 0  # milliseconds from the end of a lease to the end of its visit: the longest
    moved: int = 0
    deleted: int = 0
    repaired: list[Drift] = field(default_factory=list)
    sampled: int = 0
    left: int = 0  # parts that other invocations sweep
    failed: list[str] = field(default_factory=list)  # spaces that could not be swept


@dataclass(slots=True)
class _Scan:
    """What was found in the rows of the table, or of a part. A shard is a space and a number."""

    tallies: dict[tuple[str, int], TallyBuilder] = field(
        default_factory=lambda: defaultdict(TallyBuilder)
    )
    occupied: set[tuple[str, int]] = field(default_factory=set)
    cut: set[tuple[str, int]] = field(default_factory=set)  # with more rows after ``last_read``
    unsettled: set[tuple[str, int]] = field(default_factory=set)  # about to be recounted
    left_at: dict[tuple[str, int], int] = field(default_factory=dict)  # when the last visit ended
    stays: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """When the visits in a space's rows began and ended: ended ones, and the first that runs."""
    misplaced: list[Session] = field(default_factory=list)
    live: int = 0  # sessions
    ahead: int = 0  # of those: written by a clock that was ahead
    wrong_clock: list[Session] = field(default_factory=list)  # of those: to be repaired now
    unindexed: list[Session] = field(default_factory=list)  # whose entry for roll-ups is wrong
    with_deletable: set[str] = field(default_factory=set)  # spaces with rows to delete
    last_read: Place | None = None  # if there was no time for the rows after it

    def add_running(self, session: Session, now: int) -> None:
        """Note since when a visit runs, if no other runs longer."""
        stays = self.stays[session.space]
        if not stays or stays[0][1] < now:
            stays.insert(0, (session.joined_at, now))
        elif session.joined_at < stays[0][0]:
            stays[0] = session.joined_at, now

    def occupied_since(self, space: str) -> int | None:
        """Since when someone has been in a space all the time, by the rows that are still there."""
        since = None
        for joined_at, gone_at in sorted(
            self.stays.get(space, ()), key=lambda stay: stay[1], reverse=True
        ):
            if since is not None and gone_at < since:
                break
            since = joined_at if since is None else min(since, joined_at)
        return since


@dataclass(frozen=True, slots=True)
class _Space:
    """A space to check, and what the scan found of it."""

    id: str
    listed: str | None  # its kind in the index of live spaces
    listed_at: int  # just before the index was read
    scanned: Mapping[int, Tally]  # shard -> the tally of its live rows
    occupied: Set[int]  # shards with any row
    cut: Set[int]  # shards that another invocation continues
    ended: Set[int]  # shards where visits were ended just now
    left_at: Mapping[int, int]  # when a shard's last visit ended that is still in a row
    since: int | None  # when the time began in which someone was always there
    moving: bool  # a session was moved between its shards
    assigned: bool  # if it has no rows where it should, no other segment checks it


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of a space a sweep checks."""

    shards: Set[int]  # that end here: their rows are compared with their counts
    first: bool = True  # also what concerns the whole space
    whole: bool = False  # all of it: a shard without a scanned row has none


class SweepFailedError(RuntimeError):
    """Some spaces could not be swept; the others were. The next sweep tries again."""


class Sweeper(Struct, frozen=True, eq=False):
    """What a sweep needs. ``clock`` returns epoch milliseconds, ``new_id`` a unique string."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    history: HistoryTable
    visits: VisitsTable
    recounter: Recounter
    auditor: Auditor
    pieces: PieceQueue
    kinds: Kinds
    shards: int  # that a space's people are spread over
    rollups: RollupSweeper | None  # None: there are no roll-ups
    in_parallel: Parallel
    clock: Callable[[], int]
    new_id: Callable[[], str]
    rows_per_invocation: int = ROWS_PER_INVOCATION
    large: set[Segment] = msgspec.field(default_factory=set)
    """Holds the whole table if this process found it too large for one invocation."""

    def sweep(
        self, segment: Segment = WHOLE_TABLE, after: Place | None = None, *, unsettled: bool = False
    ) -> Report:
        """One pass over the Presence table, or over a segment of it: all rows, or those ``after``
        one. ``unsettled``: visits were ended just now in that row's shard.

        What is too much for one invocation is left to others: the whole table in segments, or the
        rest of a segment. Two sweeps at once, or a repeated one, do no harm.
        """
        report = Report()
        if segment in self.large:
            if self._split(report, at_least=1):
                return report
            self.large.remove(segment)
        now = self.clock()
        scan = _Scan()
        if after is not None:
            scan.occupied.add(after[:2])  # its tally is partial, so it is audited: it ends here
            if unsettled:
                scan.unsettled.add(after[:2])
        self._read(segment, after, scan, report, now)
        if scan.last_read is not None:
            if segment == WHOLE_TABLE:
                self.large.add(segment)
                self._split(report, at_least=2)
                return report
            unsettled = scan.last_read[:2] in scan.unsettled
            self.pieces.sweep(segment, scan.last_read, unsettled=unsettled)
            report.left += 1
        if 2 * scan.ahead <= scan.live:  # otherwise this function's own clock is behind
            for session in self._each(self._repair_clock, scan.wrong_clock, report):
                scan.unsettled.add((session.space, session.shard))
        self._each(self._index, scan.unindexed, report)
        moved = self._move_all(scan, report)
        spaces = list(self._spaces(segment, after, scan, moved))
        report.sessions = sum(one.sessions for space in spaces for one in space.scanned.values())
        points = self.in_parallel(
            lambda space: self._check(space, report, now, whole=segment == WHOLE_TABLE), spaces
        )
        sampled = [point for point in points if point is not None]
        if segment.number == 0 and after is None:
            sampled += self._roll_up(report)
        self.history.add_points(sampled)
        report.sampled = len(sampled)
        return report

    def _roll_up(self, report: Report) -> list[Point]:
        """Recount the roll-ups. Returns their points on the timeline."""
        if self.rollups is None:
            return []
        with _failures_reported(Counts.ROLLUPS, report):
            points, wrong = self.rollups.sweep()
            report.repaired += [Drift.from_rollup(one) for one in wrong]
            return points
        return []

    def _split(self, report: Report, *, at_least: int) -> bool:
        """Leave the whole table to other invocations: as many as the published numbers call for.
        Returns False if one is enough. What is done already stays done."""
        listed = self._listed()
        heads = self.headcounts.many(sorted(listed)[:_SAMPLED_SPACES]).values()
        sessions = sum(head.tally.sessions for head in heads) / max(1, len(heads)) * len(listed)
        work = sessions + ROWS_OF_A_SPACE * len(listed)
        needed = math.ceil(work / self.rows_per_invocation)
        segments = max(at_least, min(_MAX_SEGMENTS, needed))
        if segments <= 1:
            return False
        for number in range(segments):
            self.pieces.sweep(Segment(number, segments))
        report.left, report.sessions = segments, round(sessions)
        return True

    def _read(
        self, segment: Segment, after: Place | None, scan: _Scan, report: Report, now: int
    ) -> None:
        """End, delete and count as many rows as there is time for."""
        # Segments vary in size, and handing over the rest takes longer than reading it.
        capacity = self.rows_per_invocation * (1 if segment == WHOLE_TABLE else 2)
        last = None
        for page in self.presence.scan(segment, after):
            work = report.rows + ROWS_OF_A_SPACE * len(scan.occupied)
            if last is not None and (work >= capacity or self.clock() - now >= READ_BUDGET):
                scan.last_read = last
                scan.cut.add(last[:2])
                scan.occupied.discard(last[:2])  # the next invocation checks it
                break
            self._read_page(page, scan, report, now)
            last = (page[-1].space, page[-1].shard, page[-1].id) if page else last

    def _read_page(self, page: list[Session], scan: _Scan, report: Report, now: int) -> None:
        report.rows += len(page)
        expired, long_lived, deletable = [], [], []
        read_at = self.clock()  # `now` may be long ago, and what was written since is not ahead
        for session in page:
            shard = session.space, session.shard
            scan.occupied.add(shard)
            if session.live(now):
                if self._place_of(session) != shard and len(scan.misplaced) < MOVES_PER_SWEEP:
                    scan.misplaced.append(session)
                    continue
                scan.tallies[shard].add(session)
                scan.add_running(session, now)
                scan.live += 1
                if has_wrong_clock(session, read_at) and kind_of(session.space) in self.kinds.names:
                    scan.ahead += 1
                    if len(scan.wrong_clock) < MOVES_PER_SWEEP:
                        scan.wrong_clock.append(session)
                elif session.place != session.indexed_in(self.presence.parts):
                    if self.presence.parts and len(scan.unindexed) < MOVES_PER_SWEEP:
                        scan.unindexed.append(session)
                elif len(session.beats) > DAYS_OF_BEATS:
                    long_lived.append(session)
            elif not session.ended:
                expired.append(session)
                scan.stays[session.space].append((session.joined_at, session.gone_at))
            else:
                scan.left_at[shard] = max(session.gone_at, scan.left_at.get(shard, 0))
                scan.stays[session.space].append((session.joined_at, session.gone_at))
                if _kept_since(session) < now - DELETE_ENDED_AFTER:
                    deletable.append(session)
        for session in self._each(lambda one: self._end(one, now), expired, report):
            report.ended += 1
            report.expiry_lag = max(report.expiry_lag, now - session.runs_out_at)
            scan.unsettled.add((session.space, session.shard))
        self._each(self._delete_old_days, long_lived, report)
        report.deleted += self._delete(deletable, report)
        scan.with_deletable.update(session.space for session in deletable)

    def _each(
        self, act: Callable[[Session], bool], sessions: Iterable[Session], report: Report
    ) -> list[Session]:
        """Call ``act`` with each, in parallel. Returns the sessions for which it returned True."""

        def attempt(session: Session) -> bool:
            with _failures_reported(session.space, report):
                return act(session)
            return False

        every = list(sessions)
        done = self.in_parallel(attempt, every)
        return [one for one, was_done in zip(every, done, strict=True) if was_done]

    def _move_all(self, scan: _Scan, report: Report) -> set[str]:
        """Move misplaced sessions to their shards: after the scan, or it would meet them again.
        Returns the spaces where any was moved."""
        moved = self._each(
            lambda one: self._move(one, self._place_of(one)[1]), scan.misplaced, report
        )
        report.moved += len(moved)
        gone = {(one.space, one.shard, one.id) for one in moved}
        for session in scan.misplaced:
            shard = session.space, session.shard
            scan.unsettled.add(shard)
            if (*shard, session.id) in gone:
                shard = self._place_of(session)
                scan.unsettled.add(shard)
            scan.tallies[shard].add(session)
        return {session.space for session in moved}

    def _end(self, session: Session, now: int) -> bool:
        """End a visit whose lease expired, unless a beat arrived since it was read, or the session
        is away and may still return."""
        if session.hidden:
            ended: Session | None = end_hidden(session, request=self.new_id(), now=now)
        else:
            ended = after_expiry(session, request=self.new_id(), now=now)
        return ended is not None and self.presence.replace(session, ended)[0]

    def _repair_clock(self, session: Session) -> bool:
        """Correct the times that a wrong clock wrote, unless a beat arrived since."""
        kind = self.kinds.kind(kind_of(session.space))
        now = self.clock()
        repaired = after_clock_repair(session, kind=kind, request=self.new_id(), now=now)
        return self.presence.replace(session, repaired)[0]

    def _index(self, session: Session) -> bool:
        """Write a row as it is, with its entry in the index of people: from before there were
        roll-ups, or as many shards as now."""
        same = replace(session, write=Write.BEAT, request=self.new_id())
        return self.presence.replace(session, same)[0]

    def _place_of(self, session: Session) -> tuple[str, int]:
        return session.space, shard_of(session.shard_key, self.shards)

    def _move(self, session: Session, shard: int) -> bool:
        """Move a session to its person's shard, which changes with the number of shards, unless a
        beat did so: a person in two shards counts twice."""
        moved = replace(
            session,
            shard=shard,
            write=Write.CHANGE,
            request=self.new_id(),
            moved_at=self.clock(),
            formerly=(),
            earlier=(),
        )
        if self.presence.replace(session, moved)[0]:
            return True
        there = self.presence.get(session.space, shard, session.id)
        if there is not None and not there.ended:
            # The session is in two shards; no known cause leads to that. The older one ends.
            ended = after_leave(session, seq=None, request=self.new_id(), now=self.clock())
            if isinstance(ended, Session) and there.last_seen >= session.last_seen:
                self.presence.replace(session, ended)
        return False

    def _delete_old_days(self, session: Session) -> bool:
        """Keep the row of a session that lasts for weeks small: its old days are aggregated."""
        recent = dict(sorted(session.beats.items())[-DAYS_OF_BEATS:])
        slim = replace(session, write=Write.BEAT, request=self.new_id(), beats=recent)
        return self.presence.replace(session, slim)[0]

    def _delete(self, ended: Iterable[Session], report: Report) -> int:
        """Delete rows of visits whose end is in the ledger. Returns how many."""
        rows = list(ended)
        visits = {
            session.visit: Visit.from_session(session)
            for session in rows
            if session.visit and not moved_away(session)
        }
        settled = self.visits.ended(visits.values())
        # Only if the stream lost a record: normally the end was recorded minutes ago.
        lost = {id_: visit for id_, visit in visits.items() if id_ not in settled}
        shards = sorted({(row.space, row.shard) for row in rows if row.visit in lost})
        # Before: their engagement must leave the live numbers before it is added to the totals.
        # After: views written to the ledger do not cause a new version.
        self._recount_all(shards, report)
        # Visits whose recount failed wait for the next sweep.
        self.visits.end(visit for visit in lost.values() if visit.space not in report.failed)
        self._recount_all(shards, report)
        kept = [session for session in rows if session.space not in report.failed]
        return len(self._each(self.presence.delete_ended, kept, report))

    def _recount_all(self, shards: Iterable[tuple[str, int]], report: Report) -> None:
        for space, shard in shards:
            with _failures_reported(space, report):
                self.recounter.recount(space, shard)

    def _spaces(
        self, segment: Segment, after: Place | None, scan: _Scan, moved: Set[str]
    ) -> Iterator[_Space]:
        """The spaces with anyone in them, by their rows or by their headcounts; and those whose
        last rows are being deleted: later sweeps will not see them."""
        tallies = {shard: builder.build() for shard, builder in scan.tallies.items()}
        live, ended = _by_space(tallies), _by_space(dict.fromkeys(scan.unsettled))
        left_at = _by_space(scan.left_at)
        occupied, cut = (_by_space(dict.fromkeys(shards)) for shards in (scan.occupied, scan.cut))
        listed_at = self.clock()
        listed = self._listed()
        assigned: set[str] = set()
        if after is None:
            assigned.update(space for space in listed if _is_assigned(space, segment))
            assigned.update(self._unlisted(segment))
        listed_here = listed.keys() & occupied.keys()
        for space in sorted({*live, *scan.with_deletable, *listed_here, *assigned}):
            yield _Space(
                space,
                listed=listed.get(space),
                listed_at=listed_at,
                scanned=live.get(space, {}),
                occupied=occupied.get(space, {}).keys(),
                cut=cut.get(space, {}).keys(),
                ended=ended.get(space, {}).keys(),
                left_at=left_at.get(space, {}),
                since=scan.occupied_since(space),
                moving=space in moved,
                assigned=space in assigned,
            )

    def _listed(self) -> dict[str, str]:
        """The index of live spaces: space -> its kind there."""
        return {space: one.name for one in self.kinds for space in self.headcounts.live(one.name)}

    def _unlisted(self, segment: Segment) -> Iterator[str]:
        """Once an hour: all spaces published with anyone in them, whatever the index says."""
        if self.clock() % HOUR < MINUTE:
            yield from (head.space for head in self.headcounts.scan(segment) if _may_be_wrong(head))

    def _check(self, space: _Space, report: Report, now: int, *, whole: bool) -> Point | None:
        """Repair a space. Returns its point on the timeline, if anyone is in it."""
        point: Point | None = None
        with _failures_reported(space.id, report):
            head = self.headcounts.get(space.id)
            found = self.counts.space(space.id)
            at = now - now % MINUTE
            if whole:
                counted = (count.shard for count in found.shards)
                share = _Share({*space.scanned, *counted}, whole=True)
                point = _scanned_point(space, head, found, at) if space.scanned else None
            else:
                share = self._share(space, found)
                point = _published_point(head, at) if share.first and head.tally.sessions else None
            point = point and dataclasses.replace(point, since=space.since)
            if not space.moving:
                self._repair(space, share, head, found, report)
        return point

    def _share(self, space: _Space, found: SpaceCounts) -> _Share:
        """How much of a space this segment checks."""
        counted = {count.shard for count in found.shards if count.rows}
        lead = min(counted or space.occupied, default=0)
        own = space.occupied - space.cut
        if lead in space.occupied:
            # No segment meets a shard that has no rows although its count says so.
            return _Share(own | {one for one in counted if self._is_deserted(space, one)})
        if not space.assigned or self._has_rows(space.id, lead):
            return _Share(own, first=False)
        return _Share(own or {count.shard for count in found.shards})

    def _is_deserted(self, space: _Space, shard: int) -> bool:
        return shard not in space.occupied and not self._has_rows(space.id, shard)

    def _has_rows(self, space: str, shard: int) -> bool:
        return bool(self.presence.page(space, shard, limit=1, after=None)[0])

    def _repair(
        self,
        space: _Space,
        share: _Share,
        head: Headcount,
        found: SpaceCounts,
        report: Report,
    ) -> None:
        """Audit a space where numbers differ, and recount what drifted.

        A recount also updates telemetry, expired messages and removals, and shards that are no
        longer in use. That is no repair.
        """
        misindexed = share.first and self._is_misindexed(head, space)
        if misindexed or _has_differences(head, found, space.scanned, share):
            audit = self.auditor.audit(space.id, share.shards, space.ended, counted=share.whole)
            drifted = [shard for shard in audit.drifted if share.first or shard in audit.miscounted]
            if misindexed and not drifted:
                drifted = [min(share.shards, default=0)]  # any recount leads to a new version
            if drifted:
                self._recount(space.id, drifted)
                report.repaired.append(Drift.from_audit(audit, drifted))
        elif not space.ended:
            self._recount(space.id, self._outdated(space, share, head, found))
            if share.first and _is_more(head.engagement, found.total_engagement):
                self._settle(space.id)

    def _settle(self, space: str) -> None:
        """Have engagement published even if it is lower than before. ``publish`` never lowers it by
        itself: some may be in flight from an ended visit to the totals. Here none is."""
        audit = self.auditor.audit(space)
        if audit.settled:
            for shard in audit.counts:
                self.recounter.recount(space, shard, settled=True)

    def _is_misindexed(self, head: Headcount, space: _Space) -> bool:
        """Whether the index of live spaces is wrong about a space, not just behind."""
        kind = kind_of(head.space)
        return (
            kind in self.kinds.names
            and not is_recent(head.as_of, space.listed_at)
            and space.listed != (kind if head.tally.sessions else None)
        )

    def _outdated(
        self, space: _Space, share: _Share, head: Headcount, found: SpaceCounts
    ) -> list[int]:
        """The shards where a recount is no repair but an update."""
        empty = Tally()
        counted = {count.shard: count.tally for count in found.shards}
        changed = [
            shard
            for shard in sorted(share.shards)
            if _telemetry(space.scanned.get(shard, empty)) != _telemetry(counted.get(shard, empty))
        ]
        # A visit of which only the row is left: a peak would miss it when that is deleted.
        counted_at = {count.shard: count.counted_at for count in found.shards}
        changed += [
            shard
            for shard, left_at in space.left_at.items()
            if shard in share.shards - {*changed}
            and counted_at.get(shard, 0) < left_at < self.clock() - IN_FLIGHT
        ]
        if not share.first:
            return changed
        changed += [
            count.shard
            for count in found.shards
            if count.shard >= self.shards
            and count.rows
            and count.shard not in space.occupied
            and (share.whole or count.shard in share.shards)
        ]
        if changed or _is_up_to_date(head, found, self.clock()):
            return changed
        return sorted({*share.shards, *counted})[:1]

    def _recount(self, space: str, shards: Iterable[int]) -> None:
        for shard in shards:
            self.recounter.recount(space, shard)


def _is_assigned(space: str, segment: Segment) -> bool:
    """Whether this segment checks a space that has no rows where it should."""
    return zlib.crc32(space.encode()) % segment.total == segment.number


def _scanned_point(space: _Space, head: Headcount, found: SpaceCounts, at: int) -> Point:
    """A point on the timeline from the rows of all shards."""
    total = merge(space.scanned.values())
    if space.ended:
        # The engagement of visits that were ended just now is in flight to the totals.
        done = dataclasses.replace(found.engagement, totals=head.engagement).with_live({})
    else:
        done = found.engagement.with_live(total.engagement)
    return Point(space.id, at, total.people, total.sessions, done)


def _published_point(head: Headcount, at: int) -> Point:
    """A point on the timeline where no invocation scanned all shards."""
    return Point(head.space, at, head.tally.people, head.tally.sessions, head.engagement)


def _kept_since(ended: Session) -> int:
    """When a visit ended, or a later leave of its session arrived: the row keeps its number."""
    return max(ended.ended_at or 0, ended.changed_at)


def _is_up_to_date(head: Headcount, found: SpaceCounts, now: int) -> bool:
    """Whether what is published besides people and sessions still applies."""
    return (
        head.as_of <= now + CLOCK_WAS_WRONG
        and head.notice == active_notice(found.notice, now)
        and pack_denied(head.denied) == pack_denied(denied_by(found.removals.values(), now))
        and head.shards == found.shards_in_use
        and head.views == found.views.kept(head.as_of)
        and head.avg_seconds == found.avg_seconds
        and head.readings == found.readings
        and not _is_more(found.total_engagement, head.engagement)
        and head.engagement_today == found.engagement.by_day.get(day_of(head.as_of), {})
    )


def _is_more(numbers: Mapping[str, float], than: Mapping[str, float]) -> bool:
    return any(number > than.get(name, 0) for name, number in numbers.items())


@contextmanager
def _failures_reported(space: str, report: Report) -> Iterator[None]:
    """Report a space's failure instead of raising it: the other spaces must be swept too."""
    try:
        yield
    except Exception:
        if space not in report.failed:  # one line, however many of its rows fail
            report.failed.append(space)
            logger().exception("not swept", extra={"space": space})


def _may_be_wrong(head: Headcount) -> bool:
    return (not head.readable or head.tally != Tally()) and not is_rollup(head.space)


def _has_differences(
    head: Headcount, found: SpaceCounts, scanned: Mapping[int, Tally], share: _Share
) -> bool:
    """Whether the scanned rows, the counts and the headcount differ."""
    empty = Tally()
    counted = {count.shard: count.tally for count in found.shards}
    if any(count.shard in share.shards and not count.readable for count in found.shards):
        return True
    if any(scanned.get(shard, empty) != counted.get(shard, empty) for shard in share.shards):
        return True
    return share.first and (not head.readable or head.tally != merge(counted.values()))


_Found = TypeVar("_Found")


def _by_space(found: Mapping[tuple[str, int], _Found]) -> dict[str, dict[int, _Found]]:
    """space -> shard -> the value."""
    spaces: dict[str, dict[int, _Found]] = defaultdict(dict)
    for (space, shard), value in found.items():
        spaces[space][shard] = value
    return dict(spaces)


def _telemetry(tally: Tally) -> tuple[object, object]:
    return tally.quality, tally.engagement
