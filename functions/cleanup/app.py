"""Every minute: end what expired, bin what ended, repair what drifted, sample the timeline. What is
too large for one invocation, of that or of a day, comes back in pieces by a queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from headcount.clients import Services, services
from headcount.logs import logger
from headcount.metrics import say_metrics
from headcount.sweeping import Report, SweepFailedError
from headcount.times import MINUTE


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes them
    """Sweep, as often within the minute as set; or do the queue's pieces. Returns what the last
    sweep did.

    Raises after the last when spaces failed in any.
    """
    here = services()
    reports = list(_pieces(here, event["Records"]) if "Records" in event else _sweeps(here))
    if failed := {space for report in reports for space in report.failed}:
        raise SweepFailedError(f"spaces that could not be swept: {len(failed)}; the log names them")
    return asdict(reports[-1]) if reports else {}


def _sweeps(here: Services) -> Iterator[Report]:
    sweeps = here.settings.sweeps_per_minute
    started = here.clock()
    for number in range(sweeps):
        due = started + number * MINUTE // sweeps
        here.sleep(max(0, due - here.clock()) / 1000)
        report = here.sweeper.sweep()
        _say(here, report, {"Sessions": report.sessions})
        yield report


def _pieces(here: Services, records: Iterable[Mapping[str, Any]]) -> Iterator[Report]:
    for record in records:
        report = here.piece_runner.run(record["body"])
        if report is not None:
            _say(here, report, {})  # how many are here, the sweep said that left this piece
            yield report


def _say(here: Services, report: Report, metrics: Mapping[str, int]) -> None:
    for drift in report.repaired:
        logger().warning("a space had drifted and was recounted", extra=asdict(drift))
    say_metrics(
        {"Drift": len(report.repaired), "Ended": report.ended, **metrics}
        | ({"ExpiryLag": report.expiry_lag} if report.ended else {}),
        stack=here.settings.stack,
        now=here.clock(),
    )
