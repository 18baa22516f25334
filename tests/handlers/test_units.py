"""What everything costs, in exact units."""

from __future__ import annotations

from functools import cache

import pytest

from tests.support.engines import Engine
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
        Cost("page change", 2, 2.0, 0.0),
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
