"""Routes as data: one declaration routes, authorizes and documents.

A system is a module with ``ROUTES`` and ``shape_error``. The first request for one of its paths
imports it, so that a beat does not pay for modules it does not use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache, cached_property
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from msgspec import Struct, field

from headcount.errors import MethodNotAllowedError, NotFoundError, RequestError
from headcount.model.access import Scope
from headcount.web.calls import Call
from headcount.web.http import Cors, Event, Request, Response, respond, respond_error, respond_to

if TYPE_CHECKING:
    from headcount.wiring import Services


class Who(Enum):
    """Who may call a route. Every level except ANYONE also accepts a token with the route's scope.

    The values complete the sentence "For ..." in the OpenAPI document.
    """

    ANYONE = "anyone"
    COUNTS = "anyone if the kind's counts are public, otherwise admins"
    NAMES = "callers to whom the kind shows names, otherwise admins"
    SEEING = "the person, callers whose token names the person or everybody, and admins"
    HOLDER = "callers with any valid token"
    ADMIN = "admins"


class Query(Struct, frozen=True):
    """A query parameter, for the OpenAPI document; the handler reads it.

    ``schema`` is its JSON Schema, or a type to derive one from.
    """

    name: str
    description: str
    schema: Any = str
    required: bool = False


_TIME = {"type": "string", "format": "date-time"}
_DAY = {"type": "string", "format": "date"}
TIMES = [Query("from", "The earliest time", _TIME), Query("to", "The latest time", _TIME)]
DAYS = [Query("from", "The first UTC day", _DAY), Query("to", "The last UTC day", _DAY)]
"""The parameters of periods."""
HISTORY = [
    *TIMES,
    Query(
        "step",
        "Minutes of a step",
        {"type": "integer", "minimum": 1, "maximum": 1440, "default": 1},
    ),
    Query("compare", "Compare with an equally long period that begins then", _TIME),
    Query("usual", "With what is usual at these times", {"type": "boolean", "default": False}),
]
"""Those of a series."""


def page_query(description: str) -> list[Query]:
    """The parameters of pages. ``description``: of how many rows they have."""
    limit = {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}
    return [
        Query("limit", description, limit),
        Query("cursor", "The cursor of the previous page"),
    ]


class Reply(Struct, frozen=True):
    """A response that is not a plain 200 with JSON. ``text``: its body instead of JSON, whose type
    is in the headers."""

    body: Any = None
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None

    def response(self) -> Response:
        """The response in the gateway's format."""
        response = respond(self.body, self.status)
        if self.text is not None:
            response["body"] = self.text
        elif self.body is None:
            del response["body"], response["headers"]["content-type"]
        response["headers"].update(self.headers)
        return response


def briefly_cached(body: Any) -> Reply:
    """Public numbers, which the edge may cache for a second, as a version is published once a
    second."""
    return Reply(body, headers={"cache-control": "public, max-age=1"})


class Route(Struct, frozen=True, dict=True):
    """A method and a path rule such as ``/v1/spaces/<space>``, and their handler.

    ``handle`` takes the ``Call`` and returns the JSON body or a ``Reply``; its docstring is the
    route's description. ``body`` is the model of the request's JSON, ``answer`` the TypedDict of
    the response's, or ``str`` where that is plain text. ``status`` is the status of success (of the
    error, for a route that only refuses), ``also`` lists others with the same body, and ``errors``
    those that don't follow from the other fields. ``needs`` is the scope that a token other than an
    admin's needs; its space may contain parameters of the rule; None: only admins. Unless ``who``
    is ADMIN, the handler enforces it.

    A type may be given by name, as ``module:name``, so that only the documents import it.
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

    def authorize(self, call: Call) -> None:
        """Refuse callers who may not call an admins' route; other handlers check callers."""
        if self.who is not Who.ADMIN:
            return
        if self.needs is None:
            call.require_admin()
        elif self.needs.space is None:
            call.require_scope(self.needs)
        else:
            space = re.sub(r"<(\w+)>", lambda match: call.params[match[1]], self.needs.space)
            call.require_scope(Scope(self.needs.action, space))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """A pattern of the route's paths; its groups are the parameters."""
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", self.rule))


class RouteModule(Protocol):
    """A module of routes."""

    ROUTES: Sequence[Route]

    @staticmethod
    def shape_error(error: RequestError) -> Response:
        """Format an error as this system's clients expect it."""


