"""Course viewers for Convex's reactive clients: what they are sent over the sync socket.

All that happens to a connection comes through one message group of a queue: frames that changed its
queries or identity, mutations that were run, and new versions of courses that it watches. For each,
its queries are evaluated, its next state is stored, and only then is it sent what changed. A crash
in between leaves open whether it was. The queue brings the message again, the state says that it
was applied, and the connection is closed: its client comes back by itself and starts from nothing.
So it never gets a Transition twice, or one that does not follow the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headcount.errors import ForbiddenError, RequestError, UnauthorizedError
from headcount.logs import logger
from headcount.model.sync import (
    Cause,
    Changed,
    LostError,
    ProtocolError,
    Result,
    Step,
    SyncState,
    Watched,
    apply,
    auth_error,
    fatal_error,
    finish,
    pack,
    unpack_cause,
    unpack_state,
)
from headcount.systems import course_viewers_convex as convex
from headcount.systems.course_viewers_frames import SyncCall
from headcount.times import growing_wait
from headcount.usecases.deliver import Outcome, to_frame
from headcount.usecases.queues import SyncTask
from headcount.web.http import Request

if TYPE_CHECKING:
    from headcount.model.access import Caller
    from headcount.wiring import Services

_THROTTLED_TRIES = 6
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 3.0
"""Seconds between two tries of a throttled post. A post that fails otherwise may have arrived."""


class Syncer:
    """Tells connections what happened."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handle(self, record: Mapping[str, Any]) -> None:
        """Handle a message of the queue. Raises if a dependency fails: it is retried, and those
        connections that were updated already start over."""
        task = SyncTask.from_json(record["body"])
        cause = unpack_cause(task.cause)
        evaluations = Evaluations(self._services)
        tell = partial(self._tell, cause, record["messageId"], evaluations)
        if len(task.connections) == 1:
            tell(task.connections[0])
            return
        failed = self._services.broadcaster.pool.map(
            partial(self._tell_safely, tell), task.connections
        )
        if lost := [one for one in failed if one is not None]:
            for connection in lost:
                self._start_over(connection)

    def _tell_safely(self, tell: Callable[[str], None], connection: str) -> str | None:
        """Tell one of many; returns it if that failed."""
        try:
            tell(connection)
        except Exception:
            logger().exception("a sync socket was not updated")
            return connection
        return None

    def _tell(self, cause: Cause, message: str, evaluations: Evaluations, connection: str) -> None:
        here = self._services
        subscriptions = here.subscriptions
        found = subscriptions.sync(connection)
        if found is None:  # gone
            if isinstance(cause, Changed):
                subscriptions.remove(cause.space, connection)
            return
        before, revision = unpack_state(found[0]), found[1]
        if before.last == message:  # it may have been sent, or not
            self._start_over(connection)
            return
        now = here.clock()
        try:
            step = apply(before, cause, now)
            news = step.state.spaces() - before.spaces()
            for space in sorted(news):
                # Before it is evaluated: a version that is published from now on comes here.
                subscriptions.add_sync(space, connection, now=now)
            results, expired = evaluations.of(step, now)
            after, messages = finish(before, step, results, now)
        except ProtocolError as error:
            here.broadcaster.connection_api.post(connection, to_frame(fatal_error(str(error))))
            self._start_over(connection)
            return
        except LostError as error:
            logger().info("a sync socket starts over", extra={"reason": str(error)})
            self._start_over(connection)
            return
        if expired:
            base = max(0, after.identity - 1)
            text = "The token has expired. Get a new one."
            messages.append(auth_error(text, base, attempted=False))
        if after == before and not messages:
            return
        user = after.caller.subject if after.caller is not None else None
        state = pack(replace(after, last=message))
        if not subscriptions.save_sync(connection, state, revision, user=user, now=now):
            self._undo(connection, news)
            return
        self._post(connection, messages)
        for space in sorted(before.spaces() - after.spaces()):
            subscriptions.remove(space, connection)

    def _undo(self, connection: str, spaces: set[str]) -> None:
        """The state was stored by another, or the connection ended meanwhile."""
        if self._services.subscriptions.sync(connection) is not None:
            self._start_over(connection)
        for space in sorted(spaces):
            self._services.subscriptions.remove(space, connection)

    def _post(self, connection: str, messages: list[dict[str, Any]]) -> None:
        """Send messages in order. If one may not have arrived, the connection starts over."""
        here = self._services
        for message in messages:
            frame = to_frame(message)
            for tries in range(1, _THROTTLED_TRIES + 1):
                outcome = here.broadcaster.connection_api.post(connection, frame)
                if outcome is not Outcome.THROTTLED:
                    break
                here.sleep(
                    growing_wait(tries, _FIRST_WAIT, _LONGEST_WAIT) * (1 + here.chance()) / 2
                )
            if outcome is Outcome.GONE:
                here.subscriptions.disconnect(connection)
                return
            if outcome is not Outcome.SENT:
                self._start_over(connection)
                return

    def _start_over(self, connection: str) -> None:
        # In this order: a retry after a crash in between finds it, and does both again.
        self._services.closing_queue.send([connection])
        self._services.subscriptions.disconnect(connection)


class Evaluations:
    """Evaluates queries for one message of the queue, each once for all that see the same.

    They read after the message was received, and so after what it reports."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = Lock()
        self._known: dict[tuple[str, str], Result | RequestError] = {}

    def of(self, step: Step, now: int) -> tuple[dict[int, Result], bool]:
        """The results of a step's queries. Those that the client's token no longer allows are left
        out; then the second value is True."""
        caller = step.state.caller_at(now)
        has_expired = caller is None and step.state.caller is not None
        results: dict[int, Result] = {}
        expired = False
        for number in step.evaluate:
            found = self._evaluated(step.state.queries[number], caller)
            if isinstance(found, Result):
                results[number] = found
            elif has_expired and isinstance(found, UnauthorizedError | ForbiddenError):
                expired = True
            else:
                results[number] = Result(error=convex.message_of(found))
        return results, expired

    def _evaluated(self, query: Watched, caller: Caller | None) -> Result | RequestError:
        if query.error is not None:
            return Result(error=query.error)
        key = (f"{query.path} {sorted(query.args.items())}", repr(caller))
        with self._lock:
            if key not in self._known:
                self._known[key] = self._evaluate(query, caller)
            return self._known[key]

    def _evaluate(self, query: Watched, caller: Caller | None) -> Result | RequestError:
        state = SyncState(caller=caller, until=2**62)
        call = SyncCall(self._services, _NO_REQUEST, {}, state)
        try:
            return Result(convex.function_at(query.path, "Query").run(call, query.args))
        except RequestError as error:
            return error


_NO_REQUEST = Request(
    id="", method="GET", path="/ws", query={}, headers={}, cookies=[], event={"requestContext": {}}
)
