"""Webhook queue: post each event to the address that was named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services


def handler(
    event: Mapping[str, Any],
    context: Any,  # noqa: ARG001 - Lambda passes it
) -> dict[str, list[dict[str, str]]]:
    """Deliver a batch; the queue keeps what was not taken, for longer after each try."""
    failed = services().messenger.deliver(event["Records"])
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}
