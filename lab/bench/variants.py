"""What people and roll-ups cost: both can be turned off, so each is replayed with and without.

Noting where people are is a part of the ledger of its own. Roll-ups add to several parts, so they
are the difference between two replays of the same visitors, and calculated from it for any number
of viewers: the index of people costs by the visit, recounts of its parts by their rhythm.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from headcount.model.headcount import paid_after
from headcount.model.session import Write
from headcount.settings import Settings
from headcount.store.rollups import PartCount
from headcount.times import CLOCKS_DIFFER, HOUR, MINUTE, SECOND
from headcount.usecases.rollups import RollupMarker, part_pace

from lab.bench.ledger import PEOPLE, ROLL_UPS, Part
from lab.bench.model import VIEWERS_PARTS, measured, rhythm, shards_of
from lab.bench.prices import Amounts, Prices, Usage
from lab.bench.replay import CRASHES, Outcome, Scenario
from lab.bench.timeline import Timeline

_MANY = 2.0
"""Leaves a second from which ten minutes are as good as an hour."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replays of the same visitors."""

    without: Outcome
    rolled: Outcome  # with roll-ups

    @property
    def dollars(self) -> float:
        """What roll-ups add to 1,000 viewer-hours."""
        without, rolled = measured(self.without), measured(self.rolled)
        parts = (*VIEWERS_PARTS, ROLL_UPS)
        return sum(rolled.get(name, 0) - without.get(name, 0) for name in parts)

    @property
    def entries(self) -> float:
        """Entries of a part of the index."""
        return self.rolled.scenario.viewers / parts_of(self.rolled.scenario.viewers)

    def more(self, part: str) -> Part:
        """What roll-ups add to a part of the ledger."""
        without, rolled = self.without.ledger.parts[part], self.rolled.ledger.parts[part]
        found = Part(times=rolled.times)
        for amounts, sign in ((rolled, 1), (without, -1)):
            found.usage.add(amounts.usage.times(sign))
            found.operations.add(amounts.operations.times(sign))
        return found


@dataclass(frozen=True, slots=True)
class Variants:
    """Replays with and without what can be turned off."""

    nobody: Outcome  # without people and roll-ups
    small: Pair
    middle: Pair


@dataclass(frozen=True, slots=True)
class PartRhythm:
    """How often the parts of the index of people are recounted, all together."""

    tasks: float  # an hour
    recounts: float  # an hour
    entries: float  # of a part


def parts_of(viewers: int) -> int:
    """The parts of the index of people in a deployment with the shards that a space needs."""
    return Settings({"ROLL_UPS": f"{shards_of(viewers)} on"}).parts


def part_rhythm(scenario: Scenario, batches: float) -> PartRhythm:
    """The rhythm of the parts; ``batches``: those that ``count`` handles in an hour, of a shard."""
    # A leave comes with the next visitor's join; the end of a crash comes alone, and later.
    rate = scenario.viewers / scenario.visit_seconds * (1 + CRASHES)
    shards = shards_of(scenario.viewers)
    return _played(scenario.viewers, parts_of(scenario.viewers), rate, shards, batches)


@cache
def _played(viewers: int, parts: int, rate: float, shards: int, batches: float) -> PartRhythm:
    """The real marker, without a database."""
    agenda = Timeline()
    table = _Parts(agenda, viewers / parts)
    stand_in: Any = table
    marker = RollupMarker(stand_in, stand_in, parts, agenda)
    chance = random.Random(1)  # noqa: S311 - a script, not a secret
    period = 3600 / batches

    def batch() -> None:
        changes, at = 0, chance.expovariate(rate / shards)
        while at < period and changes < 5 * parts:  # more change nothing
            changes += 2
            at += chance.expovariate(rate / shards)
        marker.mark([_change(chance) for _ in range(changes)])
        agenda.at(agenda.now + period * SECOND, batch)

    start = agenda.now
    for _ in range(shards):
        agenda.at(start + chance.random() * period * SECOND, batch)
    window = HOUR if rate < _MANY else 10 * MINUTE
    agenda.run_until(start + window)
    by = HOUR / window
    return PartRhythm(table.tasks * by, table.recounts * by, table.rows)


@dataclass
class _Change:
    """A join, with the fields that the marker reads."""

    person: str
    write: Write = Write.JOIN


def _change(chance: random.Random) -> Any:
    return _Change(f"v:{chance.random()}")


