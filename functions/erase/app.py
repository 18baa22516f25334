"""Erasures' queue: take a person out of every table, a part at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Go on with each erasure. Raises when a dependency fails: the queue tries again."""
    for record in event["Records"]:
        services().eraser.run(record["body"])
