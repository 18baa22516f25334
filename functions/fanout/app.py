"""Fan-out queue: let chunks of a large audience hear a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from headcount.causes import said
from headcount.clients import Services, services
from headcount.fanning import Chunk, cause_in, is_noted_in
from headcount.logs import logger
from headcount.metrics import say_metrics
from headcount.times import SECOND

PATIENCE = 35 * SECOND
"""How long an invocation goes on with throttled posts, and begins with chunks: of its 60 s."""

Record = Mapping[str, Any]


def handler(
    event: Mapping[str, Any],
    context: Any,  # noqa: ARG001 - Lambda passes it
) -> dict[str, list[dict[str, str]]]:
    """Deliver chunks: of a group in order, groups beside each other, so that they wait together
    for whoever does not answer. What failed is tried again, and what comes behind it."""
    here = services()
    groups: dict[str, list[Record]] = {}
    for record in event["Records"]:
        groups.setdefault(record["attributes"]["MessageGroupId"], []).append(record)
    until = here.clock() + PATIENCE
    lost = here.threads.map(partial(_deliver, here, until), groups.values())
    failed = [number for numbers in lost for number in numbers]
    if len(failed) == len(event["Records"]):
        raise FanoutFailedError(f"none of {len(failed)} chunks could be delivered")
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def _deliver(here: Services, until: int, records: Sequence[Record]) -> list[str]:
    """A group's chunks in order; the messages that must be tried again."""
    for position, record in enumerate(records):
        if position and here.clock() >= until:
            return [one["messageId"] for one in records[position:]]
        try:
            chunk = Chunk.from_json(record["body"])
            queued_at = int(record["attributes"]["SentTimestamp"])
            noted = is_noted_in(record)
            here.deliveries.deliver_chunk(chunk, noted=noted, queued_at=queued_at, until=until)
        except Exception:
            logger().exception("not delivered")
            return [one["messageId"] for one in records[position:]]
        _say(here, record, chunk)
    return []


def _say(here: Services, record: Record, chunk: Chunk) -> None:
    cause, now = cause_in(record), here.clock()
    if cause is not None:
        here.meter.time("JoinToPush", max(0, now - cause.at))
    say_metrics(
        here.meter.take(now),
        stack=here.settings.stack,
        now=now,
        message="fanned out",
        space=chunk.space,
        version=chunk.version,
        connections=len(chunk.connections),
        **said(cause),
    )


class FanoutFailedError(RuntimeError):
    """No chunk of the batch could be delivered; the queue tries them again."""
