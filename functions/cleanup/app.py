"""Every minute: end what expired, bin what ended, repair what drifted, sample the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headcount.clients import services
from headcount.logs import logger
from headcount.metrics import say_metrics
from headcount.sweeping import SweepFailedError
from headcount.times import MINUTE


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes them
    """Sweep, as often within the minute as set; returns what the last sweep did.

    Raises after the last when spaces failed in any.
    """
    here = services()
    sweeps = here.settings.sweeps_per_minute
    started = here.clock()
    failed: set[str] = set()
    for number in range(sweeps):
        due = started + number * MINUTE // sweeps
        here.sleep(max(0, due - here.clock()) / 1000)
        report = here.sweeper.sweep()
        for drift in report.repaired:
            logger().warning("a space had drifted and was recounted", extra=asdict(drift))
        say_metrics(
            {"Drift": len(report.repaired), "Ended": report.ended, "Sessions": report.sessions},
            stack=here.settings.stack,
            now=here.clock(),
        )
        failed.update(report.failed)
    if failed:
        raise SweepFailedError(f"spaces that could not be swept: {len(failed)}; the log names them")
    return asdict(report)
