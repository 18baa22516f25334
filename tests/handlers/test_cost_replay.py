"""The replay that the cost ledger is made of, at its smallest."""

from __future__ import annotations

from functools import cache

import pytest

from tests.bench.prices import prices
from tests.bench.replay import Outcome, Scenario, replay
from tests.bench.report import beat_units, visit_units
from tests.support.engines import Engine, memory_engine

SHORT = Scenario(viewers=12, seconds=120, stay=240)
SHORTEST = Scenario(viewers=6, seconds=60, stay=120)


@cache
def played(scenario: Scenario = SHORT, seed: int = 1) -> Outcome:
    with memory_engine() as engine:
        return replay(engine, scenario, prices())


def amounts(outcome: Outcome) -> dict[str, dict[str, float]]:
    """All that no machine's speed changes."""
    return {
        part: {name: amount for name, amount in entry.usage.items() if "seconds" not in name}
        for part, entry in outcome.ledger.parts.items()
    }


def test_every_part_of_a_viewer_hour_is_entered() -> None:
    ledger = played().ledger
    once = ("beats", "joins", "page changes", "leaves", "visits", "recounts", "publishes", "days")
    assert all(ledger.prices.cost(ledger.parts[part].usage) > 0 for part in once)
    assert ledger.parts["sweeps"].times == 2
    assert ledger.counts["visits"] >= ledger.parts["leaves"].times > 0


def test_a_viewer_sends_as_many_requests_as_the_beat_says() -> None:
    parts = played().ledger.parts
    sent = sum(parts[name].times for name in ("beats", "page changes", "joins"))
    assert sent == pytest.approx(12 * 120 / 30, rel=0.2)
    assert parts["beats"].usage["http_requests"] == parts["beats"].times


def test_a_steady_beat_is_one_unit_and_a_visit_at_most_8_beside() -> None:
    assert beat_units(played()) == 1.0
    assert visit_units(played()) <= 8.0


def test_the_dashboard_hears_versions_and_pays_for_its_minutes() -> None:
    ledger = played().ledger
    watched = ledger.parts["dashboards"].usage
    assert watched["socket_minutes"] == 2
    assert watched["socket_messages"] == ledger.parts["publishes"].times + 2  # asked, and answered


def test_beats_that_are_not_sent_are_entered_as_those_that_are() -> None:
    sampled = played(Scenario(viewers=12, seconds=120, stay=240, one_of=2)).ledger
    assert sampled.counts["unsent"] > 0
    assert sampled.parts["beats"].times == played().ledger.parts["beats"].times
    assert sampled.parts["beats"].usage["write_units"] == sampled.parts["beats"].times


def test_a_replay_comes_out_the_same_again() -> None:
    assert amounts(played(SHORTEST)) == amounts(played(SHORTEST, 2))


@pytest.fixture
def twice(local: Engine) -> tuple[Outcome, Outcome]:
    return replay(local, SHORTEST, prices()), played(SHORTEST)


@pytest.mark.dynamodb_local
def test_it_comes_out_the_same_on_amazons_own_engine(twice: tuple[Outcome, Outcome]) -> None:
    amazons, ours = map(amounts, twice)
    assert amazons == ours
