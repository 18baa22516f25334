"""How far a shown count is from the truth (`make accuracy`).

Schedules of one space, in which people come, stay, leave and crash at random, and an oracle that
knows who is there. What decides is the product's: when a session beats and how long its lease is,
when a shard is recounted and a version is due, which visits count as lost, and what is stated. What
is modelled: the stores and the streams between them, by the times that AWS's were measured at
(``lab/bench/hops.toml``). A recount here is a number that follows who joined, left and expired; the
real one reads rows, which would take days for this many schedules of thousands of sessions.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

from headcount.model.durations import VisitDuration, ends_of, latest
from headcount.model.headcount import CROWD, CROWD_PACE, PACE, due_after, paid_after
from headcount.model.intervals import ATTENTIVE, Crowd, Interval, accuracy_of, few, interval_of
from headcount.model.session import RETURN_GRACE
from headcount.model.space import Kinds
from headcount.times import MINUTE, SECOND, whole_seconds
from headcount.usecases.count import MAX_WAIT, crowding, pace

from lab.bench.hops import hops
from lab.bench.ledger import BilledWorld, Ledger
from lab.bench.prices import prices
from lab.bench.replay import PAGE_EVERY, Replay, Scenario
from lab.bench.report import table
from lab.bench.timeline import Timeline
from lab.harness.clock import NOON
from lab.harness.engines import memory_engine
from lab.harness.template import ROOT, template
from lab.harness.world import SITE

PAGE = ROOT / "docs" / "accuracy.md"

CRASHES = 0.1
"""One of ten visits ends without a leave."""
NETWORK = 50
"""Milliseconds from a page to the gateway, and back."""
SHORTEST_VISIT = 5
MEAN_VISITS = (120.0, 3600.0)
"""Seconds: the mean visit of a schedule is between these."""
WAVE = 20 * MINUTE
"""In every other schedule people come in waves this long: between half and one and a half times as
many as on average."""
UNSEEN = 10 * MINUTE
"""The beginning of a schedule, which is not judged: everybody comes at once."""
JUDGED = 20 * MINUTE
_SEEN_AFTER = 16 * SECOND
"""A recount so long after an end has surely seen it."""
DELETED_AFTER = 5 * MINUTE
"""How long a recount still reads the row of an ended visit."""

PLAN = {10: 1_500, 300: 400, 3_000: 100}
"""Schedules by the number of sessions."""


@dataclass
class Judged:
    """What an oracle saw: milliseconds by the difference between shown and true people, and the sum
    of the stated bound over the same time."""

    sessions: int
    off: Counter[int] = field(default_factory=Counter)
    stated: float = 0
    beats: int = 0
    waited: int = 0  # seconds between them
    held: int = 0
    """Schedules whose own mean is within their own statement."""
    schedules: int = 1

    @property
    def time(self) -> int:
        return sum(self.off.values())

    @property
    def mean(self) -> float:
        """The mean difference."""
        return sum(off * time for off, time in self.off.items()) / self.time

    @property
    def bound(self) -> float:
        """The mean statement."""
        return self.stated / self.time

    @property
    def interval(self) -> float:
        """The mean seconds between beats."""
        return self.waited / max(1, self.beats)

    def within(self, share: float) -> int:
        """The difference that is not exceeded in this share of the time."""
        offs = sorted(self.off)
        seen = itertools.accumulate(self.off[one] for one in offs)
        return next(off for off, time in zip(offs, seen, strict=True) if time >= share * self.time)

    def add(self, other: Judged) -> None:
        """Add another schedule's."""
        self.off += other.off
        self.stated += other.stated
        self.beats += other.beats
        self.waited += other.waited
        self.held += other.held
        self.schedules += other.schedules


@dataclass(slots=True)
class _Session:
    ends_at: int
    crashes: bool
    began: int
    number: int
    expires: int = 0


