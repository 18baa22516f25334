"""`count` publishes spaces with one shard itself; each recount wakes `publish`, the net."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from headcount.model.headcount import CROWD
from headcount.times import SECOND
from headcount.usecases.count import DIRECTLY_WITHIN
from headcount.usecases.publish import FENCE, LONGEST_RUN

from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.template import template
from lab.harness.world import SITE, World
from lab.simulator.loop import Crash
from tests.conftest import Worlds


def join(world: World, session: str) -> None:
    """A session joins, and is counted."""
    world.beat(session)
    world.count(world.filtered("count"))


def die() -> None:
    raise Crash("the process died here")


@contextmanager
def death(world: World, operation: str, role: str, *, at: int = 1) -> Iterator[None]:
    """A process dies right before its call number ``at`` of this operation on a table."""
    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        if len(calls) == at:
            die()

    with world.engine.interrupted(operation, world.tables[role].name, act, times=at):
        yield
    assert len(calls) == at


def in_order(versions: list[int]) -> bool:
    """Whether none is missing, and none comes after a later one."""
    return all(later - before in {0, 1} for before, later in pairwise(versions))


def test_a_join_is_heard_without_the_second_stream(world: World) -> None:
    world.subscribe("c1")
    join(world, "s1")
    assert world.versions("c1") == [0, 1]
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1]
    assert world.headcount()["version"] == 1
    assert sum(world.clock.slept) == 0


def test_a_leave_and_a_change_are_heard_as_soon(world: World) -> None:
    world.subscribe("c1")
    for act in (
        lambda: world.beat("s1"),
        lambda: world.beat("s1", page="/b"),
        lambda: world.leave("s1"),
    ):
        world.clock.advance(5)
        act()
        world.count(world.filtered("count"))
    assert world.versions("c1") == [0, 1, 2, 3]
    assert sum(world.clock.slept) == 0


def test_a_recount_whose_process_died_before_the_version_is_published(world: World) -> None:
    world.subscribe("c1")
    join(world, "s1")
    world.publish(world.filtered("publish"))
    world.beat("s2")
    batch = world.filtered("count")
    with death(world, "PutItem", "headcounts"), pytest.raises(Crash):
        world.count(batch)
    assert world.versions("c1") == [0, 1]
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1, 2]
    assert world.people() == 2
    world.count(batch)  # the stream's own retry
    world.settle()
    assert in_order(world.versions("c1"))
    assert world.people() == 2


def test_a_version_whose_process_died_before_sending_it_is_sent_before_the_next(
    world: World,
) -> None:
    world.subscribe("c1")
    world.beat("s1")
    with death(world, "Query", "subscriptions"), pytest.raises(Crash):
        world.count(world.filtered("count"))
    assert (world.headcount()["version"], world.versions("c1")) == (1, [0])
    world.restart("count")
    join(world, "s2")
    assert world.versions("c1") == [0]  # ``count`` leaves it to ``publish``
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1, 2]
    assert sum(world.clock.slept) * SECOND == FENCE  # it might have been sending it
    assert world.people() == 2


def test_no_later_version_is_stored_while_one_is_being_sent(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1")
    first = world.filtered("count")

    def other_process() -> None:
        world.restart("count")
        join(world, "s2")
        assert (world.headcount()["version"], world.people()) == (1, 1)

    subscriptions = world.tables["subscriptions"].name
    with world.engine.interrupted("Query", subscriptions, other_process) as met:
        world.count(first)
    assert met
    assert world.versions("c1") == [0, 1]
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1, 2]
    assert world.people() == 2


def test_publish_waits_for_the_process_that_is_sending(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1")
    waits: list[float] = []

    def publish_meanwhile() -> None:
        """The stream wakes ``publish``, whose wait is long enough for the sender to finish."""
        publish = world.services("publish")
        head = publish.headcounts.get(SITE)

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            publish.headcounts.mark_sent(head)

        publish.sleep = sleep
        world.publish(world.filtered("publish"))

    subscriptions = world.tables["subscriptions"].name
    with world.engine.interrupted("Query", subscriptions, publish_meanwhile) as met:
        world.count(world.filtered("count"))
    assert met
    assert waits == [FENCE / SECOND]
    assert world.versions("c1") == [0, 1]


def test_a_version_that_can_not_be_noted_as_sent_is_sent_again(memory_world: World) -> None:
    world = memory_world
    world.subscribe("c1")
    headcounts = world.services("count").headcounts
    headcounts.mark_sent = _refuse  # type: ignore[method-assign]
    join(world, "s1")
    assert world.versions("c1") == [0, 1]
    world.restart("count")
    join(world, "s2")
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1, 1, 2]


def _refuse(*_: Any) -> None:
    raise aws_error("ThrottlingException")


def test_without_an_audience_nothing_is_noted_and_nothing_waits(memory_world: World) -> None:
    world = memory_world
    for number in range(3):
        world.beat(f"s{number}")
        with world.engine.metered() as meter:
            world.count(world.filtered("count"))
        headcounts = world.tables["headcounts"].name
        assert [call.operation for call in meter.calls if headcounts in call.tables] == [
            "GetItem",
            "PutItem",
        ]
        assert world.headcount()["version"] == number + 1
    assert sum(world.clock.slept) == 0


def test_an_alert_whose_process_died_before_it_was_queued_is_sent(memory_world: World) -> None:
    world = memory_world
    world.http(
        "PUT",
        f"/v1/spaces/{SITE}/alerts/one",
        token=world.admin,
        body={"type": "milestone", "people": 1},
    )
    world.settle()
    world.beat("s1")
    sends = world.queue.send_message
    world.queue.send_message = lambda **_: die()  # type: ignore[method-assign]
    with pytest.raises(Crash):
        world.count(world.filtered("count"))
    world.queue.send_message = sends  # type: ignore[method-assign]
    assert not world.queue.deferred
    world.publish(world.filtered("publish"))
    assert [task for task in world.queue.deferred if "milestone" in task["body"]]


@pytest.mark.parametrize(
    "fail",
    [
        lambda world: world.management.throttle("c1", times=4),
        lambda world: world.management.fail("c1", times=2),
    ],
    ids=["throttled", "failing"],
)
def test_a_version_that_can_not_be_sent_at_once_reaches_everyone_in_order(
    world: World, fail: Callable[[World], None]
) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    fail(world)
    join(world, "s1")
    world.clock.advance(1)
    join(world, "s2")
    world.settle()
    for one in ("c1", "c2"):
        assert in_order(world.versions(one))
        assert world.versions(one)[-1] == world.headcount()["version"]
    assert world.management.closed == []
    assert world.people() == 2


def test_a_space_that_can_not_be_published_delays_no_other(world: World) -> None:
    world.subscribe("c1", "site:bad")
    world.subscribe("c2", "site:good")
    world.management.throttle("c1", times=100)
    world.beat("s1", "site:bad")
    world.beat("s2", "site:good")
    began = world.clock()
    world.count(world.filtered("count"))
    assert world.clock() - began <= FENCE + SECOND
    world.management.throttled.clear()
    world.settle()
    assert world.versions("c1", "site:bad") == world.versions("c2", "site:good") == [0, 1]


def test_a_batch_of_many_spaces_leaves_those_to_publish_that_would_wait_long(
    memory_world: World,
) -> None:
    world = memory_world
    spaces = [f"link:{number}" for number in range(30)]
    for space in spaces:
        world.beat("s1", space)
    count = world.services("count")
    counter = count.counter
    assert counter.publisher is not None
    slow = counter.publisher.headcounts.get
    counter.publisher.headcounts.get = lambda space: (world.clock.advance(0.2), slow(space))[1]  # type: ignore[method-assign]
    world.count(world.filtered("count"))
    done = [space for space in spaces if world.headcount(space)["version"]]
    assert len(done) == DIRECTLY_WITHIN // 200 + 1
    world.settle()
    assert all(world.people(space) == 1 for space in spaces)


def test_spaces_with_several_shards_are_published_by_the_stream(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, ShardsPerSpace="2")
    world.subscribe("c1")
    join(world, "s1")
    assert world.versions("c1") == [0]
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1]


def test_a_recount_of_another_process_after_the_version_is_published(world: World) -> None:
    world.subscribe("c1")
    join(world, "s1")
    world.beat("s2")
    world.filtered("count")  # a deferred recount includes it
    world.services("deferred").recounter.recount(SITE, 0)
    world.publish(world.filtered("publish"))
    assert world.versions("c1") == [0, 1, 2]
    assert world.people() == 2


def test_one_who_subscribes_to_an_unsent_version_does_not_hold_up_the_next(
    memory_world: World,
) -> None:
    world = memory_world
    join(world, "s1")  # nobody listens, so nobody notes that it is sent
    world.publish(world.filtered("publish"))
    world.clock.advance((LONGEST_RUN + 2 * SECOND) / SECOND)
    # The greeting is on its way.
    world.services("socket").subscriptions.add(SITE, "c1", now=world.clock())
    join(world, "s2")
    assert world.headcount()["version"] == 2


def test_the_functions_that_publish_run_no_longer() -> None:
    for function in ("count", "publish"):
        assert template().functions[function]["Timeout"] * SECOND == LONGEST_RUN


def test_a_process_that_has_just_posted_a_lot_sends_no_burst(memory_world: World) -> None:
    world = memory_world
    for number in range(150):
        world.subscribe(f"c{number}")
    for number in range(3):
        join(world, f"s{number}")
    assert sum(world.clock.slept) == 2
    assert not world.queue.messages  # else all further versions would be sent in chunks for hours
    assert world.versions("c149") == [0, 1, 2, 3]


def wake_in_a_crowd(world: World) -> list[Any]:
    """What wakes ``publish`` in a crowd with a dashboard: a deferred recount, while ``count`` waits
    for the same version."""
    for number in range(CROWD):
        world.beat(f"s{number}")
    world.settle()
    world.subscribe("c1")
    world.clock.advance(10)
    join(world, "one")
    world.filtered("publish")
    world.beat("two")
    world.services("deferred").recounter.recount(SITE, 0)
    woken = world.filtered("publish")
    world.restart("publish")
    return woken


def test_in_a_crowd_publish_waits_for_count_instead_of_taking_turns(memory_world: World) -> None:
    world = memory_world
    woken = wake_in_a_crowd(world)
    publish = world.services("publish")

    def sleep(seconds: float) -> None:
        world.clock.advance(seconds - 0.1)
        join(world, "three")
        world.clock.advance(0.1)

    publish.sleep = sleep
    before = world.headcount()["version"]
    world.publish(woken)
    assert world.headcount()["version"] == before + 1
    assert world.people() == CROWD + 3
    assert in_order(world.versions("c1"))


def test_in_a_crowd_publish_sends_what_count_has_stored_meanwhile_and_not_sent(
    memory_world: World,
) -> None:
    world = memory_world
    woken = wake_in_a_crowd(world)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        world.clock.advance(seconds)
        slept.append(seconds)
        if len(slept) == 1:
            with death(world, "Query", "subscriptions"), pytest.raises(Crash):
                join(world, "three")

    world.services("publish").sleep = sleep
    world.publish(woken)
    assert world.versions("c1")[-1] == world.headcount()["version"]
    assert in_order(world.versions("c1"))


def test_in_a_crowd_publish_makes_the_version_that_count_does_not(memory_world: World) -> None:
    world = memory_world
    for number in range(CROWD):
        world.beat(f"s{number}")
    world.settle()
    join(world, "one")
    world.beat("two")
    world.filtered("count")
    world.services("deferred").recounter.recount(SITE, 0)
    world.publish(world.filtered("publish"))
    assert world.people() == CROWD + 2
