"""Erasures queue: take a person out of every table, a part at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.logs import correlated
from headcount.usecases.redelivery import LONGEST_OF_ERASURES
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Continue each erasure. Raises if a dependency fails: the queue retries it."""
    here = services()
    with here.redelivery.on_failure(event["Records"], longest=LONGEST_OF_ERASURES):
        for record in event["Records"]:
            here.eraser.run(record["body"])


build_at_start(lambda here: (here.eraser, here.redelivery))
