"""``count``: recount what changed, and keep the ledger of visits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from headcount.causes import cause_of, first_of
from headcount.session import Session, Write
from headcount.stays import Stay, Stays, latest
from headcount.store.counts import Count, CountsTable
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import Tallying
from headcount.times import CLOCKS_DIFFER, SECOND, whole_seconds
from headcount.visits import Visit

PATIENCE = SECOND
"""How long a batch waits for recounts that are not due yet: the spaces behind it wait with it."""

REMEMBERED = 30 * SECOND
"""How long it is known which visits ended: many times what a recount may be left for."""

_SLOWEST_PACE, _SLOWEST_OF_FACETS = 5 * SECOND, 10 * SECOND
_LIVELY, _LARGE = 30, 100
"""Rows of a shard up to which, and from which on, its pace stays the same."""
_CROWDED = 300
"""Rows from which on people come and go all the time: to wait longer with facets gains nothing."""
_TRIES = 20
"""Each lost race means that another recount of the same shard went through."""


def pace(rows: int, *, facets: bool = False) -> int:
    """Milliseconds between recounts of a shard: 1 s up to 30 rows, 5 s from 100 rows on.

    A recount and its version cost about as much for 30 rows as for 120, so a viewer of a hundred
    pays most for them: at a quicker pace, more than a tenth of all that is paid for one. A large
    shard's recount costs by the row: what is paid for a viewer-hour depends on the pace alone.
    In between it is logarithmic. Slower would be cheaper still, but people watch these numbers.
    Where only ``facets`` changed, and nobody came or went, up to 10 s below 300 rows.
    docs/cost.md has the figures.
    """
    slowest = _SLOWEST_OF_FACETS if facets and rows < _CROWDED else _SLOWEST_PACE
    grown = math.log(max(rows, _LIVELY) / _LIVELY) / math.log(_LARGE / _LIVELY)
    return min(slowest, round(SECOND + (slowest - SECOND) * grown))


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

    def recount(
        self,
        space: str,
        shard: int,
        gone: Iterable[Stay] = (),
        before: Count | None = None,
        *,
        settled: bool = False,
    ) -> Count:
        """Read the shard and write its numbers absolutely.

        The visits that ended are in its rows, but for a session's that came back since: that one
        is among those ``gone``. ``settled``: what was done in all of them is in the totals.

        The version is read before the sessions: if anybody wrote a recount in between, theirs may
        rest on newer rows than ours, so ours is not written but made again.
        """
        for _ in range(_TRIES):
            before = before or self.counts.shard(space, shard)
            now = self.clock()
            tallying, rows, cause = Tallying(), 0, None
            stays = latest(before.stays)
            for page in self.presence.pages(space, shard):
                rows += len(page)
                for row in page:
                    tallying.add_row(row, now)
                stays = latest(stays, stays_in(page))
                cause = first_of([cause, cause_of(page, since=before.counted_at, now=now)])
            count = Count(
                space=space,
                shard=shard,
                version=before.version + 1,
                tally=tallying.done(),
                rows=rows,
                counted_at=now,
                stays=latest(stays, gone),
                cause=cause,
                settled=settled,
            )
            if self.counts.save(count):
                return count
            before = None
        raise RecountContendedError(f"{space} shard {shard}: lost {_TRIES} races")

    def recount_since(self, space: str, shard: int, *, at: int, gone: Stays) -> Count | None:
        """Recount a shard, unless a recount that began after ``at`` holds what was known then: then
        None.

        One that seems to come from the future is from before a clock stepped back: it says nothing.
        """
        last = self.counts.shard(space, shard)
        began_after = at + CLOCKS_DIFFER < last.counted_at <= self.clock() + CLOCKS_DIFFER
        if not began_after or latest(last.stays, gone) != last.stays:
            return self.recount(space, shard, gone, last)
        return None


@dataclass(frozen=True, slots=True)
class _Due:
    """A shard that a batch wants recounted."""

    last: Count
    at: int
    gone: Stays  # visits that ended
    people: bool  # it is as early as where somebody came or went
    calm: bool  # it may be left for later
    left: bool  # one was, and is due within the second
    back: bool  # of a visit that is gone the session is back


@dataclass(frozen=True, slots=True)
class Counter:
    """What counting needs. ``clock`` gives epoch milliseconds, ``sleep`` takes seconds.

    ``left`` is when the recounts that this process left for later are run, at the earliest: the
    next that people may wait for, and the last. ``ended`` is the visit of each space and session
    that ended last, and when that was heard.
    """

    recounter: Recounter
    later: Later
    visits: VisitsTable
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    left: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    ended: dict[tuple[str, str], tuple[int, Stay]] = field(default_factory=dict)

    def count(self, written: Iterable[Session]) -> list[Count]:
        """Handle a batch of joins, changes and leaves: the ledger first, then the numbers.

        Returns the recounts that were made.

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
        start = self.clock()
        for key in [key for key, (at, _) in self.ended.items() if at < start - REMEMBERED]:
            del self.ended[key]
        due = []
        for (space, shard), said in by_shard.items():
            back = self._back(said, start)
            people = any(session.write is not Write.CHANGE for session in said)
            calm = (space, shard) not in busy
            left = self._left(space, shard, start, people=people)
            if calm and not back and left > CLOCKS_DIFFER:
                continue  # the rows will tell
            last = self.recounter.counts.shard(space, shard)
            wait = pace(last.rows, facets=not people)
            at = last.counted_at + wait if last.version else 0
            gone = latest(stays_in(said), back)
            prompt = wait == pace(last.rows)
            due.append(
                _Due(last, at, gone, people=prompt, calm=calm, left=bool(left), back=bool(back))
            )
        start = self.clock()
        made = []
        for one in sorted(due, key=lambda one: one.at):
            if one.calm and (one.left or one.at - start > PATIENCE):
                self._leave(one, start)
                continue
            self.sleep(max(0, min(one.at - self.clock(), _SLOWEST_PACE)) / 1000)
            last = one.last
            made.append(self.recounter.recount(last.space, last.shard, one.gone, last))
        self.visits.end(engaged)
        return made

    def _back(self, said: Iterable[Session], now: int) -> list[Stay]:
        """Visits that ended and whose session is back: its row tells of them no more.

        They ended in this batch or lately in another of this process. What a process forgets by
        ending is missing from the average of the last visits, and from no other number.
        """
        back = []
        for session in said:
            key = session.space, session.id
            if session.write is Write.JOIN and key in self.ended:
                back.append(self.ended[key][1])
            for stay in stays_in([session]):
                self.ended[key] = now, stay
        return back

    def _leave(self, due: _Due, start: int) -> None:
        """Leave a recount for later.

        It speaks for every batch of this process that begins before it is run, so no recount of
        before that makes it needless. Behind one that was left already only visits are to be told
        whose session is back: should that one hold them, nothing is recounted. One that is due
        within the second may have been run, if our clock stepped back: another comes after it.
        """
        shard = due.last.space, due.last.shard
        slowest = pace(due.last.rows, facets=not due.people)
        # Beyond the slowest pace a wait can only come from a clock that stepped back.
        wait = min(due.at - start, slowest)
        left = self._left(*shard, start, people=due.people)
        if left > CLOCKS_DIFFER:
            after = whole_seconds(max(wait, left + SECOND))
            self.later.recount(*shard, at=start, stays=due.gone, after=after)
            return
        after = whole_seconds(max(wait, left and left + slowest))
        at = start + after * SECOND
        last = self._left(*shard, start, people=False)
        # Else one that facets wait for comes in time.
        if due.back or not CLOCKS_DIFFER < last <= at - start:
            self.later.recount(*shard, at=at, stays=due.gone, after=after)
            self.left[shard] = (at if due.people else 0), max(start + last, at)
        else:
            self.left[shard] = start + last, start + last

    def _left(self, space: str, shard: int, start: int, *, people: bool) -> int:
        """Milliseconds until a recount that was left is run, at the earliest; 0: there is none, or
        none that people may wait for."""
        soon, last = self.left.get((space, shard), (0, 0))
        left = (soon if people else last) - start
        return left if 0 < left <= _SLOWEST_OF_FACETS else 0  # or the clock stepped back

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
