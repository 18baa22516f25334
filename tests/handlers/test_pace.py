"""A large space's recounts are paced, and delay no other space."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from headcount.model.headcount import BURST, CROWD_PACE
from headcount.model.intervals import UNHEARD_PACE
from headcount.model.pushes import topic_of
from headcount.model.session import Facts, Write
from headcount.store.presence import to_item
from headcount.times import HOUR, SECOND
from headcount.usecases.count import ENDED_MEMORY, MAX_WAIT, crowd_pace, crowding, pace
from msgspec.structs import replace

from lab.harness.engines import Engine
from lab.harness.template import template
from lab.harness.world import SITE, World, world_on
from tests.handlers.test_pushes import listen
from tests.unit.test_session import here

LARGE = 200
"""The number of sessions of a shard with the longest recount interval."""
PACE = pace(LARGE) // SECOND
DUE = PACE - 1
"""Seconds from a test's start until the large space is due."""
FACETS_DUE = pace(LARGE, facets=True) // SECOND - 1
"""The same if no one joined or left."""
SMALL = "link:1"


@pytest.fixture
def world(memory: Engine) -> Any:
    """A large space to which somebody listens, counted a moment ago, as often as it may be at
    once."""
    with world_on(memory) as world:
        world.services("cleanup").subscriptions.add(topic_of(SITE), "badge", now=world.clock())
        for number in range(LARGE):
            one = here(id=f"s{number}", write=Write.BEAT, facts=Facts())
            world.tables["presence"].put(to_item(replace(one, expires_at=world.clock() + HOUR)))
        for _ in range(BURST):
            world.services("cleanup").recounter.recount(SITE, 0)
        world.settle()
        world.clock.advance(1)
        yield world


def deferred(world: World) -> list[dict[str, Any]]:
    return [json.loads(one["body"]) for one in world.queue.deferred]


def count(world: World) -> None:
    world.count(world.filtered("count"))


def recounts(world: World) -> int:
    """The number of recounts of the large space's shard."""
    return world.services("count").counts.shard(SITE, 0).version


def test_a_small_space_does_not_wait_for_a_large_one_in_its_batch(world: World) -> None:
    world.beat("new")
    world.beat("s1", SMALL)
    count(world)
    world.publish(world.filtered("publish"))
    assert world.people(SMALL) == 1
    assert world.people() == LARGE
    assert sum(world.clock.slept) == 0
    (task,) = deferred(world)
    assert world.queue.delays == [DUE]
    world.clock.advance(DUE)
    world.run_deferred()
    world.settle()
    assert world.people() == LARGE + 1
    assert task == {
        "do": "recount",
        "space": SITE,
        "shard": 0,
        "at": world.clock(),
        "stays": "",
    }


