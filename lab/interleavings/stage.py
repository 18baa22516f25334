"""Handlers as actors that stop before each call to AWS, so that anyone else may go on.

Calls take no time. Who waits goes on when nobody else can: a wait is longer than any call. Each
actor is a process of its own, with its own ids, so that a run depends only on the order of the
calls. Eventually consistent reads see every write.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet
from headcount.settings import Settings
from headcount.store.attributes import decode
from headcount.wiring import Services, replace_services
from msgspec.structs import replace

from lab.harness.clock import Clock
from lab.harness.engines import Engine, Table
from lab.harness.expressions import comparable, plan
from lab.harness.memory import MemoryDynamoDB, MemoryPaginator, MemoryTable
from lab.harness.template import template
from lab.harness.world import SequentialPool, World
from lab.interleavings.reduction import EVERYTHING, TIME, Access, Mode, Place
from lab.simulator.processes import settings_of

_SENDERS = ("count", "publish", "fanout", "deferred")
ROLES = {"count": "presence", "publish": "counts"}
"""The table whose stream invokes a function."""
Act = Callable[[], object]


@dataclass
class Actor:
    """Something that happens while other things happen. ``due``: when it goes on; None: now."""

    name: str
    act: Act
    task: Any = None
    services: Services | None = None
    next: Access = frozenset()
    done: Access = frozenset()
    due: int | None = None
    polls: str = ""  # the function that waits for records
    over: bool = False
    ids: Any = field(default_factory=lambda: itertools.count(1))


class Stage(World):
    """A world with actors: ``spawn`` them, then ``step`` one after the other in any order."""

    def __init__(self, **parameters: str) -> None:
        clock = Clock()
        self.database = MemoryDynamoDB(clock)
        self.actors: list[Actor] = []
        self.problems: list[str] = []
        self.versions_stored: list[int] = []
        self.observe: Callable[[str, Mapping[str, Any]], object] = lambda *_: None
        """Called with each call that had an effect."""
        self.lines: list[str] = []
        self.acting: Actor | None = None
        """Whose turn it is; None: nobody's, so that calls are made at once."""
        self._hub = getcurrent()
        self._waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        super().__init__(_Engine("memory", self.database.connect), clock, **parameters)
        wired: Any = self
        tables = self.database.tables
        wired.engine.client = Calls(self, self.engine.client, lambda *call: places(tables, *call))
        wired.management = Calls(self, self.management, _of_connection)
        wired.queue = Calls(self, self.queue, _of_queue)
        self.chance = lambda: 0.5

    # -------------------------------------------------------------------------------------- actors

    def spawn(self, name: str, act: Act) -> None:
        """Add an actor, up to its first call."""
        actor = Actor(name, act)
        actor.task = greenlet(lambda: self._perform(actor))
        self.actors.append(actor)
        self._resume(actor)

    def consume(self, function: str) -> None:
        """Add an actor that has a function handle new records, as long as there are any."""

        def act() -> None:
            while self._poll(function):
                batch, self._waiting[function] = self._waiting[function], []
                self.handle(function, batch)

        self.spawn(function, act)

    def handle(self, function: str, batch: list[dict[str, Any]]) -> None:
        """Have a function handle records. What fails is left to be handled again."""
        try:
            failed = self.invoke(function, {"Records": batch})
        except Exception as error:
            self.lines.append(f"{function} failed: {type(error).__name__}")
            failed = {"batchItemFailures": [1]}
        if failed and failed["batchItemFailures"]:
            self._waiting[function] = [*batch, *self._waiting[function]]

    def _perform(self, actor: Actor) -> None:
        try:
            actor.act()
        except GreenletExit:
            pass
        except Exception as error:
            self.problems.append(f"{actor.name}: {type(error).__name__}: {error}")
        actor.over = True

    def _resume(self, actor: Actor) -> None:
        self.acting, self._hub, actor.due = actor, getcurrent(), None
        if actor.services is not None:
            replace_services(actor.services)
        actor.task.switch()
        self.acting = None

    def call(self, name: str, act: Callable[[], Any], access: Access) -> Any:
        """Make a call, when it is the acting actor's turn."""
        actor = self.acting
        if actor is None:
            return act()
        actor.next = access
        self._hub.switch()
        actor.done = access
        self.lines.append(f"{actor.name} {name}")
        try:
            return act()
        except Exception:  # refused: it wrote nothing
            actor.done = frozenset((Mode.READ, place) for _, place in access)
            self.lines[-1] += " refused"
            raise

    def _sleep(self, actor: Actor, seconds: Any) -> None:
        if seconds > 0 and self.acting is not actor:
            self.clock.sleep(seconds)
        elif seconds > 0:
            actor.due = self.clock() + round(seconds * 1000)
            actor.next = frozenset()
            self._hub.switch()

    def _poll(self, function: str) -> bool:
        actor = self.acting
        assert actor is not None
        actor.polls = function
        actor.next = actor.done = frozenset(
            {(Mode.READ, (f"stream of {ROLES[function]}", None, None))}
        )
        self._hub.switch()
        actor.polls = ""
        actor.done = actor.next
        return True

    def written(self, role: str) -> list[dict[str, Any]]:
        """Each row of a table as it was written, again and again."""
        changes = (record["dynamodb"] for record in self.database.tables[role].records)
        return [decode(one["NewImage"]) for one in changes if "NewImage" in one]

    # ----------------------------------------------------------------------------------------- run

    def enabled(self) -> Mapping[int, Access]:
        """Who can go on, and what their next step may touch."""
        live = [(at, one) for at, one in enumerate(self.actors) if not one.over]
        ready = {
            at: one.next
            for at, one in live
            if one.due is None and (not one.polls or self._waiting[one.polls])
        }
        asleep = any(one.due is not None for _, one in live)
        return ready or ({TIME: EVERYTHING} if asleep else {})

    def step(self, actor: int) -> Access:
        """Let an actor go on up to its next call, or time pass up to the end of a wait."""
        if actor == TIME:
            due = min(one.due for one in self.actors if one.due is not None)
            self.clock.now = max(self.clock.now, due)
            self.lines.append(f"{self.clock.now % 1_000_000} ms")
            for one in self.actors:
                if one.due is not None and one.due <= due:
                    self._resume(one)
            touched = EVERYTHING
        else:
            one = self.actors[actor]
            one.done = frozenset()
            self._resume(one)
            touched = one.done
        for consumer in self.actors:
            if (function := consumer.name) in ROLES:
                self._waiting[function] += super().filtered(function)
        return touched

    def close(self) -> None:
        """Give up the actors that are left."""
        self.acting = None
        for actor in self.actors:
            if not actor.over and actor.task:
                actor.task.throw()
        super().close()
        replace_services(None)

    # --------------------------------------------------------------------------------------- world

    def filtered(self, function: str) -> list[dict[str, Any]]:
        """New records, and those that failed; in the order that a table keeps: each item's own."""
        records = [*self._waiting.pop(function, []), *super().filtered(function)]
        if function == "count":
            records.sort(key=lambda one: [key["S"] for key in one["dynamodb"]["Keys"].values()])
        return records

    def new_id(self) -> str:
        """A unique id; each actor has its own."""
        actor = self.acting
        return super().new_id() if actor is None else f"{actor.name}-{next(actor.ids):03d}"

    def _process(self, function: str) -> tuple[ModuleType, Services]:
        actor = self.acting
        if actor is None:
            return self._quiet(function)
        shared = self._processes.pop(function, None)
        key = f"{function} of {actor.name}"
        if key not in self._processes:
            self._processes[key] = self._quiet(function)
            services = self._processes[key][1]
            services.sleep = lambda seconds: self._sleep(actor, seconds)
            actor.services = services
        self._processes.pop(function, None)
        if shared is not None:
            self._processes[function] = shared
        return self._processes[key]

    def settings(self, function: str) -> Settings:
        """A function's settings, which all runs share."""
        return settings_of(function, tuple(sorted(self.parameters.items())))

    def _quiet(self, function: str) -> tuple[ModuleType, Services]:
        """A process without threads and logs."""
        fresh = function not in self._processes
        module, services = super()._process(function)
        if fresh:
            wired: Any = services
            wired.metrics = _Silent()
            wired.meter = _Silent()
            if function in _SENDERS:
                wired.broadcaster = replace(services.broadcaster, pool=SequentialPool())
        return module, services


