"""Bugs that the simulator found, each reproduced in the fewest steps."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headcount.model.headcount import CHUNKING_GRACE
from headcount.times import SECOND

from lab.harness.engines import Engine
from lab.harness.template import ROOT, template
from lab.harness.world import SITE, World
from lab.simulator.schedules import run

ROOM = "stream:s1"


CORPUS = tomllib.loads((ROOT / "lab" / "simulator" / "corpus.toml").read_text())["schedule"]


@pytest.mark.parametrize("one", CORPUS, ids=lambda one: one["found"])
def test_a_schedule_that_led_to_a_wrong_number_leads_to_none(one: dict[str, Any]) -> None:
    options: dict[str, Any] = dict.fromkeys(one.get("without", ()), False)
    assert run(one["seed"], **options).problems == []


@pytest.mark.parametrize("one", CORPUS, ids=lambda one: one["found"])
def test_what_a_schedule_found_is_kept_by_a_test(one: dict[str, Any]) -> None:
    path, _, name = one["kept_by"].partition("::")
    assert f"def {name}(" in (Path(__file__).parent / path).read_text()


def test_a_dashboard_without_a_greeting_misses_no_version_whose_sending_failed(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    world.stream_alone()
    world.connect("c1")
    publisher = world.services("publish").publisher
    # Its subscribe sent version 0 and crashed before it could store that.
    publisher.subscriptions.add(SITE, "c1", now=world.clock())
    world.beat("s1")
    world.count(world.filtered("count"))
    changes = world.filtered("publish")

    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.management, "before_post", die)
    with pytest.raises(KeyboardInterrupt):
        world.publish(changes)
    monkeypatch.undo()
    world.publish(changes)
    assert world.versions("c1") == [1]


def test_a_late_publisher_greets_no_one_with_an_outdated_version(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    publisher = world.services("publish").publisher
    world.beat("s1")
    world.count(world.filtered("count"))
    late = world.filtered("publish")

    def publish_another() -> None:
        world.beat("s2")
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))
        # It connects after that version was sent, and its subscribe crashes before the greeting.
        world.connect("c1")
        publisher.subscriptions.add(SITE, "c1", now=world.clock())

    subscriptions = world.tables["subscriptions"].name
    with world.engine.interrupted("Query", subscriptions, publish_another) as interrupted:
        world.publish(late)  # stores version 1, and would send it after version 2
    assert interrupted
    world.beat("s3")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [2, 3]  # no one had noted that version 2 was sent


def test_no_version_overtakes_a_chunk_that_waits_for_a_retry(
    memory: Engine, worlds: Callable[..., World]
) -> None:
    world = worlds(memory, Limits="inline-fanout=1")
    for connection in ("c1", "c2"):
        world.subscribe(connection)
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    waiting = len(world.queue.messages)  # fanout failed, and they are invisible for six minutes
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
    # The mark of the last chunk is renewed after a third of the time.
    assert int(retention) * SECOND <= CHUNKING_GRACE * 2 / 3


def test_engagement_of_a_visit_that_ends_is_never_counted_twice(
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


def test_engagement_of_a_visit_is_not_counted_twice_when_the_cleanup_runs_before_count(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", ROOM, engagement={"chat": 3})
    world.settle()
    world.clock.advance(600)  # no cleanup for a while
    world.sweep()
    late = world.filtered("count")
    world.clock.advance(60)
    world.sweep()  # deletes the row: its lease ended long ago
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


def test_a_leave_of_an_ended_session_is_stored_as_long_as_any_other(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", seq=1)
    world.settle()
    world.clock.advance(3_600)  # its lease ended long ago, without a cleanup
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
    world.filtered("publish")  # lost, and the number of people is as before
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
    world.filtered("publish")  # lost, and the space is empty as before
    world.clock.advance(400)
    world.sweep()
    world.settle()
    assert world.headcount()["views"]["total"] == 2


def test_a_mean_duration_whose_version_was_lost_is_published_by_the_cleanup(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1")
    join = world.filtered("count")
    world.count(join)
    world.clock.advance(30)
    world.beat("s1")
    world.clock.advance(200)
    world.count(join)  # again, after the lease ran out
    world.publish(world.filtered("publish"))
    world.leave("s1")
    world.count(world.filtered("count"))
    world.filtered("publish")  # lost, and the space is empty as before
    world.clock.advance(400)
    world.sweep()
    world.settle()
    assert world.headcount()["avgSeconds"] == 30
