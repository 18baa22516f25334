"""Moderation: alert rules, messages to everyone, removals, and the log of what admins did."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from headcount.errors import InvalidRequestError, NotFoundError
from headcount.model.access import Action, Scope
from headcount.model.alert import LONGEST_SPIKE, RULE_NAME, Milestone, Rule, RuleState, Spike
from headcount.model.beat import MAX_EXACT, check_number
from headcount.model.moderation import Removal
from headcount.times import DAY, HOUR, SECOND, iso, whole_seconds
from headcount.usecases.parameters import time_in, times_in
from headcount.web.answers import Notice
from headcount.web.bodies import Identifier, Message, parse, text_up_to
from headcount.web.bodies import Rule as BodyRule
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import TIMES, Route, Who

shape_error = respond_error

MAX_TEXT = 280
"""Characters of a message to everyone."""
MAX_MARK = 100
"""Characters of a mark on the charts."""
MAX_SHOWN = 86_400
"""Seconds that a message is shown at most."""
_DEFAULT_SHOWN = 300
LONGEST_REMOVAL = 30 * DAY
_DEFAULT_REMOVAL = HOUR
MAX_AUDIT_ENTRIES = 500
_DEFAULT_PERIOD = 30 * DAY
_REMOVAL_ID = re.compile(r"[0-9a-f]{16}")
_MILESTONE = '{"type": "milestone", "people": 100}'
_SPIKE = '{"type": "spike", "factor": 2, "minutes": 5, "atLeast": 10}'


def _check_length(value: str, most: int) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if len(value) > most:
        raise ValueError(f"must be at most {most} characters, it has {len(value)}")
    return value


def _check_message_text(value: str) -> str:
    return _check_length(value, MAX_TEXT)


def _check_mark(value: str) -> str:
    return _check_length(value, MAX_MARK)


# ------------------------------------------------------------------------------------------- bodies

People = Annotated[int, Field(ge=1, le=10**9)]


class MilestoneRule(Message):
    """Fires when the number of people rises to ``people``, and again only after it fell below."""

    type: Literal["milestone"]
    people: People


class SpikeRule(Message):
    """Fires when there are ``factor`` times as many people as ``minutes`` ago and at least
    ``atLeast``, and again only after this no longer held."""

    type: Literal["spike"]
    factor: Annotated[float, Field(gt=1, le=1_000, allow_inf_nan=False)]
    minutes: Annotated[int, Field(ge=1, le=LONGEST_SPIKE)]
    at_least: People


class MessageToAll(Message):
    """``{text, level?, seconds?}``: shown for 5 minutes by default, for a day at most."""

    text: Annotated[
        str,
        text_up_to(4 * MAX_TEXT),
        BodyRule(_check_message_text, {"minLength": 1, "maxLength": MAX_TEXT}),
    ]
    level: Literal["info", "warning"] = "info"
    seconds: Annotated[int, Field(ge=1, le=MAX_SHOWN)] = _DEFAULT_SHOWN


class RemovalOfPerson(Message):
    """The person to remove, by one of the three ids, and for how long: ``until`` a time or for
    ``seconds``, by default an hour, at most 30 days. Only admins see the ``reason``.

    ``verified``, with a userId: true for the user whom a token proved, false for those who only
    claim the id. Without it, whichever of them is here is removed, and if nobody is, both are; if
    both are here, the answer is 409."""

    user_id: Identifier | None = None
    visitor_id: Identifier | None = None
    session_id: Identifier | None = None
    verified: bool | None = None
    until: Annotated[str, text_up_to(40)] | None = None
    seconds: Annotated[int, Field(ge=1, le=LONGEST_REMOVAL // SECOND)] | None = None
    reason: Annotated[str, text_up_to(200)] | None = None


class MarkOfAdmin(Message):
    """``{text}``: what happened just now, such as a release; charts show it to all who may read the
    space's numbers."""

    text: Annotated[
        str,
        text_up_to(4 * MAX_MARK),
        BodyRule(_check_mark, {"minLength": 1, "maxLength": MAX_MARK}),
    ]


class Correction(Message):
    """``{total}``: what the total should be, running visits included."""

    total: Annotated[
        float, Field(ge=0, le=MAX_EXACT, allow_inf_nan=False), AfterValidator(check_number)
    ]


# ---------------------------------------------------------------------------------------- responses


class MilestoneAlert(TypedDict):
    """A rule and its state: ``fired`` while there are at least ``people``."""

    name: str
    type: Literal["milestone"]
    people: int
    state: Literal["armed", "fired"]
    lastFiredAt: str | None


