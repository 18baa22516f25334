"""From a beat to a dashboard, through the real handlers."""

from __future__ import annotations

from lab.harness.world import SITE, World


def test_a_join_reaches_every_dashboard_of_the_space(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1", visitorId="v1", page="/home")
    world.settle()
    assert world.versions("c1") == [0, 1]
    frame = world.management.frames["c1"][-1]
    assert frame["type"] == "headcount"
    assert frame["space"] == SITE
    assert frame["data"]["people"] == 1
    assert frame["data"]["facets"] == {"page": [{"value": "/home", "count": 1, "people": 1}]}
    assert frame["data"] == world.headcount()


def test_a_recount_wakes_publish(world: World) -> None:
    """Whatever `count` did not publish: here, because it died."""
    world.stream_alone()
    world.subscribe("c1")
    world.beat("s1")
    world.settle()
    assert world.versions("c1") == [0, 1]


def test_a_leave_empties_the_space(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(10)
    world.leave("s1")
    world.settle()
    assert world.people() == 0
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == 10_000
    assert visit["ended_by"] == "leave"
