"""The cleanup: ends, deletes, repairs, samples; a repeat changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.times import parse_iso

from lab.harness.engines import Engine
from lab.harness.template import template
from lab.harness.world import SITE, World
from tests.conftest import Worlds


def test_a_lease_ends_a_session_exactly_when_it_is_over(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(59.999)
    assert world.sweep()["ended"] == 0
    world.clock.advance(0.001)
    assert world.sweep()["ended"] == 1
    world.settle()
    assert world.people() == 0


def test_an_expired_visit_ended_when_its_lease_did(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(30)
    world.beat("s1")
    world.clock.advance(200)
    world.sweep()
    world.settle()
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == 90_000
    assert visit["ended_by"] == "expiry"
    assert visit["beats"] == {"2026-11-21": 2}


def test_a_leave_after_the_lease_does_not_lengthen_the_visit(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(100)
    world.leave("s1")
    world.settle()
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == 60_000
    assert visit["ended_by"] == "expiry"


def test_a_beat_between_the_look_and_the_end_keeps_the_session(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(61)
    presence = world.tables["presence"].name
    with world.engine.interrupted("PutItem", presence, lambda: world.beat("s1")) as raced:
        report = world.sweep()
    assert raced == [1]
    assert report["ended"] == 0
    world.settle()
    assert world.live_sessions() == ["s1"]
    assert world.people() == 1
    assert world.headcount()["views"]["total"] == 1


def test_only_the_expired_end(world: World) -> None:
    world.beat("s1")
    world.beat("s2", "link:1")
    world.settle()
    world.clock.advance(61)
    assert world.sweep()["ended"] == 1
    world.settle()
    assert world.live_sessions() == ["s2"]
    assert world.people("link:1") == 1


def test_ended_rows_are_deleted_after_five_minutes(world: World) -> None:
    world.beat("s1")
    world.leave("s1")
    world.settle()
    world.clock.advance(300)
    assert world.sweep()["deleted"] == 0
    assert len(world.presence_rows()) == 1
    world.clock.advance(0.001)
    assert world.sweep()["deleted"] == 1
    assert world.presence_rows() == []


def test_an_end_that_the_stream_lost_is_in_the_ledger_before_its_row_is_deleted(
    world: World,
) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(10)
    world.leave("s1")
    world.filtered("count")  # lost
    world.clock.advance(301)
    world.sweep()
    assert world.presence_rows() == []
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == 10_000


def test_a_visit_that_the_stream_lost_altogether_is_recorded_with_its_view(world: World) -> None:
    world.beat("s1")
    world.leave("s1")
    world.filtered("count")  # lost
    world.clock.advance(301)
    world.sweep()
    world.settle()
    (visit,) = world.ledger()
    assert visit["ended_by"] == "leave"
    (views,) = [row for row in world.tables["counts"].rows() if row["part"] == "views"]
    assert views["total"] == 1


def test_the_view_of_a_join_that_the_stream_lost_is_added_at_its_end(world: World) -> None:
    world.beat("s1")
    world.filtered("count")  # lost
    world.clock.advance(10)
    world.leave("s1")
    world.settle()
    assert world.headcount()["views"]["total"] == 1


def test_a_sweep_again_changes_nothing(world: World) -> None:
    for number in range(3):
        world.beat(f"s{number}", page=f"/{number}")
    world.beat("s9", "link:1")
    world.settle()
    world.clock.advance(61)
    world.beat("s0", page="/0")
    world.leave("s1")
    world.settle()
    world.sweep()
    world.settle()
    before = world.snapshot()
    report = world.sweep()
    assert (report["ended"], report["deleted"], report["repaired"]) == (0, 0, [])
    assert world.snapshot() == before
    assert world.filtered("count") == []
    assert world.filtered("publish") == []


def test_a_healthy_minute_repairs_nothing(world: World) -> None:
    for number in range(5):
        world.beat(f"s{number}", userId=f"u{number % 2}", page=f"/{number}", facets={"a": "b"})
    world.settle()
    for _ in range(3):
        world.clock.advance(30)
        for number in range(5):
            world.beat(f"s{number}", userId=f"u{number % 2}", page=f"/{number}", facets={"a": "b"})
        world.settle()
        assert world.sweep()["repaired"] == []


def test_an_expiry_is_no_drift(memory_world: World) -> None:
    memory_world.beat("s1")
    memory_world.beat("s2", "link:1")
    memory_world.settle()
    memory_world.clock.advance(61)
    assert memory_world.sweep()["repaired"] == []


def test_a_minute_is_sampled_for_every_space_with_anyone_in_it(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.beat("s2", visitorId="v1")
    world.beat("s3", "link:1")
    world.beat("s4", "link:2")
    world.leave("s4", "link:2")
    world.settle()
    world.clock.advance(42)
    assert world.sweep()["sampled"] == 2
    points = world.get(f"/v1/spaces/{SITE}/timeline", token=world.admin).body["points"]
    assert points == [{"at": "2026-11-21T12:00:00.000Z", "people": 1, "sessions": 2}]


def test_a_second_sweep_within_the_minute_replaces_its_sample(world: World) -> None:
    world.beat("s1")
    world.sweep()
    world.clock.advance(20)
    world.beat("s2")
    world.sweep()
    points = world.get(f"/v1/spaces/{SITE}/timeline", token=world.admin).body["points"]
    assert [point["sessions"] for point in points] == [2]


def test_sweeps_within_the_minute_are_spread_over_it(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="sweeps-per-minute=3")
    start = world.clock()
    with world.engine.metered() as meter:
        world.sweep()
    presence = world.tables["presence"].name
    scans = [call for call in meter.calls if call.permissions == {("dynamodb:Scan", presence)}]
    assert len(scans) == 3
    assert world.clock() - start == 40_000


def test_the_ttl_attribute_comes_a_day_after_the_lease(world: World) -> None:
    world.beat("s1", "link:1")
    (row,) = world.presence_rows()
    name = template().tables["presence"]["TimeToLiveSpecification"]["AttributeName"]
    assert row[name] == (row["expires_at"] + 86_400_000) // 1000


def test_a_table_of_many_rows_is_swept_whole(memory_world: World) -> None:
    world = memory_world
    for number in range(40):
        world.beat(f"s{number:03d}")
    world.settle()
    world.clock.advance(61)
    assert world.sweep()["ended"] == 40
    world.settle()
    world.clock.advance(301)
    assert world.sweep()["deleted"] == 40
    assert all("ended_at" in row for row in world.ledger())


def daily(world: World, date: str | None = None) -> tuple[int, list[Any]]:
    """Aggregate; returns the number of written rows and all day rows."""
    written = world.daily(date)
    return written, [row for row in world.tables["history"].rows() if row["at"].startswith("day")]


def test_a_day_is_its_visits(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.beat("s2", visitorId="v1")
    world.beat("s3", visitorId="v3")
    world.settle()
    world.clock.advance(30)
    world.beat("s3", visitorId="v3")
    world.clock.advance(30)
    for session in ("s1", "s2", "s3"):
        world.leave(session)
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    written, (row,) = daily(world)
    assert written == 1
    assert row == {
        "space": SITE,
        "at": "day#2026-11-21",
        "unique_people": 2,
        "unique_sessions": 3,
        "views": 3,
        "beats": 4,
        "peak": 2,
        "avg_seconds": 60,
        "unique_users": 0,
        "quarters": bytes(12 * 4) + b"\3",  # all three began at noon
        "ttl": parse_iso("2026-11-21T00:00:00Z") // 1000 + 400 * 86_400,
    }


@pytest.mark.parametrize("date", ["2026-11-21", "2026-11-22", "2026-11-14", "2025-01-01"])
def test_a_day_that_is_not_over_or_has_begun_to_expire_is_refused(
    memory_world: World, date: str
) -> None:
    memory_world.beat("s1")
    memory_world.settle()
    before = memory_world.snapshot()
    with pytest.raises(ValueError, match=f"{date} is not over|visits of {date}"):
        memory_world.daily(date)
    assert memory_world.snapshot() == before


def test_an_invalid_date_is_refused(memory_world: World) -> None:
    with pytest.raises(ValueError, match=r"21\.11\.2026"):
        memory_world.daily("21.11.2026")


def test_a_visitor_who_signs_in_at_midday_is_one_person(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.settle()
    world.clock.advance(10)
    world.leave("s1")
    world.clock.advance(10)
    world.beat("s2", visitorId="v1", userId="u1")
    world.settle()
    world.leave("s2")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    _, (row,) = daily(world)
    assert row["unique_people"] == 1


def test_today_so_far_is_among_the_days(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.set("2026-11-22T00:30:00Z")
    world.sweep()
    world.beat("s2")
    world.settle()
    days = world.get(f"/v1/spaces/{SITE}/days", token=world.admin).body["days"]
    assert [(day["date"], day["uniqueSessions"], day["views"]) for day in days] == [
        ("2026-11-21", 1, 1),
        ("2026-11-22", 1, 1),
    ]
    world.daily()
    again = world.get(f"/v1/spaces/{SITE}/days", token=world.admin).body["days"]
    assert again == days


def test_old_view_counters_are_deleted_and_current_ones_kept(world: World) -> None:
    for day in ("2026-11-01", "2026-11-20"):
        world.clock.set(f"{day}T12:00:00Z")
        world.beat("s1")
        world.settle()
        world.leave("s1")
        world.settle()
    world.clock.set("2026-11-21T01:00:00Z")
    world.daily()
    (views,) = [row for row in world.tables["counts"].rows() if row["part"] == "views"]
    assert set(views) - {"space", "part", "ttl"} == {
        "total",
        "2026-11-20",
        "2026-W44",
        "2026-W47",
        "2026-11",
    }
    assert world.filtered("publish") == []


def test_views_of_today_week_and_month_roll_over(world: World) -> None:
    world.clock.set("2026-11-28T23:59:50Z")  # a Saturday
    world.beat("s1")
    world.settle()
    assert world.headcount()["views"] == {"total": 1, "today": 1, "week": 1, "month": 1}
    world.clock.set("2026-11-29T00:00:10Z")
    assert world.headcount()["views"] == {"total": 1, "today": 0, "week": 1, "month": 1}
    world.clock.set("2026-11-30T00:00:00Z")
    assert world.headcount()["views"] == {"total": 1, "today": 0, "week": 0, "month": 1}
    world.clock.set("2026-12-01T00:00:00Z")
    assert world.headcount()["views"] == {"total": 1, "today": 0, "week": 0, "month": 0}


@pytest.mark.parametrize("ahead", [3600, 24 * 3600], ids=["an hour", "a day"])
def test_a_crashed_session_from_a_clock_that_was_ahead_is_gone_after_a_lease(
    memory_world: World, ahead: int
) -> None:
    world = memory_world
    world.beat("s1", page="/a")
    world.clock.advance(30 + ahead)
    world.beat("s1", page="/b")
    world.clock.advance(-ahead)
    for _ in range(5):
        world.beat("s2")
        world.settle()
        world.clock.advance(40)
        world.sweep()
    world.settle()
    assert (world.people(), world.live_sessions()) == (1, ["s2"])
    assert {row["ended_by"] for row in world.ledger() if row["session"] == "s1"} == {"expiry"}


def test_a_sweep_that_stood_still_takes_no_newer_beat_for_a_wrong_clocks(
    memory_world: World,
) -> None:
    world = memory_world
    for number in range(3):
        world.beat(f"s{number}")
    world.settle()
    stored = []

    def wait() -> None:
        world.clock.advance(90)
        world.beat("s0", page="/b")
        stored.extend(row for row in world.presence_rows() if row["session"] == "s0")

    with world.engine.interrupted("Scan", world.tables["presence"].name, wait):
        world.sweep()
    assert stored == [row for row in world.presence_rows() if row["session"] == "s0"]


def test_a_sweep_by_a_clock_that_is_behind_ends_no_session(memory_world: World) -> None:
    world = memory_world
    for number in range(3):
        world.beat(f"s{number}")
    world.settle()
    rows = world.presence_rows()
    world.clock.advance(-3600)
    world.sweep()
    assert world.presence_rows() == rows
