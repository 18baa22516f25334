"""Every end of presence: a leave, tab by tab, all at once, never, or only for a while."""

from __future__ import annotations

from collections import Counter

import pytest

from lab.harness.world import SITE, World


def numbers(world: World) -> tuple[int, int]:
    body = world.headcount()
    return body["people"], body["sessions"]


def test_three_tabs_close_one_by_one(world: World) -> None:
    world.subscribe("c1")
    tabs = ["t1", "t2", "t3"]
    for tab in tabs:
        world.beat(tab, visitorId="v1", page=f"/{tab}")
    world.settle()
    assert numbers(world) == (1, 3)
    seen = []
    for tab in tabs:
        world.clock.advance(10)
        world.leave(tab)
        world.settle()
        seen.append(numbers(world))
    assert seen == [(1, 2), (1, 1), (0, 0)]
    frames = [frame["data"] for frame in world.management.frames["c1"]]
    assert [(data["people"], data["sessions"]) for data in frames] == [(0, 0), (1, 3), *seen]
    assert [
        {page["value"]: (page["count"], page["people"]) for page in data["facets"].get("page", [])}
        for data in frames[2:]
    ] == [{"/t2": (1, 0), "/t3": (1, 1)}, {"/t3": (1, 1)}, {}]
    assert [visit["ended_at"] - visit["joined_at"] for visit in world.ledger()] == [
        10_000,
        20_000,
        30_000,
    ]
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (day,) = [row for row in world.tables["history"].rows() if row["at"].startswith("day#")]
    assert (day["unique_people"], day["unique_sessions"], day["views"]) == (1, 3, 3)


@pytest.mark.parametrize("closed", [["t1"], ["t1", "t2"]])
def test_a_tab_that_crashes_beside_others_ends_alone(world: World, closed: list[str]) -> None:
    for tab in ("t1", "t2", "t3"):
        world.beat(tab, visitorId="v1")
    world.settle()
    remaining = [tab for tab in ("t1", "t2", "t3") if tab not in closed]
    for _ in range(3):
        world.clock.advance(30)
        for tab in remaining:
            world.beat(tab, visitorId="v1")
        world.sweep()
        world.settle()
    assert numbers(world) == (1, len(remaining))


# ----------------------------------------------------------------------------------- no $disconnect


def test_a_viewer_who_never_leaves_is_gone_when_the_lease_is_over(world: World) -> None:
    world.subscribe("c1")
    world.beat("crashed", visitorId="v1")
    world.beat("here", visitorId="v2")
    world.settle()
    world.clock.advance(45)
    world.beat("here", visitorId="v2")
    world.clock.advance(15)
    world.sweep()
    world.settle()
    assert world.live_sessions() == ["here"]
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [0, 2, 1]
    (ended,) = [visit for visit in world.ledger() if "ended_at" in visit]
    assert (ended["session"], ended["ended_by"]) == ("crashed", "expiry")
    assert ended["ended_at"] - ended["joined_at"] == 60_000


def test_a_dashboard_without_a_disconnect_delays_no_one_and_leaves_no_row(world: World) -> None:
    for connection in ("vanished", "c1"):
        world.subscribe(connection)
    world.clock.advance(600)
    world.management.set_gone("vanished")
    for number in range(3):
        world.beat(f"s{number}")
        world.settle()
        world.clock.advance(2)
    assert world.versions("c1") == [0, 1, 2, 3]
    assert (
        world.management.attempts["vanished"] == 2
    )  # its first headcount, and the one whose sending failed
    assert not [row for row in world.tables["subscriptions"].rows() if "vanished" in str(row)]


def test_the_rows_of_a_dashboard_without_any_frames_expire(
    world: World,
) -> None:
    world.subscribe("vanished")
    longest = world.clock() // 1000 + 2 * 3600  # API Gateway ends every connection after 2 hours
    rows = world.tables["subscriptions"].rows()
    assert len(rows) == 3
    assert all(longest < row["ttl"] <= longest + 3600 for row in rows)


