"""Counting and sweeping from a thousand sessions to a million (`make bench-sizes`).

The real use cases on the real DynamoDB client, which gets pages of realistic rows, generated on
request. Each measurement runs in its own process. CPU time excludes generating the pages, and TLS.
ARGS="--million" goes to a million, ARGS="--most 1000" takes seconds, ARGS="--write" renews
docs/capacity.md.
"""

from __future__ import annotations

import argparse
import heapq
import json
import logging
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

from headcount.model.headcount import CountsChange
from headcount.times import DAY, HOUR, day_of, day_start
from headcount.usecases import cleanup as sweeping
from headcount.wiring import ROW_THREADS

from lab.bench.prices import Prices, prices
from lab.bench.quotas import quotas
from lab.bench.synthetic import DayOfVisits, Rows, Wire, services_on
from lab.harness.clock import NOON
from lab.harness.template import ROOT, template
from lab.harness.world import SITE

SIZES = (1_000, 10_000, 100_000)
MILLION = 1_000_000
MOST_ENDS = 30_000
"""Leases that run out at once: those of a shard. Each is a write, which takes the most time."""

FLAT_WITHIN = 2.0
"""The factor by which the extremes of CPU time per session may differ: the set of a million people
does not fit the processor's caches. Units differ less, only by rounding."""
FLAT_FROM = 10_000
"""Sessions from which on CPU time is compared: with fewer, the fixed cost of a run dominates."""

WITHIN = 60.0
"""The target for sweeping a million sessions, in seconds."""

_LOOK_EVERY = 0.05
_VERSIONS = 20
_PUBLISHED = 3_000


@dataclass(frozen=True, slots=True)
class Piece:
    """The cost of one invocation. ``parent`` queued it; None: it came from the schedule."""

    cpu: float
    pages: int
    writes: int
    calls: int
    rows: int
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The total cost of a part at a size."""

    part: str
    sessions: int
    shards: int
    cpu: float  # seconds
    read_units: float
    write_units: float
    calls: int
    peak: float  # MB more than the process used before
    row_bytes: int = 0
    pieces: Sequence[Piece] = field(default_factory=tuple)

    @property
    def microseconds(self) -> float:
        """CPU time per session."""
        return self.cpu / self.sessions * 1e6


# ---------------------------------------------------------------------------------------- the parts


class Meter:
    """What this process and its calls cost since the last lap."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._began = self._now()

    def _now(self) -> tuple[float, int, int]:
        calls = self.wire.calls
        pages = calls["Scan"] + calls["Query"]
        return time.process_time() - self.wire.cpu, calls.total(), pages

    def lap(self, rows: int, parent: int | None = None) -> Piece:
        """The cost since the last lap."""
        before, self._began = self._began, self._now()
        cpu, calls, pages = (new - old for new, old in zip(self._began, before, strict=True))
        return Piece(cpu, pages, calls - pages, calls, rows, parent)


def recount(wire: Wire) -> list[Piece]:
    """Recount every shard once."""
    recounter = services_on(wire, "count").recounter
    wire.forget()
    meter, pieces, counted = Meter(wire), [], 0
    for shard in range(wire.rows.shards):
        count = recounter.recount(SITE, shard)
        counted += count.tally.sessions
        pieces.append(meter.lap(count.rows))
    assert counted == wire.rows.live
    return pieces


def publish(wire: Wire) -> list[Piece]:
    """Publish versions of all shards, enough of them to measure the time."""
    _counted(wire)
    publisher = services_on(wire, "publish").publisher
    wire.forget()
    meter, pieces = Meter(wire), []
    for number in range(_VERSIONS):
        change = CountsChange(str(number + 1))
        publisher.publish(SITE, change, change)
        pieces.append(meter.lap(wire.rows.shards))
    return pieces


def sweep(wire: Wire) -> list[Piece]:
    """Sweep, with all the pieces that it queues; every shard differs from its count, as in a space
    where people come and go all the time."""
    _counted(wire)
    services_on(wire, "publish").publisher.publish(SITE, CountsChange("1"), CountsChange("1"))
    here = services_on(wire, "cleanup")
    queue: Any = here.sqs
    if wire.rows.sessions > sweeping.ROWS_PER_INVOCATION:
        here.sweeper.sweep()  # notices, once per process, that the table is large
        queue.bodies.clear()
    wire.forget()
    meter = Meter(wire)
    report = here.sweeper.sweep()
    pieces = [meter.lap(report.rows)]
    seen = ended = 0
    parents: list[int | None] = [0] * len(queue.bodies)
    for number, body in _growing(queue.bodies):
        piece = here.piece_runner.run(body)
        assert piece is not None
        assert not piece.failed
        assert not piece.repaired
        pieces.append(meter.lap(piece.rows, parents[number]))
        parents += [len(pieces) - 1] * (len(queue.bodies) - len(parents))
        seen, ended = seen + piece.sessions, ended + piece.ended
    assert (seen if queue.bodies else report.sessions) == wire.rows.live
    return pieces


