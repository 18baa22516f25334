"""Course viewers for Convex's reactive clients: what they send over the sync socket.

A connection is opened at ``/api/<version>/sync``. Frames are checked and made ``Cause``s here; a
queue puts them in order, and ``course_viewers_sync`` tells the client what follows from them. Only
a mutation is run here, at once: the client's id and the request's number make it a message of a
tab, so that mutations that overtake each other, or are sent again after a reconnect, do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from headcount.errors import BusyError, RequestError, UnauthorizedError
from headcount.logs import logger
from headcount.model.space import Space
from headcount.model.sync import (
    Connected,
    Identified,
    Modified,
    ProtocolError,
    Settled,
    SyncState,
    Watched,
    auth_error,
    fatal_error,
    pack,
    read_timestamp,
    unpack_state,
)
from headcount.times import SECOND
from headcount.usecases.deliver import to_frame
from headcount.web.calls import BeatResult, Call
from headcount.web.http import MAX_BODY, Event

if TYPE_CHECKING:
    from headcount.model.access import Caller
    from headcount.wiring import Services

HOLD = SECOND // 2
"""How long after it was sent a mutation of nobody waits for a token, which was sent before it and
may be overtaken; in milliseconds."""
LONG_HOLD = 2 * SECOND
"""How long one waits that fails without a token, and a query that needs one."""
MAX_HOLDS = 5
"""Frames of a connection that wait. A client that sends more without a token has none."""
_POLL = 0.1

_Number = Annotated[int, Meta(ge=0, lt=2**32)]
_Path = Annotated[str, Meta(max_length=200)]


class _Sent(Struct, tag_field="type", rename="camel"):
    """A message of the client, as far as it matters here."""


class _Connect(_Sent, tag="Connect"):
    session_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    max_observed_timestamp: str | None = None


class _Add(_Sent, tag="Add"):
    query_id: _Number
    udf_path: _Path
    args: Any = field(default_factory=list)
    component_path: str | None = None


class _Remove(_Sent, tag="Remove"):
    query_id: _Number


class _ModifyQuerySet(_Sent, tag="ModifyQuerySet"):
    base_version: _Number
    new_version: _Number
    modifications: list[_Add | _Remove]


class _Authenticate(_Sent, tag="Authenticate"):
    token_type: Literal["User", "Admin", "None"]
    base_version: _Number
    value: str = ""


class _Mutation(_Sent, tag="Mutation"):
    request_id: _Number
    udf_path: _Path
    args: Any = field(default_factory=list)
    component_path: str | None = None


class _Action(_Sent, tag="Action"):
    request_id: _Number
    udf_path: _Path


class _Event(_Sent, tag="Event"):
    pass


_Frame = _Connect | _ModifyQuerySet | _Authenticate | _Mutation | _Action | _Event


class SyncCall(Call, frozen=True):
    """A call by a sync socket's client: its identity and device are those of the connection."""

    state: SyncState
    changes: list[str] = field(default_factory=list)
    """The spaces in which the call changed something."""

    def caller(self) -> Caller | None:
        """The caller whose token the client sent last, as long as it proves them."""
        return self.state.caller_at(self.now)

    def authenticate(self) -> Caller | None:
        """As ``caller``: a token that is not valid was refused when it came."""
        return self.caller()

    @property
    def has_token(self) -> bool:
        """Whether the client sent a token."""
        return self.state.caller is not None

    @property
    def source(self) -> str:
        """An alias of the network that the client connected from."""
        return self.state.source

    @property
    def robot(self) -> str | None:
        """The robot that connected."""
        return self.state.robot

    def observed_facets(self) -> dict[str, str]:
        """The facets of the request that opened the connection."""
        return dict(self.state.seen)

    def record_beat(self, space: Space, *given: Any, **named: Any) -> BeatResult:
        """As ``Call.record_beat``; notes whether it changed the space."""
        result = Call.record_beat(self, space, *given, **named)
        if result.changed:
            self.changes.append(space.id)
        return result

    def record_leave(self, space: Space, *given: Any, **named: Any) -> None:
        """As ``Call.record_leave``; notes that it may have changed the space."""
        self.changes.append(space.id)
        Call.record_leave(self, space, *given, **named)


