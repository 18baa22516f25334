"""Counts stream: publish the spaces whose counts changed, unless ``count`` did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.logs import correlated, logger
from headcount.model.headcount import CountsChange
from headcount.store.keys import Counts, shard_of_part
from headcount.times import SECOND
from headcount.usecases.deliver import THROTTLE_BUDGET
from headcount.usecases.publish import write_published
from headcount.usecases.redelivery import Failures, failures
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> Failures:  # noqa: ARG001 - Lambda passes it
    """Publish a batch, one space after the other. Returns the records of spaces that failed, which
    the stream retries. Raises PublishFailedError if all did."""
    here = services()
    publisher = here.publisher
    changes: dict[str, list[CountsChange]] = {}
    shards: dict[str, set[int]] = {}
    others: set[str] = set()
    for record in event["Records"]:
        change = record["dynamodb"]
        space = change["Keys"][Counts.PARTITION]["S"]
        made_at = int(change.get("ApproximateCreationDateTime", 0)) * SECOND
        changes.setdefault(space, []).append(CountsChange(change["SequenceNumber"], made_at))
        shard = shard_of_part(change["Keys"][Counts.SORT]["S"])
        shards.setdefault(space, set()).update(() if shard is None else (shard,))
        others |= {space} if shard is None else set()
    failed = []
    until = here.clock() + THROTTLE_BUDGET
    for space, made in changes.items():
        try:
            if space == Counts.ROLLUPS:
                published = publisher.publish_rollups(made[0], made[-1], until=until)
            else:
                recounts = space not in others
                done = publisher.publish(
                    space, made[0], made[-1], shards[space], recounts=recounts, until=until
                )
                published = {space: done}
        except Exception:
            logger().exception("not published", extra={"space": space})
            failed.append(made[0].number)
        else:
            for name, done in published.items():
                write_published(here.metrics, name, done)
    if failed and len(failed) == len(changes):
        raise PublishFailedError(f"none of {len(failed)} spaces could be published")
    return failures(failed)


class PublishFailedError(RuntimeError):
    """No space of the batch could be published; the stream retries the batch."""


build_at_start(lambda here: here.publisher)