class _Engine(Engine):
    """Tables that bear their roles' names."""

    def create(self, role: str, **parameters: str) -> Table:
        self.client.create_table(TableName=role, **_create_table(role, tuple(parameters.items())))
        return Table(self, role, role)


@cache
def _create_table(role: str, parameters: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return template().create_table(role, **dict(parameters))


class _Silent:
    """Metrics that nobody reads."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Calls:
    """A client, each of whose calls is a step. ``access``: what a call touches."""

    def __init__(
        self, stage: Stage, client: Any, access: Callable[[str, Mapping[str, Any]], Access]
    ) -> None:
        self._stage = stage
        self._client = client
        self._access = access

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found) or name not in _CALLS:
            return found

        def call(**params: Any) -> Any:
            stage = self._stage
            if stage.acting is None:
                answer = found(**params)
            else:
                answer = stage.call(name, lambda: found(**params), self._access(name, params))
            if name == "put_item" and params["TableName"] == "headcounts":
                stage.versions_stored.append(int(params["Item"]["version"]["N"]))
            stage.observe(name, params)
            return answer

        self.__dict__[name] = call
        return call

    def get_paginator(self, operation: str) -> MemoryPaginator:
        """Pages, each of which is a call."""
        return MemoryPaginator(getattr(self, operation))


_READS = frozenset({"get_item", "batch_get_item", "query", "scan"})
_CALLS = _READS | {
    *("put_item", "update_item", "delete_item", "batch_write_item", "transact_write_items"),
    *("post_to_connection", "delete_connection", "send_message"),
}


def places(tables: Mapping[str, MemoryTable], operation: str, params: Mapping[str, Any]) -> Access:
    """What a call to DynamoDB touches."""
    if operation in {"query", "scan"}:
        return frozenset({(Mode.READ, _searched(tables[params["TableName"]], params))})
    found: list[tuple[str, Any]] = []
    for name, batch in params.get("RequestItems", {}).items():
        if isinstance(batch, Mapping):
            found += [(name, key) for key in batch["Keys"]]
        else:
            found += [(name, one) for request in batch for one in request.values()]
    found += [
        (one["TableName"], one) for each in params.get("TransactItems", ()) for one in each.values()
    ]
    if "TableName" in params:
        found.append((params["TableName"], params))
    mode = Mode.READ if operation in _READS else Mode.WRITE
    touched: set[tuple[Mode, Place]] = set()
    for name, one in found:
        table = tables[name]
        hash_, sort = table.schema.key(one.get("Key") or one.get("Item") or one)
        touched.add((mode, (name, hash_, sort)))
        if mode is Mode.WRITE and name in ROLES.values():
            # The stream of Counts has a space's changes in order, that of Presence an item's.
            kind = Mode.ADD if name == "presence" else Mode.WRITE
            touched.add((kind, (f"stream of {name}", None, None)))
    return frozenset(touched)


def _searched(table: MemoryTable, params: Mapping[str, Any]) -> Place:
    """What a query or a scan goes through: a partition, or a whole table."""
    if "KeyConditionExpression" not in params or "IndexName" in params:
        return table.name, None, None
    names = tuple(params.get("ExpressionAttributeNames", {}).items())
    expression, filtering = params["KeyConditionExpression"], params.get("FilterExpression")
    terms = plan(names, keys=expression, filter_=filtering).keys or []
    (hash_,) = [one for one in terms if one.attribute == table.schema.attributes[0]]
    return table.name, comparable(params["ExpressionAttributeValues"][hash_.operands[0]]), None


def _of_connection(_: str, params: Mapping[str, Any]) -> Access:
    return frozenset({(Mode.WRITE, ("connection", params["ConnectionId"], None))})


def _of_queue(_: str, params: Mapping[str, Any]) -> Access:
    group = params.get("MessageGroupId")
    mode = Mode.WRITE if group else Mode.ADD
    return frozenset({(mode, (params["QueueUrl"], group or "", None))})
