"""Engagement that strangers send is bounded, and an admin can correct what it came to."""

from __future__ import annotations

import pytest
from headcount.model.session import MAX_ENGAGED, MAX_GROWTH

from lab.harness.world import World
from tests.support.moderation import act, ask


def total(world: World, name: str = "chat") -> float:
    """The published total."""
    world.settle()
    return float(world.headcount()["engagement"].get(name, 0))


@pytest.mark.parametrize("changed", [{}, {"changed": True}], ids=["steady", "changed"])
def test_a_beat_adds_no_more_than_it_may(memory_world: World, changed: dict[str, bool]) -> None:
    world = memory_world
    world.beat("s1", engagement={"chat": 2**31})
    assert total(world) == MAX_GROWTH
    for number in range(2, 5):
        world.clock.advance(20)
        page = {"page": f"/{number}"} if changed else {}
        world.beat("s1", engagement={"chat": 2**31}, **page, **changed)
        world.leave("nobody", seq=number)
        world.beat(f"recounts-{number}")
        assert total(world) == number * MAX_GROWTH
    world.leave("s1")
    assert total(world) == 4 * MAX_GROWTH


def test_a_visit_adds_no_more_than_it_may(memory_world: World) -> None:
    world = memory_world
    for _ in range(MAX_ENGAGED // MAX_GROWTH + 2):
        world.beat("s1", engagement={"chat": 2**31, "share": 1})
        world.clock.advance(20)
    world.leave("s1")
    assert (total(world), total(world, "share")) == (MAX_ENGAGED, 1)


def test_honest_engagement_is_one_write_and_counts_whole(memory_world: World) -> None:
    world = memory_world
    sent = 0
    for _ in range(10):
        sent += MAX_GROWTH
        with world.engine.metered() as meter:
            world.beat("s1", engagement={"chat": sent, "reaction": 7})
        world.clock.advance(20)
    assert meter.writes == ["UpdateItem"]
    world.leave("s1")
    assert (total(world), total(world, "reaction")) == (sent, 7)


def test_an_admin_corrects_a_total(memory_world: World) -> None:
    world = memory_world
    world.beat("flood", engagement={"chat": MAX_GROWTH})
    world.leave("flood")
    world.beat("here", engagement={"chat": 4})
    assert total(world) == MAX_GROWTH + 4
    world.clock.advance(60)
    answer = act(world, "PUT", "engagement/chat", {"total": 10}).body
    assert (answer["was"], answer["total"]) == (MAX_GROWTH + 4, 10)
    for _ in range(14):  # then no engagement can be on its way any more, and the sweep lowers it
        world.clock.advance(30)
        world.beat("here", engagement={"chat": 4})
        world.settle()
        world.sweep()
    assert total(world) == 10
    (entry,) = act(world, "GET", "audit").body["acts"]
    assert (entry["what"], entry["parameters"]) == (
        "correctEngagement",
        {"name": "chat", "was": MAX_GROWTH + 4, "total": 10},
    )
    (today,) = act(world, "GET", "days", query={"from": "2026-11-21"}).body["days"]
    assert today["engagement"]["chat"] >= 0
    world.leave("here")
    assert total(world) == 10


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [("likes", {"total": 1}, 404), ("chat", {"total": -1}, 400), ("chat", {}, 400)],
)
def test_what_is_no_correction_is_refused(
    memory_world: World, name: str, body: dict[str, int], status: int
) -> None:
    path = f"engagement/{name}"
    assert ask(memory_world, "PUT", path, body, token=memory_world.admin).status == status
    assert ask(memory_world, "PUT", "engagement/chat", {"total": 1}).status == 401


def test_a_total_closer_to_0_than_dynamodb_stores_is_0(memory_world: World) -> None:
    memory_world.beat("s1", engagement={"chat": 4})
    assert total(memory_world) == 4
    answer = act(memory_world, "PUT", "engagement/chat", {"total": 1.1125369292536007e-308}).body
    assert (answer["was"], answer["total"]) == (4, 0)
