"""The Counts and Headcounts tables on each engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from headcount.model.durations import VisitDuration
from headcount.model.headcount import (
    Engagement,
    Headcount,
    Numbers,
    Peak,
    Reading,
    Views,
    next_headcount,
)
from headcount.model.intervals import Crowd, Ends
from headcount.model.tally import MAX_VALUES, Tally
from headcount.store.counts import CountsTable, ShardCount, SpaceCounts, pack_facets, unpack_facets
from headcount.store.headcounts import HeadcountsTable
from headcount.store.summaries import SpaceSummary, SummariesTable

from lab.harness.clock import NOON
from lab.harness.engines import Engine, Table

TALLY = Tally(
    sessions=3,
    signed_in_sessions=2,
    signed_in=1,
    anonymous=1,
    facets={"page": {"/": (2, 1), "/é": (1, 1)}},
)
LARGE = replace(
    TALLY,
    facets={
        f"facet{number}": {f"{number * 7919 + value:08x}" * 4: (value, 1) for value in range(200)}
        for number in range(3)
    },
)
HEADCOUNT = Headcount(
    space="site:main",
    version=1,
    tally=TALLY,
    views=Views(5, {"2026-11-21": 2}),
    peak=Peak(4, NOON - 1),
    day_peaks={"2026-11-21": 4},
    as_of=NOON,
    cause="000000000000000000123",
    peak_sessions=7,
    avg_seconds=42,
    ends=Ends(9, 2, NOON // 1000 - 60, 42, NOON // 1000 - 5),
    accuracy=1,
    engagement={"chat": 3, "revenue": 1.25},
    engagement_today={"chat": 1},
    readings={"rtmp": Reading(NOON, {"load": 0.5})},
)


@pytest.fixture
def counts(engine: Engine) -> CountsTable:
    return CountsTable(engine.client, engine.create("counts").name, day_rows_days=400)


@pytest.fixture
def table(engine: Engine) -> Table:
    return engine.create("headcounts")


@pytest.fixture
def headcounts(table: Table) -> HeadcountsTable:
    return HeadcountsTable(table.engine.client, table.name, day_rows_days=400)


def count(version: int, *, shard: int = 0, tally: Tally = TALLY) -> ShardCount:
    durations = (VisitDuration(NOON // 1000, b"abc", 9),)
    return ShardCount(
        "site:main", shard, version, tally, rows=3, counted_at=NOON, durations=durations
    )


def test_facets_survive_packing() -> None:
    assert unpack_facets(pack_facets(LARGE.facets)) == LARGE.facets


def test_a_shard_that_was_never_counted_has_version_0(counts: CountsTable) -> None:
    assert counts.shard("site:main", 0) == ShardCount("site:main", 0)
    assert counts.space("site:main") == SpaceCounts()


def test_a_count_survives_the_table(counts: CountsTable) -> None:
    assert counts.save(count(1))
    assert counts.shard("site:main", 0) == count(1)


def test_telemetry_survives_the_tables(counts: CountsTable, headcounts: HeadcountsTable) -> None:
    telemetry = replace(TALLY, quality={"latency": (2, 81.5)}, engagement={"chat": 3})
    counts.save(count(1, tally=telemetry))
    headcounts.save(replace(HEADCOUNT, tally=telemetry))
    for found in (counts.shard("site:main", 0).tally, headcounts.get("site:main").tally):
        assert found.quality == {"latency": (2, 81.5)}
        assert found.engagement == {"chat": 3}


def test_the_first_count_is_written_once(counts: CountsTable) -> None:
    assert counts.save(count(1))
    assert not counts.save(count(1, tally=Tally()))
    assert counts.shard("site:main", 0) == count(1)


def test_a_count_is_written_only_over_the_version_it_was_based_on(counts: CountsTable) -> None:
    assert not counts.save(count(2))
    counts.save(count(1))
    assert not counts.save(count(3))
    assert counts.save(count(2))
    assert not counts.save(count(2, tally=Tally()))
    assert counts.shard("site:main", 0) == count(2)


def test_a_space_is_all_its_shards_and_its_views(engine: Engine, counts: CountsTable) -> None:
    counts.save(count(1))
    counts.save(count(1, shard=10))
    counts.save(replace(count(1), space="site:other"))
    found = counts.space("site:main")
    assert [(one.shard, one.version) for one in found.shards] == [(0, 1), (10, 1)]
    assert found.views == Views()


def test_engagement_adds_up_in_total_and_by_day_until_a_day_is_deleted(counts: CountsTable) -> None:
    counts.add_engagement("stream:a", "2026-11-20", {"chat": 2, "revenue": 0.1})
    counts.add_engagement("stream:a", "2026-11-21", {"chat": 1, "revenue": 0.2})
    engagement = counts.space("stream:a").engagement
    assert engagement.totals == {"chat": 3, "revenue": 0.3}  # decimals: exactly 0.3
    assert engagement.by_day["2026-11-21"] == {"chat": 1, "revenue": 0.2}
    counts.delete_engagement("stream:a", ["2026-11-20#chat", "2026-11-20#revenue"])
    assert counts.space("stream:a").engagement == Engagement(
        {"chat": 3, "revenue": 0.3}, {"2026-11-21": {"chat": 1, "revenue": 0.2}}
    )


def test_a_sources_report_replaces_its_last_one(counts: CountsTable) -> None:
    counts.put_reading("stream:a", "rtmp", Reading(NOON, {"load": 0.5, "uptime": 9}))
    counts.put_reading("stream:a", "cdn", Reading(NOON, {"latency": 20}))
    counts.put_reading("stream:a", "rtmp", Reading(NOON + 1, {"load": 0.25}))
    assert counts.space("stream:a").readings == {
        "rtmp": Reading(NOON + 1, {"load": 0.25}),
        "cdn": Reading(NOON, {"latency": 20}),
    }


def test_a_headcount_survives_the_table(headcounts: HeadcountsTable) -> None:
    assert headcounts.get("site:main") == Headcount("site:main")
    assert headcounts.save(HEADCOUNT)
    assert headcounts.get("site:main") == HEADCOUNT


def test_large_facets_survive_in_a_separate_row(headcounts: HeadcountsTable, table: Table) -> None:
    assert all(len(values) <= MAX_VALUES for values in LARGE.facets.values())
    large = replace(HEADCOUNT, tally=LARGE)
    headcounts.save(large)
    assert headcounts.get("site:main") == large
    (row, _) = table.rows()
    assert "facets" not in row
    assert [head.space for head in headcounts.scan()] == ["site:main"]
    assert headcounts.live("site") == ["site:main"]


def test_a_space_whose_facets_shrink_shows_the_small_ones(headcounts: HeadcountsTable) -> None:
    headcounts.save(replace(HEADCOUNT, tally=LARGE))
    headcounts.save(replace(HEADCOUNT, version=2))
    assert headcounts.get("site:main").tally == TALLY


def test_a_version_is_published_only_after_the_one_before_it(headcounts: HeadcountsTable) -> None:
    assert not headcounts.save(replace(HEADCOUNT, version=2))
    assert headcounts.save(HEADCOUNT)
    assert not headcounts.save(HEADCOUNT)
    assert not headcounts.save(replace(HEADCOUNT, version=3))
    assert headcounts.save(replace(HEADCOUNT, version=2))


def test_the_first_version_replaces_a_row_whose_version_is_none_once(
    headcounts: HeadcountsTable, counts: CountsTable
) -> None:
    headcounts.save(replace(HEADCOUNT, version=0))
    counts.save(count(0))
    assert headcounts.save(HEADCOUNT)
    assert counts.save(count(1))
    assert not headcounts.save(HEADCOUNT)
    assert not counts.save(count(1))
    assert headcounts.get("site:main") == HEADCOUNT
    assert counts.shard("site:main", 0) == count(1)


GARBAGE: dict[str, Any] = {
    "facets": {"B": b"garbage"},
    "signed_in": {"S": "many"},
    "engagement": {"M": {"chat": {"S": "much"}}},
}


@pytest.mark.parametrize("name", GARBAGE)
def test_an_unreadable_row_is_empty_and_keeps_its_version(engine: Engine, name: str) -> None:
    """And the next version is written over it."""
    tables = {role: engine.create(role) for role in ("counts", "headcounts")}
    counts = CountsTable(engine.client, tables["counts"].name, day_rows_days=400)
    headcounts = HeadcountsTable(engine.client, tables["headcounts"].name, day_rows_days=400)
    headcounts.save(HEADCOUNT)
    counts.save(count(1))
    for table in tables.values():
        (row,) = engine.client.scan(TableName=table.name)["Items"]
        engine.client.put_item(TableName=table.name, Item={**row, name: GARBAGE[name]})
    empty = Headcount("site:main", version=1, readable=False)
    assert headcounts.get("site:main") == empty
    assert headcounts.many(["site:main"]) == {"site:main": empty}
    assert list(headcounts.scan()) == [empty]
    uncounted = ShardCount("site:main", 0, version=1, rows=1, readable=False)
    assert counts.shard("site:main", 0) == uncounted
    assert counts.space("site:main").shards == [uncounted]
    if name == "signed_in":
        summaries = SummariesTable(engine.client, tables["headcounts"].name)
        assert summaries.summary("site:main") == SpaceSummary(version=1)
    assert headcounts.save(replace(HEADCOUNT, version=2))
    assert counts.save(count(2))
    assert headcounts.get("site:main") == replace(HEADCOUNT, version=2)
    assert counts.shard("site:main", 0) == count(2)


def test_the_count_a_beat_carries_is_people_and_version(
    engine: Engine, headcounts: HeadcountsTable, table: Table
) -> None:
    summaries = SummariesTable(engine.client, table.name)
    assert summaries.summary("site:main") == SpaceSummary()
    headcounts.save(HEADCOUNT)
    crowd = Crowd(TALLY.sessions, HEADCOUNT.ends)
    assert summaries.summary("site:main") == SpaceSummary(people=2, version=1, crowd=crowd)


def test_only_spaces_with_sessions_are_in_the_index_of_live_ones(
    headcounts: HeadcountsTable,
) -> None:
    headcounts.save(HEADCOUNT)
    headcounts.save(replace(HEADCOUNT, space="site:empty", tally=Tally()))
    headcounts.save(replace(HEADCOUNT, space="doc:1"))
    assert headcounts.live("site") == ["site:main"]
    assert headcounts.live("doc") == ["doc:1"]
    headcounts.save(replace(HEADCOUNT, version=2, tally=Tally()))
    assert headcounts.live("site") == []


def test_many_headcounts_are_read_at_once(headcounts: HeadcountsTable) -> None:
    names = [f"site:{number:03d}" for number in range(101)]
    for name in names:
        headcounts.save(replace(HEADCOUNT, space=name))
    found = headcounts.many([*names, "site:unknown"])
    assert sorted(found) == names
    assert found["site:100"].tally == TALLY


def test_a_mark_of_chunking_stays_with_the_versions_after_it(headcounts: HeadcountsTable) -> None:
    headcounts.save(HEADCOUNT)
    headcounts.mark_chunked("site:main", NOON + 5)
    old = headcounts.get("site:main")
    assert old == replace(HEADCOUNT, chunked_at=NOON + 5)
    new = next_headcount(old, Numbers(TALLY, HEADCOUNT.views), cause="124", now=NOON + 9)
    headcounts.save(new)
    assert headcounts.get("site:main").chunked_at == NOON + 5
