"""A deployment in one process: the real handlers on an engine, with time in our hands."""

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
from types import ModuleType
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import jwt
from headcount.clients import Services, replace_services
from headcount.settings import Settings
from headcount.times import SECOND

from tests.support.clock import Clock
from tests.support.engines import Engine, Table
from tests.support.events import http_event, socket_event
from tests.support.fakes import (
    SECRET,
    FakeBus,
    FakeEcs,
    FakeLine,
    FakeQueue,
    FakeSecrets,
    FakeSns,
)
from tests.support.filters import passes, patterns_of
from tests.support.template import ROOT, template

SITE = "site:main"
_modules = itertools.count(1)


class OneByOne:
    """A pool of threads that does one thing after the other, in the order it was asked to."""

    def map(self, act: Callable[[Any], Any], what: Iterable[Any]) -> Iterator[Any]:
        """As an executor's: begun at once, not when the results are asked for."""
        return iter([act(one) for one in what])


def load_handler(function: str) -> ModuleType:
    """A fresh copy of functions/<function>/app.py: a process of its own, caches and all."""
    path = ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"app_{function}_{next(_modules)}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _patterns(function: str) -> list[str]:
    """The filters of a function that reads one stream."""
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
        """From what the handler returned."""
        text = response.get("body")
        headers = {**response.get("headers", {})}
        for name, values in response.get("multiValueHeaders", {}).items():
            headers[name] = values[0]
        return cls(response["statusCode"], json.loads(text) if text else None, headers)


