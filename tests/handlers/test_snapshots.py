"""A snapshot and the events after it show who is here, despite faults."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from headcount.times import iso
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.harness.consumer import EVENTS, Follower, by_number, sent_events
from lab.harness.engines import Engine
from lab.harness.world import SITE, World, world_on
from tests.conftest import Worlds


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    """A deployment that publishes events."""
    return worlds(memory, **EVENTS)


def snapshot(
    world: World, between: Callable[[], object] = lambda: None, **query: str
) -> tuple[int, list[dict[str, Any]]]:
    """The first page's number, and the visits of all pages; ``between`` happens between pages."""
    answer = world.get(f"/v1/spaces/{SITE}/snapshot", token=world.admin, **query).body
    seq, visits = answer["eventSeq"], answer["visits"]
    while answer["cursor"]:
        between()
        more = {**query, "cursor": answer["cursor"]}
        answer = world.get(f"/v1/spaces/{SITE}/snapshot", token=world.admin, **more).body
        visits += answer["visits"]
    return seq, visits


def follower(world: World, **how: Any) -> Follower:
    """A follower with a snapshot of this moment."""
    seq, visits = snapshot(world, **how)
    return Follower(seq, [visit["id"] for visit in visits])


def running(world: World) -> set[str]:
    """The visits that have not ended, by their rows."""
    return {row["visit"] for row in world.presence_rows() if row["kind"] not in {"leave", "gone"}}


def test_a_snapshot_holds_the_visits_that_have_not_ended(world: World) -> None:
    world.beat("s1", visitorId="v1", userId="u1", name="Uma")
    world.beat("s2")
    world.leave("s2")
    sent_events(world)
    answer = world.get(f"/v1/spaces/{SITE}/snapshot", token=world.admin)
    assert answer.status == 200
    (visit,) = answer.body.pop("visits")
    assert answer.body == {
        "success": True,
        "space": SITE,
        "eventSeq": 3,
        "asOf": iso(world.clock()),
        "cursor": None,
    }
    (joined, *_) = sent_events(world)
    assert visit == joined["visit"]


def test_without_a_bus_there_is_nothing_to_follow(memory_world: World) -> None:
    answer = memory_world.get(f"/v1/spaces/{SITE}/snapshot", token=memory_world.admin)
    assert answer.status == 409
    assert "EventBus" in answer.body["error"]


def test_who_is_here_is_not_everybodys_business(world: World) -> None:
    for token, status in (
        (None, 401),
        (world.token(headcount_scopes=[f"read:{SITE}"]), 403),
        (world.token(headcount_scopes=[f"people:{SITE}"]), 200),
    ):
        assert world.get(f"/v1/spaces/{SITE}/snapshot", token=token).status == status


def test_a_lease_that_ran_out_has_ended_nothing_yet(world: World) -> None:
    """A beat before the cleanup continues the visit, and sends no join event."""
    world.beat("s1")
    sent_events(world)
    world.clock.advance(70)
    here = follower(world)
    world.beat("s1")
    assert here.here == running(world) != set()
    assert len(sent_events(world)) == 1


def test_a_session_that_moves_to_a_page_already_read_is_not_missed(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, ShardsPerSpace="3", **EVENTS)
    for number in range(12):
        world.beat(f"s{number}", visitorId=f"v{number}")
    sent_events(world)
    users = iter(range(1_000))

    def sign_in() -> None:
        """Everyone becomes another person, in any shard."""
        world.clock.advance(1)
        for number in range(12):
            world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{next(users)}")

    seq, visits = snapshot(world, between=sign_in, limit="1")
    assert seq == 12
    assert {visit["id"] for visit in visits} == running(world)


def test_a_session_in_an_uncounted_shard_is_not_missed(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="7", **EVENTS)
    for number in range(5):
        world.beat(f"s{number}", visitorId=f"v{number}")
    assert follower(world).here == running(world)


def test_a_join_during_a_snapshot_is_in_it_or_after_it(memory: Engine, worlds: Worlds) -> None:
    for operation, role in (("GetItem", "streams"), ("Query", "presence")):
        world = worlds(memory, **EVENTS)
        world.beat("s1")
        sent_events(world)

        def come_and_go(world: World = world) -> None:
            world.beat("s2")
            world.leave("s1")
            sent_events(world)

        with memory.interrupted(operation, world.tables[role].name, come_and_go) as done:
            here = follower(world)
        assert done
        for event in sent_events(world):
            here.take(event)
        assert here.here == running(world)


def test_events_in_any_order_and_repeated_give_the_same_result(world: World) -> None:
    here = follower(world)
    for number in range(6):
        world.beat(f"s{number}")
        if number % 2:
            world.leave(f"s{number}")
    events = [*sent_events(world), *world.bus.events]
    Random(7).shuffle(events)  # noqa: S311 - a script, not a secret
    for event in events:
        here.take(event)
    assert here.here == running(world)
    assert not here.misses


def test_a_loss_is_noticed_and_fixed_by_a_snapshot(world: World) -> None:
    here = follower(world)
    for number in range(3):
        world.beat(f"s{number}")
    first, lost, last = sent_events(world)
    here.take(first)
    here.take(last)
    assert here.misses
    assert lost["visit"]["id"] not in here.here
    again = follower(world)
    assert again.here == running(world)
    assert not again.misses


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["beat", "beat", "leave", "sign in", "wait", "sweep", "emit", "again", "snapshot"]
        ),
        st.integers(0, 4),
    ),
    max_size=40,
)


@given(steps=steps, order=st.randoms(use_true_random=False))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_a_snapshot_at_any_moment_and_the_events_after_it_are_correct(
    memory: Engine, steps: list[tuple[str, int]], order: Random
) -> None:
    with world_on(memory, ShardsPerSpace="2", **EVENTS) as world:
        followers = [follower(world)]
        handled: list[dict[str, Any]] = []
        for step, number in steps:
            session = f"s{number}"
            match step:
                case "beat":
                    world.beat(session)
                case "sign in":
                    world.beat(session, userId=f"u{order.randint(0, 9)}")
                case "leave":
                    world.leave(session)
                case "wait":
                    world.clock.advance(30)
                case "sweep":
                    world.sweep()
                case "emit":
                    world.settle()
                    batch = world.changes()
                    handled += batch
                    world.invoke("events", {"Records": batch})
                case "again" if handled:
                    at = order.randrange(len(handled))
                    world.invoke("events", {"Records": handled[at : at + 3]})
                case "snapshot":
                    followers.append(follower(world, limit="2"))
        world.settle()
        world.emit()
        events = by_number(world.bus.events) + world.bus.events
        order.shuffle(events)
        for one in followers:
            for event in events:
                one.take(event)
            assert not one.misses
            assert one.here == running(world)
