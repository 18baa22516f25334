"""Whether what was reached is held (`make bench-check`).

Every figure here comes out the same each time: units, calls, bytes, bytecodes, sizes. One that got
worse than what is committed fails; one that got better is to be committed (`ARGS=--accept`), so
that it holds too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Figures, compare, dump, load, python_of

COMMITTED = Path(__file__).with_name("figures.json")

Bench = Callable[[], Figures]


def cost() -> Figures:
    """Minutes of 100 viewers, as the ledger enters them."""
    from tests.bench.cost import figures

    return figures()


def beat() -> Figures:
    """A steady beat through the built handler."""
    from tests.bench import counts

    return counts.beat()


def build() -> Figures:
    """What was built."""
    from tests.bench import counts

    return counts.build()


def fanout() -> Figures:
    """A version on its way to many dashboards."""
    from tests.bench import counts

    return counts.fan_out()


BENCHES: dict[str, Bench] = {"cost": cost, "beat": beat, "build": build, "fanout": fanout}
"""What is measured, by the first word of its figures' names. Each takes seconds, not minutes."""


def main() -> int:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(prog="make bench-check", description=__doc__)
    parser.add_argument("benches", nargs="*", default=list(BENCHES), help="which (default: all)")
    parser.add_argument("--accept", action="store_true", help="commit what was measured")
    given = parser.parse_args()
    if unknown := set(given.benches) - set(BENCHES):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    python = f"python{sys.version_info.major}{sys.version_info.minor}"
    found = {name: figure for bench in given.benches for name, figure in BENCHES[bench]().items()}
    committed = load(COMMITTED.read_text() if COMMITTED.is_file() else "{}")
    measured = {
        name: figure
        for name, figure in committed.items()
        if name.partition(".")[0] in given.benches
    }
    if given.accept:
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
        print("Worse than committed. Mend it, or say why and run it with ARGS=--accept.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
