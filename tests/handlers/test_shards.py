"""Spaces in several partitions: a session is in one of them, a person in one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from headcount.model.space import shard_of

from lab.harness.engines import Engine
from lab.harness.world import SITE, World
from tests.conftest import Worlds

SHARDS = 4


@pytest.fixture
def world(engine: Engine, worlds: Worlds) -> World:
    return worlds(engine, ShardsPerSpace=str(SHARDS))


def names_in_shard(prefix: str) -> Callable[[int], str]:
    """The first id of a kind of person in a shard."""
    return lambda shard: next(
        f"{number}" for number in range(10_000) if shard_of(f"{prefix}:{number}", SHARDS) == shard
    )


VISITOR = names_in_shard("v")
USER = names_in_shard("u")


def rows_of(world: World, session: str) -> dict[str, str]:
    """shard -> kind of write, of a session's rows."""
    return {
        row["partition"].rpartition("#")[2]: row["kind"]
        for row in world.presence_rows()
        if row["session"] == session
    }


def test_each_shard_knows_whether_a_dashboard_watches(world: World) -> None:
    def watched(session: str) -> bool:
        world.beat(session, visitorId=session)
        world.settle()
        shard = shard_of(f"v:{session}", SHARDS)
        return world.services("count").counts.shard(SITE, shard).watched

    world.subscribe("c1")
    assert watched("one")
    world.disconnect("c1")
    assert not watched("two")


def test_people_in_different_shards_add_exactly(world: World) -> None:
    for number in range(12):
        world.beat(f"s{number}", visitorId=f"v{number}", page="/")
        world.beat(f"t{number}", visitorId=f"v{number}", page="/")
    world.settle()
    body = world.headcount()
    assert len({row["partition"] for row in world.presence_rows()}) == SHARDS
    assert (body["people"], body["sessions"]) == (12, 24)
    assert body["facets"]["page"] == [{"value": "/", "count": 24, "people": 12}]
    assert body["views"]["total"] == 24


def test_a_steady_beat_in_a_sharded_space_is_one_write_and_no_other_read(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(2))
    world.clock.advance(30)
    with world.engine.metered() as meter:
        world.beat("s1", visitorId=VISITOR(2))
    assert meter.operations == ["GetItem", "UpdateItem"]


def test_signing_in_moves_the_session_and_never_counts_twice(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0))
    world.settle()
    world.clock.advance(10)
    world.beat("s1", visitorId=VISITOR(0), userId=USER(3))
    assert rows_of(world, "s1") == {"0": "leave", "3": "change"}
    world.settle()
    body = world.headcount()
    assert (body["people"], body["signedIn"], body["sessions"]) == (1, 1, 1)
    (visit,) = world.ledger()
    assert "ended_at" not in visit
    assert body["views"]["total"] == 1


def test_a_moved_session_ends_once(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0))
    world.settle()
    world.clock.advance(10)
    world.beat("s1", visitorId=VISITOR(0), userId=USER(3))
    world.settle()
    world.clock.advance(10)
    world.leave("s1")
    world.settle()
    for _ in range(8):
        world.clock.advance(60)
        world.sweep()
        world.settle()
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == 20_000
    assert visit["user"] == USER(3)
    assert world.people() == 0
    assert world.presence_rows() == []
    assert world.headcount()["views"]["total"] == 1


def test_signing_out_moves_the_session_back_and_never_counts_twice(
    world: World,
) -> None:
    world.beat("s1", visitorId=VISITOR(0))
    world.clock.advance(10)
    world.beat("s1", visitorId=VISITOR(0), userId=USER(3))
    world.clock.advance(10)
    world.beat("s1", visitorId=VISITOR(0))
    assert world.live_sessions() == ["s1"]
    world.settle()
    body = world.headcount()
    assert (body["people"], body["sessions"], body["views"]["total"]) == (1, 1, 1)


