"""Roll-ups are listed, explained, audited and repaired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from headcount.store.attributes import encode
from headcount.store.keys import Presence as Keys
from headcount.usecases import explain_rollup as explaining

from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.world import World, world_on

ROLL_UPS = "school=course:*,stream:main"


@pytest.fixture(params=["1", "3"])
def world(request: pytest.FixtureRequest, memory: Engine, clock: Clock) -> Iterator[World]:
    parameters = {"RollUps": ROLL_UPS, "ShardsPerSpace": request.param}
    with world_on(memory, clock, **parameters) as made:
        yield made


def read(world: World, path: str, **query: Any) -> Any:
    answer = world.http("GET", path, token=world.admin, query=query)
    assert answer.status == 200, answer
    return answer.body


def explain(world: World, rollup: str = "groups/all", **query: Any) -> Any:
    return read(world, f"/v1/{rollup}/explain", **query)


def settle(world: World) -> None:
    """Run everything; deferred tasks at their time."""
    world.settle()
    world.clock.advance(3)
    world.settle()


def put_people(world: World) -> None:
    """Ada in three spaces, in one of them twice; and Grace in one."""
    for session, space in (("a1", "site:main"), ("a2", "course:7"), ("a3", "course:8")):
        world.beat(session, space, visitorId="ada")
    world.beat("a4", "course:8", visitorId="ada")
    world.beat("g1", "course:8", userId="grace")
    settle(world)


def pages(world: World, rollup: str, limit: str) -> list[Any]:
    found = [explain(world, rollup, limit=limit)]
    while (cursor := found[-1]["cursor"]) is not None:
        found.append(explain(world, rollup, limit=limit, cursor=cursor))
    return found


# ------------------------------------------------------------------------------------------- listed


def test_all_rollups_are_listed_with_their_numbers(world: World) -> None:
    put_people(world)
    listed = {one["space"]: one for one in read(world, "/v1/rollups")["rollups"]}
    kinds = world.services("api").settings.kinds.names
    assert [*listed] == [*(f"~kind:{kind}" for kind in kinds), "~group:all", "~group:school"]
    for space, path in (("~kind:course", "kinds/course"), ("~group:school", "groups/school")):
        alone = read(world, f"/v1/{path}")
        assert listed[space] == {name: alone[name] for name in listed[space]}
    found = listed["~group:all"]
    assert (found["people"], found["signedIn"], found["anonymous"]) == (2, 1, 1)
    assert (found["sessions"], found["spaces"], found["peak"]["people"]) == (5, 3, 2)
    assert listed["~kind:stream"] | {"people": 0, "spaces": 0} == listed["~kind:stream"]


def test_a_token_lists_the_rollups_that_it_may_read(world: World) -> None:
    token = world.token(sub="x", headcount_scopes="read:course:* read:~group:school")
    answer = world.get("/v1/rollups", token=token)
    names = [one["space"] for one in answer.body["rollups"]]
    assert names == ["~kind:course", "~group:school"]


@pytest.mark.parametrize("path", ["rollups", "kinds/site/explain", "groups/all/explain"])
def test_without_rollups_the_error_says_how_to_turn_them_on(memory_world: World, path: str) -> None:
    answer = memory_world.get(f"/v1/{path}", token=memory_world.admin)
    assert answer.status == 404
    assert "RollUps=on" in answer.body["error"]


# ---------------------------------------------------------------------------------------- explained


def test_a_rollup_is_explained_by_its_spaces_people_and_sessions(world: World) -> None:
    put_people(world)
    world.clock.advance(60)
    for session, space in (("a1", "site:main"), ("a2", "course:7"), ("a3", "course:8")):
        world.beat(session, space, visitorId="ada")
    body = explain(world, "groups/school")
    numbers = {"people": 2, "signedIn": 1, "anonymous": 1, "sessions": 4}
    assert body["verdict"] == "agrees"
    assert body["published"] | numbers == body["published"]
    assert body["recount"] | numbers == body["recount"]
    assert (body["kind"], body["group"], body["difference"]) == (None, "school", None)
    assert body["spaces"] == [
        {"space": "course:8", "people": 2, "sessions": 3},
        {"space": "course:7", "people": 1, "sessions": 1},
    ]
    assert body["inSeveralSpaces"] == 1
    assert sum(one["people"] for one in body["parts"]) == 2
    found = [(one["person"]["id"], one["sessionId"], one["space"]) for one in body["sessions"]]
    assert sorted(found) == [
        ("ada", "a2", "course:7"),
        ("ada", "a3", "course:8"),
        ("ada", "a4", "course:8"),
        ("grace", "g1", "course:8"),
    ]
    people = [person for person, _, _ in found]
    assert people in (["ada"] * 3 + ["grace"], ["grace"] + ["ada"] * 3), "one person after another"
    ada = next(one for one in body["sessions"] if one["sessionId"] == "a3")
    assert ada["person"] == {"by": "visitor", "id": "ada", "verified": False}


def test_pages_have_each_session_once_though_several_spaces_have_its_id(world: World) -> None:
    for space in ("site:main", "course:7", "course:8"):
        world.beat("same", space, visitorId="ada")
        world.beat("other", space, visitorId="grace")
    settle(world)
    found = pages(world, "groups/all", "1")
    assert len(found) == 6
    sessions = {(one["sessionId"], one["space"]) for body in found for one in body["sessions"]}
    assert len(sessions) == 6
    for body in found:
        assert body["recount"]["people"] == 2


def test_a_change_that_no_recount_has_seen_yet_is_on_its_way(world: World) -> None:
    put_people(world)
    world.beat("new", "course:7", visitorId="eve")
    body = explain(world, "kinds/course")
    assert (body["verdict"], body["recount"]["people"]) == ("onItsWay", 3)
    assert body["difference"] == {"people": 1, "signedIn": 0, "anonymous": 1, "sessions": 1}
    settle(world)
    assert explain(world, "kinds/course")["verdict"] == "agrees"


def test_more_sessions_than_can_be_read_are_not_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_people(world)
    monkeypatch.setattr(explaining, "MAX_EXPLAINED_ROWS", 4)
    body = explain(world)
    assert (body["verdict"], body["recount"], body["sessions"]) == (None, None, [])
    assert body["published"]["people"] == 2
    assert "too many" in body["note"]


@pytest.mark.parametrize(
    ("query", "named"), [({"limit": "0"}, "limit"), ({"cursor": "?"}, "cursor")]
)
def test_invalid_parameters_are_refused(world: World, query: dict[str, str], named: str) -> None:
    answer = world.http("GET", "/v1/groups/all/explain", token=world.admin, query=query)
    assert (answer.status, named in answer.body["error"]) == (400, True)


def test_an_undeclared_group_is_refused(world: World) -> None:
    answer = world.get("/v1/groups/nope/explain", token=world.admin)
    assert answer.status == 400
    assert "all, school" in answer.body["error"]


# ----------------------------------------------------------------------------- audited and repaired


def test_a_rollup_that_was_published_wrong_is_drift_until_the_sweep_repairs_it(
    world: World,
) -> None:
    put_people(world)
    world.subscribe("dashboard", "~group:all")
    heads = world.tables["headcounts"]
    (row,) = (one for one in heads.rows() if one["space"] == "~group:all")
    heads.put(encode({**row, "signed_in": 41}))
    assert explain(world)["verdict"] == "onItsWay", "a part was counted a moment ago"
    world.clock.advance(31)
    for session, space in (("a1", "site:main"), ("a2", "course:7"), ("a3", "course:8")):
        world.beat(session, space, visitorId="ada")
    body = explain(world)
    assert (body["verdict"], body["published"]["signedIn"]) == ("drift", 41)
    assert body["difference"] == {"people": -40, "signedIn": -40, "anonymous": 0, "sessions": 0}
    world.sweep()
    settle(world)
    body = explain(world)
    assert (body["verdict"], body["published"]["people"]) == ("agrees", 2)
    assert world.management.frames["dashboard"][-1]["data"]["people"] == 2


def test_an_entry_that_was_removed_by_hand_is_written_again_by_the_sweep(world: World) -> None:
    put_people(world)
    rows = world.tables["presence"]
    (row,) = (one for one in rows.rows() if one["session"] == "a1")
    del row[Keys.PART], row[Keys.PERSON]
    rows.put(encode(row))
    assert explain(world, "kinds/site")["recount"]["people"] == 0
    world.sweep()
    world.sweep()
    settle(world)
    body = explain(world, "kinds/site")
    assert (body["verdict"], body["published"]["people"]) == ("agrees", 1)