class Schedule:
    """A space with about ``sessions`` people, each with one session. ``replaced``: a visitor who
    goes is followed by another at once, as in the replays of the ledger."""

    def __init__(
        self,
        seed: int,
        sessions: int,
        *,
        kinds: str = "",
        mean_visit: float = 0,
        replaced: bool = False,
        judged: int = JUDGED,
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a script, not a secret
        self.kind = Kinds(kinds or template().defaults["Kinds"]).kind("site")
        short, long = (math.log(one) for one in MEAN_VISITS)
        self.mean_visit = mean_visit or math.exp(self.random.uniform(short, long))
        self.waves = not replaced and seed % 2 == 1
        self.replaced = replaced
        self.sessions = sessions
        self.now = NOON
        self.judged_from, self.ends = NOON + UNSEEN, NOON + UNSEEN + judged
        self.judged = Judged(sessions)
        self._events: list[tuple[int, int, Any]] = []
        self._order = itertools.count()
        self._numbers = itertools.count()
        # The truth, what is stored, and what is shown.
        self.true = self.stored = self.shown = self.stated = 0
        self._since = NOON
        # The count's row, and its queue.
        self.version = self.rows = self.counted_at = self.paid_until = 0
        self.durations: tuple[VisitDuration, ...] = ()
        self._ended: list[VisitDuration] = []  # since the last recount
        self._deleted: list[int] = []  # when rows that still are read will be gone
        self._changes = 0  # joins and leaves since the last recount
        self._came: set[int] = set()  # who joined since then
        self._went: dict[int, int] = {}  # who left since then, and when they stop counting
        self._few = -1  # so many of either may wait
        self._rush = False
        self._due: int | None = None
        self._until = 0  # the last page that closed counts until then
        # The published row.
        self.crowd = Crowd()
        self.published_until = 0
        self._interval_of = -1, 0
        self._interval = Interval(0, 0)
        self._to_sweep: list[tuple[int, _Session]] = []

    def run(self) -> Judged:
        """Play it."""
        for _ in range(self.sessions):
            self._at(self.now + self.random.randrange(MINUTE), self._join)
        if not self.replaced:
            self._at(self.now + self._gap(), self._arrive)
        for minute in range((self.ends - self.now) // MINUTE):
            self._at(self.now + minute * MINUTE + self.random.randrange(MINUTE), self._sweep)
        while self._events[0][0] <= self.ends:
            at, _, act = heapq.heappop(self._events)
            self.now = at
            act()
        self.now = self.ends
        self._judge()
        self.judged.held = int(self.judged.mean <= self.judged.bound)
        return self.judged

    def _at(self, when: float, act: Any) -> None:
        heapq.heappush(self._events, (round(when), next(self._order), act))

    def _hop(self, name: str) -> float:
        return self.random.choice(_times(name))

    def _request(self) -> float:
        """Milliseconds until a page's message is stored."""
        return NETWORK + self._hop("gateway") + self._hop("dynamodb")

    def _judge(self) -> None:
        """Enter the time since the last change of the truth or of what is shown."""
        since = max(self._since, self.judged_from)
        if self.now > since:
            self.judged.off[abs(self.shown - self.true)] += self.now - since
            self.judged.stated += self.stated * (self.now - since)
        self._since = self.now

    # ------------------------------------------------------------------------------- the people

    def _gap(self) -> float:
        """Milliseconds until the next one comes."""
        rate = self.sessions / (self.mean_visit * SECOND)
        if self.waves:
            rate *= 1 + 0.5 * math.sin(2 * math.pi * (self.now - NOON) / WAVE)
        return self.random.expovariate(rate)

    def _arrive(self) -> None:
        self._join()
        self._at(self.now + self._gap(), self._arrive)

    def _join(self) -> None:
        stays = max(SHORTEST_VISIT, self.random.expovariate(1 / self.mean_visit)) * SECOND
        crashes = self.random.random() < CRASHES
        one = _Session(round(self.now + stays), crashes, self.now, next(self._numbers))
        self._judge()
        self.true += 1
        self._at(one.ends_at, partial(self._go, one))
        self._at(self.now + self._request(), partial(self._stored, one))

    def _stored(self, one: _Session) -> None:
        """A join is stored."""
        self.stored += 1
        self.rows += 1
        self._changed(came=one)
        if one.crashes:  # all others leave before their lease is over, whenever they beat
            self._beat(one)

    def _beat(self, one: _Session) -> None:
        if one.expires and self.now >= one.ends_at:
            return
        if self._interval_of != (self.version, self.now // SECOND):
            self._interval_of = self.version, self.now // SECOND
            self._interval = interval_of(self.kind, "active", self.crowd, self.now)
        interval = self._interval
        one.expires = self.now + interval.lease * SECOND
        self.judged.beats += 1
        self.judged.waited += interval.beat
        wait = interval.beat * SECOND * (1 + self.random.random() / 20)
        self._at(self.now + wait, partial(self._beat, one))

    def _go(self, one: _Session) -> None:
        self._judge()
        self.true -= 1
        if self.replaced:
            self._join()
        if one.crashes:
            # Its last beat may be on its way.
            self._at(self.now + self._request() + 1, partial(self._crashed, one))
        else:
            self._at(self.now + self._request() + 1, partial(self._leave, one))

    def _crashed(self, one: _Session) -> None:
        self._at(one.expires, partial(self._expire, one))

    def _leave(self, one: _Session) -> None:
        """A leave of a page that may come back: it counts for a moment longer."""
        one.expires = self.now + RETURN_GRACE
        self._at(one.expires, partial(self._expire, one))
        self._changed(until=one.expires, went=one)

    def _expire(self, one: _Session) -> None:
        self.stored -= 1
        self._to_sweep.append((self.now, one))

    # -------------------------------------------------------------------------------- the stack

    def _sweep(self) -> None:
        """End the visits whose lease is over, or that did not come back."""
        for at, one in self._to_sweep:
            seconds = (one.ends_at - one.began) // SECOND
            # As VisitDuration.from_session: the last bit says whether it was lost.
            mark = (2 * one.number + one.crashes).to_bytes(3, "big")
            self._ended.append(VisitDuration(at // SECOND, mark, seconds))
            self._deleted.append(self.now + DELETED_AFTER)
            self._changed(went=one)
        self._to_sweep.clear()

    def _changed(
        self, until: int = 0, came: _Session | None = None, went: _Session | None = None
    ) -> None:
        """The stream tells ``count``, a while later."""
        self._at(self.now + self._hop("stream"), partial(self._count, until, came, went))

    def _count(
        self, until: int, came: _Session | None = None, went: _Session | None = None
    ) -> None:
        """Recount now, soon, or by the queue: as ``Counter`` decides."""
        self._changes += until == 0
        if came is not None:
            self._came.add(came.number)
        if went is not None and went.expires > self.counted_at - _SEEN_AFTER:
            self._went[went.number] = max(self.now, until)
        self._until = max(self._until, until)
        crowded = self._rush or (self.version and self._changes >= crowding(self.rows))
        at = due_after(self.paid_until, pace(self.rows)) if self.version else 0
        if max(len(self._came), len(self._went)) <= self._few:
            at = self.counted_at + pace(self.rows, facets=True, unheard=True)
        if crowded:
            at = min(at, self.counted_at + CROWD_PACE)
        at = max(at, self.now, until)
        if at - self.now > MAX_WAIT and not crowded:
            at = round(self.now + whole_seconds(at - self.now) * SECOND + self._hop("queue"))
        if self.stored >= CROWD:
            at = max(at, self.published_until)
        else:
            at = max(at, due_after(self.published_until, PACE))
        if self._due is None or at < self._due:
            self._due = at
            self._at(at, partial(self._recount, at))

    def _recount(self, due: int) -> None:
        """Read the rows, and publish."""
        if due != self._due:
            return  # one that came earlier included it
        self._due = None
        self._deleted = [at for at in self._deleted if at > self.now]
        self.rows = self.stored + len(self._to_sweep) + len(self._deleted)
        soon = self.version and self.now - self.counted_at <= 2 * CROWD_PACE
        self._rush = bool(soon and self._changes >= crowding(self.rows))
        self._changes = 0
        self._came.clear()
        self._went = {one: until for one, until in self._went.items() if until > self.now}
        unheard = self.stored > ATTENTIVE
        self._few = few(self.stored, self.kind.accuracy) if unheard else -1
        self.version += 1
        self.counted_at = self.now
        self.paid_until = paid_after(self.paid_until, pace(self.rows), self.now)
        if self._ended:
            self.durations = latest(self.durations, self._ended)
            self._ended.clear()
        self.crowd = Crowd(self.stored, ends_of(self.durations))
        interval = CROWD_PACE if self.stored >= CROWD else PACE
        self.published_until = paid_after(self.published_until, interval, self.now)
        stated = accuracy_of(self.kind, self.crowd, self.now)
        reading = self._hop("dynamodb") * 6 + self._hop("post") + NETWORK
        self._at(self.now + reading, partial(self._show, self.stored, stated))
        if self.now < self._until:
            self._count(self._until)

    def _show(self, people: int, stated: int) -> None:
        self._judge()
        self.shown, self.stated = people, stated


@cache
def _times(name: str) -> list[float]:
    """How many milliseconds each of a thousand events takes."""
    return [hops()[name].at((one + 0.5) / 1000) for one in range(1000)]


class _Observed(Replay):
    """A replay by the real handlers, whose published count is compared with its people: always as
    many, because each visitor who goes is followed by another at once."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.judged = Judged(self.scenario.viewers)
        self._headcounts = self.world.services("api").headcounts

    def play(self) -> None:
        """Play it, and look each second of the window."""
        start = self.agenda.now + round(PAGE_EVERY * SECOND)
        for at in range(start, start + self.scenario.seconds * SECOND, SECOND):
            self.agenda.at(at, self._look)
        super().play()

    def _play_watched(self, start: int, end: int) -> None:
        """Without a dashboard, which would have everything counted sooner."""

    def _look(self) -> None:
        published = self._headcounts.get(SITE)
        self.judged.off[abs(published.tally.people - self.scenario.viewers)] += SECOND
        self.judged.stated += (published.accuracy or 0) * SECOND


def by_handlers(seed: int, sessions: int, visits: int, judged: int) -> Judged:
    """Play a schedule of visits of so many seconds by the real handlers, on the engine in memory,
    and judge it for so many."""
    scenario = Scenario(sessions, judged, visits, seed=seed)
    with memory_engine() as engine:
        world = BilledWorld(engine, Timeline(), Ledger(prices()), **scenario.parameters)
        try:
            with world.metered():
                observed = _Observed(world, scenario)
                observed.play()
        finally:
            world.close()
    return observed.judged


def play(seed: int, sessions: int) -> Judged:
    """Play one schedule."""
    return Schedule(seed, sessions).run()


def total(judged: Iterable[Judged]) -> Judged:
    """All of them together."""
    first, *rest = judged
    for one in rest:
        first.add(one)
    return first


def row_of(one: Judged) -> tuple[str, ...]:
    """A row of the table."""
    return (
        f"{one.sessions:,}",
        f"{one.schedules:,}",
        f"{one.interval:.0f}",
        f"{one.mean:.2f}",
        f"{one.within(0.99):,}",
        f"{one.bound:.2f}",
        f"{one.held / one.schedules:.0%}",
    )


HEAD = (
    *("sessions", "schedules", "s between beats", "mean difference", "99 % of the time within"),
    *("stated", "schedules within"),
)

REAL = {10: 8, 100: 2}
"""Schedules by the real handlers, by the number of sessions."""
_VISITS = 600  # seconds, there
_LIKE_IT = 10  # schedules of ours for each of those


def compared(sessions: int, schedules: int, pool: ProcessPoolExecutor) -> tuple[Judged, Judged]:
    """The real handlers' schedules, and ours of the same kind."""
    real = partial(by_handlers, sessions=sessions, visits=_VISITS, judged=JUDGED // SECOND)
    ours = partial(_as_by_handlers, sessions)
    return (
        total(pool.map(real, range(1, schedules + 1))),
        total(pool.map(ours, range(_LIKE_IT * schedules))),
    )


def _as_by_handlers(sessions: int, seed: int) -> Judged:
    return Schedule(seed, sessions, mean_visit=_VISITS, replaced=True).run()


def page(done: Sequence[Judged], compared: Iterable[tuple[Judged, Judged]]) -> str:
    """The whole page, as Markdown."""
    schedules = sum(one.schedules for one in done)
    real = [
        (
            f"{real.sessions}",
            *(f"{number}" for number in (real.schedules, ours.schedules)),
            *(f"{number:.2f}" for number in (real.mean, ours.mean)),
            *(f"{one.within(0.99)}" for one in (real, ours)),
        )
        for real, ours in compared
    ]
    head = ("sessions", "schedules", "ours", "mean difference", "ours", "99 % within", "ours")
    return f"""# How far a shown count is from the truth

Made by `make accuracy ARGS=--write`; never edit the numbers here. Each headcount says how far it
is from the truth in the mean (`accuracy`): a visitor who crashes counts until the lease is over,
and a version is a moment late. Here an oracle knows at each moment who is there, in
{schedules:,} schedules of {JUDGED // MINUTE} minutes. |shown - true|, in people:

{table(HEAD, map(row_of, done))}

- {CRASHES:.0%} of the visits end without a leave. Visits last {MEAN_VISITS[0] / 60:g} to
  {MEAN_VISITS[1] / 60:g} minutes in the mean of a schedule (its logarithm is random), and are
  exponentially distributed within it. In every other schedule people come in waves, half to one
  and a half times as many. {UNSEEN // MINUTE} more minutes, in which all come, are not judged.
- *Stated* is the mean of what the headcounts stated; *schedules within* those whose own mean
  difference is at most their own mean statement.
- A space whose visits are short loses many visitors a minute, so its bound is more than 1 %, and
  it beats every 30 s: nothing shorter is chosen.
- Each leave is one of a page that may come back, and counts for another
  {RETURN_GRACE / SECOND:g} s. Sweeps run at a random moment of each minute.

What decides is the product's: intervals and leases, the pace of recounts and versions, which
visits were lost, the statement. What is modelled: stores, and the streams between them by the
times that AWS's were measured at (`lab/bench/hops.toml`). Nobody watches the space, nor listens.
People are not signed in, have one tab, and change no page, which would only bring more recounts. No
fault strikes; that is what `make soak` is for.

The model beside the real handlers on the engine in memory, with visits of {_VISITS // 60} minutes
in a space that is always full:

{table(head, real)}
"""


def main() -> int:
    """Play all schedules, and print the page."""
    parser = argparse.ArgumentParser(prog="make accuracy", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)} too")
    parser.add_argument(
        "--share", type=float, default=1, help="share of the schedules: only tests that it runs"
    )
    args = parser.parse_args()
    if args.write and args.share != 1:
        parser.error("--write needs all schedules: leave out --share")
    done, beside = [], []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for sessions, schedules in PLAN.items():
            many = max(1, round(schedules * args.share))
            done.append(total(pool.map(partial(play, sessions=sessions), range(many))))
            print(f"| {' | '.join(row_of(done[-1]))} |", file=sys.stderr, flush=True)
        for sessions, schedules in REAL.items():
            if args.share == 1 or sessions == min(REAL):
                many = max(1, round(schedules * args.share))
                beside.append(compared(sessions, many, pool))
    text = page(done, beside)
    print(text)
    if args.write:
        PAGE.write_text(text)
    return int(any(one.mean > one.bound for one in done))


if __name__ == "__main__":
    sys.exit(main())
