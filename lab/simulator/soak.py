"""``make soak``: as many schedules as fit into a time, on every core; or one seed, with its trace.

make soak SECONDS=3600
make soak SEED=4711
"""

from __future__ import annotations

import argparse
import gc
import io
import multiprocessing
import os
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace

from headcount.systems.course_viewers_convex import FUNCTION_FAILED

from lab.simulator.schedules import Result, run

_FUZZED = 0.2
"""The share of the time for fuzzed inputs; the rest is for schedules."""
_SERVER_ERROR = 500
_COLLECTED_AFTER = 16
"""Schedules, each of which leaves some megabytes."""


@dataclass
class Report:
    """The results of many schedules."""

    schedules: int = 0
    actions: int = 0
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Add the result of a schedule."""
        self.schedules += 1
        self.actions += result.actions
        self.calls += result.calls
        self.faults += result.faults
        if result.problems:
            self.failed.append(replace(result, trace=[]))

    def merge(self, other: Report) -> None:
        """Add the results of another process."""
        self.schedules += other.schedules
        self.actions += other.actions
        self.calls += other.calls
        self.faults += other.faults
        self.failed += other.failed

    def text(self) -> str:
        """The report as text."""
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
    """Run every ``step``-th seed from ``first`` on, for this many seconds.

    Garbage is collected between schedules: meanwhile, collecting it again and again would take a
    tenth of the time.
    """
    until = time.monotonic() + seconds
    report = Report()
    seed = first
    gc.collect()
    gc.freeze()
    gc.disable()
    while time.monotonic() < until:
        report.add(run(seed))
        seed += step
        if report.schedules % _COLLECTED_AFTER == 0:
            gc.collect()
    gc.enable()
    return report


def soak(seconds: float, first: int) -> Report:
    """Run seeds from ``first`` on, on every core, for this many seconds."""
    cores = os.cpu_count() or 1
    whole = Report()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        work = [(first + core, cores, seconds) for core in range(cores)]
        for report in pool.starmap(_work, work):
            whole.merge(report)
    return whole


def replay(seed: int) -> Result:
    """Run one seed and print its trace."""
    result = run(seed)
    start = result.trace[0][0] if result.trace else 0
    for at, line in result.trace:
        print(f"{(at - start) / 1000:>12.3f} s  {line}")
    print(f"seed {seed}: {result.actions} actions, {result.faults.total()} faults, {result.digest}")
    for problem in result.problems:
        print(f"MISCOUNT {problem}")
    return result


def main() -> int:
    """Run what the command line says; 1 if there was any problem."""
    parser = argparse.ArgumentParser(description="Fault schedules and fuzzed inputs.")
    parser.add_argument("--seconds", type=float, default=60, help="duration (60)")
    parser.add_argument("--first", type=int, help="the first seed (default: from the clock)")
    parser.add_argument("--seed", type=int, help="run only this seed, and print its trace")
    args = parser.parse_args()
    if args.seed is not None:
        return 1 if replay(args.seed).problems else 0
    from lab.fuzz import fuzz

    first = args.first if args.first is not None else int(time.time()) * 1_000
    print(f"first seed         {first}", flush=True)
    report = soak(args.seconds * (1 - _FUZZED), first)
    print(report.text())
    print(f"schedules an hour  {report.schedules * 3600 / args.seconds:>9,.0f}", flush=True)
    with redirect_stdout(io.StringIO()):  # the handlers' log
        fuzzed = fuzz(args.seconds * _FUZZED, first)
    print(f"inputs fuzzed      {fuzzed.inputs:>9,}")
    refused = fuzzed.by_status.get(FUNCTION_FAILED, 0)
    failed = sum(times for status, times in fuzzed.by_status.items() if status >= _SERVER_ERROR)
    seen = failed - refused
    print(f"5xx seen           {seen:>9,}")
    print(f"  (and {refused} with {FUNCTION_FAILED}, Convex's status for a refusal)")
    for error in fuzzed.server_errors[:20]:
        print(f"  {error[:300]}")
    return 1 if report.failed or fuzzed.server_errors or seen else 0


if __name__ == "__main__":
    sys.exit(main())
