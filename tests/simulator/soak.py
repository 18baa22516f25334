"""``make soak``: as many schedules as fit a given time, on every core; or one seed, with its trace.

make soak SECONDS=3600
make soak SEED=4711
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace

from headcount.systems.course_viewers_convex import FUNCTION_FAILED

from tests.simulator.schedules import Result, run

_FUZZED = 0.2
"""The share of the time that goes to inputs rather than to schedules."""
_SERVER_ERROR = 500


@dataclass
class Report:
    """What many schedules came to."""

    schedules: int = 0
    actions: int = 0
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """One more."""
        self.schedules += 1
        self.actions += result.actions
        self.calls += result.calls
        self.faults += result.faults
        if result.problems:
            self.failed.append(replace(result, trace=[]))

    def merge(self, other: Report) -> None:
        """What another process tried."""
        self.schedules += other.schedules
        self.actions += other.actions
        self.calls += other.calls
        self.faults += other.faults
        self.failed += other.failed

    def text(self) -> str:
        """For people."""
        lines = [
            f"schedules tried    {self.schedules:>9,}",
            f"actions            {self.actions:>9,}",
            f"AWS calls          {self.calls:>9,}",
            f"faults injected    {self.faults.total():>9,}",
            *(f"  {number:>9,}  {kind}" for kind, number in self.faults.most_common()),
            f"miscounts          {len(self.failed):>9,}",
        ]
        for result in self.failed[:20]:
            lines.append(f"  make soak SEED={result.seed}: {result.problems[0]}")
        return "\n".join(lines)


def _work(first: int, step: int, seconds: float) -> Report:
    """Every ``step``-th seed from ``first`` on, for a while."""
    until = time.monotonic() + seconds
    report = Report()
    seed = first
    while time.monotonic() < until:
        report.add(run(seed))
        seed += step
    return report


def soak(seconds: float, first: int) -> Report:
    """Seeds from ``first`` on, on every core, for a while."""
    cores = os.cpu_count() or 1
    whole = Report()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        work = [(first + core, cores, seconds) for core in range(cores)]
        for report in pool.starmap(_work, work):
            whole.merge(report)
    return whole


def replay(seed: int) -> Result:
    """One seed, with everything that happened in it."""
    result = run(seed)
    start = result.trace[0][0] if result.trace else 0
    for at, line in result.trace:
        print(f"{(at - start) / 1000:>12.3f} s  {line}")
    print(f"seed {seed}: {result.actions} actions, {result.faults.total()} faults, {result.digest}")
    for problem in result.problems:
        print(f"MISCOUNT {problem}")
    return result


def main() -> int:
    """Run what the command line asks for; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description="Fault schedules and fuzzed inputs.")
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on (60)")
    parser.add_argument("--first", type=int, help="the first seed (by the clock)")
    parser.add_argument("--seed", type=int, help="replay this one and show what happened")
    asked = parser.parse_args()
    if asked.seed is not None:
        return 1 if replay(asked.seed).problems else 0
    from tests.fuzz import fuzz

    first = asked.first if asked.first is not None else int(time.time()) * 1_000
    print(f"first seed         {first}", flush=True)
    report = soak(asked.seconds * (1 - _FUZZED), first)
    print(report.text(), flush=True)
    with redirect_stdout(io.StringIO()):  # what the handlers say of themselves
        fuzzed = fuzz(asked.seconds * _FUZZED, first)
    print(f"inputs fuzzed      {fuzzed.inputs:>9,}")
    refused = fuzzed.by_status.get(FUNCTION_FAILED, 0)
    failed = sum(times for status, times in fuzzed.by_status.items() if status >= _SERVER_ERROR)
    seen = failed - refused
    print(f"5xx seen           {seen:>9,}")
    print(f"  (and {refused} answers of {FUNCTION_FAILED}, which is Convex's way to refuse)")
    for error in fuzzed.server_errors[:20]:
        print(f"  {error[:300]}")
    return 1 if report.failed or fuzzed.server_errors or seen else 0


if __name__ == "__main__":
    sys.exit(main())
