"""`GET /metrics`: what Prometheus scrapes, and what a scrape costs."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from headcount.times import MINUTE, SECOND
from headcount.web import prometheus
from headcount.web.prometheus import METRICS, text_of

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

LINE = re.compile(r'([a-z_]+)\{((?:[a-z]+="[^"]*",?)*)\} (\S+)')
Series = dict[tuple[str, str], float]


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    return worlds(memory, Kinds="site course:counts=public doc")


def scraped(world: World, token: str | None = None) -> Series:
    """The samples of a scrape, by metric and by space, or by kind where there is no space."""
    answer = world.get("/metrics", token=world.admin if token is None else token)
    assert answer.status == 200, answer
    found: Series = {}
    for line in (answer.body or "").splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        labels = dict(re.findall(r'([a-z]+)="([^"]*)"', match[2]))
        assert labels["kind"] == labels.get("space", labels["kind"]).partition(":")[0]
        key = match[1], labels.get("space", labels["kind"])
        assert key not in found
        found[key] = float(match[3])
    return found


def test_a_scrape_has_the_published_numbers_of_each_live_space_and_the_totals_of_kinds(
    world: World,
) -> None:
    world.beat("s1", "course:a", visitorId="v1")
    world.beat("s2", "course:a", visitorId="v1")
    world.beat("s3", "course:a", visitorId="v3")
    world.beat("s4", "course:b", visitorId="v1")
    world.beat("s5", "site:main")
    world.settle()
    published = world.clock()
    world.clock.advance(5)
    world.leave("s3", "course:a")
    world.leave("s5", "site:main")
    world.settle()
    found = scraped(world)
    assert found == {
        ("headcount_people", "course:a"): 1,
        ("headcount_people", "course:b"): 1,
        ("headcount_sessions", "course:a"): 2,
        ("headcount_sessions", "course:b"): 1,
        ("headcount_views_total", "course:a"): 3,
        ("headcount_views_total", "course:b"): 1,
        ("headcount_peak_people", "course:a"): 2,
        ("headcount_peak_people", "course:b"): 1,
        ("headcount_published_timestamp_seconds", "course:a"): world.clock() / SECOND,
        ("headcount_published_timestamp_seconds", "course:b"): published / SECOND,
        ("headcount_recount_delay_seconds", "course:a"): 0,
        ("headcount_kind_people", "course"): 2,
        ("headcount_kind_people", "site"): 0,
        ("headcount_kind_people", "doc"): 0,
        ("headcount_kind_sessions", "course"): 3,
        ("headcount_kind_sessions", "site"): 0,
        ("headcount_kind_sessions", "doc"): 0,
        ("headcount_kind_spaces", "course"): 2,
        ("headcount_kind_spaces", "site"): 0,
        ("headcount_kind_spaces", "doc"): 0,
    }


def test_the_delays_are_those_of_the_largest_space(world: World) -> None:
    for session in ("s1", "s2"):
        world.beat(session, "course:large")
    world.beat("s3", "course:small")
    world.clock.advance(7)
    world.settle()
    world.sweep()
    found = scraped(world)
    at = world.clock() - world.clock() % MINUTE
    assert found["headcount_recount_delay_seconds", "course:large"] == 7
    assert found["headcount_sampled_timestamp_seconds", "course:large"] == at / SECOND
    assert not {("headcount_recount_delay_seconds", "course:small")} & found.keys()
    world.clock.advance(60)
    world.beat("s1", "course:large")
    world.beat("s2", "course:large")
    world.sweep()
    found = scraped(world)
    assert found["headcount_sampled_timestamp_seconds", "course:large"] == (at + MINUTE) / SECOND


def test_only_the_largest_spaces_have_series_and_the_totals_include_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "MAX_SPACES", 2)
    for number in range(4):
        for session in range(number + 1):
            world.beat(f"s{session}", f"course:{number}")
    world.settle()
    found = scraped(world)
    assert {space for name, space in found if name == "headcount_people"} == {
        "course:3",
        "course:2",
    }
    assert found["headcount_kind_people", "course"] == 10
    assert found["headcount_kind_spaces", "course"] == 4


def test_a_token_for_some_spaces_gets_their_totals_alone(world: World) -> None:
    for space in ("course:a", "course:b", "site:main"):
        world.beat("s1", space)
    world.settle()
    token = world.token(headcount_scopes="read:course:a read:doc:*")
    found = scraped(world, token)
    kinds = {kind: n for (name, kind), n in found.items() if name == "headcount_kind_people"}
    assert kinds == {"course": 1, "doc": 0}


def test_nobody_anywhere_is_an_answer_too(world: World) -> None:
    assert scraped(world, world.token(headcount_scopes="read:course:a")) == {}
    assert {name for name, _ in scraped(world)} == {
        "headcount_kind_people",
        "headcount_kind_sessions",
        "headcount_kind_spaces",
    }


def test_it_is_plain_text_without_timestamps_and_each_metric_stands_together(world: World) -> None:
    world.beat("s1", "course:a")
    world.beat("s1", "site:main")
    world.settle()
    answer = world.get("/metrics", token=world.admin)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    lines = answer.body.splitlines()
    helped = [line.split(" ")[2] for line in lines if line.startswith("# HELP")]
    assert helped == [name for name in METRICS if name in helped]
    groups = [line.partition("{")[0] for line in lines if not line.startswith("#")]
    assert set(groups) == set(helped)
    assert groups == sorted(groups, key=helped.index)


def test_label_values_are_escaped() -> None:
    text = text_of([("headcount_people", {"space": 'a"b\\c\nd'}, 1)])
    assert text.splitlines()[2:] == [r'headcount_people{space="a\"b\\c\nd"} 1']
    assert text.endswith("\n")


def test_a_scrape_reads_half_a_unit_for_a_space_and_two_queries_for_the_largest(
    engine: Engine, worlds: Worlds
) -> None:
    world = worlds(engine, Kinds="site course")
    for number in range(130):
        world.beat("s1", f"course:{number}")
    world.settle()
    world.sweep()
    world.get("/metrics", token=world.admin)  # the secret is known from here on
    with engine.metered(capacity=True) as meter:
        assert len(scraped(world)) > 5 * 130
    # An index query for each kind, two batches, and what the delays of the largest are from.
    assert Counter(meter.operations) == {"Query": 2 + 2, "BatchGetItem": 2}
    assert not meter.writes
    if engine.name == "dynamodb-local":
        assert 130 / 2 <= meter.read_units <= 130 / 2 + 8
