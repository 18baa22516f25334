"""Distinct people of kinds and groups, over all spaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from headcount.model.session import RETURN_WINDOW, place_of
from headcount.times import DAY, HOUR, SECOND, day_of

from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.memory import MemoryDynamoDB
from lab.harness.world import World, world_on

ROLL_UPS = "school=course:*,stream:main chapter=course:42-*"


@pytest.fixture(params=["1", "3"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    clock = Clock()
    database = MemoryDynamoDB(clock)
    parameters = {"RollUps": ROLL_UPS, "ShardsPerSpace": request.param}
    with world_on(Engine("memory", database.connect), clock, **parameters) as made:
        yield made


def database(world: World) -> Any:
    """The engine's tables, whose reads of an index may lag."""
    return world.engine.client._database


def read(world: World, path: str) -> Any:
    answer = world.get(path, token=world.admin)
    assert answer.status == 200, answer
    return answer.body


def people(world: World, path: str) -> int:
    return int(read(world, path)["people"])


def count(world: World) -> None:
    while records := world.filtered("count"):
        world.count(records)


def rollup_tasks(world: World) -> list[Any]:
    return [one for one in world.queue.deferred if "roll up" in one["body"]]


def settle(world: World, seconds: float = 3) -> None:
    """Run everything; deferred tasks at their time."""
    count(world)
    world.clock.advance(seconds)
    world.settle()


def test_a_person_in_five_spaces_is_one(world: World) -> None:
    for number, space in enumerate(
        ("site:main", "course:42-1", "course:42-2", "course:7", "stream:main")
    ):
        world.beat(f"s{number}", space, visitorId="ada")
    world.beat("other", "course:7", userId="grace")
    settle(world)
    assert people(world, "/v1/kinds/site") == 1
    course = read(world, "/v1/kinds/course")
    assert (
        course
        | {
            "kind": "course",
            "group": None,
            "people": 2,
            "signedIn": 1,
            "anonymous": 1,
            "sessions": 4,
            "signedInSessions": 1,
            "anonymousSessions": 3,
            "spaces": 3,
        }
        == course
    )
    assert people(world, "/v1/groups/school") == 2
    assert people(world, "/v1/groups/chapter") == 1
    assert people(world, "/v1/groups/all") == 2
    assert read(world, "/v1/groups/all")["sessions"] == 6


def test_a_leave_removes_a_person_only_with_their_last_session(world: World) -> None:
    world.beat("a", "site:main", visitorId="ada")
    world.beat("b", "course:7", visitorId="ada")
    settle(world)
    world.leave("a")
    settle(world)
    assert (people(world, "/v1/groups/all"), people(world, "/v1/kinds/site")) == (1, 0)
    world.leave("b", "course:7")
    settle(world)
    assert people(world, "/v1/groups/all") == 0
    assert read(world, "/v1/groups/all")["peak"]["people"] == 1


def test_who_signs_in_is_counted_as_the_user_everywhere(world: World) -> None:
    world.beat("a", "site:main", visitorId="ada")
    world.beat("b", "course:7", userId="ada")
    settle(world)
    assert people(world, "/v1/groups/all") == 2
    world.beat("a", "site:main", visitorId="ada", userId="ada")
    settle(world)
    found = read(world, "/v1/groups/all")
    assert (found["people"], found["signedIn"], found["sessions"]) == (1, 1, 2)


def test_a_page_that_closed_is_counted_again_when_the_tab_is_back(world: World) -> None:
    world.beat("a", page="/1")
    settle(world)
    world.leave("a", mayReturn=True)
    count(world)
    later, soon = (json.loads(one["body"]) for one in rollup_tasks(world))
    assert soon["parts"] == later["parts"]
    assert soon["at"] + RETURN_WINDOW < later["at"]
    world.clock.advance(9)
    world.beat("a", page="/2")
    count(world)
    assert len(rollup_tasks(world)) == 2, "its return looks like any change of a page"
    world.clock.advance(6)
    world.settle()
    assert people(world, "/v1/kinds/site") == 1


def test_who_is_away_is_not_counted(world: World) -> None:
    world.beat("a")
    settle(world)
    world.leave("a", mayReturn=True)
    settle(world)
    assert people(world, "/v1/kinds/site") == 0


def test_a_lease_that_ran_out_is_noticed_by_the_sweep(world: World) -> None:
    world.beat("a")
    settle(world)
    world.clock.advance(70)
    world.sweep()
    settle(world)
    assert people(world, "/v1/kinds/site") == 0


def test_a_dashboard_hears_each_version_of_a_rollup(world: World) -> None:
    world.subscribe("dashboard", "~group:school")
    world.beat("a", "course:7")
    settle(world)
    world.clock.advance(5)
    world.beat("b", "course:42-1")
    settle(world)
    assert world.versions("dashboard", "~group:school") == [0, 1, 2]
    assert world.management.frames["dashboard"][-1]["data"]["people"] == 2
    versions = {
        path: read(world, path)["version"] for path in ("/v1/groups/chapter", "/v1/kinds/site")
    }
    assert versions == {"/v1/groups/chapter": 1, "/v1/kinds/site": 0}, "only what changed"