def test_signing_in_after_leaving_is_a_new_visit(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0))
    world.settle()
    world.clock.advance(10)
    world.leave("s1")
    world.settle()
    world.clock.advance(10)
    world.beat("s1", visitorId=VISITOR(0), userId=USER(3))
    world.settle()
    body = world.headcount()
    assert (body["people"], body["sessions"], body["views"]["total"]) == (1, 1, 2)
    first, second = world.ledger()
    assert first["ended_at"] - first["joined_at"] == 10_000
    assert "ended_at" not in second


def test_a_leave_without_a_person_finds_the_session_in_any_shard(world: World) -> None:
    for shard in range(SHARDS):
        world.beat(f"s{shard}", visitorId=VISITOR(shard))
    for shard in range(SHARDS):
        world.leave(f"s{shard}")
    assert world.live_sessions() == []


def test_a_leave_that_overtakes_its_join_wins_in_a_sharded_space(world: World) -> None:
    for shard in range(SHARDS):
        world.leave(f"s{shard}", seq=2)
        world.beat(f"s{shard}", seq=1, visitorId=VISITOR(shard))
    world.settle()
    assert world.live_sessions() == []


def test_viewers_of_every_shard_are_listed_page_by_page(world: World) -> None:
    for number in range(10):
        world.beat(f"s{number}", visitorId=f"v{number}")
    world.settle()
    seen: list[str] = []
    query: dict[str, str] = {"limit": "3"}
    while True:
        answer = world.get(f"/v1/spaces/{SITE}/viewers", token=world.admin, **query)
        assert len(answer.body["viewers"]) <= 3
        seen += [one["sessionId"] for one in answer.body["viewers"]]
        if answer.body["cursor"] is None:
            break
        query["cursor"] = answer.body["cursor"]
    assert sorted(seen) == [f"s{number}" for number in range(10)]


def test_a_move_that_loses_a_race_is_retried(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0))
    world.clock.advance(10)
    presence = world.tables["presence"].name
    with world.engine.interrupted(
        "TransactWriteItems", presence, lambda: world.beat("s1", visitorId=VISITOR(0))
    ) as raced:
        world.beat("s1", visitorId=VISITOR(0), userId=USER(3))
    assert raced
    assert rows_of(world, "s1") == {"0": "leave", "3": "change"}


def test_of_two_moves_at_once_one_happens(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0))
    world.clock.advance(10)
    presence = world.tables["presence"].name
    with world.engine.interrupted(
        "TransactWriteItems",
        presence,
        lambda: world.beat("s1", visitorId=VISITOR(0), userId=USER(2)),
    ):
        world.beat("s1", visitorId=VISITOR(0), userId=USER(3))
    assert world.live_sessions() == ["s1"]
    world.settle()
    assert world.people() == 1


def test_a_beat_that_loses_a_race_against_a_move_does_not_join_again(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0), seq=1)
    world.clock.advance(10)
    presence = world.tables["presence"].name
    with world.engine.interrupted(
        "PutItem", presence, lambda: world.beat("s1", visitorId=VISITOR(0), userId=USER(3), seq=3)
    ) as raced:
        world.beat("s1", visitorId=VISITOR(0), page="/2", seq=2)
    assert raced
    assert world.live_sessions() == ["s1"]
    world.settle()
    assert world.headcount()["views"]["total"] == 1


def test_two_joins_at_once_under_different_people_count_once_after_a_lease(world: World) -> None:
    presence = world.tables["presence"].name
    with world.engine.interrupted(
        "PutItem", presence, lambda: world.beat("s1", visitorId=VISITOR(1))
    ) as raced:
        world.beat("s1", visitorId=VISITOR(0))
    assert raced
    for _ in range(3):
        world.clock.advance(30)
        world.beat("s1", visitorId=VISITOR(0))
    world.sweep()
    world.settle()
    assert world.headcount()["sessions"] == 1


def test_a_first_message_that_comes_twice_under_different_people_counts_once(world: World) -> None:
    world.beat("s1", visitorId=VISITOR(0), seq=1)
    world.beat("s1", visitorId=VISITOR(1), seq=1, request="second")
    world.settle()
    assert world.headcount()["sessions"] == 1
