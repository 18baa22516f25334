"""``make story``: what happened with a seed, as a page to read in a browser.

make story SEED=4711
"""

from __future__ import annotations

import argparse
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lab.simulator.schedules import Result, run

_PROCESS = re.compile(r"[a-z]+\d+")
_SOURCE = re.compile(r"(presence|counts|visits|headcounts|history):")
_CLIENT = re.compile(r"(dashboard|listener)\d+-\d+ ")
_TEMPLATE = Path(__file__).with_name("story.html")


class Line(NamedTuple):
    """A line of the trace: when, in whose lane, of what kind, what. ``kind``: a class of CSS."""

    at: float
    lane: str
    kind: str
    text: str


def line_of(at: float, text: str) -> Line:
    """A line of the trace, by what it begins with."""
    first, _, rest = text.partition(" ")
    if first in ("FAULT", "PROBLEM"):
        return Line(at, "faults", first.lower(), rest)
    if _PROCESS.fullmatch(first) and not _CLIENT.match(text):
        what = rest.strip()
        failed = what.startswith("ends ") or " " in what
        return Line(at, first, "failed" if failed else "call", what)
    if _SOURCE.match(text):
        return Line(at, f"stream {first.rstrip(':')}", "batch", rest)
    if _CLIENT.match(text):
        return Line(at, first.partition("-")[0], "frame", rest)
    return Line(at, "headcounts" if " version " in text else "world", "stored", text)


def lines_of(result: Result) -> list[Line]:
    """The whole trace, in seconds since its start."""
    start = result.trace[0][0] if result.trace else 0
    return [line_of((at - start) / 1000, text) for at, text in result.trace]


def page(result: Result) -> str:
    """The page: all in one file, which loads nothing."""
    lines = lines_of(result)
    about = {
        "seed": result.seed,
        "actions": result.actions,
        "calls": result.calls,
        "faults": dict(result.faults.most_common()),
        "problems": result.problems,
        "digest": result.digest,
        "lanes": list(dict.fromkeys(one.lane for one in lines)),
        "lines": lines,
    }
    # No text of the trace may end the script.
    data = json.dumps(about, separators=(",", ":")).replace("<", "\\u003c")
    text = _TEMPLATE.read_text()
    return text.replace("{{seed}}", html.escape(str(result.seed))).replace("{{data}}", data)


def main(arguments: Iterable[str] | None = None) -> int:
    """Write the page of a seed; 1 if the seed found a problem."""
    parser = argparse.ArgumentParser(description="The story of a seed, as a page.")
    parser.add_argument("--seed", type=int, required=True, help="as `make soak` prints it")
    parser.add_argument("--roll-ups", action="store_true", help="as `make soak` was run")
    parser.add_argument("--to", type=Path, help="the file (dist/story-SEED.html)")
    args = parser.parse_args(None if arguments is None else [*arguments])
    result = run(args.seed, roll_ups=args.roll_ups)
    target = args.to or Path("dist") / f"story-{args.seed}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(result))
    print(
        f"{target}: {len(result.trace):,} lines, {result.faults.total()} faults, "
        f"{len(result.problems)} problems"
    )
    return 1 if result.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
