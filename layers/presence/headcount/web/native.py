"""The native API's reads: health, headcounts, viewers, timelines, days and live spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from headcount import __version__
from headcount.errors import InvalidRequestError
from headcount.model.access import EVERYWHERE, Action, Scope, covers
from headcount.model.beat import KEY_NAME, MAX_PAGE
from headcount.model.slices import MAX_CONDITIONS, MAX_SEARCH, ORDERS, Search, parse_where
from headcount.usecases.parameters import flag, one_of
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import (
    DAYS,
    HISTORY,
    TIMES,
    Query,
    Reply,
    Route,
    Who,
    briefly_cached,
    page_query,
)

if TYPE_CHECKING:
    from headcount.web import answers

shape_error = respond_error

_ANSWERS = "headcount.web.answers:"  # by name, as only the documents import them


def healthz(_: Call) -> answers.Health:
    """The API answers. For load balancers and monitors: it reads nothing."""
    return {"success": True, "version": __version__}


def headcount(call: Call) -> answers.Headcount | Reply:
    """The published numbers of a space."""
    space = call.path_space
    call.require_counts(space)
    body = call.services.reader.headcount(space)
    if space.kind.counts_are_public and not call.has_token:
        return briefly_cached(body)
    return body


def spaces(call: Call) -> answers.LiveSpaces:
    """Spaces with at least one session that the token may read, largest first."""
    allowed = call.allowed_spaces(Action.READ)
    return call.services.reader.spaces(call.query("kind"), lambda space: covers(allowed, space))


def viewers(call: Call) -> answers.Viewers:
    """The sessions in a space, in pages ordered by session id.

    With a filter or ``sort`` it is a search in up to 10,000 sessions, which says how many it found.
    """
    space, limit, cursor = call.path_space, call.query("limit"), call.query("cursor")
    text = call.query("q")
    if text is not None and len(text) > MAX_SEARCH:
        raise InvalidRequestError(f"'q' must have at most {MAX_SEARCH} characters.")
    search = Search(
        where=parse_where(call.queries("where")),
        who=one_of("who", call.query("who"), _WHO),
        state=one_of("state", call.query("state"), _STATES),
        text=text or None,
        order=one_of("sort", call.query("sort"), [*ORDERS]),
    )
    if search == Search():
        return call.services.reader.viewers(space, limit, cursor)
    return call.services.slicer.search(space, search, limit, cursor)


def slices(call: Call) -> answers.Slice:
    """The numbers of the sessions with these values, counted now.

    Of a space with more than 10,000 sessions they are estimated from that many.
    """
    return call.services.slicer.slice(call.path_space, parse_where(call.queries("where")))


def snapshot(call: Call) -> answers.Snapshot:
    """The visits that have not ended, and the number of the last event they include."""
    return call.services.reader.snapshot(call.path_space, call.query("limit"), call.query("cursor"))


def explain(call: Call) -> answers.Explanation:
    """Explain a space's numbers: compare them with a recount, and list the counted sessions."""
    limit, cursor = call.query("limit"), call.query("cursor")
    explanation = call.services.explainer.explain(call.path_space, limit, cursor)
    return cast("answers.Explanation", explanation)


def timeline(call: Call) -> answers.Timeline:
    """A point for each minute with a session in the space, by default of the last hour."""
    return call.services.reader.timeline(call.path_space.id, call.query("from"), call.query("to"))


def days(call: Call) -> answers.Days:
    """A row for each UTC day with a session in the space, including today so far."""
    quarters = flag("quarters", call.query("quarters"))
    return call.services.reader.days(
        call.path_space, call.query("from"), call.query("to"), quarters=quarters
    )


def history(call: Call) -> answers.History:
    """Up to 32 days in equal steps, to compare them.

    With a period before, with what is usual at these times, and with what admins noted.
    """
    space = call.path_space
    found = history_of(call, space.id)
    return {**found, "marks": call.services.reader.marks(space, found["from"], found["to"])}


def history_of(call: Call, space: str) -> answers.History:
    """The series of a space or roll-up, as the query asks for it."""
    return call.services.reader.history_of(
        space,
        call.query("from"),
        call.query("to"),
        step=call.query("step"),
        compare=call.query("compare"),
        usual=flag("usual", call.query("usual")),
    )


def costs(call: Call) -> answers.Costs:
    """What each past UTC day of the stack cost, estimated in dollars.

    By list prices and by the beats, visits and hours that it stored: it is not the bill.
    """
    return call.services.reader.costs(call.query("from"), call.query("to"))


_QUARTERS = Query(
    "quarters",
    "With the views of each quarter of an hour",
    {"type": "boolean", "default": False},
)
_WHO, _STATES = ["signed-in", "anonymous"], ["active", "hidden"]
_CONDITION = {
    "type": "string",
    "pattern": f"^{KEY_NAME.pattern}:[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    "maxLength": MAX_PAGE + 33,
}
_WHERE = Query(
    "where",
    "A facet and its value, such as device:mobile or page:/pricing; all that are sent must hold",
    {"type": "array", "items": _CONDITION, "maxItems": MAX_CONDITIONS},
)
_SEARCH = [
    *page_query("Sessions per page"),
    _WHERE,
    Query("who", "Only these people", {"enum": _WHO}),
    Query("state", "Only tabs in this state", {"enum": _STATES}),
    Query("q", "A part of a name, id, page or facet", {"type": "string", "maxLength": MAX_SEARCH}),
    Query("sort", "The order, by default of session ids", {"enum": [*ORDERS]}),
]
_READ, _PEOPLE = Scope(Action.READ, "<space>"), Scope(Action.PEOPLE, "<space>")


def _read(
    rule: str,
    handle: Callable[[Call], Any],
    answer: str,
    needs: Scope,
    query: list[Query],
    *,
    errors: Sequence[int] = (),
) -> Route:
    return Route(
        "GET",
        f"{_SPACE}/{rule}",
        handle,
        Who.ADMIN,
        _ANSWERS + answer,
        query=query,
        errors=errors,
        needs=needs,
    )


_SPACE = "/v1/spaces/<space>"

ROUTES = [
    Route("GET", "/healthz", healthz, Who.ANYONE, _ANSWERS + "Health"),
    Route(
        "GET",
        "/v1/spaces",
        spaces,
        Who.ADMIN,
        _ANSWERS + "LiveSpaces",
        query=[Query("kind", "Only spaces of this kind")],
        needs=Scope(Action.READ, None),
    ),
    Route("GET", _SPACE, headcount, Who.COUNTS, _ANSWERS + "Headcount", needs=_READ),
    _read("slice", slices, "Slice", _READ, [_WHERE]),
    _read("viewers", viewers, "Viewers", _PEOPLE, _SEARCH),
    _read("snapshot", snapshot, "Snapshot", _PEOPLE, page_query("Visits per page"), errors=[409]),
    _read("explain", explain, "Explanation", _PEOPLE, page_query("Rows per page, counted or not")),
    _read("timeline", timeline, "Timeline", _READ, TIMES),
    _read("history", history, "History", _READ, HISTORY),
    _read("days", days, "Days", _READ, [*DAYS, _QUARTERS]),
    Route(
        "GET",
        "/v1/costs",
        costs,
        Who.ADMIN,
        _ANSWERS + "Costs",
        query=DAYS,
        needs=Scope(Action.READ, EVERYWHERE),
    ),
]
