"""``make model``: every state of each scene, and whether the model notices each mistake.

make model
make model ARGS=--small
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

from lab.model.explore import LIVENESS, SAFETY, Result, explore
from lab.model.pipeline import Scene
from lab.model.scenes import ALL, MISTAKES, SMALL, find


def table(results: Sequence[Result]) -> str:
    """The scenes, the properties, and the sums."""
    width = max(len(one.scene.name) for one in results)
    lines = [f"{'scene':{width}} {'states':>10} {'transitions':>12} {'quiet':>7} {'CPU s':>8}"]
    for one in results:
        numbers = f"{one.states:>10,} {one.transitions:>12,} {one.quiet:>7,} {one.seconds:>8.1f}"
        lines.append(f"{one.scene.name:{width}} {numbers}")
    states, steps = sum(one.states for one in results), sum(one.transitions for one in results)
    lines.append(f"{'all':{width}} {states:>10,} {steps:>12,}")
    for name in (*SAFETY, LIVENESS):
        broken = [one for one in results if one.wrong.startswith(name)]
        lines.append(f"{'BROKEN' if broken else 'holds':7} {name}")
        for one in broken:
            lines += [f"  in {one.scene.name}: {one.wrong}", *(f"    {step}" for step in one.path)]
    return "\n".join(lines)


def mistakes(found: Sequence[Result | None]) -> str:
    """Which property each mistake breaks, in which scene, and after how many steps."""
    lines = [f"{'without':40} {'steps':>5}  breaks"]
    for mistake, one in zip(MISTAKES, found, strict=True):
        seen = "    -  NOTHING" if one is None else f"{len(one.path):>5}  {one.wrong}"
        lines.append(f"{mistake:40} {seen}")
    return "\n".join(lines)


def main() -> int:
    """Run what the command line says; 1 if a property does not hold, or a mistake is missed."""
    parser = argparse.ArgumentParser(description="Explore the model of the pipeline.")
    parser.add_argument("--small", action="store_true", help="only the small scenes")
    args = parser.parse_args()
    began = time.monotonic()
    scenes: tuple[Scene, ...] = SMALL if args.small else ALL
    # A process for each scene, because one keeps all the memory that it ever had.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        results = pool.map(explore, scenes, chunksize=1)
        print(table(results))
        found = pool.map(find, MISTAKES, chunksize=1)
    print(f"\n{mistakes(found)}\n")
    print(f"{time.monotonic() - began:.0f} s on {os.cpu_count()} cores")
    return 1 if any(one.wrong for one in results) or None in found else 0


if __name__ == "__main__":
    sys.exit(main())
