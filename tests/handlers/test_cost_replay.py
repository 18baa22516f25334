"""The replay that the cost ledger is made of, at its smallest."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from headcount.store.presence import PresenceTable

from tests.bench import beside
from tests.bench.cost import figures
from tests.bench.figures import compare
from tests.bench.model import VIEWERS_PARTS
from tests.bench.prices import prices
from tests.bench.replay import (
    LONGEST_SOCKET,
    ByHttp,
    BySocket,
    Outcome,
    Scenario,
    Way,
    replay,
)
from tests.bench.report import Runs, beat_units, page, socket_floor, visit_units
from tests.support.engines import Engine, memory_engine
from tests.support.template import ROOT

SHORT = Scenario(viewers=12, seconds=120, stay=240)
SHORTEST = Scenario(viewers=6, seconds=60, stay=120)
SOCKETS = Scenario(viewers=12, seconds=120, stay=240, way=BySocket())
LONG_SOCKETS = Scenario(viewers=2, seconds=1_200, stay=36_000, way=BySocket())


@cache
def played(scenario: Scenario = SHORT, seed: int = 1) -> Outcome:
    with memory_engine() as engine:
        return replay(engine, scenario, prices())


def amounts(outcome: Outcome) -> dict[str, dict[str, float]]:
    """All that no machine's speed changes."""
    return {
        part: {name: amount for name, amount in entry.usage.items() if "seconds" not in name}
        for part, entry in outcome.ledger.parts.items()
        if entry.usage
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


def test_the_replay_waits_as_the_client_does() -> None:
    """The client's own words, and what they come to here."""
    client = (ROOT / "functions" / "site" / "static" / "headcount.js").read_text()
    assert "said.nextBeatIn * SECOND * (1 + Math.random() / 20)" in client
    assert (ByHttp().wait(0.0), ByHttp().wait(1.0)) == (30.0, 31.5)
    assert "LONGEST_SILENCE * (0.9 + Math.random() / 10)" in client
    assert "LONGEST_SILENCE = 9 * MINUTE" in client
    assert (BySocket().wait(0.0), BySocket().wait(1.0)) == pytest.approx((486.0, 540.0))
    assert "LONGEST_SOCKET = 105 * MINUTE" in client
    assert LONGEST_SOCKET == 105 * 60


def test_an_answers_header_is_paid_for_once_a_connection() -> None:
    beats = played().ledger.parts["beats"]
    headers = beats.spared / beats.times
    sent = beats.usage["bytes_out"] / beats.times
    assert headers > 200
    assert sent < headers


def test_who_is_there_by_connection_pays_for_minutes_and_for_what_changes() -> None:
    parts = played(SOCKETS).ledger.parts
    assert parts["connections"].usage == {"socket_minutes": 24.0}
    changes = parts["page changes"]
    assert changes.usage["socket_messages"] == changes.times > 0
    assert changes.operations["UpdateItem", "presence"] == changes.times
    assert "http_requests" not in changes.usage
    # To join and to leave, crash or not, are no messages.
    assert parts["joins"].usage["socket_messages"] == 0
    assert parts["leaves"].times == played(SOCKETS).ledger.counts["visits"]


def test_a_connection_that_is_silent_is_beaten_over_and_replaced_before_it_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.bench.replay.PAGE_EVERY", 1_500.0)
    monkeypatch.setattr("tests.bench.replay.LONGEST_SOCKET", 900.0)
    with memory_engine() as engine:
        ledger = replay(engine, LONG_SOCKETS, prices()).ledger
    beats = ledger.parts["beats"]
    assert beats.usage["socket_messages"] < beats.times  # to dial and to hang up are none
    assert beats.usage["write_units"] > beats.times / 2
    assert ledger.counts["visits"] == 0


def test_a_product_that_asks_once_more_for_each_beat_is_a_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    committed = figures([SHORTEST])
    assert compare(committed, figures([SHORTEST]))[1]
    steady = PresenceTable.steady

    def slower(self: PresenceTable, **beat: Any) -> Any:
        self.get(beat["space"], beat["shard"], beat["session"])
        return steady(self, **beat)

    monkeypatch.setattr(PresenceTable, "steady", slower)
    lines, holds = compare(committed, figures([SHORTEST]))
    assert not holds
    worse = {line.split()[0] for line in lines if "WORSE" in line}
    assert worse >= {"cost.by_HTTP.read_units_of_beats_per_viewer_hour"}
    assert "cost.by_HTTP.write_units_per_viewer_hour" not in worse


def test_the_page_says_all_of_it() -> None:
    large = replace(SHORTEST, viewers=12)
    socket = replace(SHORTEST, way=BySocket())
    small, middle = played(SHORTEST), played(SHORTEST)
    text = page(Runs(small, middle, played(large), small, played(socket), played(socket)))
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(titles) == len(set(titles)) == 10
    assert all(f"| {part} |" in text for part in (*VIEWERS_PARTS, *beside.DONE))


def test_what_is_said_by_connection_has_a_price_that_nothing_takes_off() -> None:
    floor = socket_floor(prices())
    assert floor["connection minutes"] == pytest.approx(0.015)
    assert floor["messages that say a page changed"] == pytest.approx(0.012)
    assert sum(floor.values()) == pytest.approx(0.0385, abs=0.0001)
    parts = played(SOCKETS).ledger.parts
    assert "http_requests" not in parts["page changes"].usage


def test_what_no_viewer_hour_needs_is_entered_apart() -> None:
    ledger = played().ledger
    for part in beside.DONE:
        assert part not in VIEWERS_PARTS
        assert ledger.parts[part].times > 0


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


@pytest.mark.dynamodb_local
@pytest.mark.parametrize("way", [ByHttp(), BySocket()], ids=lambda way: way.name)
def test_it_comes_out_the_same_on_amazons_own_engine(local: Engine, way: Way) -> None:
    scenario = replace(SHORTEST, way=way)
    amazons, ours = amounts(replay(local, scenario, prices())), amounts(played(scenario))
    for part in (*VIEWERS_PARTS, "dashboards"):
        assert amazons.get(part) == ours.get(part), part
