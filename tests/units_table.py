"""What each thing that happens costs in DynamoDB units, measured on DynamoDB Local.

    python -m tests.units_table

prints the table as Markdown. A conditional write that fails costs what it would have written, and
DynamoDB does not say so in its answer: it is counted here as one unit (rows are under 1 KB).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headcount.session import STEADY_MARGIN
from headcount.times import MINUTE, SECOND
from tests.support.clock import Clock
from tests.support.engines import WRITES, Engine, local_engine
from tests.support.world import World, world_on

FIELDS: dict[str, Any] = {
    "visitorId": "0b5f3f8e-6d53-4d0e-9d0a-4f4f9f3f1c11",
    "userId": "user-000123",
    "name": "Ada Lovelace",
    "avatar": "https://images.example.test/avatars/ada.png",
    "page": "/courses/analytical-engines/chapters/7",
    "facets": {"device": "desktop", "country": "GB"},
}
SESSION = "7e1f0a52-3c27-4a63-8f8e-3f7a6a0f5d01"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing costs."""

    what: str
    write_calls: int
    write_units: float
    read_units: float


def measure(engine: Engine) -> list[Cost]:
    """The costs of everything a visitor or a dashboard causes, in the order of a visit."""
    with world_on(engine, Clock()) as world, _handing_over_rows(engine):
        return _measure(world)


def _measure(world: World) -> list[Cost]:
    costs: list[Cost] = []

    def note(what: str, act: Callable[[], object]) -> None:
        with world.engine.metered(capacity=True) as meter:
            act()
        calls = [call for call in meter.calls if call.operation in WRITES]
        failed = sum(call.failed for call in calls)
        units = meter.write_units + failed
        costs.append(Cost(what, len(calls), units, meter.read_units))

    beat = world.beat
    world.subscribe("c1")
    note("join: the first message, `seq` 1", lambda: beat(SESSION, seq=1, **FIELDS))
    joined = world.filtered("count")
    note("recount of a space with 1 session, its visit recorded", lambda: world.count(joined))
    changed = world.filtered("publish")
    note("publish to 1 dashboard", lambda: world.publish(changed))
    note("join: a first message without `seq`", lambda: beat("second", **FIELDS))
    world.settle()
    world.clock.advance(30)
    note("steady beat, count not remembered", lambda: beat(SESSION, seq=2, **FIELDS))
    note("steady beat", lambda: beat(SESSION, seq=3, **FIELDS))
    note("page change", lambda: beat(SESSION, seq=4, **{**FIELDS, "page": "/exit"}))
    world.settle()
    world.clock.advance((60 * SECOND - STEADY_MARGIN) / SECOND)
    note("beat with 5 s of lease left", lambda: beat(SESSION, seq=5, **{**FIELDS, "page": "/exit"}))
    world.settle()
    note("leave", lambda: world.leave(SESSION, seq=6))
    left = world.filtered("count")
    note("recount after a leave, the visit's end recorded", lambda: world.count(left))
    world.settle()
    world.clock.advance(6 * MINUTE / SECOND)
    world.sweep()
    world.settle()
    world.tables["presence"].put(_many_sessions(world))
    return costs


def _many_sessions(world: World) -> Any:
    del world
    raise NotImplementedError
