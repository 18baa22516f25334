"""Several large spaces at once need more posts than ``PostsPerSecond`` allows: they slow down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from headcount.model.headcount import MAX_FANOUT_DELAY
from headcount.times import MINUTE, SECOND
from headcount.usecases.audit import IN_FLIGHT
from headcount.usecases.deliver import OVERDUE
from headcount.usecases.publish import SLOWEST_PACE
from headcount.usecases.queues import is_noted_in

from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.handlers.test_dashboards import join_and_count

SPACES = [f"link:{number}" for number in range(3)]
AUDIENCE = 25


@dataclass
class Rush:
    """A world whose spaces change every second, with one fan-out process: together they have a
    twelfth of the posts that each assumes."""

    world: World
    deferred: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)
    """Milliseconds that chunks waited before they were sent."""
    drifted: list[str] = field(default_factory=list)
    """Spaces that the sweeps of every minute repaired."""

    def go_on(self, until: int, *, changing: bool = True) -> None:
        """Process everything until then, or until nothing is left to do."""
        world = self.world
        changed, swept = 0, world.clock()
        while world.clock() < until:
            if changing and world.clock() - changed >= SECOND:
                changed = world.clock()
                second = changed // SECOND
                who = f"new {second}" if second % 10 == 0 else f"s{second % 7}"
                for space in SPACES:
                    world.beat(who, space, page=f"/{second}")
                world.count(world.filtered("count"))
            if world.clock() - swept >= MINUTE:
                swept = world.clock()
                self.drifted += [one["space"] for one in world.sweep()["repaired"]]
            self._run_deferred()
            world.publish(world.filtered("publish"))
            self._queue_deferred()
            chunk = world.queue.take()
            if chunk is not None:
                sent = int(chunk["Records"][0]["attributes"]["SentTimestamp"])
                self.ages.append(world.clock() - sent)
                world.invoke("fanout", chunk)
            elif changing or self.deferred:
                world.clock.advance(0.25)
            else:
                return

    def _queue_deferred(self) -> None:
        queue = self.world.queue
        for task, delay in zip(queue.deferred, queue.delays, strict=True):
            self.deferred.append((self.world.clock() + delay * SECOND, task))
        queue.deferred.clear()
        queue.delays.clear()

    def _run_deferred(self) -> None:
        due = [task for at, task in self.deferred if at <= self.world.clock()]
        self.deferred = [one for one in self.deferred if one[0] > self.world.clock()]
        for task in due:
            self.world.invoke("deferred", {"Records": [task]})


@pytest.fixture
def rush(memory: Engine, worlds: Worlds) -> Rush:
    """Dashboards that have received no version with people yet."""
    world = worlds(memory, Limits="inline-fanout=0", PostsPerSecond="16")
    subscriptions = world.services("socket").subscriptions
    for space in SPACES:
        for number in range(AUDIENCE):
            subscriptions.add(space, f"{space} {number}", now=world.clock())
            subscriptions.mark_greeted(space, f"{space} {number}", 0)
    return Rush(world)


@pytest.mark.slow
def test_a_space_that_waits_for_the_others_has_not_drifted(rush: Rush) -> None:
    rush.go_on(rush.world.clock() + 10 * MINUTE)
    assert max(rush.ages) > IN_FLIGHT
    assert rush.drifted == []


@pytest.mark.slow
def test_chunks_do_not_get_overdue_and_the_last_number_is_sent(
    rush: Rush,
) -> None:
    world = rush.world
    rush.go_on(world.clock() + 15 * MINUTE)
    rush.go_on(world.clock() + 60 * MINUTE, changing=False)
    assert world.queue.closings == []
    assert max(rush.ages) < OVERDUE / 2
    for space in SPACES:
        last = world.headcount(space)
        for number in range(AUDIENCE):
            dashboard = f"{space} {number}"
            received = world.versions(dashboard, space)
            assert received == list(range(1, last["version"] + 1))
            shown = world.management.frames[dashboard][-1]["data"]
            assert (shown["people"], shown["facets"]) == (last["people"], last["facets"])


# ------------------------------------------------------------------------------------- of one space


@pytest.fixture
def behind(memory: Engine, worlds: Worlds) -> World:
    """Versions 1 and 2 are in the queue, and it is a second later."""
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    world.services("fanout").subscriptions.mark_delivered(SITE, 0, now=world.clock())
    world.clock.advance(1)
    world.publish(join_and_count(world, "s2"))
    world.clock.advance(1)
    return world


def test_no_third_version_is_on_its_way_before_the_first_was_sent(behind: World) -> None:
    world = behind
    delays = []
    world.publish(join_and_count(world, "s3"))
    for _ in range(5):
        delays.append(world.queue.delays[-1])
        world.clock.advance(delays[-1])
        world.run_deferred()
        world.publish(world.filtered("publish"))
    assert delays == [2, 3, 6, 12, 15]  # it is checked less and less often
    assert world.headcount()["version"] == 2
    chunk = world.queue.take()
    assert chunk is not None
    world.invoke("fanout", chunk)
    world.clock.advance(15)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert (world.headcount()["version"], world.people()) == (3, 3)


def test_a_late_attempt_of_a_deferred_publish_makes_no_version(behind: World) -> None:
    """No one would retry it: if it crashed, its version would reach no one."""
    world = behind
    batch = join_and_count(world, "s3")
    world.publish(batch)
    world.services("fanout").subscriptions.mark_delivered(SITE, 2, now=world.clock())
    world.clock.advance(15)
    world.publish(batch)
    assert world.headcount()["version"] == 2
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert (world.headcount()["version"], world.people()) == (3, 3)


def test_a_stalled_fan_out_delays_a_version_for_two_minutes(behind: World) -> None:
    world = behind
    world.clock.advance(MAX_FANOUT_DELAY / SECOND - 2)
    world.publish(join_and_count(world, "s3"))
    assert world.headcount()["version"] == 2
    world.clock.advance(1)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.headcount()["version"] == 3


def test_without_dashboards_no_version_waits(behind: World) -> None:
    world = behind
    world.disconnect("c1")
    world.publish(join_and_count(world, "s3"))
    assert world.headcount()["version"] == 3


def test_the_first_chunks_since_hours_are_waited_for_as_long_as_a_large_audience(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    for second in (1, SLOWEST_PACE // SECOND - 2):
        world.clock.advance(second)
        world.publish(join_and_count(world, f"after {second}"))
    assert world.headcount()["version"] == 1
    world.clock.advance(1)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.headcount()["version"] == 2


def test_one_chunk_of_each_version_is_noted_in_turn(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    for number in range(20):
        world.subscribe(f"c{number}")
    delivered = world.services("fanout").subscriptions.delivered_version
    turns = set()
    for version in (1, 2, 3):
        world.publish(join_and_count(world, f"s{version}"))
        (noted,) = [n for n, one in enumerate(world.queue.messages) if is_noted_in(one)]
        turns.add(noted)
        for number, one in enumerate(world.queue.messages):
            assert delivered(SITE) == (version if number > noted else version - 1 or None)
            world.invoke("fanout", {"Records": [one]})
        world.queue.messages.clear()
        world.clock.advance(2)
    assert len(turns) == 3


def test_a_chunk_that_was_sent_is_done_though_its_note_fails(behind: World) -> None:
    world = behind
    record = world.queue.messages[0]
    assert is_noted_in(record)
    subscriptions = world.services("fanout").subscriptions
    refuse = patch.object(
        type(subscriptions), "mark_delivered", side_effect=aws_error("Throttling")
    )
    with refuse as noted:
        answer = world.invoke("fanout", {"Records": [record]})
    assert noted.call_count == 1
    assert answer == {"batchItemFailures": []}
    assert world.versions("c1")[-1] == 1


def test_a_late_chunk_reverts_no_note(behind: World) -> None:
    world = behind
    first, second = world.queue.messages
    for one in (second, first):
        world.invoke("fanout", {"Records": [one]})
    assert world.services("fanout").subscriptions.delivered_version(SITE) == 2
