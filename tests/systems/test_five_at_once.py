"""All five systems in one deployment: their numbers are the native ones, now and in history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import ENGINES, Worlds
from tests.systems.five import Five

HERE = {
    "live activity": (6, 6),
    "course viewers": (4, 4),
    "link analytics": (4, 4),
    "stream analytics": (3, 3),
    "site traffic": (4, 5),  # one user in two browsers
}
"""System -> people and sessions after everyone has joined."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, fitted: Callable[[str], Engine]) -> Engine:
    """Each engine in turn."""
    return fitted(request.param)


def five_in(world: World) -> Five:
    """The five systems of a world."""

    def call(
        method: str,
        path: str,
        *,
        body: Any = None,
        admin: bool = False,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        token = world.admin if admin else None
        answer = world.http(method, path, body=body, token=token, query=query, headers=headers)
        assert 200 <= answer.status < 300, (method, path, answer)
        return answer.body

    return Five(call, "r1")


@pytest.fixture
def five(world: World) -> Five:
    """A deployment that everyone has joined."""
    five = five_in(world)
    five.arrive()
    world.settle()
    return five


def numbers(five: Five) -> dict[str, tuple[int, int]]:
    heads = {system: five.headcount(system) for system in five.spaces}
    return {system: (head["people"], head["sessions"]) for system, head in heads.items()}


def test_every_system_shows_the_native_numbers(five: Five) -> None:
    assert numbers(five) == HERE
    five.reconcile()


def test_every_system_shows_them_after_most_have_left(five: Five, world: World) -> None:
    world.clock.advance(20)
    five.depart()
    world.settle()
    assert numbers(five) == dict.fromkeys(HERE, (1, 1))
    five.reconcile()


def test_the_views_are_the_ledgers_visits(five: Five, world: World) -> None:
    five.depart()
    world.settle()
    visits = Counter(row["space"] for row in world.ledger())
    views = {
        space: five.headcount(system)["views"]["total"] for system, space in five.spaces.items()
    }
    assert dict(visits) == views


def test_the_list_of_live_spaces_adds_up_across_a_kind(five: Five) -> None:
    listed = five.call("GET", "/v1/spaces", admin=True, query={"kind": "course"})["spaces"]
    assert sum(one["people"] for one in listed) == 4


def test_crashed_sessions_are_gone_from_every_system(five: Five, world: World) -> None:
    world.clock.advance(700)
    world.sweep()
    world.settle()
    assert numbers(five) == dict.fromkeys(HERE, (0, 0))
    assert five.call("GET", "/api/analytics/live-activity", admin=True)["activities"] == []
    assert five.convex("getLiveViewerCount", courseId=five.course) == {
        "total": 0,
        "byChapter": {},
    }


def test_every_system_reports_the_aggregated_day(five: Five, world: World) -> None:
    before = {system: five.today(system) for system in five.spaces}
    world.clock.advance(30)
    five.depart()
    world.clock.advance(700)
    world.sweep()
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    assert world.daily() == len(five.spaces)
    for system, space in five.spaces.items():
        path = f"/v1/spaces/{space}/days"
        (day,) = five.call("GET", path, admin=True)["days"]
        for name in ("uniquePeople", "uniqueSessions", "uniqueUsers", "views", "beats"):
            assert day[name] == before[system][name], (system, name)
    (daily,) = five.call(
        "POST",
        "/rest/v1/rpc/get_daily_active_users",
        body={"for_date": "2026-11-21"},
        admin=True,
    )
    assert daily == {"unique_sessions": 5, "unique_users": 1, "total_heartbeats": 6}


def test_shards_change_no_number(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    five = five_in(world)
    five.arrive()
    world.settle()
    assert numbers(five) == HERE
    five.reconcile()
    world.clock.advance(20)
    five.depart()
    world.settle()
    assert numbers(five) == dict.fromkeys(HERE, (1, 1))
    five.reconcile()
