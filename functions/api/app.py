"""HTTP API, ``$default`` route: visitors' beats and leaves, everybody's reads."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.clients import services, warm_up
from headcount.metrics import say_beats
from headcount.web.http import Event, Response
from headcount.web.routing import Router

TOO_MANY = 429


def handler(event: Event, context: Any) -> Response:  # noqa: ARG001 - Lambda passes it
    """Answer one request."""
    answer = _router().answer(event)
    here = services()
    if answer["statusCode"] == TOO_MANY:
        here.meter.add("Refused")
    request = event["requestContext"]["requestId"]
    say_beats(here.meter, stack=here.settings.stack, now=here.clock(), request=request)
    return answer


@cache
def _router() -> Router:
    return Router(services())


warm_up()
