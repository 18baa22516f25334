"""Figures that may only get better, and their file format. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that may only get better; ``tolerance`` is the share by which it may vary."""

    value: float
    better: Literal["lower", "higher"] = "lower"
    tolerance: float = 0.0

    def judge(self, found: float) -> Literal["as committed", "better", "WORSE"]:
        """Compare a newly measured value with this one."""
        slack = abs(self.value) * self.tolerance + 1e-9
        gain = self.value - found if self.better == "lower" else found - self.value
        if gain < -slack:
            return "WORSE"
        return "better" if gain > slack else "as committed"


Figures = dict[str, Figure]

_OF_A_PYTHON = re.compile(r"\.(python\d+)\.")


def python_of(name: str) -> str | None:
    """The Python version that a figure belongs to, as ``python311``; None if it is for any."""
    found = _OF_A_PYTHON.search(name)
    return found[1] if found else None


def compare(
    committed: Mapping[str, Figure],
    found: Mapping[str, Figure],
    *,
    python: str = "",
    strict: bool = True,
) -> tuple[list[str], bool]:
    """A line for each figure, and whether all hold; a missing figure does not.

    Figures of another Python version than ``python`` are skipped. So are those of this version if
    none is committed, unless ``strict``.
    """
    known = {python_of(name) for name in committed}
    lines, holds = [], True
    for name in sorted({*committed, *found}):
        of = python_of(name)
        value = (found if name in found else committed)[name].value
        if name not in found and of not in {None, python}:
            verdict = f"passed over: this is {python}"
        elif name not in found:
            verdict, holds = "MISSING: not measured any more", False
        elif name not in committed and of is not None and of not in known and not strict:
            verdict = f"passed over: nothing is committed for {of}"
        elif name not in committed:
            verdict, holds = "NEW: not committed yet", False
        else:
            judged = committed[name].judge(value)
            verdict = f"{judged} ({committed[name].value:,.6g})"
            holds &= judged != "WORSE"
        lines.append(f"{name:<60}{value:>14,.6g}  {verdict}")
    return lines, holds


def load(text: str) -> Figures:
    """Committed figures."""
    return {name: Figure(**figure) for name, figure in json.loads(text).items()}


def dump(figures: Mapping[str, Figure]) -> str:
    """Figures in the format of the committed file."""
    return json.dumps({name: asdict(figures[name]) for name in sorted(figures)}, indent=2) + "\n"
