"""Webhook queue: post each event to the configured address."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - looking up a receiver imports it
from collections.abc import Mapping
from typing import Any

from headcount.aws.wire import tls_context
from headcount.logs import correlated
from headcount.usecases.redelivery import Failures, failures
from headcount.wiring import build_at_start, services


@correlated
def handler(event: Mapping[str, Any], context: Any) -> Failures:  # noqa: ARG001 - Lambda passes it
    """Deliver a batch. Returns the messages to retry; each try waits longer."""
    return failures(services().webhook_sender.deliver(event["Records"]))


build_at_start(lambda here: (here.webhook_sender, here.secrets, tls_context()))
