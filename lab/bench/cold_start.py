"""How long the built functions take to start (`make bench-cold-start`).

Fresh processes, by turns: a bare interpreter, every function, and a plain function (Logger, Tracer,
Metrics, the validating resolver and boto3, without bytecode). Each is started as on Lambda: what
its events need is built, the TLS settings included; `make bench-check` holds that first events
import nothing more. How a process ends is left out. CPU time is compared, because a start does not
wait; of all rounds the minimum counts, because noise only adds to it.

A function's limit is its ratio to the bare interpreter, so that it is the same on any machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.bench.artefact import NAIVE, built, environment, folder_of, layers, without_bytecode
from lab.harness.template import template

ROUNDS = 9
BARE = "bare interpreter"
LIMITS = {"beat": 7.0, "api": 26.0, "containers": 26.0}
"""Bare interpreters that a function may take to start."""
LIMIT = 13.0
"""The limit of those that streams, queues, schedules and sockets call."""


@dataclass(frozen=True)
class Start:
    """A program to start."""

    name: str
    code: str
    environ: Mapping[str, str]


def cpu_ms(start: Start) -> float:
    """CPU milliseconds of a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = f"{start.code}\nimport os\nos._exit(0)"
    subprocess.run([sys.executable, "-c", code], env=dict(start.environ), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000


def measure(rounds: int, starts: list[Start]) -> dict[str, float]:
    """The minimum CPU milliseconds of each."""
    least = {start.name: float("inf") for start in starts}
    for _ in range(rounds):
        for start in starts:
            least[start.name] = min(least[start.name], cpu_ms(start))
    return least


def starts(artefact: Path, scratch: Path) -> list[Start]:
    """All programs that are measured."""
    bare = environment("api", [])
    plain = environment("api", [NAIVE, without_bytecode(scratch)])
    plain |= {"POWERTOOLS_TRACE_DISABLED": "1"}
    return [
        Start(BARE, "pass", bare),
        Start("plain function", "import app", plain),
        *(
            Start(
                function,
                "import app",
                environment(function, [artefact / folder_of(function), *layers(artefact)]),
            )
            for function in sorted(template().functions)
        ),
    ]


def main() -> int:
    """Print them all; 1 if a function exceeds its limit, unless too little ran to tell."""
    parser = argparse.ArgumentParser(prog="make bench-cold-start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    artefact = built()
    with tempfile.TemporaryDirectory(prefix="headcount-") as scratch:
        found = measure(args.rounds, starts(artefact, Path(scratch)))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors\n")
    lines, holds = report(found)
    print("\n".join(lines))
    return 0 if holds or args.rounds < ROUNDS else 1


def report(found: Mapping[str, float]) -> tuple[list[str], bool]:
    """A line for each program, from its CPU milliseconds, and whether all functions are within
    their limits."""
    lines = [f"{'':<20}{'CPU ms':>8}{'bare = 1':>10}{'at most':>9}"]
    holds = True
    for name, least in found.items():
        ratio = least / found[BARE]
        line = f"{name:<20}{least:>8.0f}{ratio:>10.1f}"
        if name in template().functions:
            limit = LIMITS.get(name, LIMIT)
            line += f"{limit:>9.0f}" + ("  TOO SLOW" if ratio > limit else "")
            holds &= ratio <= limit
        lines.append(line)
    return lines, holds


if __name__ == "__main__":
    sys.exit(main())
