"""Metrics by way of the log: CloudWatch reads them from a line in its embedded metric format.

A line needs no library; importing Powertools' Metrics would only make the start slower. The same
line says what was done for which requests, so that one query follows a beat to the dashboards.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headcount.times import MINUTE

NAMESPACE = "Headcount"
DIMENSION = "Stack"

COUNT, MILLISECONDS = "Count", "Milliseconds"

METRICS = {
    "Beats": COUNT,
    "Refused": COUNT,
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
}
"""Every metric of this product's own, with its unit. docs/observability.md says what each is."""

BEATS_PER_LINE = 100
"""A line for every beat would add a quarter to what the beat costs."""

_VALUES = 100
"""Values that a line may hold of one metric."""

_REQUESTS = 20
"""Requests that a line names: it has to stay a short one."""


class Meter:
    """What this process did since it last said so."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: defaultdict[str, list[int]] = defaultdict(list)
        self._said_at = 0

    def add(self, name: str, number: int = 1) -> None:
        """So many more."""
        self._counts[name] += number

    def time(self, name: str, took: int) -> None:
        """Something took so many milliseconds."""
        self._times[name].append(took)

    def due(self, now: int) -> bool:
        """Whether so many beats came that a line does not weigh on them: once a minute at most."""
        beats = self._counts["Beats"] + self._counts["Refused"]
        return beats >= BEATS_PER_LINE and not 0 <= now - self._said_at < MINUTE

    def take(self, now: int) -> dict[str, int | list[int]]:
        """Name -> how many, or the longest times in milliseconds. It begins anew."""
        taken: dict[str, int | list[int]] = {
            name: number for name, number in self._counts.items() if number
        }
        for name, times in self._times.items():
            taken[name] = sorted(times)[-_VALUES:]
        self._counts.clear()
        self._times.clear()
        self._said_at = now
        return taken


def say_metrics(
    values: Mapping[str, int | list[int]], *, stack: str, now: int, **said: Any
) -> None:
    """Write a line that sets these metrics of a stack's as of ``now`` (epoch milliseconds), and
    what else is ``said``; without metrics it is said alone.

    Lambda takes a line that says no level for INFO, which the log must let through.
    """
    line: dict[str, Any] = dict(said)
    if values:
        line["_aws"] = {
            "Timestamp": now,
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [[DIMENSION]],
                    "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in values],
                }
            ],
        }
        line |= {DIMENSION: stack, **values}
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def say_beats(meter: Meter, *, stack: str, now: int, request: str) -> None:
    """Say how many beats came, where that is due; ``request`` is the last of them."""
    if meter.due(now):
        said = {"message": "beats, up to this one", "request": request}
        say_metrics(meter.take(now), stack=stack, now=now, **said)


def named(requests: Iterable[str]) -> Sequence[str]:
    """The requests that a line names: the first of them, each once."""
    return list(dict.fromkeys(requests))[:_REQUESTS]