# -------------------------------------------------------------------- the time to live deletes late


def test_an_expired_row_that_is_still_stored_after_48_hours_is_not_counted(world: World) -> None:
    world.beat("gone", "activity:main", visitorId="v1")
    world.beat("gone", visitorId="v1", page="/old")
    world.settle()
    world.clock.advance(48 * 3600)  # without a cleanup
    world.beat("new", visitorId="v2", page="/new")
    world.settle()
    body = world.headcount()
    assert (body["people"], body["sessions"]) == (1, 1)
    assert body["facets"]["page"] == [{"value": "/new", "count": 1, "people": 1}]
    viewers = world.get(f"/v1/spaces/{SITE}/viewers", token=world.admin).body["viewers"]
    assert [one["sessionId"] for one in viewers] == ["new"]
    activity = world.get("/api/analytics/live-activity", token=world.admin).body
    assert (activity["activities"], activity["stats"]["totalActive"]) == ([], 0)
    assert len(world.presence_rows()) == 3


def test_an_ended_row_that_is_still_stored_after_48_hours_does_not_block_a_return(
    world: World,
) -> None:
    world.beat("s1", seq=1)
    world.settle()
    world.leave("s1", seq=2)
    world.settle()
    world.clock.advance(48 * 3600)  # and it was not deleted
    world.beat("s1", seq=3)
    world.settle()
    assert numbers(world) == (1, 1)
    first, second = world.ledger()
    assert first["ended_by"] == "leave"
    assert second["joined_at"] == world.clock()


def test_the_late_deletion_of_a_row_changes_no_number_and_invokes_nothing(world: World) -> None:
    world.beat("s1")
    world.beat("s2")
    world.settle()
    world.clock.advance(30)
    world.beat("s2")
    world.clock.advance(31)
    world.sweep()
    world.settle()
    before = world.headcount()
    (row,) = [row for row in world.presence_rows() if row["session"] == "s1"]
    world.engine.client.delete_item(
        TableName=world.tables["presence"].name,
        Key={"partition": {"S": row["partition"]}, "session": {"S": "s1"}},
    )
    assert world.filtered("count") == []
    assert world.sweep()["repaired"] == []
    world.settle()
    assert world.headcount() == before


# ------------------------------------------------------------------------- a new socket, an old one


def test_a_new_socket_before_the_old_one_closes_still_receives_versions(world: World) -> None:
    world.subscribe("old")
    world.beat("s1")
    world.settle()
    world.subscribe("new")
    world.clock.advance(2)
    world.beat("s2")
    world.settle()
    world.disconnect("old")
    world.clock.advance(2)
    world.beat("s3")
    world.settle()
    assert world.versions("old") == [0, 1, 2]
    assert world.versions("new") == [1, 2, 3]
    assert {row["subscriber"] for row in world.tables["subscriptions"].rows()} == {
        "connection",
        SITE,
        "new",
    }


def test_a_page_that_is_reloaded_joins_before_its_old_self_leaves(world: World) -> None:
    world.subscribe("c1")
    world.beat("tab", seq=1, visitorId="v1")
    world.settle()
    world.clock.advance(20)
    world.beat("tab", seq=3, visitorId="v1")  # the new document
    world.leave("tab", seq=2)  # the old one's leave
    world.settle()
    assert world.live_sessions() == ["tab"]
    assert numbers(world) == (1, 1)
    assert world.versions("c1") == [0, 1]
    (visit,) = world.ledger()
    assert "ended_at" not in visit


# ------------------------------------------------------------------- dropping and returning in time


