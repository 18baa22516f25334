"""Presence by connection: a WebSocket holds a session, which is present while it is open.

Connecting is the join and closing is the leave. In between, a beat every few minutes keeps the
connection open and carries changes. All of them are recorded like beats and leaves over HTTP.

A socket may also, or only, listen to its space's count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headcount.errors import InvalidRequestError, RateLimitError, RequestError
from headcount.model.access import Action, Caller, Scope, covers
from headcount.model.beat import Beat
from headcount.model.feed import Feed
from headcount.model.pushes import COUNT, PEOPLE, topic_of
from headcount.model.session import HeldSession
from headcount.model.space import Space
from headcount.usecases.deliver import to_frame
from headcount.usecases.socket import parse_frame
from headcount.web.calls import BeatResult, Call, Identity
from headcount.web.http import Event
from headcount.web.parsing import parse_beat

if TYPE_CHECKING:
    from headcount.wiring import Services

RETURNING = 4000
"""The close code of a client whose page has closed: it may be back, on the site's next page."""

MAX_REFUSALS = 10
"""Beats above the session's limit that are answered, in each process, before the connection is
closed."""

FREE_FRAMES = 5
"""Frames of a connection other than valid beats that each process does not charge: a write each
would cost more than they do."""

MAX_LISTENER_FRAMES = 30
"""Frames of a connection that only listens before each process closes it: one that pings before API
Gateway finds it silent sends less than half of that."""

_LOST = 1006  # the network failed, no close frame came
_TEXTS = ("sessionId", "visitorId", "userId", "name", "avatar", "page", "state")


def holds_session(event: Event) -> bool:
    """Whether the connection is to hold a session or to listen, rather than to subscribe to
    spaces."""
    query = event.get("queryStringParameters") or {}
    return not {"space", "sessionId", "listen"}.isdisjoint(query)


def connect(services: Services, event: Event) -> None:
    """Join with a beat made from the query parameters.

    They are ``space`` and the fields of a beat: ``sessionId``, ``visitorId``, ``userId``, ``name``,
    ``avatar``, ``page`` and ``state`` as text, ``seq``, ``facets`` and ``changed`` as JSON. With
    ``listen=count`` the connection also gets the space's count; without ``sessionId`` it does
    nothing else. Raises RequestError if it is refused; nothing is then stored.
    """
    call = Call.from_socket_event(services, event)
    connection = event["requestContext"]["connectionId"]
    if not call.query("space"):
        raise InvalidRequestError("'space' is missing: send ?space=site:main&sessionId=s1.")
    space = services.settings.kinds.space(call.query("space") or "")
    form = _form(call, space)
    if form is not None and call.query("sessionId") is None:
        call.admit_listener(space)
        services.subscriptions.listen(connection, now=call.now)
    else:
        _join(call, space, connection)
    if form is not None:  # nothing can be sent before the connection is established
        services.deferred_queue.greet(connection, Feed(topic_of(space.id), form))


def _form(call: Call, space: Space) -> str | None:
    """How the connection hears the space's count; None: not at all. Raises RequestError."""
    wanted = call.query("listen")
    if wanted is None:
        return None
    if wanted != COUNT:
        raise InvalidRequestError("'listen' must be count, or omitted.")
    call.require_counts(space)
    return PEOPLE if call.may_see_names(space) else COUNT


def _join(call: Call, space: Space, connection: str) -> None:
    services = call.services
    beat = parse_beat(_beat_body(call.request.query), space.id, connection)
    caller = call.caller()
    call.record_beat(space, beat, call.identify_as(caller, beat.user_id), connection)
    held = HeldSession(space.id, beat.session_id, robot=call.robot, seen=call.observed_facets())
    if caller is not None:
        # Not for admins: each of their frames names its user.
        user = None if caller.admin else caller.subject
        reads = covers(caller.spaces(Action.READ), space.id)
        held = replace(held, user=user, admin=caller.admin, reads=reads)
    services.subscriptions.hold(connection, held, now=call.now)


