"""``make interleavings``: all orders of calls in each scene, and whether mutations are noticed.

make interleavings
make interleavings ARGS="leave sweep"
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

from lab.interleavings.mistakes import Found, notice
from lab.interleavings.scenes import SCENES, Result, run


def table(results: Sequence[Result]) -> str:
    """The scenes, and what failed in which order of calls."""
    width = max(len(one.scene) for one in results)
    head = f"{'calls':>5} {'orders':>14} {'explored':>8} {'failures':>8} {'CPU s':>6}"
    lines = [f"{'scene':{width}} {head}"]
    for one in results:
        orders = f"{one.orders:,}" if one.orders < 10**9 else f"{one.orders:.1e}"
        lines.append(
            f"{one.scene:{width}} {one.calls:>5} {orders:>14} {one.runs:>8,} "
            f"{bool(one.wrong):>8} {one.seconds:>6.1f}"
        )
    failed = [one for one in results if one.wrong]
    runs, seconds = sum(one.runs for one in results), sum(one.seconds for one in results)
    lines.append(f"{'all':{width}} {'':>5} {'':>14} {runs:>8,} {len(failed):>8} {seconds:>6.1f}")
    for one in failed:
        lines += [f"FAILED {one.scene}", *(f"  {what}" for what in one.wrong)]
        lines += [f"    {call}" for call in one.lines]
    return "\n".join(lines)


def mutations(found: Sequence[Found]) -> str:
    """Which mutation a scene showed, after how many runs."""
    lines = [f"{'mutation':70} {'scene':40} {'after':>5}"]
    for one in found:
        seen = f"{one.runs:>5}" if one.wrong else "NEVER"
        lines.append(f"{one.mutation:70} {one.scene:40} {seen}")
    return "\n".join(lines)


def main() -> int:
    """Run what the command line says; 1 if a scene fails, or a mutation is not noticed."""
    parser = argparse.ArgumentParser(description="Explore the interleavings of the real handlers.")
    parser.add_argument("words", nargs="*", help="only scenes whose name contains one of them")
    words = parser.parse_args().words
    scenes = [one for one in SCENES if not words or any(word in one.name for word in words)]
    if not scenes:
        parser.error(f"no scene has one of these in its name: {', '.join(words)}")
    began = time.monotonic()
    # The largest first, so that the processes end at about the same time.
    order = sorted(scenes, key=lambda one: not one.name.endswith("count"))
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        explored = {one.scene: one for one in pool.imap_unordered(run, order)}
        print(table([explored[one.name] for one in scenes]), end="\n\n")
        found = [one for each in pool.map(notice, scenes, chunksize=1) for one in each]
    print(mutations(found), end="\n\n")
    print(f"{time.monotonic() - began:.0f} s on {os.cpu_count()} cores")
    failed = any(one.wrong for one in explored.values())
    return 1 if failed or not all(one.wrong for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
