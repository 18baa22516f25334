"""``count``: record visits in the ledger, and recount the shards that changed.

The stream of the Presence table hands over joins, changes and leaves in batches. For each batch:

- visits that began or ended are written to the ledger, before the numbers that they led to;
- each shard that changed is recounted: all its rows are read, and its numbers written as they are,
  not added to. A recount reads the count's version before the rows, and writes only if it is still
  the same: of two recounts at once, the one with the older rows cannot win. So a batch may be
  repeated, reordered or lost; the next recount is right again;
- where people are is noted meanwhile (``people``), if they can be looked up;
- engagement of ended visits joins the totals last, when no count includes it any more.

A shard is recounted at a pace that depends on its size (``pace``), more slowly where nobody hears
of it, and once more when sessions that are away stop counting: nothing else would notice that. A
recount that is not due is waited for, up to ``MAX_WAIT``; others are deferred through a queue. A
process remembers which ones it deferred, and does not defer again what such a recount will include.
"""

from __future__ import annotations

import gc
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headcount.logs import logger
from headcount.model.durations import RecentDurations, VisitDuration, durations_in, latest
from headcount.model.headcount import CROWD_PACE, due_after, paid_after
from headcount.model.intervals import ATTENTIVE, UNHEARD_PACE, few
from headcount.model.peaks import Curve, StepsBuilder, continued
from headcount.model.session import RETURN_GRACE, Session, Write, moved_away
from headcount.model.shard_rows import KnownShards, read_at
from headcount.model.tally import Tally, TallyBuilder
from headcount.model.visit import Visit
from headcount.store.counts import CountsTable, ShardCount
from headcount.store.presence import PresenceTable, from_json
from headcount.times import CLOCKS_DIFFER, SECOND, whole_seconds

if TYPE_CHECKING:
    from headcount.model.space import Kinds
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.store.visits import VisitsTable
    from headcount.usecases.people import PeopleNoter
    from headcount.usecases.publish import Published, Publisher
    from headcount.usecases.queues import DeferredQueue
    from headcount.usecases.rollups import RollupMarker
    from headcount.usecases.watchers import Watchers

MAX_WAIT = SECOND
"""How long a batch waits for recounts that are not due yet: other spaces wait meanwhile."""

DIRECTLY_WITHIN = 2 * SECOND
"""How long a batch publishes spaces itself: those after that would wait too long for each other."""

ENDED_MEMORY = 30 * SECOND
"""How long ended visits are remembered: many times as long as a recount may be deferred."""

_SLOWEST_PACE, _SLOWEST_OF_FACETS = 5 * SECOND, 10 * SECOND
_LONGEST_DEFERRAL = UNHEARD_PACE + CLOCKS_DIFFER + SECOND
"""A recount is deferred for a pace after one that is due within a second, in whole seconds."""
_SMALL, _LARGE = ATTENTIVE, 100
"""The pace is constant up to the first number of rows, and from the second."""
_CROWDED = 300
"""Rows from which people join and leave all the time, so that waiting longer for facets saves
nothing."""
_ROWS_A_SECOND = 20_000
"""So many are read of a shard at most: some 2,000 read units of the 3,000 that a partition has."""
_WRITTEN_WITHIN = 15 * SECOND
"""Steps begin so long before the recount before: what began or ended then may have been written
after it. A write takes so long at most, with all of its tries."""
_GONE_WITHIN = RETURN_GRACE + CLOCKS_DIFFER
"""Who is away stops counting within this time; a later end can only come from a wrong clock."""
_LONGEST_LEAD = CROWD_PACE // 2
"""How long before its version is due a recount begins, at most: it takes about as long as the last
one did."""
_MOST_KNOWN = 10_000
"""Shards of which a process knows the traffic."""
_TRIES = 20
"""Each lost race means that another recount of the same shard succeeded."""