@dataclass
class _Parts:
    """Stands in for the table of parts, and for the queue: recounts those that are due."""

    clock: Timeline
    rows: float
    tasks: int = 0
    recounts: int = 0
    counted: dict[int, PartCount] = field(default_factory=dict)

    def parts(self) -> list[PartCount]:
        return list(self.counted.values())

    def roll_up(self, parts: Iterable[int], *, at: int, after: int) -> None:
        self.tasks += 1

        def run() -> None:
            for part in parts:
                self._recount(part, at)

        self.clock.at(self.clock() + after * SECOND, run)

    def _recount(self, part: int, at: int) -> None:
        """As ``RollupRecounter`` does."""
        before, now = self.counted.get(part, PartCount(part)), self.clock()
        if at + CLOCKS_DIFFER < before.counted_at <= now + CLOCKS_DIFFER:
            return
        self.recounts += 1
        rows = round(self.rows)
        paid = paid_after(before.paid_until, part_pace(rows), now)
        self.counted[part] = PartCount(part, rows=rows, counted_at=now, paid_until=paid)


@dataclass(frozen=True, slots=True)
class RollUpModel:
    """What roll-ups add to any number of viewers, fitted to two pairs of replays."""

    prices: Prices
    variants: Variants

    def usage(self, scenario: Scenario, *, steady: bool = True) -> Usage:
        """What they add in an hour of the scenario's viewers."""
        batches = rhythm(scenario, self.prices, steady=steady).batches
        beat = part_rhythm(scenario, batches)
        recount = self._recount(beat.entries)
        visits = scenario.viewers * 3600 / scenario.visit_seconds
        usage: Usage = Amounts({"write_units": visits * written_in_a_visit(self.variants.middle)})
        usage.add({"lambda_requests": beat.tasks, "queue_requests": 3 * beat.tasks})
        usage.add(self._published(scenario.viewers).times(beat.tasks))
        usage.add(recount.times(beat.recounts))
        usage.add({"write_units": beat.recounts})
        usage.add(recount.times(60 * parts_of(scenario.viewers)))  # the sweeps'
        usage.add(self._swept().times(60))
        return usage

    def _recount(self, entries: float) -> Usage:
        """The reads of a recount, interpolated between both pairs."""
        low, high = self.variants.small, self.variants.middle
        found: Usage = Amounts()
        for name in ("read_units", "lambda_gb_seconds"):
            few, many = (_each_recount(one, name) for one in (low, high))
            by_entry = max(0.0, many - few) / max(1.0, high.entries - low.entries)
            found[name] = max(few, few + by_entry * (entries - low.entries))
        return found

    def _published(self, viewers: int) -> Usage:
        """What follows a task: ``publish`` makes versions; before it, ``count`` read the parts."""
        small = viewers <= self.variants.small.rolled.scenario.viewers
        pair = self.variants.small if small else self.variants.middle
        usage: Usage = Amounts()
        for part in ("recounts", "publishes"):
            usage.add(pair.more(part).usage)
        usage["queue_requests"] = 0  # the tasks'
        return usage.times(1 / max(1, pair.rolled.ledger.parts[ROLL_UPS].times))

    def _swept(self) -> Usage:
        """What a sweep does for roll-ups, but for its recounts."""
        more = self.variants.middle.more("sweeps")
        units = {
            "write_units": more.operations["BatchWriteItem", "history"],
            "read_units": more.operations["BatchGetItem", "headcounts"]
            + more.operations["Query", "counts"],
        }
        return Amounts(units).times(1 / max(1, more.times))


def _each_recount(pair: Pair, name: str) -> float:
    part = pair.rolled.ledger.parts[ROLL_UPS]
    return part.usage[name] / max(1, part.calls_of["PutItem", "counts"])


def written_in_a_visit(pair: Pair) -> float:
    """Write units that roll-ups add to a visit: entries of the index, with the sessions' rows."""
    index = sum(
        pair.more(part).operations[operation, "presence"]
        for part in ("joins", "page changes", "leaves", "sweeps")
        for operation in ("PutItem", "UpdateItem")
    )
    return index / max(1, pair.rolled.ledger.counts["visits"])


def people_units(outcome: Outcome) -> float:
    """Write units of a join, and of a leave, in the row of its person."""
    part = outcome.ledger.parts[PEOPLE]
    what = "UpdateItem", "people"
    return part.operations[what] / max(1, part.calls_of[what])
