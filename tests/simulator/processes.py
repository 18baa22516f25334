"""Functions as Lambda runs them: warm copies, each with caches and a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import CodeType, ModuleType
from typing import Any

from headcount.clients import Services, replace_services
from headcount.settings import Settings

from tests.simulator import faults
from tests.simulator.faults import Faults
from tests.simulator.loop import Crash, Loop
from tests.support.template import ROOT, template
from tests.support.world import OneByOne

_STALLS = (100, 300, 1_000, 1_000, 3_000, 3_000, 20_000, 90_000)
"""Milliseconds that a call may take for no reason."""

Wire = Callable[["Process"], None]
"""Gives a process its AWS clients."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an invocation: ``value`` unless it failed, in which case ``why`` says how."""

    value: Any = None
    why: str = ""

    @property
    def ok(self) -> bool:
        """The handler returned."""
        return not self.why


@cache
def settings_of(function: str, parameters: tuple[tuple[str, str], ...]) -> Settings:
    """A function's settings as the template gives them, tables called by their roles."""
    names = {f"{role.capitalize()}Table": role for role in template().tables}
    environment = template().environment(function, **dict(parameters))
    return Settings({name: names.get(value, value) for name, value in environment.items()})


@cache
def timeout_of(function: str) -> int:
    """Milliseconds after which Lambda ends an invocation."""
    return int(template().functions[function]["Timeout"]) * 1000


@cache
def _code_of(function: str) -> CodeType:
    path = ROOT / "functions" / function / "app.py"
    return compile(path.read_text(), str(path), "exec")


def _load(function: str) -> ModuleType:
    """A copy of a function's module of its own; there are a few dozen in every simulation."""
    module = ModuleType(f"app_{function}")
    exec(_code_of(function), module.__dict__)  # noqa: S102 - it is our own
    for name in {"say_metrics", "say_beats"} & module.__dict__.keys():
        module.__dict__[name] = lambda *_, **__: None  # they go to the standard output
    return module


class Process:
    """One warm copy of a function."""

    def __init__(self, fleet: Fleet, function: str, number: int) -> None:
        self.function = function
        self.name = f"{function}{number}"
        self.faults = fleet.faults
        self.behind = 0  # milliseconds that this machine's clock is behind
        self.deadline = 0
        self._fleet = fleet
        self._loop = fleet.loop
        self.module: ModuleType = _load(function)
        self.services = Services(settings_of(function, fleet.parameters))
        self.services.clock = lambda: self._loop.now - self.behind
        self.services.sleep = lambda seconds: self.pause(round(float(seconds) * 1000))
        self.services.new_id = fleet.new_id
        self.services.chance = fleet.faults.random.random
        fleet.wire(self)
        wired: Any = self.services
        wired.threads = pool = OneByOne()
        if function in ("publish", "fanout", "errands"):
            wired.courier = replace(self.services.courier, pool=pool)  # type: ignore[arg-type]
        if function == "cleanup" and fleet.rows_at_once is not None:
            wired.sweeper = replace(self.services.sweeper, rows_at_once=fleet.rows_at_once)

    def now(self) -> int:
        """The moment by no machine's clock."""
        return self._loop.now

    def note(self, call: str) -> None:
        """A call goes out."""
        self._fleet.calls += 1
        self._fleet.note(f"{self.name} {call}")

    def pause(self, millis: int) -> None:
        """Let others go on. Here a machine may die, stall, or have its clock set back."""
        weather = self.faults
        if weather.on:
            if weather.strikes(faults.CRASH):
                raise Crash(f"{self.name} died")
            if weather.strikes(faults.STALL):
                millis += weather.random.choice(_STALLS)
        if self._loop.now + millis > self.deadline:
            self._loop.pause(max(0, self.deadline - self._loop.now))
            raise Crash(f"{self.name} timed out")
        self._loop.pause(millis)
        replace_services(self.services)

    def handle(self, event: Mapping[str, Any]) -> Outcome:
        """Run the handler on an event."""
        self.deadline = self._loop.now + timeout_of(self.function)
        if self.faults.strikes(faults.CLOCK_BACK):
            self.behind = self.faults.random.choice((0, 300, 1_000))
        replace_services(self.services)
        try:
            return Outcome(self.module.handler(event, None))
        except Crash as crash:
            return Outcome(why=str(crash))
        except Exception as error:
            return Outcome(why=f"{type(error).__name__}: {error}")


class Fleet:
    """All copies of all functions. A free one is taken, or a new one started."""

    def __init__(
        self,
        loop: Loop,
        weather: Faults,
        parameters: Mapping[str, str],
        wire: Wire,
        note: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.faults = weather
        self.parameters = tuple(sorted(parameters.items()))
        self.wire = wire
        self.note = note
        self.rows_at_once: int | None = None
        """Rows from which on the table is swept in segments; None: as the product has it."""
        self.calls = 0
        self._free: dict[str, list[Process]] = {}
        self._started = 0
        self._ids = 0

    def new_id(self) -> str:
        """A unique word; they come in order."""
        self._ids += 1
        return f"id-{self._ids:06d}"

    def invoke(self, function: str, event: Mapping[str, Any]) -> Outcome:
        """Have a function handle an event, and wait for what becomes of it."""
        free = self._free.setdefault(function, [])
        if free:
            process = free.pop(self.faults.random.randrange(len(free)))
        else:
            self._started += 1
            process = Process(self, function, self._started)
        self.note(f"{process.name} begins")
        outcome = process.handle(event)
        self.note(f"{process.name} ends {outcome.why}")
        # Lambda mostly replaces a copy that died; what it had cached may also survive.
        if outcome.ok or self.faults.random.random() < 0.3:
            free.append(process)
        return outcome
