"""Erasures: admins erase a person from everything that is stored."""

from __future__ import annotations

import re
from typing import Annotated, cast

from pydantic import Field
from typing_extensions import TypedDict

from headcount.errors import InvalidRequestError, NotFoundError
from headcount.model.access import EVERYWHERE, Action, Scope
from headcount.model.moderation import AuditEntry
from headcount.times import DAY, iso
from headcount.web.bodies import Identifier, Message, parse, text_up_to
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Reply, Route, Who

shape_error = respond_error

_MAX_ERASURES = 100
_LISTED_FOR = 30 * DAY
_MAX_FINGERPRINT = 4096  # bytes, as for link analytics, which stores their hash
_ID = re.compile(r"([0-9]{1,13})-([A-Za-z0-9-]{1,64})")
_NOT_FOUND = "There is no erasure with this id. GET /v1/erasures lists those of the last 30 days."


class PersonToErase(Message):
    """All known ids of one person, at least one. Each id erases what was stored under it. A user id
    also erases the anonymous visits of the tabs in which they signed in; other anonymous visits of
    one of their browsers need its visitor id."""

    user_id: Identifier | None = None
    visitor_id: Annotated[str, Field(min_length=1), text_up_to(_MAX_FINGERPRINT)] | None = None
    session_id: Identifier | None = None


class Erased(TypedDict):
    """Rows erased or changed so far: sessions, visits, acts in the activity log, removals,
    connections that held a session, and what says where the person is."""

    sessions: int
    visits: int
    acts: int
    removals: int
    connections: int
    people: int


class _Succeeded(TypedDict):
    success: bool


class Listed(TypedDict):
    """An erasure in a list."""

    id: str
    at: str
    who: str
    rounds: int
    erased: Erased
    complete: bool


class Erasure(_Succeeded, Listed):
    """The progress of an erasure, which takes three ``rounds`` and about two hours."""


class Listing(TypedDict):
    """The erasures of the last 30 days, newest first, at most 100."""

    success: bool
    erasures: list[Listed]


def erase(call: Call) -> Reply:
    """Erase a person everywhere. The erasure begins at once and runs in the background."""
    person = parse(PersonToErase, call.request.json(), '{"userId": "u1"}')
    if not (person.user_id or person.visitor_id or person.session_id):
        raise InvalidRequestError("Name the person: send userId, visitorId, sessionId, or several.")
    begun = call.services.erasures.begin(
        user=person.user_id, visitor=person.visitor_id, session=person.session_id, by=call.actor
    )
    return Reply(_erasure(begun), status=202)


def erasure(call: Call) -> Erasure:
    """Get the progress of an erasure."""
    match = _ID.fullmatch(call.params["erasure"])
    found = call.services.erasures.get(int(match[1]), match[2]) if match else None
    if found is None:
        raise NotFoundError(_NOT_FOUND)
    return _erasure(found)


def erasures(call: Call) -> Listing:
    """List the erasures of the last 30 days."""
    found = call.services.erasures.since(call.now - _LISTED_FOR, limit=_MAX_ERASURES)
    return {"success": True, "erasures": [_listed(entry) for entry in found]}


def _listed(entry: AuditEntry) -> Listed:
    id_ = f"{entry.at}-{entry.id}"
    return cast("Listed", {"id": id_, "at": iso(entry.at), "who": entry.who, **entry.parameters})


def _erasure(entry: AuditEntry) -> Erasure:
    return {"success": True, **_listed(entry)}


_ERASE = Scope(Action.ERASE, EVERYWHERE)

ROUTES = [
    Route(
        "POST",
        "/v1/erasures",
        erase,
        Who.ADMIN,
        Erasure,
        body=PersonToErase,
        status=202,
        needs=_ERASE,
    ),
    Route("GET", "/v1/erasures", erasures, Who.ADMIN, Listing, needs=_ERASE),
    Route("GET", "/v1/erasures/<erasure>", erasure, Who.ADMIN, Erasure, errors=[404], needs=_ERASE),
]
