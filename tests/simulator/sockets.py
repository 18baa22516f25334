"""The WebSocket API, and the dashboards at its other end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ReadTimeoutError
from headcount.times import HOUR, SECOND

from tests.simulator import faults
from tests.simulator.processes import Fleet
from tests.support.events import socket_event
from tests.support.fakes import aws_error

LONGEST = 2 * HOUR
"""After which API Gateway ends every connection."""

_ANSWER_WITHIN = 20 * SECOND


@dataclass
class Connection:
    """One WebSocket connection."""

    id: str
    dashboard: Dashboard
    up_at: int = 0  # until then posting says 410, as it does once it is closed
    open: bool = True
    newest: dict[str, int] = field(default_factory=dict)  # space -> highest version heard
    frames: dict[str, dict[str, Any]] = field(default_factory=dict)  # space -> that version


class Gateway:
    """API Gateway's management API."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self.connections: dict[str, Connection] = {}

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        """One frame."""
        connection = self.connections.get(ConnectionId)
        if connection is None or not connection.open or self._loop.now < connection.up_at:
            raise aws_error("GoneException", 410, "PostToConnection")
        arrives = self._fleet.faults.random.random() < 0.5
        slow = self._fleet.faults.strikes(faults.SLOW_POST)
        if arrives or not slow:
            connection.dashboard.hear(connection, json.loads(Data))
        if slow:
            raise ReadTimeoutError(endpoint_url="https://example.test")

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        """Close one; its dashboard notices."""
        connection = self.connections.get(ConnectionId)
        if connection is None or not connection.open:
            raise aws_error("GoneException", 410, "DeleteConnection")
        self.close(connection)
        connection.dashboard.closed(connection)

    def close(self, connection: Connection, *, say: bool = True) -> None:
        """A connection has ended; the function hears of it later, or never."""
        connection.open = False
        if not say:
            return
        event = socket_event("DISCONNECT", connection.id)
        late = self._fleet.faults.random.choice((50, 500, 5_000, 60_000))
        self._loop.start(lambda: self._fleet.invoke("socket", event), after=late)


class Dashboard:
    """A client as ours is: it subscribes, comes back after it was closed, and takes no older
    version for news."""

    def __init__(
        self,
        fleet: Fleet,
        gateway: Gateway,
        name: str,
        token: str,
        report: Callable[[str], None],
    ) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._gateway = gateway
        self.name = name
        self._token = token
        self._report = report
        self.wanted: set[str] = set()
        self.connection: Connection | None = None
        self.gone = False
        self._connecting = False
        self._asking: Counter[str] = Counter()
        self._tries = 0
        self.older = 0
        """Versions heard after a newer one."""

    # ------------------------------------------------------------------------------- what it hears

    def hear(self, connection: Connection, frame: dict[str, Any]) -> None:
        """A frame came."""
        if connection is not self.connection or frame["type"] != "headcount":
            return
        space, version = frame["space"], frame["version"]
        self._fleet.note(f"{connection.id} hears {space} version {version}")
        if space not in self.wanted:
            return  # it was on its way when we unsubscribed
        newest = connection.newest.get(space)
        # What was asked for may be ahead of what is on its way.
        if newest is not None and version > newest + 1 and not self._asking[space]:
            self._report(f"{self.name} heard version {version} of {space} after {newest}: a gap")
        if newest is not None and version < newest:
            self.older += 1
            return
        connection.newest[space] = version
        connection.frames[space] = frame

    def closed(self, connection: Connection) -> None:
        """The server ended a connection."""
        if connection is self.connection and not self.gone:
            self.connect(after=self._fleet.faults.random.randint(500, 5_000))

    # -------------------------------------------------------------------------------- what it does

    def connect(self, *, after: int = 0) -> None:
        """Open a connection, and another if that fails; what was wanted is asked for anew."""
        if not self._connecting:
            self._connecting = True
            self._loop.start(self._connect, after=after)

    def want(self, space: str) -> None:
        """Listen to a space."""
        self.wanted.add(space)
        self._ask("subscribe", space)

    def drop(self, space: str) -> None:
        """Listen to it no more."""
        self.wanted.discard(space)
        if self.connection is not None:
            self.connection.newest.pop(space, None)
            self.connection.frames.pop(space, None)
        self._ask("unsubscribe", space)

    def snapshot(self, space: str) -> None:
        """Have it said once more how things are."""
        if space in self.wanted - self.deaf():
            self._ask("snapshot", space)

    def lose(self, *, half_open: bool) -> None:
        """The network is gone: the server is not told, and may not notice (``half_open``)."""
        if self.connection is not None and not half_open:
            self._gateway.close(self.connection, say=False)
        self.connect()

    def replace(self) -> None:
        """A new socket before the old one closes."""
        old = self.connection
        self.connect()
        if old is not None:
            self._loop.at(self._loop.now + 2_000, lambda: self._end(old))

    def leave(self) -> None:
        """Go for good."""
        self.gone = True
        if self.connection is not None and self.connection.open:
            self._gateway.close(self.connection)

    def deaf(self) -> set[str]:
        """What it wants and has not heard."""
        heard = self.connection.frames.keys() if self.connection else ()
        return self.wanted - set(heard)

    # ------------------------------------------------------------------------------------- how so

    def _connect(self) -> None:
        query = {"token": self._token}
        while not self.gone:
            self._tries += 1
            self._asking = Counter()  # whoever still asks, asked for another connection
            connection = Connection(f"{self.name}-{self._tries}", self)
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
            return
        connection.up_at = self._loop.now + self._fleet.faults.random.randint(0, 300)
        self._loop.at(connection.up_at + LONGEST, lambda: self._end(connection))
        self._loop.pause(connection.up_at - self._loop.now)
        self._connecting = False
        if not connection.open:
            self.closed(connection)
            return
        for space in sorted(self.wanted):
            self._ask("subscribe", space)

    def _end(self, connection: Connection) -> None:
        if connection.open:
            self._gateway.close(connection)
            self.closed(connection)

    def _ask(self, action: str, space: str) -> None:
        connection = self.connection
        if connection is not None and not self._connecting:
            self._loop.start(lambda: self._say(connection, action, space))

    def _say(self, connection: Connection, action: str, space: str) -> None:
        body = json.dumps({"action": action, "space": space})
        event = socket_event("MESSAGE", connection.id, body=body, at=self._loop.now)
        asking = self._asking
        asking[space] += 1
        outcome = self._fleet.invoke("socket", event)
        asking[space] -= 1
        if action == "unsubscribe":
            while not outcome.ok and connection.open:
                self._loop.pause(1_000)
                outcome = self._fleet.invoke("socket", event)
            return
        self._loop.pause(_ANSWER_WITHIN)
        current = connection is self.connection and connection.open and not self.gone
        if current and space in self.deaf():  # half-open, or it was lost on the way
            self._gateway.close(connection)
            self.connect()
