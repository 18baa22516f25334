"""The reads of the native API. Powertools routes them; it is imported for these alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler import Response as PowertoolsResponse

from headcount.clients import Services
from headcount.errors import MethodNotAllowedError, NotFoundError, RequestError
from headcount.spaces import Space
from headcount.tokens import require_admin, token_in
from headcount.web.http import Request, Response, respond, respond_error

ROUTES_OF_VISITORS = {
    "/v1/spaces/<space>/presence": ["POST", "DELETE"],
    "/v1/spaces/<space>/presence/leave": ["POST"],
}
"""Handled in ``web.presence``, before this module is imported."""


_SPACE = 3  # where /v1/spaces/<space>/... has it, split by slashes

_NO_CONTEXT: Any = None  # the resolver passes a Lambda context on; nothing of ours reads it


class NativeRoutes:
    """GET of headcounts, viewers, timelines, days and live spaces."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._request: Request | None = None
        self._resolver = APIGatewayHttpResolver()
        self._methods: list[tuple[re.Pattern[str], list[str]]] = [
            (_pattern(rule), methods) for rule, methods in ROUTES_OF_VISITORS.items()
        ]
        self._get("/v1/spaces", self._spaces)
        self._get("/v1/spaces/<space>", self._headcount)
        self._get("/v1/spaces/<space>/viewers", self._viewers)
        self._get("/v1/spaces/<space>/timeline", self._timeline)
        self._get("/v1/spaces/<space>/days", self._days)
        self._resolver.not_found(lambda _: _answered(self._refuse))

    def handle(self, request: Request) -> Response:
        """The response, also to what is wrong with the request."""
        self._request = request
        return self._resolver.resolve(dict(request.event), _NO_CONTEXT)

    def _get(self, rule: str, function: Callable[..., dict[str, Any]]) -> None:
        def run(**params: str) -> PowertoolsResponse[str]:
            return _answered(lambda: respond(function(**params)))

        self._resolver.get(rule)(run)
        self._methods.append((_pattern(rule), ["GET"]))

    def _refuse(self) -> Response:
        request = self._now
        allowed = [
            method
            for pattern, methods in self._methods
            if pattern.fullmatch(request.path)
            for method in methods
        ]
        if request.method in allowed:
            # The router knows the path, but not with these characters in place of a space.
            self._space(request.path.split("/")[_SPACE])
        if allowed:
            raise MethodNotAllowedError(request.method, request.path[:200], allowed)
        raise NotFoundError("There is nothing at this path. The API's paths begin with /v1/spaces.")

    @property
    def _now(self) -> Request:
        assert self._request is not None
        return self._request

    def _query(self, name: str) -> str | None:
        return self._now.query.get(name)

    def _admin(self) -> None:
        settings = self._services.settings
        token = token_in(
            self._now.headers, self._now.query, self._now.cookies, settings.token_cookie
        )
        require_admin(self._services.verifier.verify(token) if token else None)

    def _space(self, text: str) -> Space:
        return self._services.settings.kinds.space(unquote(text))

    def _headcount(self, space: str) -> dict[str, Any]:
        found = self._space(space)
        if not found.kind.counts_are_public:
            self._admin()
        return self._services.reader.headcount(found)

    def _spaces(self) -> dict[str, Any]:
        self._admin()
        return self._services.reader.spaces(self._query("kind"))

    def _viewers(self, space: str) -> dict[str, Any]:
        self._admin()
        return self._services.reader.viewers(
            self._space(space), self._query("limit"), self._query("cursor")
        )

    def _timeline(self, space: str) -> dict[str, Any]:
        self._admin()
        return self._services.reader.timeline(
            self._space(space), self._query("from"), self._query("to")
        )

    def _days(self, space: str) -> dict[str, Any]:
        self._admin()
        return self._services.reader.days(
            self._space(space), self._query("from"), self._query("to")
        )


def _answered(respond_or_raise: Callable[[], Response]) -> PowertoolsResponse[str]:
    """A response in the router's terms. A client's error must not reach it: it would log it."""
    try:
        response = respond_or_raise()
    except RequestError as error:
        response = respond_error(error)
    return PowertoolsResponse(
        status_code=response["statusCode"], headers=response["headers"], body=response["body"]
    )


def _pattern(rule: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"<\w+>", "[^/]+", rule))
