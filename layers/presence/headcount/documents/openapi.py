"""The OpenAPI document, from the routes."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NotRequired, get_args

from msgspec.structs import replace
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict, is_typeddict

import headcount
from headcount.documents.schemas import Schema, Schemas, space_schema
from headcount.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
    UnexpectedError,
    UpstreamError,
)
from headcount.model.access import PERSON
from headcount.model.alert import RULE_NAME
from headcount.model.container import CONTAINER_ID, EVENT_ID
from headcount.model.space import ID, KIND
from headcount.web.routing import MODULE_OF_PATH, Query, Route, Who

JSON, TEXT = "application/json", "text/plain"


class Problem(TypedDict):
    """What is wrong and how to fix it. ``details`` has a sentence for each problem."""

    success: Literal[False]
    error: str
    details: NotRequired[list[str]]


class Throttled(TypedDict):
    """The gateway's own error, for a request that it did not pass on."""

    message: str


_WAIT = "Retry-After gives the seconds to wait; without it, the gateway refused the request."
_ERRORS: dict[int, tuple[RequestError, str]] = {
    error.status: (error, description)
    for error, description in (
        (InvalidRequestError(""), "The request can't be understood."),
        (UnauthorizedError(""), "A token is missing, or not valid."),
        (ForbiddenError(""), "The token is valid and does not allow this."),
        (NotFoundError(""), "There is nothing at this path."),
        (ConflictError(""), "The deployment's state does not allow this."),
        (TooLargeError(""), "The body is too large."),
        (RateLimitError("", 1), f"Too many messages of one session. {_WAIT}"),
        (UnexpectedError(""), "An internal error."),
        (UpstreamError(""), "A service that this one depends on refused the call."),
        (BusyError(), "Busy. Nothing was stored. Try again in a few seconds."),
    )
}
_ALWAYS = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
_THROTTLED = "Too many requests: the gateway refused this one."
_ANY_FAILURE = "An error, with the status that these clients expect."

_DESCRIPTION = """\
Who is here right now, on what, and how many, and the history behind it.

Tokens are JWTs, in the Authorization header, in `?token=` or in a cookie. Times are ISO 8601 in UTC
unless a field's description differs; days are UTC days. Bodies are read as JSON whatever their
content type, so that `sendBeacon` works; unknown fields are ignored."""


@dataclass(frozen=True, slots=True)
class _Operation:
    system: ModuleType
    route: Route
    id: str


def document(kinds: Sequence[str], cookie: str) -> dict[str, Any]:
    """The document of a deployment with these kinds of spaces and this token cookie, or none."""
    return _Writer(kinds, cookie).document()


def systems() -> list[ModuleType]:
    """The modules of routes, each once."""
    return [import_module(name) for name in dict.fromkeys(MODULE_OF_PATH.values())]


def _operations() -> Iterator[_Operation]:
    """Every route. Its id is made of its module and handler; routes that share a handler have the
    last words of their paths instead, and if those are the same, their methods too."""
    every = [(system, _resolved(route)) for system in systems() for route in system.ROUTES]
    handlers = Counter(_id(system, route.handle.__name__) for system, route in every)
    words = Counter(_id(system, _last_word(route)) for system, route in every)
    for system, route in every:
        name = _id(system, route.handle.__name__)
        if handlers[name] > 1:
            name = _id(system, _last_word(route))
            if words[name] > 1:
                name = f"{name}_{route.method.lower()}"
        yield _Operation(system, route, name)


def _resolved(route: Route) -> Route:
    """The route, with types in place of their names."""
    return replace(
        route,
        answer=_type_of(route.answer),
        body=_type_of(route.body),
        query=[replace(query, schema=_type_of(query.schema)) for query in route.query],
    )


