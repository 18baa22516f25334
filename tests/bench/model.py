"""What any number of viewers costs, from what a few were seen to cost. Pure.

What a visitor's own requests cost does not depend on the others. What does is how often a shard is
recounted and published, and how many rows a recount and a sweep read: that follows from the pace,
the batching window and the rate of changes, and is what this works out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from headcount.counting import Counter, Recounter
from headcount.session import Write
from headcount.stays import Stays
from headcount.store.counts import Count
from headcount.sweeping import BIN_ENDED_AFTER
from headcount.times import HOUR, MINUTE, SECOND

from tests.bench.ledger import Part
from tests.bench.prices import Amounts, Prices, Usage
from tests.bench.replay import CRASHES, PAGE_EVERY, Outcome, Scenario, glance_units
from tests.bench.timeline import Timeline
from tests.support.template import template
from tests.support.world import SITE

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
    "recounts",
    "publishes",
    "sweeps",
    "days",
)
"""What is there because viewers are. What dashboards cost depends on how many of those watch."""

_PER_VISIT_IN_SWEEPS = {
    ("BatchGetItem", "visits"),
    ("DeleteItem", "presence"),
    ("PutItem", "presence"),
}


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a shard is recounted."""

    rows: float  # that a recount reads
    recounts: float  # an hour
    batches: float  # an hour
    errands: float  # an hour
    slept: float  # seconds an hour, in a function that waits for its turn

    @property
    def period(self) -> float:
        """Seconds from one recount to the next."""
        return 3600 / self.recounts


def shards_of(viewers: int) -> int:
    """Shards a space of that size needs."""
    return math.ceil(viewers / VIEWERS_PER_SHARD)


def rhythm(scenario: Scenario, prices: Prices, *, steady: bool = True) -> Rhythm:
    """A shard's rhythm in a space of so many; ``steady``: also long after the window."""
    viewers = scenario.viewers / shards_of(scenario.viewers)
    kept = (BIN_ENDED_AFTER + MINUTE / 2) / SECOND
    if steady:
        there = kept
    elif scenario.seconds > kept:
        there = kept * (1 - kept / 2 / scenario.seconds)
    else:
        there = scenario.seconds / 2
    rows = viewers * (1 + there / scenario.stay)
    people, facets = viewers / scenario.stay, viewers / PAGE_EVERY
    # With more, every window has one in it, and more of them change nothing.
    fewer = min(1.0, _MANY / (people + facets))
    delay = prices.assumed["stream_delay"]
    return _played(round(rows), people * fewer, facets * fewer, delay)


@cache
def _played(rows: int, people: float, facets: float, delay: float) -> Rhythm:
    """The real counter with nothing to read or write, in an hour in which so many a second come
    and go, or change."""
    agenda = Timeline()
    seen = _Rhythm(agenda, rows)
    later = _Later(seen)
    stand_in: Any = seen
    counter = Counter(stand_in, later, stand_in, agenda, agenda.sleep)
    (source,) = template().events("count", "DynamoDB")
    window = source["MaximumBatchingWindowInSeconds"]
    chance = random.Random(1)  # noqa: S311 - a script, not a secret

    def wake() -> None:
        """A change is seen after the delay, and handled with those of the window."""
        seen.batches += 1
        agenda.spawn(count)

    def count() -> None:
        came = chance.random() < people / (people + facets)
        came |= bool(people) and chance.expovariate(people) < window  # behind the first
        change: Any = _Change(Write.JOIN if came else Write.CHANGE)
        counter.count([change])
        rest()

    def rest() -> None:
        """Until the next change; one that comes at once is seen with those of before."""
        wait = chance.expovariate(people + facets)
        agenda.at(agenda.now + (window + delay + (wait if wait > delay else 0)) * SECOND, wake)

    rest()
    agenda.run_until(agenda.now + HOUR)
    slept = sum(agenda.slept)
    return Rhythm(rows, seen.recounts, seen.batches, seen.errands, slept)


@dataclass
class _Change:
    """A change as the counter looks at it."""

    write: Write
    id: str = ""
    space: str = SITE
    shard: int = 0
    visit: str = ""
    ended: bool = False


def joins_look_into(shards: int) -> int:
    """Rows that a join reads: where there are several shards the session in each, and then once
    more whether its leave overtook it. A leave reads the session in each, be there one or more."""
    return shards + 1 if shards > 1 else 0


@dataclass
class _Rhythm:
    """Recounts that only note when they were, and visits that never begin or end."""

    clock: Timeline
    rows: int
    recounts: int = 0
    batches: int = 0
    errands: int = 0
    at: int = 0

    @property
    def counts(self) -> _Rhythm:
        return self

    def shard(self, *of: Any) -> Count:
        space, shard = of
        return Count(space, shard, version=1, rows=self.rows, counted_at=self.at)

    def recount(self, *_: Any) -> None:
        self.recounts += 1
        self.at = self.clock()

    def record(self, visits: Any) -> None:
        assert not list(visits)

    end = record


@dataclass
class _Later:
    """Recounts that are left for later."""

    seen: _Rhythm

    def recount(self, space: str, shard: int, *, at: int, stays: Stays, after: int) -> None:
        self.seen.errands += 1
        recounter: Any = self.seen

        def run() -> None:
            Recounter.recount_since(recounter, space, shard, at=at, gone=stays)

        self.seen.clock.at(self.seen.clock() + after * SECOND, run)


