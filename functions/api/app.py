"""HTTP API, ``$default`` route: visitors' beats and leaves, everybody's reads."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from headcount.clients import services
from headcount.web.http import Cors, Event, Request, Response, answer
from headcount.web.presence import PresenceRoutes

if TYPE_CHECKING:
    from headcount.web.native import NativeRoutes


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Answer one request."""
    return answer(event, _cors(), _route)


def _route(request: Request) -> Response:
    return _presence().handle(request) or _native().handle(request)


@cache
def _cors() -> Cors:
    return Cors(services().settings.allowed_origins)


@cache
def _presence() -> PresenceRoutes:
    return PresenceRoutes(services())


@cache
def _native() -> NativeRoutes:
    # Imported late: the router would add its start-up time to every first beat.
    from headcount.web.native import NativeRoutes

    return NativeRoutes(services())
