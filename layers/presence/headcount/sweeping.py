"""``cleanup``: end what expired, bin what ended, repair what drifted, sample the timeline.

A small table is swept in one go; one that is too large for that in segments, each by an invocation
of its own. All rows of a shard are in one segment, which so counts whole shards. What is of a space
as a whole is done where the first of its shards is, by what is counted and published.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from headcount.auditing import Audit, Auditor, lately
from headcount.counting import Recounter
from headcount.headcounts import Headcount
from headcount.logs import logger
from headcount.moderation import denied_by, pack_denied, shown
from headcount.session import Session, Write, after_clock, after_expiry, after_leave, is_ahead
from headcount.spaces import Kinds, kind_of, shard_of
from headcount.store.batches import WHOLE, AtOnce, Segment
from headcount.store.counts import CountsTable, SpaceCounts
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable, Point
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import Tally, Tallying, merge
from headcount.times import CLOCK_WAS_WRONG, HOUR, MINUTE, SECOND, day_of
from headcount.visits import Visit

BIN_ENDED_AFTER = 5 * MINUTE
"""How long the row of an ended visit stays: it remembers the sequence number of the leave."""

MOVES_PER_SWEEP = 1_000
"""Sessions put into their right shard: beats put those right that beat, so only the rest is left to
the sweep, which has the sessions that ran out to end."""

ROWS_AT_ONCE = 25_000
"""Rows from which on the table is swept in segments of so many: seconds of work, and no more than
an invocation has time for if each of them has to be ended. `make bench-sizes` has the figures."""

ROWS_OF_A_SPACE = 10
"""What is published and counted of a space takes as long to read as so many rows."""

PATIENCE = 45 * SECOND
"""How long an invocation reads rows before it leaves the rest to another."""

_MOST_SEGMENTS = 1_000
_ESTIMATED = 1_000
"""Spaces that are read to tell how large the table is."""

DAYS_OF_BEATS = 9
"""UTC days whose beats a live session's row keeps: a day can be aggregated for a week."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A space whose published numbers were wrong: what was published, and what a recount gave.

    ``shards`` were recounted: those whose count was wrong, or any where only what was published
    was, or the index of live spaces.
    """

    space: str
    version: int
    published_people: int
    published_sessions: int
    people: int
    sessions: int
    shards: list[int]

    @classmethod
    def of(cls, audit: Audit, shards: list[int]) -> Drift:
        """What an audit found."""
        return cls(
            space=audit.head.space,
            version=audit.head.version,
            published_people=audit.head.tally.people,
            published_sessions=audit.head.tally.sessions,
            people=audit.recount.people,
            sessions=audit.recount.sessions,
            shards=shards,
        )


@dataclass(slots=True)
class Report:
    """What a sweep did."""

    rows: int = 0
    sessions: int = 0  # that are here
    ended: int = 0
    expiry_lag: int = 0  # milliseconds from the end of a lease to the end of its visit, at most
    moved: int = 0
    binned: int = 0
    repaired: list[Drift] = field(default_factory=list)
    sampled: int = 0
    left: int = 0  # pieces that other invocations sweep
    failed: list[str] = field(default_factory=list)  # spaces that could not be looked after


Place = tuple[str, int, str]
"""A row: its space, shard and session."""


class Pieces(Protocol):
    """Where a piece of a sweep is left to another invocation."""

    def sweep(
        self, segment: Segment, after: Place | None = None, *, unsettled: bool = False
    ) -> None:
        """Have a segment swept; ``after``: behind this row, in whose shard visits were ended just
        now if it is ``unsettled``."""


@dataclass(slots=True)
class _Seen:
    """What the rows of the table, or of a piece of it, came to. Shards go by space and number."""

    tallies: dict[tuple[str, int], Tallying] = field(default_factory=lambda: defaultdict(Tallying))
    occupied: set[tuple[str, int]] = field(default_factory=set)
    cut: set[tuple[str, int]] = field(default_factory=set)  # that go on behind ``rest``
    unsettled: set[tuple[str, int]] = field(default_factory=set)  # about to be recounted
    misplaced: list[Session] = field(default_factory=list)
    live: int = 0  # sessions
    ahead: int = 0  # of those, by what a clock that was ahead wrote
    wrong: list[Session] = field(default_factory=list)  # of those, who are put right now
    ebbed: set[str] = field(default_factory=set)  # spaces with visits that are over and done with
    rest: Place | None = None  # the row behind which there was no time to go on


@dataclass(frozen=True, slots=True)
class _Space:
    """A space to look after: what was seen of it."""

    id: str
    listed: str | None  # the kind under which it is in the index of live spaces
    listed_at: int  # before that was read
    seen: Mapping[int, Tally]  # shard -> who is live there
    occupied: Set[int]  # shards with any row
    cut: Set[int]  # shards that another goes on with
    ended: Set[int]  # shards where visits were ended just now
    moving: bool  # a session was moved between its shards
    alone: bool  # nobody else looks after it, should it have no rows where it should


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of a space a sweep looks after."""

    shards: Set[int]  # that end here: what was seen of them is compared with what is counted
    first: bool = True  # what is of the space as a whole
    whole: bool = False  # all of it: what it saw no row of has none