class SpikeAlert(TypedDict):
    """A rule and its state as of the last version: ``fired`` while the spike lasts."""

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
    """The change is stored, and takes effect within about two seconds."""

    success: bool
    space: str


class Sent(TypedDict):
    """The message is stored, and visitors see it within about two seconds."""

    success: bool
    id: str
    until: str


class Corrected(TypedDict):
    """The total is corrected; ``was``: what it was."""

    success: bool
    space: str
    was: float
    total: float


class CurrentMessage(TypedDict):
    """The message to everyone, or null."""

    success: bool
    space: str
    message: Notice | None


class Removed(TypedDict):
    """The person is removed; ``ended``: how many of their sessions that ended."""

    success: bool
    id: str
    until: str
    ended: int


class PersonRemoved(TypedDict):
    """A removed person, known by one of the three ids; the other two are null. ``verified``: of a
    userId, only the user whom a token proved (true), those who claim the id (false), or both
    (null)."""

    id: str
    userId: str | None
    verified: bool | None
    visitorId: str | None
    sessionId: str | None
    until: str
    at: str
    by: str
    reason: str | None


class Removals(TypedDict):
    """The people who may not be in the space now, the latest removal first."""

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


class AuditLog(TypedDict):
    """The newest first, at most 500."""

    success: bool
    space: str
    acts: list[ActOfAdmin]


# ------------------------------------------------------------------------------------------- alerts


def put_alert(call: Call) -> Done:
    """Set an alert rule, a milestone or a spike; it replaces a rule with the same name."""
    space, name = call.path_space, call.params["name"]
    if not RULE_NAME.fullmatch(name):
        raise InvalidRequestError(
            "The name is not valid: send a letter or digit, then up to 63 of A-Z a-z 0-9 . _ -"
        )
    call.services.moderator.put_rule(space, _rule(name, call.request.json()), by=call.actor)
    return {"success": True, "space": space.id}


def alerts(call: Call) -> Alerts:
    """List a space's alert rules and their states."""
    space = call.path_space
    found = call.services.moderator.rules(space)
    return {"success": True, "space": space.id, "alerts": [_alert(*one) for one in found]}


def delete_alert(call: Call) -> Done:
    """Delete an alert rule."""
    space = call.path_space
    call.services.moderator.delete_rule(space, call.params["name"], by=call.actor)
    return {"success": True, "space": space.id}


def _rule(name: str, body: Any) -> Rule:
    kind = body.get("type") if isinstance(body, dict) else None
    if kind == "spike":
        spike = parse(SpikeRule, body, _SPIKE)
        return Spike(name, spike.factor, spike.minutes, spike.at_least)
    if kind == "milestone":
        return Milestone(name, parse(MilestoneRule, body, _MILESTONE).people)
    raise InvalidRequestError(
        f"type must be 'milestone' or 'spike': send, for example, {_MILESTONE} or {_SPIKE}."
    )


def _alert(rule: Rule, state: RuleState) -> MilestoneAlert | SpikeAlert:
    body: Any = {
        "name": rule.name,
        **rule.fields(),
        "state": "fired" if state.on else "armed",
        "lastFiredAt": iso(state.fired_at) if state.fired_at is not None else None,
    }
    return body  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------- messages


def send_message(call: Call) -> Sent:
    """Show a message to everyone in a space; it replaces the current one."""
    space = call.path_space
    body = parse(MessageToAll, call.request.json(), '{"text": "We start in five minutes."}')
    until = call.now + body.seconds * SECOND
    notice = call.services.moderator.send(space, body.text, body.level, until, by=call.actor)
    return {"success": True, "id": notice.id, "until": iso(notice.until)}


def message(call: Call) -> CurrentMessage:
    """Get the message to everyone, as last published."""
    space = call.path_space
    notice = call.services.moderator.message(space)
    message = notice.body() if notice is not None else None
    return {"success": True, "space": space.id, "message": message}


def end_message(call: Call) -> Done:
    """End the message to everyone before its time."""
    space = call.path_space
    call.services.moderator.end_message(space, by=call.actor)
    return {"success": True, "space": space.id}


# ----------------------------------------------------------------------------------------- removals


def remove(call: Call) -> Removed:
    """Remove a person from a space: end their sessions now, and refuse their beats for a time."""
    space = call.path_space
    body = parse(RemovalOfPerson, call.request.json(), '{"userId": "u1", "seconds": 3600}')
    named = {"userId": body.user_id, "visitorId": body.visitor_id, "sessionId": body.session_id}
    given = [(field, value) for field, value in named.items() if value is not None]
    if len(given) != 1:
        raise InvalidRequestError("Name one person: send userId, visitorId or sessionId.")
    ((field, value),) = given
    if body.verified is not None and field != "userId":
        raise InvalidRequestError("Send verified only with a userId.")
    removal, ended = call.services.moderator.remove(
        space,
        field,
        value,
        _until(body, call.now),
        by=call.actor,
        request=call.request.id,
        reason=body.reason,
        verified=body.verified,
    )
    return {"success": True, "id": removal.id, "until": iso(removal.until), "ended": ended}


