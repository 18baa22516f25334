"""HTTP API, ``/api/containers/...``: admins launch containers, stop them and look them up."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.clients import services
from headcount.web.http import Cors, Event, Response, answer
from headcount.web.routing import Router


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Answer one request."""
    return answer(event, _cors(), _router().handle, _router().shape_error)


@cache
def _cors() -> Cors:
    return Cors(services().settings.allowed_origins)


@cache
def _router() -> Router:
    return Router(services())
