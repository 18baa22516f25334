"""A deployment in one process: the real handlers on an engine, with a clock that tests move."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from unittest.mock import patch

import jwt
from headcount.settings import Settings
from headcount.times import SECOND
from headcount.wiring import Services, replace_services
from msgspec.structs import replace

from lab.harness.clock import Clock
from lab.harness.engines import Engine, Table
from lab.harness.events import http_event, path_of, socket_event
from lab.harness.fakes import (
    SECRET,
    FakeEcs,
    FakeEventBus,
    FakeManagementApi,
    FakeQueue,
    FakeSecrets,
    FakeSns,
)
from lab.harness.filters import passes, patterns_of
from lab.harness.template import ROOT, template
from local.bundle import Bundler

SITE = "site:main"
_modules = itertools.count(1)


class SequentialPool:
    """Stands in for a thread pool, and runs everything in this thread, in order."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def shutdown(self) -> None:
        """Nothing has to be stopped."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """As an executor's: it starts at once, not when the results are read."""
        return iter([function(item) for item in items])


def load_handler(function: str) -> ModuleType:
    """A fresh copy of functions/<function>/app.py, with its own caches, as in a new process."""
    if function == "site":
        Bundler().bundle()
    path = ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"app_{function}_{next(_modules)}", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(_code_of(path), module.__dict__)  # noqa: S102 - our own code
    return module


@cache
def _code_of(path: Path) -> CodeType:
    return compile(path.read_text(), str(path), "exec")


@cache
def _patterns(function: str) -> list[str]:
    """The filter patterns of a function that reads one stream."""
    (source,) = template().events(function, "DynamoDB")
    return patterns_of(source)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, decoded."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @classmethod
    def of(cls, response: Mapping[str, Any]) -> Answer:
        """Decode what a handler returned."""
        text = response.get("body")
        headers = {**response.get("headers", {})}
        for name, values in response.get("multiValueHeaders", {}).items():
            headers[name] = values[0]
        plain = headers.get("content-type", "").startswith("text/plain")
        body = text if plain else json.loads(text) if text else None
        return cls(response["statusCode"], body, headers)