def crowding(rows: int, *, watched: bool = False) -> int:
    """Joins and leaves after which a shard is recounted before its pace, if ``crowd_pace`` has
    passed: they cost so much more than reading its rows that it makes no difference. ``watched``,
    by a dashboard: it may cost something, so few are enough."""
    return 10 if watched else max(10, rows // 100)


def crowd_pace(rows: int) -> int:
    """Milliseconds between recounts of a shard that is ``crowding``."""
    return max(CROWD_PACE, rows * SECOND // _ROWS_A_SECOND)


def pace(rows: int, *, facets: bool = False, watched: bool = False, unheard: bool = False) -> int:
    """Milliseconds between recounts of a shard: 1 s up to 50 rows, 5 s from 100 rows, unless so
    many join and leave that it is ``crowding``. Three may follow each other at once after a rest.
    ``watched``, by a dashboard: 1 s up to 20,000 rows, 5 s from 100,000.
    ``unheard``, by anybody: up to 15 s, if only facets changed or so few joined and left that it
    would make no difference; else as fast.

    A recount and its version cost about as much for 30 rows as for 120, so they weigh most on each
    of about a hundred viewers: at a quicker pace, more than a tenth of a viewer's total cost. In a
    large shard a recount's cost grows with the rows, so the cost of a viewer-hour depends only on
    the pace. In between it is logarithmic. Slower would be cheaper still, but people watch these
    numbers. If only ``facets`` changed, without joins or leaves: up to 10 s below 300 rows.
    docs/cost.md has the figures.
    """
    if watched:
        return min(_SLOWEST_PACE, max(SECOND, rows * SECOND // _ROWS_A_SECOND))
    slowest = _SLOWEST_OF_FACETS if facets and rows < _CROWDED else _SLOWEST_PACE
    slowest = UNHEARD_PACE if facets and unheard else slowest
    grown = math.log(max(rows, _SMALL) / _SMALL) / math.log(_LARGE / _SMALL)
    return min(slowest, round(SECOND + (slowest - SECOND) * grown))


def _pace_of(count: ShardCount, *, facets: bool = False) -> int:
    return pace(count.rows, facets=facets, watched=count.watched, unheard=count.unheard)


class Recounter(Struct, frozen=True, eq=False):
    """Recounts shards. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    clock: Callable[[], int]
    shards: int = 1  # of a space
    known: KnownShards = msgspec.field(default_factory=KnownShards)
    watchers: Watchers | None = None  # None: somebody always hears of a space

    def recount(
        self,
        space: str,
        shard: int,
        ended: Iterable[VisitDuration] = (),
        before: ShardCount | None = None,
        *,
        settled: bool = False,
        watched: bool | None = None,
        at_least: int = 0,
    ) -> ShardCount:
        """Read the shard and write its numbers. Raises RecountContendedError.

        Ended visits are found in the rows, except those whose session has joined again: these are
        passed as ``ended``. ``settled``: the totals include the engagement of all ended visits.
        ``watched``: whether a dashboard watches the space; None: as before.
        ``at_least``: the time, where our clock may be behind another function's.

        The version is read before the sessions. If another recount was written in between, it may
        be based on newer rows, so this one is not written but made again.
        """
        for _ in range(_TRIES):
            before = before or self.counts.shard(space, shard)
            now = max(self.clock(), at_least)
            rows, pages = self.known.take(space, shard), self.presence.raw_pages(space, shard)
            since = _steps_since(before, now)
            with _uncollected():
                rows.read(pages, from_json, self.clock, since=since, now=now)
            tally = rows.tally()
            steps = continued(before.curve.steps, rows.steps(tally), shards=self.shards)
            seen = before.watched if watched is None else watched
            count = ShardCount(
                space=space,
                shard=shard,
                version=before.version + 1,
                tally=tally,
                rows=len(rows),
                counted_at=now,
                durations=latest(rows.durations(latest(before.durations)), ended),
                cause=rows.cause(before.counted_at),
                settled=settled,
                steps=steps,
                paid_until=paid_after(before.paid_until, pace(len(rows), watched=seen), now),
                watched=seen,
                unheard=self._is_unheard(space, tally, watched=seen),
            )
            self.known.keep(space, shard, rows)
            if self.counts.save(count):
                return count
            before = None
        raise RecountContendedError(f"{space} shard {shard}: lost {_TRIES} races")

    def _is_unheard(self, space: str, tally: Tally, *, watched: bool) -> bool:
        if watched or tally.sessions <= ATTENTIVE or self.watchers is None:
            return False
        return not self.watchers.any(space)

    def curve(self, count: ShardCount) -> Curve:
        """How a shard's numbers changed, until now: as a recount would find it, without one."""
        at = now = self.clock()
        builder, course = TallyBuilder(), StepsBuilder(_steps_since(count, now), now)
        for page in self.presence.pages(count.space, count.shard):
            at = read_at(page, at, self.clock())
            for row in page:
                builder.add_row(row, at)
                course.add(row, live=row.live(at))
        tally = builder.build()
        later = course.build(builder.tabs_of, tally.people, tally.sessions, persons=builder.persons)
        return Curve(continued(count.curve.steps, later, shards=self.shards), now)

    def recount_since(
        self, space: str, shard: int, *, at: int, ended: RecentDurations
    ) -> ShardCount | None:
        """Recount a shard, unless a recount that began after ``at`` includes these ``ended``
        visits: then return None.

        A recount from the future is from before a clock stepped back, and does not count.
        """
        last = self.counts.shard(space, shard)
        latest_now = self.clock() + CLOCKS_DIFFER
        began_after = at + CLOCKS_DIFFER < last.counted_at <= latest_now
        if not began_after or latest(last.durations, ended) != last.durations:
            return self.recount(space, shard, ended, last, at_least=min(at, latest_now))
        return None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: it would go through thousands of rows again and again, which
    takes longer than reading them, and they hold no circles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _steps_since(before: ShardCount, now: int) -> int:
    """Steps begin before the recount before: what a slower clock wrote then, it did not see."""
    return max(0, min(before.counted_at, now) - _WRITTEN_WITHIN)


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """The part of a batch that was written to one shard."""

    space: str
    shard: int
    written: Sequence[Session]
    count: ShardCount | None  # the recount that includes it; None: deferred
    published: Published | None = None  # the version with that recount, if ``count`` made it

    @property
    def joins(self) -> int:
        """Visits that began."""
        return sum(session.write is Write.JOIN for session in self._visits)

    @property
    def leaves(self) -> int:
        """Visits that a leave ended."""
        return sum(session.ended and session.ended_by == "leave" for session in self._visits)

    @property
    def _visits(self) -> list[Session]:
        return [one for one in self.written if one.visit and not moved_away(one)]


@dataclass(slots=True)
class _Traffic:
    """What a process knows of a shard: its last count's version, time and rows, the joins and
    leaves since then, whether they were many before it, too, how long the recount took, whether a
    dashboard watched its last version (None: not known), and how many may come or go unheard.

    ``came`` and ``went``: the sessions that did since then, once each, and until when a recount may
    have missed it."""

    version: int = 0
    counted_at: int = 0
    rows: int = 0
    changes: int = 0
    rush: bool = False
    took: int = 0
    watched: bool | None = None
    few: int = -1  # -1: all are heard of
    came: dict[str, int] = field(default_factory=dict)
    went: dict[str, int] = field(default_factory=dict)

    @property
    def may_wait(self) -> bool:
        """Whether so few came and went that nobody hears of it.

        One who came makes up for one who went, but nobody is taken off: in whatever order they
        did, and even if some are signed in or have another tab, no number was or will be off by
        more than all who came, or all who went.
        """
        return max(len(self.came), len(self.went)) <= self.few

    def note(self, rows: Iterable[Session], now: int) -> bool:
        """Note who came and went by these rows, unless the last recount surely has it. Returns
        whether a session counts for another person now, or in another shard."""
        counted = max(0, self.counted_at - _WRITTEN_WITHIN - CLOCKS_DIFFER)
        any_switched = False
        for row in rows:
            switched = max(row.moved_at or 0, *(at for _, at in row.formerly), 0) > counted
            any_switched |= switched
            if row.write is Write.JOIN or switched:
                self.came[row.id] = now
            if row.ended and (row.ended_at or 0) <= counted:
                self.went.pop(row.id, None)
            elif row.ended or switched:
                self.went[row.id] = now
            elif row.away:
                self.went[row.id] = max(now, min(row.expires_at, now + _GONE_WITHIN))
        return any_switched

    def forget(self, until: int) -> None:
        """Forget who came and went until then: it was counted."""
        self.came = {one: at for one, at in self.came.items() if at > until}
        self.went = {one: at for one, at in self.went.items() if at > until}

    @property
    def is_many(self) -> bool:
        """Whether so many joined and left that it is worth a recount before its pace."""
        return self.version > 0 and self.changes >= crowding(self.rows, watched=bool(self.watched))

    @property
    def is_crowding(self) -> bool:
        """Whether it is to be recounted before its pace: in a rush, the next ones are on their way
        when a batch begins to wait."""
        return self.rush or self.is_many


@dataclass(frozen=True, slots=True)
class _Due:
    """A shard to recount for a batch."""

    last: ShardCount
    at: int  # when the recount is due
    until: int  # when sessions that are away stop counting, by a recount then or later; 0: none
    ended: RecentDurations
    prompt: bool  # as early as after a join or leave
    deferrable: bool
    deferred: bool  # one was deferred before, and is due within a second
    returned: bool  # a session whose visit ended has joined again

    @property
    def key(self) -> tuple[str, int]:
        """Its space and number."""
        return self.last.space, self.last.shard


class Counter(Struct, frozen=True, eq=False):
    """Counts batches. ``clock`` returns epoch milliseconds, ``sleep`` takes seconds.

    ``deferred``: when the recounts that this process deferred run, at the earliest: the prompt
    ones, and the last one. ``ended``: the last ended visit of each session, and when it was seen.
    ``traffic``: of the shards that wait for a recount.
    """

    recounter: Recounter
    deferred_queue: DeferredQueue
    visits: VisitsTable
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    publisher: Publisher | None = None  # None: ``publish`` publishes all recounts
    audience: SubscriptionsTable | None = None  # None: its versions tell whether one watches
    people: PeopleNoter | None = None  # None: people can't be looked up
    rollups: RollupMarker | None = None  # None: there are no roll-ups
    kinds: Kinds | None = None  # None: all with the default accuracy
    deferred: dict[tuple[str, int], tuple[list[int], int]] = msgspec.field(default_factory=dict)
    ended: dict[tuple[str, str], tuple[int, VisitDuration]] = msgspec.field(default_factory=dict)
    traffic: dict[tuple[str, int], _Traffic] = msgspec.field(default_factory=dict)

    def count(self, written: Iterable[Session]) -> list[ShardBatch]:
        """Handle a batch of joins, changes and leaves: the ledger first, then the numbers.

        Returns the batch by shard, with the recounts that were made. Every step may be repeated.
        """
        batch = list(written)
        engaged = self.settle(batch)
        noted = self.people.note(batch) if self.people is not None else ()
        if self.rollups is not None:
            self.rollups.mark(batch)
        by_shard: dict[tuple[str, int], list[Session]] = defaultdict(list)
        for session in batch:
            by_shard[session.space, session.shard].append(session)
        if len(self.traffic) > _MOST_KNOWN:
            self.traffic.clear()
        start = self.clock()
        for key in [key for key, (at, _) in self.ended.items() if at < start - ENDED_MEMORY]:
            del self.ended[key]
        due = [
            one
            for shard, rows in by_shard.items()
            if (one := self._due(*shard, rows, start)) is not None
        ]
        start = self.clock()
        made: dict[tuple[str, int], ShardCount] = {}
        published: dict[str, Published | None] = {}
        for one in sorted(due, key=lambda one: one.at):
            if one.deferrable and (one.deferred or one.at - start > MAX_WAIT):
                self._defer(one, start)
                continue
            self.sleep(max(0, min(one.at - self.clock(), _SLOWEST_PACE)) / 1000)
            space, shard = one.last.space, one.last.shard
            rush = self.traffic[one.key].is_many
            count, published[space] = self._recount(one, start)
            made[space, shard] = count
            rush &= count.counted_at - one.last.counted_at <= 2 * crowd_pace(count.rows)
            self.traffic[one.key] = replace(
                self.traffic[one.key],
                version=count.version,
                counted_at=count.counted_at,
                rows=count.rows,
                changes=0,
                rush=rush,
            )
            self.traffic[one.key].forget(count.counted_at)
            if count.counted_at < one.until:
                at = max(one.until, self._due_at(count, prompt=one.prompt))
                self._defer(replace(one, last=count, at=at, returned=False), start)
        # Last: a version in between would include it twice, and these numbers never fall.
        self.visits.end(engaged)
        for _ in noted:  # meanwhile; raises what failed
            pass
        return [
            ShardBatch(*shard, rows, made.get(shard), published.get(shard[0]))
            for shard, rows in by_shard.items()
        ]

    def _recount(self, due: _Due, start: int) -> tuple[ShardCount, Published | None]:
        """Recount a shard and, if it is its space's only one, publish the space."""
        space, shard = due.last.space, due.last.shard
        publisher = self.publisher
        early = self.clock() - start <= DIRECTLY_WITHIN
        traffic = self.traffic[due.key]
        # In a crowd, versions follow recounts for as long as the first one waited for its version.
        by = max(start + MAX_WAIT, self.clock() + CROWD_PACE * traffic.is_crowding)
        lead = min(traffic.took, _LONGEST_LEAD)
        old = publisher.ready(space, by=by, lead=lead) if publisher and early else None
        began = self.clock()
        if self.audience is not None:
            traffic.watched = self.audience.has_subscribers(space)
        count = self.recounter.recount(space, shard, due.ended, due.last, watched=traffic.watched)
        traffic.took = max(0, self.clock() - began)
        if publisher is None or old is None:
            return count, None
        try:
            published = publisher.publish_directly(old, count)
            traffic.watched = published.watched
            return count, published
        except Exception:
            # The recount wakes ``publish``, which does it. Other spaces of the batch don't wait.
            logger().exception("not published", extra={"space": space})
            return count, None

    def _due(self, space: str, shard: int, rows: Sequence[Session], start: int) -> _Due | None:
        """When a shard is to be recounted for a batch's rows; None: a deferred recount includes
        them."""
        returned = self._returned(rows, start)
        newest = {session.id: session for session in rows}
        away = [session.expires_at for session in newest.values() if session.away]
        until = min(max(away, default=0), start + _GONE_WITHIN)
        others = any(session.write is not Write.CHANGE for session in rows)
        traffic = self.traffic.setdefault((space, shard), _Traffic())
        changes = sum(session.write is not Write.CHANGE for session in rows)
        traffic.changes += changes
        switched = traffic.note(rows, start)
        # Otherwise the engagement would join the totals while the count still includes it.
        deferrable = not any(map(_engaged_to_the_end, rows))
        people = (others or switched or bool(away)) and not (deferrable and traffic.may_wait)
        later = self._deferred_for(space, shard, start, people=people, beyond=CLOCKS_DIFFER)
        covered = start + self._deferred_for(space, shard, start, people=False) >= until
        if deferrable and not returned and later and covered and not traffic.is_crowding:
            return None
        last = self.recounter.counts.shard(space, shard)
        if traffic.watched is not None:
            last = replace(last, watched=traffic.watched)
        if last.version != traffic.version:
            traffic.version, traffic.counted_at = last.version, last.counted_at
            traffic.rows, traffic.changes = last.rows, changes
            # What reached us before it was counted had been written before.
            traffic.forget(last.counted_at - CLOCKS_DIFFER)
            switched = traffic.note(rows, start)
        traffic.few = self._few(last)
        people = (others or switched or bool(away)) and not (deferrable and traffic.may_wait)
        interval = _pace_of(last, facets=not people)
        prompt = interval == _pace_of(last)
        at = self._due_at(last, prompt=prompt)
        interval = min(crowd_pace(last.rows), interval) if traffic.is_crowding else interval
        at = min(at, last.counted_at + interval) if last.version else 0
        return _Due(
            last,
            at=at if others else max(at, until),
            until=until,
            ended=latest(durations_in(rows), returned),
            prompt=prompt,
            deferrable=deferrable,
            deferred=not traffic.is_crowding
            and bool(self._deferred_for(space, shard, start, people=people)),
            returned=bool(returned),
        )

    def _due_at(self, last: ShardCount, *, prompt: bool) -> int:
        """When the recount after the last one is due."""
        interval = _pace_of(last, facets=not prompt)
        return due_after(last.paid_until, interval) if prompt else last.counted_at + interval

    def _few(self, last: ShardCount) -> int:
        """How many joins, and how many leaves, of a shard may wait longer than its pace; -1: none
        does."""
        if not last.unheard or last.watched:
            return -1
        kind = self.kinds.known(last.space) if self.kinds is not None else None
        return few(last.tally.sessions, kind.accuracy if kind is not None else 1.0)

    def _returned(self, rows: Iterable[Session], now: int) -> list[VisitDuration]:
        """Ended visits whose session has joined again, so that its row has a new visit.

        They ended in this batch, or recently in another one of this process. Those of which only
        another process knows, or one that is gone, are missing in the average duration, and in no
        other number.
        """
        returned = []
        for session in rows:
            key = session.space, session.id
            if session.write is Write.JOIN and key in self.ended:
                returned.append(self.ended[key][1])
            for duration in durations_in([session]):
                self.ended[key] = now, duration
        return returned

    def _defer(self, due: _Due, start: int) -> None:
        """Defer a recount.

        It will include every batch of this process that begins before it runs, so no earlier
        recount may replace it. If one is deferred already, only visits whose session returned have
        to be sent: no recount is made if the deferred one includes them. One that is due within a
        second may have run already, if our clock stepped back: another one is sent after it. So is
        one after sessions that are away stop counting.
        """
        shard = due.last.space, due.last.shard
        slowest = _pace_of(due.last, facets=not due.prompt)
        # A longer wait than the slowest pace can only come from a clock that stepped back.
        wait = max(min(due.at - start, slowest), due.until - start)
        next_one = self._deferred_for(*shard, start, people=due.prompt)
        last = self._deferred_for(*shard, start, people=False)
        covers_all = start + last >= due.until
        if next_one > CLOCKS_DIFFER and covers_all:
            after = whole_seconds(max(wait, next_one + SECOND))
            self.deferred_queue.recount(*shard, at=start, durations=due.ended, after=after)
            return
        before = next_one if covers_all else last
        after = whole_seconds(max(wait, before and before + slowest))
        at = start + after * SECOND
        # Otherwise a recount that was deferred for facets comes early enough.
        if due.returned or not (CLOCKS_DIFFER < last <= at - start and covers_all):
            self.deferred_queue.recount(*shard, at=at, durations=due.ended, after=after)
            prompts = [start + next_one] if next_one > CLOCKS_DIFFER else []
            self.deferred[shard] = [*prompts, *([at] if due.prompt else [])], max(start + last, at)
        else:
            self.deferred[shard] = [start + last], start + last

    def _deferred_for(
        self, space: str, shard: int, start: int, *, people: bool, beyond: int = 0
    ) -> int:
        """Milliseconds, more than ``beyond``, until a deferred recount runs, at the earliest: the
        last one, or for ``people`` the next prompt one. 0: there is none."""
        prompt, last = self.deferred.get((space, shard), ([], 0))
        waits = [at - start for at in (prompt if people else [last])]
        # A longer one is from before the clock stepped back.
        return next((wait for wait in waits if beyond < wait <= _LONGEST_DEFERRAL), 0)

    def settle(self, written: Iterable[Session]) -> list[Visit]:
        """Record the visits that began or ended, except ended ones with engagement, which are
        returned: their end has to be written when no count includes them any more."""
        began: dict[str, Visit] = {}
        ended: dict[str, Visit] = {}
        for session in written:
            if not session.visit or moved_away(session):
                continue
            visit = Visit.from_session(session)
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
    return session.ended and bool(session.telemetry.engagement)


class RecountContendedError(RuntimeError):
    """Other recounts kept winning; the stream retries the batch."""
