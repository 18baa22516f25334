"""What is told to others: which events, how often, and under which numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.emitting import NothingToldError
from headcount.store.numbers import AT_ONCE
from headcount.times import iso

from tests.conftest import Worlds
from tests.support.engines import Engine
from tests.support.fakes import aws_error
from tests.support.moderation import act
from tests.support.telling import EVENTS, checked, once, told, types
from tests.support.world import SITE, World

MILESTONE = {"type": "milestone", "people": 2}
SPIKE = {"type": "spike", "factor": 2, "minutes": 5, "atLeast": 2}


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    """A deployment that tells its events."""
    return worlds(memory, **EVENTS)


def records(world: World) -> list[dict[str, Any]]:
    """What the streams have for the events function, everything counted and published."""
    world.settle()
    return world.changes()


def emit(world: World, batch: list[dict[str, Any]]) -> list[str]:
    """Have it handle a batch: the sequence numbers that must come again."""
    answer = world.invoke("events", {"Records": batch})
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def numbers(batch: list[dict[str, Any]]) -> list[str]:
    return [record["dynamodb"]["SequenceNumber"] for record in batch]


# ------------------------------------------------------------------------------------------- visits


def test_a_join_is_told_with_ids_and_nothing_else_of_anybody(world: World) -> None:
    world.beat(
        "s1",
        visitorId="v1",
        userId="u1",
        name="Uma Thal",
        avatar="https://example.test/uma.png",
        page="/secret",
        facets={"plan": "paid"},
    )
    (event,) = told(world)
    (row,) = world.ledger()
    assert event == {
        "schema": 1,
        "id": event["id"],
        "type": "joined",
        "stack": "headcount",
        "space": SITE,
        "seq": 1,
        "at": iso(world.clock()),
        "visit": {
            "id": row["id"],
            "joinedAt": iso(world.clock()),
            "userId": "u1",
            "visitorId": "v1",
        },
    }


def test_the_bus_is_given_source_type_and_time(world: World) -> None:
    world.beat("s1")
    told(world)
    (entry,) = world.bus.entries
    assert (entry["Source"], entry["DetailType"]) == ("headcount", "Visit Joined")
    assert entry["EventBusName"] == "default"
    assert round(entry["Time"].timestamp() * 1000) == world.clock()


def test_a_leave_is_told(world: World) -> None:
    world.beat("s1")
    world.clock.advance(42)
    world.leave("s1")
    joined, left = told(world)
    assert left["visit"] == {
        **joined["visit"],
        "leftAt": iso(world.clock()),
        "endedBy": "leave",
        "seconds": 42,
    }
    assert (left["seq"], left["at"]) == (2, left["visit"]["leftAt"])


def test_an_expiry_is_told_as_of_the_leases_end(world: World) -> None:
    world.beat("s1")
    end = world.clock() + 60_000
    told(world)
    world.clock.advance(100)
    world.sweep()
    _, left = told(world)
    assert (left["at"], left["visit"]["endedBy"], left["visit"]["seconds"]) == (
        iso(end),
        "expiry",
        60,
    )


def test_what_is_no_join_and_no_leave_is_not_told(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.clock.advance(1)
    world.beat("s1", visitorId="v1", page="/b")
    world.beat("s1", visitorId="v1", userId="u1")
    world.clock.advance(58)
    world.beat("s1", visitorId="v1", userId="u1")
    world.leave("unknown", seq=4)
    world.clock.advance(70)
    world.beat("s1", visitorId="v1", userId="u1")  # late, and before the cleanup
    assert types(told(world)) == ["joined"]


def test_every_stay_is_one_join_and_one_leave(world: World) -> None:
    for _ in range(3):
        world.beat("s1")
        world.leave("s1")
        world.leave("s1")
    events = told(world)
    assert types(events) == ["joined", "left"] * 3
    visits = [event["visit"]["id"] for event in events]
    assert visits[::2] == visits[1::2]
    assert len(set(visits)) == 3


def test_a_stay_over_midnight_is_told_once(world: World) -> None:
    world.clock.set("2026-11-21T23:59:50Z")
    world.beat("s1")
    world.clock.advance(20)
    world.beat("s1")
    world.leave("s1")
    assert types(told(world)) == ["joined", "left"]
    assert (len(world.ledger()), len(world.bus.entries)) == (2, 2)


def test_a_session_that_moves_to_another_shard_has_not_left(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="5", **EVENTS)
    for user in range(6):
        world.clock.advance(1)
        world.beat("s1", userId=f"u{user}")
        told(world)
    assert len({row["partition"] for row in world.presence_rows()}) > 1
    world.leave("s1")
    joined, left = told(world)
    assert (joined["visit"]["userId"], left["visit"]["userId"]) == ("u0", "u5")


def test_what_count_lost_is_told_when_the_cleanup_finds_it(world: World) -> None:
    world.beat("s1")
    world.leave("s1")
    world.filtered("count")  # lost
    world.clock.advance(400)
    world.sweep()
    joined, left = told(world)
    assert (joined["type"], left["type"]) == ("joined", "left")
    assert joined["at"] == left["at"] < iso(world.clock())


def test_an_erasure_tells_a_leave_and_nothing_of_what_it_rewrites(world: World) -> None:
    for session in ("s1", "s2"):
        world.beat(session, userId="u1")
    world.leave("s2")
    before = told(world)
    world.http("POST", "/v1/erasures", body={"userId": "u1"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
        after = told(world)
    (left,) = after[len(before) :]
    assert left["type"] == "left"
    assert "u1" not in json.dumps(left)


# ------------------------------------------------------------------------------- alerts and days


def test_alerts_are_told_with_the_version_that_set_them_off(world: World) -> None:
    act(world, "PUT", "alerts/two", MILESTONE)
    act(world, "PUT", "alerts/twice", SPIKE)
    world.settle()
    world.beat("s1")
    told(world)
    world.clock.advance(400)
    for session in ("s1", "s2", "s3"):
        world.beat(session)
    world.settle()
    alerts = [one for one in told(world) if "alert" in one]
    head = world.headcount()
    assert {one["type"]: one["alert"] for one in alerts} == {
        "milestone": {"name": "two", "people": 3, "threshold": 2},
        "spike": {
            "name": "twice",
            "people": 3,
            "before": 1,
            "factor": 2,
            "minutes": 5,
            "atLeast": 2,
        },
    }
    assert {(one["version"], one["at"]) for one in alerts} == {(head["version"], head["asOf"])}


def test_a_message_to_everyone_is_nobody_elses(world: World) -> None:
    act(world, "POST", "messages", {"text": "hello", "seconds": 60})
    assert told(world) == []


def test_an_alert_is_told_once_though_its_version_is_written_to_again(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, InlineFanout="0", **EVENTS)
    act(world, "PUT", "alerts/two", {"type": "milestone", "people": 1})
    world.settle()
    world.subscribe("c1")
    world.beat("s1")  # the version leaves in chunks, and is marked so
    assert sorted(types(told(world))) == ["joined", "milestone"]
    assert len(world.bus.entries) > len(once(world.bus.events))


def test_a_day_is_told_and_again_only_if_it_comes_out_otherwise(world: World) -> None:
    world.beat("s1", userId="u1")
    world.leave("s1")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    world.daily()
    (day,) = [one for one in told(world) if one["type"] == "day"]
    assert (day["day"]["date"], day["day"]["uniquePeople"]) == ("2026-11-21", 1)
    assert day["at"] == "2026-11-22T00:00:00.000Z"
    world.clock.set("2026-11-21T23:00:00Z")
    world.beat("s2")
    world.leave("s2")
    world.settle()
    world.clock.set("2026-11-22T02:00:00Z")
    world.daily()
    first, second = [one for one in told(world) if one["type"] == "day"]
    assert (first["day"]["uniquePeople"], second["day"]["uniquePeople"]) == (1, 2)


def test_revenue_is_not_told(world: World) -> None:
    world.beat("s1", "stream:st1")
    for body in ({"type": "chat"}, {"type": "revenue", "amount": 5}):
        world.http("POST", "/api/v1/analytics/streams/st1/events", body=body, token=world.admin)
    world.leave("s1", "stream:st1")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (day,) = [one for one in told(world, "stream:st1") if one["type"] == "day"]
    assert day["day"]["engagement"] == {"chat": 1}
    stored = world.tables["history"].rows()
    assert any("$" in name for row in stored for name in row.get("engagement", {}))


def test_each_space_has_numbers_of_its_own_and_all_its_events_share_them(world: World) -> None:
    act(world, "PUT", "alerts/two", MILESTONE)
    world.settle()
    for session in ("s1", "s2"):
        world.beat(session)
        world.beat(session, "course:c1")
        told(world)
    world.leave("s1")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    assert sorted(types(told(world))) == ["day", "joined", "joined", "left", "milestone"]
    assert types(told(world, "course:c1"))[:2] == ["joined", "joined"]


def test_the_largest_event_leaves_room_for_ten_in_a_call(world: World) -> None:
    long = "ü" * 64
    world.beat("s1", f"course:{'c' * 128}", userId=long, visitorId=long)
    world.leave("s1", f"course:{'c' * 128}")
    told(world)
    for entry in world.bus.entries:
        assert len(json.dumps(entry, default=str).encode()) < 256 * 1024 / 10


# ------------------------------------------------------------------------ repeats, losses, crashes


def test_a_batch_that_comes_again_is_told_under_the_same_numbers(world: World) -> None:
    world.beat("s1")
    old = records(world)
    emit(world, old)
    for number in range(AT_ONCE * 2):
        world.beat(f"t{number}")
    emit(world, records(world))
    emit(world, old)
    assert world.bus.events[0] == world.bus.events[-1]
    assert len(once(world.bus.events)) == AT_ONCE * 2 + 1


def test_a_crash_between_numbering_and_telling_leaves_no_gap(world: World) -> None:
    world.beat("s1")
    batch = records(world)
    world.bus.error = KeyboardInterrupt()  # nothing catches it, as nothing catches an end
    with pytest.raises(KeyboardInterrupt):
        emit(world, batch)
    world.bus.error = None
    world.beat("s2")
    emit(world, batch + records(world))
    assert [event["seq"] for event in world.bus.events] == [1, 2]


def test_only_entries_that_were_not_taken_are_put_again(world: World) -> None:
    for number in range(12):
        world.beat(f"s{number}")
    world.bus.refuse("", "ThrottlingException", *[""] * 7, "InternalFailure")
    assert emit(world, records(world)) == []
    assert world.bus.calls == [10, 2, 2]
    assert len(world.bus.entries) == 12
    assert len(once(world.bus.events)) == 12
    assert world.clock.slept


def test_what_the_bus_goes_on_refusing_comes_again_and_the_rest_does_not_wait(
    world: World,
) -> None:
    world.beat("s1")
    world.beat("s2", "course:c1")
    batch = records(world)
    world.bus.refuse("", *["ThrottlingException"] * 4)
    failed = emit(world, batch)
    assert len(failed) == 1
    assert failed[0] in numbers(batch)
    emit(world, [one for one in batch if numbers([one]) == failed])
    assert len(world.bus.entries) == 2
    assert [event["seq"] for event in world.bus.events] == [1, 1]


def test_a_call_that_fails_is_made_again(world: World) -> None:
    world.beat("s1")
    batch = records(world)
    world.bus.error = aws_error("InternalException", 500, "PutEvents")
    with pytest.raises(NothingToldError):
        emit(world, batch)
    assert world.bus.calls == [1] * 4
    world.bus.error = None
    assert emit(world, batch) == []
    assert [event["seq"] for event in world.bus.events] == [1]


@pytest.mark.parametrize("code", ["MalformedDetail", "InvalidArgument"])
def test_what_the_bus_refuses_for_good_holds_up_nobody(
    world: World, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.beat("s1")
    world.beat("s2")
    world.bus.refuse(code)
    assert emit(world, records(world)) == []
    assert [event["seq"] for event in world.bus.events] == [2]
    assert world.bus.calls == [2]
    assert "an event was refused" in caplog.text


def test_a_space_whose_numbers_fail_comes_again_and_the_others_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.beat("s1")
    world.beat("s2", "course:c1")
    batch = records(world)
    table = world.services("events").numbers
    number = type(table).number

    def fail(self: Any, space: str, *args: Any, **more: Any) -> Any:
        if space == SITE:
            raise aws_error("ThrottlingException")
        return number(self, space, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(type(table), "number", fail)
        failed = emit(world, batch)
    assert [event["space"] for event in world.bus.events] == ["course:c1"]
    emit(world, [one for one in batch if one["dynamodb"]["SequenceNumber"] in failed])
    assert sorted(event["space"] for event in world.bus.events) == ["course:c1", SITE]


def test_a_record_that_no_release_wrote_tells_nothing_and_holds_up_nobody(world: World) -> None:
    world.beat("s1")
    (record,) = records(world)
    broken = json.loads(json.dumps(record))
    broken["dynamodb"]["NewImage"]["joined_at"] = {"S": "yesterday"}
    assert emit(world, [broken, record]) == []
    assert types(map(checked, world.bus.events)) == ["joined"]


def test_two_at_once_give_no_number_twice(world: World) -> None:
    world.beat("s1")
    first = records(world)
    world.beat("s2")
    second = records(world)
    table = world.tables["streams"].name
    with world.engine.interrupted("UpdateItem", table, lambda: emit(world, second)) as done:
        emit(world, first)
    assert done
    assert len(once(world.bus.events)) == 2


# ------------------------------------------------------------------------------------------ nothing


def test_without_a_bus_nothing_is_there_to_tell(memory_world: World) -> None:
    for role in ("visits", "headcounts", "history"):
        described = memory_world.engine.client.describe_table(
            TableName=memory_world.tables[role].name
        )
        assert "LatestStreamArn" not in described["Table"]
