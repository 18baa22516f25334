"""Days: visits over midnight; aggregation twice, late, cut short, and of days without visitors."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.logs import name_of
from headcount.usecases.daily import DayIncompleteError

from lab.harness.world import SITE, World

COLUMNS = ("views", "unique_people", "unique_sessions", "beats", "peak", "avg_seconds")


def day_rows(world: World) -> list[dict[str, Any]]:
    return [row for row in world.tables["history"].rows() if row["at"].startswith("day#")]


def days(world: World) -> dict[str, tuple[int, ...]]:
    """Date -> its numbers, in the order of ``COLUMNS``."""
    return {
        row["at"].removeprefix("day#"): tuple(row[name] for name in COLUMNS)
        for row in day_rows(world)
    }


def stay_over_midnight(world: World) -> None:
    """Two people join at 23:59 on 21 November and leave at 00:01; a third joins in between."""
    world.clock.set("2026-11-21T23:59:00Z")
    world.beat("s1", visitorId="v1")
    world.beat("s2", visitorId="v2")
    world.settle()
    for second in range(30, 121, 30):
        world.clock.advance(30)
        world.beat("s1", visitorId="v1")
        world.beat("s2", visitorId="v2")
        if second == 90:
            world.beat("s3", visitorId="v3")
        world.settle()
    for session in ("s1", "s2", "s3"):
        world.leave(session)
    world.settle()


def test_a_visit_over_midnight_is_in_both_days_and_one_view(world: World) -> None:
    stay_over_midnight(world)
    views = world.headcount()["views"]
    assert (views["total"], views["today"]) == (3, 1)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    world.clock.set("2026-11-23T01:00:00Z")
    world.daily()
    assert days(world) == {
        "2026-11-21": (2, 2, 2, 4, 2, 60),
        "2026-11-22": (1, 3, 3, 7, 3, 50),
    }


def test_a_visit_that_goes_on_when_the_day_is_aggregated_is_in_it_up_to_midnight(
    world: World,
) -> None:
    world.clock.set("2026-11-21T23:59:30Z")
    world.beat("s1")
    world.settle()
    world.pass_time(600, "s1")
    world.settle()
    world.daily()
    assert days(world) == {"2026-11-21": (1, 1, 1, 1, 1, 30)}


def test_a_day_that_is_aggregated_twice_is_the_same(world: World) -> None:
    stay_over_midnight(world)
    world.clock.set("2026-11-22T01:00:00Z")
    assert world.daily() == 1
    once = world.snapshot()
    assert world.daily() == 1
    assert world.daily("2026-11-21") == 1
    assert world.snapshot() == once


def test_a_run_that_died_halfway_is_completed_by_the_next(world: World) -> None:
    spaces = [f"course:{number}" for number in range(4)]
    for space in spaces:
        world.beat("s1", space)
        world.settle()
        world.leave("s1", space)
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    reads: list[int] = []

    def die() -> None:
        reads.append(1)
        if len(reads) == 3:
            raise SystemExit("the process died here")

    visits = world.tables["visits"].name
    with (
        world.engine.interrupted("Query", visits, die, times=3),
        pytest.raises(SystemExit, match="died here"),
    ):
        world.daily()
    world.daily()
    assert [row["space"] for row in day_rows(world)] == spaces
    assert {row["unique_people"] for row in day_rows(world)} == {1}


def test_a_space_that_fails_is_reported_after_the_rows_of_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    spaces = [f"course:{number}" for number in range(4)]
    for space in spaces:
        world.beat("s1", space)
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    reads: list[int] = []

    def fail() -> None:
        reads.append(1)
        if len(reads) == 2:
            raise RuntimeError("this read failed")

    visits = world.tables["visits"].name
    with (
        world.engine.interrupted("Query", visits, fail, times=4),
        pytest.raises(DayIncompleteError, match="failed: 1;"),
    ):
        world.daily()
    (failed,) = [vars(one)["space"] for one in caplog.records if one.message == "not aggregated"]
    assert [row["space"] for row in day_rows(world)] == [
        one for one in spaces if name_of(one) != failed
    ]
    assert world.daily() == 4


def test_a_space_with_an_unreadable_headcount_still_has_its_day(world: World) -> None:
    world.beat("s1")
    world.settle()
    table = world.tables["headcounts"]
    (row,) = world.engine.client.scan(TableName=table.name)["Items"]
    world.engine.client.put_item(TableName=table.name, Item={**row, "facets": {"B": b"garbage"}})
    world.clock.set("2026-11-22T01:00:00Z")
    assert world.daily() == 1


def test_a_day_that_is_aggregated_late_is_the_same_as_on_time(world: World) -> None:
    stay_over_midnight(world)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    on_time = day_rows(world)
    (row,) = on_time
    world.engine.client.delete_item(
        TableName=world.tables["history"].name,
        Key={"space": {"S": row["space"]}, "at": {"S": row["at"]}},
    )
    for day in range(22, 27):  # people join and leave, and the cleanup deletes rows
        world.clock.set(f"2026-11-{day}T12:00:00Z")
        world.beat("s1", visitorId="v1")
        world.settle()
        world.leave("s1")
        world.settle()
        world.clock.advance(600)
        world.sweep()
        world.settle()
    world.clock.set("2026-11-27T23:59:59Z")  # the last moment at which all its visits are kept
    assert world.daily("2026-11-21") == 1
    assert day_rows(world) == on_time


def test_a_day_too_late_to_be_complete_is_refused_and_its_rows_are_kept(world: World) -> None:
    stay_over_midnight(world)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    before = world.snapshot()
    world.clock.set("2026-11-28T00:00:00Z")
    with pytest.raises(ValueError, match="visits of 2026-11-21"):
        world.daily("2026-11-21")
    assert world.snapshot() == before


def test_a_day_without_visitors_has_no_row_and_changes_no_other(world: World) -> None:
    stay_over_midnight(world)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    before = days(world)
    world.clock.set("2026-11-25T01:00:00Z")
    assert world.daily() == 0
    assert world.daily("2026-11-23") == 0
    assert days(world) == before
    listed = world.get(
        f"/v1/spaces/{SITE}/days", token=world.admin, **{"from": "2026-11-23", "to": "2026-11-24"}
    )
    assert listed.body["days"] == []


def test_a_deployment_that_was_never_used_has_no_day_rows(world: World) -> None:
    assert world.daily() == 0
    assert world.daily("2026-11-20") == 0
    assert day_rows(world) == []
