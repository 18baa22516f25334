"""The native API's reads of roll-ups: the distinct people of a kind of space, or of a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from headcount.model.access import Action, Scope, covers
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.native import history_of
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


def kind(call: Call) -> answers.RollUp | Reply:
    """The distinct people of all spaces of a kind, however many of them a person is in."""
    return _numbers(call, "kind")


def kind_timeline(call: Call) -> answers.Timeline:
    """A point for each minute with a session in the kind, by default of the last hour."""
    return _timeline(call, "kind")


def kind_history(call: Call) -> answers.History:
    """Up to 32 days of the kind in equal steps, to compare them with before and with the usual."""
    return history_of(call, _id(call, "kind"))


def kind_days(call: Call) -> answers.Days:
    """A row for each UTC day that is over, with the distinct people of all spaces of the kind."""
    return _days(call, "kind")


def group(call: Call) -> answers.RollUp | Reply:
    """The distinct people of a declared group of spaces, however many of them a person is in."""
    return _numbers(call, "group")


def group_timeline(call: Call) -> answers.Timeline:
    """A point for each minute with a session in the group, by default of the last hour."""
    return _timeline(call, "group")


def group_history(call: Call) -> answers.History:
    """Up to 32 days of the group in equal steps, to compare them with before and with the usual."""
    return history_of(call, _id(call, "group"))


def group_days(call: Call) -> answers.Days:
    """A row for each UTC day that is over, with the distinct people of all spaces of the group."""
    return _days(call, "group")


def kind_explain(call: Call) -> answers.RollUpExplanation:
    """Explain a kind's numbers: compare them with a recount, and list its spaces and sessions."""
    return _explain(call, "kind")


def group_explain(call: Call) -> answers.RollUpExplanation:
    """Explain a group's numbers: compare them with a recount, and list its spaces and sessions."""
    return _explain(call, "group")


def rollups(call: Call) -> answers.ListedRollUps:
    """The numbers of all kinds and groups that the token may read."""
    allowed = call.allowed_spaces(Action.READ)
    declared = call.services.settings.rollups
    declared.require()
    return call.services.reader.all_rollups(lambda id_: covers(allowed, declared.scope_of(id_)))


def _explain(call: Call, what: str) -> answers.RollUpExplanation:
    limit, cursor = call.query("limit"), call.query("cursor")
    explanation = call.services.rollup_explainer.explain(_id(call, what), limit, cursor)
    return cast("answers.RollUpExplanation", explanation)


def _numbers(call: Call, what: str) -> answers.RollUp | Reply:
    id_ = _id(call, what)
    public = call.services.settings.rollups.is_public(id_)
    if not public:
        call.require_scope(Scope(Action.READ, call.services.settings.rollups.scope_of(id_)))
    body = call.services.reader.rollup(id_)
    if public and not call.has_token:
        return briefly_cached(body)
    return body


def _timeline(call: Call, what: str) -> answers.Timeline:
    return call.services.reader.timeline(_id(call, what), call.query("from"), call.query("to"))


def _days(call: Call, what: str) -> answers.Days:
    return call.services.reader.rollup_days(_id(call, what), call.query("from"), call.query("to"))


def _id(call: Call, what: str) -> str:
    return call.services.settings.rollups.find(what, call.params[what])


_WHERE = {"kind": "<kind>:*", "group": "~group:<group>"}


def _route(
    what: str,
    handle: Callable[[Call], Any],
    answer: str,
    below: str = "",
    query: Sequence[Query] = (),
    *,
    action: Action = Action.READ,
) -> Route:
    return Route(
        "GET",
        f"/v1/{what}s/<{what}>{below}",
        handle,
        Who.ADMIN if below else Who.COUNTS,
        _ANSWERS + answer,
        query=query,
        errors=[404],
        needs=Scope(action, _WHERE[what]),
    )


_PAGE = page_query("Sessions per page")

ROUTES = [
    Route(
        "GET",
        "/v1/rollups",
        rollups,
        Who.ADMIN,
        _ANSWERS + "ListedRollUps",
        errors=[404],
        needs=Scope(Action.READ, None),
    ),
    _route("kind", kind, "RollUp"),
    _route("kind", kind_timeline, "Timeline", "/timeline", TIMES),
    _route("kind", kind_history, "History", "/history", HISTORY),
    _route("kind", kind_days, "Days", "/days", DAYS),
    _route("kind", kind_explain, "RollUpExplanation", "/explain", _PAGE, action=Action.PEOPLE),
    _route("group", group, "RollUp"),
    _route("group", group_timeline, "Timeline", "/timeline", TIMES),
    _route("group", group_history, "History", "/history", HISTORY),
    _route("group", group_days, "Days", "/days", DAYS),
    _route("group", group_explain, "RollUpExplanation", "/explain", _PAGE, action=Action.PEOPLE),
]
