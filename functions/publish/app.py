"""Counts stream: publish the spaces whose numbers changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.causes import said
from headcount.clients import Services, services
from headcount.headcounts import Change
from headcount.logs import logger
from headcount.metrics import say_metrics
from headcount.publishing import Published
from headcount.sockets import THROTTLE_BUDGET
from headcount.store.keys import Counts, shard_of_part
from headcount.times import SECOND


def handler(
    event: Mapping[str, Any],
    context: Any,  # noqa: ARG001 - Lambda passes it
) -> dict[str, list[dict[str, str]]]:
    """Publish a batch, a space at a time; the records of spaces that failed are tried again."""
    here = services()
    publisher = here.publisher
    changes: dict[str, list[Change]] = {}
    shards: dict[str, set[int]] = {}
    for record in event["Records"]:
        change = record["dynamodb"]
        space = change["Keys"][Counts.PARTITION]["S"]
        made_at = int(change.get("ApproximateCreationDateTime", 0)) * SECOND
        changes.setdefault(space, []).append(Change(change["SequenceNumber"], made_at))
        shard = shard_of_part(change["Keys"][Counts.SORT]["S"])
        shards.setdefault(space, set()).update(() if shard is None else (shard,))
    failed = []
    until = here.clock() + THROTTLE_BUDGET
    for space, made in changes.items():
        try:
            done = publisher.publish(space, made[0], made[-1], shards[space], until=until)
        except Exception:
            logger().exception("not published", extra={"space": space})
            failed.append(made[0].number)
        else:
            _say(here, space, done)
    if failed and len(failed) == len(changes):
        raise PublishFailedError(f"none of {len(failed)} spaces could be published")
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def _say(here: Services, space: str, done: Published | None) -> None:
    now = here.clock()
    if done is None:
        metrics = here.meter.take(now)
        say_metrics(
            metrics, stack=here.settings.stack, now=now, message="left for later", space=space
        )
        return
    if done.cause is not None and done.heard:
        here.meter.time("JoinToPush", max(0, now - done.cause.at))
    say_metrics(
        here.meter.take(now),
        stack=here.settings.stack,
        now=now,
        message="published",
        space=space,
        version=done.version,
        **said(done.cause),
    )


class PublishFailedError(RuntimeError):
    """No space of the batch could be published; the stream tries the batch again."""
