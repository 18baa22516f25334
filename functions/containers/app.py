"""HTTP API, ``/api/containers/...``: admins launch, stop and look up containers."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.web.http import Event, Response
from headcount.web.routing import Router
from headcount.wiring import services


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Respond to a request."""
    return _router().answer(event)


@cache
def _router() -> Router:
    return Router(services())
