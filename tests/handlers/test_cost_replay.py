"""The replay that fills the cost ledger, with few viewers."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from headcount.model.intervals import BY_SIZE
from headcount.model.session import Arrival
from headcount.store.presence import PresenceTable

from lab.bench import extras
from lab.bench.cost import PAGE, TELLING, differences, figures, with_sentence
from lab.bench.figures import compare
from lab.bench.ledger import PEOPLE, ROLL_UPS
from lab.bench.model import VIEWERS_PARTS
from lab.bench.prices import prices
from lab.bench.replay import (
    LONGEST_SOCKET,
    ByHttp,
    BySocket,
    Outcome,
    Scenario,
    Transport,
    replay,
)
from lab.bench.report import (
    SENTENCE,
    SIZES,
    Runs,
    beat_units,
    doors,
    in_a_sentence,
    monthly_fixed,
    page,
    socket_floor,
    targets,
    visit_units,
)
from lab.bench.variants import (
    Pair,
    RollUpModel,
    Variants,
    part_rhythm,
    parts_of,
    people_units,
    written_in_a_visit,
)
from lab.harness.engines import Engine, memory_engine
from lab.harness.template import ROOT

pytestmark = pytest.mark.exhaustive

SHORT = Scenario(viewers=12, seconds=120, visit_seconds=240)
SHORTEST = Scenario(viewers=6, seconds=60, visit_seconds=120)
SOCKETS = Scenario(viewers=12, seconds=120, visit_seconds=240, transport=BySocket())
LONG_SOCKETS = Scenario(viewers=2, seconds=1_200, visit_seconds=36_000, transport=BySocket())


@cache
def played(scenario: Scenario = SHORT, seed: int = 1) -> Outcome:
    with memory_engine() as engine:
        return replay(engine, scenario, prices())


def amounts(outcome: Outcome) -> dict[str, dict[str, float]]:
    """The quantities that don't depend on the machine's speed."""
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


def test_a_viewer_sends_as_many_requests_as_the_interval_requires() -> None:
    parts = played().ledger.parts
    sent = sum(parts[name].times for name in ("beats", "page changes", "joins"))
    assert sent == pytest.approx(12 * 120 / 30, rel=0.2)
    assert parts["beats"].usage["http_requests"] == parts["beats"].times


def test_the_replay_waits_as_the_client_does() -> None:
    """The client's source, and the replay's waits."""
    client = (ROOT / "clients" / "headcount.js").read_text()
    assert "result.nextBeatIn * SECOND * (1 + Math.random() / 20)" in client
    assert (ByHttp().wait(0.0), ByHttp().wait(1.0)) == (30.0, 31.5)
    assert "MAX_SILENCE * (0.9 + Math.random() / 10)" in client
    assert "MAX_SILENCE = 9 * MINUTE" in client
    assert (BySocket().wait(0.0), BySocket().wait(1.0)) == pytest.approx((486.0, 540.0))
    assert "MAX_SOCKET_AGE = 105 * MINUTE" in client
    assert LONGEST_SOCKET == 105 * 60


def test_a_response_header_is_billed_in_full_once_per_connection() -> None:
    beats = played().ledger.parts["beats"]
    headers = beats.saved_header_bytes / beats.times
    sent = beats.usage["bytes_out"] / beats.times
    assert headers > 200
    assert sent < headers


def test_presence_by_connection_is_billed_by_minutes_and_changes() -> None:
    parts = played(SOCKETS).ledger.parts
    assert parts["connections"].usage == {"socket_minutes": 24.0}
    changes = parts["page changes"]
    assert changes.usage["socket_messages"] == changes.times > 0
    assert changes.operations["UpdateItem", "presence"] == changes.times
    assert "http_requests" not in changes.usage
    # Joining and leaving, also by a crash, are no messages.
    assert parts["joins"].usage["socket_messages"] == 0
    assert parts["leaves"].times == played(SOCKETS).ledger.counts["visits"]


def test_a_silent_connection_has_beats_and_is_replaced_before_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lab.bench.replay.PAGE_EVERY", 1_500.0)
    monkeypatch.setattr("lab.bench.replay.LONGEST_SOCKET", 900.0)
    with memory_engine() as engine:
        ledger = replay(engine, LONG_SOCKETS, prices()).ledger
    beats = ledger.parts["beats"]
    assert (
        beats.usage["socket_messages"] < beats.times
    )  # connecting and disconnecting are no messages
    assert beats.usage["write_units"] > beats.times / 2
    assert ledger.counts["visits"] == 0


def test_an_additional_read_for_each_beat_is_a_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    committed = figures([SHORTEST])
    assert compare(committed, figures([SHORTEST]))[1]
    steady = PresenceTable.steady

    def slower(self: PresenceTable, beat: Arrival) -> Any:
        self.get(beat.space, beat.shard, beat.session)
        return steady(self, beat)

    monkeypatch.setattr(PresenceTable, "steady", slower)
    lines, holds = compare(committed, figures([SHORTEST]))
    assert not holds
    worse = {line.split()[0] for line in lines if "WORSE" in line}
    assert worse >= {"cost.by_HTTP.read_units_of_beats_per_viewer_hour"}
    assert "cost.by_HTTP.write_units_per_viewer_hour" not in worse


def test_the_page_has_all_sections_and_parts() -> None:
    large = replace(SHORTEST, viewers=12)
    socket = replace(SHORTEST, transport=BySocket())
    small, middle = played(SHORTEST), played(SHORTEST)
    text = page(Runs(small, middle, played(large), small, played(socket), played(socket)))
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(titles) == len(set(titles)) == 12
    assert all(f"| {part} |" in text for part in (*VIEWERS_PARTS, *extras.EXTRAS))


@cache
def runs() -> Runs:
    small, middle = played(SHORTEST), played(SHORT)
    large, socket = played(replace(SHORTEST, viewers=12)), played(SOCKETS)
    listening = played(replace(SOCKETS, transport=BySocket(listens=True)))
    return Runs(small, middle, large, small, socket, socket, listening)


@cache
def variants() -> Variants:
    rolled = played(replace(SHORT, roll_ups=True))
    few = Pair(played(SHORTEST), played(replace(SHORTEST, roll_ups=True)))
    return Variants(played(replace(SHORT, people=False)), few, Pair(played(), rolled))


def test_people_and_roll_ups_add_a_write_to_a_join_and_a_leave_and_nothing_to_a_beat() -> None:
    found = variants()
    nobody, standard = found.nobody.ledger, found.middle.without.ledger
    rolled = found.middle.rolled.ledger
    for name in ("beats", "joins", "leaves", "page changes"):
        assert amounts(found.nobody)[name] == amounts(found.middle.without)[name], "not by people"
    assert nobody.parts[PEOPLE].usage == {}
    assert people_units(found.middle.without) == 1.0
    looks = standard.parts[PEOPLE].usage["read_units"]
    assert looks == pytest.approx(standard.parts["page changes"].times / 2, abs=1)
    for ledger in (standard, rolled):
        assert ledger.parts["beats"].usage["write_units"] == ledger.parts["beats"].times
    for name in ("joins", "leaves"):
        part = rolled.parts[name]
        assert part.usage["write_units"] == 2 * part.times
    assert written_in_a_visit(found.middle) == pytest.approx(2.0, abs=0.2)
    assert rolled.parts[ROLL_UPS].times > 0
    assert standard.parts[ROLL_UPS].usage == {}


def test_a_lookup_is_half_a_read_unit_and_half_for_each_session() -> None:
    parts = played().ledger.parts
    asked = {name: parts[name].usage["read_units"] for name in extras.PEOPLE}
    assert (asked[extras.LOOKUP], asked[extras.LOOKUPS]) == (1.0, 50.5)
    assert all(parts[name].usage["write_units"] == 0 for name in (extras.LOOKUP, extras.TELL))
    assert (parts[extras.WATCH].usage["write_units"], asked[extras.WATCH]) == (5.0, 2.0)
    assert asked[extras.TELL] == 3.0


def test_roll_ups_cost_less_per_viewer_the_larger_the_space() -> None:
    """By the model: small spaces pay by the change, large ones for entries of the index."""
    model = RollUpModel(prices(), variants())

    def dollars(viewers: int) -> float:
        return prices().cost(model.usage(Scenario(viewers, 3600))) * 1000 / viewers

    few, many, most = map(dollars, (100, 10_000, 1_000_000))
    assert few > many > most > 2 * 1000 * prices().cost({"write_units": 1})


def test_parts_are_recounted_by_their_pace() -> None:
    assert [parts_of(viewers) for viewers in (1, 30_000, 60_000, 10**6)] == [4, 4, 8, 64]
    alone = part_rhythm(Scenario(4, 3600), batches=3600)
    assert 0 < alone.tasks <= alone.recounts <= 2 * alone.tasks  # of who leaves, and who joins
    assert alone.tasks < 20
    full = part_rhythm(Scenario(30_000, 3600), batches=3600)
    assert full.entries == 7_500
    assert 4 * 3600 / 5 <= full.recounts <= 4 * 3600


def test_the_page_has_the_cost_of_people_and_roll_ups_at_each_size() -> None:
    with_both = replace(runs(), variants=variants())
    text = page(with_both)
    section = text.partition("## People and roll-ups")[2].partition("\n## ")[0]
    for size in SIZES:
        assert f"| {size:,} | 0.0" in section
    lines = dict(line.strip("| ").split(" | ", 1) for line in section.splitlines() if " | " in line)
    of_joins = [float(cell.split(" / ")[0]) for cell in lines["joins"].split(" | ")]
    assert of_joins == [1.0, 2.0, 3.0]
    assert lines[extras.LOOKUP] == "0.00 | 1.00"
    met = {one.what: one.met for one in targets(with_both)}
    assert met["write units that people add to a visit"]
    assert met["write units of a steady beat, with both"]
    assert "## People and roll-ups" not in page(runs())


def test_the_page_begins_with_the_price_of_each_door() -> None:
    lines = page(runs()).splitlines()
    assert lines[0] == "# What it costs"
    assert lines[2].endswith("| release 1.0.0 | to reach | found |")
    assert lines[4].startswith("| HTTP API, 6 viewers | 0.268 | 0.20 | ")
    assert lines[9].startswith("| with pushes to viewers: socket, 12 viewers | - | 0.09 | ")


def test_a_longer_interval_is_cheaper_by_each_door_of_beats_and_the_url_costs_no_requests() -> None:
    often, seldom = doors(runs(), 1_000, 30), doors(runs(), 1_000, 120)
    assert often.gateway > seldom.gateway
    assert often.url > seldom.url
    requests = 120 * 1000 * 1e-6  # 10 messages in 5 minutes, each $1 per million
    assert often.gateway - often.url == pytest.approx(requests * 10 / 10, rel=0.1)
    assert (often.socket, often.listening) == (seldom.socket, seldom.listening)
    assert often.listening is not None
    assert often.listening > often.socket


def test_what_the_server_chooses_is_as_cheap_as_its_interval() -> None:
    for viewers, seconds in BY_SIZE[1:]:
        assert doors(runs(), viewers) == doors(runs(), viewers, seconds)


def test_what_you_would_pay_is_beside_each_hosted_service() -> None:
    section = page(runs()).partition("## What you would pay")[2].partition("## ")[0]
    head, _, *rows = [line.split(" | ") for line in section.splitlines() if line.startswith("|")]
    assert len(head) == 5 + len(prices().hosted)
    assert [row[0] for row in rows] == ["| 100", "| 1,000", "| 10,000", "| 100,000"]
    assert "by quote" in rows[-1][-1]
    paid = [float(row[1].replace(",", "")) for row in rows]
    assert paid == sorted(paid)
    assert paid[0] > monthly_fixed(prices()) > 1


def test_another_page_tells_what_the_replay_found() -> None:
    """`--write` renews both, so they agree."""
    text = TELLING.read_text()
    assert with_sentence(text, in_a_sentence(runs())) != text
    with pytest.raises(ValueError, match="0 sentences"):
        with_sentence("nothing", in_a_sentence(runs()))
    if "| found |" not in PAGE.read_text():
        pytest.skip("docs/cost.md has not been written since: run `make bench-cost ARGS=--write`")
    found = dict(re.findall(r"^\| (.*? viewers) \|.*\| \**([\d.]+)\** \|$", PAGE.read_text(), re.M))
    named = re.findall(r"\$([\d.]+) with\s+([\d,]+)", SENTENCE.search(text)[0])  # type: ignore[index]
    doors = ["HTTP API"] * 3 + ["socket"]
    assert len(named) == len(doors)
    for (dollars, viewers), door in zip(named, doors, strict=True):
        assert dollars == f"{float(found[f'{door}, {viewers} viewers']):.2f}"


def test_presence_by_connection_has_a_minimum_price() -> None:
    floor = socket_floor(prices())
    assert floor["connection minutes"] == pytest.approx(0.015)
    assert floor["messages for page changes"] == pytest.approx(0.012)
    assert sum(floor.values()) == pytest.approx(0.0385, abs=0.0001)
    parts = played(SOCKETS).ledger.parts
    assert "http_requests" not in parts["page changes"].usage


def test_work_that_viewer_hours_do_not_need_is_entered_separately() -> None:
    ledger = played().ledger
    for part in extras.EXTRAS:
        assert part not in VIEWERS_PARTS
        assert ledger.parts[part].times > 0


def test_a_steady_beat_is_one_unit_and_a_visit_at_most_8_more() -> None:
    assert beat_units(played()) == 1.0
    assert visit_units(played()) <= 8.0


def test_the_dashboard_is_billed_for_versions_and_minutes() -> None:
    ledger = played().ledger
    watched = ledger.parts["dashboards"].usage
    assert watched["socket_minutes"] == 2
    # Asked, answered, and then each version: a few more than without a dashboard.
    assert 2 < watched["socket_messages"] - ledger.parts["publishes"].times < 6


def test_beats_that_are_not_sent_are_entered_like_those_that_are() -> None:
    sampled = played(Scenario(viewers=12, seconds=120, visit_seconds=240, sample=2)).ledger
    assert sampled.counts["unsent"] > 0
    assert sampled.parts["beats"].times == played().ledger.parts["beats"].times
    assert sampled.parts["beats"].usage["write_units"] == sampled.parts["beats"].times


def test_a_replay_is_the_same_in_every_run() -> None:
    assert amounts(played(SHORTEST)) == amounts(played(SHORTEST, 2))


def test_a_batch_that_fails_is_tried_again_as_by_lambda() -> None:
    """Here ``count`` stores a version while ``publish`` waits until its own is due."""
    crowd = Scenario(viewers=300, seconds=120, visit_seconds=3600, sample=8)
    assert played(crowd).ledger.parts["publishes"].times > 0


def test_engines_that_bill_differently_are_distinguished() -> None:
    assert differences(played(SHORTEST), played(SHORTEST, 2)) == []
    other = played(replace(SHORTEST, viewers=7))
    assert any(
        line.startswith("beats, write_units: ") for line in differences(played(SHORTEST), other)
    )


@pytest.mark.dynamodb_local
@pytest.mark.parametrize("transport", [ByHttp(), BySocket()], ids=lambda transport: transport.name)
def test_a_replay_is_the_same_on_dynamodb_local(local: Engine, transport: Transport) -> None:
    scenario = replace(SHORTEST, transport=transport)
    amazons, ours = amounts(replay(local, scenario, prices())), amounts(played(scenario))
    for part in (*VIEWERS_PARTS, "dashboards"):
        assert amazons.get(part) == ours.get(part), part
