"""Watching people: who watches them hears where they are, and nobody else pays for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.harness.clock import Clock
from lab.harness.engines import memory_engine
from lab.harness.world import World, world_on


def frames(world: World, connection: str = "c1") -> list[Any]:
    return [one for one in world.management.frames[connection] if one["type"] != "headcount"]


def heard(world: World, connection: str = "c1") -> list[tuple[str, str, list[str]]]:
    """The events that a connection heard: what, who and where they are."""
    return [
        (one["event"], one["person"], [f"{at['space']} {at['page']}" for at in one["spaces"]])
        for one in frames(world, connection)
        if one["type"] == "person"
    ]


def watch(world: World, *people: str, connection: str = "c1", token: str | None = None) -> None:
    assert world.connect(connection, token=token) == {"statusCode": 200}
    world.send(connection, {"action": "watch", "people": list(people)})


def test_the_state_of_each_comes_at_once(world: World) -> None:
    world.beat("s1", userId="ada", page="/a")
    world.settle()
    watch(world, "c:ada", "c:bob")
    assert frames(world) == [
        {
            "type": "people",
            "at": "2026-11-21T12:00:00.000Z",
            "people": [
                {
                    "person": "c:ada",
                    "online": True,
                    "spaces": [
                        {
                            "space": "site:main",
                            "since": "2026-11-21T12:00:00.000Z",
                            "lastSeen": "2026-11-21T12:00:00.000Z",
                            "page": "/a",
                            "sessions": 1,
                            "verified": False,
                        }
                    ],
                    "lastSeen": "2026-11-21T12:00:00.000Z",
                },
                {"person": "c:bob", "online": False, "spaces": [], "lastSeen": None},
            ],
        }
    ]


def test_online_moved_and_offline_are_heard(world: World) -> None:
    watch(world, "c:ada")
    world.beat("s1", userId="ada", page="/a")
    world.settle()
    world.clock.advance(1)
    world.beat("s1", userId="ada", page="/b")
    world.settle()
    world.clock.advance(1)
    world.beat("s2", "course:1", userId="ada")
    world.settle()
    world.clock.advance(1)
    world.leave("s1")
    world.settle()
    world.leave("s2", "course:1")
    world.settle()
    assert heard(world) == [
        ("online", "c:ada", ["site:main /a"]),
        ("moved", "c:ada", ["site:main /b"]),
        ("moved", "c:ada", ["course:1 None", "site:main /b"]),
        ("moved", "c:ada", ["course:1 None"]),
        ("offline", "c:ada", []),
    ]
    assert frames(world)[-1]["at"] == "2026-11-21T12:00:03.000Z"
    assert frames(world)[-1]["lastSeen"] == "2026-11-21T12:00:03.000Z"


def test_who_was_online_already_moves(world: World) -> None:
    world.beat("s1", userId="ada", page="/a")
    world.settle()
    watch(world, "c:ada")
    world.beat("s1", userId="ada", page="/b")
    world.settle()
    assert heard(world) == [("moved", "c:ada", ["site:main /b"])]


def test_a_crash_is_heard_when_the_sweep_ends_the_visit(world: World) -> None:
    world.beat("s1", userId="ada")
    world.settle()
    watch(world, "c:ada")
    world.clock.advance(200)
    world.settle()
    assert heard(world) == []
    world.sweep()
    world.settle()
    assert heard(world) == [("offline", "c:ada", [])]


def test_a_closed_page_is_heard_after_its_grace_and_a_next_page_is_no_absence(
    world: World,
) -> None:
    world.beat("s1", userId="ada", page="/a")
    world.settle()
    watch(world, "c:ada")
    world.leave("s1", mayReturn=True)
    world.settle()
    world.clock.advance(1)
    world.beat("s1", userId="ada", page="/b")
    world.settle()
    world.clock.advance(10)
    world.settle()
    assert {one for one, _, _ in heard(world)} == {"moved"}
    world.leave("s1", mayReturn=True)
    world.settle()
    world.clock.advance(3)
    world.settle()
    assert heard(world)[-1] == ("offline", "c:ada", [])


def test_signing_in_is_heard_by_those_who_watch_either(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.settle()
    watch(world, "v:v1", "c:ada")
    world.beat("s1", visitorId="v1", userId="ada")
    world.settle()
    assert sorted((event, who) for event, who, _ in heard(world)) == [
        ("offline", "v:v1"),
        ("online", "c:ada"),
    ]


def test_a_person_in_another_shard_is_heard(world: World) -> None:
    world.redeploy(ShardsPerSpace="7")
    people = [name for number in range(6) for name in (f"v:v{number}", f"c:u{number}")]
    watch(world, *people)
    for number in range(6):
        world.beat(f"s{number}", visitorId=f"v{number}")
        world.settle()
        world.clock.advance(1)
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}")
        world.settle()
    last = {who: event for event, who, _ in heard(world)}
    assert last == {who: "offline" if who.startswith("v:") else "online" for who in people}


def test_two_connections_hear_the_same_and_one_that_unwatches_nothing(world: World) -> None:
    watch(world, "c:ada", "c:bob")
    watch(world, "c:ada", connection="c2")
    watch(world, "c:ada", connection="c3")
    world.clock.advance(1)
    world.send("c2", {"action": "unwatch", "people": ["c:ada"]})
    world.send("c3", {"action": "unwatch"})
    world.beat("s1", userId="ada")
    world.settle()
    assert len(heard(world)) == 1
    assert heard(world, "c2") == heard(world, "c3") == []


def test_a_connection_that_ends_leaves_nothing(world: World) -> None:
    watch(world, *(f"c:{number}" for number in range(100)))
    assert len(world.tables["subscriptions"].rows()) == 201
    world.disconnect("c1")
    assert world.tables["subscriptions"].rows() == []
    world.beat("s1", userId="1")
    world.settle()
    assert heard(world) == []


def test_a_connection_that_is_gone_is_forgotten_with_its_next_frame(world: World) -> None:
    watch(world, "c:ada")
    world.clock.advance(20)
    world.management.set_gone("c1")
    world.beat("s1", userId="ada")
    world.settle()
    assert world.tables["subscriptions"].rows() == []


def test_a_repeated_batch_may_repeat_a_frame(world: World) -> None:
    watch(world, "c:ada")
    world.beat("s1", userId="ada")
    records = world.filtered("count")
    world.count(records)
    world.count(records)
    world.settle()
    assert [(who, where) for _, who, where in heard(world)] == [("c:ada", ["site:main None"])] * 2


def test_a_watch_and_a_subscription_share_a_connection(world: World) -> None:
    watch(world, "c:ada")
    world.send("c1", {"action": "subscribe", "space": "site:main"})
    world.beat("s1", userId="ada")
    world.settle()
    assert len(heard(world)) == 1
    assert world.versions("c1")[-1] >= 1
    world.clock.advance(1)
    world.send("c1", {"action": "unwatch"})
    world.beat("s2", userId="ada")
    world.settle()
    assert len(heard(world)) == 1


def error(world: World, message: object) -> str:
    world.send("c1", message)
    last = frames(world)[-1]
    assert last["type"] == "error"
    return str(last["error"])


def test_a_watch_that_is_none_is_refused(world: World) -> None:
    world.connect("c1")
    before = world.snapshot()
    for people in (None, [], "c:ada", ["ada"], ["u:"], [f"u:{one}" for one in range(101)]):
        assert error(world, {"action": "watch", "people": people})
    assert world.snapshot() == before


def test_a_connection_watches_at_most_a_hundred_people(world: World) -> None:
    watch(world, *(f"u:{number:0120d}" for number in range(100)))
    assert sum(len(one["people"]) for one in frames(world)) == 100
    assert "at most 100" in error(world, {"action": "watch", "people": ["u:one-more"]})
    world.send("c1", {"action": "watch", "people": [f"u:{0:0120d}"]})
    assert frames(world)[-1]["type"] == "people"
    world.clock.advance(1)
    world.send("c1", {"action": "unwatch", "people": [f"u:{0:0120d}"]})
    world.send("c1", {"action": "watch", "people": ["u:one-more"]})
    assert frames(world)[-1]["type"] == "people"


def test_a_token_watches_those_it_names_and_its_own_user(world: World) -> None:
    token = world.token(sub="bob", headcount_scopes=["people:u:ada"])
    watch(world, "u:ada", "u:bob", token=token)
    assert [one["person"] for one in frames(world)[-1]["people"]] == ["u:ada", "u:bob"]
    assert "people:u:eve" in error(world, {"action": "watch", "people": ["u:ada", "u:eve"]})
    assert "read:site:main" in error(world, {"action": "subscribe", "space": "site:main"})
    world.beat("s1", token=world.token(sub="eve"))
    world.settle()
    assert heard(world) == []


@pytest.mark.parametrize("scopes", [[], ["people:site:main"], ["erase:*"]])
def test_other_tokens_do_not_connect(scopes: list[str], world: World) -> None:
    token = world.token(sub="bob", headcount_scopes=scopes)
    assert world.connect("c1", token=token)["statusCode"] == 403


def test_nobody_pays_for_people_who_are_not_watched(world: World) -> None:
    def units(*, watched: bool) -> tuple[float, float]:
        with world.engine.metered(capacity=True) as meter:
            world.beat(f"s-{watched}", userId="ada")
            world.settle()
            world.clock.advance(2)
            world.leave(f"s-{watched}")
            world.settle()
            world.clock.advance(2)
        return meter.write_units, meter.read_units

    units(watched=False)  # the first visit ever costs something else
    alone = units(watched=False)
    watch(world, "c:bob")
    assert units(watched=False) == alone


def spent(watched: int) -> dict[str, tuple[float, float]]:
    """The units of what a hundred people do, of whom so many are watched by one connection."""
    found: dict[str, tuple[float, float]] = {}
    people = [f"person-{number:03d}" for number in range(100)]
    with memory_engine() as engine, world_on(engine, Clock()) as world:
        for one in (*people, "somebody"):
            world.beat(one, userId=one, page="/a")
        world.settle()
        if watched:
            watch(world, *(f"c:{one}" for one in people[:watched]))

        def note(what: str, *who: str, page: str) -> None:
            world.clock.advance(20)
            with engine.metered(capacity=True) as meter:
                for one in who:
                    world.beat(one, userId=one, page=page)
                world.settle()
            found[what] = meter.write_units, meter.read_units

        note("steady beats of all", *people, page="/a")
        note("a change of nobody who is watched", "somebody", page="/b")
        note("a change of one", people[0], page="/b")
        note("changes of all", *people, page="/c")
        assert len(heard(world)) == (1 + watched if watched else 0)
    return found


def test_a_hundred_watched_people_cost_no_more_than_their_own_changes() -> None:
    """Three read units for each change, however many others are watched."""
    nobody, one, hundred = spent(0), spent(1), spent(100)
    for what in ("steady beats of all", "a change of nobody who is watched"):
        assert hundred[what] == one[what] == nobody[what]
    assert nobody["steady beats of all"][0] == 100
    alone = nobody["a change of one"]
    assert one["a change of one"] == hundred["a change of one"] == (alone[0], alone[1] + 3)
    writes, reads = nobody["changes of all"]
    assert one["changes of all"] == (writes, reads + 3)
    assert hundred["changes of all"] == (writes, reads + 3 * 100)


def test_nothing_is_queued_for_people_who_are_not_watched(world: World) -> None:
    watch(world, "c:bob")
    world.beat("s1", userId="ada")
    world.count(world.filtered("count"))
    assert "tell" not in json.dumps(world.queue.deferred)
    world.beat("s2", userId="bob")
    world.count(world.filtered("count"))
    assert "tell" in json.dumps(world.queue.deferred)


def test_a_row_that_only_a_watch_made_is_erased(world: World) -> None:
    watch(world, "c:ada")
    assert "ada" in str(world.tables["people"].rows())
    world.http("POST", "/v1/erasures", body={"userId": "ada"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
    assert world.tables["people"].rows() == []


def test_a_large_audience_is_served_in_chunks(world: World) -> None:
    world.redeploy(Limits="inline-fanout=2")
    for number in range(3):
        watch(world, "c:ada", connection=f"c{number}")
    world.beat("s1", userId="ada")
    world.settle()
    assert [len(heard(world, f"c{number}")) for number in range(3)] == [1, 1, 1]


def test_it_can_be_turned_off(world: World) -> None:
    world.redeploy(Settings="people=off")
    world.connect("c1")
    world.send("c1", {"action": "watch", "people": ["u:ada"]})
    assert "people=on" in frames(world)[-1]["error"]
    assert world.connect("c2", token=world.token(headcount_scopes=["people:u:ada"])) != {
        "statusCode": 200
    }


def test_what_a_deploy_before_queued_is_let_go(world: World) -> None:
    watch(world, "c:ada")
    world.beat("s1", userId="ada")
    world.count(world.filtered("count"))
    world.redeploy(Settings="people=off")
    world.settle()
    assert heard(world) == []
    assert json.dumps(world.queue.deferred) == "[]"
