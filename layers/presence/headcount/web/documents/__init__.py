"""The documents: what can be called and what is said over WebSockets, made from the code."""

from __future__ import annotations

from functools import cache
from typing import Any

from headcount.settings import Settings
from headcount.web.calls import Call
from headcount.web.documents import asyncapi, openapi
from headcount.web.http import respond_error
from headcount.web.routing import Reply, Route, Who

shape_error = respond_error

_HEADERS = {"cache-control": "public, max-age=300"}


def openapi_document(call: Call) -> Reply:
    """The OpenAPI document of everything that answers over HTTP, this included."""
    return Reply(_openapi(*_deployment(call.services.settings)), headers=_HEADERS)


def asyncapi_document(call: Call) -> Reply:
    """The AsyncAPI document of everything that is said over WebSockets."""
    return Reply(_asyncapi(*_deployment(call.services.settings)), headers=_HEADERS)


def _deployment(settings: Settings) -> tuple[tuple[str, ...], str]:
    """What the documents say of a deployment: its kinds of spaces, and its token cookie."""
    return tuple(settings.kinds.names), settings.token_cookie


# Made when first asked for: it takes about as long as a hundred beats.
_openapi = cache(openapi.document)
_asyncapi = cache(asyncapi.document)

ROUTES = [
    Route("GET", "/openapi.json", openapi_document, Who.ANYONE, dict[str, Any]),
    Route("GET", "/asyncapi.json", asyncapi_document, Who.ANYONE, dict[str, Any]),
]
