"""What watching costs, by part (`make bench-cost`)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.bench.check import Figure, Figures
from tests.bench.model import VIEWERS_PARTS
from tests.bench.prices import prices
from tests.bench.replay import Outcome, Scenario, replay
from tests.bench.report import Runs, beat_units, page, targets, total_usage, visit_units
from tests.support.dynamodb_local import UnavailableError
from tests.support.engines import local_engine, memory_engine
from tests.support.template import ROOT

PAGE = ROOT / "docs" / "cost.md"

AT_ONCE = 2
"""Replays under way at once, each with an engine of its own."""

HOUR_VISITS, TEN_MINUTE_VISITS = 3600, 600
SMALL = Scenario(viewers=100, seconds=3600, stay=HOUR_VISITS)
MIDDLE = Scenario(viewers=1_000, seconds=600, stay=HOUR_VISITS)
LARGE = Scenario(viewers=10_000, seconds=120, stay=HOUR_VISITS, one_of=8)
BRIEF = Scenario(viewers=1_000, seconds=300, stay=TEN_MINUTE_VISITS)

DETERMINISTIC = (
    "http_requests",
    "lambda_requests",
    "write_units",
    "read_units",
    "bytes_out",
    "log_bytes",
)
"""Quantities that no machine's speed changes."""


def played(scenario: Scenario, *, in_memory: bool = False) -> Outcome:
    """Replay on an engine that is started for it."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        opened = memory_engine() if in_memory else local_engine(Path(scratch) / "log")
        outcome = replay(stack.enter_context(opened), scenario, prices())
    print(f"replayed {scenario.title}", file=sys.stderr)
    return outcome


def play(scenarios: Iterable[Scenario], *, in_memory: bool = False) -> list[Outcome]:
    """Replay several, the longest first."""
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        return list(pool.map(partial(played, in_memory=in_memory), scenarios))


def figures() -> Figures:
    """What comes out the same each time, of ten minutes of 100 viewers."""
    outcome = played(Scenario(viewers=100, seconds=600, stay=HOUR_VISITS), in_memory=True)
    hours = outcome.scenario.viewer_hours
    found = {
        "cost.write_units_of_a_steady_beat": beat_units(outcome),
        "cost.write_units_of_a_visit_beside": visit_units(outcome),
    }
    usage = total_usage(outcome)
    for name in DETERMINISTIC:
        found[f"cost.{name}_per_viewer_hour"] = usage[name] / hours
    for name in VIEWERS_PARTS:
        for unit in ("write_units", "read_units"):
            part = outcome.ledger.parts[name].usage
            if part[unit]:
                found[f"cost.{unit}_of_{name.replace(' ', '_')}_per_viewer_hour"] = (
                    part[unit] / hours
                )
    return {name: Figure(round(value, 6)) for name, value in found.items()}


def main() -> int:
    """Replay, print the page, and say whether the targets are met."""
    parser = argparse.ArgumentParser(prog="make bench-cost", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)} too")
    parser.add_argument(
        "--one-of",
        type=int,
        default=1,
        help="send one of so many steady beats and enter the others as it was: for a busy machine",
    )
    parser.add_argument(
        "--in-memory",
        action="store_true",
        help="on the stand-in for DynamoDB in this process: the same units, without Java",
    )
    given = parser.parse_args()
    scenarios = [
        replace(one, one_of=max(one.one_of, given.one_of)) for one in (LARGE, MIDDLE, SMALL, BRIEF)
    ]
    try:
        large, middle, small, brief = play(scenarios, in_memory=given.in_memory)
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    runs = Runs(small=small, middle=middle, large=large, brief=brief)
    text = page(runs)
    print(text)
    if given.write:
        PAGE.write_text(text)
    missed = [one for one in targets(runs) if not one.met]
    for one in missed:
        print(f"missed: {one.what}: {one.found}, to be {one.target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
