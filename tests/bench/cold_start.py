"""How long the functions take to start, over the built artefact (`make bench-cold-start`).

Fresh processes, by turns: a bare interpreter, the function of the beats, and what one would write
first (Logger, Tracer, Metrics, the validating resolver and boto3, without bytecode). Compared is
CPU time, for starting does not wait; the least of the rounds, for nothing makes it less.
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

from tests.bench.artefact import NAIVE, built, environment, layers, without_bytecode
from tests.support.template import template

ROUNDS = 9
OURS_MS, NAIVE_MS = 160, 1_240
"""Milliseconds where the target was set; here the ratio to the plain function is what is held."""
TARGET = OURS_MS / NAIVE_MS


@dataclass(frozen=True)
class Start:
    """Something to start."""

    name: str
    code: str
    environ: Mapping[str, str]


def cpu_ms(start: Start) -> float:
    """CPU milliseconds of a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", start.code], env=dict(start.environ), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000


def measure(rounds: int, starts: list[Start]) -> dict[str, float]:
    """The least CPU milliseconds of each."""
    least = {start.name: float("inf") for start in starts}
    for _ in range(rounds):
        for start in starts:
            least[start.name] = min(least[start.name], cpu_ms(start))
    return least


def starts(artefact: Path, scratch: Path) -> list[Start]:
    """Everything that is measured."""
    bare = environment("api", [])
    plain = environment("api", [NAIVE, without_bytecode(scratch)])
    plain |= {"POWERTOOLS_TRACE_DISABLED": "1"}
    return [
        Start("bare interpreter", "pass", bare),
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


def folder_of(function: str) -> str:
    """Its folder in the artefact: named as in the template."""
    words = "".join(word.capitalize() for word in function.split("_"))
    return f"{words}Function"


def main() -> int:
    """Print them all; 1 when the beats' function is over the target."""
    parser = argparse.ArgumentParser(prog="make bench-cold-start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    artefact = built()
    with tempfile.TemporaryDirectory(prefix="headcount-") as scratch:
        found = measure(asked.rounds, starts(artefact, Path(scratch)))
    plain, bare = found["plain function"], found["bare interpreter"]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors\n")
    print(f"{'':<20}{'CPU ms':>8}{'of the plain':>14}{'bare = 1':>10}")
    for name, least in found.items():
        print(f"{name:<20}{least:>8.0f}{least / plain:>14.3f}{least / bare:>10.1f}")
    ratio = found["api"] / plain
    print(f"\nthe beats' function: {ratio:.3f} of the plain one (at most {TARGET:.3f})")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
