"""The native API's reads: health, headcounts, viewers, timelines, days and live spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from headcount import __version__
from headcount.model.access import EVERYWHERE, Action, Scope, covers
from headcount.usecases.parameters import flag
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
    """The sessions in a space, in pages ordered by session id."""
    return call.services.reader.viewers(call.path_space, call.query("limit"), call.query("cursor"))


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
    _read("viewers", viewers, "Viewers", _PEOPLE, page_query("Sessions per page")),
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
