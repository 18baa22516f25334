"""Deferred queue: first frames of feeds, feeds across spaces, alerts and recounts. Closing queue:
connections that do not answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headcount.logs import correlated
from headcount.metric_lines import MetricLines
from headcount.model.trace import log_fields
from headcount.store.counts import ShardCount
from headcount.usecases.redelivery import Failures, failures
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> Failures:  # noqa: ARG001 - Lambda passes it
    """Run each task. Raises if a dependency fails: the queue retries it. Of the messages with
    connections to close, which come several at once, returns those to retry."""
    here = services()
    to_close: dict[str, list[str]] = {}
    with here.redelivery.on_failure(event["Records"]):
        for record in event["Records"]:
            task = json.loads(record["body"])
            if task["do"] == "close":
                to_close[record["messageId"]] = task["connections"]
            else:
                _write(here.metrics, here.runner.run(task))
        failed = here.runner.close_connections(to_close)
    here.redelivery.after_failure([one for one in event["Records"] if one["messageId"] in failed])
    return failures(failed)


def _write(metrics: MetricLines, made: ShardCount | None) -> None:
    """Write which count was made, or how many posts were sent."""
    if made is None:
        metrics.write_pending("posted")
        return
    about: dict[str, Any] = {"space": made.space, "shard": made.shard, "count": made.version}
    metrics.write("counted", **about, **log_fields(made.cause))


build_at_start(lambda here: (here.runner, here.redelivery, here.streams))
