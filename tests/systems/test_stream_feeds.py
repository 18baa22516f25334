"""The WebSocket feeds of stream dashboards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.systems.stream_analytics.feeds import OVERVIEW

from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.world import World
from tests.conftest import Worlds

METRICS = "/api/ws/streams/s1/metrics"
REALTIME = "/api/ws/analytics/realtime"
STREAM = "stream:s1"


def frames(world: World, connection: str) -> list[dict[str, Any]]:
    return world.management.frames[connection]


def viewers(world: World, connection: str) -> list[int]:
    key = {"metrics": "currentViewers", "analytics": "totalViewers"}
    return [frame["data"][key[frame["type"]]] for frame in frames(world, connection)]


def open_feed(world: World, connection: str, path: str) -> None:
    assert world.connect(connection, path=path) == {"statusCode": 200}
    assert frames(world, connection) == []  # nothing can be sent before the connection is up
    world.run_deferred()


def test_a_stream_is_received_at_once_and_with_each_version(world: World) -> None:
    world.beat("v1", STREAM)
    world.settle()
    open_feed(world, "c1", METRICS)
    assert frames(world, "c1") == [
        {
            "type": "metrics",
            "data": {
                "currentViewers": 1,
                "peakViewers": 1,
                "totalViews": 1,
                "avgViewDuration": None,
                "chatMessages": None,
                "bandwidth": None,
                "quality": None,
                "buffering": None,
                "errors": None,
            },
        }
    ]
    world.beat("v2", STREAM, quality={"bandwidth": 4.5, "errors": 2}, engagement={"chat": 3})
    world.settle()
    world.clock.advance(20)
    world.leave("v1", STREAM)
    world.settle()
    assert viewers(world, "c1") == [1, 2, 1]
    last = frames(world, "c1")[-1]["data"]
    assert last["avgViewDuration"] == 20
    assert (last["chatMessages"], last["bandwidth"], last["errors"]) == (3, 4.5, 2)


def test_other_streams_versions_are_not_received(memory_world: World) -> None:
    open_feed(memory_world, "c1", METRICS)
    memory_world.beat("v1", "stream:s2")
    memory_world.settle()
    assert viewers(memory_world, "c1") == [0]


def test_headcounts_and_metrics_of_a_stream_go_out_side_by_side(memory_world: World) -> None:
    open_feed(memory_world, "c1", METRICS)
    memory_world.subscribe("c2", STREAM)
    memory_world.beat("v1", STREAM)
    memory_world.settle()
    assert [frame["type"] for frame in frames(memory_world, "c1")] == ["metrics", "metrics"]
    assert [frame["type"] for frame in frames(memory_world, "c2")] == ["headcount", "headcount"]


def test_chunks_carry_each_format_to_its_subscribers(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    open_feed(world, "c1", METRICS)
    world.subscribe("c2", STREAM)
    world.beat("v1", STREAM)
    world.settle()
    assert frames(world, "c1")[-1]["type"] == "metrics"
    assert frames(world, "c2")[-1]["type"] == "headcount"


@pytest.mark.parametrize("message", ["ping", "", '{"type": "heartbeat"}', "[]", "{"])
@pytest.mark.parametrize("path", [METRICS, REALTIME])
def test_any_message_from_a_feeds_client_is_a_heartbeat(
    memory_world: World, path: str, message: str
) -> None:
    open_feed(memory_world, "c1", path)
    memory_world.send("c1", message)
    first, second = frames(memory_world, "c1")
    assert second == first


def test_a_native_ping_is_answered_on_a_feed_too(memory_world: World) -> None:
    open_feed(memory_world, "c1", METRICS)
    memory_world.send("c1", {"action": "ping"})
    assert frames(memory_world, "c1")[-1] == {"type": "pong"}


def test_a_heartbeat_without_a_feed_is_answered_with_an_error(memory_world: World) -> None:
    memory_world.subscribe("c1")
    memory_world.send("c1", {"type": "heartbeat"})
    assert frames(memory_world, "c1")[-1]["type"] == "error"


def test_the_overview_adds_up_all_streams(world: World) -> None:
    open_feed(world, "c1", REALTIME)
    for number in range(3):
        world.beat(f"v{number}", f"stream:s{number % 2}", visitorId=f"v{number}")
    world.settle()
    assert viewers(world, "c1") == [0, 3]
    assert frames(world, "c1")[-1] == {
        "type": "analytics",
        "data": {
            "totalViewers": 3,
            "activeStreams": 2,
            "revenueToday": None,
            "avgEngagement": None,
            "errorRate": None,
            "serverLoad": None,
        },
    }


def test_the_overview_gathers_changes_for_two_seconds(memory_world: World) -> None:
    world = memory_world
    open_feed(world, "c1", REALTIME)
    for number in range(4):
        world.clock.advance(1)
        world.beat(f"v{number}", STREAM)
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))
    assert (len(world.queue.deferred), world.queue.delays[-1]) == (1, 2)
    world.run_deferred()
    assert viewers(world, "c1") == [0, 4]


def test_a_version_during_the_sending_of_an_overview_is_sent_too(memory_world: World) -> None:
    world = memory_world
    open_feed(world, "c1", REALTIME)

    def somebody_else() -> None:
        world.management.after_post = lambda: None
        world.clock.advance(1)
        world.beat("v2", STREAM)
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))

    world.beat("v1", STREAM)
    world.management.after_post = somebody_else
    world.settle()
    assert viewers(world, "c1")[-1] == 2


def test_an_overview_that_was_claimed_and_lost_is_claimed_again_after_a_minute(
    memory_world: World,
) -> None:
    world = memory_world
    open_feed(world, "c1", REALTIME)
    world.beat("v1", STREAM)
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.queue.deferred.clear()  # lost
    world.clock.advance(61)
    world.leave("v1", STREAM)
    world.settle()
    assert viewers(world, "c1") == [0, 0]


def test_the_overview_includes_a_version_whose_publisher_died_while_sending_it(
    memory_world: World,
) -> None:
    world = memory_world
    open_feed(world, "c1", REALTIME)
    world.beat("v1", STREAM)
    world.count(world.filtered("count"))
    batch = world.filtered("publish")

    def crash() -> None:
        raise RuntimeError("the process died here")

    subscriptions = world.tables["subscriptions"].name
    with world.engine.interrupted("Query", subscriptions, crash), pytest.raises(RuntimeError):
        world.invoke("publish", {"Records": batch})
    world.publish(batch)
    assert [json.loads(one["body"])["do"] for one in world.queue.deferred] == ["say"]


def test_without_subscribers_the_overview_costs_no_deferred_task(memory_world: World) -> None:
    memory_world.beat("v1", STREAM)
    memory_world.count(memory_world.filtered("count"))
    memory_world.publish(memory_world.filtered("publish"))
    assert memory_world.queue.deferred == []


def test_other_spaces_leave_the_overview_alone(memory_world: World) -> None:
    open_feed(memory_world, "c1", REALTIME)
    memory_world.beat("v1", "site:main")
    memory_world.settle()
    assert len(frames(memory_world, "c1")) == 1


def test_a_first_frame_waits_until_the_connection_is_up(memory_world: World) -> None:
    memory_world.connect("c1", path=METRICS)
    memory_world.management.set_gone("c1", times=2)
    memory_world.run_deferred()
    assert viewers(memory_world, "c1") == [0]


def test_a_version_that_comes_before_the_first_frame_leaves_no_gap(memory_world: World) -> None:
    world = memory_world
    world.connect("c1", path=METRICS)
    world.beat("v1", STREAM)
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.run_deferred()
    assert viewers(world, "c1")[-1] == 1


def test_a_feed_that_goes_away_is_forgotten(memory_world: World) -> None:
    open_feed(memory_world, "c1", METRICS)
    open_feed(memory_world, "c2", REALTIME)
    memory_world.disconnect("c1")
    memory_world.disconnect("c2")
    rows = memory_world.tables["subscriptions"].rows()
    assert [row for row in rows if row["topic"] != "claim"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/ws/nothing", 404),
        ("/api/ws/streams/metrics", 404),
        ("/api/ws/streams/a%20b/metrics", 400),
        ("/api/ws/streams/a%2Fb/metrics", 404),
        ("/api/ws/container/..", 400),
        ("/", 404),
    ],
)
def test_a_path_without_a_feed_is_refused(memory_world: World, path: str, status: int) -> None:
    answer = memory_world.connect("c1", path=path)
    assert answer["statusCode"] == status
    assert json.loads(answer["body"])["success"] is False
    assert memory_world.tables["subscriptions"].rows() == []


@pytest.mark.parametrize("path", [METRICS, REALTIME, f"/api/ws/container/{'0' * 32}"])
def test_a_feed_needs_an_admins_token(memory_world: World, path: str) -> None:
    query = {"path": path}
    answer = memory_world.invoke("socket", socket_event("CONNECT", "c1", query=query))
    assert answer["statusCode"] == 401
    assert (
        memory_world.connect("c1", path=path, token=memory_world.token(sub="u"))["statusCode"]
        == 403
    )
    assert memory_world.queue.deferred == []


def test_the_overviews_topic_is_no_space() -> None:
    assert OVERVIEW.topic.startswith("~")


def test_a_start_and_a_stop_are_in_the_overview_at_once(world: World) -> None:
    open_feed(world, "c1", REALTIME)
    for act in ("start", "start", "stop"):
        world.http("POST", f"/api/streams/s1/{act}", token=world.admin)
        world.run_deferred()
    active = [frame["data"]["activeStreams"] for frame in frames(world, "c1")]
    assert active == [0, 1, 0]


def test_revenue_of_a_stream_without_viewers_is_in_the_overview(world: World) -> None:
    open_feed(world, "c1", REALTIME)
    for stream, amount in (("s1", 12.5), ("s2", 7.25)):
        path = f"/api/v1/analytics/streams/{stream}/events"
        body = {"type": "revenue", "amount": amount}
        assert world.http("POST", path, body=body, token=world.admin).status == 200
        world.settle()
    earned = [frame["data"]["revenueToday"] for frame in frames(world, "c1")]
    assert (earned[0], earned[-1]) == (None, 19.75)
    listed = world.get("/v1/spaces", token=world.admin).body["spaces"]
    assert listed == []


def test_a_live_streams_load_counts_before_anyone_watches(memory_world: World) -> None:
    world = memory_world
    world.http("POST", "/api/streams/s1/start", token=world.admin)
    body = {"source": "rtmp", "load": 0.5}
    path = "/api/v1/analytics/streams/s1/infrastructure"
    world.http("POST", path, body=body, token=world.admin)
    world.settle()
    open_feed(world, "c1", REALTIME)
    assert frames(world, "c1")[-1]["data"]["serverLoad"] == 0.5