@pytest.mark.parametrize("away", [31, 54, 59])
def test_a_visitor_who_drops_and_returns_within_the_lease_never_left(
    world: World, away: int
) -> None:
    world.subscribe("c1")
    world.beat("s1", visitorId="v1", page="/")
    world.settle()
    world.clock.advance(30)
    world.beat("s1", visitorId="v1", page="/")
    world.clock.advance(away)
    world.sweep()
    world.settle()
    world.beat("s1", visitorId="v1", page="/")
    world.settle()
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]][1:] == [1] * (
        len(world.management.frames["c1"]) - 1
    )
    assert world.headcount()["views"]["total"] == 1
    world.clock.advance(10)
    world.leave("s1")
    world.settle()
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == (30 + away + 10) * 1000
    assert visit["beats"] == {"2026-11-21": 3}


def test_a_return_within_the_lease_pushes_no_leave_and_no_join(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1", page="/")
    world.settle()
    world.clock.advance(54)
    world.beat("s1", page="/")
    assert world.filtered("count") == []
    world.settle()
    assert world.versions("c1") == [0, 1]


def test_a_visitor_who_returns_after_the_lease_was_away(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1")
    world.settle()
    world.clock.advance(61)
    world.sweep()
    world.settle()
    world.clock.advance(10)
    world.beat("s1")
    world.settle()
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [0, 1, 0, 1]
    assert world.headcount()["views"]["total"] == 2
    assert [visit.get("ended_by") for visit in world.ledger()] == ["expiry", None]


# -------------------------------------------------------------------------------------- all at once


def test_all_dashboards_dropping_at_once_are_forgotten_and_all_come_back(
    memory_world: World,
) -> None:
    world = memory_world
    connections = [f"c{number}" for number in range(200)]
    for connection in connections:
        world.subscribe(connection)
    world.clock.advance(600)
    for connection in connections:
        world.management.set_gone(connection)
    world.beat("s1")
    world.settle()
    assert world.people() == 1
    assert world.tables["subscriptions"].rows() == []
    again = [f"again-{number}" for number in range(200)]
    for connection in again:
        world.subscribe(connection)
    world.clock.advance(2)
    world.beat("s2")
    world.settle()
    assert all(world.versions(connection) == [1, 2] for connection in again)


def test_200_disconnects_at_once_leave_no_row_while_a_version_goes_out(memory_world: World) -> None:
    world = memory_world
    connections = [f"c{number}" for number in range(200)]
    for connection in [*connections, "stays"]:
        world.subscribe(connection)
    world.clock.advance(600)
    world.beat("s1")
    batch = world.filtered("count")

    def drop() -> None:
        for connection in connections:
            world.management.set_gone(connection)
            world.disconnect(connection)

    # They drop after the version is stored and before it is sent.
    with world.engine.interrupted("Query", world.tables["subscriptions"].name, drop) as dropped:
        world.count(batch)
    assert dropped
    assert world.versions("stays") == [0, 1]
    assert len(world.tables["subscriptions"].rows()) == 3


def test_all_viewers_dropping_at_once_end_in_one_sweep_and_one_version(memory_world: World) -> None:
    world = memory_world
    world.subscribe("c1")
    for number in range(500):
        world.beat(f"s{number}", visitorId=f"v{number}", page=f"/{number % 7}")
    world.settle()
    assert world.people() == 500
    world.clock.advance(61)
    assert world.sweep()["ended"] == 500
    world.settle()
    assert numbers(world) == (0, 0)
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [0, 500, 0]
    assert Counter(visit["ended_by"] for visit in world.ledger()) == {"expiry": 500}
    world.clock.advance(301)
    assert world.sweep()["deleted"] == 500
    assert world.presence_rows() == []


def test_all_viewers_leaving_at_once_are_one_version_and_500_ends(memory_world: World) -> None:
    world = memory_world
    world.subscribe("c1")
    for number in range(500):
        world.beat(f"s{number}", visitorId=f"v{number}")
    world.settle()
    world.clock.advance(20)
    for number in range(500):
        world.leave(f"s{number}")
    world.settle()
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [0, 500, 0]
    assert {
        (visit["ended_by"], visit["ended_at"] - visit["joined_at"]) for visit in world.ledger()
    } == {("leave", 20_000)}
