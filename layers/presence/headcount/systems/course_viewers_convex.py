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
from headcount.model.beat import MAX_SEQ
from headcount.model.space import ID
from headcount.model.tally import OTHER
from headcount.model.viewer import NamedViewer
from headcount.systems import course_viewers
from headcount.systems.course_viewers import Presence
from headcount.web.bodies import (
    NOT_OURS,
    PRINTABLE,
    Message,
    SessionId,
    TabMessage,
    parse,
    text_up_to,
)
from headcount.web.calls import Call
from headcount.web.http import Response, respond
from headcount.web.routing import Route, Who

FUNCTION_FAILED = 560
"""Convex's status for a function that failed: its clients throw ``errorMessage``. For any other
status except 200 they throw the body as it is."""

_MODULE = "liveViewers"
_KEY = re.compile(r"(?!\$)[ -~]*")
"""The keys of objects that the client accepts; it throws at others."""
_BYTES = 8  # of an encoded number
_MAX_SHOWN_NAME = 64  # characters of an argument's name in an error
_EXAMPLE = '{"path": "liveViewers:getLiveViewerCount", "args": [{"courseId": "c1"}]}'


class Failure(TypedDict):
    """An error, as the client throws it."""

    status: Literal["error"]
    errorMessage: str
    logLines: list[str]


ERROR_ANSWER = Failure


def shape_error(error: RequestError) -> Response:
    """A failed function, as the client expects it."""
    # Only these can't come from a client's function call, and 405 lists the allowed methods.
    plain = isinstance(error, MethodNotAllowedError | NotFoundError)
    body: Failure = {"status": "error", "errorMessage": message_of(error), "logLines": []}
    response = respond(body, error.status if plain else FUNCTION_FAILED)
    response["headers"].update({name.lower(): text for name, text in error.headers.items()})
    return response


def one_object(args: Any) -> Any:
    """The object of named arguments, alone or in a list. Raises ValueError."""
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
        "tabId": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": PRINTABLE},
        "seq": {"type": "integer", "minimum": 0, "maximum": MAX_SEQ},
    },
    "required": ["courseId"],
}
_ARGUMENTS = {"oneOf": [{"type": "array", "items": _NAMED, "minItems": 1, "maxItems": 1}, _NAMED]}


class FunctionCall(Message):
    """A call of a function. ``args``: an object of its named arguments, or a list of one such."""

    path: Annotated[str, text_up_to(200), Field(json_schema_extra={"enum": _NAMES})]
    format: Literal["convex_encoded_json", "json"] = "convex_encoded_json"
    args: Annotated[
        Any,
        AfterValidator(one_object),
        WithJsonSchema(_ARGUMENTS),
    ] = Field(default_factory=dict)


class AnyCall(FunctionCall):
    """A call of a function of any kind; ``componentPath`` is empty, as there are no components."""

    component_path: Annotated[str, text_up_to(0)] | None = None


class RunCall(Message):
    """A call of the function that the path names. ``args``: an object of its named arguments."""

    format: Literal["json", "convex_encoded_json"] = "json"
    args: Annotated[
        Any,
        AfterValidator(one_object),
        WithJsonSchema(_ARGUMENTS),
    ] = Field(default_factory=dict)


class Result(TypedDict):
    """What the function returned, or null."""

    status: Literal["success"]
    value: Any
    logLines: list[str]


class Timestamp(TypedDict):
    """The time for a consistent query. Every query is answered as of now."""

    ts: str


class Entry(Presence):
    """The arguments of ``recordPresence`` and ``removePresence``."""

    course_id: str


class Course(TabMessage):
    """The arguments of ``getLiveViewerCount``. A client may send those of a presence, too."""

    course_id: str
    session_id: SessionId | None = None


class List(Course):
    """The arguments of ``getActiveViewers``. A ``limit`` above 20 counts as 20."""

    limit: Annotated[int, Field(ge=1)] | None = None


class LiveViewerCount(TypedDict):
    """What ``getLiveViewerCount`` returns."""

    total: int
    byChapter: dict[str, int]


def record_presence(call: Call, args: object) -> None:
    """Record that someone views the course. Repeat it every 30 seconds."""
    entry = parse(Entry, args)
    if not _KEY.fullmatch(entry.chapter_id or ""):
        raise InvalidRequestError(
            "chapterId must be printable ASCII and not begin with '$': otherwise the Convex client "
            "can't read counts by chapter."
        )
    course_viewers.record(call, course_viewers.course(call, entry.course_id), entry)


def remove_presence(call: Call, args: object) -> None:
    """End a visit to the course."""
    entry = parse(Entry, args)
    course_viewers.remove(call, course_viewers.course(call, entry.course_id), entry)


