"""Counts stream: publish the spaces whose numbers changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.clients import services
from headcount.logs import logger
from headcount.store.keys import Counts


def handler(
    event: Mapping[str, Any],
    context: Any,  # noqa: ARG001 - Lambda passes it
) -> dict[str, list[dict[str, str]]]:
    """Publish a batch, a space at a time; the records of spaces that failed are tried again."""
    publisher = services().publisher
    causes: dict[str, list[str]] = {}
    for record in event["Records"]:
        change = record["dynamodb"]
        space = change["Keys"][Counts.PARTITION]["S"]
        causes.setdefault(space, []).append(change["SequenceNumber"])
    failed = []
    for space, numbers in causes.items():
        try:
            publisher.publish(space, numbers[0], numbers[-1])
        except Exception:
            logger().exception("not published", extra={"space": space})
            failed.append(numbers[0])
    if failed and len(failed) == len(causes):
        raise PublishFailedError(f"none of {len(failed)} spaces could be published")
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


class PublishFailedError(RuntimeError):
    """No space of the batch could be published; the stream tries the batch again."""
