"""Clients: each repeats every message until it is acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol

from headcount.model.space import Kinds
from headcount.times import SECOND

from lab.harness.events import http_event, path_of
from lab.harness.template import template
from lab.harness.world import Answer
from lab.simulator import faults
from lab.simulator.oracle import Beat, Oracle
from lab.simulator.processes import Fleet

_LATEST_COPY = 60 * SECOND


@dataclass
class _Message:
    """A beat, or a leave if ``beat`` is None."""

    make: Callable[[], tuple[str, Mapping[str, Any]]]  # path and body, made for each request
    beat: Beat | None
    token: str | None
    sent: int
    sure: bool = True  # no other message of the session overlaps it
    times: int = 1  # how often it may count, at most
    under_way: int = 0
    acknowledged: int | None = None
    may_return: bool = False  # of a leave


class System(Protocol):
    """The requests of one of the systems."""

    numbered: bool
    """Whether messages have a sequence number, so that they may overtake each other."""

    def beat(self, visitor: Visitor, identity: Identity, seq: int, /) -> tuple[str, dict[str, Any]]:
        """Path and body of a beat."""

    def leave(self, visitor: Visitor, seq: int, may_return: bool, /) -> tuple[str, dict[str, Any]]:
        """Path and body of a leave. Those without a number never say that the tab may return."""


@dataclass(frozen=True)
class Identity:
    """What a client reports about itself."""

    visitor: str | None = None
    user: str | None = None
    page: str = "/"
    facets: tuple[tuple[str, str], ...] = ()
    state: str = "active"
    chats: int = 0
    verified: bool = False


class Native:
    """Our own client."""

    numbered = True

    def beat(self, visitor: Visitor, identity: Identity, seq: int) -> tuple[str, dict[str, Any]]:
        """``POST /v1/spaces/{space}/presence``."""
        body = {
            "sessionId": visitor.session,
            "visitorId": identity.visitor,
            "userId": None if identity.verified else identity.user,
            "page": identity.page,
            "facets": dict(identity.facets),
            "state": identity.state,
            "seq": seq,
            "engagement": {"chat": identity.chats} if identity.chats else None,
            "quality": {"latency": seq * 10},
            "changed": True if seq % 2 else None,  # at random: it must make no difference
        }
        return f"{path_of(visitor.space)}/presence", _without_none(body)

    def leave(self, visitor: Visitor, seq: int, may_return: bool) -> tuple[str, dict[str, Any]]:
        """``POST .../presence/leave``."""
        path = f"{path_of(visitor.space)}/presence/leave"
        return path, {"sessionId": visitor.session, "seq": seq, "mayReturn": may_return}


class Link:
    """Seed 002's client: it identifies itself when it joins; its messages have no number."""

    numbered = False

    def beat(self, visitor: Visitor, identity: Identity, _: int) -> tuple[str, dict[str, Any]]:
        """``join``, or ``heartbeat`` while its session is certainly live."""
        action = "heartbeat" if visitor.is_certainly_live else "join"
        body = {"action": action, "sessionId": visitor.session, "fingerprint": identity.visitor}
        return self._path(visitor), {**body, "currentPage": int(identity.page)}

    def leave(self, visitor: Visitor, *_: int) -> tuple[str, dict[str, Any]]:
        """``leave``."""
        return self._path(visitor), {"action": "leave", "sessionId": visitor.session}

    def _path(self, visitor: Visitor) -> str:
        return f"/api/send/realtime/{visitor.space.partition(':')[2]}"


class Traffic:
    """Seed 004's heartbeats, with one session per browser; this client never leaves."""

    numbered = False

    def beat(self, visitor: Visitor, identity: Identity, _: int) -> tuple[str, dict[str, Any]]:
        """``POST /api/heartbeats``."""
        body = {"sessionId": visitor.session, "userId": identity.user, "pagePath": identity.page}
        return "/api/heartbeats", _without_none(body)

    def leave(self, visitor: Visitor, *_: int) -> tuple[str, dict[str, Any]]:
        """A leave by another client of the same session."""
        path = f"{path_of(visitor.space)}/presence/leave"
        return path, {"sessionId": visitor.session}