def live_viewer_count(call: Call, args: object) -> LiveViewerCount:
    """How many people view the course, in total and by chapter."""
    space = course_viewers.course(call, parse(Course, args).course_id)
    total, chapters = course_viewers.counts(call, space)
    by_chapter: dict[str, int] = {}
    for chapter, people in chapters.items():
        key = chapter if _KEY.fullmatch(chapter) else OTHER
        by_chapter[key] = by_chapter.get(key, 0) + people
    return {"total": total, "byChapter": by_chapter}


def active_viewers(call: Call, args: object) -> list[NamedViewer]:
    """Who views the course."""
    asked = parse(List, args)
    space = course_viewers.course(call, asked.course_id)
    most = course_viewers.MAX_COURSE_VIEWERS
    return course_viewers.listed(call, space, min(asked.limit or most, most))[1]


@dataclass(frozen=True, slots=True)
class Function:
    """A public function. A mutation writes, a query reads."""

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
    """Run an action. There are none, so the error names the functions that exist."""
    return _run(call, "Action")


def any_function(call: Call) -> Result:
    """Run a function, whether a query or a mutation."""
    asked = parse(AnyCall, call.request.json(), _EXAMPLE)
    return _answer(call, asked.path, asked, None)


def run_function(call: Call) -> Result:
    """Run the function that the path names: a query or a mutation."""
    asked = parse(RunCall, call.request.json(), '{"args": {"courseId": "c1"}}')
    return _answer(call, f"{call.params['module']}:{call.params['export']}", asked, None)


def timestamp(call: Call) -> Timestamp:
    """The time for a consistent query, which the client requests before ``query_at_ts``."""
    return {"ts": base64.b64encode(call.now.to_bytes(_BYTES, "little")).decode()}


def _run(call: Call, kind: str) -> Result:
    asked = parse(FunctionCall, call.request.json(), _EXAMPLE)
    return _answer(call, asked.path, asked, kind)


def _answer(call: Call, path: str, asked: FunctionCall | RunCall, kind: str | None) -> Result:
    """Run a function of this kind, or of any."""
    function = function_at(path, kind)
    args = decoded(asked.args) if asked.format == "convex_encoded_json" else asked.args
    return {"status": "success", "value": function.run(call, args), "logLines": []}


def function_at(path: str, kind: str | None = None) -> Function:
    """The function of this kind, or of any, at a path ``module:name``. InvalidRequestError."""
    name = path.replace(".js:", ":", 1)
    function = FUNCTIONS.get(name)
    if function is None:
        raise _no_function(path)
    if kind is not None and function.kind != kind:
        raise InvalidRequestError(
            f"Trying to execute {name} as {kind}, but it is defined as {function.kind}."
        )
    return function


def decoded(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments from Convex's own encoding. InvalidRequestError."""
    return {name: _decoded(name, value) for name, value in args.items()}


def message_of(error: RequestError) -> str:
    """An error as the clients throw it."""
    return " ".join(error.details) or error.message


def _no_function(path: str) -> InvalidRequestError:
    shown = path if _KEY.fullmatch(path) else "this path"  # it is not repeated if not printable
    return InvalidRequestError(
        f"Could not find public function for '{shown[:200]}'. The functions are "
        f"{', '.join(FUNCTIONS)}."
    )


def _decoded(name: str, value: Any) -> Any:
    """Decode a value that Convex encodes because JSON has no such type."""
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
    # A name that is not printable is not repeated: UTF-8 can't even encode a lone surrogate.
    shown = name if len(name) <= _MAX_SHOWN_NAME and _KEY.fullmatch(name) else "An argument"
    raise InvalidRequestError(f"{shown} is not encoded in Convex's format.")


_FAILS = [FUNCTION_FAILED]

ROUTES = [
    Route("POST", "/api/query", query, Who.ANYONE, Result, FunctionCall, errors=_FAILS),
    Route("POST", "/api/mutation", mutation, Who.ANYONE, Result, FunctionCall, errors=_FAILS),
    Route("POST", "/api/action", action, Who.ANYONE, None, FunctionCall, status=FUNCTION_FAILED),
    Route("POST", "/api/function", any_function, Who.ANYONE, Result, AnyCall, errors=_FAILS),
    Route(
        "POST",
        "/api/run/<module>/<export>",
        run_function,
        Who.ANYONE,
        Result,
        RunCall,
        errors=_FAILS,
    ),
    Route("POST", "/api/query_ts", timestamp, Who.ANYONE, Timestamp, errors=_FAILS),
    Route("POST", "/api/query_at_ts", query, Who.ANYONE, Result, FunctionCall, errors=_FAILS),
]
