"""Clients: each says everything until it is told that it was taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

from headcount.spaces import Kinds
from headcount.times import SECOND

from tests.simulator import faults
from tests.simulator.oracle import Oracle, Said
from tests.simulator.processes import Fleet
from tests.support.events import http_event
from tests.support.world import Answer

_LATEST_TWIN = 60 * SECOND


@dataclass
class _Message:
    """Something said: a beat, or with ``said`` None a leave."""

    make: Callable[[], tuple[str, Mapping[str, Any]]]  # path and body, as of the moment of asking
    said: Said | None
    token: str | None
    sent: int
    sure: bool = True  # no other message of the session is under way with it
    times: int = 1  # that it may count, at most
    under_way: int = 0
    taken: int | None = None


class Wire(Protocol):
    """A system's requests."""

    numbered: bool
    """Whether messages carry a number, so that they may overtake each other."""

    def beat(self, visitor: Visitor, who: Who, seq: int, /) -> tuple[str, dict[str, Any]]:
        """Path and body of a beat."""

    def leave(self, visitor: Visitor, seq: int, /) -> tuple[str, dict[str, Any]]:
        """Path and body of a leave."""


@dataclass(frozen=True)
class Who:
    """What a client says of itself."""

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

    def beat(self, visitor: Visitor, who: Who, seq: int) -> tuple[str, dict[str, Any]]:
        """``POST /v1/spaces/{space}/presence``."""
        said = {
            "sessionId": visitor.session,
            "visitorId": who.visitor,
            "userId": None if who.verified else who.user,
            "page": who.page,
            "facets": dict(who.facets),
            "state": who.state,
            "seq": seq,
            "engagement": {"chat": who.chats} if who.chats else None,
            "quality": {"latency": seq * 10},
            "changed": True if seq % 2 else None,  # rightly or not: it decides nothing
        }
        return f"/v1/spaces/{quote(visitor.space, safe='')}/presence", _without_nothing(said)

    def leave(self, visitor: Visitor, seq: int) -> tuple[str, dict[str, Any]]:
        """``POST .../presence/leave``."""
        path = f"/v1/spaces/{quote(visitor.space, safe='')}/presence/leave"
        return path, {"sessionId": visitor.session, "seq": seq}


class Link:
    """002's: it says who it is when it joins, and counts nothing."""

    numbered = False

    def beat(self, visitor: Visitor, who: Who, _: int) -> tuple[str, dict[str, Any]]:
        """``join``, and ``heartbeat`` while it is sure to be there."""
        action = "heartbeat" if visitor.surely_there else "join"
        said = {"action": action, "sessionId": visitor.session, "fingerprint": who.visitor}
        return self._path(visitor), {**said, "currentPage": int(who.page)}

    def leave(self, visitor: Visitor, _: int) -> tuple[str, dict[str, Any]]:
        """``leave``."""
        return self._path(visitor), {"action": "leave", "sessionId": visitor.session}

    def _path(self, visitor: Visitor) -> str:
        return f"/api/send/realtime/{visitor.space.partition(':')[2]}"


class Traffic:
    """004's heartbeats, of a browser's one session; they never say that they leave."""

    numbered = False

    def beat(self, visitor: Visitor, who: Who, _: int) -> tuple[str, dict[str, Any]]:
        """``POST /api/heartbeats``."""
        said = {"sessionId": visitor.session, "userId": who.user, "pagePath": who.page}
        return "/api/heartbeats", _without_nothing(said)

    def leave(self, visitor: Visitor, _: int) -> tuple[str, dict[str, Any]]:
        """Another client of the same session may."""
        path = f"/v1/spaces/{quote(visitor.space, safe='')}/presence/leave"
        return path, {"sessionId": visitor.session}


