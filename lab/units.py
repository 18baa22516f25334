"""The DynamoDB units of each operation, measured on DynamoDB Local.

    python -m lab.units

prints the table of docs/how-it-works.md as Markdown. A conditional write that fails costs what it
would have written, but DynamoDB's answer does not include it: here it counts as one unit, because
rows are under 1 KB. Each action of a transaction counts as two units, by the price list, because
DynamoDB Local reports other values.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headcount.model.session import STEADY_MARGIN, Session
from headcount.store.presence import from_item
from headcount.times import MINUTE, SECOND

from lab.harness.clock import Clock
from lab.harness.engines import WRITES, Engine, local_engine
from lab.harness.world import SITE, World, world_on

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
    """The cost of one operation."""

    what: str
    write_calls: int
    write_units: float
    read_units: float


def measure(engine: Engine) -> list[Cost]:
    """The operations of visitors, dashboards and the cleanup, one at a time."""
    with world_on(engine, Clock()) as world, returning_failed_rows(engine):
        return _measure(world)


def _measure(world: World) -> list[Cost]:
    costs: list[Cost] = []

    def note(what: str, act: Callable[[], object]) -> None:
        with world.engine.metered(capacity=True) as meter:
            act()
        writes = [call for call in meter.calls if call.operation in WRITES]
        failed = sum(call.failed for call in writes)
        costs.append(Cost(what, len(writes), meter.write_units + failed, meter.read_units))

    def beat(seq: int, **changes: Any) -> object:
        return world.beat(SESSION, seq=seq, **{**FIELDS, **changes})

    world.subscribe("c1")
    note("join: the first message with `seq` 1", lambda: beat(1))
    joined = world.filtered("count")
    settle = world.services("count").counter.settle
    note("visit begins: its row and the views", lambda: settle(_sessions(joined)))
    noter = world.services("count").people_noter
    assert noter is not None
    note("visit begins: its person's row", lambda: list(noter.note(_sessions(joined))))
    note("recount of a space with 1 session", lambda: _recount(world))
    changed = world.filtered("publish")
    note("publish a version to 1 dashboard", lambda: world.publish(changed))
    world.clock.advance(30)
    note("steady beat", lambda: beat(2))
    world.clock.advance(0.6)
    note("steady beat, the count remembered", lambda: beat(3))
    world.clock.advance(5)
    note("page change", lambda: beat(4, page="/exit", changed=True))
    world.clock.advance(5)
    note("page change of a client that does not send `changed`", lambda: beat(5, page="/help"))
    world.clock.advance((60 * SECOND - STEADY_MARGIN) / SECOND)
    note("beat with 5 s of lease left", lambda: beat(6, page="/help"))
    world.clock.advance(5)
    note("page closed", lambda: world.leave(SESSION, seq=7, mayReturn=True))
    world.clock.advance(0.3)
    note("the next page", lambda: beat(8, page="/about", changed=True))
    note("leave", lambda: world.leave(SESSION, seq=9))
    left = world.filtered("count")[-1:]
    note("visit ends: the end in its row", lambda: settle(_sessions(left)))
    note("visit ends: its person's row", lambda: list(noter.note(_sessions(left))))
    note("join: a first message without `seq`", lambda: world.beat("second", **FIELDS))
    world.settle()
    find = f"/v1/people/c:{FIELDS['userId']}"
    note("a person with 1 session is looked up", lambda: world.get(find, token=world.admin))
    world.clock.advance(5 * MINUTE / SECOND + 1)
    presence = world.services("cleanup").presence
    ended = presence.get(SITE, 0, SESSION)
    assert ended is not None
    note("bin an ended row", lambda: presence.delete_ended(ended))
    for number in range(100):
        world.beat(f"{SESSION[:-3]}{number:03d}", **{**FIELDS, "userId": f"user-{number}"})
    note("recount of a space with 100 sessions", lambda: _recount(world))
    return costs


def _recount(world: World) -> None:
    world.services("count").recounter.recount(SITE, 0)


def _sessions(records: list[dict[str, Any]]) -> list[Session]:
    return [from_item(record["dynamodb"]["NewImage"]) for record in records]


@contextmanager
def returning_failed_rows(engine: Engine) -> Iterator[list[str]]:
    """Return the row with a failed condition, as DynamoDB does and the build of 2020 does not.

    Yields a list with the table of each returned row.
    """
    returned: list[str] = []
    requests: list[dict[str, Any]] = []

    def before(params: dict[str, Any], **_: Any) -> None:
        requests.append(params)

    def after(parsed: dict[str, Any], **_: Any) -> None:
        params = requests.pop()
        if parsed.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
            return
        if params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and "Item" not in parsed:
            keys = ("partition", "session")
            key = params.get("Key") or {name: params["Item"][name] for name in keys}
            answer = unmetered.client.get_item(
                TableName=params["TableName"], Key=key, ConsistentRead=True
            )
            if "Item" in answer:
                parsed["Item"] = answer["Item"]
                returned.append(params["TableName"])

    unmetered = engine.twin()
    events = engine.client.meta.events
    calls = [f"dynamodb.{operation}" for operation in ("UpdateItem", "PutItem", "DeleteItem")]
    for call in calls:
        events.register(f"before-parameter-build.{call}", before, unique_id=f"row-{call}-before")
        events.register(f"after-call.{call}", after, unique_id=f"row-{call}-after")
    try:
        yield returned
    finally:
        for call in calls:
            events.unregister(f"before-parameter-build.{call}", unique_id=f"row-{call}-before")
            events.unregister(f"after-call.{call}", unique_id=f"row-{call}-after")
        unmetered.close()


def markdown(costs: list[Cost]) -> str:
    """The table as Markdown."""
    lines = ["| what | write calls | write units | read units |", "|---|--:|--:|--:|"]
    lines += [
        f"| {cost.what} | {cost.write_calls} | {cost.write_units:g} | {cost.read_units:g} |"
        for cost in costs
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch, local_engine(Path(scratch) / "log") as engine:
        with redirect_stdout(io.StringIO()):  # the handlers' log
            costs = measure(engine)
        print(markdown(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