MODULE_OF_PATH = {
    "/v1/spaces/<space>/alerts": "headcount.web.moderation",
    "/v1/spaces/<space>/messages": "headcount.web.moderation",
    "/v1/spaces/<space>/removals": "headcount.web.moderation",
    "/v1/spaces/<space>/engagement": "headcount.web.moderation",
    "/v1/spaces/<space>/audit": "headcount.web.moderation",
    "/v1/spaces/<space>/marks": "headcount.web.moderation",
    "/v1/erasures": "headcount.web.erasures",
    "/v1/people": "headcount.web.people",
    "/v1/shares": "headcount.web.shares",
    "/v1/token": "headcount.web.shares",
    "/v1/spaces/<space>/presence": "headcount.web.beats",
    "/v1/spaces": "headcount.web.native",
    "/v1/kinds": "headcount.web.rollups",
    "/v1/groups": "headcount.web.rollups",
    "/v1/rollups": "headcount.web.rollups",
    "/healthz": "headcount.web.native",
    "/v1/costs": "headcount.web.native",
    "/api/analytics/live-activity": "headcount.systems.live_activity",
    "/api/courses": "headcount.systems.course_viewers",
    "/api/query": "headcount.systems.course_viewers_convex",
    "/api/query_ts": "headcount.systems.course_viewers_convex",
    "/api/query_at_ts": "headcount.systems.course_viewers_convex",
    "/api/mutation": "headcount.systems.course_viewers_convex",
    "/api/action": "headcount.systems.course_viewers_convex",
    "/api/function": "headcount.systems.course_viewers_convex",
    "/api/run": "headcount.systems.course_viewers_convex",
    "/api/send/realtime": "headcount.systems.link_analytics",
    "/api/v1/analytics": "headcount.systems.stream_analytics.routes",
    "/api/streams": "headcount.systems.stream_analytics.routes",
    "/api/containers": "headcount.systems.stream_analytics.containers",
    "/api/heartbeats": "headcount.systems.site_traffic",
    "/api/traffic": "headcount.systems.site_traffic",
    "/rest/v1": "headcount.systems.site_traffic_postgrest",
    "/metrics": "headcount.web.prometheus",
    "/openapi.json": "headcount.documents",
    "/asyncapi.json": "headcount.documents",
}
"""The module that handles a path and those below it; the first match wins. ``<space>`` matches one
segment."""


def module_of(path: str) -> RouteModule | None:
    """The module that handles a path, if any."""
    for pattern, module in _below():
        if pattern.fullmatch(path):
            return import_module(module)  # type: ignore[return-value]
    return None


@cache
def _below() -> list[tuple[re.Pattern[str], str]]:
    """Patterns of the paths, and their modules. ``beat`` needs none of them."""
    return [
        (re.compile(re.sub(r"<\w+>", "[^/]+", prefix) + "(?:/.*)?", re.DOTALL), module)
        for prefix, module in MODULE_OF_PATH.items()
    ]


def import_all() -> None:
    """Import the modules of all paths, but for the documents, which few ask for."""
    for module in {*MODULE_OF_PATH.values()} - {"headcount.documents"}:
        import_module(module)


class Router:
    """Finds the route of a request, authorizes the caller and responds.

    ``find`` returns the module of routes for a path, if any.
    """

    def __init__(
        self, services: Services, find: Callable[[str], RouteModule | None] = module_of
    ) -> None:
        self._services = services
        self._find = find
        self._cors = Cors(services.settings.allowed_origins)

    def answer(self, event: Event) -> Response:
        """The response to an event; errors are responses, too."""
        response = respond_to(event, self._cors, self.handle, self.shape_error)
        meter = self._services.meter
        if response["statusCode"] == HTTPStatus.TOO_MANY_REQUESTS:
            meter.add("Refused")
        meter.write_beats(event["requestContext"]["requestId"])
        return response

    def handle(self, request: Request) -> Response:
        """The response to a request. Raises RequestError."""
        module = self._find(request.path)
        routes = module.ROUTES if module is not None else ()
        method = "GET" if request.method == "HEAD" else request.method
        allowed: list[str] = []
        for route in routes:
            match = route.pattern.fullmatch(request.path)
            if match is None:
                continue
            if route.method == method:
                params = {name: unquote(value) for name, value in match.groupdict().items()}
                call = Call(self._services, request, params)
                route.authorize(call)
                result = route.handle(call)
                response = result.response() if isinstance(result, Reply) else respond(result)
                if request.method == "HEAD":
                    response.pop("body", None)
                return response
            allowed.append(route.method)
        if allowed:
            raise MethodNotAllowedError(request.method, request.path[:200], sorted({*allowed}))
        raise NotFoundError(
            "There is nothing at this path. The native API begins with /v1/spaces; /openapi.json "
            "lists all paths."
        )

    def shape_error(self, request: Request, error: RequestError) -> Response:
        """Format an error as the clients of the request's path expect it."""
        module = self._find(request.path)
        return module.shape_error(error) if module is not None else respond_error(error)
