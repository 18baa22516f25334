"""Course viewers for existing Convex clients: the functions of ``liveViewers`` over Convex's HTTP
protocol, as the npm package ``convex`` speaks it.

A call is ``{"path": "liveViewers:getLiveViewerCount", "format": "convex_encoded_json", "args":
[{...}]}``; the answer ``{"status": "success", "value": ...}`` or ``{"status": "error",
"errorMessage": ...}``.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema
from typing_extensions import TypedDict

from headcount.errors import (
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
)
from headcount.messages import NOT_OURS, Message, parse, text_up_to
from headcount.spaces import ID
from headcount.systems import course_viewers
from headcount.systems.course_viewers import Presence, Viewer
from headcount.tally import OTHER
from headcount.web.calls import Call
from headcount.web.http import Response, respond
from headcount.web.routing import Route, Who

FUNCTION_FAILED = 560
"""Convex's status for a function that failed: its clients throw ``errorMessage``. Of any other
status but 200 they throw the body as it is."""

_MODULE = "liveViewers"
_KEY = re.compile(r"(?!\$)[ -~]*")
"""What the client takes as an object's key; it throws at others."""
_BYTES = 8  # of an encoded number
_SHOWN = 64  # characters of an argument's name in an error
_EXAMPLE = '{"path": "liveViewers:getLiveViewerCount", "args": [{"courseId": "c1"}]}'


class Failure(TypedDict):
    """What is wrong, as the client throws it."""

    status: Literal["error"]
    errorMessage: str
    logLines: list[str]


ERROR_ANSWER = Failure


def shape_error(error: RequestError) -> Response:
    """A failed function, as the client expects it."""
    # Only these can't come from a client's function call, and 405 says what would be allowed.
    plain = isinstance(error, MethodNotAllowedError | NotFoundError)
    message = " ".join(error.details) or error.message
    body: Failure = {"status": "error", "errorMessage": message, "logLines": []}
    response = respond(body, error.status if plain else FUNCTION_FAILED)
    response["headers"].update({name.lower(): text for name, text in error.headers.items()})
    return response


def _one_object(args: Any) -> Any:
    found = args if isinstance(args, list) else [args]
    if len(found) > 1 or not all(isinstance(one, dict) for one in found):
        raise ValueError('must be a list of one object, for example [{"courseId": "c1"}]')
    return found[0] if found else {}


_NAMES: list[JsonValue] = [
    f"{_MODULE}:{name}"
    for name in ("recordPresence", "removePresence", "getLiveViewerCount", "getActiveViewers")
]
_NAMED = {
    "type": "object",
    "properties": {
        "courseId": {"type": "string", "pattern": f"^{ID.pattern}$"},
        "sessionId": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": NOT_OURS},
    },
    "required": ["courseId"],
}
_ARGUMENTS = {"oneOf": [{"type": "array", "items": _NAMED, "minItems": 1, "maxItems": 1}, _NAMED]}


class FunctionCall(Message):
    """A call of a function. ``args``: its named arguments, in a list of one, or as they are."""

    path: Annotated[str, text_up_to(200), Field(json_schema_extra={"enum": _NAMES})]
    format: Literal["convex_encoded_json", "json"] = "convex_encoded_json"
    args: Annotated[
        Any,
        AfterValidator(_one_object),
        WithJsonSchema(_ARGUMENTS),
    ] = Field(default_factory=dict)


class Result(TypedDict):
    """What the function returned; null of one that returns nothing."""

    status: Literal["success"]
    value: Any
    logLines: list[str]


class Timestamp(TypedDict):
    """A moment, for a query as of it: here every query is as of now."""

    ts: str


class Entry(Presence):
    """The arguments of ``recordPresence`` and ``removePresence``."""

    course_id: str


class Course(Message):
    """The arguments of ``getLiveViewerCount``."""

    course_id: str


class List(Course):
    """The arguments of ``getActiveViewers``. A ``limit`` above 20 is 20."""

    limit: Annotated[int, Field(ge=1)] | None = None


class LiveViewerCount(TypedDict):
    """What ``getLiveViewerCount`` returns."""

    total: int
    byChapter: dict[str, int]


def record_presence(call: Call, args: object) -> None:
    """Record that somebody views the course; to be repeated every 30 seconds."""
    said = parse(Entry, args)
    if not _KEY.fullmatch(said.chapter_id or ""):
        raise InvalidRequestError(
            "chapterId must be printable ASCII and not begin with '$': the Convex client can't "
            "read counts by chapter otherwise."
        )
    course_viewers.record(call, course_viewers.course(call, said.course_id), said)


