"""Every minute: end what expired, bin what ended, repair what drifted, sample the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headcount.clients import services
from headcount.logs import logger
from headcount.times import MINUTE


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes them
    """Sweep, as often within the minute as set; returns what the last sweep did."""
    here = services()
    sweeps = here.settings.sweeps_per_minute
    started = here.clock()
    for number in range(sweeps):
        due = started + number * MINUTE // sweeps
        here.sleep(max(0, due - here.clock()) / 1000)
        report = asdict(here.sweeper.sweep())
        if report["repaired"]:
            logger().warning("counts had drifted and were repaired", extra=report)
    return report
