"""The documents: OpenAPI for HTTP and AsyncAPI for WebSockets, made from the code."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.documents import asyncapi, openapi
from headcount.settings import Settings
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Reply, Route, Who

shape_error = respond_error

_HEADERS = {"cache-control": "public, max-age=300"}


def openapi_document(call: Call) -> Reply:
    """The OpenAPI document of all HTTP routes, including this one."""
    return Reply(_openapi(*_deployment(call.services.settings)), headers=_HEADERS)


def asyncapi_document(call: Call) -> Reply:
    """The AsyncAPI document of all WebSocket messages."""
    return Reply(_asyncapi(*_deployment(call.services.settings)), headers=_HEADERS)


def _deployment(settings: Settings) -> tuple[tuple[str, ...], str]:
    """What differs between deployments: the kinds of spaces, and the token cookie."""
    return tuple(settings.kinds.names), settings.token_cookie


# Cached, because making one takes about as long as a hundred beats.
_openapi = cache(openapi.document)
_asyncapi = cache(asyncapi.document)

ROUTES = [
    Route("GET", "/openapi.json", openapi_document, Who.ANYONE, dict[str, Any]),
    Route("GET", "/asyncapi.json", asyncapi_document, Who.ANYONE, dict[str, Any]),
]