def remove_presence(call: Call, args: object) -> None:
    """End somebody's visit to the course."""
    said = parse(Entry, args)
    course_viewers.remove(call, course_viewers.course(call, said.course_id), said)


def live_viewer_count(call: Call, args: object) -> LiveViewerCount:
    """How many people view the course, in all and by chapter."""
    space = course_viewers.course(call, parse(Course, args).course_id)
    total, chapters = course_viewers.counts(call, space)
    by_chapter: dict[str, int] = {}
    for chapter, people in chapters.items():
        key = chapter if _KEY.fullmatch(chapter) else OTHER
        by_chapter[key] = by_chapter.get(key, 0) + people
    return {"total": total, "byChapter": by_chapter}


def active_viewers(call: Call, args: object) -> list[Viewer]:
    """Who views the course."""
    asked = parse(List, args)
    space = course_viewers.course(call, asked.course_id)
    most = course_viewers.MAX_LISTED
    return course_viewers.listed(call, space, min(asked.limit or most, most))[1]


@dataclass(frozen=True, slots=True)
class Function:
    """A public function: a mutation writes, a query reads."""

    kind: Literal["Query", "Mutation"]
    run: Callable[[Call, object], Any]


FUNCTIONS: Mapping[str, Function] = {
    f"{_MODULE}:recordPresence": Function("Mutation", record_presence),
    f"{_MODULE}:removePresence": Function("Mutation", remove_presence),
    f"{_MODULE}:getLiveViewerCount": Function("Query", live_viewer_count),
    f"{_MODULE}:getActiveViewers": Function("Query", active_viewers),
}


def query(call: Call) -> Result:
    """Run a query: liveViewers:getLiveViewerCount or liveViewers:getActiveViewers."""
    return _run(call, "Query")


def mutation(call: Call) -> Result:
    """Run a mutation: liveViewers:recordPresence or liveViewers:removePresence."""
    return _run(call, "Mutation")


def action(call: Call) -> Result:
    """Run an action: there is none, so the answer says what there is."""
    return _run(call, "Action")


def timestamp(call: Call) -> Timestamp:
    """The moment for a consistent query: the client asks for it before ``query_at_ts``."""
    return {"ts": base64.b64encode(call.now.to_bytes(_BYTES, "little")).decode()}


def _run(call: Call, kind: str) -> Result:
    asked = parse(FunctionCall, call.request.json(), _EXAMPLE)
    name = asked.path.replace(".js:", ":", 1)
    function = FUNCTIONS.get(name)
    if function is None:
        raise InvalidRequestError(
            f"Could not find public function for '{asked.path}'. There are {', '.join(FUNCTIONS)}."
        )
    if function.kind != kind:
        raise InvalidRequestError(
            f"Trying to execute {name} as {kind}, but it is defined as {function.kind}."
        )
    args = asked.args
    if asked.format == "convex_encoded_json":
        args = {name: _decoded(name, value) for name, value in args.items()}
    return {"status": "success", "value": function.run(call, args), "logLines": []}


def _decoded(name: str, value: Any) -> Any:
    """An argument whose JSON stands for something that JSON has not."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((tag, text),) = value.items()
    if tag not in {"$integer", "$float", "$bytes"}:
        return value
    try:
        data = base64.b64decode(text, validate=True)
        if tag == "$integer" and len(data) == _BYTES:
            return int.from_bytes(data, "little", signed=True)
        if tag == "$float":
            return struct.unpack("<d", data)[0]
        if tag == "$bytes":
            return data
    except (ValueError, TypeError, struct.error):
        pass
    # Whatever else a name may hold, a lone surrogate could not even be answered.
    shown = name if len(name) <= _SHOWN and _KEY.fullmatch(name) else "An argument"
    raise InvalidRequestError(f"{shown} is not encoded as Convex does it.")


_FAILS = [FUNCTION_FAILED]

ROUTES = [
    Route("POST", "/api/query", query, Who.ANYONE, Result, FunctionCall, errors=_FAILS),
    Route("POST", "/api/mutation", mutation, Who.ANYONE, Result, FunctionCall, errors=_FAILS),
    Route("POST", "/api/action", action, Who.ANYONE, None, FunctionCall, status=FUNCTION_FAILED),
    Route("POST", "/api/query_ts", timestamp, Who.ANYONE, Timestamp, errors=_FAILS),
    Route("POST", "/api/query_at_ts", query, Who.ANYONE, Result, FunctionCall, errors=_FAILS),
]
