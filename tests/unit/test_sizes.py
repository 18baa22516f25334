"""What `make bench-sizes` measures with, what it works out, and the page that it makes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from headcount.store.presence import from_item
from headcount.sweeping import Sweeper

from tests.bench.capacity import (
    PAGE,
    VIEWERS,
    Crowd,
    Figures,
    binds_at,
    limits,
    limits_table,
    quotas_section,
    sizes_table,
    viewer_section,
)
from tests.bench.prices import prices
from tests.bench.quotas import quotas
from tests.bench.replay import ByHttp, BySocket
from tests.bench.sizes import (
    SIZES,
    Measured,
    Piece,
    a_million,
    measure,
    minute,
    spread,
    sweep,
    table,
)
from tests.bench.synthetic import PAGE_BYTES, DayOfVisits, Rows, Wire, services_on
from tests.support.sizes import item_size
from tests.support.template import template
from tests.support.world import SITE

SOME = 40_000
"""Rows that are more than a shard's."""
FIGURES = Figures(row_cpu=0.00005, api_seconds=0.01)

# ------------------------------------------------------------------------------------ made-up rows


def test_made_up_rows_are_read_by_the_product_each_once_and_where_they_belong() -> None:
    wire = Wire(Rows(SOME))
    here = services_on(wire, "cleanup")
    seen = [row for page in here.presence.scan() for row in page]
    assert len({row.id for row in seen}) == len(seen) == SOME
    assert {here.sweeper._place_of(row) == (row.space, row.shard) for row in seen} == {True}
    assert sum(row.live(here.clock()) for row in seen) == wire.rows.live


def test_pages_are_as_large_as_dynamodbs() -> None:
    wire = Wire(Rows(10_000))
    client: Any = services_on(wire, "cleanup").dynamodb
    sizes = [
        sum(map(item_size, page["Items"]))
        for page in client.get_paginator("scan").paginate(TableName="presence")
    ]
    assert sizes[:-1] == [pytest.approx(PAGE_BYTES, rel=0.01)] * (len(sizes) - 1)
    assert wire.read_units == pytest.approx(sum(sizes) / 4096, rel=0.02)


def test_made_up_rows_take_the_room_of_real_ones() -> None:
    rows = Rows(100)
    for number in range(70):
        item = json.loads(rows.text(number, 0))
        assert from_item(item).id == Rows.key(number)
        assert item_size(item) == pytest.approx(rows.size, rel=0.15)


def test_a_made_up_day_is_read_whole() -> None:
    wire = Wire(Rows(100), DayOfVisits(9_000, "2026-11-21"))
    visits = list(services_on(wire, "daily").visits.of_day(SITE, "2026-11-21"))
    assert len({visit.id for visit in visits}) == 9_000
    assert wire.calls["Query"] > 1


# ------------------------------------------------------------------------------------- measurements


def test_units_and_calls_come_out_the_same_each_time() -> None:
    once, again = (measure("recount", 1_000) for _ in range(2))
    assert (once.read_units, once.write_units, once.calls) == (
        again.read_units,
        again.write_units,
        again.calls,
    )


def test_a_recount_costs_by_the_row() -> None:
    small, large = (measure("recount", size) for size in (3_000, 12_000))
    assert large.read_units / 12_000 == pytest.approx(small.read_units / 3_000, rel=0.05)


def test_a_recount_keeps_no_row() -> None:
    wire = Wire(Rows(9_000))
    pages: list[int] = []
    recounter = services_on(wire, "count").recounter
    of_a_shard = recounter.presence.pages

    def counted(space: str, shard: int) -> Any:
        for page in of_a_shard(space, shard):
            pages.append(len(page))
            yield page
            assert page  # nobody takes it away, nor adds to it
            page.clear()

    recounter.presence.pages = counted  # type: ignore[method-assign]
    assert recounter.recount(SITE, 0).tally.sessions == wire.rows.live
    assert max(pages) < 9_000 == sum(pages)


def test_a_large_table_is_measured_in_the_pieces_it_is_swept_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    init = Sweeper.__init__

    def smaller(self: Sweeper, **given: Any) -> None:
        init(self, **given, rows_at_once=6_000)

    monkeypatch.setattr(Sweeper, "__init__", smaller)
    monkeypatch.setattr("headcount.sweeping.ROWS_AT_ONCE", 6_000)
    first, *others = sweep(Wire(Rows(SOME)))  # which sees to it that nobody was missed
    assert first.rows == 0
    assert sum(piece.rows for piece in others) == SOME
    assert any(piece.parent for piece in others)  # a shard is larger than a piece should be


# ------------------------------------------------------------------------------- what is worked out


def plain(**assumed: float) -> Any:
    nothing = dict.fromkeys(prices().assumed, 0.0)
    kept = {"memory_of_one_vcpu": 1.0, "cpu_of_one_vcpu": 1.0}
    return replace(prices(), assumed={**nothing, **kept, **assumed})


