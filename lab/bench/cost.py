"""What viewers and dashboards cost, by part (`make bench-cost`)."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from lab.bench.figures import Figure, Figures
from lab.bench.model import VIEWERS_PARTS
from lab.bench.prices import prices
from lab.bench.replay import ByHttp, BySocket, Outcome, Scenario, replay
from lab.bench.report import (
    SENTENCE,
    Runs,
    beat_units,
    in_a_sentence,
    page,
    targets,
    total_usage,
    visit_units,
)
from lab.bench.variants import Pair, Variants
from lab.harness.engines import local_engine, memory_engine
from lab.harness.npm import UnavailableError
from lab.harness.template import ROOT

PAGE = ROOT / "docs" / "cost.md"
TELLING = ROOT / "docs" / "how-it-works.md"
"""A page that names some of the results."""

AT_ONCE = 2
"""Parallel replays, each with its own engine."""

HOUR_VISITS, TEN_MINUTE_VISITS = 3600, 600
SMALL = Scenario(viewers=100, seconds=3600, visit_seconds=HOUR_VISITS)
MIDDLE = Scenario(viewers=1_000, seconds=600, visit_seconds=HOUR_VISITS)
LARGE = Scenario(viewers=10_000, seconds=120, visit_seconds=HOUR_VISITS, sample=8)
BRIEF = Scenario(viewers=1_000, seconds=300, visit_seconds=TEN_MINUTE_VISITS)
SOCKET = replace(MIDDLE, transport=BySocket())
SOCKET_BRIEF = replace(BRIEF, transport=BySocket())
LISTENING = replace(
    MIDDLE, seconds=1200, settles=1800, transport=BySocket("by socket, listening", listens=True)
)
"""In the half hour before, the space spends what it may push at once, and in advance."""
NOBODY = replace(MIDDLE, people=False)
ROLLED, ROLLED_SMALL = replace(MIDDLE, roll_ups=True), replace(SMALL, roll_ups=True)

FEWEST, SHORTEST = 5, 120
"""The fewest viewers and seconds with which every part of the page has a figure."""

CHECKED = (
    Scenario(viewers=100, seconds=300, visit_seconds=HOUR_VISITS, transport=ByHttp()),
    Scenario(viewers=100, seconds=180, visit_seconds=HOUR_VISITS, transport=BySocket()),
)
"""What `make bench-check` replays, in this process."""

COMPARED = CHECKED[0]
"""What `make bench-cost` replays on both engines: the others are much faster in memory."""

_PACKING = 0.02
"""The share by which the output of two zlib versions may differ."""

DETERMINISTIC = (
    "http_requests",
    "lambda_requests",
    "write_units",
    "read_units",
    "bytes_out",
    "log_bytes",
    "queue_requests",
    "socket_messages",
)
"""Quantities that don't depend on the machine's speed."""


def played(scenario: Scenario, *, in_memory: bool = False) -> Outcome:
    """Replay a scenario on a new engine."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        opened = memory_engine() if in_memory else local_engine(Path(scratch) / "log")
        outcome = replay(stack.enter_context(opened), scenario, prices())
    print(f"replayed {scenario.title}", file=sys.stderr)
    return outcome


def differences(ours: Outcome, amazons: Outcome) -> list[str]:
    """Where two engines billed different amounts in a scenario, but for time."""
    found = []
    for part in VIEWERS_PARTS:
        one, other = (outcome.ledger.parts[part].usage for outcome in (ours, amazons))
        found += [
            f"{part}, {name}: {one[name]:g} in memory, {other[name]:g} on {amazons.ledger.engine}"
            for name in sorted({*one, *other})
            if "seconds" not in name and not math.isclose(one[name], other[name], rel_tol=1e-9)
        ]
    return found


def play(scenarios: Iterable[Scenario], *, in_memory: bool = False) -> list[Outcome]:
    """Replay several scenarios in parallel; put the longest first."""
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        return list(pool.map(partial(played, in_memory=in_memory), scenarios))


def with_sentence(text: str, sentence: str) -> str:
    """A page with this sentence instead of the last one. ValueError if there is none."""
    found, times = SENTENCE.subn("\n".join(textwrap.wrap(sentence, 100)), text)
    if times != 1:
        raise ValueError(f"{times} sentences like {sentence!r}: there must be one")
    return found


