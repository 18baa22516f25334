"""Robots are answered and not counted, unless a kind asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds
from tests.support.emf import metrics

GOOGLE = {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
CHROME = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "native": (f"/v1/spaces/{SITE}/presence", {"sessionId": "s1", "seq": 1}),
    "course": ("/api/courses/c1/presence", {"userId": "u1", "sessionId": "s1"}),
    "link": ("/api/send/realtime/l1", {"action": "join", "sessionId": "s1"}),
    "link touch": ("/api/send/realtime/l1", {"action": "heartbeat", "sessionId": "s1"}),
    "activity": (
        "/api/analytics/live-activity",
        {"userId": "u1", "sessionId": "s1", "activityType": "browsing"},
    ),
    "site": ("/api/heartbeats", {"sessionId": "s1", "pagePath": "/"}),
    "leave": (f"/v1/spaces/{SITE}/presence/leave", {"sessionId": "s1", "seq": 9}),
}


def send(world: World, way: str, headers: dict[str, str], **more: Any) -> Answer:
    """A message of this way in."""
    path, body = WAYS[way]
    answer = world.http("POST", path, body={**body, **more}, headers=headers)
    assert answer.status == 200, answer
    return answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("headers", "more"), [(GOOGLE, {}), (CHROME, {"robot": True})], ids=["crawler", "automated"]
)
def test_nothing_of_a_robot_is_stored(
    memory_world: World, way: str, headers: dict[str, str], more: dict[str, Any]
) -> None:
    world = memory_world
    before = world.snapshot()
    answer = send(world, way, headers, **more)
    assert world.snapshot() == before
    assert answer.body["success"] is True
    if way == "native":
        assert answer.body["count"] == 1
        assert answer.body["nextBeatIn"] == 30


@pytest.mark.parametrize(
    "headers", [{}, CHROME, {"user-agent": "curl/8.5.0"}, {"user-agent": "okhttp/4.12.0"}]
)
@pytest.mark.parametrize("more", [{}, {"robot": False}, {"page": '/"robot": true'}])
def test_people_and_tools_count(
    memory_world: World, headers: dict[str, str], more: dict[str, Any]
) -> None:
    send(memory_world, "native", headers, **more)
    assert len(memory_world.live_sessions()) == 1


def test_where_robots_count_they_have_a_facet(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="site:counts=public,robots=count")
    send(world, "native", CHROME)
    send(world, "native", GOOGLE, sessionId="s2")
    send(world, "native", CHROME, sessionId="s3", robot=True)
    world.settle()
    body = world.headcount()
    assert body["people"] == 3
    assert {one["value"]: one["people"] for one in body["facets"]["robot"]} == {
        "Googlebot": 1,
        "webdriver": 1,
    }


@pytest.mark.parametrize(("robots", "count"), [("drop", 0), ("count", 1)])
def test_a_robots_socket_counts_no_more(
    memory: Engine, worlds: Worlds, robots: str, count: int
) -> None:
    world = worlds(memory, Kinds=f"site:counts=public,robots={robots}")
    world.connect_viewer("c1", "s1", headers=GOOGLE)
    world.connect_viewer("c2", "s2", headers=CHROME, robot=True)
    for connection in ("c1", "c2"):
        world.send_beat(connection, page="/b", answer=True)
        (frame,) = world.management.frames[connection]
        assert (frame["type"], "count" in frame) == ("present", True)
    assert len(world.live_sessions()) == 2 * count
    world.disconnect_viewer("c1")
    world.disconnect_viewer("c2")
    assert world.live_sessions() == []


def test_dropped_beats_are_a_metric(
    memory_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world = memory_world
    for number in range(150):
        send(world, "native", GOOGLE, sessionId=f"s{number}")
    written = metrics(capsys.readouterr().out)
    assert sum(line.get("Robots", 0) for line in written) >= 100