def connect(services: Services, event: Event) -> None:
    """A client connects; anyone may. RateLimitError if too many come from its network."""
    call = Call.from_socket_event(services, event)
    state = SyncState(
        since=call.now,
        source=services.join_limits.admit_connection(call.source, call.now),
        seen=call.observed_facets(),
        robot=call.robot,
    )
    connection = event["requestContext"]["connectionId"]
    services.subscriptions.open_sync(connection, pack(state), now=call.now)


def receive(services: Services, event: Event, message: Mapping[str, Any]) -> bool:
    """Handle a frame; False if its connection does not speak this protocol.

    A frame that breaks the protocol is answered with its FatalError, which ends the client. If
    anything else fails, the connection is closed: the client comes back, with all that it still
    waits for.
    """
    connection = event["requestContext"]["connectionId"]
    try:
        found = services.subscriptions.sync(connection)
        if found is None:
            if services.subscriptions.connected_at(connection) is not None:
                return False
            services.connection_api.close(connection)  # it starts over, or is gone
            return True
        if len(event.get("body") or "") > MAX_BODY:
            refuse(services, connection, f"A message has at most {MAX_BODY} characters.")
            return True
        frame = msgspec.convert(message, type=_Frame)
        _Received(services, event, connection).handle(frame, unpack_state(found[0]))
    except msgspec.ValidationError as error:
        refuse(services, connection, f"The message is not valid: {error}.")
    except ProtocolError as error:
        refuse(services, connection, str(error))
    except Exception:
        logger().exception("a frame of a sync socket failed")
        services.connection_api.close(connection)
    return True


def refuse(services: Services, connection: str, error: str) -> None:
    """End a client that does not keep to the protocol."""
    services.connection_api.post(connection, to_frame(fatal_error(error)))
    services.connection_api.close(connection)


