"""Visits, Headcounts and History streams: tell the bus of joins, leaves, alerts and days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services


def handler(
    event: Mapping[str, Any],
    context: Any,  # noqa: ARG001 - Lambda passes it
) -> dict[str, list[dict[str, str]]]:
    """Tell a batch; the records whose events were not taken are tried again."""
    failed = services().emitter.emit(event["Records"])
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