def handle_frame(services: Services, event: Event) -> bool:
    """Record the frame's beat; False if the frame is not a beat, and to be answered as a
    dashboard's.

    A refused beat is answered with an error message. Any other is answered only if its ``answer``
    asks for that, because every frame is paid for. A frame that is no beat, or not a valid one,
    counts as a message of the session: a connection that exceeds the limit is closed.
    """
    connection = event["requestContext"]["connectionId"]
    try:
        message = parse_frame(event.get("body") or "")
    except RequestError:
        message = {}
    if message.pop("action", None) != "beat":
        return not _is_charged(services, event)
    wants_answer = message.pop("answer", False) is True
    try:
        space, result = _beat(Call.from_socket_event(services, event), connection, message)
    except RequestError as error:
        if isinstance(error, RateLimitError):
            if services.frames.refused(connection) > MAX_REFUSALS:
                services.connection_api.close(connection)
                return True
        elif not _is_charged(services, event):
            return True
        answer: dict[str, Any] = {"type": "error", "error": error.message}
        if "Retry-After" in error.headers:
            answer["retryAfter"] = int(error.headers["Retry-After"])
        services.connection_api.post(connection, to_frame(answer))
        return True
    if wants_answer:
        present: dict[str, Any] = {"type": "present", "space": space.id}
        if result.people is not None:
            present |= {"count": result.people, "version": result.version}
        if result.notice is not None:
            present["notice"] = result.notice.body()
        services.connection_api.post(connection, to_frame(present))
    return True


def _is_charged(services: Services, event: Event) -> bool:
    """Charge the session that the connection holds, if any, for a frame. False if it sends too
    many, and its connection is closed."""
    context = event["requestContext"]
    frames = services.frames.other(context["connectionId"])
    if frames <= FREE_FRAMES:
        return True
    held, listens = services.subscriptions.only_listens(context["connectionId"])
    if held is None:
        if listens and frames > MAX_LISTENER_FRAMES:
            services.connection_api.close(context["connectionId"])
            return False
        return True
    try:
        services.session_recorder.record_frame(
            held.space, held.session, request=context["requestId"], now=services.clock()
        )
    except RateLimitError:
        services.connection_api.close(context["connectionId"])
        return False
    return True


def disconnect(services: Services, event: Event, held: HeldSession) -> None:
    """Leave, unless another connection holds the session by now, or it beats over HTTP."""
    context = event["requestContext"]
    try:
        space = services.settings.kinds.space(held.space)
    except InvalidRequestError:
        return  # the kind is no longer declared: the lease ends the visit
    services.session_recorder.record_disconnect(
        space,
        held.session,
        context["connectionId"],
        dropped=context.get("disconnectStatusCode") == _LOST,
        may_return=context.get("disconnectStatusCode") == RETURNING,
        request=context["requestId"],
        now=services.clock(),
    )


def _beat(call: Call, connection: str, message: dict[str, Any]) -> tuple[Space, BeatResult]:
    held = call.services.subscriptions.held(connection)
    if held is None:
        raise InvalidRequestError(
            "This connection holds no session: open another, with ?space= and &sessionId=."
        )
    space = call.services.settings.kinds.space(held.space)
    beat = parse_beat({**message, "sessionId": held.session}, space.id, connection)
    identity = _identity(call, held, beat)
    beat = replace(beat, facets={**held.seen, **beat.facets})  # frames have no headers
    return space, call.record_beat(space, beat, identity, connection, robot=held.robot)


def _identity(call: Call, held: HeldSession, beat: Beat) -> Identity:
    scopes = frozenset({str(Scope(Action.READ, held.space))} if held.reads else ())
    caller = Caller(subject=held.user, admin=held.admin, scopes=scopes)
    return call.identify_as(caller, beat.user_id)


def _beat_body(query: Mapping[str, str]) -> dict[str, Any]:
    """The body of a beat, from query parameters."""
    body: dict[str, Any] = {name: query[name] for name in _TEXTS if name in query}
    for name in ("seq", "facets", "changed", "robot"):
        if name in query:
            try:
                body[name] = json.loads(query[name])
            except (ValueError, RecursionError):
                raise InvalidRequestError(
                    f"'{name}' is not valid JSON: seq is digits, facets an object, changed and "
                    "robot true."
                ) from None
    return body
