"""01:00 UTC: yesterday's row for every space; or the day named in the event. With a lake, at
03:00 UTC: all of yesterday's rows as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.logs import correlated, logger
from headcount.times import parse_day
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """``{}`` or ``{"date": "2026-11-20"}`` -> ``{"written": rows}``, and with many visits how many
    spaces are ``left`` to invocations of the cleanup function. With ``"export": true`` -> the
    ``exported`` rows of the day's file.
    """
    date = parse_day(event["date"]) if event.get("date") else None
    here = services()
    if event.get("export"):
        exported = here.exporter.export(date)
        logger().info("day exported", extra={"rows": exported})
        return {"exported": exported}
    done = here.aggregator.aggregate(date)
    here.metrics.write("month", {"MonthCents": here.aggregator.month_cents()})
    logger().info("day aggregated", extra={"rows": done.written, "left": done.left})
    return {"written": done.written} | ({"left": done.left} if done.left else {})


build_at_start(lambda here: (here.aggregator, here.metrics, logger()))