def piece(cpu: float = 10.0, parent: int | None = 0) -> Piece:
    return Piece(cpu=cpu, pages=0, writes=0, calls=0, rows=1, parent=parent)


def test_pieces_that_all_find_a_poller_take_as_long_as_the_longest() -> None:
    cold = quotas().assumed["cold_start"]
    found = minute(5, [piece(0.5, None), *[piece()] * 5], plain())
    assert found.seconds == pytest.approx(0.5 + cold + 10 + cold, abs=0.1)
    assert (found.at_once, found.pieces) == (5, 6)


def test_more_pieces_wait_until_there_are_pollers_for_them() -> None:
    few = minute(5, [piece(0.0, None), *[piece()] * 5], plain()).seconds
    many = minute(60, [piece(0.0, None), *[piece()] * 60], plain())
    assert few + 5 < many.seconds < few + 15
    assert many.at_once <= quotas().assumed["pollers_at_first"] + 15 * 5


def test_what_is_handed_on_begins_when_the_piece_that_left_it_ended() -> None:
    found = minute(2, [piece(0.0, None), piece(parent=0), piece(parent=1)], plain())
    assert found.seconds > 20


def test_a_million_is_made_of_the_pieces_of_the_largest_table_that_was_measured() -> None:
    pieces = [piece(0.1, None), piece(1.0), piece(1.0)]
    swept = Measured("sweep", 100_000, 4, 2.1, 0, 0, 0, 0, pieces=pieces)
    assert a_million([swept], plain()).pieces == 1 + 2 * 10


def test_extremes_are_compared_from_ten_thousand_sessions_on() -> None:
    def one(sessions: int, cpu: float) -> Measured:
        return Measured("recount", sessions, 1, cpu * sessions, 0, 0, 0, 0)

    assert spread([one(1_000, 9), one(10_000, 2), one(100_000, 3)]) == 1.5


# ------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("way", [ByHttp(), BySocket()], ids=lambda way: way.name)
def test_a_limit_binds_where_its_load_reaches_it(way: Any) -> None:
    for limit in limits(way):
        viewers = binds_at(limit, way, FIGURES)
        assert 1_000 < viewers < 10**9, limit.name


def test_a_partition_takes_the_writes_of_as_many_as_the_readme_says() -> None:
    (writes,) = [
        one for one in limits(ByHttp()) if one.what.startswith("write units a second of a D")
    ]
    assert 28_000 < binds_at(writes, ByHttp(), FIGURES) <= 30_000


def test_the_gateways_requests_are_a_beat_each_thirty_seconds() -> None:
    crowd = Crowd(30_000, 1, ByHttp(), FIGURES)
    assert crowd.requests == pytest.approx(1_000, rel=0.02)


def test_more_shards_than_a_space_may_have_are_several_spaces() -> None:
    most = template().parameters["ShardsPerSpace"]["MaxValue"]
    assert Crowd(1, most, ByHttp(), FIGURES).spaces == 1
    assert Crowd(1, most + 1, ByHttp(), FIGURES).spaces == 2


def test_every_quota_is_dated_and_says_where_it_is_from_and_how_it_is_lifted() -> None:
    assert quotas().checked.year >= 2026
    for quota in quotas().of.values():
        assert quota.source.startswith("https://")
        assert quota.lifted
    parameters = {
        name for one in quotas().of.values() for name in re.findall("`(\\w+)`", one.lifted)
    }
    assert parameters <= set(template().parameters)


def test_each_size_says_what_binds_next_and_what_was_reached() -> None:
    lines = sizes_table(ByHttp(), FIGURES, dict.fromkeys(VIEWERS, 0.1)).splitlines()[2:]
    assert len(lines) == len(VIEWERS) == 6
    assert "nothing" in lines[0]
    assert "`ShardsPerSpace`" in lines[-1]
    assert math.isclose(float(lines[0].split("|")[3]), 3, abs_tol=1)


# ----------------------------------------------------------------------------------------- the page


def test_the_committed_page_is_of_todays_quotas_parameters_and_rows() -> None:
    page = PAGE.read_text()
    assert quotas_section() in page
    assert viewer_section() in page
    for way in (ByHttp(), BySocket()):
        for line in limits_table(way, FIGURES).splitlines()[2:]:
            what, value, _, lifted = line.strip("| ").split(" | ")
            assert re.search(f"{re.escape(f'| {what} | {value} | ')}.*{re.escape(lifted)}", page), (
                what
            )


@pytest.mark.parametrize("part", ["recount", "publish", "sweep", "daily"])
def test_the_committed_page_is_of_todays_units_and_calls(part: str) -> None:
    (row,) = table([measure(part, SIZES[0])])
    measured = dict(enumerate(row))
    for line in PAGE.read_text().splitlines():
        cells = line.strip("| ").split(" | ")
        if cells[:2] == [part, measured[1]]:
            assert [cells[at] for at in (2, 3, 5, 6, 7)] == [row[at] for at in (2, 3, 5, 6, 7)]
            return
    pytest.fail(f"{part} is not in the page")
