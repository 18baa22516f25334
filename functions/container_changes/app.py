"""ECS task state changes: keep the container's state and tell the sockets that listen to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services
from headcount.containers import from_task
from headcount.logs import logger


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Tell of one change. Raises when a dependency fails: Lambda tries again."""
    try:
        container = from_task(event["detail"])
    except (AttributeError, KeyError, TypeError, ValueError):
        # Trying again would not make it readable.
        logger().exception("unreadable event", extra={"event": event.get("id")})
        return
    if container is not None:
        services().announcer.hear(container)
