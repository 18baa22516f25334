"""The cost of any number of viewers, calculated from the measured cost of a few. Pure.

The cost of a visitor's own requests does not depend on other visitors. How often a shard is
recounted and published, and how many rows a recount and a sweep read, does: it follows from the
pace, the batching window and the rate of changes.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from headcount.model.durations import RecentDurations
from headcount.model.headcount import paid_after
from headcount.model.intervals import ATTENTIVE
from headcount.model.session import Write
from headcount.model.tally import Tally
from headcount.store.counts import ShardCount
from headcount.times import HOUR, MINUTE, SECOND
from headcount.usecases.cleanup import DELETE_ENDED_AFTER
from headcount.usecases.count import Counter, Recounter, pace

from lab.bench.ledger import PEOPLE, Part
from lab.bench.prices import Amounts, Prices, Usage
from lab.bench.replay import CRASHES, PAGE_EVERY, Outcome, Scenario, Transport, count_read_units
from lab.bench.timeline import Timeline
from lab.harness.template import template
from lab.harness.world import SITE

_MANY = 20.0
"""Changes a second."""

_UNITS_OF_A_PAGE = 256
"""A query's page ends at 1 MB."""

VIEWERS_PER_SHARD = 30_000
"""One partition takes 1,000 writes a second."""

VIEWERS_PARTS = (
    "connections",
    "beats",
    "joins",
    "page changes",
    "leaves",
    "visits",
    PEOPLE,
    "recounts",
    "publishes",
    "sweeps",
    "days",
)
"""The parts that viewers cause. The cost of dashboards depends on their own number."""

_PER_VISIT_IN_SWEEPS = {
    ("BatchGetItem", "visits"),
    ("DeleteItem", "presence"),
    ("PutItem", "presence"),
}


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a shard is recounted."""

    rows: float  # read by a recount
    recounts: float  # an hour
    batches: float  # an hour
    deferred: float  # an hour
    slept: float  # seconds an hour, in a function that waits for the pace

    @property
    def period(self) -> float:
        """Seconds from one recount to the next."""
        return 3600 / self.recounts


def shards_of(viewers: int) -> int:
    """The shards that a space of this size needs."""
    return math.ceil(viewers / VIEWERS_PER_SHARD)


def rhythm(scenario: Scenario, prices: Prices, *, steady: bool = True) -> Rhythm:
    """The rhythm of a shard; ``steady``: in the long run, not only in the scenario's window."""
    viewers = scenario.viewers / shards_of(scenario.viewers)
    kept = (DELETE_ENDED_AFTER + MINUTE / 2) / SECOND
    if steady:
        there = kept
    elif scenario.seconds > kept:
        there = kept * (1 - kept / 2 / scenario.seconds)
    else:
        there = scenario.seconds / 2
    rows = viewers * (1 + there / scenario.visit_seconds)
    people, facets = viewers / scenario.visit_seconds, viewers / PAGE_EVERY
    # From this rate on, every window contains a change, so a higher rate makes no difference.
    fewer = min(1.0, _MANY / (people + facets))
    delay = prices.assumed["stream_delay"]
    return _played(round(rows), people * fewer, facets * fewer, delay)


@cache
def _played(rows: int, people: float, facets: float, delay: float) -> Rhythm:
    """An hour of the real counter without a database; ``people`` and ``facets`` are changes a
    second."""
    agenda = Timeline()
    recorder = _RhythmRecorder(agenda, rows)
    queue = _DeferredQueue(recorder)
    stand_in: Any = recorder
    counter = Counter(stand_in, queue, stand_in, agenda, agenda.sleep)
    (source,) = template().events("count", "DynamoDB")
    window = source["MaximumBatchingWindowInSeconds"]
    chance = random.Random(1)  # noqa: S311 - a script, not a secret
    before = [agenda.now]
    numbers = itertools.count()

    def change(*, joins: bool) -> Any:
        return _Change(Write.JOIN if joins else Write.CHANGE, str(next(numbers)))

    def wake() -> None:
        """Handle the changes of a window."""
        recorder.batches += 1
        agenda.spawn(count)

    def count() -> None:
        passed, before[0] = (agenda.now - before[0]) / SECOND, agenda.now
        changes = [change(joins=chance.random() < people / (people + facets))]  # what woke it
        at = chance.expovariate(people) if people else math.inf
        while at < min(passed, window + delay):  # and those who came meanwhile
            changes.append(change(joins=True))
            at += chance.expovariate(people)
        counter.count(changes)
        rest()

    def rest() -> None:
        """Wait for the next change; one within the stream's delay is in the same batch."""
        wait = chance.expovariate(people + facets)
        agenda.at(agenda.now + (window + delay + (wait if wait > delay else 0)) * SECOND, wake)

    rest()
    agenda.run_until(agenda.now + HOUR)
    slept = sum(agenda.slept)
    return Rhythm(rows, recorder.recounts, recorder.batches, recorder.deferred, slept)


