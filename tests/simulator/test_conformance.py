"""The model accepts what the real code does, and refuses what mutations of it do."""

from __future__ import annotations

from random import Random

import pytest

from lab.interleavings.mistakes import BY_NAME
from lab.model.conformance import (
    KINDS,
    REFUSED,
    Event,
    Follower,
    Kind,
    Result,
    follow,
    mutations,
    table,
    trace_of,
)

BY_SCENE = {kind.scene.name: kind for kind in KINDS}
JOINS = BY_SCENE["one leaves, one joins, one dashboard"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=BY_SCENE)
def test_the_model_accepts_what_the_code_does(kind: Kind) -> None:
    result = follow(kind, range(8))
    assert result.refused == ()
    assert result.distinct > 1
    assert result.events > 40


@pytest.mark.slow
@pytest.mark.parametrize("scene", [name for name, planted in REFUSED.items() if planted])
def test_the_model_refuses_what_a_mutation_does(scene: str) -> None:
    kind, mutation = BY_SCENE[scene], REFUSED[scene][0]
    assert follow(kind, range(200), mutation).refused
    assert follow(kind, range(1)).refused == ()  # the mutation is gone


def _order(seed: int = 0) -> Random:
    return Random(seed)  # noqa: S311 - a simulation, not a secret


@pytest.mark.parametrize("kind", KINDS, ids=BY_SCENE)
def test_a_trace_depends_on_nothing_but_its_seed(kind: Kind) -> None:
    assert trace_of(kind, _order()) == trace_of(kind, _order())


def _refused(trace: tuple[Event, ...]) -> Event | None:
    refused = Follower(JOINS.scene).refuses(trace)
    return refused[-1] if refused else None


def test_a_trace_with_a_step_left_out_or_changed_or_repeated_is_refused() -> None:
    trace = trace_of(JOINS, _order())
    assert _refused(trace) is None
    at = [what for what, *_ in trace].index("version")
    what, number, sessions = trace[at]
    for wrong in ((what, number, 7), (what, 9, sessions)):
        assert _refused((*trace[:at], wrong, *trace[at + 1 :])) == wrong
    assert _refused((*trace[: at + 1], *trace[at:])) == trace[at]
    for left_out in (trace[at], ("row", 1, 1, True)):
        assert _refused(tuple(one for one in trace if one != left_out)) is not None
    assert _refused((*trace, ("problem", "s0 b1: ValueError"))) == ("problem", "s0 b1: ValueError")


def test_mutations_are_known_and_belong_to_scenes() -> None:
    assert REFUSED.keys() == BY_SCENE.keys()
    assert all(name in BY_NAME for names in REFUSED.values() for name in names)


def test_the_tables_say_what_was_refused() -> None:
    refused = Result("scene", "mutation", 3, 2, 9, 5, 0.1, [("row", 0, 1, True), ("frame", 0, 2)])
    assert "REFUSED scene" in table([refused])
    assert "row 0 1 True" in table([refused])
    assert "frame 0 2" in mutations([refused])
    assert "NEVER" in mutations([Result("scene", "mutation", 3)])