def _scaled(scenario: Scenario, share: float) -> Scenario:
    """The scenario with fewer viewers for a shorter time."""
    return replace(
        scenario,
        viewers=max(FEWEST, round(share * scenario.viewers)),
        seconds=max(SHORTEST, round(share * scenario.seconds)),
    )


def figures(scenarios: Iterable[Scenario] = CHECKED) -> Figures:
    """The deterministic figures of some minutes of a few viewers, by each transport."""
    found: dict[str, float] = {}
    for scenario in scenarios:
        outcome = played(scenario, in_memory=True)
        name = f"cost.{scenario.transport.name.replace(' ', '_')}"
        found |= {f"{name}.{what}": value for what, value in _deterministic(outcome).items()}
    return {
        name: Figure(round(value, 6), tolerance=_PACKING if ".bytes_of_a_row" in name else 0)
        for name, value in found.items()
    }


def _deterministic(outcome: Outcome) -> dict[str, float]:
    hours, ledger = outcome.scenario.viewer_hours, outcome.ledger
    found = {"write_units_of_a_visit_beside": visit_units(outcome)}
    if ledger.parts["beats"].times:
        found["write_units_of_a_steady_beat"] = beat_units(outcome)
    found |= {f"bytes_of_a_row_of_{role}": size for role, size in ledger.row_sizes.items()}
    usage = total_usage(outcome)
    found |= {f"{name}_per_viewer_hour": usage[name] / hours for name in DETERMINISTIC}
    for name in VIEWERS_PARTS:
        part = ledger.parts[name].usage
        for unit in ("write_units", "read_units"):
            if part[unit]:
                found[f"{unit}_of_{name.replace(' ', '_')}_per_viewer_hour"] = part[unit] / hours
    return found


def main() -> int:
    """Replay, and print the page and the targets that are missed."""
    parser = argparse.ArgumentParser(prog="make bench-cost", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)} too")
    parser.add_argument(
        "--sample",
        type=int,
        default=1,
        metavar="N",
        help="send every Nth steady beat and enter the others like it: for a busy machine",
    )
    parser.add_argument(
        "--in-memory",
        action="store_true",
        help="don't compare the engine in memory with Amazon's DynamoDB Local: without Java",
    )
    parser.add_argument(
        "--amazons",
        action="store_true",
        help="replay everything on Amazon's DynamoDB Local: the same units, many times as slow",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1,
        help="share of the viewers and minutes: only tests that it runs, the costs mean nothing",
    )
    args = parser.parse_args()
    if args.write and args.share != 1:
        parser.error("--write needs all viewers: leave out --share")
    scenarios = [
        replace(one, sample=max(one.sample, args.sample)) for one in (LARGE, MIDDLE, SMALL, BRIEF)
    ]
    scenarios += [SOCKET, SOCKET_BRIEF, LISTENING, NOBODY, ROLLED, ROLLED_SMALL]
    compared = COMPARED
    if args.share != 1:
        scenarios = [_scaled(one, args.share) for one in scenarios]
        compared = _scaled(compared, args.share)
    try:
        large, middle, small, brief, socket, socket_brief, listening, nobody, *rolled = play(
            scenarios, in_memory=not args.amazons
        )
        if not (args.amazons or args.in_memory):
            both = [played(compared, in_memory=in_memory) for in_memory in (True, False)]
            if different := differences(*both):
                print("the engines differ:", *different, sep="\n", file=sys.stderr)
                return 1
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    variants = Variants(nobody, Pair(small, rolled[1]), Pair(middle, rolled[0]))
    runs = Runs(small, middle, large, brief, socket, socket_brief, listening, variants)
    text = page(runs)
    print(text)
    if args.write:
        PAGE.write_text(text)
        TELLING.write_text(with_sentence(TELLING.read_text(), in_a_sentence(runs)))
    missed = [one for one in targets(runs) if not one.met] if args.share == 1 else []
    for one in missed:
        print(f"missed: {one.what}: {one.found}, target {one.target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
