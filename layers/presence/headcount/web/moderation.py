"""Moderation: alert rules, messages to everyone, removals, and the record of what admins did."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from headcount.alerts import LONGEST_SPIKE, NAME, Milestone, Rule, Spike, State
from headcount.errors import InvalidRequestError, NotFoundError
from headcount.messages import Identifier, Message, parse, text_up_to
from headcount.messages import Rule as Check
from headcount.moderation import Removal
from headcount.reading import time_in
from headcount.spaces import Space
from headcount.times import DAY, HOUR, SECOND, iso, whole_seconds
from headcount.tokens import Action, Scope
from headcount.web.answers import Notice
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Route, Who

shape_error = respond_error

MAX_TEXT = 280
"""Characters of a message to everyone."""
MAX_SHOWN = 86_400
_SHOWN = 300
LONGEST_REMOVAL = 30 * DAY
_REMOVED = HOUR
MAX_ACTS = 500
_ACTS_OF = 30 * DAY
_REMOVAL_ID = re.compile(r"[0-9a-f]{16}")
_MILESTONE = '{"type": "milestone", "people": 100}'
_SPIKE = '{"type": "spike", "factor": 2, "minutes": 5, "atLeast": 10}'


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if len(value) > MAX_TEXT:
        raise ValueError(f"must be at most {MAX_TEXT} characters, it has {len(value)}")
    return value


# ------------------------------------------------------------------------------------ what is taken

People = Annotated[int, Field(ge=1, le=10**9)]


class MilestoneRule(Message):
    """Set off when people rise to ``people``; again only after they were fewer."""

    type: Literal["milestone"]
    people: People


class SpikeRule(Message):
    """Set off when people are ``factor`` times those of ``minutes`` ago and ``atLeast`` so many;
    again only after that was not so."""

    type: Literal["spike"]
    factor: Annotated[float, Field(gt=1, le=1_000, allow_inf_nan=False)]
    minutes: Annotated[int, Field(ge=1, le=LONGEST_SPIKE)]
    at_least: People


class MessageToAll(Message):
    """``{text, level?, seconds?}``: shown for 5 minutes unless told otherwise, a day at most."""

    text: Annotated[
        str,
        text_up_to(4 * MAX_TEXT),
        Check(_text, {"minLength": 1, "maxLength": MAX_TEXT}),
    ]
    level: Literal["info", "warning"] = "info"
    seconds: Annotated[int, Field(ge=1, le=MAX_SHOWN)] = _SHOWN


class RemovalOfPerson(Message):
    """Who goes, named in one of three ways, and until when: a time, or for so many seconds; an
    hour unless told otherwise, 30 days at most. ``reason`` is for the record alone."""

    user_id: Identifier | None = None
    visitor_id: Identifier | None = None
    session_id: Identifier | None = None
    until: Annotated[str, text_up_to(40)] | None = None
    seconds: Annotated[int, Field(ge=1, le=LONGEST_REMOVAL // SECOND)] | None = None
    reason: Annotated[str, text_up_to(200)] | None = None


# --------------------------------------------------------------------------------- what is answered


class MilestoneAlert(TypedDict):
    """A rule and how it stands: ``fired`` while people are so many."""

    name: str
    type: Literal["milestone"]
    people: int
    state: Literal["armed", "fired"]
    lastFiredAt: str | None


class SpikeAlert(TypedDict):
    """A rule and how it stands: ``fired`` while the spike lasts, as of the last version."""

    name: str
    type: Literal["spike"]
    factor: float
    minutes: int
    atLeast: int
    state: Literal["armed", "fired"]
    lastFiredAt: str | None


class Alerts(TypedDict):
    """A space's rules, by name."""

    success: bool
    space: str
    alerts: list[MilestoneAlert | SpikeAlert]


class Done(TypedDict):
    """It is done, and will be seen within about two seconds."""

    success: bool
    space: str


class Sent(TypedDict):
    """The message is on its way, and will be seen within about two seconds."""

    success: bool
    id: str
    until: str


class CurrentMessage(TypedDict):
    """The message to everyone, if there is one."""

    success: bool
    space: str
    message: Notice | None


class Removed(TypedDict):
    """They are removed: ``ended`` of their sessions were here."""

    success: bool
    id: str
    until: str
    ended: int


