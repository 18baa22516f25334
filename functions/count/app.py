"""Presence stream (joins, changes, leaves): record the visits, recount the shards, and publish the
spaces that have one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headcount.logs import correlated, logger
from headcount.metric_lines import first_requests
from headcount.model.session import Session
from headcount.model.trace import log_fields
from headcount.store.presence import from_item
from headcount.usecases.publish import write_published
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Count a batch, and write a line for each shard: which requests changed it, and which count
    and version they are in, if one was made. Raises if a dependency fails: the stream retries the
    batch."""
    here = services()
    for batch in here.counter.count(_sessions(event)):
        made = batch.count
        here.metrics.add("Joins", batch.joins)
        here.metrics.add("Leaves", batch.leaves)
        here.metrics.write(
            "counted" if made is not None else "deferred",
            space=batch.space,
            shard=batch.shard,
            requests=first_requests(session.request for session in batch.written),
            **({"count": made.version} | log_fields(made.cause) if made is not None else {}),
        )
        if batch.published is not None:
            write_published(here.metrics, batch.space, batch.published)


def _sessions(event: Mapping[str, Any]) -> Iterator[Session]:
    for record in event["Records"]:
        try:
            yield from_item(record["dynamodb"]["NewImage"])
        except (KeyError, TypeError, ValueError):
            # A retry would only block the shard; the cleanup repairs the space's numbers.
            logger().exception("unreadable record", extra={"event": record.get("eventID")})


build_at_start(lambda here: (here.counter, here.metrics, here.threads))