@dataclass
class _Change:
    """A change with the fields that the counter reads."""

    write: Write
    id: str
    space: str = SITE
    shard: int = 0
    visit: str = ""
    ended: bool = False
    away: bool = False
    moved_at: None = None
    formerly: tuple[()] = ()


def joins_look_into(shards: int) -> int:
    """Rows that a join reads: with several shards the session in each, then once more whether its
    leave overtook it. A leave reads the session in every shard, even if there is only one."""
    return shards + 1 if shards > 1 else 0


@dataclass
class _RhythmRecorder:
    """Stands in for recounter and visits: records recounts; no visit begins or ends."""

    clock: Timeline
    rows: int
    recounts: int = 0
    batches: int = 0
    deferred: int = 0
    at: int = 0
    paid_until: int = 0

    @property
    def counts(self) -> _RhythmRecorder:
        return self

    def shard(self, *of: Any) -> ShardCount:
        space, shard = of
        return ShardCount(
            space,
            shard,
            version=1 + self.recounts,
            rows=self.rows,
            counted_at=self.at,
            paid_until=self.paid_until,
            # Nobody hears of it.
            tally=Tally(sessions=self.rows),
            unheard=self.rows > ATTENTIVE,
        )

    def recount(self, space: str, shard: int, *_: Any, **__: Any) -> ShardCount:
        self.recounts += 1
        self.at = self.clock()
        self.paid_until = paid_after(self.paid_until, pace(self.rows), self.at)
        return self.shard(space, shard)

    def record(self, visits: Any) -> None:
        assert not list(visits)

    end = record


@dataclass
class _DeferredQueue:
    """Runs deferred recounts when they are due."""

    recorder: _RhythmRecorder

    def recount(
        self, space: str, shard: int, *, at: int, durations: RecentDurations, after: int
    ) -> None:
        self.recorder.deferred += 1
        recounter: Any = self.recorder

        def run() -> None:
            Recounter.recount_since(recounter, space, shard, at=at, ended=durations)

        self.recorder.clock.at(self.recorder.clock() + after * SECOND, run)


