"""HTTP API, ``$default`` route: all reads, and the five systems."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.web.http import Event, Response
from headcount.web.robots import robot_of
from headcount.web.routing import Router, import_all
from headcount.wiring import build_at_start, services


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Respond to a request."""
    return _router().answer(event)


@cache
def _router() -> Router:
    return Router(services())


build_at_start(
    lambda here: (
        here.session_recorder,
        here.join_limits,
        here.reader,
        here.verifier,
        robot_of(""),
        import_all(),
    )
)
