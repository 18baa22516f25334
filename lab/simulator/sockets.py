"""The WebSocket API, and the dashboards and listeners that connect to it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from botocore.exceptions import ReadTimeoutError
from headcount.model.pushes import PushBudget
from headcount.times import HOUR, MINUTE, SECOND

from lab.harness.events import socket_event
from lab.harness.fakes import aws_error
from lab.simulator import faults
from lab.simulator.processes import Fleet

LONGEST = 2 * HOUR
"""The time after which API Gateway ends every connection."""

_ANSWER_WITHIN = 20 * SECOND


class Client(Protocol):
    """The other end of a connection."""

    def receive(self, connection: Connection, frame: dict[str, Any]) -> None:
        """Handle a frame."""

    def closed(self, connection: Connection) -> None:
        """The server closed a connection."""


@dataclass
class Connection:
    """A WebSocket connection."""

    id: str
    client: Client
    up_at: int = 0  # before that, posts are answered 410, as after it is closed
    open: bool = True
    newest: dict[str, int] = field(default_factory=dict)  # space -> highest received version
    frames: dict[str, dict[str, Any]] = field(default_factory=dict)  # space -> that version


class Gateway:
    """API Gateway's management API."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self.connections: dict[str, Connection] = {}

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        """Post a frame."""
        connection = self.connections.get(ConnectionId)
        if connection is None or not connection.open or self._loop.now < connection.up_at:
            raise aws_error("GoneException", 410, "PostToConnection")
        arrives = self._fleet.faults.random.random() < 0.5
        slow = self._fleet.faults.strikes(faults.SLOW_POST)
        if arrives or not slow:
            connection.client.receive(connection, json.loads(Data))
        if slow:
            raise ReadTimeoutError(endpoint_url="https://example.test")

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        """Close a connection; its client notices."""
        connection = self.connections.get(ConnectionId)
        if connection is None or not connection.open:
            raise aws_error("GoneException", 410, "DeleteConnection")
        self.close(connection)
        connection.client.closed(connection)

    def close(self, connection: Connection, *, notify: bool = True) -> None:
        """End a connection; the function is notified later, or never."""
        connection.open = False
        if not notify:
            return
        event = socket_event("DISCONNECT", connection.id)
        late = self._fleet.faults.random.choice((50, 500, 5_000, 60_000))
        self._loop.start(lambda: self._fleet.invoke("socket", event), after=late)


class _Reconnecting(ABC):
    """A client that connects again when its connection ends."""

    def __init__(
        self, fleet: Fleet, gateway: Gateway, name: str, report: Callable[[str], None]
    ) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._gateway = gateway
        self.name = name
        self._report = report
        self.connection: Connection | None = None
        self.left = False
        self._connecting = False
        self._pending: Counter[str] = Counter()
        self._attempts = 0

    @abstractmethod
    def receive(self, connection: Connection, frame: dict[str, Any]) -> None:
        """Handle a frame."""

    @abstractmethod
    def closed(self, connection: Connection) -> None:
        """The server closed a connection."""

    def _open(self, query: dict[str, str]) -> Connection | None:
        """Try until there is a connection; None if it left, or if that one is closed already."""
        while not self.left:
            self._attempts += 1
            self._pending = Counter()  # pending requests belong to the old connection
            connection = Connection(f"{self.name}-{self._attempts}", self)
            connection.up_at = self._loop.now + LONGEST  # not while $connect runs
            self._gateway.connections[connection.id] = connection
            self.connection = connection
            event = socket_event("CONNECT", connection.id, query=query)
            outcome = self._fleet.invoke("socket", event)
            if outcome.ok and outcome.value["statusCode"] == HTTPStatus.OK and connection.open:
                break
            connection.open = False
            self._loop.pause(self._fleet.faults.random.randint(500, 5_000))
        else:
            self._connecting = False
            return None
        connection.up_at = self._loop.now + self._fleet.faults.random.randint(0, 300)
        self._loop.at(connection.up_at + LONGEST, lambda: self._end_at_limit(connection))
        self._loop.pause(connection.up_at - self._loop.now)
        self._connecting = False
        if not connection.open:
            self.closed(connection)
            return None
        return connection

    def _end_at_limit(self, connection: Connection) -> None:
        if self._fleet.faults.on or not connection.open:
            self._end(connection)
        else:  # the simulation is at rest, and must stay so during the checks
            self._loop.at(self._loop.now + MINUTE, lambda: self._end_at_limit(connection))

    def _end(self, connection: Connection) -> None:
        if connection.open:
            self._gateway.close(connection)
            self.closed(connection)


