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

from tests.bench.figures import Figure, Figures
from tests.bench.model import VIEWERS_PARTS
from tests.bench.prices import prices
from tests.bench.replay import ByHttp, BySocket, Outcome, Scenario, replay
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
SOCKET = replace(MIDDLE, way=BySocket())
SOCKET_BRIEF = replace(BRIEF, way=BySocket())

CHECKED = (
    Scenario(viewers=100, seconds=300, stay=HOUR_VISITS, way=ByHttp()),
    Scenario(viewers=100, seconds=180, stay=HOUR_VISITS, way=BySocket()),
)
"""What `make bench-check` replays, in this process."""

_PACKING = 0.02
"""By how much one zlib's output may differ from another's."""

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


def figures(scenarios: Iterable[Scenario] = CHECKED) -> Figures:
    """What comes out the same each time, of minutes of a few viewers by each way."""
    found: dict[str, float] = {}
    for scenario in scenarios:
        outcome = played(scenario, in_memory=True)
        name = f"cost.{scenario.way.name.replace(' ', '_')}"
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
    scenarios += [SOCKET, SOCKET_BRIEF]
    try:
        large, middle, small, brief, socket, socket_brief = play(
            scenarios, in_memory=given.in_memory
        )
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    runs = Runs(small, middle, large, brief, socket, socket_brief)
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