class Visitor:
    """One tab in one space."""

    def __init__(
        self,
        fleet: Fleet,
        oracle: Oracle,
        kinds: Kinds,
        *,
        session: str,
        space: str,
        wire: Wire,
        who: Who,
        token: Callable[[str], str],
        report: Callable[[str], None],
    ) -> None:
        self.session = session
        self.space = space
        self.wire = wire
        self.who = who
        self.wanted = False
        """It means to be there: it goes on beating."""
        self.proven = False
        """Some beat came with a token."""
        self._fleet = fleet
        self._loop = fleet.loop
        self._oracle = oracle
        self._kind = kinds.space(space).kind
        self._token = token
        self._report = report
        self._seq = 0
        self._waiting: deque[_Message] = deque()

    @property
    def waits(self) -> bool:
        """For an answer."""
        return bool(self._waiting)

    @property
    def surely_there(self) -> bool:
        """It beat, has not left since, and its lease is far from its end."""
        stay = self._oracle.stays.get((self.space, self.session))
        if stay is None or stay.said is None or stay.left is not None:
            return False
        return self._loop.now < stay.said.ends[0] - 20 * SECOND

    def beat(self, **changes: Any) -> bool:
        """Say that it is here, and what is new; False if it can't say anything now."""
        if self.waits:
            return False
        self.who = replace(self.who, **changes)
        self.proven |= self.who.verified
        self.wanted = True
        self._seq += 1
        who, seq = self.who, self._seq
        pages = (("page", who.page), *who.facets)
        said = Said(
            space=self.space,
            session=self.session,
            user=who.user,
            visitor=_visitor(self.wire, who),
            facets=pages,
            facts=(who.user, who.visitor, pages, who.state, who.verified),
            lease=self._kind.lease_for(who.state) * SECOND,
            sent=0,
            taken=0,
        )
        token = self._token(who.user) if who.verified and who.user else None
        self._send(_Message(lambda: self.wire.beat(self, who, seq), said, token, self._loop.now))
        return True

    def leave(self, *, overtaking: bool = False) -> bool:
        """Say that it leaves, also while a beat is under way if messages are numbered."""
        if self.waits and not (overtaking and self.wire.numbered):
            return False
        self.wanted = False
        self._seq += 1
        seq = self._seq
        self._send(_Message(lambda: self.wire.leave(self, seq), None, None, self._loop.now))
        return True

    # ------------------------------------------------------------------------------------- how so

    def _send(self, message: _Message) -> None:
        if self._waiting:
            self._fleet.faults.count(faults.OVERTAKEN)
            message.sure = False
            for other in self._waiting:
                other.sure = False
        self._waiting.append(message)
        message.under_way = 1
        self._loop.start(lambda: self._insist(message))
        if self._fleet.faults.strikes(faults.REQUEST_TWICE):
            random = self._fleet.faults.random
            for _ in range(random.randint(1, 4)):
                late = random.randint(0, _LATEST_TWIN) if self.wire.numbered else 0
                self._loop.start(lambda: self._once(message), after=random.choice((0, late)))
                if not self.wire.numbered:
                    message.under_way += 1
                    message.times += 1

    def _once(self, message: _Message) -> None:
        """A request that somebody sent again; nobody waits for its answer."""
        self._ask(message)
        if not self.wire.numbered:
            self._taken(message)

    def _insist(self, message: _Message) -> None:
        while not self._ask(message):
            self._loop.pause(self._fleet.faults.random.randint(200, 4_000))
            message.times += not self.wire.numbered
        self._taken(message)

    def _ask(self, message: _Message) -> bool:
        """One request; True when its answer says that it was taken."""
        headers = {"authorization": f"Bearer {message.token}"} if message.token else {}
        calm = not self._fleet.faults.on
        path, body = message.make()
        request = self._fleet.new_id()
        event = http_event("POST", path, body=body, headers=headers, request=request)
        outcome = self._fleet.invoke("api", event)
        if not outcome.ok:
            return False
        answer = Answer.of(outcome.value)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return False  # its copies were too many
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            if calm:
                self._report(f"{answer.status} in calm weather: {answer.body}")
            return False
        if answer.status != HTTPStatus.OK:
            self._report(f"{path} was answered {answer.status}: {answer.body}")
        return not self._fleet.faults.strikes(faults.REQUEST_LOST)

    def _taken(self, message: _Message) -> None:
        message.under_way -= 1
        if message.under_way > 0:
            return
        message.taken = self._loop.now
        while self._waiting and self._waiting[0].taken is not None:
            self._tell(self._waiting.popleft())

    def _tell(self, message: _Message) -> None:
        assert message.taken is not None
        if message.said is None:
            self._oracle.leave(self.space, self.session, sent=message.sent, taken=message.taken)
            return
        said = replace(message.said, sent=message.sent, taken=message.taken)
        # Without a number, a request that botocore made twice may count twice around another.
        times = message.times if self.wire.numbered else 2 * message.times
        self._oracle.beat(said, sure=message.sure, times=times)


def _visitor(wire: Wire, who: Who) -> str | None:
    return None if isinstance(wire, Traffic) else who.visitor


def _without_nothing(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}
