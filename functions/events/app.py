"""Visits, Headcounts and History streams: send events of joins, leaves, alerts and days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.logs import correlated, logger
from headcount.usecases.redelivery import Failures, failures
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> Failures:  # noqa: ARG001 - Lambda passes it
    """Send a batch's events. Returns the records to retry."""
    return failures(services().emitter.emit(event["Records"]))


build_at_start(lambda here: (here.emitter, logger()))