def _type_of(kind: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    module, _, name = kind.partition(":")
    return getattr(import_module(module), name)


def _id(system: ModuleType, word: str) -> str:
    return f"{system.__name__.removesuffix('.routes').rpartition('.')[2]}_{word}"


def _last_word(route: Route) -> str:
    last = route.rule.rpartition("/")[2]
    return route.handle.__name__ if last.startswith("<") else last


class _Writer:
    """Writes a deployment's document."""

    def __init__(self, kinds: Sequence[str], cookie: str) -> None:
        self._kinds = kinds
        self._operations = list(_operations())
        self._schemes = _schemes(cookie)
        self._failures: dict[str, Any] = {}
        routes = [one.route for one in self._operations]
        self._schemas = Schemas(
            bodies=[route.body for route in routes if route.body is not None],
            answers=[
                *(route.answer for route in routes if route.answer is not None),
                *(problem(one.system) for one in self._operations),
                Throttled,
            ],
        )

    def document(self) -> dict[str, Any]:
        """The whole document."""
        paths: dict[str, dict[str, Any]] = {}
        for one in self._operations:
            path = paths.setdefault(re.sub(r"<(\w+)>", r"{\1}", one.route.rule), {})
            path[one.route.method.lower()] = self._operation(one)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Headcount",
                "version": headcount.__version__,
                "description": _DESCRIPTION,
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "tags": [_tag(system) for system in systems()],
            "paths": paths,
            "components": {
                "schemas": self._schemas.components,
                "responses": dict(sorted(self._failures.items())),
                "securitySchemes": self._schemes,
            },
        }

    def _operation(self, one: _Operation) -> dict[str, Any]:
        route = one.route
        text = inspect.getdoc(route.handle) or ""
        operation: dict[str, Any] = {
            "operationId": one.id,
            "tags": [_tag(one.system)["name"]],
            "summary": _summary(text),
            "description": f"{text}\n\nFor {route.who.value}{_or_scope(route)}.",
            "security": self._security(route),
            "responses": self._responses(one),
        }
        parameters = [*self._path_parameters(route), *_query_parameters(route)]
        if parameters:
            operation["parameters"] = parameters
        if route.body is not None:
            content = {JSON: {"schema": self._schemas.of_body(route.body)}}
            operation["requestBody"] = {"required": True, "content": content}
        return operation

    def _security(self, route: Route) -> list[dict[str, list[str]]]:
        """Alternatives, one for each scheme. An empty one: not every call needs a token."""
        scopes = [_scope(route)] if route.needs is not None else []
        schemes: list[dict[str, list[str]]] = [{name: scopes} for name in self._schemes]
        return schemes if route.who in {Who.ADMIN, Who.HOLDER} else [{}, *schemes]

    def _path_parameters(self, route: Route) -> list[dict[str, Any]]:
        known = {
            "space": ("The thing people are in: kind:id.", space_schema(self._kinds)),
            **PATH_PARAMETERS,
        }
        return [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": known[name][0],
                "schema": known[name][1],
            }
            for name in route.pattern.groupindex
        ]

    # ----------------------------------------------------------------------------------- responses

    def _responses(self, one: _Operation) -> dict[str, Any]:
        route = one.route
        found = {
            int(status): self._success(status, route)
            for status in (route.status, *route.also)
            if not _is_failure(status)
        }
        for status in _failures(route):
            shaped = _shaped_status(one.system, status)
            text = _ERRORS[status][1] if shaped == status in _ERRORS else _ANY_FAILURE
            found.setdefault(shaped, self._failure(shaped, text, problem(one.system)))
        found[HTTPStatus.TOO_MANY_REQUESTS] = self._throttled(one.system)
        return {str(status): found[status] for status in sorted(found)}

    def _success(self, status: int, route: Route) -> dict[str, Any]:
        phrase = f"{HTTPStatus(status).phrase}."
        if route.answer is None:
            return {"description": phrase}
        text = inspect.getdoc(route.answer) if is_typeddict(route.answer) else None
        media = TEXT if route.answer is str else JSON
        content = {media: {"schema": self._schemas.of_answer(route.answer)}}
        return {"description": text or phrase, "content": content}

    def _failure(self, status: int, text: str, problem: Any) -> dict[str, str]:
        """A reference to an error response that operations share."""
        schema = self._schemas.of_answer(problem)
        return self._shared(f"{problem.__name__}{int(status)}", text, schema)

    def _throttled(self, system: ModuleType) -> dict[str, str]:
        """429: the gateway's error, and the system's own if its clients get this status."""
        status = HTTPStatus.TOO_MANY_REQUESTS
        schema = self._schemas.of_answer(Throttled)
        if _shaped_status(system, status) != status:
            return self._shared(f"{Throttled.__name__}{int(status)}", _THROTTLED, schema)
        own = problem(system)
        either = {"anyOf": [self._schemas.of_answer(own), schema]}
        return self._shared(f"{own.__name__}{int(status)}", _ERRORS[status][1], either)

    def _shared(self, name: str, text: str, schema: Schema) -> dict[str, str]:
        self._failures[name] = {"description": text, "content": {JSON: {"schema": schema}}}
        return {"$ref": f"#/components/responses/{name}"}


