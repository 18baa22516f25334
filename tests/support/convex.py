"""A client of Convex's sync protocol, with the rules of the npm package: it throws where that does.

It is driven by hand: it sends when a test says so, and reads what was sent to it so far.
"""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from typing import Any

from lab.harness.events import socket_event
from lab.harness.world import World

PATH = "/api/1.48.0/sync"
START = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}

_connections = itertools.count(1)


class BrokenError(AssertionError):
    """The server broke the protocol."""


def number(ts: str) -> int:
    """A timestamp, as a number."""
    return int.from_bytes(base64.b64decode(ts), "little")


class ConvexClient:
    """One page's client, over as many connections as it needs."""

    def __init__(self, world: World, token: str | None = None) -> None:
        self.world = world
        self.token = token
        self.session = str(uuid.UUID(int=next(_connections)))
        self.queries: dict[int, tuple[str, dict[str, Any]]] = {}
        self.waiting: dict[int, dict[str, Any]] = {}
        """The mutations without a result."""
        self.settled: dict[int, Any] = {}
        """Request -> None, or the error that it threw."""
        self.authenticated: list[bool] = []
        self.fatal: str | None = None
        self.pings = 0
        self.transitions = 0
        self._query_ids = itertools.count()
        self._requests = itertools.count()
        self._observed: str | None = None
        self._connected = 0

    # ------------------------------------------------------------------------------ connections

    def open(self) -> Any:
        """Connect, and send everything anew."""
        self.connection = f"convex-{next(_connections)}"
        answer = self.world.connect(self.connection, token="", path=PATH)
        if answer["statusCode"] == 200:
            for frame in self.opening():
                self.send(frame)
        return answer

    def opening(self) -> list[dict[str, Any]]:
        """The frames of a new connection, in the client's order."""
        self.version = dict(START)
        self.results: dict[int, Any] = {}
        self.completed: dict[int, int] = {}
        self._read = 0
        self.query_set = 1
        self.identity = 0
        hello = {
            "connectionCount": self._connected,
            "lastCloseReason": "InitialConnect",
            "clientTs": 1,
            "type": "Connect",
            "sessionId": self.session,
        }
        if self._observed is not None:
            hello["maxObservedTimestamp"] = self._observed
        self._connected += 1
        added = [self._add(number, *query) for number, query in self.queries.items()]
        modify = self._modify(added, base=0)
        auth = [] if self.token is None else [self._authenticate()]
        return [hello, *auth, modify, *self.waiting.values()]

    def send(self, frame: Any) -> None:
        """Send a frame, and run what it causes unless the test does."""
        body = frame if isinstance(frame, str) else json.dumps(frame)
        world, request = self.world, self.world.new_id()
        event = socket_event(
            "MESSAGE", self.connection, body=body, request=request, at=world.clock()
        )
        assert world.invoke("socket", event) == {"statusCode": 200}

    # -------------------------------------------------------------------------------- messages

    def watch(self, name: str, *, sent: bool = True, **args: Any) -> int:
        """Subscribe to a query."""
        query = next(self._query_ids)
        self.queries[query] = (f"liveViewers:{name}", args)
        frame = self._modify([self._add(query, *self.queries[query])], base=self.query_set)
        self.query_set += 1
        if sent:
            self.send(frame)
        return query

    def unwatch(self, query: int) -> None:
        """Unsubscribe."""
        del self.queries[query]
        removed = {"type": "Remove", "queryId": query}
        self.send(self._modify([removed], base=self.query_set))
        self.query_set += 1

    def mutate(self, name: str, *, sent: bool = True, **args: Any) -> int:
        """Call a mutation."""
        request = next(self._requests)
        self.waiting[request] = {
            "type": "Mutation",
            "requestId": request,
            "udfPath": f"liveViewers:{name}",
            "args": [args],
        }
        if sent:
            self.send(self.waiting[request])
        return request

    def authenticate(self, token: str | None) -> None:
        """Send another token, or none."""
        self.token = token
        self.send(self._authenticate())

    def _authenticate(self) -> dict[str, Any]:
        self.identity += 1
        frame = {"type": "Authenticate", "baseVersion": self.identity - 1}
        if self.token is None:
            return {**frame, "tokenType": "None"}
        return {**frame, "tokenType": "User", "value": self.token}

    def _add(self, query: int, path: str, args: dict[str, Any]) -> dict[str, Any]:
        return {"type": "Add", "queryId": query, "udfPath": path, "args": [args]}

    def _modify(self, changes: list[dict[str, Any]], *, base: int) -> dict[str, Any]:
        return {
            "type": "ModifyQuerySet",
            "baseVersion": base,
            "newVersion": base + 1,
            "modifications": changes,
        }

    # ----------------------------------------------------------------------------------- frames

    def read(self) -> None:
        """Read what was sent to the connection since the last time."""
        frames = self.world.management.frames[self.connection]
        for frame in frames[self._read :]:
            self._take(frame)
        self._read = len(frames)

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "Transition":
                self._transition(frame)
            case "MutationResponse":
                self._respond(frame)
            case "ActionResponse":
                self.settled[frame["requestId"]] = frame["result"]
            case "AuthError":
                self.authenticated.append(False)
            case "FatalError":
                self.fatal = frame["error"]
            case "Ping":
                self.pings += 1
            case other:
                raise BrokenError(f"the client does not know {other}")

    def _transition(self, frame: dict[str, Any]) -> None:
        start, end = frame["startVersion"], frame["endVersion"]
        if start != self.version:
            raise BrokenError(f"invalid start version {start}, transitioning from {self.version}")
        if number(end["ts"]) <= number(start["ts"]):
            raise BrokenError("the timestamp does not grow")
        self.transitions += 1
        for change in frame["modifications"]:
            query = change["queryId"]
            match change["type"]:
                case "QueryUpdated":
                    self.results[query] = change["value"]
                case "QueryFailed":
                    self.results[query] = change["errorMessage"]
                case "QueryRemoved":
                    self.results.pop(query, None)
        if end["identity"] > start["identity"]:
            self.authenticated.append(True)
        self.version = end
        self._saw(end["ts"])
        for request, ts in list(self.completed.items()):
            if ts <= number(end["ts"]):
                del self.completed[request]
                self._settle(request, None)

    def _respond(self, frame: dict[str, Any]) -> None:
        request = frame["requestId"]
        if request not in self.waiting:
            return
        if frame["success"]:
            self._saw(frame["ts"])
            self.completed[request] = number(frame["ts"])
        else:
            self._settle(request, frame["result"])

    def _settle(self, request: int, error: str | None) -> None:
        self.waiting.pop(request)
        self.settled[request] = error

    def _saw(self, ts: str) -> None:
        if self._observed is None or number(ts) > number(self._observed):
            self._observed = ts
