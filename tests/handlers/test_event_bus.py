"""Events for other systems: which ones, how often, and with which numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.store.numbers import BATCH_SIZE
from headcount.times import iso
from headcount.usecases.events import NothingEmittedError

from lab.harness.consumer import EVENTS, by_number, sent_events, types, validated
from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act

MILESTONE = {"type": "milestone", "people": 2}
SPIKE = {"type": "spike", "factor": 2, "minutes": 5, "atLeast": 2}


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    """A deployment that publishes events."""
    return worlds(memory, **EVENTS)


def records(world: World) -> list[dict[str, Any]]:
    """The stream records for the events function, after counting and publishing."""
    world.settle()
    return world.changes()


def emit(world: World, batch: list[dict[str, Any]]) -> list[str]:
    """Let it handle a batch; returns the sequence numbers to redeliver."""
    answer = world.invoke("events", {"Records": batch})
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def numbers(batch: list[dict[str, Any]]) -> list[str]:
    return [record["dynamodb"]["SequenceNumber"] for record in batch]


# ------------------------------------------------------------------------------------------- visits


def test_a_join_event_has_ids_and_no_other_personal_data(world: World) -> None:
    world.beat(
        "s1",
        visitorId="v1",
        userId="u1",
        name="Uma Thal",
        avatar="https://example.test/uma.png",
        page="/secret",
        facets={"plan": "paid"},
    )
    (event,) = sent_events(world)
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
            "verified": False,
            "visitorId": "v1",
        },
    }


def test_the_bus_is_given_source_type_and_time(world: World) -> None:
    world.beat("s1")
    sent_events(world)
    (entry,) = world.bus.entries
    assert (entry["Source"], entry["DetailType"]) == ("headcount", "Visit Joined")
    assert entry["EventBusName"] == "default"
    assert round(entry["Time"].timestamp() * 1000) == world.clock()


def test_a_leave_is_sent(world: World) -> None:
    world.beat("s1")
    world.clock.advance(42)
    world.leave("s1")
    joined, left = sent_events(world)
    assert left["visit"] == {
        **joined["visit"],
        "leftAt": iso(world.clock()),
        "endedBy": "leave",
        "seconds": 42,
    }
    assert (left["seq"], left["at"]) == (2, left["visit"]["leftAt"])


def test_an_expiry_is_sent_with_the_leases_end(world: World) -> None:
    world.beat("s1")
    end = world.clock() + 60_000
    sent_events(world)
    world.clock.advance(100)
    world.sweep()
    _, left = sent_events(world)
    assert (left["at"], left["visit"]["endedBy"], left["visit"]["seconds"]) == (
        iso(end),
        "expiry",
        60,
    )


def test_other_changes_than_joins_and_leaves_are_not_sent(world: World) -> None:
    world.beat("s1", visitorId="v1")
    world.clock.advance(1)
    world.beat("s1", visitorId="v1", page="/b")
    world.beat("s1", visitorId="v1", userId="u1")
    world.clock.advance(58)
    world.beat("s1", visitorId="v1", userId="u1")
    world.leave("unknown", seq=4)
    world.clock.advance(70)
    world.beat("s1", visitorId="v1", userId="u1")  # late, and before the cleanup
    assert types(sent_events(world)) == ["joined"]


def test_every_visit_is_one_join_and_one_leave(world: World) -> None:
    for _ in range(3):
        world.beat("s1")
        world.leave("s1")
        world.leave("s1")
    events = sent_events(world)
    assert types(events) == ["joined", "left"] * 3
    visits = [event["visit"]["id"] for event in events]
    assert visits[::2] == visits[1::2]
    assert len(set(visits)) == 3


def test_a_visit_over_midnight_is_sent_once(world: World) -> None:
    world.clock.set("2026-11-21T23:59:50Z")
    world.beat("s1")
    world.clock.advance(20)
    world.beat("s1")
    world.leave("s1")
    assert types(sent_events(world)) == ["joined", "left"]
    assert (len(world.ledger()), len(world.bus.entries)) == (2, 2)


def test_a_session_that_moves_to_another_shard_has_not_left(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="5", **EVENTS)
    for user in range(6):
        world.clock.advance(1)
        world.beat("s1", userId=f"u{user}")
        sent_events(world)
    assert len({row["partition"] for row in world.presence_rows()}) > 1
    world.leave("s1")
    joined, left = sent_events(world)
    assert (joined["visit"]["userId"], left["visit"]["userId"]) == ("u0", "u5")


def test_a_visit_that_count_lost_is_sent_when_the_cleanup_finds_it(world: World) -> None:
    world.beat("s1")
    world.leave("s1")
    world.filtered("count")  # lost
    world.clock.advance(400)
    world.sweep()
    joined, left = sent_events(world)
    assert (joined["type"], left["type"]) == ("joined", "left")
    assert joined["at"] == left["at"] < iso(world.clock())


def test_an_erasure_sends_a_leave_and_no_event_for_rewritten_rows(world: World) -> None:
    for session in ("s1", "s2"):
        world.beat(session, userId="u1")
    world.leave("s2")
    before = sent_events(world)
    world.http("POST", "/v1/erasures", body={"userId": "u1"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
        after = sent_events(world)
    (left,) = after[len(before) :]
    assert left["type"] == "left"
    assert "u1" not in json.dumps(left)


# ---------------------------------------------------------------------------------- alerts and days


def test_alerts_are_sent_with_the_version_that_set_them_off(world: World) -> None:
    act(world, "PUT", "alerts/two", MILESTONE)
    act(world, "PUT", "alerts/twice", SPIKE)
    world.settle()
    world.beat("s1")
    sent_events(world)
    world.clock.advance(400)
    for session in ("s1", "s2", "s3"):
        world.beat(session)
    world.settle()
    alerts = [one for one in sent_events(world) if "alert" in one]
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


def test_a_message_to_everyone_sends_no_event(world: World) -> None:
    act(world, "POST", "messages", {"text": "hello", "seconds": 60})
    assert sent_events(world) == []


def test_an_alert_is_sent_once_though_its_version_is_updated(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Limits="inline-fanout=0", **EVENTS)
    act(world, "PUT", "alerts/two", {"type": "milestone", "people": 1})
    world.settle()
    world.subscribe("c1")
    world.beat("s1")  # the version leaves in chunks, and is marked so
    assert sorted(types(sent_events(world))) == ["joined", "milestone"]
    assert len(world.bus.entries) > len(by_number(world.bus.events))


def test_a_day_is_sent_and_again_only_if_it_changes(world: World) -> None:
    world.beat("s1", userId="u1")
    world.leave("s1")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    world.daily()
    (day,) = [one for one in sent_events(world) if one["type"] == "day"]
    assert (day["day"]["date"], day["day"]["uniquePeople"]) == ("2026-11-21", 1)
    assert day["at"] == "2026-11-22T00:00:00.000Z"
    world.clock.set("2026-11-21T23:00:00Z")
    world.beat("s2")
    world.leave("s2")
    world.settle()
    world.clock.set("2026-11-22T02:00:00Z")
    world.daily()
    first, second = [one for one in sent_events(world) if one["type"] == "day"]
    assert (first["day"]["uniquePeople"], second["day"]["uniquePeople"]) == (1, 2)


def test_revenue_is_not_sent(world: World) -> None:
    world.beat("s1", "stream:st1")
    for body in ({"type": "chat"}, {"type": "revenue", "amount": 5}):
        world.http("POST", "/api/v1/analytics/streams/st1/events", body=body, token=world.admin)
    world.leave("s1", "stream:st1")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (day,) = [one for one in sent_events(world, "stream:st1") if one["type"] == "day"]
    assert day["day"]["engagement"] == {"chat": 1}
    stored = world.tables["history"].rows()
    assert any("$" in name for row in stored for name in row.get("engagement", {}))


def test_each_space_has_its_own_numbers_and_all_its_events_share_them(world: World) -> None:
    act(world, "PUT", "alerts/two", MILESTONE)
    world.settle()
    for session in ("s1", "s2"):
        world.beat(session)
        world.beat(session, "course:c1")
        sent_events(world)
    world.leave("s1")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    assert sorted(types(sent_events(world))) == ["day", "joined", "joined", "left", "milestone"]
    assert types(sent_events(world, "course:c1"))[:2] == ["joined", "joined"]


def test_ten_of_the_largest_events_fit_in_a_call(world: World) -> None:
    long = "ü" * 64
    world.beat("s1", f"course:{'c' * 128}", userId=long, visitorId=long)
    world.leave("s1", f"course:{'c' * 128}")
    sent_events(world)
    for entry in world.bus.entries:
        assert len(json.dumps(entry, default=str).encode()) < 256 * 1024 / 10


# ------------------------------------------------------------------------- repeats, losses, crashes


def test_a_redelivered_batch_is_sent_with_the_same_numbers(world: World) -> None:
    world.beat("s1")
    old = records(world)
    emit(world, old)
    for number in range(BATCH_SIZE * 2):
        world.beat(f"t{number}")
    emit(world, records(world))
    emit(world, old)
    assert world.bus.events[0] == world.bus.events[-1]
    assert len(by_number(world.bus.events)) == BATCH_SIZE * 2 + 1


def test_a_crash_between_numbering_and_sending_leaves_no_gap(world: World) -> None:
    world.beat("s1")
    batch = records(world)
    world.bus.error = KeyboardInterrupt()  # no handler catches it, as with the end of a process
    with pytest.raises(KeyboardInterrupt):
        emit(world, batch)
    world.bus.error = None
    world.beat("s2")
    emit(world, batch + records(world))
    assert [event["seq"] for event in world.bus.events] == [1, 2]


def test_only_refused_entries_are_sent_again(world: World) -> None:
    for number in range(12):
        world.beat(f"s{number}")
    world.bus.refuse("", "ThrottlingException", *[""] * 7, "InternalFailure")
    assert emit(world, records(world)) == []
    assert world.bus.calls == [10, 2, 2]
    assert len(world.bus.entries) == 12
    assert len(by_number(world.bus.events)) == 12
    assert world.clock.slept


def test_events_that_the_bus_keeps_refusing_are_redelivered_and_the_rest_does_not_wait(
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


def test_a_call_that_fails_is_retried(world: World) -> None:
    world.beat("s1")
    batch = records(world)
    world.bus.error = aws_error("InternalException", 500, "PutEvents")
    with pytest.raises(NothingEmittedError):
        emit(world, batch)
    assert world.bus.calls == [1] * 4
    world.bus.error = None
    assert emit(world, batch) == []
    assert [event["seq"] for event in world.bus.events] == [1]


@pytest.mark.parametrize("code", ["MalformedDetail", "InvalidArgument"])
def test_an_event_that_the_bus_refuses_for_good_delays_no_other(
    world: World, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.beat("s1")
    world.beat("s2")
    world.bus.refuse(code)
    assert emit(world, records(world)) == []
    assert [event["seq"] for event in world.bus.events] == [2]
    assert world.bus.calls == [2]
    assert "an event was refused" in caplog.text


def test_a_space_whose_numbers_fail_is_redelivered_and_the_others_are_sent(
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


def test_an_invalid_record_sends_nothing_and_delays_no_other(world: World) -> None:
    world.beat("s1")
    (record,) = records(world)
    broken = json.loads(json.dumps(record))
    broken["dynamodb"]["NewImage"]["joined_at"] = {"S": "yesterday"}
    assert emit(world, [broken, record]) == []
    assert types(map(validated, world.bus.events)) == ["joined"]


def test_two_concurrent_runs_use_no_number_twice(world: World) -> None:
    world.beat("s1")
    first = records(world)
    world.beat("s2")
    second = records(world)
    table = world.tables["streams"].name
    with world.engine.interrupted("UpdateItem", table, lambda: emit(world, second)) as done:
        emit(world, first)
    assert done
    assert len(by_number(world.bus.events)) == 2


# ------------------------------------------------------------------------------------------ nothing


def test_without_a_bus_no_events_are_sent(memory_world: World) -> None:
    for role in ("visits", "headcounts", "history"):
        described = memory_world.engine.client.describe_table(
            TableName=memory_world.tables[role].name
        )
        assert "LatestStreamArn" not in described["Table"]
