"""What AWS would bill a replay for: every call, second, message and byte, by purpose."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from io import TextIOBase
from types import ModuleType
from typing import Any
from unittest.mock import patch

from headcount.aws.dynamodb import Paginator
from headcount.store import visits
from headcount.times import DAY, SECOND
from headcount.wiring import Services, replace_services

from lab.bench.prices import Amounts, Prices, Usage, messages_units
from lab.bench.timeline import Timeline
from lab.harness.engines import WRITES, Call, Engine
from lab.harness.fakes import FakeManagementApi
from lab.harness.template import Template, template
from lab.harness.world import SequentialPool, World
from lab.units import returning_failed_rows

MEMORY = "memory"
"""The name of the in-memory engine."""

VISITS_PER_TRANSACTION = visits.VISITS_PER_TRANSACTION
"""The product's limit; DynamoDB Local accepts fewer."""


PUSHES = "pushes to viewers"
"""The part of counts that are pushed, with the first one of each listener."""

PEOPLE = "people"
"""The part of noting where people are: ``count``'s calls to their table."""

ROLL_UPS = "roll-ups"
"""The part of recounting the index of people. What roll-ups add to others is in those."""


class NeverInvokedError(AssertionError):
    """A replay never invoked a function that costs money."""


@dataclass
class Account:
    """What one invocation is billed for."""

    function: str
    calls: list[Call] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)  # bytes of each post
    pushed: list[int] = field(default_factory=list)  # those of counts, to listeners
    queued: Counter[str] = field(default_factory=Counter)
    log_bytes: float = 0
    cpu: float = 0
    slept: float = 0


@dataclass
class Part:
    """The usage for one purpose."""

    times: int = 0
    usage: Usage = field(default_factory=Amounts)
    operations: Amounts[tuple[str, str]] = field(default_factory=Amounts)
    """(operation, table's role) -> units; failed conditions included"""
    calls_of: Amounts[tuple[str, str]] = field(default_factory=Amounts)
    cpu: float = 0
    slept: float = 0
    saved_header_bytes: int = 0
    """Bytes of repeated headers that HTTP/2 did not send again"""


class Ledger:
    """The parts, the invoked functions, and where the engine differs from DynamoDB."""

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self.parts: dict[str, Part] = defaultdict(Part)
        self.invoked: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.row_sizes: dict[str, float] = {}  # average bytes of a table's rows
        self.returned_rows = 0  # rows that DynamoDB returns with a failed condition
        self.split_transactions = 0  # DynamoDB Local accepts 10 actions, DynamoDB 100
        self.engine = ""
        self.on = False
        self.frames_part = "dashboards"
        """The part that posts to connections are entered under"""
        self.roles: dict[str, str] = {}

    def add(self, part: str, *, times: int = 0, **usage: float) -> None:
        """Enter quantities that don't come from an invocation."""
        if self.on:
            self.parts[part].times += times
            self.parts[part].usage.add(usage)

    def close(self, part: str, account: Account) -> None:
        """Enter an invocation under a part; ``count``'s calls for visits go under "visits", and
        those for people under theirs."""
        self.invoked[account.function] += 1
        if not self.on:
            return
        entry = self.parts[part]
        entry.times += 1
        account.cpu += self.prices.assumed["client_cpu"] * len(account.calls)
        self._enter_calls(part, account)
        memory, platform_lines = _terms(account.function)
        posts = len(account.frames) + len(account.pushed)
        seconds = self.prices.seconds(
            cpu=account.cpu + posts * self.prices.assumed["post_cpu"],
            memory=memory,
            waited=self.prices.waited(
                calls=len(account.calls),
                posts=posts,
                queued=sum(account.queued.values()),
                slept=account.slept,
            ),
        )
        overhead = self.prices.assumed["frame_overhead"]
        entry.usage.add(
            {
                "lambda_requests": 1,
                "lambda_gb_seconds": seconds * memory / 1024,
                "log_bytes": account.log_bytes
                + platform_lines * self.prices.assumed["platform_lines"],
            }
        )
        entry.cpu += account.cpu
        entry.slept += account.slept
        for frames, purpose in ((account.frames, self.frames_part), (account.pushed, PUSHES)):
            if frames:
                self.parts[purpose].usage.add(
                    {
                        "socket_messages": messages_units(frames),
                        "bytes_out": sum(frames) + overhead * len(frames),
                    }
                )
        for queue, number in account.queued.items():
            if number:  # each is sent, received and deleted
                entry.usage[f"{queue}_requests"] += 3 * number

    def _enter_calls(self, part: str, account: Account) -> None:
        for call in account.calls:
            roles = {self.roles[name] for name in call.tables}
            kept = part
            if account.function == "count":
                kept = next((own for own in ("visits", PEOPLE) if own in roles), part)
            units = units_of(call)
            entry = self.parts[kept]
            entry.usage["write_units" if call.operation in WRITES else "read_units"] += units
            what = call.operation, "+".join(sorted(roles))
            entry.operations[what] += units
            entry.calls_of[what] += 1
            if part == "recounts" and call.operation == "PutItem" and not call.failed:
                self.counts["recounts"] += 1
        self._join_transactions(account)

    def _join_transactions(self, account: Account) -> None:
        """Subtract the cost of extra transactions for the same visits: each updates the views."""
        made = [
            units_of(call) / 2 - 1
            for call in account.calls
            if call.operation == "TransactWriteItems"
            and {self.roles[name] for name in call.tables} == {"visits", "counts"}
        ]
        extra = len(made) - math.ceil(sum(made) / VISITS_PER_TRANSACTION)
        if extra > 0:
            self.parts["visits"].usage["write_units"] -= 2 * extra
            self.parts["visits"].operations["TransactWriteItems", "counts+visits"] -= 2 * extra
            self.split_transactions += extra

    def require_every_function(self, of: Template | None = None) -> None:
        """Raise NeverInvokedError unless all of a template's functions were invoked."""
        functions = set((of or template()).functions)
        if missing := sorted(functions - set(self.invoked)):
            raise NeverInvokedError(
                f"never invoked, so their cost is missing: {', '.join(missing)}. Make the replay "
                "invoke them, or lab/bench/extras.py if viewer-hours don't need them."
            )


