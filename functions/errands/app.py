"""Errands queue: first frames of feeds, and feeds across spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Run each errand. Raises when a dependency fails: the queue tries again."""
    for record in event["Records"]:
        services().runner.run(record["body"])
