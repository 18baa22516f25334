"""Lines of the log that carry metrics: CloudWatch reads them in its embedded metric format.

A process counts and times; the next line that it writes carries the numbers. The line also names
the requests that it is about, so that one query follows a beat to the dashboards.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

from aws_lambda_powertools.metrics import EphemeralMetrics

from headcount.logs import without_ids
from headcount.metrics import DIMENSION, METRICS, NAMESPACE, to_stdout

_MAX_VALUES = 100
"""Values of one metric that a line may hold: CloudWatch's limit."""

_MAX_REQUESTS = 20
"""The most requests that a line names, to keep it short."""


class MetricLines:
    """The counts and times of a process since its last line, for any number of threads.

    ``clock`` returns milliseconds.
    """

    def __init__(
        self, stack: str, clock: Callable[[], int], out: Callable[[str], object] = to_stdout
    ) -> None:
        # Ephemeral: what ``Metrics`` holds is shared by all of a process's instances.
        self._format = EphemeralMetrics(namespace=NAMESPACE, default_dimensions={DIMENSION: stack})
        self._clock = clock
        self._out = out
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._times: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, name: str, number: int = 1) -> None:
        """Count this many more."""
        with self._lock:
            self._counts[name] += number

    def add_time_since(self, name: str, at: int) -> None:
        """Note how long ago that was (epoch milliseconds)."""
        with self._lock:
            self._times[name].append(max(0, self._clock() - at))

    def write(
        self, message: str | None = None, metrics: Mapping[str, int] | None = None, **fields: Any
    ) -> None:
        """Write a line with a message, fields, all counts and times so far, and ``metrics``,
        which are written even if they are 0. Then all begin again at 0.

        Lambda takes a line without a level for INFO, which the function's log level must include.
        """
        fields = without_ids(fields)
        line: dict[str, Any] = fields if message is None else {"message": message, **fields}
        if values := {**self._take(), **(metrics or {})}:
            self._format.timestamp = self._clock()
            line = dict(
                self._format.serialize_metric_set(
                    metrics={
                        name: {"Unit": METRICS[name], "Value": value}
                        for name, value in values.items()
                    },
                    metadata=line,
                )
            )
        self._out(json.dumps(line, separators=(",", ":")) + "\n")

    def write_pending(self, message: str) -> None:
        """Write a line if anything was counted or timed."""
        if self._times or any(self._counts.values()):
            self.write(message)

    def _take(self) -> dict[str, int | list[int]]:
        """Name -> the count, or the longest times in milliseconds."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            times, self._times = self._times, defaultdict(list)
        return {
            **{name: number for name, number in counts.items() if number},
            **{name: sorted(found)[-_MAX_VALUES:] for name, found in times.items()},
        }


def first_requests(requests: Iterable[str]) -> Sequence[str]:
    """The requests that a line names: the first of them, each once."""
    return list(dict.fromkeys(requests))[:_MAX_REQUESTS]
