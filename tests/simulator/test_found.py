"""What the simulator found, each in the fewest steps that show it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from headcount.headcounts import CHUNKING_LINGERS
from headcount.times import SECOND

from tests.support.engines import Engine
from tests.support.template import template
from tests.support.world import SITE, World

ROOM = "stream:s1"


def test_who_was_never_greeted_misses_no_version_whose_sending_failed(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    world.connect("c1")
    publisher = world.services("publish").publisher
    # Its subscribe heard version 0 and died before it could say so.
    publisher.subscriptions.add(SITE, "c1", now=world.clock())
    world.beat("s1")
    world.count(world.filtered("count"))
    changes = world.filtered("publish")

    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.line, "before_post", die)
    with pytest.raises(KeyboardInterrupt):
        world.publish(changes)
    monkeypatch.undo()
    world.publish(changes)
    assert world.versions("c1") == [1]


def test_no_version_overtakes_a_chunk_that_waits_to_be_tried_again(
    memory: Engine, worlds: Callable[..., World]
) -> None:
    world = worlds(memory, InlineFanout="1")
    for connection in ("c1", "c2"):
        world.subscribe(connection)
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    waiting = len(world.queue.messages)  # fanout failed, and they are not seen for six minutes
    world.disconnect("c2")
    world.clock.advance(60)
    world.beat("s2")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    assert len(world.queue.messages) == waiting + 1
    world.fan_out()
    assert world.versions("c1") == [0, 1, 2]


def test_versions_leave_in_chunks_for_as_long_as_a_chunk_may_wait() -> None:
    retention = template().resources["FanoutQueue"]["Properties"]["MessageRetentionPeriod"]
    # The mark of the last chunk is renewed when a third of the time is over.
    assert int(retention) * SECOND <= CHUNKING_LINGERS * 2 / 3


def test_what_was_done_in_a_visit_that_ends_is_not_said_twice_in_between(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", ROOM, engagement={"chat": 3})
    world.settle()
    world.beat("s2", ROOM)
    world.count(world.filtered("count"))
    pending = world.filtered("publish")
    world.leave("s1", ROOM)
    counts = world.tables["counts"].name
    with world.engine.interrupted("PutItem", counts, lambda: world.publish(pending)):
        world.count(world.filtered("count"))
    world.settle()
    assert world.headcount(ROOM)["engagement"] == {"chat": 3}


def test_what_was_done_in_a_visit_is_not_said_twice_when_the_cleanup_comes_before_count(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", ROOM, engagement={"chat": 3})
    world.settle()
    world.clock.advance(600)  # no cleanup for a while
    world.sweep()
    late = world.filtered("count")
    world.clock.advance(60)
    world.sweep()  # bins the row: its lease is long over
    world.publish(world.filtered("publish"))
    world.count(late)
    world.settle()
    assert world.headcount(ROOM)["engagement"] == {"chat": 3}


def test_a_view_that_the_cleanup_adds_is_published(memory_world: World) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.beat("s2")
    world.leave("s2")
    world.filtered("count")  # lost
    world.leave("s1")
    world.settle()
    world.clock.advance(400)
    world.sweep()
    world.settle()
    assert world.headcount()["views"]["total"] == 2


def test_a_leave_of_a_session_that_is_over_is_remembered_as_long_as_any_other(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", seq=1)
    world.settle()
    world.clock.advance(3_600)  # its lease ended long ago, and nobody cleaned up
    world.sweep()
    world.leave("s1", seq=3)
    world.sweep()
    world.beat("s1", seq=2)  # was under way when the page closed
    world.settle()
    assert world.people() == 0
    assert world.live_sessions() == []


def test_views_whose_version_was_lost_are_published_by_the_cleanup(memory_world: World) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.beat("s2")
    world.count(world.filtered("count"))
    world.leave("s2")
    world.count(world.filtered("count"))
    world.filtered("publish")  # lost, and as many people are here as before
    world.sweep()
    world.settle()
    assert world.headcount()["views"]["total"] == 2


def test_views_of_an_empty_space_whose_version_was_lost_are_published_by_the_cleanup(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1")
    world.leave("s1")
    world.settle()
    world.beat("s2")
    world.leave("s2")
    world.count(world.filtered("count"))
    world.filtered("publish")  # lost, and nobody is here as before
    world.clock.advance(400)
    world.sweep()
    world.settle()
    assert world.headcount()["views"]["total"] == 2


def test_a_mean_stay_whose_version_was_lost_is_published_by_the_cleanup(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1")
    join = world.filtered("count")
    world.count(join)
    world.clock.advance(30)
    world.beat("s1")
    world.clock.advance(200)
    world.count(join)  # once more, after the lease ran out
    world.publish(world.filtered("publish"))
    world.leave("s1")
    world.count(world.filtered("count"))
    world.filtered("publish")  # lost, and nobody is here as before
    world.clock.advance(400)
    world.sweep()
    world.settle()
    assert world.headcount()["avgSeconds"] == 30
