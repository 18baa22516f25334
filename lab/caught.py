"""``make caught``: which mutation is noticed by what.

Takes the mutations of the code that ``lab.interleavings`` and ``lab.model.conformance`` plant, and
those that break what the model can leave out. Of each it prints whether one of its tests fails, the
first scene that goes wrong within a hundred interleavings, the first scene of which the model
refuses one of thirty traces, and the condition that the mutation breaks, if the model notices when
it is left out there.

make caught
make caught ARGS="versions fence"           mutations whose name contains a word
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from lab.interleavings.mistakes import SHOWN_BY, find
from lab.interleavings.scenes import SCENES
from lab.model import scenes as model
from lab.model.conformance import KINDS, REFUSED, follow

CONDITIONS = {
    "order: a late beat is taken, as decided": "messages are ordered",
    "margin: a beat after its lease is steady": "a beat after its lease is a change",
    "retry: a visit is recorded twice": "a visit is recorded once",
    "recount: any version is overwritten": "a recount's condition",
    "versions: any is overwritten": "a version's condition",
    "fence: a version that died unsent is skipped": "an unsent version is sent first",
    "fence: a version is marked as sent before it is": "a version is marked after it is sent",
    "greeting: reads the version before it subscribes": "a greeting subscribes first",
    "greeting: marked before it is sent": "a greeting is marked last",
    "races: a row is written over one that changed": "the sweep's condition",
    "audit: nothing has ever drifted": "the sweep audits",
}
"""Mutations, and the condition that the model can leave out. Two others are no code of ours: that
streams hand over late records, and that a queue keeps a chunk until it is handled."""
MUTATIONS = sorted(
    {one for each in (*SHOWN_BY.values(), *REFUSED.values()) for one in each} | CONDITIONS.keys()
)
_ORDERS, _TRACES = 100, range(30)  # of each scene, if it shows nothing


def in_tests(mutations: Sequence[str]) -> dict[str, str]:
    """Of which a test fails. In a process of its own: this one has imported what they change."""
    command = [sys.executable, "-m", "lab.mutants", *mutations]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    return noticed_by_tests(done.stdout)


def noticed_by_tests(printed: str) -> dict[str, str]:
    """What ``lab.mutants`` printed: a row for each mutation, in which anything bold is bad."""
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    return {row[0].removeprefix("| "): "" if row[1].startswith("**") else "yes" for row in rows}


def in_interleavings(mutation: str) -> str:
    """The first scene that goes wrong, those first that must."""
    logging.disable(logging.CRITICAL)
    order = sorted(SCENES, key=lambda one: mutation not in SHOWN_BY[one.name])
    return next((one.name for one in order if find(mutation, one, _ORDERS).wrong), "")


def in_traces(mutation: str) -> str:
    """The first scene of which the model refuses a trace, those first that must."""
    order = sorted(KINDS, key=lambda one: mutation not in REFUSED.get(one.scene.name, ()))
    return next((one.scene.name for one in order if follow(one, _TRACES, mutation).refused), "")


def in_model(mutation: str) -> str:
    """The condition without which the model breaks a property."""
    condition = CONDITIONS.get(mutation, "")
    return condition if condition and model.find(condition) is not None else ""


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """The mutations, and what noticed each."""
    lines = [
        "| mutation | tests | interleavings | conformance | model without |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(one or '-' for one in row)} |" for row in rows)])


def main() -> int:
    """Print the table; 1 if no test notices a mutation."""
    parser = argparse.ArgumentParser(description="Print which mutation is noticed by what.")
    parser.add_argument("words", nargs="*", help="only mutations whose name contains one of them")
    words = parser.parse_args().words
    names = [one for one in MUTATIONS if not words or any(word in one for word in words)]
    if not names:
        parser.error(f"no mutation has one of these in its name: {', '.join(words)}")
    began = time.monotonic()
    tested = in_tests(names)
    if missing := [one for one in names if one not in tested]:
        raise RuntimeError(f"no tests ran for: {', '.join(missing)}")
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        others = [
            pool.map_async(look, names, chunksize=1)
            for look in (in_interleavings, in_traces, in_model)
        ]
        rows = list(
            zip(names, (tested[one] for one in names), *(one.get() for one in others), strict=True)
        )
    print(table(rows), end="\n\n")
    print(f"{time.monotonic() - began:.0f} s on {os.cpu_count()} cores")
    return 0 if all(tested[one] for one in names) else 1


if __name__ == "__main__":
    sys.exit(main())
