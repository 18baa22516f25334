"""Errands queue: first frames of feeds, and feeds across spaces. Closings queue: dashboards that do
not answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headcount.causes import said
from headcount.clients import Services, services
from headcount.metrics import say_metrics
from headcount.store.counts import Count


def handler(
    event: Mapping[str, Any],
    context: Any,  # noqa: ARG001 - Lambda passes it
) -> dict[str, list[dict[str, str]]]:
    """Run each errand. Raises when a dependency fails: the queue tries again. Closings come several
    at once: of those, it says which to try again."""
    here = services()
    closings: dict[str, list[str]] = {}
    for record in event["Records"]:
        errand = json.loads(record["body"])
        if errand["do"] == "close":
            closings[record["messageId"]] = errand["connections"]
        else:
            _say(here, here.runner.run(errand))
    failed = here.runner.close(closings)
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


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