@pytest.mark.parametrize("behind", [0.0, DUE - 1.5, DUE - 0.1, DUE, DUE + 0.7, DUE + 2])
def test_a_batch_never_waits_longer_than_a_second_in_total(world: World, behind: float) -> None:
    for number in range(3):
        world.beat("s1", f"link:{number}")
        count(world)
        world.clock.advance(0.2)
    world.clock.advance(behind)
    world.clock.slept.clear()
    world.beat("new")
    for number in range(3):
        world.beat("s2", f"link:{number}")
    began = world.clock()
    count(world)
    assert world.clock() - began <= MAX_WAIT
    later = [
        (task["space"], delay)
        for task, delay in zip(deferred(world), world.queue.delays, strict=True)
    ]
    due = DUE - 0.6 - behind
    assert later == ([(SITE, -int(-due // 1))] if due > 1 else [])


def test_recounts_that_are_due_within_a_second_are_done_at_once(world: World) -> None:
    world.clock.advance(DUE - 0.8)
    world.beat("new")
    count(world)
    assert sum(world.clock.slept) == pytest.approx(0.8)
    assert deferred(world) == []
    world.publish(world.filtered("publish"))
    assert world.people() == LARGE + 1


def test_without_joins_and_leaves_a_large_space_waits_longer(world: World) -> None:
    world.beat("s1", page="/b")
    count(world)
    assert world.queue.delays == [FACETS_DUE]
    world.clock.advance(FACETS_DUE)
    world.run_deferred()
    world.settle()
    page = {one["value"]: one["count"] for one in world.headcount()["facets"]["page"]}
    assert page == {"/b": 1}


@pytest.mark.parametrize("leaves", [False, True])
def test_joins_and_leaves_do_not_wait_as_long_as_facets(world: World, *, leaves: bool) -> None:
    world.beat("s1", page="/b")
    count(world)
    _ = world.leave("s2") if leaves else world.beat("new")
    count(world)
    assert world.queue.delays == [FACETS_DUE, DUE]


def test_many_joins_do_not_wait_for_the_pace(world: World) -> None:
    for number in range(crowding(LARGE) - 1):
        world.beat(f"new{number}")
    count(world)
    assert world.people() == LARGE
    assert world.queue.delays == [DUE]
    world.beat("one-more")
    count(world)
    assert world.people() == LARGE + crowding(LARGE)
    assert sum(world.clock.slept) == 0
    # Those who come right after them are read in the same rhythm.
    world.clock.advance(0.3)
    world.beat("after")
    count(world)
    assert world.people() == LARGE + crowding(LARGE) + 1
    assert sum(world.clock.slept) == pytest.approx((CROWD_PACE - 300) / SECOND)
    # It was one, and no rush.
    world.beat("late")
    count(world)
    assert world.people() == LARGE + crowding(LARGE) + 1


def test_many_joins_in_a_while_are_no_rush(world: World) -> None:
    world.clock.advance(3 * CROWD_PACE / SECOND)
    for number in range(crowding(LARGE)):
        world.beat(f"new{number}")
    count(world)
    assert world.people() == LARGE + crowding(LARGE)
    world.beat("after")
    count(world)
    assert world.people() == LARGE + crowding(LARGE)


def test_a_larger_space_needs_more_joins() -> None:
    assert [crowding(rows) for rows in (10, 1_000, 5_000)] == [10, 10, 50]


def test_facets_wait_for_the_recount_of_joins_and_leaves(world: World) -> None:
    world.beat("new")
    count(world)
    world.beat("s1", page="/b")
    count(world)
    assert world.queue.delays == [DUE]


def test_joins_and_leaves_wait_for_a_recount_of_facets_that_comes_in_time(world: World) -> None:
    world.beat("s1", page="/b")
    count(world)
    world.beat("new")
    count(world)
    world.clock.advance(DUE)
    first, second = world.queue.deferred  # of facets, and of joins and leaves
    world.invoke("deferred", {"Records": [second]})
    world.beat("newer")
    count(world)
    world.beat("newest")
    count(world)
    assert world.queue.deferred == [first, second]  # due with that of facets
    world.clock.advance(PACE)
    world.invoke("deferred", {"Records": [first]})
    world.publish(world.filtered("publish"))
    assert world.people() == LARGE + 3


def test_a_deferred_task_that_comes_twice_recounts_once(world: World) -> None:
    world.beat("new")
    count(world)
    (event,) = world.queue.deferred
    world.clock.advance(DUE + 1.1)
    before = recounts(world)
    for _ in range(2):
        world.invoke("deferred", {"Records": [event]})
        world.clock.advance(1)
    assert recounts(world) == before + 1


def test_only_one_batch_recounts_a_large_space_until_it_is_due(world: World) -> None:
    before = recounts(world)
    for number in range(3):
        world.beat(f"new{number}")
        count(world)
        world.clock.advance(1)
    assert world.queue.delays == [DUE]
    world.clock.advance(DUE - 3)
    world.run_deferred()
    assert recounts(world) == before + 1
    world.settle()
    assert world.people() == LARGE + 3


def test_a_batch_after_a_deferred_task_may_have_run_leaves_another(world: World) -> None:
    world.beat("new")
    count(world)
    world.clock.advance(DUE)
    world.services("cleanup").recounter.recount(SITE, 0)
    world.beat("newer")
    count(world)
    assert world.queue.delays == [DUE, PACE]


def test_another_process_leaves_its_own_deferred_task(world: World) -> None:
    world.beat("new")
    count(world)
    world.services("count").counter.deferred.clear()
    world.beat("newer")
    count(world)
    assert world.queue.delays == [DUE, DUE]


def test_a_batch_after_a_deferred_task_costs_no_unit(world: World) -> None:
    world.beat("new")
    count(world)
    world.beat("s1", page="/b")
    records = world.filtered("count")
    with world.engine.metered() as meter:
        world.count(records)
    people = world.tables["people"].name  # which is asked whether somebody watches who moved
    assert [call for call in meter.calls if call.tables != {people}] == []
    assert len(deferred(world)) == 1


def test_a_visit_that_ends_after_a_deferred_task_is_recorded_from_its_row(world: World) -> None:
    world.beat("new")
    count(world)
    world.leave("s5")
    count(world)
    assert [one["stays"] for one in deferred(world)] == [""]
    world.clock.advance(DUE)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is not None


@pytest.mark.parametrize("batches", [1, 2])
def test_a_session_that_returns_after_a_deferred_task_has_its_visit_recorded(
    world: World, batches: int
) -> None:
    world.beat("new")
    count(world)
    world.leave("s5")
    if batches == 2:
        count(world)
    world.beat("s5")
    count(world)
    assert [one["stays"] != "" for one in deferred(world)] == [False, True]
    before = recounts(world)
    world.clock.advance(DUE)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert recounts(world) == before + 2  # the first could not know that
    assert world.headcount()["avgSeconds"] is not None


def test_a_session_that_returns_when_the_deferred_task_has_run_has_its_visit_recorded(
    world: World,
) -> None:
    world.beat("new")
    count(world)
    world.leave("s5")
    count(world)
    world.beat("s5")
    world.clock.advance(DUE)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is None
    count(world)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is not None


def test_a_visit_that_began_and_ended_after_a_deferred_task_is_recorded_from_its_row(
    world: World,
) -> None:
    world.beat("new")
    count(world)
    world.beat("brief")
    world.leave("brief")
    count(world)
    assert len(deferred(world)) == 1


def test_visits_that_ended_long_ago_are_not_cached(world: World) -> None:
    world.leave("s5")
    count(world)
    counter = world.services("count").counter
    assert len(counter.ended) == 1
    world.clock.advance(ENDED_MEMORY / SECOND + 1)
    world.beat("new")
    count(world)
    assert counter.ended == {}


def test_a_batch_whose_deferred_task_can_not_be_sent_is_retried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.beat("new")
    batch = world.filtered("count")
    with monkeypatch.context() as patched:
        patched.setattr(world.queue, "send_message", _refuse)
        with pytest.raises(ConnectionError):
            world.count(batch)
    world.count(batch)
    assert len(deferred(world)) == 1


def test_a_deferred_task_whose_shard_was_recounted_since_is_skipped(world: World) -> None:
    world.beat("new")
    count(world)
    world.clock.advance(DUE + 1.001)
    world.services("cleanup").recounter.recount(SITE, 0)
    before = recounts(world)
    world.run_deferred()
    assert recounts(world) == before


@pytest.mark.parametrize("seconds", [-0.5, 0, 1])
def test_a_recount_that_may_have_begun_before_the_deferred_task_does_not_stand_in_for_it(
    world: World, seconds: float
) -> None:
    world.beat("new")
    count(world)
    world.clock.advance(DUE + seconds)  # another server's clock may be a second off
    world.services("cleanup").recounter.recount(SITE, 0)
    before = recounts(world)
    world.clock.advance(1 - seconds)
    world.run_deferred()
    assert recounts(world) == before + 1


def test_a_visit_that_ended_before_its_session_came_back_is_kept_until_then(world: World) -> None:
    assert world.headcount()["avgSeconds"] is None
    world.leave("s5")
    count(world)
    world.beat("s5")  # its row no longer has the visit that ended
    world.clock.advance(1.5)
    world.services("cleanup").recounter.recount(SITE, 0)
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is None
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is not None


def test_a_clock_that_stepped_back_does_not_stop_the_recounts(world: World) -> None:
    world.clock.advance(-3600)
    world.beat("new")
    count(world)
    assert world.queue.delays == [PACE]
    world.run_deferred()
    world.settle()
    assert world.people() == LARGE + 1


def test_the_cleanup_repairs_a_lost_deferred_task(world: World) -> None:
    world.beat("new")
    count(world)
    assert world.queue.take_deferred() is not None  # lost
    world.clock.advance(40)
    (drift,) = world.sweep()["repaired"]
    assert (drift["space"], drift["sessions"]) == (SITE, LARGE + 1)
    world.settle()
    assert world.people() == LARGE + 1


def _refuse(**_: Any) -> None:
    raise ConnectionError("no queue")


def test_count_may_send_only_deferred_tasks_and_versions_to_a_queue() -> None:
    allowed = {
        resource
        for statement in template().resolve(list(template().statements("CountRole")))
        if "sqs:SendMessage" in statement["Action"]
        for resource in statement["Resource"]
    }
    versions = {"FanoutQueue.Arn", "ClosingQueue.Arn"}
    assert allowed == {"ErrandQueue.Arn", "StreamDeadLetters.Arn", *versions}
    assert template().environment("count")["DEFERRED_QUEUE"] == "ErrandQueue"


def test_a_full_batch_fits_the_payload() -> None:
    (source,) = template().events("count", "DynamoDB")
    assert source["BatchSize"] * 2_000 < 6 * 1024 * 1024


def test_what_a_dashboard_watches_is_recounted_within_a_second(world: World) -> None:
    world.subscribe("c1")
    world.run_deferred()
    world.clock.advance(DUE)
    world.beat("new")
    count(world)
    assert deferred(world) == []
    for number in range(4):
        world.beat("s1", page=f"/{number}")
        count(world)
        page = {one["value"] for one in world.headcount()["facets"]["page"]}
        assert f"/{number}" in page
    assert deferred(world) == []
    assert sum(world.clock.slept) <= 4
    # Not for ever.
    world.disconnect("c1")
    world.clock.advance(HOUR / SECOND)
    world.beat("s1", page="/a")
    count(world)
    world.clock.advance(1)
    world.beat("s1", page="/b")
    count(world)
    assert world.queue.delays[1:] == [FACETS_DUE + 1 - 1]


def test_a_process_learns_from_the_count_whether_a_dashboard_watches(world: World) -> None:
    world.subscribe("c1")
    world.run_deferred()
    world.clock.advance(DUE)
    for page in ("/a", "/b"):
        world.beat("new", page=page)
        count(world)
    assert world.services("count").counts.shard(SITE, 0).watched
    world.restart("count")
    world.beat("s1", page="/c")
    count(world)
    assert deferred(world) == []


def test_the_larger_a_space_the_slower_is_what_a_dashboard_sees() -> None:
    paces = [pace(rows, watched=True) for rows in (1, 10_000, 20_000, 40_000, 200_000)]
    assert paces == [1_000, 1_000, 1_000, 2_000, 5_000]
    assert [crowding(rows, watched=True) for rows in (10, 100_000)] == [10, 10]
    assert [crowd_pace(rows) for rows in (10, 10_000, 25_000)] == [CROWD_PACE, CROWD_PACE, 1_250]


def test_ten_joins_are_many_in_a_space_that_a_dashboard_watches(world: World) -> None:
    for number in range(1_800):
        one = here(id=f"more{number}", write=Write.BEAT, facts=Facts())
        world.tables["presence"].put(to_item(replace(one, expires_at=world.clock() + HOUR)))
    world.subscribe("c1")
    world.run_deferred()
    world.clock.advance(DUE)
    at = []
    for rush in range(7):
        for number in range(10):
            world.beat(f"new{rush}-{number}")
        count(world)
        at.append(world.clock())
    assert deferred(world) == []
    assert [after - before for before, after in pairwise(at)][-3:] == [CROWD_PACE] * 3


@pytest.mark.parametrize("takes", [0.1, 0.3])
def test_a_crowds_versions_are_as_far_apart_as_they_may_however_long_it_takes_to_read(
    world: World, takes: float
) -> None:
    world.subscribe("c1")
    presence = world.tables["presence"].name
    at = []
    for rush in range(5):
        for number in range(crowding(LARGE)):
            world.beat(f"new{rush}-{number}")

        def read() -> None:
            world.clock.advance(takes)

        with world.engine.interrupted("Query", presence, read):
            count(world)
        at.append(world.services("count").headcounts.get(SITE).as_of)
    apart = [later - before for before, later in pairwise(at)]
    assert apart[2:] == [CROWD_PACE] * 2


UNHEARD_DUE = UNHEARD_PACE // SECOND - 1
"""Seconds from a test's start until the large space is due, if nobody hears of it."""
FEW = LARGE // 100
"""So many may join meanwhile, and as many leave."""
WRITTEN_WITHIN = 15
"""Seconds after which a recount has surely seen a write."""


@pytest.fixture
def unheard(world: World) -> World:
    """The large space, to which nobody listens."""
    world.services("cleanup").subscriptions.disconnect("badge")
    world.clock.advance(BURST * PACE)
    for _ in range(BURST):
        world.services("cleanup").recounter.recount(SITE, 0)
    world.settle()
    world.clock.advance(1)
    return world


def test_what_nobody_hears_of_waits_longer(unheard: World) -> None:
    unheard.beat("s1", page="/b")
    unheard.beat("new")
    count(unheard)
    assert unheard.queue.delays == [UNHEARD_DUE]
    unheard.clock.advance(UNHEARD_DUE)
    unheard.run_deferred()
    unheard.publish(unheard.filtered("publish"))
    assert unheard.people() == LARGE + 1


@pytest.mark.parametrize("leaves", [False, True])
def test_more_than_a_hundredth_that_joined_or_left_are_too_many_to_wait(
    unheard: World, *, leaves: bool
) -> None:
    for number in range(FEW):
        unheard.beat(f"new{number}")
        unheard.leave(f"s{number}")
        count(unheard)
    assert unheard.queue.delays == [UNHEARD_DUE]
    _ = unheard.leave("s100") if leaves else unheard.beat("one-more")
    count(unheard)
    assert unheard.queue.delays == [UNHEARD_DUE, DUE]


def test_those_of_a_batch_that_comes_twice_are_as_many_as_before(unheard: World) -> None:
    for number in range(FEW):
        unheard.beat(f"new{number}")
        unheard.leave(f"s{number}")
    batch = unheard.filtered("count")
    for _ in range(3):
        unheard.count(batch)
    assert unheard.queue.delays == [UNHEARD_DUE]


def test_who_signs_in_comes_and_goes(unheard: World) -> None:
    for number in range(FEW):
        unheard.beat(f"s{number}", userId=f"ada{number}")
        count(unheard)
    assert unheard.queue.delays == [UNHEARD_DUE]
    unheard.beat("s100", userId="ben")
    count(unheard)
    assert unheard.queue.delays == [UNHEARD_DUE, DUE]


def test_who_may_be_back_when_a_shard_is_recounted_is_one_who_goes_after_it(
    unheard: World,
) -> None:
    unheard.clock.advance(UNHEARD_PACE / SECOND)
    for number in range(FEW):
        unheard.leave(f"s{number}", mayReturn=True)
    unheard.beat("new")
    before = recounts(unheard)
    count(unheard)
    assert recounts(unheard) == before + 1
    unheard.leave("s100")
    count(unheard)
    assert recounts(unheard) == before + 2


def test_the_end_of_a_visit_that_is_counted_no_more_may_wait(unheard: World) -> None:
    for number in range(FEW + 1):
        unheard.leave(f"s{number}", mayReturn=True)
    count(unheard)
    unheard.clock.advance(WRITTEN_WITHIN + 1)
    unheard.services("cleanup").recounter.recount(SITE, 0)
    unheard.queue.delays.clear()
    unheard.sweep()
    count(unheard)
    assert unheard.people() == LARGE
    assert unheard.queue.delays == [UNHEARD_PACE // SECOND]


@pytest.mark.parametrize(("seconds", "due"), [(0.5, PACE), (1.5, UNHEARD_PACE // SECOND)])
def test_who_came_just_before_another_process_counted_may_be_missing_there(
    unheard: World, seconds: float, due: int
) -> None:
    for number in range(FEW):
        unheard.beat(f"new{number}")
    count(unheard)
    unheard.clock.advance(seconds)
    unheard.services("cleanup").recounter.recount(SITE, 0)
    unheard.services("count").counter.deferred.clear()
    unheard.beat("one-more")
    count(unheard)
    assert unheard.queue.delays[1:] == [due]


def test_pages_that_closed_are_some_of_them(unheard: World) -> None:
    for number in range(FEW + 1):
        assert unheard.queue.delays[1:] == []
        unheard.leave(f"s{number}", mayReturn=True)
        count(unheard)
    assert unheard.queue.delays == [UNHEARD_DUE, DUE]


def test_a_kind_that_is_to_be_more_accurate_waits_for_fewer(memory: Engine) -> None:
    kinds = template().defaults["Kinds"].replace("site:", "site:accuracy=0.5%,", 1)
    with world_on(memory, Kinds=kinds) as world:
        for number in range(LARGE):
            one = here(id=f"s{number}", write=Write.BEAT, facts=Facts())
            world.tables["presence"].put(to_item(replace(one, expires_at=world.clock() + HOUR)))
        for _ in range(BURST):
            world.services("cleanup").recounter.recount(SITE, 0)
        world.clock.advance(1)
        world.beat("s1", page="/b")
        count(world)
        for number in range(FEW):
            world.beat(f"new{number}")
            count(world)
        assert world.queue.delays == [UNHEARD_DUE, DUE]


def test_a_small_space_is_never_unheard(world: World) -> None:
    world.beat("s1", SMALL)
    count(world)
    with world.engine.metered() as meter:
        world.services("cleanup").recounter.recount(SMALL, 0)
    assert not world.services("count").counts.shard(SMALL, 0).unheard
    subscriptions = world.tables["subscriptions"].name
    assert all(subscriptions not in call.tables for call in meter.calls)


def test_what_a_closed_page_leaves_waits_longer_too(unheard: World) -> None:
    unheard.clock.advance(UNHEARD_PACE / SECOND)
    unheard.beat("new")
    unheard.leave("s1", mayReturn=True)
    count(unheard)  # at once, and once more when nobody can be back
    assert unheard.queue.delays == [UNHEARD_PACE // SECOND]


def _subscribe(world: World) -> None:
    world.subscribe("c1")


@pytest.mark.parametrize("begin", [_subscribe, partial(listen, connection="c1")])
def test_who_begins_to_hear_of_a_space_has_it_recounted_at_once(
    unheard: World, begin: Callable[[World], None]
) -> None:
    unheard.beat("new")
    count(unheard)
    unheard.queue.deferred.clear()  # that is due much later
    begin(unheard)
    unheard.run_deferred()
    unheard.publish(unheard.filtered("publish"))
    assert unheard.people() == LARGE + 1
    assert unheard.management.frames["c1"][-1]
    # Until ``count`` surely knows, it is recounted all the same.
    assert unheard.queue.delays[-3:] == [5, 10, 15]
    unheard.clock.advance(UNHEARD_PACE / SECOND)
    before = len(unheard.queue.delays)
    for number in range(2 * BURST):
        unheard.beat(f"newer{number}")
        count(unheard)
    assert all(delay <= PACE for delay in unheard.queue.delays[before:])
    assert not unheard.services("count").counts.shard(SITE, 0).unheard


def test_a_second_listener_has_nothing_recounted(unheard: World) -> None:
    subscriptions = unheard.services("cleanup").subscriptions
    for connection in ("badge", "c1"):
        subscriptions.add(topic_of(SITE), connection, now=unheard.clock())
    before = recounts(unheard)
    listen(unheard, "c2")
    assert unheard.management.frames["c2"]
    assert recounts(unheard) == before


def test_an_alert_does_not_wait_longer(unheard: World) -> None:
    rule = {"type": "milestone", "people": LARGE + 1}
    path = f"/v1/spaces/{SITE}/alerts/full"
    assert unheard.http("PUT", path, body=rule, token=unheard.admin).status == 200
    unheard.clock.advance(UNHEARD_PACE / SECOND)
    unheard.beat("s1", page="/b")
    unheard.settle()
    unheard.clock.advance(UNHEARD_PACE / SECOND)
    unheard.beat("new")
    count(unheard)
    assert not unheard.services("count").counts.shard(SITE, 0).unheard


def test_while_the_budget_of_pushes_is_spent_nobody_listens(unheard: World) -> None:
    listen(unheard, "c1")
    unheard.run_deferred()
    budget = unheard.services("deferred").pusher.budget
    for number in range(budget.burst + budget.overdraft):
        for one in range(crowding(LARGE)):
            unheard.beat(f"n{number}-{one}")
        count(unheard)
        unheard.clock.advance(1)
        unheard.settle()
    assert unheard.services("count").counts.shard(SITE, 0).unheard
