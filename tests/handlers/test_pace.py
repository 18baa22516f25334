"""A large space's recounts are slow, and hold up nobody else's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from headcount.counting import PATIENCE, REMEMBERED, pace
from headcount.session import Facts, Write
from headcount.store.presence import to_item
from headcount.times import HOUR, SECOND

from tests.support.engines import Engine
from tests.support.template import template
from tests.support.world import SITE, World, world_on
from tests.unit.test_session import here

LARGE = 200
"""Sessions of a shard that is recounted as rarely as any."""
PACE = pace(LARGE) // SECOND
DUE = PACE - 1
"""Seconds from a test's start until the large space is due."""
FACETS_DUE = pace(LARGE, facets=True) // SECOND - 1
"""The same where nobody came or went."""
SMALL = "link:1"


@pytest.fixture
def world(memory: Engine) -> Any:
    """A space that is large, counted a moment ago."""
    with world_on(memory) as world:
        for number in range(LARGE):
            one = here(id=f"s{number}", write=Write.BEAT, facts=Facts())
            world.tables["presence"].put(to_item(replace(one, expires_at=world.clock() + HOUR)))
        world.services("cleanup").recounter.recount(SITE, 0)
        world.settle()
        world.clock.advance(1)
        yield world


def errands(world: World) -> list[dict[str, Any]]:
    return [json.loads(one["body"]) for one in world.queue.errands]


def count(world: World) -> None:
    world.count(world.filtered("count"))


def recounts(world: World) -> int:
    """How often the large space's shard was recounted."""
    return world.services("count").counts.shard(SITE, 0).version


def test_a_small_space_does_not_wait_for_a_large_one_in_its_batch(world: World) -> None:
    world.beat("new")
    world.beat("s1", SMALL)
    count(world)
    world.publish(world.filtered("publish"))
    assert world.people(SMALL) == 1
    assert world.people() == LARGE
    assert sum(world.clock.slept) == 0
    (errand,) = errands(world)
    assert world.queue.delays == [DUE]
    world.clock.advance(DUE)
    world.run_errands()
    world.settle()
    assert world.people() == LARGE + 1
    assert errand == {
        "do": "recount",
        "space": SITE,
        "shard": 0,
        "at": world.clock(),
        "stays": "",
    }