class Dashboard(_Reconnecting):
    """A client like our dashboard: it subscribes, reconnects when the server closes the connection,
    and ignores older versions."""

    def __init__(
        self,
        fleet: Fleet,
        gateway: Gateway,
        name: str,
        token: str,
        report: Callable[[str], None],
    ) -> None:
        super().__init__(fleet, gateway, name, report)
        self._token = token
        self.wanted: set[str] = set()

    # ----------------------------------------------------------------------------------- receiving

    def receive(self, connection: Connection, frame: dict[str, Any]) -> None:
        """Handle a frame."""
        if connection is not self.connection or frame["type"] != "headcount":
            return
        space, version = frame["space"], frame["version"]
        self._fleet.note(f"{connection.id} receives {space} version {version}")
        if space not in self.wanted:
            return  # sent before the unsubscribe
        newest = connection.newest.get(space)
        # A requested headcount may overtake published ones.
        if newest is not None and version > newest + 1 and not self._pending[space]:
            self._report(f"{self.name} received version {version} of {space} after {newest}: a gap")
        if newest is not None and version < newest:
            return
        connection.newest[space] = version
        connection.frames[space] = frame

    def closed(self, connection: Connection) -> None:
        """The server closed a connection: reconnect."""
        if connection is self.connection and not self.left:
            self.connect(after=self._fleet.faults.random.randint(500, 5_000))

    # ------------------------------------------------------------------------------------- actions

    def connect(self, *, after: int = 0) -> None:
        """Connect, repeatedly until it succeeds, and subscribe to all wanted spaces."""
        if not self._connecting:
            self._connecting = True
            self._loop.start(self._connect, after=after)

    def subscribe(self, space: str) -> None:
        """Subscribe to a space."""
        self.wanted.add(space)
        self._request("subscribe", space)

    def unsubscribe(self, space: str) -> None:
        """Unsubscribe from a space."""
        self.wanted.discard(space)
        if self.connection is not None:
            self.connection.newest.pop(space, None)
            self.connection.frames.pop(space, None)
        self._request("unsubscribe", space)

    def snapshot(self, space: str) -> None:
        """Request the current headcount of a space."""
        if space in self.wanted - self.missing():
            self._request("snapshot", space)

    def lose_network(self, *, half_open: bool) -> None:
        """Lose the network: the function is not notified; ``half_open``: the gateway does not
        notice, either."""
        if self.connection is not None and not half_open:
            self._gateway.close(self.connection, notify=False)
        self.connect()

    def replace(self) -> None:
        """Open a new connection before the old one closes."""
        old = self.connection
        self.connect()
        if old is not None:
            self._loop.at(self._loop.now + 2_000, lambda: self._end(old))

    def close(self) -> None:
        """Disconnect for good."""
        self.left = True
        if self.connection is not None and self.connection.open:
            self._gateway.close(self.connection)

    def missing(self) -> set[str]:
        """The wanted spaces without a headcount yet."""
        received = self.connection.frames.keys() if self.connection else ()
        return self.wanted - set(received)

    # ------------------------------------------------------------------------------------ sending

    def _connect(self) -> None:
        if self._open({"token": self._token}) is None:
            return
        for space in sorted(self.wanted):
            self._request("subscribe", space)

    def _request(self, action: str, space: str) -> None:
        connection = self.connection
        if connection is not None and not self._connecting:
            self._loop.start(lambda: self._send(connection, action, space))

    def _send(self, connection: Connection, action: str, space: str) -> None:
        body = json.dumps({"action": action, "space": space})
        event = socket_event("MESSAGE", connection.id, body=body, at=self._loop.now)
        pending = self._pending
        pending[space] += 1
        outcome = self._fleet.invoke("socket", event)
        pending[space] -= 1
        if action == "unsubscribe":
            while not outcome.ok and connection.open:
                self._loop.pause(1_000)
                outcome = self._fleet.invoke("socket", event)
            return
        self._loop.pause(_ANSWER_WITHIN)
        current = connection is self.connection and connection.open and not self.left
        if current and space in self.missing():  # half-open, or the answer was lost
            self._gateway.close(connection)
            self.connect()


class Listener(_Reconnecting):
    """A page like those with our badge: it listens to a space, ignores older counts, and connects
    again when the server closes the connection."""

    def __init__(
        self,
        fleet: Fleet,
        gateway: Gateway,
        name: str,
        space: str,
        report: Callable[[str], None],
    ) -> None:
        super().__init__(fleet, gateway, name, report)
        self.space = space
        self.shown: dict[str, Any] | None = None
        self.pushed: list[int] = []
        """When counts came that its connection had not heard."""

    def receive(self, connection: Connection, frame: dict[str, Any]) -> None:
        """Handle a frame."""
        if connection is not self.connection or frame["type"] != "count":
            return
        self._fleet.note(f"{connection.id} hears {frame['count']} of version {frame['version']}")
        newest = connection.newest.get(self.space)
        if newest is None:
            self.shown = None  # this connection's first count
        elif frame["version"] > newest:
            self.pushed.append(self._loop.now)
        elif frame["version"] < newest and not self._fleet.faults.recent(self._loop.now):
            self._report(f"{self.name} heard version {frame['version']} after {newest}")
        connection.newest[self.space] = max(newest or 0, frame["version"])
        if self.shown is None or frame["version"] >= self.shown["version"]:
            self.shown = frame

    def closed(self, connection: Connection) -> None:
        """The server closed a connection: reconnect."""
        if connection is self.connection and not self.left:
            self.connect(after=self._fleet.faults.random.randint(500, 5_000))

    def connect(self, *, after: int = 0) -> None:
        """Connect, repeatedly until it succeeds."""
        if not self._connecting:
            self._connecting = True
            self._loop.start(self._connect, after=after)

    def lose_network(self) -> None:
        """Lose the network, without the function being notified."""
        if self.connection is not None:
            self._gateway.close(self.connection, notify=False)
        self.connect()

    def close(self) -> None:
        """Disconnect for good."""
        self.left = True
        if self.connection is not None and self.connection.open:
            self._gateway.close(self.connection)

    def check_budget(self, budget: PushBudget) -> None:
        """Report if in any time more was pushed than allowed: beside the budget, one in each of
        ``publish`` and the deferred task, which may fail after they sent and send again."""
        times = self.pushed
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                spent = budget.burst + budget.reserve + 2
                spent += (times[last] - start) * budget.per_hour // HOUR
                if last - first + 1 > spent:
                    self._report(f"{self.name} heard {last - first + 1} counts, over {spent}")
                    return

    def _connect(self) -> None:
        connection = self._open({"space": self.space, "listen": "count"})
        if connection is None:
            return
        self._loop.pause(_ANSWER_WITHIN)
        if connection is self.connection and connection.open and not connection.newest:
            self._gateway.close(connection)
            self.closed(connection)