@dataclass(frozen=True, slots=True)
class Model:
    """Fitted to a small and a large replay of visits of the same length."""

    prices: Prices
    small: Outcome
    large: Outcome

    def parts(self, scenario: Scenario, *, steady: bool = True) -> dict[str, Usage]:
        """The usage of an hour of the scenario's viewers, by part, without dashboards.

        If not ``steady``, as in the scenario's window, before which no visit ended.
        """
        ledger = self.small.ledger
        per_hour = scenario.viewers * 3600 / scenario.visit_seconds
        visits = ledger.counts["visits"]
        beat_rate = scenario.viewers / scenario.transport.interval(scenario.viewers)
        hours = self.small.scenario.viewer_hours
        parts: dict[str, Usage] = {}
        requests = {
            "beats": scenario.viewers * beats_an_hour(scenario.transport, scenario.viewers),
            "page changes": scenario.viewers * ledger.parts["page changes"].times / hours,
        }
        for name, times in requests.items():
            parts[name] = each(ledger.parts[name]).times(times)
            parts[name]["read_units"] = times * self._count_reads(beat_rate)
        parts["joins"] = each(ledger.parts["joins"]).times(per_hour)
        parts["joins"]["read_units"] = per_hour * self._count_reads(beat_rate)
        parts["leaves"] = each(ledger.parts["leaves"]).times(per_hour * (1 - CRASHES))
        parts["days"] = ledger.parts["days"].usage.times(per_hour / visits)
        beat = rhythm(scenario, self.prices, steady=steady)
        shards = shards_of(scenario.viewers)
        parts["joins"]["read_units"] += per_hour * joins_look_into(shards)
        parts["leaves"]["read_units"] += per_hour * (1 - CRASHES) * (shards - 1)
        parts["recounts"] = self._recounts(beat).times(shards)
        published = min(3600.0, shards * beat.recounts)
        parts["publishes"] = self._publish(scenario.viewers, shards).times(published)
        parts["visits"] = self._visits(per_hour, beat, shards)
        parts[PEOPLE] = self._people(scenario.viewers, per_hour, requests["page changes"])
        parts["sweeps"] = self._sweeps(scenario, beat, shards, per_hour, steady=steady)
        return parts

    def per_thousand(self, scenario: Scenario, *, steady: bool = True) -> dict[str, float]:
        """Dollars per 1,000 viewer-hours, by part."""
        scale = 1000 / scenario.viewers
        parts = self.parts(scenario, steady=steady)
        return {name: self.prices.cost(usage) * scale for name, usage in parts.items()}

    def _count_reads(self, beat_rate: float) -> float:
        """Read units of a request for the published count, which a process caches for a second."""
        part = self.small.ledger.parts["beats"]
        seconds = part.usage["lambda_gb_seconds"] / part.times
        seconds *= 1024 / template().functions["beat"]["MemorySize"]
        return count_read_units(beat_rate / max(1.0, beat_rate * seconds))  # of one process

    def _recounts(self, beat: Rhythm) -> Usage:
        """An hour of a shard: its recounts, and the invocations that deferred one."""

        def each_recount(value: Callable[[Part], float]) -> float:
            return self._by_rows(
                beat.rows,
                lambda one: value(one.ledger.parts["recounts"]) / one.ledger.counts["recounts"],
            )

        # The reads of sessions are interpolated between both replays; other reads are counted.
        reads = each_recount(lambda part: part.operations["Query", "presence"])
        pages = math.ceil(reads / _UNITS_OF_A_PAGE)
        invocations = beat.batches + beat.deferred
        memory = template().functions["count"]["MemorySize"]
        seconds = self.prices.seconds(
            cpu=beat.recounts * each_recount(lambda part: part.cpu),
            memory=memory,
            waited=self.prices.assumed["dynamodb_wait"]
            * (invocations + beat.recounts * (2 + pages))
            + self.prices.assumed["queue_wait"] * beat.deferred
            + beat.slept,
        )
        units = self._by_digits(
            beat.rows,
            lambda one: (
                one.ledger.parts["recounts"].usage["write_units"] / one.ledger.counts["recounts"]
            ),
        )
        row = self._by_digits(
            beat.rows,
            lambda one: (
                one.ledger.parts["recounts"].operations["GetItem", "counts"]
                / one.ledger.parts["recounts"].calls_of["GetItem", "counts"]
            ),
        )
        return _usage(
            read_units=beat.recounts * (reads + row) + invocations * row,
            write_units=beat.recounts * units,
            lambda_requests=invocations,
            lambda_gb_seconds=seconds * memory / 1024,
            queue_requests=3 * beat.deferred,
        )

    def _publish(self, viewers: int, shards: int) -> Usage:
        """One version of a space, for which the rows of all shards are read."""
        usage = Amounts(
            {
                name: self._by_digits(viewers, partial(_each_version, name=name))
                for name in self.small.ledger.parts["publishes"].usage
            }
        )
        part = self.large.ledger.parts["publishes"]
        row = part.operations["Query", "counts"] / part.times
        usage["read_units"] += row * (shards - 1)
        return usage

    def _visits(self, per_hour: float, beat: Rhythm, shards: int) -> Usage:
        """The rows of visits; those that begin in one batch share an update of the views."""
        part, visits = self.small.ledger.parts["visits"], self.small.ledger.counts["visits"]
        joins = per_hour / shards / beat.batches
        batches = shards * beat.batches * (1 - math.exp(-joins))
        ends = part.operations["UpdateItem", "visits"] / visits
        stored = part.usage["stored_gb_months"] / visits
        return _usage(
            write_units=per_hour * (2 + ends) + 2 * batches, stored_gb_months=per_hour * stored
        )

    def _people(self, viewers: int, per_hour: float, page_changes: float) -> Usage:
        """Where people are: a join and a leave write it, page changes look who watches, those of a
        batch at once; for each call ``count`` waits."""
        part = self.small.ledger.parts[PEOPLE]
        written = "UpdateItem", "people"
        each_write = part.operations[written] / max(1, part.calls_of[written])
        looks = self.small.ledger.parts["page changes"].times
        calls = 2 * per_hour + page_changes * self._by_digits(viewers, _looks)
        memory = template().functions["count"]["MemorySize"]
        return _usage(
            write_units=2 * per_hour * each_write,
            read_units=page_changes * part.usage["read_units"] / looks,
            lambda_gb_seconds=calls * self.prices.assumed["dynamodb_wait"] * memory / 1024,
        )

    def _sweeps(
        self, scenario: Scenario, beat: Rhythm, shards: int, per_hour: float, *, steady: bool
    ) -> Usage:
        """Sixty sweeps; their work for visits only as far as it is in the window."""
        small = self.small.ledger
        visits = small.counts["visits"]
        rows = beat.rows * shards
        part = small.parts["sweeps"]
        usage: Usage = _usage(schedules=60.0, lambda_requests=60.0)
        for name in ("read_units", "write_units"):
            usage[name] = 60 * self._by_rows(
                rows,
                lambda outcome, name=name: _of_rows(outcome, name),  # type: ignore[misc]
            )
        bins = 1.0
        if not steady:
            bins = max(0.0, 1 - DELETE_ENDED_AFTER / SECOND / scenario.seconds)
        for operation, units in part.operations.items():
            if operation in _PER_VISIT_IN_SWEEPS:
                name = "read_units" if operation[0].startswith("BatchGet") else "write_units"
                share = 1.0 if operation[0] == "PutItem" else bins
                usage[name] += per_hour * units / visits * share
        for name in ("lambda_gb_seconds", "log_bytes"):
            usage[name] = 60 * self._by_rows(
                rows,
                lambda outcome, name=name: (  # type: ignore[misc]
                    outcome.ledger.parts["sweeps"].usage[name]
                    / outcome.ledger.parts["sweeps"].times
                ),
            )
        return usage

    def _by_rows(self, rows: float, value: Callable[[Outcome], float]) -> float:
        """A value that grows with the rows read, interpolated between both replays."""
        low, high = (
            rhythm(one.scenario, self.prices, steady=False).rows for one in (self.small, self.large)
        )
        return _line(rows, low, value(self.small), high, value(self.large))

    def _by_digits(self, rows: float, value: Callable[[Outcome], float]) -> float:
        """A value that grows with the number of digits in a row, interpolated likewise."""
        low, high = (math.log10(one.scenario.viewers) for one in (self.small, self.large))
        found = _line(math.log10(rows), low, value(self.small), high, value(self.large))
        return max(found, min(value(self.small), value(self.large)))