@pytest.mark.parametrize("behind", [0.0, DUE - 1.5, DUE - 0.1, DUE, DUE + 0.7, DUE + 2])
def test_a_batch_never_waits_longer_than_a_second_in_all(world: World, behind: float) -> None:
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
    assert world.clock() - began <= PATIENCE
    later = [
        (errand["space"], delay)
        for errand, delay in zip(errands(world), world.queue.delays, strict=True)
    ]
    due = DUE - 0.6 - behind
    assert later == ([(SITE, -int(-due // 1))] if due > 1 else [])


def test_what_is_due_within_a_second_is_recounted_there_and_then(world: World) -> None:
    world.clock.advance(DUE - 0.8)
    world.beat("new")
    count(world)
    assert sum(world.clock.slept) == pytest.approx(0.8)
    assert errands(world) == []
    world.publish(world.filtered("publish"))
    assert world.people() == LARGE + 1


def test_where_nobody_came_or_went_a_large_space_waits_longer(world: World) -> None:
    world.beat("s1", page="/b")
    count(world)
    assert world.queue.delays == [FACETS_DUE]
    world.clock.advance(FACETS_DUE)
    world.run_errands()
    world.settle()
    page = {one["value"]: one["count"] for one in world.headcount()["facets"]["page"]}
    assert page == {"/b": 1}


@pytest.mark.parametrize("leaves", [False, True])
def test_whoever_comes_or_goes_does_not_wait_as_long_as_facets(
    world: World, *, leaves: bool
) -> None:
    world.beat("s1", page="/b")
    count(world)
    _ = world.leave("s2") if leaves else world.beat("new")
    count(world)
    assert world.queue.delays == [FACETS_DUE, DUE]


def test_facets_wait_for_the_recount_that_people_wait_for(world: World) -> None:
    world.beat("new")
    count(world)
    world.beat("s1", page="/b")
    count(world)
    assert world.queue.delays == [DUE]


def test_people_wait_for_the_recount_of_facets_that_comes_in_time(world: World) -> None:
    world.beat("s1", page="/b")
    count(world)
    world.beat("new")
    count(world)
    world.clock.advance(DUE)
    first, second = world.queue.errands  # of facets, and of people
    world.invoke("errands", {"Records": [second]})
    world.beat("newer")
    count(world)
    world.beat("newest")
    count(world)
    assert world.queue.errands == [first, second]  # due when that of facets is
    world.clock.advance(PACE)
    world.invoke("errands", {"Records": [first]})
    world.publish(world.filtered("publish"))
    assert world.people() == LARGE + 3


def test_an_errand_that_comes_twice_recounts_once(world: World) -> None:
    world.beat("new")
    count(world)
    (event,) = world.queue.errands
    world.clock.advance(DUE + 1.1)
    before = recounts(world)
    for _ in range(2):
        world.invoke("errands", {"Records": [event]})
        world.clock.advance(1)
    assert recounts(world) == before + 1


def test_of_all_batches_until_a_large_space_is_due_one_recounts_it(world: World) -> None:
    before = recounts(world)
    for number in range(3):
        world.beat(f"new{number}")
        count(world)
        world.clock.advance(1)
    assert world.queue.delays == [DUE]
    world.clock.advance(DUE - 3)
    world.run_errands()
    assert recounts(world) == before + 1
    world.settle()
    assert world.people() == LARGE + 3


def test_a_batch_from_when_an_errand_may_have_been_run_leaves_another(world: World) -> None:
    world.beat("new")
    count(world)
    world.clock.advance(DUE)
    world.services("cleanup").recounter.recount(SITE, 0)
    world.beat("newer")
    count(world)
    assert world.queue.delays == [DUE, PACE]


def test_another_process_leaves_an_errand_of_its_own(world: World) -> None:
    world.beat("new")
    count(world)
    world.services("count").counter.left.clear()
    world.beat("newer")
    count(world)
    assert world.queue.delays == [DUE, DUE]


def test_a_batch_behind_an_errand_costs_no_unit(world: World) -> None:
    world.beat("new")
    count(world)
    world.beat("s1", page="/b")
    records = world.filtered("count")
    with world.engine.metered() as meter:
        world.count(records)
    assert meter.calls == []
    assert len(errands(world)) == 1


def test_a_visit_that_ends_behind_an_errand_is_told_by_its_row(world: World) -> None:
    world.beat("new")
    count(world)
    world.leave("s5")
    count(world)
    assert [one["stays"] for one in errands(world)] == [""]
    world.clock.advance(DUE)
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is not None


@pytest.mark.parametrize("batches", [1, 2])
def test_a_session_that_comes_back_behind_an_errand_has_its_visit_told(
    world: World, batches: int
) -> None:
    world.beat("new")
    count(world)
    world.leave("s5")
    if batches == 2:
        count(world)
    world.beat("s5")
    count(world)
    assert [one["stays"] != "" for one in errands(world)] == [False, True]
    before = recounts(world)
    world.clock.advance(DUE)
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert recounts(world) == before + 2  # the first could not know
    assert world.headcount()["avgSeconds"] is not None


def test_a_session_that_comes_back_when_the_errand_was_run_has_its_visit_told(world: World) -> None:
    world.beat("new")
    count(world)
    world.leave("s5")
    count(world)
    world.beat("s5")
    world.clock.advance(DUE)
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is None
    count(world)
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is not None


def test_a_visit_that_began_and_ended_behind_an_errand_is_told_by_its_row(world: World) -> None:
    world.beat("new")
    count(world)
    world.beat("brief")
    world.leave("brief")
    count(world)
    assert len(errands(world)) == 1


def test_visits_that_ended_long_ago_are_not_kept_in_mind(world: World) -> None:
    world.leave("s5")
    count(world)
    counter = world.services("count").counter
    assert len(counter.ended) == 1
    world.clock.advance(REMEMBERED / SECOND + 1)
    world.beat("new")
    count(world)
    assert counter.ended == {}


def test_a_batch_whose_errand_can_not_be_left_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.beat("new")
    batch = world.filtered("count")
    with monkeypatch.context() as patched:
        patched.setattr(world.queue, "send_message", _refuse)
        with pytest.raises(ConnectionError):
            world.count(batch)
    world.count(batch)
    assert len(errands(world)) == 1


def test_an_errand_whose_shard_was_recounted_since_is_skipped(world: World) -> None:
    world.beat("new")
    count(world)
    world.clock.advance(DUE + 1.001)
    world.services("cleanup").recounter.recount(SITE, 0)
    before = recounts(world)
    world.run_errands()
    assert recounts(world) == before


@pytest.mark.parametrize("seconds", [-0.5, 0, 1])
def test_a_recount_that_may_have_begun_before_the_errand_does_not_stand_in_for_it(
    world: World, seconds: float
) -> None:
    world.beat("new")
    count(world)
    world.clock.advance(DUE + seconds)  # another server's clock may be a second off
    world.services("cleanup").recounter.recount(SITE, 0)
    before = recounts(world)
    world.clock.advance(1 - seconds)
    world.run_errands()
    assert recounts(world) == before + 1


def test_a_visit_that_ended_before_its_session_came_back_is_kept_until_then(world: World) -> None:
    assert world.headcount()["avgSeconds"] is None
    world.leave("s5")
    count(world)
    world.beat("s5")  # its row says nothing any more of the visit that ended
    world.clock.advance(1.5)
    world.services("cleanup").recounter.recount(SITE, 0)
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is None
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert world.headcount()["avgSeconds"] is not None


def test_a_clock_that_stepped_back_does_not_stop_the_recounts(world: World) -> None:
    world.clock.advance(-3600)
    world.beat("new")
    count(world)
    assert world.queue.delays == [PACE]
    world.run_errands()
    world.settle()
    assert world.people() == LARGE + 1


def test_a_lost_errand_is_made_up_for_by_the_cleanup(world: World) -> None:
    world.beat("new")
    count(world)
    assert world.queue.take_errand() is not None  # lost
    world.clock.advance(40)
    (drift,) = world.sweep()["repaired"]
    assert (drift["space"], drift["sessions"]) == (SITE, LARGE + 1)
    world.settle()
    assert world.people() == LARGE + 1


def _refuse(**_: Any) -> None:
    raise ConnectionError("no queue")


def test_count_may_leave_errands_and_nothing_else_in_a_queue() -> None:
    allowed = {
        resource
        for statement in template().resolve(list(template().statements("CountRole")))
        if "sqs:SendMessage" in statement["Action"]
        for resource in statement["Resource"]
    }
    assert allowed == {"ErrandQueue.Arn", "DeadLetters.Arn"}
    assert template().environment("count")["ERRAND_QUEUE"] == "ErrandQueue"


def test_a_full_batch_fits_the_payload() -> None:
    (source,) = template().events("count", "DynamoDB")
    assert source["BatchSize"] * 2_000 < 6 * 1024 * 1024