def _growing(bodies: list[str]) -> Iterable[tuple[int, str]]:
    number = 0
    while number < len(bodies):
        yield number, bodies[number]
        number += 1


def daily(wire: Wire) -> list[Piece]:
    """Write the day's row of one space."""
    _counted(wire)
    services_on(wire, "publish").publisher.publish(SITE, CountsChange("1"), CountsChange("1"))
    tomorrow = day_start(day_of(NOON)) + DAY + HOUR
    aggregator = services_on(wire, "daily", tomorrow).aggregator
    wire.forget()
    meter = Meter(wire)
    assert aggregator.aggregate().written == 1
    assert wire.day is not None
    return [meter.lap(wire.day.visits)]


def _counted(wire: Wire) -> None:
    """Store a recent count of every shard that differs from its rows."""
    counter = services_on(wire, "count")
    few = Wire(Rows(min(wire.rows.sessions, _PUBLISHED)))
    tally = services_on(few, "count").recounter.recount(SITE, 0).tally
    for shard in range(wire.rows.shards):
        sessions = len(wire.rows.of_shard[shard])
        tally = replace(tally, sessions=sessions, anonymous=sessions - tally.signed_in)
        count = replace(counter.counts.shard(SITE, shard), tally=tally, version=1)
        assert counter.counts.save(replace(count, rows=sessions, counted_at=NOON - _PUBLISHED))


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is measured."""

    what: str
    run: Callable[[Wire], list[Piece]]
    wire: Callable[[int], Wire]


def _space(sessions: int) -> Wire:
    return Wire(Rows(sessions))


PARTS = {
    "recount": Part("recount of every shard", recount, _space),
    "publish": Part(f"{_VERSIONS} versions of all shards", publish, _space),
    "sweep": Part("sweep of a busy table", sweep, _space),
    "ends": Part("sweep where every lease ran out", sweep, lambda n: Wire(Rows(n, ran_out=True))),
    "daily": Part(
        "a day's row of one space, by visit",
        daily,
        lambda n: Wire(Rows(max(1, n // 12)), DayOfVisits(n, day_of(NOON))),
    ),
}


def measure(part: str, sessions: int) -> Measured:
    """Measure in this process, whose peak memory is part of the result."""
    wire = PARTS[part].wire(sessions)
    before = _peak()
    with redirect_stdout(StringIO()):
        pieces = PARTS[part].run(wire)
    return Measured(
        part,
        sessions,
        wire.rows.shards,
        cpu=sum(piece.cpu for piece in pieces),
        read_units=wire.read_units,
        write_units=wire.write_units,
        calls=wire.calls.total(),
        peak=_peak() - before,
        row_bytes=wire.rows.size,
        pieces=pieces,
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_in_subprocess(part: str, sessions: int) -> Measured:
    """Measure in a separate process."""
    command = [sys.executable, "-m", "lab.bench.sizes", "--one", part, str(sessions)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return _measured(json.loads(output))


def _measured(fields: dict[str, Any]) -> Measured:
    return Measured(**fields | {"pieces": [Piece(**piece) for piece in fields["pieces"]]})


def all_measured(sizes: Iterable[int], kept: Path | None) -> list[Measured]:
    """Every part at every size, the small ones first. Measurements in the file are not repeated;
    new ones are written to it at once."""
    found: list[Measured] = []
    if kept is not None and kept.is_file():
        found = [_measured(one) for one in json.loads(kept.read_text())]
    known = {(one.part, one.sessions) for one in found}
    for size in sizes:
        for part in PARTS:
            sessions = min(size, MOST_ENDS) if part == "ends" else size
            if (part, sessions) not in known:
                known.add((part, sessions))
                found.append(measure_in_subprocess(part, sessions))
                if kept is not None:
                    kept.write_text(json.dumps([asdict(one) for one in found]))
    order = list(PARTS)
    return sorted(found, key=lambda one: (order.index(one.part), one.sessions))


# ------------------------------------------------------------------------------------- the results


def spread(found: Iterable[Measured]) -> float:
    """A part's highest CPU time per session divided by its lowest."""
    each = [one.microseconds for one in found if one.sessions >= FLAT_FROM]
    return max(each) / min(each) if each else 1.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep by parallel invocations, by wall time."""

    sessions: int
    seconds: float
    at_once: int
    longest: float  # invocation
    pieces: int
    cpu: float  # seconds in all


def seconds_of(piece: Piece, price_list: Prices) -> float:
    """The seconds of an invocation of the cleanup."""
    spec = template().functions["cleanup"]
    rows = math.ceil(piece.writes / ROW_THREADS)
    return price_list.seconds(
        cpu=piece.cpu + piece.calls * quotas().assumed["tls_cpu"],
        memory=spec["MemorySize"],
        waited=(piece.pages + rows) * price_list.assumed["dynamodb_wait"],
    )


def scheduled(sessions: int, pieces: Sequence[Piece], price_list: Prices) -> Sweep:
    """The sweep if each piece starts as soon as it is queued and Lambda has a free poller."""
    queued: dict[int | None, list[int]] = {}
    for number, piece in enumerate(pieces):
        queued.setdefault(piece.parent, []).append(number)
    ready = [(0.0, number) for number in queued.get(None, [])]
    spans: list[tuple[float, float]] = []
    longest = 0.0
    while ready:
        since, number = heapq.heappop(ready)
        begins = since if pieces[number].parent is None else _poller(since, spans)
        took = seconds_of(pieces[number], price_list) + quotas().assumed["cold_start"]
        ends = begins + took + len(queued.get(number, ())) * price_list.assumed["queue_wait"]
        spans.append((begins, ends))
        longest = max(longest, took)
        for other in queued.get(number, ()):
            heapq.heappush(ready, (ends, other))
    return Sweep(
        sessions,
        seconds=max(end for _, end in spans),
        at_once=max(_running(spans, begins) for begins, _ in spans),
        longest=longest,
        pieces=len(pieces),
        cpu=sum(piece.cpu for piece in pieces),
    )


def _poller(since: float, spans: Sequence[tuple[float, float]]) -> float:
    """When the next poller is free."""
    assumed = quotas().assumed
    (source,) = template().events("cleanup", "SQS")
    most = source["ScalingConfig"]["MaximumConcurrency"]
    at = since
    while _running(spans, at) >= min(
        most, assumed["pollers_at_first"] + at * assumed["pollers_a_minute"] / 60
    ):
        at += _LOOK_EVERY
    return at


def _running(spans: Iterable[tuple[float, float]], at: float) -> int:
    return sum(begins <= at < ends for begins, ends in spans)


def a_million(found: Iterable[Measured], price_list: Prices) -> Sweep:
    """The sweep of a million sessions, as measured or extrapolated from the largest table."""
    best = max((one for one in found if one.part == "sweep"), key=lambda one: one.sessions)
    if best.sessions >= MILLION:
        return scheduled(MILLION, best.pieces, price_list)
    first, *others = best.pieces
    times = MILLION // best.sessions
    copies = [replace(piece, parent=0) for piece in others or [first] for _ in range(times)]
    return scheduled(MILLION, [first, *copies], price_list)


def table(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """A row for each measurement."""
    rows = []
    for one in found:
        each = 1 / one.sessions
        rows.append(
            (
                one.part,
                f"{one.sessions:,}",
                str(one.shards),
                f"{len(one.pieces)}",
                f"{one.microseconds:.1f}",
                f"{one.read_units * each:.3f}",
                f"{one.write_units * each:.4f}",
                f"{one.calls:,}",
                f"{one.peak:.0f}",
            )
        )
    return rows


HEAD = (
    "part",
    "sessions",
    "shards",
    "invocations",
    "µs CPU each",
    "read units each",
    "write units each",
    "calls",
    "peak MB",
)
PER_SESSION = ("recount", "sweep", "ends", "daily")
"""The parts whose cost grows with the sessions; a version costs by the shard."""


def judged_targets(found: Sequence[Measured], price_list: Prices) -> list[tuple[str, bool]]:
    """The targets with the measured values, and whether they are met."""
    targets = []
    for part in PER_SESSION:
        times = spread(one for one in found if one.part == part)
        targets.append(
            (
                f"{part}: extremes of CPU per session are {times:.2f} times apart",
                times <= FLAT_WITHIN,
            )
        )
    last = a_million(found, price_list)
    how = (
        f"{last.pieces} invocations, at most {last.at_once} at once, none over {last.longest:.0f} s"
    )
    targets.append(
        (
            f"a million sessions are swept in {last.seconds:.0f} s: {how}",
            last.seconds <= WITHIN,
        )
    )
    return targets


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="make bench-sizes", description=__doc__)
    parser.add_argument(
        "--most",
        type=int,
        default=SIZES[-1],
        metavar="SESSIONS",
        help=f"the largest size ({SIZES[-1]}); with less, no target is checked",
    )
    parser.add_argument("--million", action="store_true", help="also measure a million")
    parser.add_argument("--write", action="store_true", help="the same, and write docs/capacity.md")
    parser.add_argument(
        "--measured",
        type=Path,
        metavar="FILE",
        help="a file that keeps measurements for the next run",
    )
    parser.add_argument("--one", nargs=2, metavar=("PART", "SESSIONS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        logging.disable(logging.CRITICAL)
        print(json.dumps(asdict(measure(args.one[0], int(args.one[1])))))
        return 0
    if args.most < SIZES[0]:
        parser.error(f"--most must be at least {SIZES[0]}")
    if args.million or args.write:
        args.most = MILLION
    found = all_measured((n for n in (*SIZES, MILLION) if n <= args.most), args.measured)
    widths = [max(len(row[at]) for row in (HEAD, *table(found))) for at in range(len(HEAD))]
    for row in (HEAD, *table(found)):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    holds = True
    for text, met in judged_targets(found, prices()) if args.most >= SIZES[-1] else ():
        print(f"{'yes' if met else 'NO '}  {text}")
        holds &= met
    if args.write:
        from lab.bench.capacity import write

        write(found)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
