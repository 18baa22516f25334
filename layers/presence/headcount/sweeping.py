"""``cleanup``: end what expired, bin what ended, repair what drifted, sample the timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from headcount.counting import Counter
from headcount.headcounts import Engagement, Headcount
from headcount.moderation import denied_by, shown
from headcount.session import Session, Write, after_expiry
from headcount.spaces import Kinds
from headcount.store.counts import CountsTable, SpaceCounts
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable, Point
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import Tally, merge, tally
from headcount.times import MINUTE
from headcount.visits import Visit

BIN_ENDED_AFTER = 5 * MINUTE
"""How long the row of an ended visit stays: it remembers the sequence number of the leave."""

DAYS_OF_BEATS = 9
"""UTC days whose beats a live session's row keeps: a day can be aggregated for a week."""


@dataclass(slots=True)
class Report:
    """What a sweep did."""

    rows: int = 0
    ended: int = 0
    binned: int = 0
    repaired: list[str] = field(default_factory=list)
    sampled: int = 0


@dataclass(frozen=True, slots=True)
class Sweeper:
    """What sweeping needs. ``clock`` gives epoch milliseconds, ``new_id`` a unique word."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    history: HistoryTable
    visits: VisitsTable
    counter: Counter
    kinds: Kinds
    clock: Callable[[], int]
    new_id: Callable[[], str]

    def sweep(self) -> Report:
        """One pass over the Presence table. Two at once, or one again, do no harm."""
        report = Report()
        now = self.clock()
        here: dict[tuple[str, int], list[Session]] = defaultdict(list)
        unsettled: set[tuple[str, int]] = set()  # the stream is about to recount these
        for page in self.presence.scan():
            report.rows += len(page)
            binnable = []
            for session in page:
                shard = session.space, session.shard
                if session.live(now):
                    here[shard].append(session)
                    self._forget_days(session)
                elif self._end(session, now):
                    report.ended += 1
                    unsettled.add(shard)
                elif session.ended and (session.ended_at or 0) < now - BIN_ENDED_AFTER:
                    binnable.append(session)
            report.binned += self._bin(binnable)
        tallies = {shard: tally(sessions) for shard, sessions in here.items()}
        report.repaired, engagement, settling = self._repair(tallies, unsettled)
        report.sampled = self._sample(tallies, engagement, settling, now)
        return report

    def _end(self, session: Session, now: int) -> bool:
        """End a visit whose lease ran out, unless a beat came in since it was read."""
        ended = after_expiry(session, request=self.new_id(), now=now)
        return ended is not None and self.presence.replace(session, ended)[0]

    def _forget_days(self, session: Session) -> None:
        """Keep the row of a session that stays for weeks small: its old days are aggregated."""
        if len(session.beats) > DAYS_OF_BEATS:
            recent = dict(sorted(session.beats.items())[-DAYS_OF_BEATS:])
            slim = replace(session, write=Write.BEAT, request=self.new_id(), beats=recent)
            self.presence.replace(session, slim)

    def _bin(self, ended: Iterable[Session]) -> int:
        """Delete rows that ended long ago, once the ledger holds how their visits ended."""
        rows = list(ended)
        visits = {
            session.visit: Visit.of(session)
            for session in rows
            if session.visit and not moved_away(session)
        }
        settled = self.visits.settled(visits.values())
        # Only if the stream lost a record: normally the ledger knows since five minutes.
        self.visits.end(visit for id_, visit in visits.items() if id_ not in settled)
        return sum(self.presence.delete_ended(session) for session in rows)

    def _repair(
        self, tallies: dict[tuple[str, int], Tally], unsettled: set[tuple[str, int]]
    ) -> tuple[list[str], dict[str, Engagement], set[str]]:
        """Recount what differs from its count, and what was counted but not published.

        What rides in beats is brought up to date the same way, and what admins said that ran out,
        which is no repair. Returns the spaces that were repaired, and each space's engagement.
        """
        engagement: dict[str, Engagement] = {}
        settling: set[str] = set()
        spaces = {space for space, _ in tallies}
        for kind in self.kinds:
            spaces.update(self.headcounts.live(kind.name))
        repaired = []
        for space in sorted(spaces):
            found = self.counts.space(space)
            engagement[space] = found.engagement
            counted = {(space, count.shard): count.tally for count in found.shards}
            shards = counted.keys() | {shard for shard in tallies if shard[0] == space}
            if shards & unsettled:
                # What was done in visits that ended just now is on its way to the totals.
                head = self.headcounts.get(space)
                engagement[space] = replace(found.engagement, totals=head.engagement)
                settling.add(space)
                continue
            empty = Tally()
            drifted = [
                shard for shard in shards if tallies.get(shard, empty) != counted.get(shard, empty)
            ]
            head = self.headcounts.get(space)
            if not drifted and head.tally != merge(counted.values()):
                drifted = sorted(shards)[:1]  # counted, not published: any recount wakes publish
            moved = [
                shard
                for shard in shards
                if _rides(tallies.get(shard, empty)) != _rides(counted.get(shard, empty))
            ]
            if not _as_said(head, found, self.clock()):
                moved = moved or sorted(shards)[:1]
            for _, shard in drifted or moved:
                self.counter.recount(space, shard)
            if drifted:
                repaired.append(space)
        return repaired, engagement, settling

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


def _as_said(head: Headcount, found: SpaceCounts, now: int) -> bool:
    """Whether what is published of messages and removals is what holds now."""
    return head.notice == shown(found.notice, now) and head.denied == denied_by(
        found.removals.values(), now
    )


def _rides(tally: Tally) -> tuple[object, object]:
    return tally.quality, tally.engagement
