"""Errands queue: first frames of feeds, and feeds across spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.causes import said
from headcount.clients import Services, services
from headcount.metrics import say_metrics
from headcount.store.counts import Count


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Run each errand. Raises when a dependency fails: the queue tries again."""
    here = services()
    for record in event["Records"]:
        _say(here, here.runner.run(record["body"]))


def _say(here: Services, count: Count | None) -> None:
    """What was recounted, and what was posted."""
    metrics = here.meter.take(here.clock())
    if count is None and not metrics:
        return
    recounted = {} if count is None else {"space": count.space, "shard": count.shard}
    recounted |= {} if count is None else {"count": count.version} | said(count.cause)
    say_metrics(
        metrics,
        stack=here.settings.stack,
        now=here.clock(),
        message="said" if count is None else "counted",
        **recounted,
    )
