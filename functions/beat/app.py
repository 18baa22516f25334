"""HTTP API, the native beats and leaves: apart from all reads, which then can't slow them."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.web import beats
from headcount.web.http import Event, Response
from headcount.web.robots import robot_of
from headcount.web.routing import Router
from headcount.wiring import build_at_start, services


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Respond to a request."""
    return _router().answer(event)


@cache
def _router() -> Router:
    return Router(services(), lambda _: beats)


build_at_start(
    lambda here: (
        here.session_recorder,
        here.summaries,
        here.join_limits,
        robot_of(""),
        _router(),
    )
)
