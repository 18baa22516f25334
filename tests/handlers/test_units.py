"""The cost of every operation, in exact units."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import blake2b

import pytest

from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.template import ROOT
from lab.harness.world import world_on
from lab.units import Cost, markdown, measure
from tests.support.moderation import act

pytestmark = pytest.mark.dynamodb_local


@cache
def measured(engine: Engine) -> list[Cost]:
    return measure(engine)


def test_every_operation_costs_as_documented(local: Engine) -> None:
    costs = measured(local)
    assert markdown(costs) in (ROOT / "docs" / "how-it-works.md").read_text()
    assert costs == [
        Cost("join: the first message with `seq` 1", 1, 1.0, 0.5),
        Cost("visit begins: its row and the views", 1, 4.0, 0.0),
        Cost("visit begins: its person's row", 1, 1.0, 0.0),
        Cost("recount of a space with 1 session", 1, 1.0, 2.0),
        Cost("publish a version to 1 dashboard", 2, 3.0, 3.0),
        Cost("steady beat", 1, 1.0, 0.5),
        Cost("steady beat, the count remembered", 1, 1.0, 0.0),
        Cost("page change", 1, 1.0, 0.5),
        Cost("page change of a client that does not send `changed`", 2, 2.0, 0.5),
        Cost("beat with 5 s of lease left", 2, 2.0, 0.5),
        Cost("page closed", 1, 1.0, 1.0),
        Cost("the next page", 1, 1.0, 0.5),
        Cost("leave", 1, 1.0, 1.0),
        Cost("visit ends: the end in its row", 1, 1.0, 0.0),
        Cost("visit ends: its person's row", 1, 1.0, 0.0),
        Cost("join: a first message without `seq`", 2, 2.0, 0.0),
        Cost("a person with 1 session is looked up", 0, 0.0, 1.0),
        Cost("bin an ended row", 1, 1.0, 0.0),
        Cost("recount of a space with 100 sessions", 1, 1.0, 14.0),
    ]


def test_a_visit_costs_at_most_8_write_units_beyond_its_beats(local: Engine) -> None:
    units = {cost.what: cost.write_units for cost in measured(local)}
    beyond = (
        units["join: a first message without `seq`"]
        - 1.0  # the join is a beat too
        + units["visit begins: its row and the views"]
        + units["leave"]
        + units["visit ends: the end in its row"]
        + units["bin an ended row"]
    )
    assert beyond <= 8.0


@pytest.mark.slow
def test_a_message_rules_and_removals_cost_a_steady_beat_nothing(local: Engine) -> None:
    with world_on(local, Clock()) as world:
        for number in range(60):
            world.beat(f"s{number}", page=f"/{number}/" + blake2b(bytes([number])).hexdigest())
        for number in range(20):
            rule = {"type": "spike", "factor": 2, "minutes": 60, "atLeast": 1_000}
            act(world, "PUT", f"alerts/rule-{number:055d}", rule)
        act(world, "POST", "messages", {"text": "x" * 280})
        for number in range(100):
            act(world, "POST", "removals", {"userId": f"u{number}"})
        world.settle()
        for number in range(59):
            world.clock.advance(60)
            (world.leave if number % 3 else world.beat)(f"s{number % 10}")
            world.settle()
        act(world, "POST", "messages", {"text": "x" * 280})
        for number in range(50):
            world.beat(f"s{number}", page=f"/{number}/" + blake2b(bytes([number])).hexdigest()[:60])
        world.settle()
        world.clock.advance(2)
        world.beat("s60")
        world.clock.advance(2)
        with local.metered(capacity=True) as meter:
            answer = world.beat("s60")
        assert answer.body["notice"]["text"] == "x" * 280
        assert (meter.writes, meter.write_units) == (["UpdateItem"], 1.0)
        assert (meter.operations, meter.read_units) == (["GetItem", "UpdateItem"], 0.5)


@pytest.mark.parametrize(("roll_ups", "more"), [("", 0.0), ("on", 1.0)])
def test_a_rollup_costs_a_write_unit_at_a_join_and_at_a_leave_and_none_in_between(
    local: Engine, roll_ups: str, more: float
) -> None:
    with world_on(local, Clock(), RollUps=roll_ups) as world:
        found: dict[str, float] = {}

        def note(what: str, act: Callable[[], object]) -> None:
            world.clock.advance(3)
            with local.metered(capacity=True) as meter:
                act()
            found[what] = meter.write_units

        note("join", lambda: world.beat("s1", visitorId="v1", page="/1", seq=1))
        note("steady beat", lambda: world.beat("s1", visitorId="v1", page="/1", seq=2))
        note("page change", lambda: world.beat("s1", visitorId="v1", page="/2", seq=3))
        note("page closed", lambda: world.leave("s1", seq=4, mayReturn=True))
        note("the next page", lambda: world.beat("s1", visitorId="v1", page="/3", seq=5))
        note("leave", lambda: world.leave("s1", seq=6))
    assert found == {
        "join": 1.0 + more,
        "steady beat": 1.0,
        "page change": 1.0,
        "page closed": 1.0 + more,
        "the next page": 1.0 + more,
        "leave": 1.0 + more,
    }
