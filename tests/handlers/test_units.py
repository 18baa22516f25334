"""What everything costs, in exact units."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

import pytest

from tests.support.clock import Clock
from tests.support.engines import Engine
from tests.support.moderation import act
from tests.support.world import world_on
from tests.units_table import Cost, markdown, measure

pytestmark = pytest.mark.dynamodb_local


@cache
def measured(engine: Engine) -> list[Cost]:
    return measure(engine)


def test_everything_costs_what_the_readme_says(local: Engine) -> None:
    costs = measured(local)
    print(markdown(costs))
    assert costs == [
        Cost("join: the first message with `seq` 1", 1, 1.0, 0.5),
        Cost("visit begins: its row and the views", 1, 4.0, 0.0),
        Cost("recount of a space with 1 session", 1, 1.0, 2.0),
        Cost("publish a version to 1 dashboard", 1, 2.0, 3.0),
        Cost("steady beat", 1, 1.0, 0.5),
        Cost("steady beat, the count remembered", 1, 1.0, 0.0),
        Cost("page change", 1, 1.0, 0.5),
        Cost("page change of a client that does not say `changed`", 2, 2.0, 0.5),
        Cost("beat with 5 s of lease left", 2, 2.0, 0.5),
        Cost("leave", 1, 1.0, 1.0),
        Cost("visit ends: the end in its row", 1, 1.0, 0.0),
        Cost("join: a first message without `seq`", 2, 2.0, 0.0),
        Cost("bin an ended row", 1, 1.0, 0.0),
        Cost("recount of a space with 100 sessions", 1, 1.0, 12.0),
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