def test_a_recount_that_nobody_published_is_published_by_the_sweep(world: World) -> None:
    world.beat("a")
    settle(world)
    world.beat("b")
    count(world)
    world.clock.advance(3)
    world.run_deferred()
    assert world.filtered("publish")  # lost
    world.clock.advance(20)
    world.sweep()
    settle(world)
    assert people(world, "/v1/kinds/site") == 1, "it may be on its way"
    world.clock.advance(20)
    world.beat("a")
    world.beat("b")
    world.clock.advance(20)
    report = world.sweep()
    settle(world)
    assert people(world, "/v1/kinds/site") == 2
    assert {"~kind:site", "~group:all"} <= {one["space"] for one in report["repaired"]}


def published_later(world: World, *sessions: str) -> list[Any]:
    """Have these join and their parts recounted; the changes that ``publish`` would receive."""
    for session in sessions:
        world.beat(session, "course:7")
    count(world)
    world.clock.advance(3)
    world.run_deferred()
    return [one for one in world.filtered("publish") if "~rollups" in json.dumps(one)]


def test_the_parts_are_read_once_for_all_rollups_that_changed(world: World) -> None:
    changes = published_later(world, "a")
    counts = world.tables["counts"].name
    with world.engine.metered() as meter:
        world.publish(changes)
    queries = [one for one in meter.calls if one.operation == "Query" and counts in one.tables]
    assert len(queries) == 1
    paths = ("kinds/course", "groups/school", "groups/all")
    assert [people(world, f"/v1/{path}") for path in paths] == [1, 1, 1]


def test_what_another_published_since_the_parts_were_read_is_not_undone(world: World) -> None:
    first, second = published_later(world, "a"), published_later(world, "b")
    headcounts = world.tables["headcounts"].name

    def publish_another() -> None:
        """Publish an earlier change late, with all that was counted by then."""
        assert published_later(world, "c")
        world.publish(first)

    # After the parts were read, before the roll-up's last version is.
    with world.engine.interrupted("GetItem", headcounts, publish_another) as interrupted:
        world.publish(second)
    assert interrupted
    paths = ("kinds/course", "groups/school", "groups/all")
    assert [people(world, f"/v1/{path}") for path in paths] == [3, 3, 3]


def test_fewer_parts_leave_nobody_behind_in_those_there_were(world: World) -> None:
    world.redeploy(ShardsPerSpace="3")
    for number in range(10):
        world.beat(f"s{number}", visitorId=f"v{number}")
    settle(world)
    world.redeploy(ShardsPerSpace="1")
    world.sweep()
    world.sweep()
    settle(world)
    assert people(world, "/v1/kinds/site") == 10


def test_the_sweep_samples_a_rollup_and_finds_what_no_task_recounted(world: World) -> None:
    world.beat("a")
    world.beat("b", "course:7")
    count(world)
    world.queue.deferred.clear()
    world.clock.advance(20)
    world.sweep()
    settle(world)
    assert people(world, "/v1/groups/all") == 2
    world.clock.advance(20)
    world.sweep()
    (point,) = read(world, "/v1/groups/all/timeline")["points"]
    assert (point["people"], point["sessions"]) == (2, 2)


