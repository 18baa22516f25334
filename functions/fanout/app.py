"""Fan-out queue: let a chunk of a large audience hear a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services
from headcount.fanning import Chunk


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Deliver in order. Raises when a dependency fails: the queue tries again."""
    for record in event["Records"]:
        chunk = Chunk.from_json(record["body"])
        services().courier.deliver(chunk.message, chunk.connections)
