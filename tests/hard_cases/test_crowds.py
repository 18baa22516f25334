"""10,000 people join one space within ten seconds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from headcount.usecases.count import pace
from headcount.usecases.publish import PACE

from lab.harness.template import template
from lab.harness.world import World

PEOPLE = 10_000
SECONDS = 10


class Arrivals:
    """People who join at an even pace, also while a function waits."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._start = world.clock()
        self._due: Iterator[int] = iter(range(PEOPLE))
        self._next: int | None = next(self._due)
        for function in ("count", "publish"):
            world.services(function).sleep = self.sleep

    @property
    def over(self) -> bool:
        return self._next is None

    def sleep(self, seconds: float) -> None:
        end = self._world.clock.now + round(seconds * 1000)
        while self._next is not None:
            at = self._start + self._next * SECONDS * 1000 // PEOPLE
            if at > end:
                break
            self._world.clock.now = max(at, self._world.clock.now)
            self._world.beat(f"s{self._next}", visitorId=f"v{self._next}", seq=1, page="/launch")
            self._next = next(self._due, None)
        self._world.clock.now = end


class DeferredTasks:
    """The messages that wait in the queue, and until when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[tuple[int, dict[str, Any]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def run_due(self) -> None:
        queue = self._world.queue
        while (event := queue.take_deferred()) is not None:
            delay = queue.delays.pop(0)
            self._waiting.append((self._world.clock() + delay * 1000, event))
        due = [event for at, event in self._waiting if at <= self._world.clock()]
        self._waiting = [one for one in self._waiting if one[0] > self._world.clock()]
        for event in due:
            self._world.invoke("deferred", event)


def batch_size(function: str) -> int:
    (source,) = template().events(function, "DynamoDB")
    return int(source["BatchSize"])


@pytest.mark.slow
def test_10_000_joins_in_ten_seconds_are_a_few_pushes_and_an_exact_end(
    memory_world: World,
) -> None:
    world = memory_world
    for connection in ("c1", "c2"):
        world.subscribe(connection)
    began = world.clock()
    arrivals = Arrivals(world)
    deferred = DeferredTasks(world)
    waiting: list[dict[str, Any]] = []
    while not arrivals.over or waiting or deferred:
        arrivals.sleep(0.1 if waiting else 1)
        waiting += world.filtered("count")
        world.count(waiting[: batch_size("count")])
        del waiting[: batch_size("count")]
        deferred.run_due()
        changes = world.filtered("publish")
        assert len(changes) <= batch_size("publish")
        world.publish(changes)

    # Everyone is counted once the longest recount interval after the last join is over.
    assert world.clock() - began <= SECONDS * 1000 + pace(PEOPLE) + 3 * PACE
    body = world.headcount()
    assert (body["people"], body["sessions"], body["views"]["total"]) == (PEOPLE,) * 3
    assert body["facets"]["page"] == [{"value": "/launch", "count": PEOPLE, "people": PEOPLE}]
    assert body["peak"]["people"] == PEOPLE
    assert len(world.ledger()) == PEOPLE

    # At most about a version a second, each to every dashboard once, without gaps.
    versions = world.versions("c1")
    assert versions == world.versions("c2") == list(range(body["version"] + 1))
    assert len(versions) - 1 <= (world.clock() - began) / PACE + 1
    numbers = [frame["data"]["people"] for frame in world.management.frames["c1"]]
    assert all(earlier <= later for earlier, later in pairwise(numbers))
