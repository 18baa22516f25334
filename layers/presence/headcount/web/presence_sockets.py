"""Presence by connection: a viewer is here while a WebSocket of theirs is open.

Connecting is the join and closing is the leave; in between a beat every few minutes keeps the
connection, and says what changed. All of it is recorded as beats and leaves over HTTP are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headcount.beats import Beat, parse_beat
from headcount.clients import Services
from headcount.errors import InvalidRequestError, RequestError
from headcount.sockets import to_frame
from headcount.spaces import Space
from headcount.store.subscriptions import Held
from headcount.subscribing import parse_frame
from headcount.tokens import Caller
from headcount.web.calls import Call, Count, Identity
from headcount.web.http import Event

RETURNING = 4000
"""The code that a client closes with which is about to be back, on the site's next page."""

_DROPS = frozenset({1006, RETURNING})  # 1006: the network went, the client said nothing
_TEXTS = ("sessionId", "visitorId", "userId", "name", "avatar", "page", "state")


def holds_session(event: Event) -> bool:
    """Whether whoever connects wants to be present, and not to hear of others."""
    return not {"space", "sessionId"}.isdisjoint(event.get("queryStringParameters") or {})


def connect(services: Services, event: Event) -> None:
    """Join, by the parameters ``space``, ``sessionId`` and, as in a beat, ``visitorId``,
    ``userId``, ``name``, ``avatar``, ``page``, ``state``, and as JSON ``seq``, ``facets`` and
    ``changed``.

    What is refused is raised, and nothing of it stored.
    """
    call = Call.of_socket(services, event)
    connection = event["requestContext"]["connectionId"]
    if not call.query("space"):
        raise InvalidRequestError("'space' is missing: send ?space=site:main&sessionId=s1.")
    space = services.settings.kinds.space(call.query("space") or "")
    beat = parse_beat(_said(call.request.query), space.id, connection)
    caller = call.caller()
    call.record_beat(space, beat, call.identify_as(caller, beat.user_id), connection)
    held = Held(space.id, beat.session_id, seen=call.seen())
    if caller is not None:
        # An admin's subject is of no use: they beat as whom each frame names.
        user = None if caller.admin else caller.subject
        held = replace(held, user=user, admin=caller.admin)
    services.subscriptions.hold(connection, held, now=call.now)


def hear(services: Services, event: Event) -> bool:
    """Take a beat; False when the frame is none. What is wrong with it goes back as an error.

    When all is well nothing goes back, each frame being paid for, unless ``answer`` asks for it.
    """
    connection = event["requestContext"]["connectionId"]
    try:
        message = parse_frame(event.get("body") or "")
    except RequestError:
        return False
    if message.pop("action", None) != "beat":
        return False
    wants_answer = message.pop("answer", False) is True
    try:
        space, count = _beat(Call.of_socket(services, event), connection, message)
    except RequestError as error:
        answer: dict[str, Any] = {"type": "error", "error": error.message}
        if "Retry-After" in error.headers:
            answer["retryAfter"] = int(error.headers["Retry-After"])
        services.line.post(connection, to_frame(answer))
        return True
    if wants_answer:
        notice = {} if count.notice is None else {"notice": count.notice.body()}
        here = {"space": space.id, "count": count.people, "version": count.version}
        services.line.post(connection, to_frame({"type": "present", **here, **notice}))
    return True


def disconnect(services: Services, event: Event, held: Held) -> None:
    """Leave, unless the session is held by another connection, or beats, by now."""
    context = event["requestContext"]
    try:
        space = services.settings.kinds.space(held.space)
    except InvalidRequestError:
        return  # the kind is declared no more: the lease ends the visit
    services.desk.record_disconnect(
        space,
        held.session,
        context["connectionId"],
        dropped=context.get("disconnectStatusCode") in _DROPS,
        request=context["requestId"],
        now=services.clock(),
    )


def _beat(call: Call, connection: str, message: dict[str, Any]) -> tuple[Space, Count]:
    held = call.services.subscriptions.held(connection)
    if held is None:
        raise InvalidRequestError(
            "This connection holds no session: open another, with ?space= and &sessionId=."
        )
    space = call.services.settings.kinds.space(held.space)
    beat = parse_beat({**message, "sessionId": held.session}, space.id, connection)
    identity = _identity(call, held, beat)
    beat = replace(beat, facets={**held.seen, **beat.facets})  # frames have no headers
    return space, call.record_beat(space, beat, identity, connection)


def _identity(call: Call, held: Held, beat: Beat) -> Identity:
    return call.identify_as(Caller(subject=held.user, admin=held.admin), beat.user_id)


def _said(query: Mapping[str, str]) -> dict[str, Any]:
    """A beat's body from query parameters."""
    body: dict[str, Any] = {name: query[name] for name in _TEXTS if name in query}
    for name in ("seq", "facets", "changed"):
        if name in query:
            try:
                body[name] = json.loads(query[name])
            except (ValueError, RecursionError):
                raise InvalidRequestError(
                    f"'{name}' is not valid JSON: seq is digits, facets an object, changed true."
                ) from None
    return body
