"""A session's messages are limited, at no cost to steady beats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds

LIMIT = 20
PRESENCE = f"/v1/spaces/{SITE}/presence"
ACTIVITY = "/api/analytics/live-activity"


def post(path: str, body: Any, **more: Any) -> Callable[[World], Answer]:
    return lambda world: world.http("POST", path, body=body, **more)


NATIVE = post(PRESENCE, {"sessionId": "s1"})
CONVEX = post(
    "/api/mutation",
    {"path": "liveViewers:recordPresence", "args": [{"courseId": "c1", "sessionId": "s1"}]},
)
WAYS = {
    "native": NATIVE,
    "live activity": post(
        ACTIVITY, {"userId": "u1", "sessionId": "s1", "activityType": "browsing"}
    ),
    "course": post("/api/courses/c1/presence", {"sessionId": "s1"}),
    "link joins": post("/api/send/realtime/l1", {"action": "join", "sessionId": "s1"}),
    "link heartbeats": post("/api/send/realtime/l1", {"action": "heartbeat", "sessionId": "s1"}),
    "site": post("/api/heartbeats", {"sessionId": "s1", "pagePath": "/"}),
    "postgrest": post("/rest/v1/heartbeats", {"session_id": "s1", "page_path": "/"}),
}


def flood(world: World, send: Callable[[World], Answer]) -> Answer:
    """The accepted messages, and the first refusal."""
    for _ in range(LIMIT):
        answer = send(world)
        assert answer.status in {200, 201}, answer
    return send(world)


@pytest.mark.parametrize("way", WAYS)
def test_a_flood_of_one_session_is_refused_and_stores_nothing(
    memory_world: World, way: str
) -> None:
    world = memory_world
    before = None
    for _ in range(LIMIT):
        WAYS[way](world)
        before = world.snapshot()
    refused = WAYS[way](world)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert "retry-after" in refused.headers["access-control-expose-headers"]
    assert world.snapshot() == before
    world.clock.advance(1)
    assert WAYS[way](world).status in {200, 201}


def test_each_client_gets_the_refusal_in_its_own_format(memory_world: World) -> None:
    message = "This session sends too much"
    native = flood(memory_world, NATIVE)
    assert native.body["success"] is False
    assert native.body["error"].startswith(message)
    memory_world.clock.advance(60)
    traffic = flood(memory_world, WAYS["postgrest"])
    assert traffic.body["code"] == "53400"
    assert traffic.body["message"].startswith(message)
    course = flood(memory_world, CONVEX)
    assert (course.status, course.body["status"]) == (560, "error")
    assert course.body["errorMessage"].startswith(message)
    assert course.headers["retry-after"] == "1"


def test_a_flood_of_one_session_takes_nothing_from_another(memory_world: World) -> None:
    flood(memory_world, NATIVE)
    memory_world.beat("s2")
    assert memory_world.live_sessions() == ["s1", "s2"]


def test_a_refused_session_may_still_leave(world: World) -> None:
    assert flood(world, NATIVE).status == 429
    world.leave("s1")
    assert world.live_sessions() == []
    assert NATIVE(world).status == 429, "coming back is a message too"


def test_pages_and_sign_ins_are_messages_too(memory_world: World) -> None:
    for number in range(LIMIT):
        memory_world.beat("s1", page=f"/{number}", userId=f"u{number}")
    answer = post(PRESENCE, {"sessionId": "s1", "page": "/last"})(memory_world)
    assert answer.status == 429


def test_a_session_that_moves_between_shards_keeps_its_burst(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, ShardsPerSpace="8")
    for number in range(LIMIT):
        world.beat("s1", userId=f"u{number}")
    assert post(PRESENCE, {"sessionId": "s1", "userId": "u99"})(world).status == 429


def test_one_request_delivered_five_times_is_one_message(world: World) -> None:
    for number in range(LIMIT):
        for _ in range(5):
            world.beat("s1", request=f"r{number}", page=f"/{number}")
    assert flood_row(world)["beats"] == {"2026-11-21": LIMIT}


def flood_row(world: World) -> dict[str, Any]:
    (row,) = world.presence_rows()
    return row


def test_two_at_once_are_counted_as_two(world: World) -> None:
    for _ in range(LIMIT - 1):
        world.beat("s1")
    presence = world.tables["presence"].name
    with world.engine.interrupted("PutItem", presence, lambda: world.beat("s1")) as raced:
        answer = NATIVE(world)
    assert raced
    assert answer.status == 429


def test_the_limit_costs_a_steady_beat_nothing(world: World) -> None:
    world.beat("s1")
    for seconds in (0.5, 5, 30, 9.9):
        world.clock.advance(seconds)
        with world.engine.metered() as meter:
            world.beat("s1")
        assert meter.writes == ["UpdateItem"]


def test_a_steady_beat_that_comes_too_soon_is_still_steady_and_invokes_nothing(
    world: World,
) -> None:
    world.beat("s1")
    world.settle()
    for _ in range(5):
        world.clock.advance(0.1)
        world.beat("s1")
    assert world.filtered("count") == []
    assert flood_row(world)["kind"] == "beat"


def test_after_a_burst_beats_are_steady_again(world: World) -> None:
    for number in range(10):
        world.beat("s1", page=f"/{number}")
    world.clock.advance(10)
    with world.engine.metered() as meter:
        world.beat("s1", page="/9")
    assert meter.writes == ["UpdateItem"]


def test_a_clock_that_is_set_back_refuses_no_session(memory_world: World) -> None:
    assert flood(memory_world, NATIVE).status == 429
    memory_world.clock.advance(-3600)
    memory_world.beat("s1")


def test_without_a_limit_nothing_is_refused(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="beats-per-session=0")
    world.beat("s1")
    with world.engine.metered() as meter:
        for _ in range(30):
            world.beat("s1")
    assert meter.writes == ["UpdateItem"] * 30


def test_of_several_rows_all_are_accepted_or_none(memory_world: World) -> None:
    rows = [{"session_id": session, "page_path": "/"} for session in ("s2", "s1", "s1", "s3")]
    for _ in range(LIMIT - 1):
        memory_world.http("POST", "/rest/v1/heartbeats", body=rows[1])
    before = memory_world.snapshot()
    assert memory_world.http("POST", "/rest/v1/heartbeats", body=rows).status == 429
    assert memory_world.snapshot() == before
    memory_world.clock.advance(1)
    assert memory_world.http("POST", "/rest/v1/heartbeats", body=rows).status == 201
    assert memory_world.live_sessions() == ["s1", "s2", "s3"]
