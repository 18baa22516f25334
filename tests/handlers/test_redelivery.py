"""Failed messages are redelivered soon, without waiting for the visibility timeout."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from headcount.usecases.redelivery import LONGEST, wait_after

from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.world import World
from tests.conftest import Worlds

Break = Callable[[], None]


@pytest.fixture
def large(memory: Engine, worlds: Worlds) -> World:
    """A deployment in which two dashboards get every version in chunks."""
    world = worlds(memory, Limits="inline-fanout=1")
    world.chance = lambda: 0.0
    for connection in ("c1", "c2"):
        world.subscribe(connection)
    return world


def versions(world: World, number: int) -> list[dict[str, Any]]:
    """The chunks of that many versions, taken out of the queue in order."""
    for session in range(number):
        world.clock.advance(30)
        world.beat(f"s{session}")
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))
    chunks, world.queue.messages = world.queue.messages, []
    return chunks


@pytest.fixture
def broken(memory_world: World, memory: Engine) -> Any:
    """Breaks DynamoDB until the test's end."""

    def fail(**_: object) -> None:
        raise aws_error("ThrottlingException")

    events = memory.client.meta.events
    event = "before-parameter-build.dynamodb"

    def do() -> None:
        events.register(event, fail, unique_id="broken")

    yield do
    events.unregister(event, unique_id="broken")


def test_a_failed_chunk_and_all_after_it_are_redelivered_together_within_seconds(
    large: World, broken: Break
) -> None:
    chunks = versions(large, 2)
    groups = {one["attributes"]["MessageGroupId"] for one in chunks}
    one = groups.pop()
    of_one = [chunk for chunk in chunks if chunk["attributes"]["MessageGroupId"] == one]
    assert len(of_one) == 2
    broken()
    with pytest.raises(RuntimeError):
        large.invoke("fanout", {"Records": of_one})
    assert large.queue.postponed == [("FanoutQueue", chunk["messageId"], 1) for chunk in of_one]


def test_a_group_without_time_left_is_redelivered_at_once_and_not_in_minutes(
    large: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = versions(large, 2)
    group = chunks[0]["attributes"]["MessageGroupId"]
    of_one = [chunk for chunk in chunks if chunk["attributes"]["MessageGroupId"] == group]
    deliveries: Any = type(large.services("fanout").deliveries)
    deliver = deliveries.deliver_chunk

    def slowly(*args: Any, **options: Any) -> None:
        deliver(*args, **options)
        large.clock.advance(40)

    monkeypatch.setattr(deliveries, "deliver_chunk", slowly)
    answer = large.invoke("fanout", {"Records": of_one})
    assert answer == {"batchItemFailures": [{"itemIdentifier": of_one[1]["messageId"]}]}
    assert large.queue.postponed == [("FanoutQueue", of_one[1]["messageId"], 1)]


def queued(queue: str, body: dict[str, Any], tries: int = 1, name: str = "m1") -> dict[str, Any]:
    """A queue's message as an event."""
    record = {
        "messageId": name,
        "receiptHandle": f"receipt of {name}",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(tries), "SentTimestamp": "0"},
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
    }
    return {"Records": [record]}


RECOUNT = {"do": "recount", "space": "site:main", "shard": 0, "at": 0, "stays": ""}
CLOSE = {"do": "close", "connections": ["c1"]}
AGGREGATE = {"do": "aggregate", "date": "2026-11-20", "spaces": ["site:main"]}
ERASE = {"id": "e1", "at": 0, "key": "k", "user": "u1"}
FROM_QUEUES = [
    ("deferred", "ErrandQueue", RECOUNT),
    ("deferred", "ClosingQueue", CLOSE),
    ("cleanup", "PieceQueue", AGGREGATE),
    ("erase", "ErasureQueue", ERASE),
]


@pytest.mark.parametrize(("function", "queue", "body"), FROM_QUEUES)
def test_a_failed_message_is_redelivered_soon_and_later_after_each_attempt(
    memory_world: World, broken: Break, function: str, queue: str, body: dict[str, Any]
) -> None:
    world = memory_world
    world.chance = lambda: 0.0
    world.management.hang("c1")
    broken()
    for tries in (1, 2, 3):
        with pytest.raises(Exception, match=r"Throttling|could not be closed"):
            world.invoke(function, queued(queue, body, tries))
    assert world.queue.postponed == [(queue, "m1", 1), (queue, "m1", 3), (queue, "m1", 9)]


def test_only_closings_of_connections_that_may_be_open_are_redelivered(memory_world: World) -> None:
    world = memory_world
    world.management.hang("c1")
    closings = [
        queued("ClosingQueue", {"do": "close", "connections": [connection]}, name=connection)
        for connection in ("c0", "c1", "c2")
    ]
    batch = {"Records": [record for event in closings for record in event["Records"]]}
    answer = world.invoke("deferred", batch)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "c1"}]}
    assert [one[:2] for one in world.queue.postponed] == [("ClosingQueue", "c1")]


def test_without_access_to_the_queue_its_own_timeout_applies_and_the_failure_is_logged(
    memory_world: World, broken: Break
) -> None:
    memory_world.queue.error = aws_error("ServiceUnavailable", 503)
    broken()
    with pytest.raises(Exception, match="Throttling"):
        memory_world.invoke("erase", queued("ErasureQueue", ERASE))


def test_a_wait_grows_to_the_maximum_and_half_of_it_is_random() -> None:
    assert [wait_after(tries, LONGEST, 0.999) for tries in range(1, 8)] == [
        2,
        6,
        18,
        54,
        162,
        180,
        180,
    ]
    assert [wait_after(tries, LONGEST, 0) for tries in (1, 2, 3, 100)] == [1, 3, 9, 90]
