"""Every minute: end expired sessions, delete ended rows, repair drift, sample the timeline, have
Convex's clients pinged and the sockets of expired share links closed. A sweep or a day that is too
large for one invocation comes back through a queue, in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from headcount.logs import correlated, logger
from headcount.times import MINUTE
from headcount.usecases.cleanup import Report, SweepFailedError
from headcount.wiring import Services, build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes them
    """Sweep as often within the minute as configured; or run the queue's parts. Returns the last
    sweep's report.

    Raises SweepFailedError after the last if spaces failed in any.
    """
    here = services()
    records = event.get("Records", [])
    with here.redelivery.on_failure(records):
        reports = list(_parts(here, records) if records else _sweeps(here))
        if failed := {space for report in reports for space in report.failed}:
            raise SweepFailedError(
                f"spaces that could not be swept: {len(failed)}; the log names them"
            )
    return asdict(reports[-1]) if reports else {}


def _sweeps(here: Services) -> Iterator[Report]:
    sweeps = here.settings.sweeps_per_minute
    started = here.clock()
    here.pinger.schedule()
    here.share_sweeper.sweep()
    for number in range(sweeps):
        due = started + number * MINUTE // sweeps
        here.sleep(max(0, due - here.clock()) / 1000)
        report = here.sweeper.sweep()
        _write(here, report, {"Sessions": report.sessions})
        yield report


def _parts(here: Services, records: Iterable[Mapping[str, Any]]) -> Iterator[Report]:
    for record in records:
        report = here.piece_runner.run(record["body"])
        if report is not None:
            _write(here, report, {})  # the sweep that deferred this part reported the sessions
            yield report


def _write(here: Services, report: Report, metrics: Mapping[str, int]) -> None:
    for drift in report.repaired:
        logger().warning("a space had drifted and was recounted", extra=asdict(drift))
    lag = {"ExpiryLag": report.expiry_lag} if report.ended else {}
    ended = {"Drift": len(report.repaired), "Ended": report.ended}
    here.metrics.write(metrics={**ended, **metrics, **lag})


build_at_start(
    lambda here: (
        here.sweeper,
        here.pinger,
        here.share_sweeper,
        here.redelivery,
        here.metrics,
        here.threads,
    )
)
