"""Presence stream (joins, changes, leaves): recount the shards and record the visits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headcount.clients import services
from headcount.logs import logger
from headcount.session import Session
from headcount.store.presence import from_item


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Count a batch. Raises when a dependency fails: the stream tries again, nothing is lost."""
    services().counter.count(_sessions(event))


def _sessions(event: Mapping[str, Any]) -> Iterator[Session]:
    for record in event["Records"]:
        try:
            yield from_item(record["dynamodb"]["NewImage"])
        except (KeyError, TypeError, ValueError):
            # Trying again would only block the shard; the cleanup repairs what it was about.
            logger().exception("unreadable record", extra={"event": record.get("eventID")})
