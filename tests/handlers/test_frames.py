"""Frames of strangers' sockets are counted in their session's limit, and their sockets closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.web.held_sessions import FREE_FRAMES

from lab.harness.events import socket_event
from lab.harness.world import SITE, World

LIMIT = 20


def frame(world: World, body: Any, connection: str = "c1") -> None:
    """A frame with a request of its own."""
    text = body if isinstance(body, str) else json.dumps(body)
    event = socket_event("MESSAGE", connection, body=text, request=world.new_id())
    assert world.invoke("socket", event) == {"statusCode": 200}


def answers(world: World, connection: str = "c1") -> int:
    """How many frames the connection got."""
    return len(world.management.frames[connection])


@pytest.mark.parametrize(
    "body",
    [
        {"action": "ping"},
        {"action": "subscribe", "space": SITE},
        {"action": "beat", "page": 5},
        {"action": "dance"},
        "garbage",
        "[]",
        "{" * 5000,
    ],
)
@pytest.mark.parametrize("left", [False, True])
def test_frames_above_the_limit_close_the_socket(
    memory_world: World, body: Any, *, left: bool
) -> None:
    world = memory_world
    assert world.connect_viewer("c1", "s1") == {"statusCode": 200}
    if left:
        world.leave("s1")
    for _ in range(120):
        frame(world, body)
        if "c1" in world.management.closed:
            break
    assert "c1" in world.management.closed
    assert LIMIT // 2 <= answers(world) <= LIMIT + FREE_FRAMES


def test_a_ping_every_few_seconds_is_answered_for_ever(memory_world: World) -> None:
    world = memory_world
    world.connect_viewer("c1", "s1")
    for _ in range(100):
        world.clock.advance(1)
        frame(world, {"action": "ping"})
    assert answers(world) == 100
    assert world.management.closed == []
    world.settle()
    assert world.people() == 1


def test_beats_above_the_limit_close_the_socket(memory_world: World) -> None:
    world = memory_world
    world.connect_viewer("c1", "s1")
    for number in range(200):
        frame(world, {"action": "beat", "page": f"/{number}"})
        if "c1" in world.management.closed:
            break
    assert "c1" in world.management.closed
    assert answers(world) <= 10


def test_a_socket_without_a_session_row_is_closed(memory_world: World) -> None:
    world = memory_world
    world.connect_viewer("c1", "s1")
    presence = world.services("socket").presence
    (row,) = presence.partition(SITE, 0)
    assert presence.delete_ended(row)
    for _ in range(FREE_FRAMES + 1):
        frame(world, {"action": "ping"})
    assert "c1" in world.management.closed


def test_dashboards_may_send_as_before(memory_world: World) -> None:
    world = memory_world
    world.connect("c1")
    for _ in range(100):
        frame(world, {"action": "ping"})
    assert answers(world) == 100
    assert world.management.closed == []