@dataclass(frozen=True, slots=True)
class Model:
    """Fitted to a small and a large replay of visits of the same length."""

    prices: Prices
    small: Outcome
    large: Outcome

    def parts(self, scenario: Scenario, *, steady: bool = True) -> dict[str, Usage]:
        """The usage of an hour of that many viewers, by part; dashboards are left out.

        With ``steady`` False, as it is in the scenario's own window, before which nobody ended.
        """
        ledger = self.small.ledger
        per_hour = scenario.viewers * 3600 / scenario.stay
        visits = ledger.counts["visits"]
        beat_rate = scenario.viewers / scenario.way.every
        hours = self.small.scenario.viewer_hours
        parts: dict[str, Usage] = {}
        for name in ("beats", "page changes"):
            parts[name] = ledger.parts[name].usage.times(scenario.viewers / hours)
            requests = ledger.parts[name].times / hours * scenario.viewers
            parts[name]["read_units"] = requests * self._glances(beat_rate)
        parts["joins"] = each(ledger.parts["joins"]).times(per_hour)
        parts["joins"]["read_units"] = per_hour * self._glances(beat_rate)
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
        parts["sweeps"] = self._sweeps(scenario, beat, shards, per_hour, steady=steady)
        return parts

    def per_thousand(self, scenario: Scenario, *, steady: bool = True) -> dict[str, float]:
        """Dollars per 1,000 viewer-hours, by part."""
        scale = 1000 / scenario.viewers
        parts = self.parts(scenario, steady=steady)
        return {name: self.prices.cost(usage) * scale for name, usage in parts.items()}

    def _glances(self, beat_rate: float) -> float:
        """Read units of a request for the published count, which a process keeps for a second."""
        part = self.small.ledger.parts["beats"]
        seconds = part.usage["lambda_gb_seconds"] / part.times
        seconds *= 1024 / template().functions["api"]["MemorySize"]
        return glance_units(beat_rate / max(1.0, beat_rate * seconds))  # of one process

    def _recounts(self, beat: Rhythm) -> Usage:
        """An hour of a shard: its recounts, and the invocations that found it was no time yet."""

        def each_recount(value: Callable[[Part], float]) -> float:
            return self._by_rows(
                beat.rows,
                lambda one: value(one.ledger.parts["recounts"]) / one.ledger.counts["recounts"],
            )

        # What a recount reads is the line through both replays; what else is read is counted.
        reads = each_recount(lambda part: part.operations["Query", "presence"])
        pages = math.ceil(reads / _UNITS_OF_A_PAGE)
        invocations = beat.batches + beat.errands
        memory = template().functions["count"]["MemorySize"]
        seconds = self.prices.seconds(
            cpu=beat.recounts * each_recount(lambda part: part.cpu),
            memory=memory,
            waited=self.prices.assumed["dynamodb_wait"]
            * (invocations + beat.recounts * (2 + pages))
            + self.prices.assumed["queue_wait"] * beat.errands
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
            queue_requests=3 * beat.errands,
        )

    def _publish(self, viewers: int, shards: int) -> Usage:
        """One version of a space with so many shards, each of whose rows is read for it."""
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
        """The rows of visits; what begins in one batch shares an update of the views."""
        part, visits = self.small.ledger.parts["visits"], self.small.ledger.counts["visits"]
        joins = per_hour / shards / beat.batches
        batches = shards * beat.batches * (1 - math.exp(-joins))
        ends = part.operations["UpdateItem", "visits"] / visits
        stored = part.usage["stored_gb_months"] / visits
        return _usage(
            write_units=per_hour * (2 + ends) + 2 * batches, stored_gb_months=per_hour * stored
        )

    def _sweeps(
        self, scenario: Scenario, beat: Rhythm, shards: int, per_hour: float, *, steady: bool
    ) -> Usage:
        """Sixty sweeps; of what they do for visits, as much as falls into the window."""
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
            bins = max(0.0, 1 - BIN_ENDED_AFTER / SECOND / scenario.seconds)
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
        """A value that grows with the rows read: the line through both replays."""
        low, high = (
            rhythm(one.scenario, self.prices, steady=False).rows for one in (self.small, self.large)
        )
        return _line(rows, low, value(self.small), high, value(self.large))

    def _by_digits(self, rows: float, value: Callable[[Outcome], float]) -> float:
        """A value that grows with the digits of the numbers in a row."""
        low, high = (math.log10(one.scenario.viewers) for one in (self.small, self.large))
        found = _line(math.log10(rows), low, value(self.small), high, value(self.large))
        return max(found, min(value(self.small), value(self.large)))


def _each_version(outcome: Outcome, name: str) -> float:
    part = outcome.ledger.parts["publishes"]
    return part.usage[name] / part.times


def _of_rows(outcome: Outcome, name: str) -> float:
    """What a sweep reads or writes whether or not a visit ended."""
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


def each(part: Part) -> Usage:
    """A part's usage, each time."""
    return part.usage.times(1 / max(1, part.times))


def _usage(**amounts: float) -> Usage:
    return Amounts(amounts)


def measured(outcome: Outcome) -> dict[str, float]:
    """Dollars per 1,000 viewer-hours that a replay came to, by part."""
    ledger = outcome.ledger
    scale = 1000 / outcome.scenario.viewer_hours
    return {name: ledger.prices.cost(part.usage) * scale for name, part in ledger.parts.items()}


def of_size(scenario: Scenario, viewers: int) -> Scenario:
    """The same with more or fewer viewers."""
    return replace(scenario, viewers=viewers)
