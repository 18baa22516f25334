"""Where people are: lookups by the key that they count under."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from lab.harness.world import World


def where(world: World, person: str, token: str | None = None) -> Any:
    answer = world.get(f"/v1/people/{quote(person, safe='')}", token=token or world.admin)
    assert answer.status == 200, answer
    assert answer.body["success"] is True
    return answer.body


def spaces(world: World, person: str) -> dict[str, int]:
    return {one["space"]: one["sessions"] for one in where(world, person)["spaces"]}


def test_a_person_is_found_in_every_space_with_their_sessions(world: World) -> None:
    ada = world.token(sub="ada")
    world.beat("s1", page="/a", token=ada)
    joined = world.clock()
    world.clock.advance(2)
    world.beat("s2", page="/b", token=ada)
    world.beat("s3", "course:1", token=ada)
    world.settle()
    found = where(world, "u:ada")
    by_space = {one["space"]: one for one in found["spaces"]}
    assert found["online"] is True
    assert by_space["site:main"] == {
        "space": "site:main",
        "since": "2026-11-21T12:00:00.000Z",
        "lastSeen": "2026-11-21T12:00:02.000Z",
        "page": "/b",
        "sessions": 2,
        "verified": True,
    }, joined
    assert by_space["course:1"]["sessions"] == 1
    assert found["lastSeen"] == "2026-11-21T12:00:02.000Z"


def test_a_steady_beat_is_seen_and_writes_nothing_more(world: World) -> None:
    world.beat("s1", userId="ada")
    world.settle()
    before = world.tables["people"].rows()
    world.clock.advance(30)
    world.beat("s1", userId="ada")
    world.settle()
    assert world.tables["people"].rows() == before
    assert where(world, "c:ada")["lastSeen"] == "2026-11-21T12:00:30.000Z"


def test_claimed_and_proven_ids_are_two_people(world: World) -> None:
    world.beat("s1", userId="ada")
    world.settle()
    assert not where(world, "u:ada")["online"]
    assert where(world, "c:ada")["spaces"][0]["verified"] is False
    world.beat("s1", token=world.token(sub="ada"))
    world.settle()
    assert where(world, "u:ada")["online"]
    assert not where(world, "c:ada")["online"]


def test_visitors_and_sessions_are_found_by_their_ids(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.beat("s2")
    world.settle()
    assert where(world, "v:v1")["online"]
    assert where(world, "s:s2")["online"]
    assert not where(world, "s:s1")["online"]


def test_who_was_never_seen_is_offline(world: World) -> None:
    assert where(world, "u:nobody") == {
        "success": True,
        "person": "u:nobody",
        "online": False,
        "spaces": [],
        "lastSeen": None,
    }


def test_last_seen_is_known_for_a_week_after_a_leave(world: World) -> None:
    world.beat("s1", userId="ada")
    world.settle()
    world.clock.advance(20)
    world.leave("s1")
    world.settle()
    found = where(world, "c:ada")
    assert (found["online"], found["spaces"]) == (False, [])
    assert found["lastSeen"] == "2026-11-21T12:00:20.000Z"
    world.clock.advance(7 * 86_400 - 1)
    assert where(world, "c:ada")["lastSeen"] == "2026-11-21T12:00:20.000Z"
    world.clock.advance(1)
    assert where(world, "c:ada")["lastSeen"] is None
    (row,) = world.tables["people"].rows()
    assert row["ttl"] * 1_000 <= world.clock()


def test_an_expired_lease_is_offline_at_once_and_last_seen_at_its_last_beat(world: World) -> None:
    world.beat("s1", userId="ada")
    world.settle()
    world.clock.advance(200)
    assert where(world, "c:ada")["online"] is False
    world.sweep()
    world.settle()
    assert where(world, "c:ada")["lastSeen"] == "2026-11-21T12:00:00.000Z"
    (row,) = world.tables["people"].rows()
    assert not [name for name in row if name.startswith("~")]


def test_of_two_sessions_one_leaves(world: World) -> None:
    world.beat("s1", userId="ada")
    world.beat("s2", userId="ada")
    world.beat("s3", "course:1", userId="ada")
    world.settle()
    world.leave("s1")
    world.leave("s3", "course:1")
    world.settle()
    assert spaces(world, "c:ada") == {"site:main": 1}


def test_who_signs_out_is_no_longer_there_but_was_seen_until_then(world: World) -> None:
    world.beat("s1", visitorId="v1", token=world.token(sub="ada"))
    world.settle()
    world.clock.advance(10)
    world.beat("s1", visitorId="v1")
    world.settle()
    ada, visitor = where(world, "u:ada"), where(world, "v:v1")
    assert (ada["online"], ada["lastSeen"]) == (False, "2026-11-21T12:00:10.000Z")
    assert visitor["online"]
    world.clock.advance(10)
    world.leave("s1")
    world.settle()
    assert where(world, "v:v1")["lastSeen"] == "2026-11-21T12:00:20.000Z"
    assert where(world, "u:ada")["lastSeen"] == "2026-11-21T12:00:10.000Z"


@pytest.mark.parametrize("one_batch", [True, False])
def test_a_person_in_another_shard_is_found_after_signing_in(one_batch: bool, world: World) -> None:
    world.redeploy(ShardsPerSpace="7")
    for number in range(8):
        world.beat(f"s{number}", visitorId=f"v{number}")
        if not one_batch:
            world.settle()
        world.clock.advance(1)
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}")
        world.settle()
        assert spaces(world, f"c:u{number}") == {"site:main": 1}
        assert not where(world, f"v:v{number}")["online"]
        world.leave(f"s{number}")
        world.settle()
        assert not where(world, f"c:u{number}")["online"]
    assert not [
        name for row in world.tables["people"].rows() for name in row if name.startswith("~")
    ]


def test_a_visit_of_a_moment_is_seen(world: World) -> None:
    world.beat("s1", userId="ada")
    world.leave("s1")
    world.settle()
    assert where(world, "c:ada")["lastSeen"] == "2026-11-21T12:00:00.000Z"


def test_who_signs_in_and_leaves_at_once_is_seen(world: World) -> None:
    world.redeploy(ShardsPerSpace="7")
    for number in range(8):
        world.beat(f"s{number}", visitorId=f"v{number}")
    world.settle()
    world.clock.advance(5)
    for number in range(8):
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}")
        world.leave(f"s{number}")
    world.settle()
    for number in range(8):
        assert where(world, f"c:u{number}")["lastSeen"] == "2026-11-21T12:00:05.000Z"


def test_a_batch_that_is_repeated_late_changes_nothing(world: World) -> None:
    world.beat("s1", userId="ada")
    first = world.filtered("count")
    world.count(first)
    world.clock.advance(1)
    world.leave("s1")
    second = world.filtered("count")
    world.count(second)
    world.clock.advance(1)
    world.beat("s1", userId="ada")
    world.count(world.filtered("count"))
    world.count(second)  # the end of the first visit, again
    assert where(world, "c:ada")["online"]
    world.clock.advance(1)
    world.leave("s1")
    world.count(world.filtered("count"))
    world.count(first)
    found = where(world, "c:ada")
    assert (found["online"], found["lastSeen"]) == (False, "2026-11-21T12:00:03.000Z")


def test_whom_the_table_lost_is_found_after_the_next_change(world: World) -> None:
    world.beat("s1", userId="ada", page="/a")
    world.filtered("count")  # lost
    assert not where(world, "c:ada")["online"]
    world.beat("s1", userId="ada", page="/b")
    world.settle()
    assert where(world, "c:ada")["spaces"][0]["page"] == "/b"


def test_whom_the_table_lost_was_seen_until_they_signed_out(world: World) -> None:
    world.redeploy(ShardsPerSpace="7")
    for number in range(8):
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}")
    world.filtered("count")  # lost
    for user in (True, False):
        world.clock.advance(5)
        for number in range(8):
            who = {"userId": f"u{number}"} if user else {}
            world.beat(f"s{number}", visitorId=f"v{number}", page="/b", **who)
    world.settle()
    for number in range(8):
        found = where(world, f"c:u{number}")
        assert not found["online"]
        assert found["lastSeen"] >= "2026-11-21T12:00:05.000Z"


@pytest.mark.parametrize(
    "other", [lambda world: world.leave("s2"), lambda world: world.beat("s3", userId="ada")]
)
def test_whom_the_table_lost_is_found_though_another_visit_of_theirs_changes(
    world: World, other: Callable[[World], object]
) -> None:
    world.beat("s2", userId="ada")
    world.settle()
    world.beat("s1", userId="ada", page="/a")
    world.filtered("count")  # lost
    world.beat("s1", userId="ada", page="/b")
    other(world)
    world.settle()
    assert spaces(world, "c:ada") == {"site:main": world.headcount()["sessions"]}


def test_an_id_that_many_share_keeps_a_small_row(world: World) -> None:
    for number in range(40):
        world.beat(f"s{number}", userId="guest")
        world.settle()
        world.clock.advance(1)
    (row,) = world.tables["people"].rows()
    assert sum(name.startswith("~") for name in row) == 16
    assert spaces(world, "c:guest") == {"site:main": 16}


def test_visits_that_ended_unnoticed_make_room(world: World) -> None:
    for number in range(16):
        world.beat(f"s{number}", userId="ada")
        world.settle()
        world.leave(f"s{number}")
        world.filtered("count")  # lost
        world.clock.advance(1)
    world.beat("last", userId="ada")
    world.settle()
    (row,) = world.tables["people"].rows()
    assert sum(name.startswith("~") for name in row) < 16
    assert spaces(world, "c:ada") == {"site:main": 1}


def test_a_leave_without_a_join_makes_no_row(world: World) -> None:
    world.beat("s1", userId="ada")
    world.filtered("count")  # lost
    world.leave("s1")
    world.settle()
    assert world.tables["people"].rows() == []


def test_when_the_number_of_shards_changes_nobody_is_lost(world: World) -> None:
    for number in range(8):
        world.beat(f"s{number}", userId=f"u{number}")
    world.settle()
    world.redeploy(ShardsPerSpace="7")
    world.clock.advance(5)
    for number in range(8):
        world.beat(f"s{number}", userId=f"u{number}")
    moves = world.filtered("count")
    moves.sort(key=lambda one: one["dynamodb"]["NewImage"].get("ended_by", {}).get("S") == "move")
    world.count(moves)  # the row that each left behind comes last
    world.settle()
    for number in range(8):
        assert spaces(world, f"c:u{number}") == {"site:main": 1}


def test_who_was_erased_was_never_seen(world: World) -> None:
    world.beat("s1", userId="ada", visitorId="v1")
    world.beat("s2", userId="bob")
    world.settle()
    asked = world.http("POST", "/v1/erasures", body={"userId": "ada"}, token=world.admin)
    assert asked.status == 202
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.beat("s2", userId="bob")
        world.invoke("erase", {"Records": [{"body": text}]})
        world.settle()
    found = where(world, "c:ada")
    assert (found["online"], found["lastSeen"]) == (False, None)
    assert "ada" not in str(world.tables["people"].rows())
    assert where(world, "c:bob")["online"]


def test_the_private_are_not_found_by_their_name(world: World) -> None:
    body = {"userId": "ada", "anonymous": True}
    assert world.http("POST", "/api/courses/1/presence", body=body).status == 200
    world.settle()
    assert world.people("course:1") == 1
    assert not where(world, "u:ada")["online"]
    assert not where(world, "c:ada")["online"]


def test_a_list_is_answered_in_order(world: World) -> None:
    world.beat("s1", userId="ada")
    world.settle()
    people = ["u:x", "c:ada", "v:y", "c:ada"]
    answer = world.http("POST", "/v1/people/lookup", token=world.admin, body={"people": people})
    assert answer.status == 200
    assert [(one["person"], one["online"]) for one in answer.body["people"]] == [
        ("u:x", False),
        ("c:ada", True),
        ("v:y", False),
        ("c:ada", True),
    ]


@pytest.mark.parametrize("person", ["ada", "u:", "x:ada", "u:" + "a" * 129, "u:a\u0007"])
def test_a_person_that_is_none_is_refused(person: str, world: World) -> None:
    answer = world.get(f"/v1/people/{quote(person, safe='')}", token=world.admin)
    assert (answer.status, answer.body["success"]) == (400, False)
    assert answer.body["error"]
    body = {"people": ["u:ada", person]}
    answer = world.http("POST", "/v1/people/lookup", token=world.admin, body=body)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "people is missing: send it as a list."),
        ({"people": []}, "people must not be empty."),
        ({"people": ["u:a"] * 101}, "people must have at most 100 entries."),
        ({"people": "u:ada"}, "people must be a list."),
        ({"people": [1]}, "a value in people must be a string."),
    ],
)
def test_a_list_that_is_none_is_refused(body: Any, error: str, world: World) -> None:
    answer = world.http("POST", "/v1/people/lookup", token=world.admin, body=body)
    assert (answer.status, answer.body["error"]) == (400, error)


def test_a_token_shows_those_it_names(world: World) -> None:
    world.beat("s1", token=world.token(sub="ada"))
    world.settle()
    path = "/v1/people/u%3Aada"
    assert world.get(path).status == 401
    refused = world.get(path, token=world.token(sub="bob", headcount_scopes=["read:*"]))
    assert refused.status == 403
    assert "people:u:ada" in refused.body["error"]
    for scopes in (["people:u:ada"], ["people:*"], ["*:*"], "people:u:bob people:u:ada"):
        token = world.token(sub="bob", headcount_scopes=scopes)
        assert where(world, "u:ada", token)["online"], scopes
    assert where(world, "u:ada", world.token(sub="ada"))["online"]
    for scopes in (["people:c:ada"], ["people:u:*"], ["people:site:*"], ["read:u:ada"]):
        token = world.token(sub="bob", headcount_scopes=scopes)
        assert world.get(path, token=token).status == 403, scopes
    answer = world.http(
        "POST",
        "/v1/people/lookup",
        token=world.token(headcount_scopes=["people:u:ada"]),
        body={"people": ["u:ada", "u:bob"]},
    )
    assert (answer.status, "people:u:bob" in answer.body["error"]) == (403, True)


def test_a_claimed_id_is_not_oneself(world: World) -> None:
    token = world.token(sub="ada")
    assert world.get("/v1/people/c%3Aada", token=token).status == 403


def test_a_lookup_costs_half_a_unit_and_half_for_each_session(world: World) -> None:
    world.beat("s1", userId="ada")
    world.beat("s2", "course:1", userId="ada")
    world.settle()
    with world.engine.metered(capacity=True) as meter:
        where(world, "c:ada")
    assert meter.read_units == 1.5
    assert meter.write_units == 0
    with world.engine.metered(capacity=True) as meter:
        where(world, "c:nobody")
    assert meter.read_units == 0.5


def people_units(world: World) -> float:
    """The write units of the People table while the streams are handled."""
    name = world.tables["people"].name
    with world.engine.metered(capacity=True) as meter:
        world.settle()
    return sum(call.units or 0 for call in meter.calls if name in call.tables)


def test_a_join_and_a_leave_cost_one_write_unit_each(world: World) -> None:
    for number in range(4):
        world.beat(f"session-{number:028d}", f"course:{number:032d}", userId="u" * 36)
        assert people_units(world) == 1
    for number in range(4):
        world.leave(f"session-{number:028d}", f"course:{number:032d}")
        assert people_units(world) == 1


def test_a_steady_beat_costs_nothing_and_a_page_change_half_a_read(world: World) -> None:
    world.beat("s1", userId="ada", page="/a")
    world.settle()
    world.clock.advance(30)
    world.beat("s1", userId="ada", page="/a")
    assert people_units(world) == 0
    world.clock.advance(30)
    world.beat("s1", userId="ada", page="/b")
    assert people_units(world) == 0.5


def test_it_can_be_turned_off(world: World) -> None:
    world.redeploy(Settings="people=off")
    with world.engine.metered(capacity=True) as meter:
        world.beat("s1", userId="ada")
        world.settle()
    assert not any(world.tables["people"].name in call.tables for call in meter.calls)
    answer = world.get("/v1/people/c%3Aada", token=world.admin)
    assert answer.status == 404
    assert "people=on" in answer.body["error"]
