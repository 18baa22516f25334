"""Convex's clients while the fan-out dies anywhere: between two calls, before or after a post."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.harness.world import World
from tests.support.convex import ConvexClient

COUNT = "getLiveViewerCount"
STEPS = 40
"""More than any of the messages takes."""


class CrashError(BaseException):
    """The process ends: nothing catches it."""


@contextmanager
def crash_after(world: World, steps: int) -> Iterator[list[int]]:
    """End the process at this call of DynamoDB, SQS or the gateway; yields the calls made."""
    made: list[int] = []

    def step(**_: Any) -> None:
        made.append(1)
        if len(made) == steps + 1:
            raise CrashError

    events = world.engine.client.meta.events
    send = world.queue.send_message

    def counted(**given: Any) -> None:
        step()
        send(**given)

    events.register("before-parameter-build.dynamodb", step, unique_id="crash")
    world.management.before_post = world.management.after_post = step
    world.queue.send_message = counted  # type: ignore[method-assign]
    try:
        yield made
    finally:
        events.unregister("before-parameter-build.dynamodb", unique_id="crash")
        world.management.before_post = world.management.after_post = lambda: None
        world.queue.send_message = send  # type: ignore[method-assign]


def redeliver(world: World, event: Any) -> None:
    """The queue brings the message again, until it is handled."""
    for _ in range(5):
        if world.invoke("fanout", event) == {"batchItemFailures": []}:
            return
    pytest.fail("the message is never handled")


def recover(world: World, client: ConvexClient) -> None:
    """The client's connection was closed, if the server was in doubt: it comes back."""
    world.close_silent()
    come_back(world, client)
    world.settle()
    client.read()


def come_back(world: World, client: ConvexClient) -> None:
    """Open another connection if this one was closed."""
    client.read()
    if client.connection in world.management.closed:
        world.disconnect(client.connection)
        client.open()


@pytest.mark.parametrize("cause", ["open", "watch", "mutate", "version", "unwatch", "sign in"])
def test_a_crash_at_any_call_ends_with_the_right_values(world: World, cause: str) -> None:
    crashed = 0
    for steps in range(STEPS):
        client, course = ConvexClient(world), f"c{steps}"
        client.open()
        if cause != "open":
            world.settle()
        old = client.watch(COUNT, courseId="other") if cause == "unwatch" else None
        query = client.watch(COUNT, sent=cause != "open", courseId=course)
        if cause == "open":
            client.send(client._modify([client._add(query, *client.queries[query])], base=1))
        elif cause != "watch":
            world.settle()
        client.read()
        match cause:
            case "mutate":
                client.mutate("recordPresence", courseId=course, userId="ada")
            case "version":
                body = {"userId": "ada"}
                world.http("POST", f"/api/courses/{course}/presence", body=body)
                world.count(world.filtered("count"))
                world.publish(world.filtered("publish"))
            case "unwatch":
                client.unwatch(old or 0)
            case "sign in":
                client.authenticate(world.token(sub="ada"))
        with crash_after(world, steps):
            while (event := world.queue.take()) is not None:
                try:
                    world.invoke("fanout", event)
                except CrashError:
                    crashed += 1
                    world.restart("fanout")
                    break
        if event is not None:
            redeliver(world, event)
        world.settle()
        recover(world, client)
        expected = 1 if cause in {"mutate", "version"} else 0
        assert client.results[query]["total"] == expected, steps
        assert client.waiting == {}
        assert client.results.keys() == {query}
        # And it goes on.
        world.clock.advance(2)
        client.mutate("recordPresence", courseId=course, sessionId="s1")
        world.settle()
        client.read()
        assert client.results[query]["total"] == expected + 1
        world.disconnect(client.connection)
        world.clock.advance(2)
    assert crashed >= 5


@pytest.mark.parametrize("seed", range(12))
def test_many_clients_end_right_through_random_crashes_and_repeats(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a script, not a secret
    clients = [ConvexClient(world) for _ in range(6)]
    present: dict[str, set[str]] = {"c1": set(), "c2": set()}
    for client in clients:
        client.open()
        client.watch(COUNT, courseId="c1")
        client.watch(COUNT, courseId="c2")
    handled: list[Any] = []
    for _ in range(60):
        index = chance.randrange(len(clients))
        client, course = clients[index], chance.choice(["c1", "c2"])
        come_back(world, client)
        user = f"u{index}"
        if chance.random() < 0.6:
            client.mutate("recordPresence", courseId=course, userId=user)
            present[course].add(user)
        else:
            client.mutate("removePresence", courseId=course, userId=user)
            present[course].discard(user)
        world.clock.advance(chance.choice([0.01, 1.2]))
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))
        with crash_after(world, chance.randrange(60)):
            while (event := world.queue.take()) is not None:
                handled.append(event)
                try:
                    world.invoke("fanout", event)
                except CrashError:
                    world.restart("fanout")
                    world.queue.messages.insert(0, event["Records"][0])
                    break
        if event is None and chance.random() < 0.1:  # else, its group waits for that one
            world.invoke("fanout", handled[-1])
        world.close_silent()
    for _ in range(3):
        world.settle()
        for client in clients:
            recover(world, client)
    for course, users in present.items():  # a lease may have run out meanwhile
        for user in sorted(users):
            clients[int(user[1:])].mutate("recordPresence", courseId=course, userId=user)
    world.settle()
    for client in clients:
        client.read()
        shown = [client.results[query]["total"] for query in sorted(client.queries)]
        assert shown == [len(present["c1"]), len(present["c2"])]
        assert client.waiting == {}
        assert set(client.settled.values()) <= {None}