class _Received(Struct, frozen=True):
    """A frame of a connection, and what handling it takes."""

    services: Services
    event: Event
    connection: str

    def handle(self, frame: _Frame, state: SyncState) -> None:
        match frame:
            case _Connect():
                observed = frame.max_observed_timestamp
                seen = read_timestamp(observed) if observed is not None else 0
                self.services.subscriptions.name_client(self.connection, frame.session_id)
                self._queue(Connected(frame.session_id, seen))
            case _ModifyQuerySet():
                self._modify(frame, state)
            case _Authenticate():
                self._authenticate(frame)
            case _Mutation():
                self._mutate(frame, state)
            case _Action():
                self._answer_action(frame)
            case _Event():
                pass  # of the client's own debugging

    def _queue(self, cause: Connected | Modified | Identified | Settled) -> None:
        self.services.sync_queue.send(self.connection, pack(cause))

    def _say(self, message: Mapping[str, Any]) -> None:
        self.services.connection_api.post(self.connection, to_frame(message))

    def _modify(self, frame: _ModifyQuerySet, state: SyncState) -> None:
        added: dict[int, Watched] = {}
        removed: list[int] = []
        for one in frame.modifications:
            if isinstance(one, _Remove):
                added.pop(one.query_id, None)
                removed.append(one.query_id)
            else:
                added[one.query_id] = self._watched(one, state)
        if any(self._needs_token(one) for one in added.values()):
            self._wait_for_token(state, LONG_HOLD)
        self._queue(Modified(frame.base_version, frame.new_version, added, removed))

    def _watched(self, asked: _Add, state: SyncState) -> Watched:
        """A query, with the arguments that its value depends on."""
        from headcount.systems import course_viewers
        from headcount.systems import course_viewers_convex as convex
        from headcount.web.bodies import parse

        path = asked.udf_path.replace(".js:", ":", 1)
        try:
            function = convex.function_at(path, "Query")
            lists = function.run is convex.active_viewers
            args = parse(convex.List if lists else convex.Course, _arguments(asked.args))
            space = course_viewers.course(self._call(state), args.course_id).id
        except RequestError as error:
            return Watched("", error=convex.message_of(error))
        kept: dict[str, Any] = {"courseId": args.course_id}
        if isinstance(args, convex.List) and args.limit is not None:
            kept["limit"] = min(args.limit, course_viewers.MAX_COURSE_VIEWERS)
        return Watched(path, kept, space)

    def _needs_token(self, query: Watched) -> bool:
        if query.space is None:
            return False
        kind = self.services.settings.kinds.space(query.space).kind
        return not kind.counts_are_public or (
            query.path.endswith("ActiveViewers") and kind.names != "public"
        )

    def _authenticate(self, frame: _Authenticate) -> None:
        caller, until = None, 0
        try:
            match frame.token_type:
                case "User":
                    caller, until = self.services.verifier.verify_until(frame.value)
                case "Admin":
                    raise UnauthorizedError("Deploy keys are not accepted here. Send a user's JWT.")
        except BusyError:
            self.services.connection_api.close(self.connection)  # it tries again, later
            return
        except UnauthorizedError as error:
            self._say(auth_error(error.message, frame.base_version, attempted=True))
            return
        self._queue(Identified(frame.base_version, caller, until))

    def _mutate(self, frame: _Mutation, state: SyncState) -> None:
        _named(frame.args)
        state = self._wait_for_token(state, HOLD)
        if state.client is None:
            # Without it, this mutation has no place among those before and after it.
            client = self.services.subscriptions.client_of(self.connection)
            state = replace(state, client=client) if client else state
        if state.client is None:
            state = self._wait_for_token(state, LONG_HOLD)
        if state.client is None:
            self.services.connection_api.close(self.connection)  # its first frame was lost
            return
        call, error = self._run(frame, state)
        if error is not None and state.caller is None:
            later = self._wait_for_token(state, LONG_HOLD)
            if later.caller is not None:
                state = replace(later, client=state.client)
                call, error = self._run(frame, state)
        if state.caller is not None and state.caller_at(call.now) is None:
            expired = "The token has expired. Get a new one."
            self._say(auth_error(expired, max(0, state.identity - 1), attempted=False))
            return
        space = call.changes[-1] if call.changes and error is None else None
        self._queue(Settled(frame.request_id, error, space))

    def _run(self, frame: _Mutation, state: SyncState) -> tuple[SyncCall, str | None]:
        """Run a mutation; returns why it failed, if it did."""
        from headcount.systems import course_viewers_convex as convex

        call = self._call(state)
        if state.caller is not None and call.caller() is None:
            return call, None  # the token has expired: the client will send it again with another
        try:
            function = convex.function_at(frame.udf_path, "Mutation")
            args = _arguments(frame.args)
            if not {"tabId", "seq"} & args.keys():
                args |= {"tabId": state.client, "seq": frame.request_id + 1}
            function.run(call, args)
        except BusyError:
            raise  # the client comes back and tries again
        except RequestError as error:
            return call, convex.message_of(error)
        return call, None

    def _answer_action(self, frame: _Action) -> None:
        from headcount.systems import course_viewers_convex as convex

        try:
            convex.function_at(frame.udf_path, "Action")
            error = "There are no actions."
        except RequestError as refused:
            error = convex.message_of(refused)
        self._say(
            {
                "type": "ActionResponse",
                "requestId": frame.request_id,
                "success": False,
                "result": error,
                "logLines": [],
            }
        )

    def _call(self, state: SyncState) -> SyncCall:
        call = Call.from_socket_event(self.services, self.event)
        return SyncCall(self.services, call.request, {}, state)

    def _wait_for_token(self, state: SyncState, hold: int) -> SyncState:
        """Wait until the client's name is known, and its token if it sent one before this frame;
        at most ``hold`` milliseconds since the frame was sent."""
        services = self.services
        sent_at = self.event["requestContext"].get("requestTimeEpoch", services.clock())
        until = min(sent_at, services.clock()) + hold
        if _is_known(state, services.clock()) or services.clock() >= until:
            return state
        if state.settled >= MAX_HOLDS:  # without a write
            return state
        if not services.subscriptions.allow_wait(self.connection, MAX_HOLDS):
            return state
        while not _is_known(state, services.clock()) and services.clock() < until:
            services.sleep(_POLL)
            found = services.subscriptions.sync(self.connection)
            if found is None:
                break
            state = unpack_state(found[0])
        return state


def _is_known(state: SyncState, now: int) -> bool:
    return state.client is not None and state.caller_at(now) is not None


def _arguments(args: object) -> dict[str, Any]:
    """The decoded arguments of a call. Raises ProtocolError, or RequestError for a bad encoding."""
    from headcount.systems.course_viewers_convex import decoded

    return decoded(_named(args))


def _named(args: object) -> dict[str, Any]:
    """The object of named arguments. Raises ProtocolError."""
    from headcount.systems.course_viewers_convex import one_object

    try:
        named: dict[str, Any] = one_object(args)
    except ValueError as error:
        raise ProtocolError(f"args {error}") from None
    return named
