"""Routes as data: what is declared here is routed, enforced and documented alike.

A system is a module with ``ROUTES`` and ``shape_error``; it is imported when the first request for
one of its paths comes, so that no beat pays for what it does not use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from http import HTTPStatus
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import unquote

from headcount.clients import Services
from headcount.errors import MethodNotAllowedError, NotFoundError, RequestError
from headcount.tokens import Scope
from headcount.web.calls import Call
from headcount.web.http import Cors, Event, Request, Response, answer, respond, respond_error


class Who(Enum):
    """Who may call a route."""

    ANYONE = "anyone"
    COUNTS = "anyone where the kind's counts are public, else admins"
    NAMES = "whom the kind lets see names, else admins"
    ADMIN = "admins"
    """All but ANYONE also let pass whose token has the scope that the route needs."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter, for the document: reading it is the handler's.

    ``schema`` is its JSON Schema, or the type that it is made of.
    """

    name: str
    description: str
    schema: Any = str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that is not a plain 200 with JSON."""

    body: Any = None
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """As the gateway wants it."""
        response = respond(self.body, self.status)
        if self.body is None:
            del response["body"], response["headers"]["content-type"]
        response["headers"].update(self.headers)
        return response


@dataclass(frozen=True)
class Route:
    """``GET /v1/spaces/<space>`` and what answers it.

    ``handle`` takes the ``Call`` and returns the JSON body or a ``Reply``; its docstring is the
    route's description. ``body`` is the model the request's JSON is parsed with, ``answer`` the
    TypedDict of what comes back; ``status`` that of success (of the error, where a route only
    refuses), ``also`` others with the same answer; ``errors`` statuses beyond those that follow
    from the rest. ``needs``: the scope that does where an admin's token would, its space a
    pattern with the rule's parameters in it; None: there is none. Of a route that is not for admins
    alone, the handler enforces it.

    A type may be given by its name, ``module:name``, where only the documents should import it.
    """

    method: str
    rule: str
    handle: Callable[[Call], Any]
    who: Who
    answer: Any = None
    body: Any = None
    query: Sequence[Query] = ()
    status: int = HTTPStatus.OK
    also: Sequence[int] = ()
    errors: Sequence[int] = ()
    needs: Scope | None = None

    def require(self, call: Call) -> None:
        """Let pass whoever may call the route, as far as that does not depend on the space."""
        if self.who is not Who.ADMIN:
            return
        if self.needs is None:
            call.require_admin()
        elif self.needs.space is None:
            call.require(self.needs)
        else:
            space = re.sub(r"<(\w+)>", lambda match: call.params[match[1]], self.needs.space)
            call.require(Scope(self.needs.action, space))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the paths of this route; its groups are the parameters."""
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", self.rule))


class System(Protocol):
    """A module of routes."""

    ROUTES: Sequence[Route]

    @staticmethod
    def shape_error(error: RequestError) -> Response:
        """An error as this system's clients expect it."""


PREFIXES = {
    "/v1/spaces/<space>/alerts": "headcount.web.moderation",
    "/v1/spaces/<space>/messages": "headcount.web.moderation",
    "/v1/spaces/<space>/removals": "headcount.web.moderation",
    "/v1/spaces/<space>/audit": "headcount.web.moderation",
    "/v1/erasures": "headcount.web.erasures",
    "/v1/spaces": "headcount.web.native",
    "/api/analytics/live-activity": "headcount.systems.live_activity",
    "/api/courses": "headcount.systems.course_viewers",
    "/api/query": "headcount.systems.course_viewers_convex",
    "/api/query_ts": "headcount.systems.course_viewers_convex",
    "/api/query_at_ts": "headcount.systems.course_viewers_convex",
    "/api/mutation": "headcount.systems.course_viewers_convex",
    "/api/action": "headcount.systems.course_viewers_convex",
    "/api/send/realtime": "headcount.systems.link_analytics",
    "/api/v1/analytics": "headcount.systems.stream_analytics.routes",
    "/api/streams": "headcount.systems.stream_analytics.routes",
    "/api/containers": "headcount.systems.stream_analytics.containers",
    "/api/heartbeats": "headcount.systems.site_traffic",
    "/api/traffic": "headcount.systems.site_traffic",
    "/rest/v1": "headcount.systems.site_traffic_postgrest",
    "/openapi.json": "headcount.web.documents",
    "/asyncapi.json": "headcount.web.documents",
}
"""Where a path and those below it are answered: the first that fits. ``<space>`` is any word."""

_BELOW = [
    (re.compile(re.sub(r"<\w+>", "[^/]+", prefix) + "(?:/.*)?", re.DOTALL), module)
    for prefix, module in PREFIXES.items()
]


def system_of(path: str) -> System | None:
    """The module that answers a path, if any."""
    for pattern, module in _BELOW:
        if pattern.fullmatch(path):
            return import_module(module)  # type: ignore[return-value]
    return None


class Router:
    """Finds the route of a request, checks who asks, and answers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cors = Cors(services.settings.allowed_origins)

    def answer(self, event: Event) -> Response:
        """One request from event to response, whatever goes wrong."""
        return answer(event, self._cors, self.handle, self.shape_error)

    def handle(self, request: Request) -> Response:
        """The response; what is wrong with the request is raised."""
        system = system_of(request.path)
        routes = system.ROUTES if system is not None else ()
        method = "GET" if request.method == "HEAD" else request.method
        allowed: list[str] = []
        for route in routes:
            match = route.pattern.fullmatch(request.path)
            if match is None:
                continue
            if route.method == method:
                params = {name: unquote(value) for name, value in match.groupdict().items()}
                call = Call(self._services, request, params)
                route.require(call)
                result = route.handle(call)
                response = result.response() if isinstance(result, Reply) else respond(result)
                if request.method == "HEAD":
                    response.pop("body", None)
                return response
            allowed.append(route.method)
        if allowed:
            raise MethodNotAllowedError(request.method, request.path[:200], sorted({*allowed}))
        raise NotFoundError(
            "There is nothing at this path. /openapi.json lists the API's paths; its own begin "
            "with /v1/spaces."
        )

    def shape_error(self, request: Request, error: RequestError) -> Response:
        """An error as the clients of that path expect it."""
        system = system_of(request.path)
        return system.shape_error(error) if system is not None else respond_error(error)
