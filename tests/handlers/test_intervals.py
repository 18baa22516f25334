"""A crowd beats less often, and counts until its longer leases are over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import World

Worlds = Callable[..., World]
CROWD = 120
MINUTE = 60


def crowd(world: World, space: str = "site:main", *, lost: int = 0) -> None:
    """A crowd of which twenty have left within eight minutes, and so many more without a leave."""
    gone = [CROWD + number for number in range(20 + lost)]
    here = [*range(CROWD), *gone]
    seqs = dict.fromkeys(here, 0)
    while True:
        for number in here:
            seqs[number] += 1
            world.beat(f"t{number}", space, visitorId=f"v{number}", seq=seqs[number])
        if len(here) == CROWD:
            break
        world.clock.advance(25)
        for number in here[-max(1, len(gone) // 20) :]:
            here.remove(number)
            if number < CROWD + 20:
                world.leave(f"t{number}", space)
        world.sweep()
        world.settle()
    world.clock.advance(25)
    world.sweep()
    world.settle()


def interval(
    world: World, session: str = "t1", *, seq: int = 1_000, **fields: Any
) -> tuple[int, int]:
    answer = world.beat(session, seq=seq, visitorId=f"v{session[1:]}", **fields).body
    return answer["nextBeatIn"], answer["leaseSeconds"]


def test_a_crowds_beats_come_less_often_and_keep_their_sessions_for_longer(
    memory_world: World,
) -> None:
    world = memory_world
    crowd(world)
    assert world.headcount()["sessions"] == CROWD
    beat, lease = interval(world)
    assert 45 <= beat < 48
    assert lease == 2 * beat
    (row,) = [row for row in world.presence_rows() if row["session"] == "t1"]
    assert row["expires_at"] == world.clock() + lease * 1000
    assert world.filtered("count") == [], "it is as steady as another"
    world.clock.advance(lease - 1)
    world.sweep()
    world.settle()
    assert world.people() == 1, "the others' leases were from before"
    world.clock.advance(2)
    world.sweep()
    world.settle()
    assert world.people() == 0


def test_a_hidden_tab_of_a_crowd_has_a_longer_lease(memory_world: World) -> None:
    crowd(memory_world)
    beat, lease = interval(memory_world, state="hidden")
    assert (beat, lease) == (69, 180)


def test_where_visits_are_lost_a_crowd_beats_as_often_as_a_few_do(memory_world: World) -> None:
    crowd(memory_world, lost=60)
    assert interval(memory_world) == (30, 60)
    accuracy = memory_world.headcount()["accuracy"]
    assert accuracy["people"] > 1
    assert accuracy["because"].startswith("60 of the last 80 visits ended without a leave")


def test_a_kind_with_an_interval_keeps_it(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="site:counts=public,beat=30")
    crowd(world)
    assert interval(world) == (30, 60)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/heartbeats", {"sessionId": "old", "pagePath": "/"}),
        ("/api/courses/c1/presence", {"sessionId": "old", "userId": "u1"}),
    ],
)
def test_the_clients_of_the_systems_keep_their_intervals(
    memory_world: World, path: str, body: dict[str, Any]
) -> None:
    crowd(memory_world, "site:main" if "courses" not in path else "course:c1")
    answer = memory_world.http("POST", path, body=body)
    assert (answer.body["nextBeatIn"], answer.body["leaseSeconds"]) == (30, 60)


def test_a_repaired_clock_leaves_a_session_the_lease_it_was_given(memory_world: World) -> None:
    world = memory_world
    crowd(world)
    world.clock.advance(3 * 3_600)
    interval(world, "ahead", seq=1)
    _, lease = interval(world, "ahead", seq=2)
    world.clock.advance(-3 * 3_600)
    world.sweep()
    (row,) = [row for row in world.presence_rows() if row["session"] == "ahead"]
    assert row["expires_at"] == world.clock() + lease * 1000
