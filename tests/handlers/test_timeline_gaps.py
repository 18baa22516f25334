"""A minute without a sample is no minute without people: it is a gap."""

from __future__ import annotations

from typing import Any

from lab.harness.clock import NOON
from lab.harness.world import World

MINUTE = 60
START = "2026-11-21T12:00:00.000Z"


def timeline(world: World, **query: str) -> Any:
    body = world.get("/v1/spaces/site:main/timeline", token=world.admin, **query).body
    return [point["at"][11:16] for point in body["points"]], [
        (gap["from"][11:16], gap["to"][11:16]) for gap in body.get("gaps", [])
    ]


def minutes(world: World, count: int, *beating: str, swept: bool = True) -> None:
    for _ in range(count):
        world.pass_time(MINUTE, *beating)
        if swept:
            world.sweep()
            world.settle()


def test_a_sweep_that_is_off_for_three_minutes_is_a_gap(memory_world: World) -> None:
    tabs = ("a", "b", "c")
    for tab in tabs:
        memory_world.beat(tab)
    memory_world.settle()
    minutes(memory_world, 2, *tabs)
    minutes(memory_world, 3, *tabs, swept=False)
    assert timeline(memory_world) == (["12:01", "12:02"], [("12:03", "12:04")])  # and 12:05 is now
    minutes(memory_world, 2, *tabs)
    points, gaps = timeline(memory_world)
    assert (points, gaps) == (["12:01", "12:02", "12:06", "12:07"], [("12:03", "12:05")])
    # Also where what was asked for ends in it, or begins in it.
    assert timeline(memory_world, to="2026-11-21T12:04:30Z")[1] == [("12:03", "12:04")]
    assert timeline(memory_world, **{"from": "2026-11-21T12:04:00Z"})[1] == [("12:04", "12:05")]


def test_minutes_without_people_are_no_gap(memory_world: World) -> None:
    memory_world.beat("a")
    memory_world.settle()
    minutes(memory_world, 2, "a")
    memory_world.leave("a")
    memory_world.settle()
    minutes(memory_world, 3)
    memory_world.beat("a")
    memory_world.settle()
    minutes(memory_world, 2, "a")
    assert timeline(memory_world) == (["12:01", "12:02", "12:06", "12:07"], [])


def test_who_left_while_the_sweep_was_off_was_there(memory_world: World) -> None:
    for tab in ("a", "b"):
        memory_world.beat(tab)
    memory_world.settle()
    minutes(memory_world, 1, "a", "b")
    minutes(memory_world, 2, "a", "b", swept=False)
    memory_world.beat("c")
    minutes(memory_world, 1, "c", swept=False)
    memory_world.leave("a")
    memory_world.leave("b")
    minutes(memory_world, 1, "c")
    assert timeline(memory_world) == (["12:01", "12:05"], [("12:02", "12:04")])


def test_a_sweep_that_is_late_once_makes_no_gap(memory_world: World) -> None:
    memory_world.beat("a")
    memory_world.settle()
    minutes(memory_world, 1, "a")
    minutes(memory_world, 1, "a", swept=False)
    minutes(memory_world, 1, "a")
    assert timeline(memory_world) == (["12:01", "12:03"], [])
    assert memory_world.clock() == NOON + 3 * MINUTE * 1000
