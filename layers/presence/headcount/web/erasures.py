"""Erasures: an admin has a person removed from everything that is stored."""

from __future__ import annotations

import re
from typing import Annotated, cast

from pydantic import Field
from typing_extensions import TypedDict

from headcount.erasing import SPACE
from headcount.errors import InvalidRequestError, NotFoundError
from headcount.messages import Identifier, Message, parse, text_up_to
from headcount.moderation import Act
from headcount.times import DAY, iso
from headcount.tokens import EVERYWHERE, Action, Scope
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Reply, Route, Who

shape_error = respond_error

MAX_LISTED = 100
_LISTED_OF = 30 * DAY
_FINGERPRINT = 4096  # bytes: link analytics takes as many, and hashes them
_ID = re.compile(r"([0-9]{1,13})-([A-Za-z0-9-]{1,64})")
_NOT_FOUND = "There is no erasure of that id. GET /v1/erasures lists those of the last 30 days."


class PersonToErase(Message):
    """Every id that is known of one person, at least one: each erases what was said under it, and
    a user's also the anonymous visits of the tabs they were signed in to. The other anonymous
    visits of a browser of theirs are erased by its visitor id."""

    user_id: Identifier | None = None
    visitor_id: Annotated[str, Field(min_length=1), text_up_to(_FINGERPRINT)] | None = None
    session_id: Identifier | None = None


class Erased(TypedDict):
    """Rows that were erased, or changed, so far: sessions that were here, visits of the ledger,
    acts in the record of what admins did, removals, and connections that held a session."""

    sessions: int
    visits: int
    acts: int
    removals: int
    connections: int


class Erasure(TypedDict):
    """How far an erasure is. It is done in three ``rounds``, within about two hours."""

    success: bool
    id: str
    at: str
    who: str
    rounds: int
    erased: Erased
    complete: bool


class Listed(TypedDict):
    """An erasure in a list."""

    id: str
    at: str
    who: str
    rounds: int
    erased: Erased
    complete: bool


class Listing(TypedDict):
    """Those of the last 30 days, the newest first, at most 100."""

    success: bool
    erasures: list[Listed]


def erase(call: Call) -> Reply:
    """Erase a person everywhere: it begins at once, and goes on by itself."""
    said = parse(PersonToErase, call.request.json(), '{"userId": "u1"}')
    if not (said.user_id or said.visitor_id or said.session_id):
        raise InvalidRequestError("Name the person: send userId, visitorId, sessionId, or several.")
    begun = call.services.erasures.begin(
        user=said.user_id, visitor=said.visitor_id, session=said.session_id, by=call.who
    )
    return Reply(_erasure(begun), status=202)


def erasure(call: Call) -> Erasure:
    """See how far an erasure is."""
    match = _ID.fullmatch(call.params["erasure"])
    found = call.services.erasures.get(int(match[1]), match[2]) if match else None
    if found is None:
        raise NotFoundError(_NOT_FOUND)
    return _erasure(found)


def erasures(call: Call) -> Listing:
    """List the erasures of the last 30 days."""
    now = call.now
    found = call.services.history.acts(SPACE, now - _LISTED_OF, now, limit=MAX_LISTED)
    return {"success": True, "erasures": [_listed(act) for act in found]}


def _listed(act: Act) -> Listed:
    said = {"id": f"{act.at}-{act.id}", "at": iso(act.at), "who": act.who, **act.parameters}
    return cast("Listed", said)


def _erasure(act: Act) -> Erasure:
    return {"success": True, **_listed(act)}


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