@cache
def _terms(function: str) -> tuple[int, bool]:
    """A function's memory, and whether Lambda logs START, END and REPORT for it."""
    spec = template().functions[function]
    logging = spec.get("LoggingConfig", {})
    quiet = logging.get("LogFormat") == "JSON" and logging.get("SystemLogLevel") == "WARN"
    return int(spec["MemorySize"]), not quiet


def units_of(call: Call) -> float:
    """Units of a call. A write whose condition fails costs what it would have written: one unit,
    because rows are under 1 KB; DynamoDB's answer does not include it. A query that finds nothing
    costs half a unit, or one if it is consistent; DynamoDB Local reports none."""
    if call.failed and call.operation in WRITES:
        return call.units or 1.0
    if call.operation == "Query":
        return call.units or (1.0 if call.consistent else 0.5)
    return call.units or 0.0


class BilledWorld(World):
    """A deployment whose invocations are entered in a ledger, on a clock with an agenda."""

    def __init__(self, engine: Engine, clock: Timeline, bill: Ledger, **parameters: str) -> None:
        super().__init__(engine, clock, **parameters)
        self.agenda = clock
        self.bill = bill
        bill.engine = engine.name
        bill.roles = {table.name: role for role, table in self.tables.items()}
        self.management = _MeteredManagementApi(self)
        self.admin = self.token(lives=DAY // SECOND, headcount="admin")  # by the machine's clock
        self.part = ""
        self.left_deferred: Callable[[], object] = lambda: None
        """Called when an invocation has queued deferred tasks."""
        self.account: Account | None = None
        self._headers: dict[str, set[str]] = defaultdict(set)
        self._calls: list[Call] = []
        clock_sleep = clock.sleep

        def sleep(seconds: float) -> None:
            mine = self._switch(None)
            clock_sleep(seconds)
            self._switch(mine)
            if mine is not None:
                mine.slept += max(0.0, seconds)

        self._sleep: Callable[[float], None] = sleep

    def new_id(self) -> str:
        """A unique id as long as a real one, so that rows have their real sizes."""
        return f"{next(self._ids):032x}"

    def request_id(self) -> str:
        """A request id as long as the gateway's."""
        return f"{next(self._ids):015x}="

    @contextmanager
    def metered(self) -> Iterator[None]:
        """Enter the engine's calls and the handlers' log lines during a block."""
        with ExitStack() as stack:
            returned = stack.enter_context(returning_failed_rows(self.engine))
            self._calls = stack.enter_context(self.engine.metered(capacity=True)).calls
            stack.enter_context(redirect_stdout(_LOG))
            stack.enter_context(patch.object(_LOG, "world", self))
            if self.engine.name != MEMORY:
                # The build of 2020 accepts 10 actions: Ledger subtracts what that adds.
                stack.enter_context(patch.object(visits, "VISITS_PER_TRANSACTION", 9))
            # The agenda waits for one thread that sleeps, not for the posts of a version at once.
            stack.enter_context(patch("concurrent.futures.ThreadPoolExecutor", SequentialPool))
            # The site reads the environment: not what make exports for the stack.
            site = {"SOCKET_URL": "wss://socket.example.test/live"}
            site |= dict.fromkeys(("SETTINGS", "ROLL_UPS", "CONTAINERS"), "")
            stack.enter_context(patch.dict(os.environ, site))
            yield
            self.bill.returned_rows += len(returned)

    def _process(self, function: str) -> tuple[ModuleType, Services]:
        new = function not in self._processes
        module, services = super()._process(function)
        if new:
            wired: Any = services
            wired.dynamodb = _Client(self)
        return module, services

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Call a function's real handler, and enter its cost under the current part."""
        part, account = self.part, Account(function)
        module, services = self._process(function)
        services.sleep = self._sleep  # type: ignore[assignment]
        replace_services(services)
        before = self._switch(account)
        queued = self._queued()
        started = time.thread_time()
        try:
            return module.handler(event, None)
        finally:
            account.cpu += time.thread_time() - started
            self._switch(before)
            fifo, standard = self._queued()
            account.queued["fifo"] = max(0, fifo - queued[0])
            account.queued["queue"] = max(0, standard - queued[1])
            self.bill.close(part, account)
            if self.queue.deferred:
                self.left_deferred()

    def ask(self, part: str, event: Mapping[str, Any], *, caller: str) -> Any:
        """Send an HTTP request, and enter the bytes of its response, which is returned.

        HTTP/2 repeats a header of a connection in one byte; each ``caller`` has its connection.
        """
        self.part = part
        method = event["requestContext"]["http"]["method"]
        response = self.invoke(template().function_of(method, event["rawPath"]), event)
        assumed = self.bill.prices.assumed
        body = response.get("body") or ""
        size = len(base64.b64decode(body) if response.get("isBase64Encoded") else body.encode())
        known = self._headers[caller]
        headers = {f"{name}: {value}\r\n" for name, value in response.get("headers", {}).items()}
        size += sum(map(len, headers - known)) + len(headers & known)
        saved = sum(map(len, headers & known)) - len(headers & known)
        known |= headers
        self.bill.add(part, http_requests=1, bytes_out=size + assumed["response_overhead"])
        if self.bill.on:
            self.bill.parts[part].saved_header_bytes += saved
        return response

    def _queued(self) -> tuple[int, int]:
        """The number of messages in the FIFO queue, and in the standard ones."""
        queue = self.queue
        standard = (queue.deferred, queue.closings, queue.erasures, queue.pieces)
        return len(queue.messages), sum(map(len, standard))

    def _switch(self, account: Account | None) -> Account | None:
        """Enter the calls so far under the current account, and switch to another."""
        before = self.account
        if before is not None:
            before.calls += self._calls
        self._calls.clear()
        self.account = account
        return before


class _Client:
    """The engine with the interface of our own client.

    The engine's CPU time is not counted as the handler's; parsing the answer's JSON is.
    """

    def __init__(self, world: BilledWorld) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        operation = getattr(self._world.engine.client, name)

        def call(**parameters: Any) -> dict[str, Any]:
            with self._uncounted():
                answer = operation(**parameters)
                answer.pop("ResponseMetadata", None)
                text = json.dumps(answer, separators=(",", ":"), default=_as_base64)
            return json.loads(text)  # type: ignore[no-any-return]

        return call

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        started = time.thread_time()
        try:
            yield
        finally:
            if self._world.account is not None:
                self._world.account.cpu -= time.thread_time() - started

    def query_raw(self, **parameters: Any) -> dict[str, Any]:
        """A query whose rows are not parsed."""
        with self._uncounted():
            answer = self._world.engine.client.query(**parameters)
            rows = [
                json.dumps(one, separators=(",", ":"), default=_as_base64).encode()
                for one in answer["Items"]
            ]
        return {**answer, "Items": rows}

    def get_paginator(self, name: str) -> Paginator:
        """Pages, each requested and parsed as one answer."""
        return Paginator(getattr(self, name))


def _as_base64(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


class _MeteredManagementApi(FakeManagementApi):
    """The WebSocket API's management API, which enters the size of each post."""

    def __init__(self, world: BilledWorld) -> None:
        super().__init__()
        self._world = world

    def post_to_connection(self, **params: Any) -> None:
        if (account := self._world.account) is not None:
            is_count = params["Data"].startswith(b'{"type":"count"')
            (account.pushed if is_count else account.frames).append(len(params["Data"]))
        super().post_to_connection(**params)


class _Log(TextIOBase):
    """Standard output as the log. There is only one, because a logger keeps its first stream."""

    world: BilledWorld | None = None

    def write(self, text: str) -> int:
        world = self.world
        account = world.account if world is not None else None
        if world is None or account is None:
            return sys.stderr.write(text)
        overhead = world.bill.prices.assumed["log_line_overhead"]
        account.log_bytes += len(text.encode()) + overhead * text.count("\n")
        return len(text)


_LOG = _Log()