class PersonRemoved(TypedDict):
    """Who was removed: one of the three ids is theirs."""

    id: str
    userId: str | None
    visitorId: str | None
    sessionId: str | None
    until: str
    at: str
    by: str
    reason: str | None


class Removals(TypedDict):
    """Whoever may not be in the space now, the latest first."""

    success: bool
    space: str
    removals: list[PersonRemoved]


class ActOfAdmin(TypedDict):
    """What an admin did: ``who`` is their token's subject, or ``admin``."""

    id: str
    at: str
    who: str
    what: str
    parameters: dict[str, Any]


class Audit(TypedDict):
    """The newest first, at most 500."""

    success: bool
    space: str
    acts: list[ActOfAdmin]


# ------------------------------------------------------------------------------------------- alerts


def put_alert(call: Call) -> Done:
    """Set an alert rule, in place of the one of that name: a milestone or a spike."""
    space, name = _space(call), call.params["name"]
    if not NAME.fullmatch(name):
        raise InvalidRequestError(
            "The name is not valid: a letter or digit, then up to 63 of A-Z a-z 0-9 . _ -"
        )
    call.services.moderator.put_rule(space, _rule(name, call.request.json()), by=call.who)
    return {"success": True, "space": space.id}


def alerts(call: Call) -> Alerts:
    """List a space's alert rules, and how each stands."""
    space = _space(call)
    found = call.services.moderator.rules(space)
    return {"success": True, "space": space.id, "alerts": [_alert(*one) for one in found]}


def delete_alert(call: Call) -> Done:
    """Delete an alert rule."""
    space = _space(call)
    call.services.moderator.delete_rule(space, call.params["name"], by=call.who)
    return {"success": True, "space": space.id}


def _rule(name: str, body: Any) -> Rule:
    kind = body.get("type") if isinstance(body, dict) else None
    if kind == "spike":
        spike = parse(SpikeRule, body, _SPIKE)
        return Spike(name, spike.factor, spike.minutes, spike.at_least)
    if kind == "milestone":
        return Milestone(name, parse(MilestoneRule, body, _MILESTONE).people)
    raise InvalidRequestError(
        f"type must be 'milestone' or 'spike': send for example {_MILESTONE} or {_SPIKE}."
    )


def _alert(rule: Rule, state: State) -> MilestoneAlert | SpikeAlert:
    said: Any = {
        "name": rule.name,
        **rule.said(),
        "state": "fired" if state.on else "armed",
        "lastFiredAt": iso(state.fired_at) if state.fired_at is not None else None,
    }
    return said  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------- messages


def send_message(call: Call) -> Sent:
    """Show a message to everyone in a space, in place of the one before."""
    space = _space(call)
    said = parse(MessageToAll, call.request.json(), '{"text": "We start in five minutes."}')
    until = call.now + said.seconds * SECOND
    notice = call.services.moderator.send(space, said.text, said.level, until, by=call.who)
    return {"success": True, "id": notice.id, "until": iso(notice.until)}


def message(call: Call) -> CurrentMessage:
    """Show the message to everyone, as published a moment ago."""
    space = _space(call)
    notice = call.services.headcounts.get(space.id).notice_at(call.now)
    body: Any = notice.body() if notice is not None else None
    return {"success": True, "space": space.id, "message": body}


def end_message(call: Call) -> Done:
    """End the message to everyone before its time."""
    space = _space(call)
    call.services.moderator.end_message(space, by=call.who)
    return {"success": True, "space": space.id}


# ----------------------------------------------------------------------------------------- removals


def remove(call: Call) -> Removed:
    """Remove a person from a space: their sessions end now, their beats are refused until then."""
    space = _space(call)
    said = parse(RemovalOfPerson, call.request.json(), '{"userId": "u1", "seconds": 3600}')
    named = {"userId": said.user_id, "visitorId": said.visitor_id, "sessionId": said.session_id}
    given = [(field, value) for field, value in named.items() if value is not None]
    if len(given) != 1:
        raise InvalidRequestError("Name one person: send userId, visitorId or sessionId.")
    ((field, value),) = given
    removal, ended = call.services.moderator.remove(
        space,
        field,
        value,
        _until(said, call.now),
        by=call.who,
        request=call.request.id,
        reason=said.reason,
    )
    return {"success": True, "id": removal.id, "until": iso(removal.until), "ended": ended}