class Visitor:
    """A tab in a space."""

    def __init__(
        self,
        fleet: Fleet,
        oracle: Oracle,
        kinds: Kinds,
        *,
        session: str,
        space: str,
        system: System,
        identity: Identity,
        token: Callable[[str], str],
        report: Callable[[str], None],
    ) -> None:
        self.session = session
        self.space = space
        self.system = system
        self.identity = identity
        self.wanted = False
        """Whether it keeps sending beats."""
        self.proven = False
        """Whether any beat had a token."""
        self._fleet = fleet
        self._loop = fleet.loop
        self._oracle = oracle
        self._kind = kinds.space(space).kind
        self._token = token
        self._report = report
        self._seq = 0
        self._waiting: deque[_Message] = deque()

    @property
    def is_waiting(self) -> bool:
        """Whether a message is not acknowledged yet."""
        return bool(self._waiting)

    @property
    def is_certainly_live(self) -> bool:
        """Whether it sent a beat, has not left since, and its lease lasts for a while."""
        state = self._oracle.sessions.get((self.space, self.session))
        if state is None or state.beat is None or state.left is not None:
            return False
        return self._loop.now < state.beat.ends[0] - 20 * SECOND

    def beat(self, **changes: Any) -> bool:
        """Send a beat with changes; False if another message is not acknowledged yet."""
        if self.is_waiting:
            return False
        self.identity = replace(self.identity, **changes)
        self.proven |= self.identity.verified
        self.wanted = True
        self._seq += 1
        identity, seq = self.identity, self._seq
        pages = (("page", identity.page), *identity.facets)
        beat = Beat(
            space=self.space,
            session=self.session,
            user=identity.user,
            verified=identity.verified,
            visitor=_visitor(self.system, identity),
            facets=pages,
            facts=(identity.user, identity.visitor, pages, identity.state, identity.verified),
            lease=self._kind.lease_for(identity.state) * SECOND,
            sent=0,
            acknowledged=0,
        )
        token = self._token(identity.user) if identity.verified and identity.user else None
        self._send(
            _Message(lambda: self.system.beat(self, identity, seq), beat, token, self._loop.now)
        )
        return True

    def leave(self, *, overtaking: bool = False, may_return: bool = False) -> bool:
        """Send a leave; ``overtaking``: also during a beat, if messages have numbers;
        ``may_return``: a page has closed, and the tab may be back."""
        if self.is_waiting and not (overtaking and self.system.numbered):
            return False
        self.wanted = False
        self._seq += 1
        seq, may_return = self._seq, may_return and self.system.numbered
        self._send(
            _Message(
                lambda: self.system.leave(self, seq, may_return),
                None,
                None,
                self._loop.now,
                may_return=may_return,
            )
        )
        return True

    # ------------------------------------------------------------------------------------ sending

    def _send(self, message: _Message) -> None:
        if self._waiting:
            self._fleet.faults.count(faults.OVERTAKEN)
            message.sure = False
            for other in self._waiting:
                other.sure = False
        self._waiting.append(message)
        message.under_way = 1
        self._loop.start(lambda: self._repeat(message))
        if self._fleet.faults.strikes(faults.REQUEST_TWICE):
            random = self._fleet.faults.random
            for _ in range(random.randint(1, 4)):
                late = random.randint(0, _LATEST_COPY) if self.system.numbered else 0
                self._loop.start(lambda: self._send_copy(message), after=random.choice((0, late)))
                if not self.system.numbered:
                    message.under_way += 1
                    message.times += 1

    def _send_copy(self, message: _Message) -> None:
        """Send a duplicate of a request, and ignore its answer."""
        self._ask(message)
        if not self.system.numbered:
            self._acknowledge(message)

    def _repeat(self, message: _Message) -> None:
        while not self._ask(message):
            self._loop.pause(self._fleet.faults.random.randint(200, 4_000))
            message.times += not self.system.numbered
        self._acknowledge(message)

    def _ask(self, message: _Message) -> bool:
        """Send a request; True if its answer acknowledges the message."""
        headers = {"authorization": f"Bearer {message.token}"} if message.token else {}
        without_faults = not self._fleet.faults.on
        path, body = message.make()
        request = self._fleet.new_id()
        event = http_event("POST", path, body=body, headers=headers, request=request)
        outcome = self._fleet.invoke(template().function_of("POST", path), event)
        if not outcome.ok:
            return False
        answer = Answer.of(outcome.value)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return False  # too many copies
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            if without_faults:
                self._report(f"{answer.status} without any fault: {answer.body}")
            return False
        if answer.status != HTTPStatus.OK:
            self._report(f"{path} was answered {answer.status}: {answer.body}")
        return not self._fleet.faults.strikes(faults.REQUEST_LOST)

    def _acknowledge(self, message: _Message) -> None:
        message.under_way -= 1
        if message.under_way > 0:
            return
        message.acknowledged = self._loop.now
        while self._waiting and self._waiting[0].acknowledged is not None:
            self._add_to_oracle(self._waiting.popleft())

    def _add_to_oracle(self, message: _Message) -> None:
        assert message.acknowledged is not None
        if message.beat is None:
            self._oracle.leave(
                self.space,
                self.session,
                sent=message.sent,
                acknowledged=message.acknowledged,
                sure=message.sure,
                may_return=message.may_return,
            )
            return
        beat = replace(message.beat, sent=message.sent, acknowledged=message.acknowledged)
        # Without a number, a write that botocore repeated may count twice, around another message.
        times = message.times if self.system.numbered else 2 * message.times
        self._oracle.beat(beat, sure=message.sure, times=times)


def _visitor(system: System, identity: Identity) -> str | None:
    return None if isinstance(system, Traffic) else identity.visitor


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