class World:
    """Every function with the environment the template gives it, on tables of its own."""

    def __init__(self, engine: Engine, clock: Clock, **parameters: str) -> None:
        self.engine = engine
        self.clock = clock
        self.parameters = parameters
        self.tables: dict[str, Table] = {}
        self.line = FakeLine()
        self.queue = FakeQueue(clock)
        self.secrets = FakeSecrets()
        self.sns = FakeSns()
        self.bus = FakeBus()
        self.ecs = FakeEcs(clock)
        self._ids = itertools.count(1)
        self.chance = random.Random(20).random  # noqa: S311 - a script, not a secret
        self._running: list[Services] = []
        self._processes: dict[str, tuple[ModuleType, Services]] = {}
        for role in template().tables:
            self.tables[role] = engine.create(role, **parameters)
        self.admin = self.token(headcount="admin")

    # ------------------------------------------------------------------------------- processes

    def services(self, function: str) -> Services:
        """The services of a function's process."""
        return self._process(function)[1]

    def restart(self, function: str, **parameters: str) -> None:
        """Have a function start anew, with other parameters from now on: a deploy."""
        self.parameters |= parameters
        self._processes.pop(function, None)

    def redeploy(self, **parameters: str) -> None:
        """New parameters for everything."""
        self.parameters |= parameters
        self._processes.clear()

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Call a function's real handler."""
        module, services = self._process(function)
        self._running.append(services)
        replace_services(services)
        try:
            if function != "site":  # it alone reads the environment while it serves
                return module.handler(event, None)
            with patch.dict(os.environ, {"SOCKET_URL": "wss://socket.example.test/live"}):
                return module.handler(event, None)
        finally:
            self._running.pop()
            replace_services(self._running[-1] if self._running else None)

    def environment(self, function: str) -> dict[str, str]:
        """A function's environment as the template gives it, with this world's tables."""
        names = {f"{role.capitalize()}Table": table.name for role, table in self.tables.items()}
        environment = template().environment(function, **self.parameters)
        return {name: names.get(value, value) for name, value in environment.items()}

    def _process(self, function: str) -> tuple[ModuleType, Services]:
        if function not in self._processes:
            services = Services(Settings(self.environment(function)))
            services.clock = self.clock
            services.sleep = self.clock.sleep
            services.new_id = self.new_id
            services.chance = self.chance
            wired: Any = services
            wired.dynamodb = self.engine.client
            wired.management = self.line
            wired.sqs = self.queue
            wired.secrets = self.secrets
            wired.ecs = self.ecs
            wired.sns = self.sns
            wired.threads = OneByOne()  # the meter, and interruptions, know of one thread
            wired.eventbridge = self.bus
            self._processes[function] = load_handler(function), services
        return self._processes[function]

    def new_id(self) -> str:
        """A unique word; they come in order."""
        return f"id-{next(self._ids):06d}"

    def close(self) -> None:
        """End the threads that were started."""
        for _, services in self._processes.values():
            if "courier" in vars(services):
                services.courier.pool.shutdown()

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
        """One request to the api."""
        sent = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        event.setdefault("request", self.new_id())
        return Answer.of(self.invoke("api", http_event(method, path, headers=sent, **event)))

    def get(self, path: str, *, token: str | None = None, **query: str) -> Answer:
        """A read."""
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
        """A beat that must be accepted."""
        answer = self.http(
            "POST",
            f"/v1/spaces/{quote(space, safe='')}/presence",
            body={"sessionId": session, **fields},
            request=request or self.new_id(),
            token=token,
        )
        assert answer.status == 200, answer
        return answer

    def leave(
        self, session: str, space: str = SITE, *, request: str | None = None, **fields: Any
    ) -> Answer:
        """A leave that must be accepted."""
        answer = self.http(
            "POST",
            f"/v1/spaces/{quote(space, safe='')}/presence/leave",
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
        """A stream function's new records, past the template's filters."""
        role = {"count": "presence", "publish": "counts"}[function]
        patterns = _patterns(function)
        records = self.tables[role].new_records()
        for record in records:  # the engine may have a clock of its own
            record["dynamodb"]["ApproximateCreationDateTime"] = self.clock() // SECOND
        return [record for record in records if passes(record, patterns)]

    def changes(self) -> list[dict[str, Any]]:
        """New records of the streams that the events function reads, past the template's filters;
        each table's in order."""
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
        """Have the events function handle whatever was written; nothing may fail."""
        if records := self.changes():
            assert self.invoke("events", {"Records": records}) == {"batchItemFailures": []}

    def count(self, records: list[dict[str, Any]]) -> None:
        """Have the count function handle these."""
        if records:
            self.invoke("count", {"Records": records})

    def publish(self, records: list[dict[str, Any]]) -> None:
        """Have the publish function handle these; nothing may fail."""
        if records:
            assert self.invoke("publish", {"Records": records}) == {"batchItemFailures": []}

    def fan_out(self) -> None:
        """Have the fanout function handle all chunks in the queue."""
        while (event := self.queue.take()) is not None:
            self.invoke("fanout", event)

    def settle(self) -> None:
        """Let everything that was written have its effect."""
        while True:
            while counts := self.filtered("count"):
                self.count(counts)
            while changes := self.filtered("publish"):
                self.publish(changes)
            self.fan_out()
            if not self.run_errands():
                return

    def run_errands(self) -> bool:
        """Have the errands function run whatever waits, its delay over; whether anything did."""
        ran = False
        while (event := self.queue.take_errand()) is not None:
            self.invoke("errands", event)
            ran = True
        return self.close_silent() or ran

    def close_silent(self) -> bool:
        """Have the errands function close what was left to be closed, in full batches; none may be
        left open. Whether there was any."""
        (size,) = (
            source["BatchSize"]
            for source in template().events("errands", "SQS")
            if source["Queue"] == "ClosingQueue.Arn"
        )
        closed = False
        while (event := self.queue.take_closings(size)) is not None:
            assert self.invoke("errands", event) == {"batchItemFailures": []}
            closed = True
        return closed

    # ------------------------------------------------------------------------------- schedules

    def sweep(self) -> Any:
        """The cleanup's minute; returns what the sweep did."""
        return self.invoke("cleanup", {})

    def run_pieces(self) -> list[Any]:
        """Have the cleanup do all pieces of sweeps and days that wait; what each sweep did."""
        done = []
        while (event := self.queue.take_piece()) is not None:
            done.append(self.invoke("cleanup", event))
        return done

    def daily(self, date: str | None = None) -> int:
        """The daily run; returns the rows it wrote."""
        return int(self.invoke("daily", {"date": date} if date else {})["written"])

    # --------------------------------------------------------------------------------- sockets

    def connect(self, connection: str, *, token: str | None = None, path: str | None = None) -> Any:
        """A dashboard connects, as an admin unless told otherwise; with a path, to its feed."""
        query = {"token": self.admin if token is None else token}
        if path is not None:
            query["path"] = path
        return self.invoke("socket", socket_event("CONNECT", connection, query=query))

    def say(self, connection: str, message: object) -> None:
        """A dashboard sends a frame."""
        body = message if isinstance(message, str) else json.dumps(message)
        event = socket_event("MESSAGE", connection, body=body, at=self.clock())
        answered = self.invoke("socket", event)
        assert answered == {"statusCode": 200}

    def subscribe(self, connection: str, space: str = SITE) -> None:
        """A dashboard connects and subscribes."""
        assert self.connect(connection) == {"statusCode": 200}
        self.say(connection, {"action": "subscribe", "space": space})

    def disconnect(self, connection: str) -> None:
        """A dashboard goes away."""
        self.invoke("socket", socket_event("DISCONNECT", connection))

    def attend(
        self,
        connection: str,
        session: str,
        space: str = SITE,
        *,
        request: str | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Any:
        """A viewer connects to be present; what is no text goes as JSON."""
        said = {"space": space, "sessionId": session, **fields}
        query = {
            name: text if isinstance(text, str) else json.dumps(text) for name, text in said.items()
        }
        event = socket_event(
            "CONNECT", connection, query=query, headers=headers, request=request or self.new_id()
        )
        return self.invoke("socket", event)

    def tell(self, connection: str, **fields: Any) -> None:
        """A viewer who is present by connection sends a beat."""
        body = json.dumps({"action": "beat", **fields})
        event = socket_event("MESSAGE", connection, body=body, request=self.new_id())
        assert self.invoke("socket", event) == {"statusCode": 200}

    def hang_up(self, connection: str, code: int = 1000, *, request: str | None = None) -> None:
        """A connection ends with a code."""
        request = request or self.new_id()
        self.invoke("socket", socket_event("DISCONNECT", connection, request=request, code=code))

    def versions(self, connection: str, space: str = SITE) -> list[int]:
        """The versions of a space that a dashboard heard, in order."""
        return [
            frame["version"]
            for frame in self.line.frames[connection]
            if frame["type"] == "headcount" and frame["space"] == space
        ]

    # ----------------------------------------------------------------------------------- state

    def token(self, *, lives: int = 600, secret: str = SECRET, **claims: Any) -> str:
        """A token of this deployment. PyJWT checks it against the machine's own clock."""
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
        """The sessions that are here by their rows, wherever they are."""
        return [
            row["session"]
            for row in self.presence_rows()
            if row["kind"] not in {"leave", "gone"} and row["expires_at"] > self.clock()
        ]

    def pass_time(self, seconds: float, *beating: str, every: float = 30) -> None:
        """Let time pass in which these sessions of site:main go on beating."""
        end = self.clock() + round(seconds * SECOND)
        while self.clock() < end:
            self.clock.advance(min(every, (end - self.clock()) / SECOND))
            for session in beating:
                self.beat(session)


@contextmanager
def world_on(engine: Engine, clock: Clock | None = None, **parameters: str) -> Iterator[World]:
    """A world that cleans up after itself."""
    world = World(engine, clock or Clock(), **parameters)
    try:
        yield world
    finally:
        world.close()
        replace_services(None)