def _looks(outcome: Outcome) -> float:
    """Calls for a page change: fewer than one, where they come in batches."""
    ledger = outcome.ledger
    return ledger.parts[PEOPLE].calls_of["BatchGetItem", "people"] / max(
        1, ledger.parts["page changes"].times
    )


def _each_version(outcome: Outcome, name: str) -> float:
    part = outcome.ledger.parts["publishes"]
    return part.usage[name] / part.times


def _of_rows(outcome: Outcome, name: str) -> float:
    """What a sweep reads or writes even if no visit ended."""
    part = outcome.ledger.parts["sweeps"]
    written = ("Put", "Update", "Delete", "BatchWrite")
    found = sum(
        units
        for operation, units in part.operations.items()
        if operation not in _PER_VISIT_IN_SWEEPS
        and operation[0].startswith(written) == (name == "write_units")
    )
    return found / part.times


def _line(x: float, x1: float, y1: float, x2: float, y2: float) -> float:
    return y1 + (y2 - y1) * (x - x1) / (x2 - x1)


def beats_an_hour(transport: Transport, viewers: int) -> float:
    """Steady beats of a viewer: those that come before the next page change, which is one, too."""
    between = transport.wait(0.5, transport.interval(viewers))
    return 3600 / PAGE_EVERY * math.floor(PAGE_EVERY / between)


def each(part: Part) -> Usage:
    """A part's average usage."""
    return part.usage.times(1 / max(1, part.times))


def _usage(**amounts: float) -> Usage:
    return Amounts(amounts)


def measured(outcome: Outcome) -> dict[str, float]:
    """A replay's dollars per 1,000 viewer-hours, by part."""
    ledger = outcome.ledger
    scale = 1000 / outcome.scenario.viewer_hours
    return {name: ledger.prices.cost(part.usage) * scale for name, part in ledger.parts.items()}


def of_size(scenario: Scenario, viewers: int) -> Scenario:
    """The scenario with another number of viewers."""
    return replace(scenario, viewers=viewers)
