"""``cleanup``: end what expired, bin what ended, repair what drifted, sample the timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from headcount.auditing import SETTLING, Audit, Auditor
from headcount.counting import Recounter
from headcount.headcounts import Engagement, Headcount
from headcount.logs import logger
from headcount.moderation import denied_by, shown
from headcount.session import Session, Write, after_expiry, after_leave
from headcount.spaces import Kinds, shard_of
from headcount.store.counts import CountsTable, SpaceCounts
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable, Point
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import Tally, merge, tally
from headcount.times import HOUR, MINUTE
from headcount.visits import Visit

BIN_ENDED_AFTER = 5 * MINUTE
"""How long the row of an ended visit stays: it remembers the sequence number of the leave."""

MOVES_PER_SWEEP = 1_000
"""Sessions put into their right shard: beats put those right that beat, so only the rest is left to
the sweep, which has the sessions that ran out to end."""

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
    moved: int = 0
    binned: int = 0
    repaired: list[Drift] = field(default_factory=list)
    sampled: int = 0
    failed: list[str] = field(default_factory=list)  # spaces that could not be looked after


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
    kinds: Kinds
    shards: int  # that a space's people are spread over
    clock: Callable[[], int]
    new_id: Callable[[], str]

    def sweep(self) -> Report:
        """One pass over the Presence table. Two at once, or one again, do no harm."""
        report = Report()
        now = self.clock()
        here: dict[tuple[str, int], list[Session]] = defaultdict(list)
        unsettled: set[tuple[str, int]] = set()  # the stream is about to recount these
        occupied: set[tuple[str, int]] = set()
        misplaced: list[Session] = []
        ebbed: set[str] = set()  # spaces whose ended visits are over and done with
        for page in self.presence.scan():
            report.rows += len(page)
            binnable = []
            for session in page:
                shard = session.space, session.shard
                occupied.add(shard)
                if session.live(now):
                    if self._place_of(session) != shard and len(misplaced) < MOVES_PER_SWEEP:
                        misplaced.append(session)
                        continue
                    here[shard].append(session)
                    self._forget_days(session)
                elif self._end(session, now):
                    report.ended += 1
                    unsettled.add(shard)
                elif session.ended and _forgettable_since(session) < now - BIN_ENDED_AFTER:
                    binnable.append(session)
            report.binned += self._bin(binnable, report)
            ebbed.update(session.space for session in binnable)
        moving: set[str] = set()
        # After the scan, which would meet them again.
        for session in misplaced:
            shard = session.space, session.shard
            unsettled.add(shard)
            place = self._place_of(session)
            if self._move(session, place[1]):
                report.moved += 1
                moving.add(session.space)
                unsettled.add(place)
                shard = place
            here[shard].append(session)
        tallies = {shard: tally(sessions) for shard, sessions in here.items()}
        report.sessions = sum(numbers.sessions for numbers in tallies.values())
        engagement, settling = self._repair(
            report, tallies, unsettled, moving, occupied=occupied, ebbed=ebbed
        )
        report.sampled = self._sample(tallies, engagement, settling, now)
        return report

    def _end(self, session: Session, now: int) -> bool:
        """End a visit whose lease ran out, unless a beat came in since it was read."""
        ended = after_expiry(session, request=self.new_id(), now=now)
        return ended is not None and self.presence.replace(session, ended)[0]

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

    def _forget_days(self, session: Session) -> None:
        """Keep the row of a session that stays for weeks small: its old days are aggregated."""
        if len(session.beats) > DAYS_OF_BEATS:
            recent = dict(sorted(session.beats.items())[-DAYS_OF_BEATS:])
            slim = replace(session, write=Write.BEAT, request=self.new_id(), beats=recent)
            self.presence.replace(session, slim)

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
        return sum(
            self.presence.delete_ended(session)
            for session in rows
            if session.space not in report.failed
        )

    def _recount_all(self, shards: Iterable[tuple[str, int]], report: Report) -> None:
        for space, shard in shards:
            with _apart(space, report):
                self.recounter.recount(space, shard)

    def _repair(
        self,
        report: Report,
        tallies: dict[tuple[str, int], Tally],
        unsettled: set[tuple[str, int]],
        moving: set[str],
        *,
        occupied: set[tuple[str, int]],
        ebbed: set[str],
    ) -> tuple[dict[str, Engagement], set[str]]:
        """Audit what differs, and recount what drifted: of the spaces with anyone in them, and once
        more of those that visits ended in, for nobody may be left whom to look after them for.

        What rides in beats is brought up to date the same way, and what admins said that ran out,
        and shards that are no longer in use, which is no repair. Reports the spaces that were
        repaired; returns each space's engagement, and those whose engagement is on its way.
        """
        engagement: dict[str, Engagement] = {}
        settling: set[str] = set()
        here = _by_space(tallies)
        ended = _by_space(dict.fromkeys(unsettled))
        listed_at = self.clock()
        listed = {space for kind in self.kinds for space in self.headcounts.live(kind.name)}
        for space in sorted({*here, *listed, *ebbed, *self._unlisted(listed_at)}):
            with _apart(space, report):
                head = self.headcounts.get(space)
                found = self.counts.space(space)
                engagement[space] = found.engagement
                if space in ended:
                    # What was done in visits that ended just now is on its way to the totals.
                    engagement[space] = replace(found.engagement, totals=head.engagement)
                    settling.add(space)
                if space in moving:
                    continue
                seen = here.get(space, {})
                misfiled = self._is_misfiled(head, space in listed, listed_at)
                if misfiled or _differs(head, found, seen):
                    shards = sorted({*seen, *(count.shard for count in found.shards)})
                    audit = self.auditor.audit(space, shards, ended.get(space, ()))
                    drifted = audit.drifted
                    if misfiled and not drifted:
                        drifted = [min(shards, default=0)]  # any has the space published anew
                    if drifted:
                        self._recount(space, drifted)
                        report.repaired.append(Drift.of(audit, drifted))
                elif space not in ended:
                    in_use = {one.shard for one in found.shards if (space, one.shard) in occupied}
                    self._recount(space, self._changed(head, found, seen, in_use))
        return engagement, settling

    def _unlisted(self, now: int) -> Iterator[str]:
        """Once an hour, all that is published with anyone in it, whatever its index says."""
        if now % HOUR < MINUTE:
            yield from (head.space for head in self.headcounts.scan() if _may_be_wrong(head))

    def _is_misfiled(self, head: Headcount, listed: bool, listed_at: int) -> bool:
        """Whether the index of live spaces has it wrong. It may be behind what is published."""
        return (
            head.space.partition(":")[0] in self.kinds.names
            and head.as_of < listed_at - SETTLING
            and listed != bool(head.tally.sessions)
        )

    def _changed(
        self, head: Headcount, found: SpaceCounts, seen: Mapping[int, Tally], in_use: set[int]
    ) -> list[int]:
        """The shards where a recount is no repair, but brings something up to date."""
        empty = Tally()
        counted = {count.shard: count for count in found.shards}
        shards = sorted({*seen, *counted})
        changed = [
            shard
            for shard in shards
            if _rides(seen.get(shard, empty))
            != _rides(counted[shard].tally if shard in counted else empty)
        ]
        changed += [
            count.shard
            for count in found.shards
            if count.shard >= self.shards and count.rows and count.shard not in in_use
        ]
        said = _as_said(head, found, self.clock()) and head.views.total == found.views.total
        return changed if said else changed or shards[:1]

    def _recount(self, space: str, shards: Iterable[int]) -> None:
        for shard in shards:
            self.recounter.recount(space, shard)

    def _sample(
        self,
        tallies: dict[tuple[str, int], Tally],
        engagement: dict[str, Engagement],
        settling: set[str],
        now: int,
    ) -> int:
        """A point on the timeline of every space with anyone in it."""
        by_space: dict[str, list[Tally]] = defaultdict(list)
        for (space, _), numbers in tallies.items():
            by_space[space].append(numbers)
        at = now - now % MINUTE
        points = []
        for space, parts in by_space.items():
            total = merge(parts)
            live = {} if space in settling else total.engagement
            done = engagement.get(space, Engagement()).with_live(live)
            points.append(Point(space, at, total.people, total.sessions, done))
        self.history.add_points(points)
        return len(points)


def _forgettable_since(ended: Session) -> int:
    """When a visit ended, or a later leave of its session came: its number must be remembered."""
    return max(ended.ended_at or 0, ended.changed_at)


def _as_said(head: Headcount, found: SpaceCounts, now: int) -> bool:
    """Whether what is published beside the numbers is what holds now."""
    return (
        head.notice == shown(found.notice, now)
        and head.denied == denied_by(found.removals.values(), now)
        and head.shards == found.shards_in_use
    )


@contextmanager
def _apart(space: str, report: Report) -> Iterator[None]:
    """What fails of a space is reported and keeps no other from being looked after."""
    try:
        yield
    except Exception:
        logger().exception("not swept", extra={"space": space})
        if space not in report.failed:
            report.failed.append(space)


def _may_be_wrong(head: Headcount) -> bool:
    return not head.readable or head.tally != Tally()


def _differs(head: Headcount, found: SpaceCounts, seen: Mapping[int, Tally]) -> bool:
    """Whether what was scanned, what is counted and what is published are not the same."""
    counted = {count.shard: count.tally for count in found.shards}
    return (
        not head.readable
        or not all(count.readable for count in found.shards)
        or seen != _occupied(counted)
        or head.tally != merge(counted.values())
    )


_Found = TypeVar("_Found")


def _by_space(found: Mapping[tuple[str, int], _Found]) -> dict[str, dict[int, _Found]]:
    """space -> shard -> what was found there."""
    spaces: dict[str, dict[int, _Found]] = defaultdict(dict)
    for (space, shard), value in found.items():
        spaces[space][shard] = value
    return dict(spaces)


def _occupied(counted: Mapping[int, Tally]) -> dict[int, Tally]:
    """The shards that are counted with anyone in them."""
    return {shard: numbers for shard, numbers in counted.items() if numbers != Tally()}


def _rides(tally: Tally) -> tuple[object, object]:
    return tally.quality, tally.engagement