def _summary(text: str) -> str:
    """The first sentence."""
    sentence = re.split(r"(?<=\.)\s|\n\n", text, maxsplit=1)[0]
    return " ".join(sentence.split()).removesuffix(".")


def _tag(system: ModuleType) -> dict[str, str]:
    """A system's tag, from its module docstring: the name, a colon and a description."""
    text = inspect.getdoc(system) or ""
    first = " ".join(text.partition("\n\n")[0].split())
    return {"name": first.partition(":")[0], "description": first}


# ---------------------------------------------------------------------------------------- requests


def _matching(pattern: re.Pattern[str]) -> Schema:
    return {"type": "string", "pattern": f"^{pattern.pattern}$"}


PATH_PARAMETERS: dict[str, tuple[str, Schema]] = {
    "kind": ("A declared kind of spaces.", _matching(KIND)),
    "group": ("A declared group of spaces, or all.", _matching(KIND)),
    "course": ("The course's id; its space is course:id.", _matching(ID)),
    "linkId": ("The link's id; its space is link:id.", _matching(ID)),
    "id": ("The id of the stream, whose space is stream:id, or of the channel.", _matching(ID)),
    "eventId": (
        "The event's id; each of . ~ @ : + counts as three characters.",
        _matching(EVENT_ID),
    ),
    "person": ("The person's key, such as u:ada.", _matching(PERSON)),
    "containerId": ("The container's id, from its launch.", _matching(CONTAINER_ID)),
    "name": ("The alert rule's name.", _matching(RULE_NAME)),
    "removal": ("The removal's id.", {"type": "string", "minLength": 1}),
    "erasure": ("The erasure's id.", {"type": "string", "minLength": 1}),
    "share": ("The share link's id.", {"type": "string", "minLength": 1}),
    "module": ("The functions' module.", {"enum": ["liveViewers"]}),
    "export": (
        "The function's name in its module.",
        {"enum": ["recordPresence", "removePresence", "getLiveViewerCount", "getActiveViewers"]},
    ),
    "table": ("A table that does not exist.", {"type": "string", "minLength": 1}),
    "function": ("A function that does not exist.", {"type": "string", "minLength": 1}),
}
"""The descriptions and schemas of the parameters in rules, except ``space``."""


def _schema_of(query: Query) -> Schema:
    if isinstance(query.schema, dict):
        return query.schema
    return TypeAdapter(query.schema).json_schema()


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": query.name,
            "in": "query",
            "required": query.required,
            "description": f"{query.description.removesuffix('.')}.",
            "schema": _schema_of(query),
        }
        for query in route.query
    ]


def _schemes(cookie: str) -> dict[str, Any]:
    schemes: dict[str, Any] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "token": {"type": "apiKey", "in": "query", "name": "token"},
    }
    if cookie:
        schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": cookie}
    return schemes


# --------------------------------------------------------------------------------------- responses


def _failures(route: Route) -> list[int]:
    """The error statuses that follow from a route's declaration, and those it lists."""
    failures: set[int] = {*_ALWAYS, *route.errors}
    if _is_failure(route.status):
        failures.add(route.status)
    if route.pattern.groupindex:
        failures |= {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}
    if route.query:
        failures.add(HTTPStatus.BAD_REQUEST)
    if route.body is not None:
        failures |= {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
    if route.who is not Who.ANYONE or _names_a_user(route):
        failures |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    return sorted(failures)


def _scope(route: Route) -> str:
    """The scope that a route needs, with parameters in the document's notation."""
    return re.sub(r"<(\w+)>", r"{\1}", str(route.needs))


def _or_scope(route: Route) -> str:
    """The part of a route's description that names the scope."""
    if route.needs is None:
        return ""
    if route.who is Who.ANYONE:
        return f"; parts of it for admins and tokens with the scope {_scope(route)}"
    return f" and tokens with the scope {_scope(route)}"


def _is_failure(status: int) -> bool:
    return status >= HTTPStatus.BAD_REQUEST


def _names_a_user(route: Route) -> bool:
    """Whether a call may name a user, which may need that user's token."""
    models = [route.body, *get_args(route.body)]
    fields = [
        name
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in model.model_fields
    ]
    return "user_id" in fields or any(query.name == "userId" for query in route.query)


def _shaped_status(system: ModuleType, status: int) -> int:
    """The status that a system's clients get in place of this one."""
    error = _ERRORS[status][0] if status in _ERRORS else None
    return int(system.shape_error(error)["statusCode"]) if error else status


def problem(system: ModuleType) -> Any:
    """The type of a system's errors."""
    return getattr(system, "ERROR_ANSWER", Problem)