class World:
    """Every function, with its environment from the template, on separate tables."""

    def __init__(self, engine: Engine, clock: Clock, **parameters: str) -> None:
        self.engine = engine
        self.clock = clock
        self.parameters = parameters
        self.tables: dict[str, Table] = {}
        self.management = FakeManagementApi()
        self.queue = FakeQueue(clock)
        self.secrets = FakeSecrets()
        self.sns = FakeSns()
        self.bus = FakeEventBus()
        self.ecs = FakeEcs(clock)
        self._ids = itertools.count(1)
        self.chance = random.Random(20).random  # noqa: S311 - a script, not a secret
        self._running: list[Services] = []
        self._processes: dict[str, tuple[ModuleType, Services]] = {}
        self._stream_alone = False
        for role in template().tables:
            self.tables[role] = engine.create(role, **parameters)
        self.admin = self.token(headcount="admin")

    # ------------------------------------------------------------------------------- processes

    def services(self, function: str) -> Services:
        """The services of a function's process."""
        return self._process(function)[1]

    def restart(self, function: str, **parameters: str) -> None:
        """Restart a function, with other parameters from now on: a deploy."""
        self.parameters |= parameters
        self._processes.pop(function, None)

    def stream_alone(self) -> None:
        """From now on `count` publishes nothing itself, as if it always died after a recount."""
        self._stream_alone = True
        self.restart("count")

    def redeploy(self, **parameters: str) -> None:
        """Restart every function with other parameters."""
        self.parameters |= parameters
        self._processes.clear()

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Call a function's real handler."""
        module, services = self._process(function)
        self._running.append(services)
        replace_services(services)
        try:
            if function != "site":  # only this one reads the environment per request
                return module.handler(event, None)
            socket = {"SOCKET_URL": "wss://socket.example.test/live"}
            with patch.dict(os.environ, self.environment("site") | socket):
                return module.handler(event, None)
        finally:
            self._running.pop()
            replace_services(self._running[-1] if self._running else None)

    def environment(self, function: str) -> dict[str, str]:
        """A function's environment from the template, with this world's tables."""
        tables = {role: table.name for role, table in self.tables.items()}
        emulated = {"AWS_ENDPOINT_URL": "http://localhost:4566"}
        return emulated | template().environment(function, tables, **self.parameters)

    def settings(self, function: str) -> Settings:
        """A function's settings."""
        return Settings(self.environment(function))

    def _process(self, function: str) -> tuple[ModuleType, Services]:
        if function not in self._processes:
            services = Services(self.settings(function))
            services.clock = self.clock
            services.sleep = self.clock.sleep
            services.new_id = self.new_id
            services.chance = self.chance
            wired: Any = services
            wired.dynamodb = self.engine.client
            wired.management = self.management
            wired.sqs = self.queue
            wired.secrets = self.secrets
            wired.ecs = self.ecs
            wired.sns = self.sns
            wired.threads = SequentialPool()  # meter and interruptions expect one thread
            wired.eventbridge = self.bus
            if function == "count" and self._stream_alone:
                wired.counter = replace(services.counter, publisher=None)
            self._processes[function] = load_handler(function), services
        return self._processes[function]

    def new_id(self) -> str:
        """A unique id; later ones sort later."""
        return f"id-{next(self._ids):06d}"

    def close(self) -> None:
        """Stop the thread pools."""
        for _, services in self._processes.values():
            if "broadcaster" in vars(services):
                services.broadcaster.pool.shutdown()

    # ------------------------------------------------------------------------------------ HTTP

    def http(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **event: Any,
    ) -> Answer:
        """Send a request to the API."""
        sent = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        event.setdefault("request", self.new_id())
        function = template().function_of(method, path)
        return Answer.of(self.invoke(function, http_event(method, path, headers=sent, **event)))

    def get(self, path: str, *, token: str | None = None, **query: str | list[str]) -> Answer:
        """Send a GET request."""
        return self.http("GET", path, token=token, query=query or None)

    def beat(
        self,
        session: str,
        space: str = SITE,
        *,
        request: str | None = None,
        token: str | None = None,
        **fields: Any,
    ) -> Answer:
        """Send a beat; it must be accepted."""
        answer = self.http(
            "POST",
            f"{path_of(space)}/presence",
            body={"sessionId": session, **fields},
            request=request or self.new_id(),
            token=token,
        )
        assert answer.status == 200, answer
        return answer

    def leave(
        self, session: str, space: str = SITE, *, request: str | None = None, **fields: Any
    ) -> Answer:
        """Send a leave; it must be accepted."""
        answer = self.http(
            "POST",
            f"{path_of(space)}/presence/leave",
            body={"sessionId": session, **fields},
            request=request or self.new_id(),
        )
        assert answer.status == 200, answer
        return answer

    def headcount(self, space: str = SITE) -> Any:
        """The published numbers, as an admin reads them."""
        answer = self.get(f"/v1/spaces/{space}", token=self.admin)
        assert answer.status == 200, answer
        return answer.body

    def people(self, space: str = SITE) -> int:
        """The published number of people."""
        return int(self.headcount(space)["people"])

    # --------------------------------------------------------------------------------- streams

    def filtered(self, function: str) -> list[dict[str, Any]]:
        """A stream function's new records that pass the template's filters."""
        role = {"count": "presence", "publish": "counts"}[function]
        patterns = _patterns(function)
        records = self.tables[role].new_records()
        for record in records:  # the engine may use the machine's clock
            record["dynamodb"]["ApproximateCreationDateTime"] = self.clock() // SECOND
        return [record for record in records if passes(record, patterns)]

    def changes(self) -> list[dict[str, Any]]:
        """New records of the events function's streams that pass the template's filters; each
        table's in order."""
        roles = ("visits", "headcounts", "history")
        sources = template().events("events", "DynamoDB", **self.parameters)
        assert [source["Stream"] for source in sources] == [
            f"{role.capitalize()}Table.StreamArn" for role in roles
        ]
        return [
            record
            for role, source in zip(roles, sources, strict=True)
            for record in self.tables[role].new_records()
            if passes(record, patterns_of(source))
        ]

    def emit(self) -> None:
        """Have the events function handle all new records; none may fail."""
        if records := self.changes():
            assert self.invoke("events", {"Records": records}) == {"batchItemFailures": []}

    def count(self, records: list[dict[str, Any]]) -> None:
        """Have the count function handle these records."""
        if records:
            self.invoke("count", {"Records": records})

    def publish(self, records: list[dict[str, Any]]) -> None:
        """Have the publish function handle these records; none may fail."""
        if records:
            assert self.invoke("publish", {"Records": records}) == {"batchItemFailures": []}

    def fan_out(self) -> None:
        """Have the fanout function deliver all queued chunks."""
        while (event := self.queue.take()) is not None:
            self.invoke("fanout", event)

    def settle(self) -> None:
        """Run the stream functions and queues until nothing is left to do."""
        while True:
            while counts := self.filtered("count"):
                self.count(counts)
            while changes := self.filtered("publish"):
                self.publish(changes)
            self.fan_out()
            if not self.run_deferred():
                return

    def run_deferred(self) -> bool:
        """Have the deferred function run all queued tasks whatever their delay; True if any ran."""
        ran = False
        while (event := self.queue.take_deferred()) is not None:
            self.invoke("deferred", event)
            ran = True
        return self.close_silent() or ran

    def close_silent(self) -> bool:
        """Have the deferred function close the queued connections, in full batches; none may fail.
        Returns whether there were any."""
        (size,) = (
            source["BatchSize"]
            for source in template().events("deferred", "SQS")
            if source["Queue"] == "ClosingQueue.Arn"
        )
        closed = False
        while (event := self.queue.take_closings(size)) is not None:
            assert self.invoke("deferred", event) == {"batchItemFailures": []}
            closed = True
        return closed

    # ------------------------------------------------------------------------------- schedules

    def sweep(self) -> Any:
        """Run the cleanup as its schedule does; returns what the sweep did."""
        return self.invoke("cleanup", {})

    def run_pieces(self) -> list[Any]:
        """Have the cleanup run all queued pieces of sweeps and days; returns their results."""
        results = []
        while (event := self.queue.take_piece()) is not None:
            results.append(self.invoke("cleanup", event))
        return results

    def daily(self, date: str | None = None) -> int:
        """Run the daily function; returns how many rows it wrote."""
        return int(self.invoke("daily", {"date": date} if date else {})["written"])

    # --------------------------------------------------------------------------------- sockets

    def connect(self, connection: str, *, token: str | None = None, path: str | None = None) -> Any:
        """Connect a dashboard, as an admin unless ``token`` is given; ``path`` names a feed."""
        query = {"token": self.admin if token is None else token}
        if path is not None:
            query["path"] = path
        return self.invoke("socket", socket_event("CONNECT", connection, query=query))

    def send(self, connection: str, message: object) -> None:
        """Send a frame as a dashboard."""
        body = message if isinstance(message, str) else json.dumps(message)
        event = socket_event("MESSAGE", connection, body=body, at=self.clock())
        assert self.invoke("socket", event) == {"statusCode": 200}

    def subscribe(self, connection: str, space: str = SITE) -> None:
        """Connect a dashboard and subscribe it to a space."""
        assert self.connect(connection) == {"statusCode": 200}
        self.send(connection, {"action": "subscribe", "space": space})

    def disconnect(self, connection: str) -> None:
        """Disconnect a dashboard."""
        self.invoke("socket", socket_event("DISCONNECT", connection))

    def connect_viewer(
        self,
        connection: str,
        session: str,
        space: str = SITE,
        *,
        request: str | None = None,
        headers: Mapping[str, str] | None = None,
        source: str | None = None,
        **fields: Any,
    ) -> Any:
        """Connect a viewer who is present while connected; other fields than text become JSON."""
        fields = {"space": space, "sessionId": session, **fields}
        query = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }
        event = socket_event(
            "CONNECT",
            connection,
            query=query,
            headers=headers,
            request=request or self.new_id(),
            source=source,
        )
        return self.invoke("socket", event)

    def send_beat(self, connection: str, **fields: Any) -> None:
        """Send a beat over a viewer's connection."""
        body = json.dumps({"action": "beat", **fields})
        event = socket_event("MESSAGE", connection, body=body, request=self.new_id())
        assert self.invoke("socket", event) == {"statusCode": 200}

    def disconnect_viewer(
        self, connection: str, code: int = 1000, *, request: str | None = None
    ) -> None:
        """Disconnect a viewer with a close code."""
        request = request or self.new_id()
        self.invoke("socket", socket_event("DISCONNECT", connection, request=request, code=code))

    def versions(self, connection: str, space: str = SITE) -> list[int]:
        """The versions of a space that a dashboard received, in order."""
        return [
            frame["version"]
            for frame in self.management.frames[connection]
            if frame["type"] == "headcount" and frame["space"] == space
        ]

    # ----------------------------------------------------------------------------------- state

    def token(self, *, lives: int = 600, secret: str = SECRET, **claims: Any) -> str:
        """A token of this deployment. PyJWT checks its expiry by the machine's clock."""
        import time

        return jwt.encode({"exp": int(time.time()) + lives, **claims}, secret, algorithm="HS256")

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table."""
        return {role: table.rows() for role, table in self.tables.items()}

    def presence_rows(self) -> list[dict[str, Any]]:
        """Every row of Presence."""
        return self.tables["presence"].rows()

    def ledger(self) -> list[dict[str, Any]]:
        """Every row of Visits."""
        return self.tables["visits"].rows()

    def live_sessions(self) -> list[str]:
        """The live sessions of all spaces, according to their rows."""
        return [
            row["session"]
            for row in self.presence_rows()
            if row["kind"] not in {"leave", "gone"} and row["expires_at"] > self.clock()
        ]

    def pass_time(self, seconds: float, *beating: str, every: float = 30) -> None:
        """Advance the clock while these sessions of site:main keep beating."""
        end = self.clock() + round(seconds * SECOND)
        while self.clock() < end:
            self.clock.advance(min(every, (end - self.clock()) / SECOND))
            for session in beating:
                self.beat(session)


@contextmanager
def world_on(engine: Engine, clock: Clock | None = None, **parameters: str) -> Iterator[World]:
    """A world, closed when the block ends."""
    world = World(engine, clock or Clock(), **parameters)
    try:
        yield world
    finally:
        world.close()
        replace_services(None)
