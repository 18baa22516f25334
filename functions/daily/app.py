"""01:00 UTC: yesterday's row for every space; or the day named in the event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services
from headcount.logs import logger
from headcount.times import parse_day


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """``{}`` or ``{"date": "2026-11-20"}`` -> ``{"written": rows}``; of many visits, too, how many
    spaces are ``left`` to other invocations, of the function that sweeps.
    """
    date = event.get("date")
    done = services().aggregator.aggregate(parse_day(date) if date else None)
    logger().info("day aggregated", extra={"rows": done.written, "left": done.left})
    return {"written": done.written} | ({"left": done.left} if done.left else {})
