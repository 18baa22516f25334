"""The model of the pipeline: its properties hold, and it notices each mistake."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lab.model.__main__ import mistakes, table
from lab.model.explore import LIVENESS, SAFETY, explore
from lab.model.pipeline import Pipeline, Scene
from lab.model.scenes import CHUNKED, COUNTING, DIRECT, MISTAKES, PUBLISHING, SMALL, find

ONE_FAULT = (PUBLISHING, CHUNKED, DIRECT)
VANISHING = replace(COUNTING, delays=0)
QUICK = [one for one in SMALL if one.name.startswith(tuple(scene.name for scene in ONE_FAULT))]


@pytest.mark.slow
@pytest.mark.parametrize("scene", [*QUICK, VANISHING], ids=lambda scene: scene.name)
def test_every_property_holds_in_every_state(scene: Scene) -> None:
    result = explore(scene)
    assert (result.wrong, result.path) == ("", [])
    assert result.transitions > result.states > 10_000
    assert result.quiet > 0


# `make model` looks for all of them, in CI too: these are found soon.
@pytest.mark.slow
@pytest.mark.parametrize(
    "mistake", ["late records are counted", "the sweep's condition", "the sweep audits"]
)
def test_a_condition_that_is_left_out_is_noticed(mistake: str) -> None:
    found = find(mistake)
    assert found is not None
    assert found.wrong.startswith((*SAFETY, LIVENESS))
    assert found.path


def test_a_run_without_an_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "steps", lambda _, s: [("count0", "stays", s)])
    assert explore(PUBLISHING).wrong.startswith(LIVENESS)


def test_the_tables_say_what_broke_and_how() -> None:
    broken = explore(SMALL[2], "late records are counted")
    assert f"BROKEN  {broken.wrong.partition(':')[0]}" in table([broken])
    assert broken.path[0] in table([broken])
    assert "NOTHING" in mistakes([None] * len(MISTAKES))
