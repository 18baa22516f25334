"""What is visible between two steps, and after a process dies there."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.model.headcount import BURST
from headcount.model.visit import Visit
from headcount.usecases.deliver import to_frame

from lab.harness.clock import NOON
from lab.harness.engines import Engine
from lab.harness.world import SITE, World


def join_and_count(world: World, session: str) -> list[dict[str, Any]]:
    """A join, up to its numbers; returns the records that wait to be published."""
    world.beat(session)
    world.count(world.filtered("count"))
    return world.filtered("publish")


def test_a_beat_that_was_on_its_way_when_its_session_left_does_not_bring_it_back(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", seq=1)
    world.leave("s1", seq=3)
    world.beat("s1", seq=2)
    world.settle()
    assert world.people() == 0


def test_a_reader_of_a_number_finds_the_views_behind_it(memory_world: World) -> None:
    world = memory_world
    world.beat("s1")
    batch = world.filtered("count")
    seen: list[int] = []

    def look() -> None:
        seen.append(world.services("api").counts.space(SITE).views.total)

    with world.engine.interrupted("PutItem", world.tables["counts"].name, look):
        world.count(batch)
    assert seen == [1]


@pytest.mark.parametrize(("operation", "role"), [("GetItem", "counts"), ("Query", "presence")])
def test_a_recount_between_two_reads_of_another_is_not_undone(
    memory_world: World, operation: str, role: str
) -> None:
    world = memory_world
    world.beat("s1")
    recounter = world.services("count").recounter

    def faster() -> None:
        world.beat("s2")
        recounter.recount(SITE, 0)

    with world.engine.interrupted(operation, world.tables[role].name, faster) as raced:
        assert recounter.recount(SITE, 0).tally.sessions == 2
    assert raced


def test_a_version_carries_what_happened_while_it_waited(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    recounter = world.services("count").recounter
    for _ in range(BURST):
        world.publish(join_and_count(world, "s1"))
        recounter.recount(SITE, 0)
    world.publish(world.filtered("publish"))
    world.beat("s2")
    recounter.recount(SITE, 0)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        if not waits:
            world.beat("s3")
            recounter.recount(SITE, 0)
        waits.append(seconds)
        world.clock.sleep(seconds)

    world.restart("publish")
    world.services("publish").sleep = sleep
    world.publish(world.filtered("publish"))
    assert waits[0] == 1.0
    assert world.headcount()["version"] == BURST + 2
    assert world.people() == 3


def test_a_version_that_a_greeting_contained_is_not_sent_after_it(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    world.publish(join_and_count(world, "s1"))
    world.clock.advance(2)
    batch = join_and_count(world, "s2")
    subscriptions = world.tables["subscriptions"].name
    headcounts = world.services("socket").headcounts
    late: list[int] = []

    def subscribe_late() -> None:
        if not late and headcounts.get(SITE).version == 2:
            late.append(2)
            world.subscribe("c1")

    with world.engine.interrupted("Query", subscriptions, subscribe_late, times=9):
        world.publish(batch)
    assert late
    assert world.versions("c1") == [2]


def test_a_version_published_just_before_a_dashboard_subscribes_is_its_first(
    memory_world: World,
) -> None:
    world = memory_world
    world.stream_alone()
    world.publish(join_and_count(world, "s1"))
    world.clock.advance(2)
    batch = join_and_count(world, "s2")
    world.connect("c1")

    def publish() -> None:
        world.publish(batch)

    table = world.tables["subscriptions"].name
    with world.engine.interrupted("PutItem", table, publish) as interruptions:
        world.send("c1", {"action": "subscribe", "space": SITE})
    assert interruptions
    assert world.versions("c1") == [2]


def test_a_version_waits_for_a_greeting_that_is_on_its_way(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    world.publish(join_and_count(world, "s1"))
    world.clock.advance(600)  # nobody can be sending that version any more
    world.connect("c1")
    dashboard_socket = world.services("socket").dashboard_socket
    dashboard_socket.subscriptions.add(SITE, "c1", now=world.clock())
    first = dashboard_socket.headcounts.get(SITE)
    world.clock.advance(2)
    batch = join_and_count(world, "s2")

    def sleep(seconds: float) -> None:
        world.clock.sleep(seconds)
        if seconds and not world.versions("c1"):
            dashboard_socket.connection_api.post("c1", to_frame(first.message(world.clock())))
            dashboard_socket.subscriptions.mark_greeted(SITE, "c1", first.version)

    world.restart("publish")
    world.services("publish").sleep = sleep
    world.publish(batch)
    assert world.versions("c1") == [1, 2]


@pytest.mark.parametrize("step", range(3))
def test_a_recording_that_dies_at_any_call_leaves_views_and_ledger_agreed(
    memory: Engine, memory_world: World, step: int
) -> None:
    world = memory_world
    visits = world.services("count").visits
    batch = [Visit(SITE, f"v{n}", f"s{n}", None, None, NOON, {"2026-11-21": 1}) for n in range(3)]
    calls: list[str] = []

    def die(model: Any, **_: Any) -> None:
        calls.append(model.name)
        if len(calls) > step:
            raise RuntimeError("the process died here")

    events: Any = memory.client.meta.events
    events.register("before-parameter-build.dynamodb", die, unique_id="dying")
    try:
        visits.record(batch)
        finished = True
    except RuntimeError:
        finished = False
    finally:
        events.unregister("before-parameter-build.dynamodb", unique_id="dying")
    assert finished is (len(calls) <= step)
    began = len(world.ledger())
    assert world.services("api").counts.space(SITE).views.total == began
    visits.record(batch)
    assert world.services("api").counts.space(SITE).views.total == len(world.ledger()) == 3
