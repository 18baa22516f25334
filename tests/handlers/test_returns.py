"""A page that closes, and its tab that may be back on the next page of the site."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.model.headcount import BURST
from headcount.model.pushes import topic_of
from headcount.model.session import RETURN_GRACE, RETURN_WINDOW, Facts, Write
from headcount.store.presence import to_item
from headcount.times import SECOND
from headcount.usecases.count import Recounter

from lab.harness.world import SITE, World
from tests.unit.test_session import here

GRACE, WINDOW = RETURN_GRACE / SECOND, RETURN_WINDOW / SECOND
PAGES = {"visitorId": "v1", "changed": True}


def close_page(world: World, session: str = "s1", space: str = SITE, **fields: Any) -> None:
    world.leave(session, space, mayReturn=True, **fields)


def count(world: World) -> None:
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))


def rest(world: World) -> None:
    """Have everything counted, and the deferred recounts run after their delay."""
    count(world)
    world.clock.advance(max(world.queue.delays, default=0))
    world.queue.delays.clear()
    world.settle()


def arrive(world: World) -> None:
    world.beat("s1", seq=1, page="/a", **PAGES)
    world.settle()
    world.clock.advance(20)
    world.queue.delays.clear()


def test_who_does_not_come_back_is_gone_within_3_seconds_also_where_nothing_else_happens(
    world: World,
) -> None:
    arrive(world)
    left_at = world.clock()
    close_page(world, seq=2)
    world.clock.advance(0.3)
    count(world)
    assert world.people() == 1
    rest(world)
    assert world.people() == 0
    assert world.clock() - left_at < 3 * SECOND
    assert world.filtered("count") == []


def test_a_late_batch_waits_for_the_end_of_the_grace_and_defers_nothing(
    memory_world: World,
) -> None:
    world = memory_world
    arrive(world)
    close_page(world, seq=2)
    world.clock.advance(1.0)  # the batching window
    count(world)
    assert world.queue.delays == []
    assert world.people() == 0


@pytest.mark.parametrize("after", [0.1, 1.4])
def test_the_next_page_continues_the_visit_and_no_number_falls(world: World, after: float) -> None:
    arrive(world)
    world.subscribe("c1")
    world.settle()
    close_page(world, seq=2)
    count(world)
    world.clock.advance(after)
    world.beat("s1", seq=3, page="/b", **PAGES)
    rest(world)
    received = [frame["data"] for frame in world.management.frames["c1"]]
    assert {data["people"] for data in received} == {1}
    assert received[-1]["facets"]["page"] == [{"value": "/b", "count": 1, "people": 1}]
    assert world.headcount()["views"]["total"] == 1
    assert len(world.ledger()) == 1


def test_a_slow_next_page_continues_the_visit_after_a_dip(world: World) -> None:
    arrive(world)
    close_page(world, seq=2)
    rest(world)
    world.clock.advance(WINDOW - 3)
    world.sweep()
    world.settle()
    assert world.people() == 0
    world.beat("s1", seq=3, page="/b", **PAGES)
    world.settle()
    assert world.people() == 1
    assert world.headcount()["views"]["total"] == 1
    (visit,) = world.ledger()
    assert "ended_at" not in visit


@pytest.mark.parametrize("swept", [False, True])
def test_who_comes_back_later_begins_a_new_visit(world: World, swept: bool) -> None:
    arrive(world)
    left_at = world.clock()
    close_page(world, seq=2)
    world.settle()
    world.clock.advance(WINDOW)
    if swept:
        world.sweep()
        world.settle()
    world.beat("s1", seq=3, page="/a", **PAGES)
    world.settle()
    first, second = sorted(world.ledger(), key=lambda visit: visit["joined_at"])
    assert (first["ended_at"], first["ended_by"]) == (left_at, "leave")
    assert "ended_at" not in second
    assert world.headcount()["views"]["total"] == 2


def test_a_visit_ends_at_the_leave_by_the_next_sweep_which_repairs_nothing(world: World) -> None:
    arrive(world)
    left_at = world.clock()
    close_page(world, seq=2)
    world.settle()
    world.clock.advance(WINDOW - 1)
    assert world.sweep()["ended"] == 0
    world.clock.advance(60)
    report = world.sweep()
    assert (report["ended"], report["repaired"]) == (1, [])
    world.settle()
    (visit,) = world.ledger()
    assert (visit["ended_at"], visit["ended_by"]) == (left_at, "leave")
    assert world.headcount()["avgSeconds"] == 20


def test_leaving_and_returning_are_one_write_each(world: World) -> None:
    arrive(world)
    for page, seq in (("/a", 2), ("/b", 4)):  # reloaded, and another one
        with world.engine.metered() as meter:
            close_page(world, seq=seq)
        assert len(meter.writes) == 1
        world.clock.advance(0.2)
        with world.engine.metered() as meter:
            world.beat("s1", seq=seq + 1, page=page, **PAGES)
        assert len(meter.writes) == 1
        world.clock.advance(11)


def test_a_leave_for_good_has_no_grace(world: World) -> None:
    arrive(world)
    world.leave("s1", seq=2)
    count(world)
    assert world.people() == 0
    assert world.queue.delays == []


def test_a_leave_for_good_after_a_page_closed_ends_the_visit(world: World) -> None:
    arrive(world)
    left_at = world.clock()
    close_page(world, seq=2)
    world.clock.advance(1)
    world.leave("s1", seq=3)
    count(world)
    assert world.people() == 0
    world.settle()
    assert world.ledger()[0]["ended_at"] == left_at
    world.beat("s1", seq=4, **PAGES)
    world.settle()
    assert world.headcount()["views"]["total"] == 2


def test_a_beat_that_the_leave_overtook_brings_nobody_back(world: World) -> None:
    arrive(world)
    close_page(world, seq=3)
    world.beat("s1", seq=2, page="/b", **PAGES)
    close_page(world, seq=3)  # sent twice
    close_page(world, seq=5)
    world.beat("s1", seq=4, page="/b", **PAGES)
    rest(world)
    assert world.live_sessions() == []
    assert world.people() == 0


def test_others_are_counted_at_once_while_somebody_may_return(world: World) -> None:
    arrive(world)
    close_page(world, seq=2)
    world.beat("s2", seq=1, visitorId="v2")
    count(world)
    assert world.people() == 2
    rest(world)
    assert world.people() == 1


def crowd(world: World) -> Recounter:
    """200 sessions, of which somebody hears, counted just now, as often as they may be at once."""
    world.services("cleanup").subscriptions.add(topic_of(SITE), "badge", now=world.clock())
    for number in range(200):
        one = here(id=f"s{number}", write=Write.BEAT, facts=Facts(), joined_at=world.clock())
        world.tables["presence"].put(to_item(one))
    recounter = world.services("cleanup").recounter
    for _ in range(BURST):
        recounter.recount(SITE, 0)
    world.settle()
    return recounter


def test_a_recount_deferred_to_a_time_within_the_grace_is_followed_by_another(
    memory_world: World,
) -> None:
    world = memory_world
    crowd(world)
    world.beat("new", seq=1)
    count(world)
    assert world.queue.delays == [5]  # a large space's turn
    world.clock.advance(3.6)
    close_page(world, "s1", seq=10)
    count(world)
    world.clock.advance(1.4)
    world.queue.delays.pop(0)
    (later,) = world.queue.delays
    world.clock.advance(later - 1.4)
    world.settle()
    assert world.people() == 200


def test_a_large_space_keeps_its_pace_however_many_pages_close(memory_world: World) -> None:
    world = memory_world
    recounter = crowd(world)
    before = recounter.counts.shard(SITE, 0).version
    began = world.clock()
    for number in range(100):
        close_page(world, f"s{number}", seq=10)
        count(world)
        world.clock.advance(0.2)
    rounds = 2 + (world.clock() - began) / (5 * SECOND)
    assert len(world.queue.deferred) <= rounds
    rest(world)
    assert recounter.counts.shard(SITE, 0).version - before <= rounds
    assert world.people() == 100


def test_the_next_page_may_name_another_person(world: World) -> None:
    arrive(world)
    close_page(world, seq=2)
    world.beat("s1", seq=3, page="/b", userId="ada", **PAGES)
    world.settle()
    assert world.headcount()["signedIn"] == 1
    assert world.headcount()["views"]["total"] == 1


def test_a_page_of_another_release_that_knows_no_return_ends_no_visit(world: World) -> None:
    """Release 1.0.0 reads the row as that of a session whose lease is about to end."""
    arrive(world)
    close_page(world, seq=2)
    (row,) = world.presence_rows()
    assert (row["kind"], row["expires_at"]) == ("change", world.clock() + RETURN_GRACE)


# ------------------------------------------------------------------------------ the other systems


def send_course(world: World, method: str, seq: int, **query: str) -> None:
    named = {"sessionId": "s1", "tabId": "t1"}
    if method == "POST":
        body: dict[str, Any] | None = {**named, "seq": seq}
        answer = world.http("POST", "/api/courses/c/presence", body=body)
    else:
        query = {**named, "seq": str(seq), **query}
        answer = world.http("DELETE", "/api/courses/c/presence", query=query)
    assert answer.status == 200, answer


def send_link(world: World, method: str, seq: int, **fields: Any) -> None:
    action = "join" if method == "POST" else "leave"
    fields = {name: value == "true" for name, value in fields.items()}
    body = {"action": action, "sessionId": "s1", "tabId": "t1", "seq": seq, **fields}
    assert world.http("POST", "/api/send/realtime/c", body=body).status == 200


def send_activity(world: World, method: str, seq: int, **query: str) -> None:
    path = "/api/analytics/live-activity"
    if method == "POST":
        body = {"userId": "u1", "sessionId": "s1", "activityType": "browsing", "seq": seq}
        answer = world.http("POST", path, body=body)
    else:
        answer = world.http("DELETE", path, query={"id": "live_u1_s1", "seq": str(seq), **query})
    assert answer.status == 200, answer


SYSTEMS = {
    "course:c": send_course,
    "link:c": send_link,
    "activity:main": send_activity,
}


@pytest.mark.parametrize("space", SYSTEMS)
def test_the_hooks_next_page_continues_the_view(memory_world: World, space: str) -> None:
    world, send = memory_world, SYSTEMS[space]
    send(world, "POST", 1)
    world.settle()
    world.clock.advance(20)
    world.queue.delays.clear()
    send(world, "DELETE", 2, mayReturn="true")
    count(world)
    assert world.people(space) == 1
    world.clock.advance(1)
    send(world, "POST", 3)
    rest(world)
    assert (world.people(space), world.headcount(space)["views"]["total"]) == (1, 1)
    send(world, "DELETE", 4, mayReturn="true")
    rest(world)
    assert world.people(space) == 0
    send(world, "POST", 5)
    rest(world)
    assert (world.people(space), world.headcount(space)["views"]["total"]) == (1, 1)
    send(world, "DELETE", 6)
    count(world)
    assert world.people(space) == 0


@pytest.mark.parametrize("space", ["course:c", "activity:main"])
def test_may_return_is_true_or_false(memory_world: World, space: str) -> None:
    paths = {"course:c": "/api/courses/c/presence", "activity:main": "/api/analytics/live-activity"}
    query = {"sessionId": "s1", "id": "live_u1_s1", "mayReturn": "perhaps"}
    answer = memory_world.http("DELETE", paths[space], query=query)
    assert answer.status == 400
    assert "mayReturn" in answer.body["error"]
