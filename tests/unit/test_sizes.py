"""The generated rows of `make bench-sizes`, its calculations, and the page that it writes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from headcount.store.presence import from_item
from headcount.usecases.cleanup import Sweeper

from lab.bench.capacity import (
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
from lab.bench.prices import prices
from lab.bench.quotas import quotas
from lab.bench.replay import ByHttp, BySocket
from lab.bench.sizes import (
    SIZES,
    Measured,
    Piece,
    a_million,
    measure,
    scheduled,
    spread,
    sweep,
    table,
)
from lab.bench.synthetic import PAGE_BYTES, DayOfVisits, Rows, Wire, services_on
from lab.harness.sizes import item_size
from lab.harness.template import template
from lab.harness.world import SITE

pytestmark = pytest.mark.slow

SOME = 40_000
"""More rows than a shard has."""
FIGURES = Figures(row_cpu=0.00005, api_seconds=0.01)

# ----------------------------------------------------------------------------------- generated rows


def test_the_product_reads_each_generated_row_once_and_in_its_shard() -> None:
    wire = Wire(Rows(SOME))
    here = services_on(wire, "cleanup")
    seen = [row for page in here.presence.scan() for row in page]
    assert len({row.id for row in seen}) == len(seen) == SOME
    assert {here.sweeper._place_of(row) == (row.space, row.shard) for row in seen} == {True}
    assert sum(row.live(here.clock()) for row in seen) == wire.rows.live


def test_pages_have_the_size_of_dynamodbs() -> None:
    wire = Wire(Rows(10_000))
    client: Any = services_on(wire, "cleanup").dynamodb
    sizes = [
        sum(map(item_size, page["Items"]))
        for page in client.get_paginator("scan").paginate(TableName="presence")
    ]
    assert sizes[:-1] == [pytest.approx(PAGE_BYTES, rel=0.01)] * (len(sizes) - 1)
    assert wire.read_units == pytest.approx(sum(sizes) / 4096, rel=0.02)


def test_generated_rows_have_the_size_of_real_ones() -> None:
    rows = Rows(100)
    for number in range(70):
        item = json.loads(rows.text(number, 0))
        assert from_item(item).id == Rows.key(number)
        assert item_size(item) == pytest.approx(rows.size, rel=0.15)


def test_a_generated_day_is_read_completely() -> None:
    wire = Wire(Rows(100), DayOfVisits(9_000, "2026-11-21"))
    visits = list(services_on(wire, "daily").visits.on_day(SITE, "2026-11-21"))
    assert len({visit.id for visit in visits}) == 9_000
    assert wire.calls["Query"] > 1


# ------------------------------------------------------------------------------------- measurements


def test_units_and_calls_are_the_same_in_every_run() -> None:
    once, again = (measure("recount", 1_000) for _ in range(2))
    assert (once.read_units, once.write_units, once.calls) == (
        again.read_units,
        again.write_units,
        again.calls,
    )


def test_the_cost_of_a_recount_is_proportional_to_its_rows() -> None:
    small, large = (measure("recount", size) for size in (3_000, 12_000))
    assert large.read_units / 12_000 == pytest.approx(small.read_units / 3_000, rel=0.05)


def test_a_large_table_is_measured_in_the_pieces_of_its_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smaller = partial(Sweeper, rows_per_invocation=6_000)
    monkeypatch.setattr("headcount.usecases.cleanup.Sweeper", smaller)
    monkeypatch.setattr("headcount.usecases.cleanup.ROWS_PER_INVOCATION", 6_000)
    first, *others = sweep(Wire(Rows(SOME)))  # it asserts that no session was missed
    assert first.rows == 0
    assert sum(piece.rows for piece in others) == SOME
    assert any(piece.parent for piece in others)  # a shard has more rows than a piece


# ------------------------------------------------------------------------------------- calculations


def plain(**assumed: float) -> Any:
    nothing = dict.fromkeys(prices().assumed, 0.0)
    kept = {"memory_of_one_vcpu": 1.0, "cpu_of_one_vcpu": 1.0}
    return replace(prices(), assumed={**nothing, **kept, **assumed})


def piece(cpu: float = 10.0, parent: int | None = 0) -> Piece:
    return Piece(cpu=cpu, pages=0, writes=0, calls=0, rows=1, parent=parent)


def test_a_sweep_with_enough_pollers_takes_as_long_as_its_longest_piece() -> None:
    cold = quotas().assumed["cold_start"]
    found = scheduled(5, [piece(0.5, None), *[piece()] * 5], plain())
    assert found.seconds == pytest.approx(0.5 + cold + 10 + cold, abs=0.1)
    assert (found.at_once, found.pieces) == (5, 6)


def test_more_pieces_than_pollers_have_to_wait() -> None:
    few = scheduled(5, [piece(0.0, None), *[piece()] * 5], plain()).seconds
    many = scheduled(60, [piece(0.0, None), *[piece()] * 60], plain())
    assert few + 5 < many.seconds < few + 15
    assert many.at_once <= quotas().assumed["pollers_at_first"] + 15 * 5


def test_a_queued_piece_starts_when_its_parent_has_ended() -> None:
    found = scheduled(2, [piece(0.0, None), piece(parent=0), piece(parent=1)], plain())
    assert found.seconds > 20


def test_a_million_is_extrapolated_from_the_pieces_of_the_largest_measured_table() -> None:
    pieces = [piece(0.1, None), piece(1.0), piece(1.0)]
    swept = Measured("sweep", 100_000, 4, 2.1, 0, 0, 0, 0, pieces=pieces)
    assert a_million([swept], plain()).pieces == 1 + 2 * 10


def test_extremes_are_compared_from_ten_thousand_sessions_on() -> None:
    def one(sessions: int, cpu: float) -> Measured:
        return Measured("recount", sessions, 1, cpu * sessions, 0, 0, 0, 0)

    assert spread([one(1_000, 9), one(10_000, 2), one(100_000, 3)]) == 1.5


# ------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("transport", [ByHttp(), BySocket()], ids=lambda transport: transport.name)
def test_a_limit_binds_where_its_load_reaches_it(transport: Any) -> None:
    for limit in limits(transport):
        viewers = binds_at(limit, transport, FIGURES)
        assert 1_000 < viewers < 10**9, limit.name


def test_a_partition_handles_the_writes_of_the_documented_number_of_viewers() -> None:
    (writes,) = [
        one for one in limits(ByHttp()) if one.what.startswith("write units a second of a D")
    ]
    assert 28_000 < binds_at(writes, ByHttp(), FIGURES) <= 30_000


def test_the_gateway_has_a_request_per_viewer_every_thirty_seconds() -> None:
    crowd = Crowd(30_000, 1, ByHttp(), FIGURES)
    assert crowd.requests == pytest.approx(1_000, rel=0.02)


def test_more_shards_than_the_maximum_need_several_spaces() -> None:
    most = template().parameters["ShardsPerSpace"]["MaxValue"]
    assert Crowd(1, most, ByHttp(), FIGURES).spaces == 1
    assert Crowd(1, most + 1, ByHttp(), FIGURES).spaces == 2


def test_every_quota_has_a_date_a_source_and_a_way_to_raise_it() -> None:
    assert quotas().checked.year >= 2026
    for quota in quotas().of.values():
        assert quota.source.startswith("https://")
        assert quota.lifted
    parameters = {
        name for one in quotas().of.values() for name in re.findall("`(\\w+)`", one.lifted)
    }
    assert parameters <= set(template().parameters)


def test_each_size_names_the_reached_limits_and_the_next_one() -> None:
    lines = sizes_table(ByHttp(), FIGURES, dict.fromkeys(VIEWERS, 0.1)).splitlines()[2:]
    assert len(lines) == len(VIEWERS) == 6
    assert "nothing" in lines[0]
    assert "`ShardsPerSpace`" in lines[-1]
    assert math.isclose(float(lines[0].split("|")[3]), 3, abs_tol=1)


# ----------------------------------------------------------------------------------------- the page


def test_the_committed_page_matches_the_quotas_parameters_and_rows() -> None:
    page = PAGE.read_text()
    assert quotas_section() in page
    assert viewer_section() in page
    for transport in (ByHttp(), BySocket()):
        for line in limits_table(transport, FIGURES).splitlines()[2:]:
            what, value, _, lifted = line.strip("| ").split(" | ")
            assert re.search(f"{re.escape(f'| {what} | {value} | ')}.*{re.escape(lifted)}", page), (
                what
            )


@pytest.mark.parametrize("part", ["recount", "publish", "sweep", "daily"])
def test_the_committed_page_matches_the_measured_units_and_calls(part: str) -> None:
    (row,) = table([measure(part, SIZES[0])])
    measured = dict(enumerate(row))
    for line in PAGE.read_text().splitlines():
        cells = line.strip("| ").split(" | ")
        if cells[:2] == [part, measured[1]]:
            assert [cells[at] for at in (2, 3, 5, 6, 7)] == [row[at] for at in (2, 3, 5, 6, 7)]
            return
    pytest.fail(f"{part} is not in the page")
