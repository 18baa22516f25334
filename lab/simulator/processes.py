"""Functions as Lambda runs them: warm processes, each with its own caches and clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType, ModuleType
from typing import Any

from headcount.metric_lines import MetricLines
from headcount.metrics import BeatMeter
from headcount.settings import Settings
from headcount.wiring import Services, replace_services
from msgspec.structs import replace

from lab.harness.template import ROOT, template
from lab.harness.world import SequentialPool
from lab.simulator import faults
from lab.simulator.faults import Faults
from lab.simulator.loop import Crash, Loop

_STALLS = (100, 300, 1_000, 1_000, 3_000, 3_000, 20_000, 90_000)
"""Milliseconds by which a call may be delayed."""

_ALONE: Mapping[str, int] = {}
Wire = Callable[["Process"], None]
"""Gives a process its AWS clients."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an invocation: its ``value``, or the ``error`` if it failed."""

    value: Any = None
    error: str = ""
    crashed: bool = False
    """Whether the process ended, so that the handler could not react."""

    @property
    def ok(self) -> bool:
        """The handler returned."""
        return not self.error


@cache
def settings_of(function: str, parameters: tuple[tuple[str, str], ...]) -> Settings:
    """A function's settings from the template, with the roles as the tables' names."""
    tables = {role: role for role in template().tables}
    return Settings(template().environment(function, tables, **dict(parameters)))


@cache
def timeout_of(function: str) -> int:
    """Milliseconds after which Lambda ends an invocation."""
    return int(template().functions[function]["Timeout"]) * 1000


@cache
def _code_of(function: str) -> CodeType:
    path = ROOT / "functions" / function / "app.py"
    return compile(path.read_text(), str(path), "exec")


def _load(function: str) -> ModuleType:
    """A fresh copy of a function's module; every simulation has a few dozen."""
    module = ModuleType(f"app_{function}")
    exec(_code_of(function), module.__dict__)  # noqa: S102 - our own code
    return module


class Process:
    """A warm process of a function."""

    def __init__(self, fleet: Fleet, function: str, number: int) -> None:
        self.function = function
        self.name = f"{function}{number}"
        self.faults = fleet.faults
        self.clock_behind = 0  # milliseconds by which this machine's clock is slow
        self.deadline = 0
        self.sleeps = 0
        self.lineage: Mapping[str, int] = {}
        self._fleet = fleet
        self._loop = fleet.loop
        self.module: ModuleType = _load(function)
        self.services = Services(settings_of(function, fleet.parameters))
        self.services.clock = lambda: self._loop.now - self.clock_behind
        self.services.sleep = self._sleep
        self.services.new_id = fleet.new_id
        self.services.chance = fleet.faults.random.random
        fleet.wire(self)
        wired: Any = self.services
        wired.meter = BeatMeter("simulated", self.services.clock, out=lambda _: None)
        wired.metrics = fleet.metrics
        wired.threads = pool = SequentialPool()
        if function in ("count", "publish", "fanout", "deferred"):
            wired.broadcaster = replace(self.services.broadcaster, pool=pool)
        if function == "cleanup" and fleet.rows_per_invocation is not None:
            wired.sweeper = replace(
                self.services.sweeper, rows_per_invocation=fleet.rows_per_invocation
            )

    def _sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.pause(round(float(seconds) * 1000))

    def note(self, call: str) -> None:
        """Count a call, and note it in the trace."""
        self._fleet.calls += 1
        self._fleet.note(f"{self.name} {call}")

    def pause(self, millis: int) -> None:
        """Wait while other tasks run. The process may crash, stall or time out here."""
        injector = self.faults
        if injector.on:
            # As ``strikes``, which would be called more often than anything else.
            draw, rates = injector.random.random, injector.rates
            if draw() < rates[faults.CRASH]:
                injector.count(faults.CRASH)
                raise Crash(f"{self.name} crashed")
            if draw() < rates[faults.STALL]:
                injector.count(faults.STALL)
                millis += injector.random.choice(_STALLS)
        if self._loop.now + millis > self.deadline:
            self._loop.pause(max(0, self.deadline - self._loop.now))
            raise Crash(f"{self.name} timed out")
        self._loop.pause(millis)
        replace_services(self.services)

    def handle(self, event: Mapping[str, Any], lineage: Mapping[str, int]) -> Outcome:
        """Run the handler on an event."""
        self.lineage = {**lineage, self.function: lineage.get(self.function, 0) + 1}
        self.sleeps += 1
        self.deadline = self._loop.now + timeout_of(self.function)
        if self.faults.strikes(faults.CLOCK_BACK):
            self.clock_behind = self.faults.random.choice((0, 300, 1_000))
        replace_services(self.services)
        try:
            return Outcome(self.module.handler(event, None))
        except Crash as crash:
            return Outcome(error=str(crash), crashed=True)
        except Exception as error:
            return Outcome(error=f"{type(error).__name__}: {error}")


class Fleet:
    """The processes of all functions. An invocation takes a free one, or starts a new one."""

    def __init__(
        self,
        loop: Loop,
        injector: Faults,
        parameters: Mapping[str, str],
        wire: Wire,
        note: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.faults = injector
        self.parameters = tuple(sorted(parameters.items()))
        self.wire = wire
        self.note = note
        self.rows_per_invocation: int | None = None
        """The rows of a table that is swept in one piece; None: the product's limit."""
        self.calls = 0
        self.metrics = MetricLines("simulated", lambda: loop.now, out=lambda _: None)
        """Of all processes: nobody reads them, and each would take a while to make."""
        self._free: dict[str, list[Process]] = {}
        self._started = 0
        self._ids = 0

    def new_id(self) -> str:
        """A unique id; later ones sort later."""
        self._ids += 1
        return f"id-{self._ids:06d}"

    def invoke(
        self, function: str, event: Mapping[str, Any], lineage: Mapping[str, int] = _ALONE
    ) -> Outcome:
        """Have a function handle an event, and wait for the outcome. ``lineage``: how often each
        function ran in the chain of messages that led to this event."""
        free = self._free.setdefault(function, [])
        if free:
            process = free.pop(self.faults.random.randrange(len(free)))
        else:
            self._started += 1
            process = Process(self, function, self._started)
        self.note(f"{process.name} begins")
        outcome = process.handle(event, lineage)
        self.note(f"{process.name} ends {outcome.error}")
        # Lambda usually replaces a process that failed, but its caches may also survive.
        if outcome.ok or self.faults.random.random() < 0.3:
            free.append(process)
        return outcome
