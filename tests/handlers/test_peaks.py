"""Peaks: the highest number of people who were there at once, also between two recounts."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from headcount.model.space import shard_of
from headcount.store.presence import PresenceTable
from headcount.times import iso
from headcount.usecases import publish as publishing

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

LINK = "link:abc"
SHARDS = 3


def peaks(world: World, space: str = "site:main") -> tuple[int, int]:
    """The peaks of people and of sessions."""
    body = world.headcount(space)
    return (body["peak"]["people"] if body["peak"] else 0), body["peakSessions"]


def link(world: World, action: str, session: str) -> None:
    body = {"action": action, "sessionId": session, "fingerprint": session}
    assert world.http("POST", "/api/send/realtime/abc", body=body).status == 200


def link_metrics(world: World) -> Any:
    return world.get("/api/send/realtime/abc", token=world.admin).body["metrics"]


@pytest.fixture
def sharded(memory: Engine, worlds: Worlds) -> World:
    return worlds(memory, ShardsPerSpace=str(SHARDS))


def visitor(shard: int, number: int = 0) -> str:
    """The visitor with this number in a shard."""
    found = (f"v{n}" for n in range(10_000) if shard_of(f"v:v{n}", SHARDS) == shard)
    return [next(found) for _ in range(number + 1)][-1]


def test_five_who_join_within_a_second_of_whom_three_leave_are_a_peak_of_five(
    world: World,
) -> None:
    join_times = []
    for number in range(5):
        link(world, "join", f"s{number}")
        join_times.append(world.clock())
        world.clock.advance(0.15)
    for number in range(3):
        link(world, "leave", f"s{number}")
        world.clock.advance(0.05)
    world.settle()
    assert link_metrics(world)["activeViewers"] == 2
    assert link_metrics(world)["peakConcurrentViewers"] == 5
    assert world.headcount(LINK)["peak"] == {"people": 5, "at": iso(join_times[-1])}
    world.clock.advance(20)
    link(world, "leave", "s4")
    world.settle()
    assert link_metrics(world)["peakConcurrentViewers"] == 5


def test_all_who_came_and_went_before_the_first_recount_were_there(memory_world: World) -> None:
    for number in range(3):
        memory_world.beat(f"s{number}")
        memory_world.clock.advance(0.1)
    for number in range(3):
        memory_world.leave(f"s{number}")
    memory_world.settle()
    assert memory_world.people() == 0
    assert peaks(memory_world) == (3, 3)


def test_those_who_follow_each_other_are_no_peak(memory_world: World) -> None:
    for number in range(4):
        memory_world.beat(f"s{number}")
        memory_world.clock.advance(0.1)
        memory_world.leave(f"s{number}")
        memory_world.clock.advance(0.001)
    memory_world.settle()
    assert peaks(memory_world) == (1, 1)


def test_a_peak_counts_people_once_and_sessions_each(memory_world: World) -> None:
    for number in range(4):
        memory_world.beat(f"s{number}", visitorId="same")
        memory_world.clock.advance(0.1)
    memory_world.beat("t", visitorId="other")
    memory_world.clock.advance(0.1)
    for session in ("s0", "s1", "s2", "t"):
        memory_world.leave(session)
    memory_world.settle()
    assert peaks(memory_world) == (2, 5)


def test_a_visit_that_is_followed_by_another_of_its_session_is_not_forgotten(
    memory_world: World,
) -> None:
    for number in range(3):
        memory_world.beat(f"s{number}")
    memory_world.clock.advance(0.1)
    for number in range(3):
        memory_world.leave(f"s{number}")
    memory_world.clock.advance(0.1)
    memory_world.beat("s0")
    memory_world.settle()
    assert memory_world.people() == 1
    assert peaks(memory_world) == (3, 3)


@pytest.mark.parametrize("joins", [1, 2])
def test_a_visit_that_expired_long_ago_is_not_forgotten_by_the_next_one(
    joins: int, memory_world: World
) -> None:
    world = memory_world
    for number in range(2):
        world.beat(f"s{number}")
    world.clock.advance(600)  # their leases ended, and nothing has come to `count` yet
    world.leave("s0")
    for _ in range(joins):
        world.clock.advance(0.1)
        world.beat("s0")
        world.clock.advance(0.1)
        world.beat("s0")
        if joins > 1:
            world.leave("s0")
    world.settle()
    assert peaks(world) == (2, 2)


def test_a_session_that_changes_its_person_while_it_is_counted_is_one(memory_world: World) -> None:
    world = memory_world
    world.beat("s0", visitorId="v0")
    world.settle()
    world.leave("s0")

    def slowly() -> None:
        """The recount knows the time; the rows are read seconds later."""
        world.clock.advance(5)
        world.beat("s0", visitorId="v0")
        world.clock.advance(0.1)
        world.beat("s0", visitorId="v0", userId="u0")

    with world.engine.interrupted("Query", world.tables["presence"].name, slowly) as met:
        world.count(world.filtered("count"))
    assert met
    world.settle()
    assert world.people() == 1
    assert peaks(world) == (1, 1)


def test_two_who_follow_each_other_while_a_recount_stands_still_are_one(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1")

    def slowly() -> None:
        """The lease of the first one runs out, and another one joins."""
        world.clock.advance(100)
        world.beat("s2")

    with world.engine.interrupted("Query", world.tables["presence"].name, slowly) as met:
        world.count(world.filtered("count"))
    assert met
    world.publish(world.filtered("publish"))
    assert world.people() == 1
    assert peaks(world) == (1, 1)


def test_a_recount_that_stands_still_after_reading_misses_no_one(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    world.beat("s1")
    read = PresenceTable.raw_pages

    def slowly(*args: Any) -> Iterator[list[bytes]]:
        for page in read(*args):
            for _ in range(4):  # steady beats, which wake no function
                world.clock.advance(25)
                world.beat("s1")
            yield page

    monkeypatch.setattr(PresenceTable, "raw_pages", slowly)
    world.count(world.filtered("count"))
    monkeypatch.undo()
    world.publish(world.filtered("publish"))
    assert world.people() == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_an_earlier_visit_is_of_whom_its_session_counted_as_then(
    at_once: bool, memory_world: World
) -> None:
    world = memory_world
    for session, user in (("s0", "ada"), ("s1", "ada"), ("s2", "grace")):
        world.beat(session, userId=user)
    world.clock.advance(0.1)
    world.leave("s1")
    world.leave("s2")
    world.clock.advance(0.1)
    if not at_once:
        world.beat("s1", userId="ada")
        world.clock.advance(0.1)
    world.beat("s1", userId="joan")
    world.settle()
    assert world.people() == 2
    assert peaks(world) == (2, 3), "joan came when grace had left"


@pytest.mark.parametrize(("beside_ada", "most"), [(True, 3), (False, 2)])
def test_an_earlier_visit_that_changed_its_person_is_of_each_in_turn(
    beside_ada: bool, most: int, memory_world: World
) -> None:
    world = memory_world
    for session, user in (("s0", "grace"), ("s1", "ada"), ("s2", "joan")):
        if beside_ada or user != "joan":
            world.beat(session, userId=user)
    world.clock.advance(0.1)
    if beside_ada:
        world.leave("s2")
    world.clock.advance(0.1)
    world.beat("s1", userId="grace")  # another tab of hers
    world.clock.advance(0.1)
    if not beside_ada:
        world.beat("s2", userId="joan")
    world.clock.advance(0.1)
    for session in ("s1", "s2"):
        world.leave(session)
    world.clock.advance(0.1)
    world.beat("s1", userId="grace")
    world.settle()
    assert peaks(world) == (most, 3)


def test_a_lease_that_ends_ends_the_presence(memory_world: World) -> None:
    memory_world.beat("s0")
    memory_world.clock.advance(60)  # its lease of 45 s ended, the sweep has not come yet
    memory_world.beat("s1")
    memory_world.settle()
    memory_world.sweep()
    memory_world.settle()
    assert peaks(memory_world) == (1, 1)


def test_tabs_of_a_visitor_who_signs_in_later_are_one_person(memory_world: World) -> None:
    memory_world.beat("s0", visitorId="v")
    memory_world.beat("s1", visitorId="v")
    memory_world.settle()
    memory_world.clock.advance(5)
    memory_world.leave("s1")
    memory_world.settle()
    memory_world.clock.advance(20)
    memory_world.beat("s0", visitorId="v", userId="ada")
    memory_world.settle()
    assert peaks(memory_world) == (1, 2)


def test_each_day_has_the_people_who_were_there_at_once_on_it(memory_world: World) -> None:
    memory_world.clock.set("2026-11-21T23:59:58Z")
    for number in range(3):
        memory_world.beat(f"s{number}")
    memory_world.clock.advance(1)
    memory_world.leave("s0")
    memory_world.clock.advance(1.5)  # two are here at midnight
    memory_world.leave("s1")
    memory_world.settle()
    head = memory_world.services("publish").headcounts.get("site:main")
    assert head.day_peaks == {"2026-11-21": 3, "2026-11-22": 2}


def test_the_peak_of_several_shards_is_of_their_sum_in_time(sharded: World) -> None:
    # Three in each shard, one shard after the other.
    for shard in range(SHARDS):
        for number in range(3):
            sharded.beat(f"s{shard}-{number}", visitorId=visitor(shard, number))
        sharded.clock.advance(0.2)
        if shard == 0:
            continue
        for number in range(3):
            sharded.leave(f"s{shard - 1}-{number}")
        sharded.clock.advance(0.1)
    sharded.settle()
    assert sharded.people() == 3
    assert peaks(sharded) == (6, 6)  # not nine


@pytest.mark.parametrize("rows_read", [100, 0])
def test_a_shard_that_is_recounted_late_raises_no_peak(
    sharded: World, rows_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MAX_ROWS_READ", rows_read)
    one, other = visitor(0), visitor(1)
    sharded.beat("s", visitorId=one)
    sharded.settle()
    sharded.clock.advance(10)
    sharded.leave("s")
    (leave,) = sharded.filtered("count")
    sharded.clock.advance(1)
    sharded.beat("t", visitorId=other)
    sharded.count(sharded.filtered("count"))  # before the leave
    sharded.publish(sharded.filtered("publish"))
    assert sharded.people() == 2
    assert peaks(sharded) == (1, 1)
    sharded.count([leave])
    sharded.settle()
    assert sharded.people() == 1
    assert peaks(sharded) == (1, 1)


@pytest.mark.parametrize("rows_read", [100, 0])
def test_a_peak_that_depends_on_a_silent_shard_is_known(
    sharded: World, rows_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MAX_ROWS_READ", rows_read)
    for shard in range(SHARDS):
        sharded.beat(f"s{shard}", visitorId=visitor(shard))
        sharded.settle()
        sharded.clock.advance(5)
    assert peaks(sharded) == (SHARDS, SHARDS)
    assert sharded.headcount()["version"] == (SHARDS if rows_read else SHARDS + 2)


def test_a_session_that_moves_between_shards_is_one_at_each_moment(sharded: World) -> None:
    user = next(f"u{n}" for n in range(1_000) if shard_of(f"u:u{n}", SHARDS) == 1)
    sharded.beat("s", visitorId=visitor(0))
    sharded.beat("t", visitorId=visitor(1))
    sharded.settle()
    sharded.clock.advance(10)
    sharded.beat("s", visitorId=visitor(0), userId=user)
    sharded.settle()
    sharded.clock.advance(10)
    sharded.beat("s", visitorId=visitor(0))
    sharded.settle()
    assert peaks(sharded) == (2, 2)


def test_a_leave_that_came_too_early_was_no_visit_in_its_shard(sharded: World) -> None:
    session = next(f"s{n}" for n in range(1_000) if shard_of(f"s:s{n}", SHARDS) == 0)
    sharded.beat("t", visitorId=visitor(1))
    sharded.settle()
    sharded.leave(session, seq=2)
    sharded.clock.advance(10)
    sharded.beat(session, visitorId=visitor(1), seq=3)
    sharded.settle()
    assert peaks(sharded) == (1, 2)


@pytest.mark.parametrize("shards", [1, SHARDS])
@pytest.mark.parametrize("seed", range(8))
def test_the_peak_is_that_of_the_visits_in_any_order_of_joins_and_leaves(
    memory: Engine, worlds: Worlds, shards: int, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - the same each time
    world = worlds(memory, ShardsPerSpace=str(shards))
    here: dict[str, str] = {}
    people = sessions = 0
    for _ in range(60):
        session = f"s{random.randint(0, 9)}"
        if session in here:
            world.leave(session)
            del here[session]
        else:
            here[session] = f"v{int(session[1:]) % 6}"
            world.beat(session, visitorId=here[session])
        people, sessions = max(people, len(set(here.values()))), max(sessions, len(here))
        world.clock.advance(random.choice((0.01, 0.2, 1)))
        if random.random() < 0.2:
            world.settle()
    world.settle()
    assert peaks(world) == (people, sessions)