def test_a_day_has_a_persons_visits_to_all_spaces_of_a_rollup_as_one_person(world: World) -> None:
    for session, space in (("a", "course:7"), ("b", "course:8"), ("c", "site:main")):
        world.beat(session, space, visitorId="ada")
    world.beat("d", "course:7", visitorId="grace")
    settle(world)
    world.leave("a", "course:7")
    settle(world)
    world.clock.advance(DAY // SECOND)
    world.daily()
    date = day_of(world.clock() - DAY)
    (day,) = read(world, "/v1/kinds/course/days")["days"]
    assert (day["date"], day["uniquePeople"], day["uniqueSessions"]) == (date, 2, 3)
    assert (day["views"], day["peak"]) == (3, 2)
    (day,) = read(world, "/v1/groups/all/days")["days"]
    assert (day["uniquePeople"], day["views"]) == (2, 4)
    assert read(world, "/v1/spaces/course%3A7/days")["days"][0]["uniquePeople"] == 2


def test_a_recount_waits_for_the_index_whose_entries_come_late(world: World) -> None:
    database(world).lag = 1_900
    world.beat("a")
    count(world)
    (task,) = (json.loads(one["body"]) for one in rollup_tasks(world))
    world.clock.advance((task["at"] - world.clock()) / SECOND)
    world.settle()
    database(world).lag = 0
    assert people(world, "/v1/groups/all") == 1


def test_a_change_just_before_a_deferred_recount_gets_another(world: World) -> None:
    world.beat("a", visitorId="ada")
    count(world)
    world.clock.advance(0.1)
    world.beat("b", "course:7", visitorId="ada")
    count(world)
    assert len(rollup_tasks(world)) == 2, "the index may show it later than that"
    world.clock.advance(3)
    world.settle()
    assert people(world, "/v1/kinds/course") == 1


def test_many_changes_at_once_are_one_recount(world: World) -> None:
    for number in range(20):
        world.beat(f"s{number}", f"course:{number}", visitorId="ada")
        count(world)
    assert len(rollup_tasks(world)) == 1


def test_a_recount_is_left_out_only_after_a_later_one(world: World) -> None:
    recounter = world.services("deferred").rollup_recounter
    now = world.clock()
    made = recounter.recount(0)
    assert made is not None
    assert recounter.recount(0, at=now - 2 * SECOND) is None
    assert recounter.recount(0, at=now) is not None
    world.clock.advance(-60)
    assert recounter.recount(0, at=now - 62 * SECOND) is not None, "the last is from the future"


def test_who_signs_in_leaves_the_part_of_the_visitor(world: World) -> None:
    parts = world.services("count").presence.parts
    visitor = next(
        name
        for name in map(str, range(100))
        if place_of(f"v:{name}", parts)[0] != place_of("c:ada", parts)[0]
    )
    world.beat("a", visitorId=visitor)
    settle(world)
    world.beat("a", visitorId=visitor, userId="ada")
    settle(world)
    found = read(world, "/v1/kinds/site")
    assert (found["people"], found["signedIn"]) == (1, 1)


def test_the_sweep_enters_sessions_from_before_there_were_rollups(world: World) -> None:
    world.restart("beat", RollUps="")
    world.beat("a")
    world.redeploy(RollUps=ROLL_UPS)
    settle(world)
    assert people(world, "/v1/kinds/site") == 0
    world.sweep()
    world.sweep()
    world.settle()
    assert people(world, "/v1/kinds/site") == 1


def test_the_hourly_look_at_all_headcounts_leaves_rollups_alone(world: World) -> None:
    world.beat("a")
    settle(world)
    world.clock.advance((HOUR - world.clock() % HOUR) / SECOND)
    world.beat("a")
    settle(world, 10)
    world.sweep()
    settle(world)
    assert people(world, "/v1/kinds/site") == 1
    counted = {row["space"] for row in world.tables["counts"].rows()}
    assert counted == {"site:main", "~rollups"}


def test_an_erased_person_is_in_no_rollup(world: World) -> None:
    world.beat("a", visitorId="ada")
    world.beat("b", "course:7", visitorId="ada")
    settle(world)
    asked = world.http("POST", "/v1/erasures", token=world.admin, body={"visitorId": "ada"})
    assert asked.status == 202
    while world.queue.erasures and world.presence_rows():
        wait, task = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": task}]})
    settle(world)
    assert people(world, "/v1/groups/all") == 0


def test_a_rollup_that_was_not_sent_is_sent_again(world: World) -> None:
    world.subscribe("dashboard", "~kind:site")
    world.beat("a")
    count(world)
    world.clock.advance(3)
    world.run_deferred()
    changes = world.filtered("publish")
    world.publish(changes)
    sent = world.versions("dashboard", "~kind:site")
    world.publish(changes)
    assert sent == [0, 1]
    assert world.versions("dashboard", "~kind:site") == [0, 1, 1]


@pytest.mark.parametrize("what", ["kind", "group"])
def test_one_that_is_not_declared_is_refused_by_its_name_if_it_can_be_one(
    what: str, world: World
) -> None:
    for name, shown in (("nope", f"The {what} 'nope'"), ("A%00", f"That {what}")):
        answer = world.get(f"/v1/{what}s/{name}", token=world.admin)
        assert answer.status == 400
        assert answer.body["error"].startswith(f"{shown} is not declared here.")


def test_no_one_may_beat_to_a_rollup_or_read_it_as_a_space(world: World) -> None:
    for space in ("~kind:site", "~group:all"):
        body = {"sessionId": "a"}
        assert world.http("POST", f"/v1/spaces/{space}/presence", body=body).status == 400
        assert world.get(f"/v1/spaces/{space}", token=world.admin).status == 400
    world.beat("a")
    settle(world)
    listed = read(world, "/v1/spaces")["spaces"]
    assert [one["space"] for one in listed] == ["site:main"]


def test_a_rollup_of_a_kind_that_is_not_public_needs_a_scope(world: World) -> None:
    world.redeploy(Kinds="site:counts=public course stream")
    assert world.get("/v1/kinds/site").status == 200
    assert world.get("/v1/kinds/course").status == 401
    assert world.get("/v1/groups/all").status == 401
    token = world.token(sub="x", headcount_scopes="read:course:* read:~group:school")
    paths = ("kinds/course", "groups/school", "kinds/stream", "groups/all")
    found = [world.get(f"/v1/{path}", token=token).status for path in paths]
    assert found == [200, 200, 403, 403]
    world.connect("c", token=token)
    world.send("c", {"action": "subscribe", "space": "~group:school"})
    world.send("c", {"action": "subscribe", "space": "~group:all"})
    kinds = [frame["type"] for frame in world.management.frames["c"]]
    assert kinds == ["headcount", "error"]
    assert "read:~group:all" in world.management.frames["c"][-1]["error"]
