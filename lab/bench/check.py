"""Compare the deterministic figures with the committed ones (`make bench-check`).

They are the same in every run: units, calls, bytes, bytecodes, modules, sizes. A figure that is
worse than committed fails; commit one that is better (`ARGS=--accept`), so that it can't get worse
again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from lab.bench.figures import Figures, compare, dump, load, python_of

COMMITTED = Path(__file__).with_name("figures.json")

Bench = Callable[[], Figures]


def cost() -> Figures:
    """The ledger of some minutes of 100 viewers."""
    from lab.bench.cost import figures

    return figures()


def beat() -> Figures:
    """A steady beat through the built handler."""
    from lab.bench import counts

    return counts.beat()


def build() -> Figures:
    """The built sizes."""
    from lab.bench import counts

    return counts.build()


def start() -> Figures:
    """What the functions import."""
    from lab.bench import starts

    return starts.modules()


def fanout() -> Figures:
    """A version sent to many dashboards."""
    from lab.bench import counts

    return counts.fan_out()


BENCHES: dict[str, Bench] = {
    "cost": cost,
    "beat": beat,
    "start": start,
    "build": build,
    "fanout": fanout,
}
"""The benches, by the first word of their figures' names. Each takes seconds, not minutes."""


def main() -> int:
    """Measure, compare and print; 1 if a figure is worse."""
    parser = argparse.ArgumentParser(prog="make bench-check", description=__doc__)
    parser.add_argument("benches", nargs="*", default=list(BENCHES), help="which (default: all)")
    parser.add_argument("--accept", action="store_true", help="commit what was measured")
    args = parser.parse_args()
    if unknown := set(args.benches) - set(BENCHES):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    python = f"python{sys.version_info.major}{sys.version_info.minor}"
    found = {name: figure for bench in args.benches for name, figure in BENCHES[bench]().items()}
    committed = load(COMMITTED.read_text() if COMMITTED.is_file() else "{}")
    measured = {
        name: figure for name, figure in committed.items() if name.partition(".")[0] in args.benches
    }
    if args.accept:
        kept = {
            name: figure
            for name, figure in committed.items()
            if name not in measured or python_of(name) not in {None, python}
        }
        COMMITTED.write_text(dump(kept | found))
        print(f"{len(found)} figures are now as measured; commit {COMMITTED.name}.")
        return 0
    lines, holds = compare(measured, found, python=python, strict="CI" in os.environ)
    print("\n".join(lines))
    if not holds:
        print("Worse than committed. Fix it, or run it with ARGS=--accept and say why.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
