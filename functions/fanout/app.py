"""Fan-out queue: deliver a version to chunks of a large audience, and tell the clients of Convex's
sync protocol what happened to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from headcount.logs import correlated, logger
from headcount.metric_lines import MetricLines
from headcount.model.trace import log_fields
from headcount.times import SECOND
from headcount.usecases.deliver import Deliveries
from headcount.usecases.queues import Chunk, cause_in, is_noted_in, is_sync_task
from headcount.usecases.redelivery import LONGEST_OF_CHUNKS, Failures, failures
from headcount.wiring import Services, build_at_start, services

CHUNK_BUDGET = 35 * SECOND
"""How long an invocation, of its 60 s, retries throttled posts and starts further chunks."""

Record = Mapping[str, Any]


@correlated
def handler(event: Mapping[str, Any], context: Any) -> Failures:  # noqa: ARG001 - Lambda passes it
    """Deliver chunks: each group's in order, the groups in parallel, so that they wait together for
    clients that do not answer. Returns the messages to retry: those that failed, and those after
    them in their group. Raises FanoutFailedError if all failed."""
    here = services()
    groups: dict[str, list[Record]] = {}
    for record in event["Records"]:
        groups.setdefault(record["attributes"]["MessageGroupId"], []).append(record)
    until = here.clock() + CHUNK_BUDGET
    # Built here: threads that ask for it at the same moment could build two, each with a pace.
    deliver = partial(_deliver, here, here.deliveries, until)
    left = [*here.threads.map(deliver, groups.values())]
    for records in left:
        here.redelivery.after_failure(records, longest=LONGEST_OF_CHUNKS)
    failed = [record["messageId"] for records in left for record in records]
    if len(failed) == len(event["Records"]):
        raise FanoutFailedError(f"none of {len(failed)} chunks could be delivered")
    return failures(failed)


def _deliver(
    here: Services, deliveries: Deliveries, until: int, records: Sequence[Record]
) -> Sequence[Record]:
    """Deliver a group's chunks in order; returns the messages to retry."""
    for position, record in enumerate(records):
        if position and here.clock() >= until:
            return records[position:]
        try:
            if is_sync_task(record["body"]):
                here.syncer.handle(record)
                continue
            chunk = Chunk.from_json(record["body"])
            queued_at = int(record["attributes"]["SentTimestamp"])
            noted = is_noted_in(record)
            deliveries.deliver_chunk(chunk, noted=noted, queued_at=queued_at, until=until)
        except Exception:
            logger().exception("not delivered")
            return records[position:]
        _write(here.metrics, record, chunk)
    return []


def _write(metrics: MetricLines, record: Record, chunk: Chunk) -> None:
    cause = cause_in(record)
    if cause is not None:
        metrics.add_time_since("JoinToPush", cause.at)
    about: dict[str, Any] = {"space": chunk.space, "version": chunk.version}
    metrics.write("fanned out", **about, connections=len(chunk.connections), **log_fields(cause))


class FanoutFailedError(RuntimeError):
    """No chunk of the batch could be delivered; the queue retries them."""


build_at_start(lambda here: (here.deliveries, here.redelivery, here.threads))
