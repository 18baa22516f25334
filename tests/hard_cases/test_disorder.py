"""Messages that arrive twice, late, at once or with a wrong time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.paused import Paused

TODAY = "2026-11-21"


def pages(world: World) -> dict[str, int]:
    return {one["value"]: one["people"] for one in world.headcount()["facets"].get("page", [])}


# -------------------------------------------------------------- a beat delivered five times at once

Delivery = Iterator[Mapping[str, Any]]


def by_the_same_request() -> Delivery:
    """The gateway invoked the function again."""
    while True:
        yield {"seq": 5, "request": "the same"}


def by_requests_with_one_number() -> Delivery:
    """The client sent it again."""
    for number in count():
        yield {"seq": 5, "request": f"request-{number}"}


def by_requests_without_numbers() -> Delivery:
    """A client without sequence numbers sent it again: each one is a beat."""
    for number in count():
        yield {"request": f"request-{number}"}


deliveries = pytest.mark.parametrize(
    ("deliveries", "beats"),
    [(by_the_same_request, 1), (by_requests_with_one_number, 1), (by_requests_without_numbers, 5)],
)
writes = pytest.mark.parametrize("operation", ["UpdateItem", "PutItem"])


def deliver_five_times_at_once(
    world: World, operation: str, delivery: Delivery, **beat: Any
) -> None:
    """Each is about to write when the next one arrives, which finishes first."""

    delivered: list[object] = []

    def deliver() -> None:
        delivered.append(message := next(delivery))
        world.beat("s1", visitorId="v1", **beat, **message)

    presence = world.tables["presence"].name
    with world.engine.interrupted(operation, presence, deliver, times=4):
        deliver()
    while len(delivered) < 5:  # a delivery that finds it done writes nothing
        deliver()


@writes
@deliveries
def test_a_steady_beat_delivered_five_times_at_once(
    world: World, deliveries: Any, beats: int, operation: str
) -> None:
    world.subscribe("c1")
    world.beat("s1", visitorId="v1", page="/", seq=2)
    world.settle()
    world.clock.advance(30)
    deliver_five_times_at_once(world, operation, deliveries(), page="/")
    (row,) = world.presence_rows()
    assert row["beats"] == {TODAY: 1 + beats}
    assert row["expires_at"] == world.clock() + 60_000
    world.settle()
    assert world.versions("c1") == [0, 1]
    assert world.headcount()["views"]["total"] == 1


@writes
@deliveries
def test_a_join_delivered_five_times_at_once(
    world: World, deliveries: Any, beats: int, operation: str
) -> None:
    deliver_five_times_at_once(world, operation, deliveries(), page="/")
    (row,) = world.presence_rows()
    assert row["beats"] == {TODAY: beats}
    world.settle()
    body = world.headcount()
    assert (body["people"], body["sessions"], body["views"]["total"]) == (1, 1, 1)
    assert len(world.ledger()) == 1


@writes
@deliveries
def test_a_page_change_delivered_five_times_at_once(
    world: World, deliveries: Any, beats: int, operation: str
) -> None:
    world.subscribe("c1")
    world.beat("s1", visitorId="v1", page="/a", seq=2)
    world.settle()
    world.clock.advance(10)
    deliver_five_times_at_once(world, operation, deliveries(), page="/b")
    (row,) = world.presence_rows()
    assert row["beats"] == {TODAY: 1 + beats}
    assert len(world.filtered("count")) <= 1  # joined by steady ones where each is a beat
    world.settle()
    body = world.headcount()
    assert (body["people"], body["sessions"], body["views"]["total"]) == (1, 1, 1)


# ------------------------------------------------------------------------------ leaves out of order


def test_a_leave_older_than_a_rejoin_ends_no_session(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1", seq=1)
    world.settle()
    world.clock.advance(5)
    world.leave("s1", seq=2)
    world.settle()
    world.clock.advance(5)
    world.beat("s1", seq=4)
    world.settle()
    before = world.snapshot()
    world.clock.advance(5)
    world.leave("s1", seq=3)
    assert world.snapshot() == before
    world.settle()
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [0, 1, 0, 1]
    first, second = world.ledger()
    assert first["ended_at"] - first["joined_at"] == 5_000
    assert "ended_at" not in second


def test_a_leave_older_than_a_rejoin_that_races_it_ends_no_session(world: World) -> None:
    world.beat("s1", seq=1)
    world.leave("s1", seq=2)
    presence = world.tables["presence"].name
    with world.engine.interrupted(
        "GetItem", presence, lambda: world.beat("s1", seq=4)
    ) as raced:  # it rejoins while the late leave is on its way to the row
        world.leave("s1", seq=3)
    assert raced
    assert world.live_sessions() == ["s1"]


def test_a_beat_that_arrives_after_the_leave_revives_no_session(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1", seq=1)
    world.settle()
    world.clock.advance(5)
    world.leave("s1", seq=3)
    world.settle()
    before = world.snapshot()
    assert world.beat("s1", seq=2).body["success"]
    assert world.snapshot() == before
    world.settle()
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [0, 1, 0]
    (visit,) = world.ledger()
    assert visit["ended_at"] - visit["joined_at"] == 5_000


@pytest.mark.parametrize(("beat", "leave", "is_live"), [(2, 3, False), (3, 2, True)])
def test_of_a_beat_and_a_leave_at_once_the_later_number_decides(
    world: World, beat: int, leave: int, *, is_live: bool
) -> None:
    world.beat("s1", seq=1)
    world.clock.advance(10)
    presence = world.tables["presence"].name
    with world.engine.interrupted(
        "PutItem", presence, lambda: world.beat("s1", seq=beat)
    ) as raced:  # between the leave's read and its write
        world.leave("s1", seq=leave)
    assert raced
    assert world.live_sessions() == (["s1"] if is_live else [])


@contextmanager
def before_call(world: World, number: int, act: Callable[[], object]) -> Iterator[None]:
    """Run an action right before the n-th call to DynamoDB from now on."""
    calls: list[object] = []

    def note(**_: object) -> None:
        calls.append(None)
        if len(calls) == number + 1:
            act()

    events = world.engine.client.meta.events
    events.register("before-parameter-build.dynamodb", note, unique_id="before-call")
    try:
        yield
    finally:
        events.unregister("before-parameter-build.dynamodb", unique_id="before-call")
    if len(calls) <= number:
        act()  # there were fewer calls: run it right after


@pytest.mark.parametrize("number", range(14))
@pytest.mark.parametrize("shards", ["1", "3", "8"])
def test_a_join_and_the_leave_that_overtakes_it_leave_no_session(
    memory: Engine, worlds: Worlds, shards: str, number: int
) -> None:
    for session in ("s1", "s2", "s3"):
        world = worlds(memory, ShardsPerSpace=shards)
        with before_call(world, number, lambda: world.leave(session, seq=2)):  # noqa: B023
            world.beat(session, visitorId="v1", seq=1)
        assert world.live_sessions() == []
        world = worlds(memory, ShardsPerSpace=shards)
        with before_call(world, number, lambda: world.beat(session, visitorId="v1", seq=1)):  # noqa: B023
            world.leave(session, seq=2)
        assert world.live_sessions() == []
        world.beat(session, visitorId="v1", seq=3)
        assert world.live_sessions() == [session]


def test_without_numbers_a_beat_after_the_leave_is_a_visit_that_its_lease_ends(
    world: World,
) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(5)
    world.leave("s1")
    world.beat("s1")
    world.settle()
    assert world.people() == 1
    world.clock.advance(61)
    world.sweep()
    world.settle()
    assert world.people() == 0
    assert [visit["ended_by"] for visit in world.ledger()] == ["leave", "expiry"]


# ------------------------------------------------------------------------------------- page changes


def test_a_page_change_is_one_update_with_a_constant_total(world: World) -> None:
    world.subscribe("c1")
    for number in range(3):
        world.beat(f"s{number}", visitorId=f"v{number}", page="/a")
    world.settle()
    world.clock.advance(10)
    with world.engine.metered() as meter:
        world.beat("s1", visitorId="v1", page="/b")
    assert [one for one in meter.calls if not one.failed and one.operation != "GetItem"] == [
        meter.calls[-1]
    ]
    assert len(world.filtered("count")) == 1
    world.services("count").recounter.recount(SITE, 0)
    world.settle()
    frames = [frame["data"] for frame in world.management.frames["c1"]]
    assert [(data["people"], data["sessions"]) for data in frames] == [(0, 0), (3, 3), (3, 3)]
    assert frames[-1]["facets"]["page"] == [
        {"value": "/a", "count": 2, "people": 2},
        {"value": "/b", "count": 1, "people": 1},
    ]
    assert frames[-1]["views"]["total"] == 3


def test_walking_through_a_site_never_changes_the_total(world: World) -> None:
    world.subscribe("c1")
    for number in range(3):
        world.beat(f"s{number}", page="/0")
    world.settle()
    for step in range(1, 8):
        world.clock.advance(2)
        world.beat("s0", page=f"/{step}")
        world.settle()
    totals = [frame["data"]["people"] for frame in world.management.frames["c1"]]
    assert totals == [0] + [3] * 8
    assert pages(world) == {"/0": 2, "/7": 1}
    assert len(world.ledger()) == 3


# ------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("off", ["2026-11-20", "2026-11-22", "1970-01-01", "2099-12-31"])
def test_a_clients_clock_that_is_off_changes_nothing(world: World, off: str) -> None:
    claimed = f"{off}T12:00:00.000Z"
    headers = {"date": claimed}
    path = f"/v1/spaces/{SITE}/presence"
    body = {"sessionId": "native", "timestamp": claimed, "lastSeen": claimed, "joinedAt": claimed}
    row = {"session_id": "rest", "page_path": "/", "last_seen": claimed, "created_at": claimed}
    activity = {"userId": "u1", "sessionId": "s1", "activityType": "browsing", "timestamp": claimed}
    sent = [
        ("/rest/v1/heartbeats", row),
        (path, body),
        ("/api/analytics/live-activity", activity),
    ]
    for to, what in sent:
        answer = world.http("POST", to, body=what, headers=headers)
        if answer.status == 400:  # an unknown field: refused, not trusted
            assert off not in str(world.snapshot())
            known = {name: value for name, value in what.items() if value != claimed}
            answer = world.http("POST", to, body=known, headers=headers)
        assert answer.status in {200, 201}, answer
    for stored in world.presence_rows():
        assert stored["joined_at"] == stored["last_seen"] == world.clock()
        assert set(stored["beats"]) == {TODAY}
        assert 0 < stored["expires_at"] - world.clock() <= 600_000


def test_the_servers_clock_steps_back_a_second_between_two_beats(world: World) -> None:
    world.subscribe("c1")
    world.beat("s1", page="/")
    world.settle()
    world.clock.advance(-1)
    world.beat("s1", page="/")
    world.beat("s2", page="/")
    world.settle()
    world.clock.advance(-1)
    world.leave("s2")
    world.sweep()
    world.settle()
    frames = world.management.frames["c1"]
    assert [frame["data"]["people"] for frame in frames] == [0, 1, 2, 1]
    assert all(earlier <= later for earlier, later in pairwise(one["asOf"] for one in frames[1:]))
    assert world.live_sessions() == ["s1"]


def test_a_visit_over_which_the_clock_steps_back_lasted_no_time_at_least(world: World) -> None:
    world.beat("s1", "link:1")
    world.settle()
    world.clock.advance(-1)
    world.leave("s1", "link:1")
    world.settle()
    assert world.headcount("link:1")["avgSeconds"] == 0
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (day,) = [row for row in world.tables["history"].rows() if row["at"].startswith("day#")]
    assert (day["views"], day["avg_seconds"]) == (1, 0)


def test_no_step_back_delays_a_recount_or_a_version_for_long(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(-86_400)
    world.clock.slept.clear()
    world.beat("s2")
    world.settle()
    assert world.people() == 2
    assert max(world.clock.slept) <= 5


# -------------------------------------------------------------------- a snapshot that races a leave


@pytest.mark.parametrize("action", ["subscribe", "snapshot"])
@pytest.mark.parametrize("reconnects", [False, True], ids=["at connect", "at reconnect"])
@pytest.mark.parametrize("step", range(11))
def test_a_snapshot_that_races_a_leave(
    memory_world: World, step: int, action: str, *, reconnects: bool
) -> None:
    world = memory_world
    world.beat("s1")
    world.beat("s2")
    world.settle()
    if reconnects:
        world.subscribe("dropped")
        world.clock.advance(600)
        world.management.set_gone("dropped")
        world.beat("s1")
        world.beat("s2")
        world.settle()
    world.connect("c1")
    if action == "snapshot":
        world.send("c1", {"action": "subscribe", "space": SITE})
    world.clock.advance(2)
    greeting = Paused(world, "c1", step, {"action": action, "space": SITE})
    world.leave("s1")
    world.settle()
    greeting.finish()
    world.disconnect("dropped")
    world.clock.advance(2)
    world.beat("s3")
    world.settle()
    versions = world.versions("c1")
    assert all(later - earlier in {0, 1} for earlier, later in pairwise(versions))
    frames = world.management.frames["c1"]
    assert frames[-1]["data"] == world.headcount()
    at_the_leave = [one["data"]["people"] for one in frames if one["version"] == versions[-1] - 1]
    assert set(at_the_leave) <= {1}
    assert frames[-1]["data"]["people"] == 2


# ------------------------------------------------------------------------------- signing in and out


@pytest.mark.parametrize("shards", ["1", "4"])
def test_signing_in_mid_session_is_the_same_visit_of_one_person(world: World, shards: str) -> None:
    world.redeploy(ShardsPerSpace=shards)
    world.subscribe("c1")
    for number in range(5):
        world.beat(f"s{number}", visitorId=f"v{number}", page="/")
    world.settle()
    for number in range(5):
        world.clock.advance(2)
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}", page="/")
        assert sorted(world.live_sessions()) == [f"s{one}" for one in range(5)]
        world.settle()
        body = world.headcount()
        assert (body["people"], body["sessions"]) == (5, 5)
        assert (body["signedIn"], body["anonymous"]) == (number + 1, 4 - number)
    # A move changes two shards: meanwhile a version may miss the session but never counts it twice.
    assert max(frame["data"]["people"] for frame in world.management.frames["c1"]) == 5
    assert (body["views"]["total"], body["peak"]["people"]) == (5, 5)
    world.clock.advance(10)
    for number in range(5):
        world.leave(f"s{number}")
    world.settle()
    assert [visit["user"] for visit in world.ledger()] == [f"u{number}" for number in range(5)]
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (day,) = [row for row in world.tables["history"].rows() if row["at"].startswith("day#")]
    assert (day["unique_people"], day["unique_users"], day["views"]) == (5, 5, 5)


@pytest.mark.parametrize("shards", ["1", "4"])
def test_signing_in_in_one_of_two_tabs_counts_once_as_soon_as_both_report_it(
    world: World, shards: str
) -> None:
    world.redeploy(ShardsPerSpace=shards)
    world.beat("t1", visitorId="v1")
    world.beat("t2", visitorId="v1")
    world.settle()
    world.clock.advance(2)
    world.beat("t1", visitorId="v1", userId="u1")
    world.settle()
    body = world.headcount()
    assert (body["people"], body["signedIn"], body["anonymous"]) == (
        2,
        1,
        1,
    )  # until it reports the sign-in
    world.clock.advance(28)
    world.beat("t2", visitorId="v1", userId="u1")
    world.settle()
    body = world.headcount()
    assert (body["people"], body["signedIn"], body["sessions"]) == (1, 1, 2)
    assert body["views"]["total"] == 2
