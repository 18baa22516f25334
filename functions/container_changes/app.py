"""ECS task state changes: store the container's state and send it to its subscribers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.logs import correlated, logger
from headcount.model.container import from_task
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Handle one change. Raises if a dependency fails: Lambda retries it."""
    try:
        container = from_task(event["detail"])
    except (AttributeError, KeyError, TypeError, ValueError):
        # A retry would not make it readable.
        logger().exception("unreadable event", extra={"event": event.get("id")})
        return
    if container is not None:
        services().announcer.announce(container)


build_at_start(lambda here: here.announcer)
