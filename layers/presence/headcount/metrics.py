"""The metrics of this product, and how beats are counted: without a library, which would only make
their functions start later. All others count through Powertools, in ``metric_lines``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable

from headcount.times import MINUTE

NAMESPACE = "Headcount"
DIMENSION = "Stack"

COUNT, MILLISECONDS, NO_UNIT = "Count", "Milliseconds", "None"

METRICS = {
    "Beats": COUNT,
    "Refused": COUNT,
    "Robots": COUNT,
    "Joins": COUNT,
    "Leaves": COUNT,
    "JoinToPush": MILLISECONDS,
    "ExpiryLag": MILLISECONDS,
    "Posts": COUNT,
    "Gone": COUNT,
    "Throttled": COUNT,
    "Drift": COUNT,
    "Ended": COUNT,
    "Sessions": COUNT,
    "MonthCents": NO_UNIT,
}
"""Every metric of this product, with its unit. docs/observability.md describes each."""

BEATS_PER_LINE = 100
"""A line for every beat would add a quarter to the cost of the beat."""


def to_stdout(line: str) -> None:
    """Write a line of the log, whole: other threads write, too."""
    sys.stdout.write(line)
    sys.stdout.flush()


class BeatMeter:
    """The beats of a process since its last line. ``clock`` returns milliseconds."""

    def __init__(
        self, stack: str, clock: Callable[[], int], out: Callable[[str], object] = to_stdout
    ) -> None:
        self._stack = stack
        self._clock = clock
        self._out = out
        self._counts: Counter[str] = Counter()
        self._written_at = 0

    def add(self, name: str) -> None:
        """Count one more: ``Beats``, ``Refused`` or ``Robots``."""
        self._counts[name] += 1

    def write_beats(self, request: str) -> None:
        """Write how many beats arrived, ``request`` the last of them: at most one line a minute,
        and only for enough beats that it adds little to their cost.

        The line is in CloudWatch's embedded metric format. Lambda takes a line without a level for
        INFO, which the function's log level must include.
        """
        beats = sum(self._counts.values())
        if beats < BEATS_PER_LINE or 0 <= self._clock() - self._written_at < MINUTE:
            return
        self._written_at = self._clock()
        counts = {name: number for name, number in self._counts.items() if number}
        self._counts.clear()
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [[DIMENSION]],
            "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in counts],
        }
        line = {
            "message": "beats, up to this one",
            "request": request,
            "_aws": {"Timestamp": self._written_at, "CloudWatchMetrics": [directive]},
            DIMENSION: self._stack,
            **counts,
        }
        self._out(json.dumps(line, separators=(",", ":")) + "\n")