def removals(call: Call) -> Removals:
    """List who may not be in a space now."""
    space = _space(call)
    found = call.services.moderator.removals(space)
    return {"success": True, "space": space.id, "removals": [_removed(one) for one in found]}


def lift_removal(call: Call) -> Done:
    """Lift a removal: the person may come back."""
    space = _space(call)
    id_ = call.params["removal"]
    if not _REMOVAL_ID.fullmatch(id_):
        raise NotFoundError("Nobody is removed from this space under that id.")
    call.services.moderator.lift(space, id_, by=call.who)
    return {"success": True, "space": space.id}


def _until(said: RemovalOfPerson, now: int) -> int:
    """Full seconds: as much as the headcount carries."""
    if said.until is not None and said.seconds is not None:
        raise InvalidRequestError("Send until or seconds, not both.")
    if said.until is None:
        end = now + (_REMOVED if said.seconds is None else said.seconds * SECOND)
    else:
        end = time_in("until", said.until, now)
        if end <= now:
            raise InvalidRequestError("until must be a time that is yet to come.")
        if end > now + LONGEST_REMOVAL:
            raise InvalidRequestError("until must be within 30 days from now.")
    return whole_seconds(end) * SECOND


def _removed(removal: Removal) -> PersonRemoved:
    return {
        "id": removal.id,
        "userId": removal.value if removal.known_as == "userId" else None,
        "visitorId": removal.value if removal.known_as == "visitorId" else None,
        "sessionId": removal.value if removal.known_as == "sessionId" else None,
        "until": iso(removal.until),
        "at": iso(removal.at),
        "by": removal.by,
        "reason": removal.reason,
    }


# -------------------------------------------------------------------------------------------- audit


def audit(call: Call) -> Audit:
    """Read what admins did to a space: of the last 30 days unless told otherwise."""
    space = _space(call)
    since, until = call.query("from"), call.query("to")
    end = time_in("to", until, call.now)
    start = time_in("from", since, end - _ACTS_OF)
    if start > end:
        raise InvalidRequestError("'from' must not be later than 'to'.")
    found = call.services.history.acts(space.id, start, end, limit=MAX_ACTS)
    acts: Any = [act.body() for act in found]
    return {"success": True, "space": space.id, "acts": acts}


def _space(call: Call) -> Space:
    return call.services.settings.kinds.space(call.params["space"])


_OF = "/v1/spaces/<space>"
_TIME = {"type": "string", "format": "date-time"}

_MODERATE = Scope(Action.MODERATE, "<space>")

ROUTES = [
    Route("GET", f"{_OF}/alerts", alerts, Who.ADMIN, Alerts, needs=_MODERATE),
    Route(
        "PUT",
        f"{_OF}/alerts/<name>",
        put_alert,
        Who.ADMIN,
        Done,
        body=MilestoneRule | SpikeRule,
        errors=[409],
        needs=_MODERATE,
    ),
    Route(
        "DELETE",
        f"{_OF}/alerts/<name>",
        delete_alert,
        Who.ADMIN,
        Done,
        errors=[404],
        needs=_MODERATE,
    ),
    Route(
        "POST", f"{_OF}/messages", send_message, Who.ADMIN, Sent, body=MessageToAll, needs=_MODERATE
    ),
    Route("GET", f"{_OF}/messages", message, Who.ADMIN, CurrentMessage, needs=_MODERATE),
    Route("DELETE", f"{_OF}/messages", end_message, Who.ADMIN, Done, errors=[404], needs=_MODERATE),
    Route(
        "POST",
        f"{_OF}/removals",
        remove,
        Who.ADMIN,
        Removed,
        body=RemovalOfPerson,
        errors=[409],
        needs=_MODERATE,
    ),
    Route("GET", f"{_OF}/removals", removals, Who.ADMIN, Removals, needs=_MODERATE),
    Route(
        "DELETE",
        f"{_OF}/removals/<removal>",
        lift_removal,
        Who.ADMIN,
        Done,
        errors=[404],
        needs=_MODERATE,
    ),
    Route(
        "GET",
        f"{_OF}/audit",
        audit,
        Who.ADMIN,
        Audit,
        query=[Query("from", "The first moment", _TIME), Query("to", "The last moment", _TIME)],
        needs=_MODERATE,
    ),
]
