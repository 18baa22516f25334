"""Metrics by way of the log: CloudWatch reads them from a line in its embedded metric format.

A line needs no library; importing Powertools' Metrics would only make the start slower.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

NAMESPACE = "Headcount"
DIMENSION = "Stack"


def say_metrics(counts: Mapping[str, int], *, stack: str, now: int) -> None:
    """Write a line that sets these counts of a stack's as of ``now`` (epoch milliseconds).

    Lambda takes a line that says no level for INFO, which the log must let through.
    """
    line = {
        "_aws": {
            "Timestamp": now,
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [[DIMENSION]],
                    "Metrics": [{"Name": name, "Unit": "Count"} for name in counts],
                }
            ],
        },
        DIMENSION: stack,
        **counts,
    }
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()
