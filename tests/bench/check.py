"""Whether what was reached is held (`make bench-check`).

Every figure here comes out the same each time: units, calls, bytes. One that got worse than what is
committed fails; one that got better is to be committed (`ARGS=--accept`), so that it holds too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

COMMITTED = Path(__file__).with_name("figures.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that may only get better. ``tolerance`` is the share by which it may differ."""

    value: float
    better: Literal["lower", "higher"] = "lower"
    tolerance: float = 0.0

    def judge(self, found: float) -> Literal["as committed", "better", "WORSE"]:
        """What a newly measured value is beside this one."""
        slack = abs(self.value) * self.tolerance + 1e-9
        gain = self.value - found if self.better == "lower" else found - self.value
        if gain < -slack:
            return "WORSE"
        return "better" if gain > slack else "as committed"


Figures = dict[str, Figure]
Bench = Callable[[], Figures]


def cost() -> Figures:
    """Ten minutes of 100 viewers, as the ledger enters them."""
    from tests.bench.cost import figures

    return figures()


BENCHES: dict[str, Bench] = {"cost": cost}
"""What is measured, by the first word of its figures' names. Each takes seconds, not minutes."""


def compare(committed: Mapping[str, Figure], found: Mapping[str, Figure]) -> tuple[list[str], bool]:
    """A line for each figure, and whether all hold. A figure that is missing does not hold."""
    lines, holds = [], True
    for name in sorted({*committed, *found}):
        if name not in found:
            lines.append(
                f"{name:<52}{committed[name].value:>14,.6g}  MISSING: not measured any more"
            )
            holds = False
        elif name not in committed:
            lines.append(f"{name:<52}{found[name].value:>14,.6g}  NEW: not committed yet")
            holds = False
        else:
            verdict = committed[name].judge(found[name].value)
            lines.append(
                f"{name:<52}{found[name].value:>14,.6g}  {verdict} ({committed[name].value:,.6g})"
            )
            holds &= verdict != "WORSE"
    return lines, holds


def load(text: str) -> Figures:
    """Committed figures."""
    return {name: Figure(**figure) for name, figure in json.loads(text).items()}


def dump(figures: Mapping[str, Figure]) -> str:
    """Figures as they are committed."""
    return json.dumps({name: asdict(figures[name]) for name in sorted(figures)}, indent=2) + "\n"


def main() -> int:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(prog="make bench-check", description=__doc__)
    parser.add_argument("benches", nargs="*", default=list(BENCHES), help="which (default: all)")
    parser.add_argument("--accept", action="store_true", help="commit what was measured")
    given = parser.parse_args()
    if unknown := set(given.benches) - set(BENCHES):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    found = {name: figure for bench in given.benches for name, figure in BENCHES[bench]().items()}
    committed = {
        name: figure
        for name, figure in load(COMMITTED.read_text() if COMMITTED.is_file() else "{}").items()
        if given.accept or name.partition(".")[0] in given.benches
    }
    if given.accept:
        kept = {
            name: figure
            for name, figure in committed.items()
            if name.partition(".")[0] not in given.benches
        }
        COMMITTED.write_text(dump(kept | found))
        print(f"{len(found)} figures are now as measured; commit {COMMITTED.name}.")
        return 0
    lines, holds = compare(committed, found)
    print("\n".join(lines))
    if not holds:
        print("Worse than committed. Mend it, or say why and run it with ARGS=--accept.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
