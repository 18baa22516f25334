"""How many sessions and spaces a stranger can add, and what that costs everybody else: nothing."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.times import MINUTE
from headcount.usecases.limits import UNCOUNTED

from lab.harness.engines import Engine
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds

HALL = "198.51.100.7"
KINDS = "site:counts=public doc:counts=public link course"


@pytest.fixture
def small(memory: Engine, worlds: Worlds) -> World:
    """Twenty joins of a network and ten new spaces of a kind in a minute."""
    limits = "joins-per-source=20,spaces-per-kind=10,beats-per-session=0"
    return worlds(memory, Limits=limits, Kinds=KINDS)


def join(
    world: World, session: str, space: str = SITE, *, source: str = HALL, **event: Any
) -> Answer:
    """A beat from the hall."""
    return world.http(
        "POST", f"/v1/spaces/{space}/presence", body={"sessionId": session}, source=source, **event
    )


def counted(world: World) -> list[dict[str, Any]]:
    """The rows that count joins."""
    return [
        row
        for row in world.tables["streams"].rows()
        if str(row["partition"]).startswith("joins#") and "n" in row
    ]


def test_a_network_begins_no_more_sessions_in_a_minute(small: World) -> None:
    world = small
    world.clock.advance(15)
    for number in range(20):
        assert join(world, f"s{number}").status == 200
    before = world.snapshot()
    refused = join(world, "one more")
    assert (refused.status, refused.headers["retry-after"]) == (429, "45")
    assert "network" in refused.body["error"]
    assert join(world, "another").status == 429
    assert world.snapshot() == {**before, "streams": world.snapshot()["streams"]}
    assert join(world, "neighbour", source="198.51.100.8").status == 200
    for number in range(20):
        assert join(world, f"s{number}").status == 200, "who is here stays"
    world.clock.advance(45)
    assert join(world, "one more").status == 200, "late, and not lost"


def test_processes_share_the_limit(small: World) -> None:
    world = small
    accepted = 0
    for process in range(10):
        world.restart("api")
        accepted += sum(join(world, f"p{process}-{n}").status == 200 for n in range(10))
    assert 20 <= accepted <= 20 + 10 * UNCOUNTED


@pytest.mark.parametrize("system", ["course", "link", "site", "rest", "socket", "leave"])
def test_it_is_one_limit_for_every_way_in(small: World, system: str) -> None:
    world = small

    def begin(name: str) -> int:
        if system == "socket":
            return int(world.connect_viewer(name, name, source=HALL)["statusCode"])
        path, body = {
            "course": ("/api/courses/c1/presence", {"sessionId": name}),
            "link": ("/api/send/realtime/l1", {"action": "heartbeat", "sessionId": name}),
            "site": ("/api/heartbeats", {"sessionId": name, "pagePath": "/"}),
            "rest": ("/rest/v1/heartbeats", {"session_id": name, "page_path": "/"}),
            "leave": (f"/v1/spaces/{SITE}/presence/leave", {"sessionId": name, "seq": 1}),
        }[system]
        return world.http("POST", path, body=body, source=HALL).status

    for number in range(20):
        assert begin(f"s{number}") in {200, 201}, number
    assert begin("one more") == 429


def test_rows_of_a_list_are_admitted_together(small: World) -> None:
    world = small
    rows = [{"session_id": f"s{number}", "page_path": "/"} for number in range(21)]

    def insert(*some: dict[str, str], token: str | None = None) -> int:
        return world.http(
            "POST", "/rest/v1/heartbeats", body=list(some), source=HALL, token=token
        ).status

    assert insert(*rows[:10]) == 201
    assert insert(*rows[:10]) == 201, "they are here"
    assert insert(*rows[5:14]) == 201
    before = world.presence_rows()
    assert insert(*rows[13:21]) == 429
    assert world.presence_rows() == before, "none of them is stored"
    assert insert(*rows, token=world.token(headcount_scopes="ingest:site:main")) == 201


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({"headcount": "admin"}, True),
        ({"headcount_scopes": "ingest:site:*"}, True),
        ({"headcount_scopes": "read:site:main"}, False),
        ({"sub": "ada"}, False),
    ],
)
def test_servers_of_the_deployment_are_exempt(
    small: World, claims: dict[str, str], *, accepted: bool
) -> None:
    token = small.token(**claims)
    answers = {join(small, f"s{number}", token=token).status for number in range(30)}
    assert answers == ({200} if accepted else {200, 429})


def test_a_kind_has_no_more_new_spaces_in_a_minute(small: World) -> None:
    world = small
    world.beat("s", "doc:old")
    world.settle()
    world.clock.advance(60)
    for number in range(10):
        assert join(world, f"s{number}", f"doc:{number}", source=f"192.0.2.{number}").status == 200
        assert join(world, f"t{number}", f"doc:{number}", source=f"192.0.2.{number}").status == 200
    refused = join(world, "more", "doc:more", source="192.0.2.99")
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert "space" in refused.body["error"]
    assert join(world, "more", "doc:old").status == 200, "it is not new"
    assert join(world, "more", "site:main").status == 200, "another kind"
    world.clock.advance(60)
    assert join(world, "more", "doc:more").status == 200


def test_a_visitor_pays_nothing_for_it(memory_world: World) -> None:
    world = memory_world
    for number in range(UNCOUNTED):
        with world.engine.metered() as meter:
            assert join(world, f"s{number}").status == 200
        assert meter.writes == ["UpdateItem", "PutItem"]
    join(world, "the first of a crowd")
    with world.engine.metered() as meter:
        assert join(world, "one of a crowd").status == 200
    assert meter.writes == ["UpdateItem", "UpdateItem", "PutItem"], "one more write for each join"
    world.clock.advance(30)
    with world.engine.metered() as meter:
        assert join(world, "one of a crowd").status == 200
    assert meter.writes == ["UpdateItem"], "and none for a beat"


def test_no_network_can_be_read_from_what_is_stored(small: World) -> None:
    world = small
    for number in range(20):
        join(world, f"s{number}")
    (first,) = [row for row in counted(world) if row["n"] == 20]
    assert 0 < first["ttl"] - world.clock() // 1000 <= 5 * 60
    assert "198.51" not in str(world.snapshot())
    world.clock.advance(15 * MINUTE // 1000)
    for number in range(20):
        join(world, f"t{number}")
    assert {row["partition"] for row in counted(world)} > {first["partition"]}, "another salt"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", HALL, True),
        ("198.51.100.7", "198.51.100.8", False),
    ],
)
def test_a_network_is_an_address_or_half_of_an_ipv6_one(
    small: World, one: str, other: str, *, same: bool
) -> None:
    for number in range(20):
        join(small, f"s{number}", source=one)
    assert join(small, "more", source=other).status == (429 if same else 200)


EDGE, SERVER = "192.0.2.1", "203.0.113.9"


@pytest.mark.parametrize(
    ("proof", "chain", "same"),
    [
        (True, "{viewer}, " + EDGE, False),
        (True, "{viewer}", False),
        (True, "{viewer}, 10.9.9.9, " + EDGE, True),
        (False, "{viewer}, " + EDGE, True),
    ],
    ids=["edge", "edge, not added", "forged before the edge", "forged without"],
)
def test_behind_the_edge_the_viewers_address_counts(
    small: World, *, proof: bool, chain: str, same: bool
) -> None:
    world = small
    key = world.services("api").settings.edge_key
    for number in range(30):
        headers = {"x-forwarded-for": chain.format(viewer=f"198.51.100.{number}")}
        headers |= {"x-headcount-edge": key if proof else key[::-1]}
        answer = join(world, f"s{number}", source=EDGE, headers=headers)
        assert answer.status == (429 if same and number >= 20 else 200)


def test_leaves_with_growing_numbers_are_counted(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", seq=1)
    path = f"/v1/spaces/{SITE}/presence/leave"

    def leave(seq: int, session: str = "s1") -> Answer:
        return world.http("POST", path, body={"sessionId": session, "seq": seq})

    assert leave(2).status == 200
    statuses = [leave(seq).status for seq in range(3, 60)]
    assert statuses.count(429) >= 30
    assert statuses[:10] == [200] * 10
    statuses = [leave(seq, "never here").status for seq in range(3, 60)]
    assert statuses.count(429) >= 30
    world.clock.advance(10)
    assert leave(100).status == 200


def test_leaves_of_one_tab_after_the_other_are_counted(memory_world: World) -> None:
    world = memory_world
    path = "/api/courses/c1/presence"
    world.http("POST", path, body={"userId": "ada", "tabId": "stays", "seq": 1})
    world.clock.advance(20)
    statuses = [
        world.http("DELETE", path, body={"userId": "ada", "tabId": f"t{n}", "seq": 1}).status
        for n in range(60)
    ]
    assert statuses.count(429) >= 30
    assert len(world.live_sessions()) == 1


@pytest.mark.parametrize("seq", [None, 1])
def test_joining_again_is_no_new_session(small: World, seq: int | None) -> None:
    world = small
    link = {"action": "join", "sessionId": "linked"}  # the api's first, which it does not count
    for number in range(20):
        assert join(world, f"s{number}").status == 200
    for number in range(30):
        body = {"sessionId": "s1", **({} if seq is None else {"seq": seq})}
        path = f"/v1/spaces/{SITE}/presence"
        assert world.http("POST", path, body=body, source=HALL).status == 200
        answer = world.http("POST", "/api/send/realtime/l1", body=link, source=HALL)
        assert answer.status == 200, number
    assert join(world, "one more").status == 429
    assert world.http("POST", "/api/send/realtime/l1", body=link, source=HALL).status == 200