def removals(call: Call) -> Removals:
    """List the people who may not be in a space now."""
    space = call.path_space
    found = call.services.moderator.removals(space)
    return {"success": True, "space": space.id, "removals": [_removed(one) for one in found]}


def lift_removal(call: Call) -> Done:
    """Lift a removal: the person may come back."""
    space = call.path_space
    id_ = call.params["removal"]
    if not _REMOVAL_ID.fullmatch(id_):
        raise NotFoundError("This space has no removal with this id.")
    call.services.moderator.lift(space, id_, by=call.actor)
    return {"success": True, "space": space.id}


def _until(body: RemovalOfPerson, now: int) -> int:
    """The end of the removal: epoch milliseconds in full seconds, as the headcount stores it."""
    if body.until is not None and body.seconds is not None:
        raise InvalidRequestError("Send until or seconds, not both.")
    if body.until is None:
        end = now + (_DEFAULT_REMOVAL if body.seconds is None else body.seconds * SECOND)
    else:
        end = time_in("until", body.until, now)
        if end <= now:
            raise InvalidRequestError("until must be in the future.")
        if end > now + LONGEST_REMOVAL:
            raise InvalidRequestError("until must be within 30 days from now.")
    return whole_seconds(end) * SECOND


def _removed(removal: Removal) -> PersonRemoved:
    return {
        "id": removal.id,
        "userId": removal.value if removal.known_as == "userId" else None,
        "verified": removal.verified,
        "visitorId": removal.value if removal.known_as == "visitorId" else None,
        "sessionId": removal.value if removal.known_as == "sessionId" else None,
        "until": iso(removal.until),
        "at": iso(removal.at),
        "by": removal.by,
        "reason": removal.reason,
    }


# ------------------------------------------------------------------------------------------- totals


def correct(call: Call) -> Corrected:
    """Correct a total of a space's engagement, for example after a flood of false events."""
    space = call.path_space
    body = parse(Correction, call.request.json(), '{"total": 12}')
    was = call.services.moderator.correct_engagement(
        space, call.params["name"], body.total, by=call.actor
    )
    return {"success": True, "space": space.id, "was": was, "total": body.total}


# -------------------------------------------------------------------------------------------- marks


def mark(call: Call) -> Done:
    """Note on the charts what happens now, such as a release. It is an entry of the audit log."""
    space = call.path_space
    body = parse(MarkOfAdmin, call.request.json(), '{"text": "Release 2.3"}')
    call.log_action(space, "mark", text=body.text)
    return {"success": True, "space": space.id}


# -------------------------------------------------------------------------------------------- audit


def audit(call: Call) -> AuditLog:
    """Read the log of what admins did to a space, by default of the last 30 days."""
    space = call.path_space
    since, until = call.query("from"), call.query("to")
    start, end = times_in(since, until, now=call.now, default=_DEFAULT_PERIOD)
    found = call.services.moderator.audit_log(space, start, end, limit=MAX_AUDIT_ENTRIES)
    return {"success": True, "space": space.id, "acts": [entry.body() for entry in found]}


def _route(
    method: str, rule: str, handle: Callable[[Call], Any], answer: Any, **more: Any
) -> Route:
    needs = Scope(Action.MODERATE, "<space>")
    return Route(
        method, f"/v1/spaces/<space>/{rule}", handle, Who.ADMIN, answer, needs=needs, **more
    )


ROUTES = [
    _route("GET", "alerts", alerts, Alerts),
    _route("PUT", "alerts/<name>", put_alert, Done, body=MilestoneRule | SpikeRule, errors=[409]),
    _route("DELETE", "alerts/<name>", delete_alert, Done, errors=[404]),
    _route("POST", "messages", send_message, Sent, body=MessageToAll),
    _route("GET", "messages", message, CurrentMessage),
    _route("DELETE", "messages", end_message, Done, errors=[404]),
    _route("POST", "removals", remove, Removed, body=RemovalOfPerson, errors=[409]),
    _route("GET", "removals", removals, Removals),
    _route("DELETE", "removals/<removal>", lift_removal, Done, errors=[404]),
    _route("PUT", "engagement/<name>", correct, Corrected, body=Correction, errors=[404]),
    _route("POST", "marks", mark, Done, body=MarkOfAdmin),
    _route("GET", "audit", audit, AuditLog, query=TIMES),
]