class SweepFailedError(RuntimeError):
    """Some spaces could not be looked after; the others were. The next sweep tries again."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    """What sweeping needs. ``clock`` gives epoch milliseconds, ``new_id`` a unique word."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    history: HistoryTable
    visits: VisitsTable
    recounter: Recounter
    auditor: Auditor
    pieces: Pieces
    kinds: Kinds
    shards: int  # that a space's people are spread over
    at_once: AtOnce
    clock: Callable[[], int]
    new_id: Callable[[], str]
    rows_at_once: int = ROWS_AT_ONCE
    large: set[Segment] = field(default_factory=set)
    """The whole table, if this process found it too large for one invocation."""

    def sweep(
        self, segment: Segment = WHOLE, after: Place | None = None, *, unsettled: bool = False
    ) -> Report:
        """One pass over the Presence table, or over a segment of it, ``after`` one of its rows, in
        whose shard visits were ended just now if it is ``unsettled``.

        What is too much for one invocation is left to others: of the table all of it, in segments;
        of a segment the rest. Two sweeps at once, or one again, do no harm.
        """
        report = Report()
        if segment in self.large:
            if self._split(report, least=1):
                return report
            self.large.remove(segment)
        now = self.clock()
        seen = _Seen()
        if after is not None:
            seen.occupied.add(after[:2])  # seen in part, and so audited: the end of it is here
            if unsettled:
                seen.unsettled.add(after[:2])
        self._read(segment, after, seen, report, now)
        if seen.rest is not None:
            if segment == WHOLE:
                self.large.add(segment)
                self._split(report, least=2)
                return report
            self.pieces.sweep(segment, seen.rest, unsettled=seen.rest[:2] in seen.unsettled)
            report.left += 1
        if 2 * seen.ahead <= seen.live:  # else it is our clock that is behind
            for session in self._each(lambda one: self._set_right(one, now), seen.wrong, report):
                seen.unsettled.add((session.space, session.shard))
        moved = self._move_all(seen, report)
        spaces = list(self._spaces(segment, after, seen, moved))
        report.sessions = sum(one.sessions for space in spaces for one in space.seen.values())
        points = self.at_once(
            lambda space: self._look_after(space, report, now, whole=segment == WHOLE), spaces
        )
        sampled = [point for point in points if point is not None]
        self.history.add_points(sampled)
        report.sampled = len(sampled)
        return report

    def _split(self, report: Report, *, least: int) -> bool:
        """Leave the whole table to as many invocations as it takes by what is published, if that is
        more than one. What was done of it so far stays done."""
        listed = self._listed()
        heads = self.headcounts.many(sorted(listed)[:_ESTIMATED]).values()
        sessions = sum(head.tally.sessions for head in heads) / max(1, len(heads)) * len(listed)
        work = sessions + ROWS_OF_A_SPACE * len(listed)
        segments = max(least, min(_MOST_SEGMENTS, math.ceil(work / self.rows_at_once)))
        if segments <= 1:
            return False
        for number in range(segments):
            self.pieces.sweep(Segment(number, segments))
        report.left, report.sessions = segments, round(sessions)
        return True

    def _read(
        self, segment: Segment, after: Place | None, seen: _Seen, report: Report, now: int
    ) -> None:
        """End, bin and count rows, as many as there is time for."""
        # To go on elsewhere is a detour: a segment may be larger than it was thought to be.
        room = self.rows_at_once * (1 if segment == WHOLE else 2)
        last = None
        for page in self.presence.scan(segment, after):
            work = report.rows + ROWS_OF_A_SPACE * len(seen.occupied)
            if last is not None and (work >= room or self.clock() - now >= PATIENCE):
                seen.rest = last
                seen.cut.add(last[:2])
                seen.occupied.discard(last[:2])  # who goes on has it
                break
            self._read_page(page, seen, report, now)
            last = (page[-1].space, page[-1].shard, page[-1].id) if page else last

    def _read_page(self, page: list[Session], seen: _Seen, report: Report, now: int) -> None:
        report.rows += len(page)
        expired, long_lived, binnable = [], [], []
        for session in page:
            shard = session.space, session.shard
            seen.occupied.add(shard)
            if session.live(now):
                if self._place_of(session) != shard and len(seen.misplaced) < MOVES_PER_SWEEP:
                    seen.misplaced.append(session)
                    continue
                seen.tallies[shard].add(session)
                seen.live += 1
                if is_ahead(session, now) and kind_of(session.space) in self.kinds.names:
                    seen.ahead += 1
                    if len(seen.wrong) < MOVES_PER_SWEEP:
                        seen.wrong.append(session)
                elif len(session.beats) > DAYS_OF_BEATS:
                    long_lived.append(session)
            elif not session.ended:
                expired.append(session)
            elif _forgettable_since(session) < now - BIN_ENDED_AFTER:
                binnable.append(session)
        for session in self._each(lambda one: self._end(one, now), expired, report):
            report.ended += 1
            report.expiry_lag = max(report.expiry_lag, now - session.expires_at)
            seen.unsettled.add((session.space, session.shard))
        self._each(self._forget_days, long_lived, report)
        report.binned += self._bin(binnable, report)
        seen.ebbed.update(session.space for session in binnable)

    def _each(
        self, act: Callable[[Session], bool], sessions: Iterable[Session], report: Report
    ) -> list[Session]:
        """Do it with each, at once. Returns those with which it came about."""

        def apart(session: Session) -> bool:
            with _apart(session.space, report):
                return act(session)
            return False

        every = list(sessions)
        return [one for one, done in zip(every, self.at_once(apart, every), strict=True) if done]

    def _move_all(self, seen: _Seen, report: Report) -> set[str]:
        """Put sessions into their right shards: after they were read, or they would be met again.
        Returns the spaces where any was moved."""
        moved = self._each(
            lambda one: self._move(one, self._place_of(one)[1]), seen.misplaced, report
        )
        report.moved += len(moved)
        gone = {(one.space, one.shard, one.id) for one in moved}
        for session in seen.misplaced:
            shard = session.space, session.shard
            seen.unsettled.add(shard)
            if (*shard, session.id) in gone:
                shard = self._place_of(session)
                seen.unsettled.add(shard)
            seen.tallies[shard].add(session)
        return {session.space for session in moved}

    def _end(self, session: Session, now: int) -> bool:
        """End a visit whose lease ran out, unless a beat came in since it was read."""
        ended = after_expiry(session, request=self.new_id(), now=now)
        return ended is not None and self.presence.replace(session, ended)[0]

    def _set_right(self, session: Session, now: int) -> bool:
        """Take back what a clock that was wrong gave a session, unless a beat came in since."""
        kind = self.kinds.kind(kind_of(session.space))
        right = after_clock(session, kind=kind, request=self.new_id(), now=now)
        return self.presence.replace(session, right)[0]

    def _place_of(self, session: Session) -> tuple[str, int]:
        return session.space, shard_of(session.person, self.shards)

    def _move(self, session: Session, shard: int) -> bool:
        """Put a session into the shard that its person belongs in since the number of shards was
        changed, unless a beat did so: a person in two shards counts twice."""
        moved = replace(session, shard=shard, write=Write.CHANGE, request=self.new_id())
        if self.presence.replace(session, moved)[0]:
            return True
        there = self.presence.get(session.space, shard, session.id)
        if there is not None and not there.ended:
            # It is here twice, which nothing we know of brings about: the older one ends.
            ended = after_leave(session, seq=None, request=self.new_id(), now=self.clock())
            if isinstance(ended, Session) and there.last_seen >= session.last_seen:
                self.presence.replace(session, ended)
        return False

    def _forget_days(self, session: Session) -> bool:
        """Keep the row of a session that stays for weeks small: its old days are aggregated."""
        recent = dict(sorted(session.beats.items())[-DAYS_OF_BEATS:])
        slim = replace(session, write=Write.BEAT, request=self.new_id(), beats=recent)
        return self.presence.replace(session, slim)[0]

    def _bin(self, ended: Iterable[Session], report: Report) -> int:
        """Delete rows that ended long ago, once the ledger holds how their visits ended."""
        rows = list(ended)
        visits = {
            session.visit: Visit.of(session)
            for session in rows
            if session.visit and not moved_away(session)
        }
        settled = self.visits.settled(visits.values())
        # Only if the stream lost a record: normally the ledger knows since five minutes.
        lost = {id_: visit for id_, visit in visits.items() if id_ not in settled}
        shards = sorted({(row.space, row.shard) for row in rows if row.visit in lost})
        # Before: what was done in them must not count as going on when it joins the totals. After:
        # the ledger's views wake nobody.
        self._recount_all(shards, report)
        # Whose recount failed waits for the next sweep.
        self.visits.end(visit for visit in lost.values() if visit.space not in report.failed)
        self._recount_all(shards, report)
        kept = [session for session in rows if session.space not in report.failed]
        return len(self._each(self.presence.delete_ended, kept, report))

    def _recount_all(self, shards: Iterable[tuple[str, int]], report: Report) -> None:
        for space, shard in shards:
            with _apart(space, report):
                self.recounter.recount(space, shard)

    def _spaces(
        self, segment: Segment, after: Place | None, seen: _Seen, moved: Set[str]
    ) -> Iterator[_Space]:
        """The spaces with anyone in them, by their rows or by what is published; and once more
        those that visits ended in, for nobody may be left whom to look after them for."""
        tallies = {shard: tallying.done() for shard, tallying in seen.tallies.items()}
        here, ended = _by_space(tallies), _by_space(dict.fromkeys(seen.unsettled))
        occupied, cut = (_by_space(dict.fromkeys(shards)) for shards in (seen.occupied, seen.cut))
        listed_at = self.clock()
        listed = self._listed()
        alone: set[str] = set()
        if after is None:
            alone.update(space for space in listed if _falls_to(segment, space))
            alone.update(self._unlisted(segment))
        for space in sorted({*here, *seen.ebbed, *(listed.keys() & occupied.keys()), *alone}):
            yield _Space(
                space,
                listed=listed.get(space),
                listed_at=listed_at,
                seen=here.get(space, {}),
                occupied=occupied.get(space, {}).keys(),
                cut=cut.get(space, {}).keys(),
                ended=ended.get(space, {}).keys(),
                moving=space in moved,
                alone=space in alone,
            )

    def _listed(self) -> dict[str, str]:
        """The index of live spaces: each with its kind there."""
        return {space: one.name for one in self.kinds for space in self.headcounts.live(one.name)}

    def _unlisted(self, segment: Segment) -> Iterator[str]:
        """Once an hour, all that is published with anyone in it, whatever its index says."""
        if self.clock() % HOUR < MINUTE:
            yield from (head.space for head in self.headcounts.scan(segment) if _may_be_wrong(head))

    def _look_after(self, space: _Space, report: Report, now: int, *, whole: bool) -> Point | None:
        """Repair a space. Returns its point on the timeline, if anyone is in it."""
        point = None
        with _apart(space.id, report):
            head = self.headcounts.get(space.id)
            found = self.counts.space(space.id)
            at = now - now % MINUTE
            if whole:
                share = _Share({*space.seen, *(count.shard for count in found.shards)}, whole=True)
                point = _seen_point(space, head, found, at) if space.seen else None
            else:
                share = self._share(space, found)
                point = _published_point(head, at) if share.first and head.tally.sessions else None
            if not space.moving:
                self._repair(space, share, head, found, report)
        return point

    def _share(self, space: _Space, found: SpaceCounts) -> _Share:
        """How much of a space this segment looks after."""
        counted = {count.shard for count in found.shards if count.rows}
        lead = min(counted or space.occupied, default=0)
        own = space.occupied - space.cut
        if lead in space.occupied:
            # Those that are said to have rows, and have none, no segment meets.
            return _Share(own | {one for one in counted if self._is_deserted(space, one)})
        if not space.alone or self._has_rows(space.id, lead):
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
        """Audit a space where anything differs, and recount what drifted.

        What rides in beats is brought up to date the same way, and what admins said that ran out,
        and shards that are no longer in use, which is no repair.
        """
        misfiled = share.first and self._is_misfiled(head, space)
        if misfiled or _differs(head, found, space.seen, share):
            audit = self.auditor.audit(space.id, share.shards, space.ended, counted=share.whole)
            drifted = [shard for shard in audit.drifted if share.first or shard in audit.miscounted]
            if misfiled and not drifted:
                drifted = [min(share.shards, default=0)]  # any has the space published anew
            if drifted:
                self._recount(space.id, drifted)
                report.repaired.append(Drift.of(audit, drifted))
        elif not space.ended:
            self._recount(space.id, self._changed(space, share, head, found))
            if share.first and _is_more(head.engagement, found.done):
                self._settle(space.id)

    def _settle(self, space: str) -> None:
        """What is published of what people did never falls, for some may be on its way from a visit
        that ended to the totals. Where none is, have published what is there."""
        audit = self.auditor.audit(space)
        if audit.settled:
            for shard in audit.counts:
                self.recounter.recount(space, shard, settled=True)

    def _is_misfiled(self, head: Headcount, space: _Space) -> bool:
        """Whether the index of live spaces has it wrong. It may be behind what is published."""
        kind = kind_of(head.space)
        return (
            kind in self.kinds.names
            and not lately(head.as_of, space.listed_at)
            and space.listed != (kind if head.tally.sessions else None)
        )

    def _changed(
        self, space: _Space, share: _Share, head: Headcount, found: SpaceCounts
    ) -> list[int]:
        """The shards where a recount is no repair, but brings something up to date."""
        empty = Tally()
        counted = {count.shard: count.tally for count in found.shards}
        changed = [
            shard
            for shard in sorted(share.shards)
            if _rides(space.seen.get(shard, empty)) != _rides(counted.get(shard, empty))
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
        said = _as_said(head, found, self.clock())
        return changed if said else changed or sorted({*share.shards, *counted})[:1]

    def _recount(self, space: str, shards: Iterable[int]) -> None:
        for shard in shards:
            self.recounter.recount(space, shard)


def _falls_to(segment: Segment, space: str) -> bool:
    """Whether a space that has no rows where it should is this segment's to look after."""
    return zlib.crc32(space.encode()) % segment.of == segment.number


def _seen_point(space: _Space, head: Headcount, found: SpaceCounts, at: int) -> Point:
    """A point on the timeline by the rows of all shards."""
    total = merge(space.seen.values())
    if space.ended:
        # What was done in visits that ended just now is on its way to the totals.
        done = replace(found.engagement, totals=head.engagement).with_live({})
    else:
        done = found.engagement.with_live(total.engagement)
    return Point(space.id, at, total.people, total.sessions, done)


def _published_point(head: Headcount, at: int) -> Point:
    """A point on the timeline where nobody saw all shards."""
    return Point(head.space, at, head.tally.people, head.tally.sessions, head.engagement)


def _forgettable_since(ended: Session) -> int:
    """When a visit ended, or a later leave of its session came: its number must be remembered."""
    return max(ended.ended_at or 0, ended.changed_at)


def _as_said(head: Headcount, found: SpaceCounts, now: int) -> bool:
    """Whether what is published beside the numbers is what holds now."""
    return (
        head.as_of <= now + CLOCK_WAS_WRONG
        and head.notice == shown(found.notice, now)
        and pack_denied(head.denied) == pack_denied(denied_by(found.removals.values(), now))
        and head.shards == found.shards_in_use
        and head.views == found.views.kept(head.as_of)
        and head.avg_seconds == found.avg_seconds
        and head.readings == found.readings
        and not _is_more(found.done, head.engagement)
        and head.engagement_today == found.engagement.by_day.get(day_of(head.as_of), {})
    )


def _is_more(said: Mapping[str, float], than: Mapping[str, float]) -> bool:
    return any(number > than.get(name, 0) for name, number in said.items())


@contextmanager
def _apart(space: str, report: Report) -> Iterator[None]:
    """What fails of a space is reported and keeps no other from being looked after."""
    try:
        yield
    except Exception:
        if space not in report.failed:  # one line for it, however many of its rows fail
            report.failed.append(space)
            logger().exception("not swept", extra={"space": space})


def _may_be_wrong(head: Headcount) -> bool:
    return not head.readable or head.tally != Tally()


def _differs(head: Headcount, found: SpaceCounts, seen: Mapping[int, Tally], share: _Share) -> bool:
    """Whether what was scanned, what is counted and what is published are not the same."""
    empty = Tally()
    counted = {count.shard: count.tally for count in found.shards}
    if any(count.shard in share.shards and not count.readable for count in found.shards):
        return True
    if any(seen.get(shard, empty) != counted.get(shard, empty) for shard in share.shards):
        return True
    return share.first and (not head.readable or head.tally != merge(counted.values()))


_Found = TypeVar("_Found")


def _by_space(found: Mapping[tuple[str, int], _Found]) -> dict[str, dict[int, _Found]]:
    """space -> shard -> what was found there."""
    spaces: dict[str, dict[int, _Found]] = defaultdict(dict)
    for (space, shard), value in found.items():
        spaces[space][shard] = value
    return dict(spaces)


def _rides(tally: Tally) -> tuple[object, object]:
    return tally.quality, tally.engagement
