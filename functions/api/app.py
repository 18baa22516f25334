"""HTTP API, ``$default`` route: visitors' beats and leaves, everybody's reads."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.clients import services, warm_up
from headcount.web.http import Event, Response
from headcount.web.routing import Router


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Answer one request."""
    return _router().answer(event)


@cache
def _router() -> Router:
    return Router(services())


warm_up()
