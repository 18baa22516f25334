"""Stream analytics over REST: the registry, the documented numbers, and reports."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.model.headcount import Point
from headcount.model.session import MAX_ENGAGED, MAX_GROWTH
from headcount.store.keys import Streams as Keys
from headcount.store.visits import VisitsTable
from headcount.systems.stream_analytics import routes
from headcount.times import MINUTE
from headcount.usecases import read as reading
from pydantic import TypeAdapter

from lab.harness.engines import Engine
from lab.harness.events import http_event
from lab.harness.fakes import aws_error
from lab.harness.world import Answer, World
from tests.conftest import Worlds
from tests.support.moderation import act

STREAM = "stream-123"
SPACE = f"stream:{STREAM}"
NOON = "2026-11-21T12:00:00.000Z"
ANALYTICS = "/api/v1/analytics"
READS = [
    "/api/streams",
    f"/api/streams/{STREAM}",
    f"{ANALYTICS}/streams/{STREAM}/metrics",
    f"{ANALYTICS}/real-time/{STREAM}",
    f"{ANALYTICS}/comprehensive/{STREAM}",
    f"{ANALYTICS}/historical/channel-1",
]
ADMINS_WRITES = [
    "/api/streams",
    f"/api/streams/{STREAM}/start",
    f"/api/streams/{STREAM}/stop",
    f"{ANALYTICS}/streams/{STREAM}/infrastructure",
]


def read(world: World, path: str, **query: str) -> Any:
    """A GET as an admin."""
    answer = world.get(path, token=world.admin, **query)
    assert answer.status == 200, answer
    assert answer.body.pop("success") is True
    return answer.body


def metrics(world: World, stream: str = STREAM) -> Any:
    return read(world, f"{ANALYTICS}/streams/{stream}/metrics")


def real_time(world: World, stream: str = STREAM) -> Any:
    return read(world, f"{ANALYTICS}/real-time/{stream}")


def comprehensive(world: World, stream: str = STREAM) -> Any:
    return read(world, f"{ANALYTICS}/comprehensive/{stream}")


def send(world: World, path: str, body: object = None) -> Answer:
    """A POST as an admin."""
    return world.http("POST", path, body=body, token=world.admin)


def sent(world: World, path: str, body: object = None, status: int = 200) -> Any:
    """A POST as an admin that must be accepted."""
    answer = send(world, path, body)
    assert answer.status == status, answer
    assert answer.body.pop("success") is True
    return answer.body


def register(world: World, stream: str = STREAM, **fields: object) -> Any:
    return send(world, "/api/streams", {"id": stream, **fields}).body


def send_event(world: World, kind: str, stream: str = STREAM, **fields: object) -> None:
    """An event that a server reports."""
    token = world.token(headcount_scopes=f"ingest:stream:{stream}")
    path = f"{ANALYTICS}/streams/{stream}/events"
    answer = world.http("POST", path, body={"type": kind, **fields}, token=token)
    assert (answer.status, answer.body) == (200, {"success": True})


def reports(world: World, source: str = "rtmp", stream: str = STREAM, **numbers: float) -> None:
    body = {"source": source, **numbers}
    assert sent(world, f"{ANALYTICS}/streams/{stream}/infrastructure", body) == {}


def is_error(answer: Answer, status: int) -> bool:
    """The API's own error format, and the right status."""
    return (
        answer.status == status
        and answer.body["success"] is False
        and len(answer.body["error"].split()) > 3
    )


def stays_as_it_is(world: World, answer: Answer, status: int, before: object) -> None:
    """An error of that status, and nothing was stored."""
    assert is_error(answer, status), answer
    assert world.snapshot() == before


# ----------------------------------------------------------------------------------------- registry


def test_a_registered_stream_is_idle_and_has_every_field(world: World) -> None:
    body = {"id": STREAM, "title": "Opening", "channelId": "channel-1", "eventId": "event-1"}
    expected = {
        **body,
        "status": "idle",
        "createdAt": NOON,
        "startedAt": None,
        "stoppedAt": None,
        "currentViewers": 0,
        "peakViewers": 0,
        "totalViews": 0,
    }
    assert sent(world, "/api/streams", body, 201) == expected
    world.clock.advance(60)
    assert read(world, f"/api/streams/{STREAM}") == expected
    assert read(world, "/api/streams") == {"streams": [expected]}


def test_a_stream_without_an_id_gets_one(memory_world: World) -> None:
    made = sent(memory_world, "/api/streams", {"title": "Opening"}, 201)
    assert read(memory_world, f"/api/streams/{made['id']}") == made
    assert sent(memory_world, "/api/streams", {}, 201)["id"] != made["id"]


def test_registering_again_changes_the_sent_fields_and_keeps_the_rest(memory_world: World) -> None:
    world = memory_world
    register(world, title="Opening", channelId="channel-1", eventId="event-1")
    sent(world, f"/api/streams/{STREAM}/start")
    world.clock.advance(60)
    again = sent(world, "/api/streams", {"id": STREAM, "title": "Keynote"})
    assert (again["title"], again["channelId"], again["eventId"]) == (
        "Keynote",
        "channel-1",
        "event-1",
    )
    assert (again["status"], again["createdAt"], again["startedAt"]) == ("live", NOON, NOON)


def test_registering_the_same_again_writes_nothing(memory_world: World) -> None:
    register(memory_world, title="Opening", channelId="channel-1")
    before = memory_world.snapshot()
    register(memory_world, title="Opening", channelId="channel-1")
    assert memory_world.snapshot() == before


def test_a_stream_that_moves_is_in_its_new_channel_only(world: World) -> None:
    register(world, channelId="channel-1")
    register(world, "other", channelId="channel-1")
    register(world, channelId="channel-2")

    def of(channel: str) -> list[str]:
        found = read(world, "/api/streams", channelId=channel)["streams"]
        return [one["id"] for one in found]

    assert (of("channel-1"), of("channel-2"), of("channel-3")) == (["other"], [STREAM], [])


def test_a_stream_that_moves_while_its_channel_is_read_is_not_in_it(world: World) -> None:
    register(world, channelId="channel-1")
    name = world.tables["streams"].name

    def move() -> None:
        register(world, channelId="channel-2")

    with world.engine.interrupted("BatchGetItem", name, move) as times:
        assert read(world, "/api/streams", channelId="channel-1") == {"streams": []}
    assert times


def test_streams_come_newest_first_and_by_status(memory_world: World) -> None:
    world = memory_world
    for name in ("a", "b", "c"):
        register(world, name, channelId="channel-1")
        world.clock.advance(1)
    sent(world, "/api/streams/a/start")
    sent(world, "/api/streams/b/start")
    sent(world, "/api/streams/b/stop")

    def ids(**query: str) -> list[str]:
        return [one["id"] for one in read(world, "/api/streams", **query)["streams"]]

    assert ids() == ["c", "b", "a"]
    assert (ids(status="idle"), ids(status="live"), ids(status="stopped")) == (["c"], ["a"], ["b"])
    assert ids(status="live", channelId="channel-1") == ["a"]


def test_at_most_a_thousand_streams_are_listed_the_newest(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert routes.MAX_STREAMS == 1_000
    monkeypatch.setattr(routes, "MAX_STREAMS", 2)
    for name in ("a", "b", "c"):
        register(memory_world, name)
        memory_world.clock.advance(1)
    found = read(memory_world, "/api/streams")["streams"]
    assert [one["id"] for one in found] == ["c", "b"]


def test_streams_report_their_viewers(world: World) -> None:
    register(world)
    for session in ("s1", "s2", "s3"):
        world.beat(session, SPACE)
    world.settle()
    world.leave("s3", SPACE)
    world.settle()
    numbers = {"currentViewers": 2, "peakViewers": 3, "totalViews": 3}
    (listed,) = read(world, "/api/streams")["streams"]
    assert {name: listed[name] for name in numbers} == numbers
    alone = read(world, f"/api/streams/{STREAM}")
    assert alone == listed


def test_a_start_makes_a_stream_live_and_starting_again_changes_nothing(
    memory_world: World,
) -> None:
    world = memory_world
    register(world)
    world.clock.advance(60)
    first = sent(world, f"/api/streams/{STREAM}/start")
    assert (first["status"], first["startedAt"]) == ("live", "2026-11-21T12:01:00.000Z")
    world.clock.advance(60)
    assert sent(world, f"/api/streams/{STREAM}/start") == first


def test_a_start_registers_an_unknown_stream(memory_world: World) -> None:
    found = sent(memory_world, "/api/streams/new/start")
    assert (found["status"], found["createdAt"], found["startedAt"]) == ("live", NOON, NOON)
    assert found["title"] is None
    assert read(memory_world, "/api/streams/new") == found


def test_a_stop_ends_it_and_stopping_again_changes_nothing(memory_world: World) -> None:
    world = memory_world
    sent(world, f"/api/streams/{STREAM}/start")
    world.clock.advance(60)
    stopped = sent(world, f"/api/streams/{STREAM}/stop")
    assert (stopped["status"], stopped["startedAt"], stopped["stoppedAt"]) == (
        "stopped",
        NOON,
        "2026-11-21T12:01:00.000Z",
    )
    world.clock.advance(60)
    assert sent(world, f"/api/streams/{STREAM}/stop") == stopped


def test_a_start_after_a_stop_is_a_new_one(memory_world: World) -> None:
    world = memory_world
    sent(world, f"/api/streams/{STREAM}/start")
    sent(world, f"/api/streams/{STREAM}/stop")
    world.clock.advance(60)
    again = sent(world, f"/api/streams/{STREAM}/start")
    assert (again["status"], again["startedAt"], again["stoppedAt"], again["createdAt"]) == (
        "live",
        "2026-11-21T12:01:00.000Z",
        None,
        NOON,
    )


def test_a_stream_that_never_started_can_be_stopped(memory_world: World) -> None:
    register(memory_world)
    stopped = sent(memory_world, f"/api/streams/{STREAM}/stop")
    assert (stopped["status"], stopped["startedAt"], stopped["stoppedAt"]) == (
        "stopped",
        None,
        NOON,
    )


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"/api/streams/{STREAM}"), ("POST", f"/api/streams/{STREAM}/stop")]
)
def test_an_unknown_stream_is_not_found(memory_world: World, method: str, path: str) -> None:
    before = memory_world.snapshot()
    answer = memory_world.http(method, path, token=memory_world.admin)
    stays_as_it_is(memory_world, answer, 404, before)


def test_a_start_and_a_rename_at_once_both_take_effect(world: World) -> None:
    register(world, channelId="channel-1")

    def rename() -> None:
        register(world, title="Keynote", channelId="channel-2")

    with world.engine.interrupted("PutItem", world.tables["streams"].name, rename) as times:
        found = sent(world, f"/api/streams/{STREAM}/start")
    assert times
    assert (found["status"], found["title"], found["channelId"]) == (
        "live",
        "Keynote",
        "channel-2",
    )


def test_two_moves_at_once_leave_a_stream_in_one_channel(world: World) -> None:
    register(world, channelId="channel-1")
    name = world.tables["streams"].name

    def move() -> None:
        register(world, channelId="channel-2")

    with world.engine.interrupted("TransactWriteItems", name, move):
        register(world, channelId="channel-3")
    rows = world.tables["streams"].rows()
    channels = [row[Keys.PARTITION] for row in rows if row[Keys.PARTITION] != Keys.REGISTRY]
    assert channels == ["channel#channel-3"]


def test_a_registry_that_is_down_is_reported_as_busy(memory_world: World) -> None:
    def down() -> None:
        raise aws_error("ThrottlingException")

    name = memory_world.tables["streams"].name
    with memory_world.engine.interrupted("PutItem", name, down, times=100):
        answer = send(memory_world, f"/api/streams/{STREAM}/start")
    assert is_error(answer, 503)


@pytest.mark.parametrize(
    "body",
    [
        {"id": ""},
        {"id": "a b"},
        {"id": "a/b"},
        {"id": "a#b"},
        {"id": "é"},
        {"id": "x" * 129},
        {"id": 7},
        {"channelId": "a b"},
        {"channelId": ""},
        {"channelId": ["c"]},
        {"eventId": "<script>"},
        {"eventId": 1},
        {"title": "x" * 201},
        {"title": "a\nb"},
        {"title": 7},
        [],
        "text",
        None,
    ],
)
def test_a_registration_that_is_not_valid_is_refused(memory_world: World, body: object) -> None:
    before = memory_world.snapshot()
    stays_as_it_is(memory_world, send(memory_world, "/api/streams", body), 400, before)


@pytest.mark.parametrize("query", [{"status": "running"}, {"status": ""}, {"channelId": "a b"}])
def test_a_list_is_of_known_states_and_valid_channels(
    memory_world: World, query: dict[str, str]
) -> None:
    assert is_error(memory_world.get("/api/streams", token=memory_world.admin, **query), 400)


# ------------------------------------------------------------------------------------------- access


@pytest.mark.parametrize("path", READS)
def test_reads_are_admins(memory_world: World, path: str) -> None:
    register(memory_world)
    assert is_error(memory_world.get(path), 401)
    assert is_error(memory_world.get(path, token="nonsense"), 401)
    assert is_error(memory_world.get(path, token=memory_world.token(sub="u1")), 403)
    assert memory_world.get(path, token=memory_world.admin).status == 200


@pytest.mark.parametrize("path", ADMINS_WRITES)
def test_registering_starting_stopping_and_reporting_are_admins(
    memory_world: World, path: str
) -> None:
    sent(memory_world, f"/api/streams/{STREAM}/start")
    before = memory_world.snapshot()
    body = {"source": "rtmp", "load": 1}
    stays_as_it_is(memory_world, memory_world.http("POST", path, body=body), 401, before)
    user = memory_world.token(sub="u1")
    stays_as_it_is(
        memory_world, memory_world.http("POST", path, body=body, token=user), 403, before
    )


def test_a_token_in_the_query_works_too(memory_world: World) -> None:
    answer = memory_world.http("GET", READS[2], query={"token": memory_world.admin})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(("DELETE", path, "GET") for path in READS[1:]),
        *(("GET", path, "POST") for path in ADMINS_WRITES[1:]),
        ("GET", f"{ANALYTICS}/streams/{STREAM}/events", "POST"),
        ("DELETE", "/api/streams", "GET, POST"),
    ],
)
def test_another_method_is_answered_with_the_right_ones(
    memory_world: World, method: str, path: str, allowed: str
) -> None:
    answer = memory_world.http(method, path, token=memory_world.admin)
    assert is_error(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("tail", ["/a%20b", "/%3Cscript%3E", f"/{'x' * 129}", "/a%23b", "/%C3%A9"])
@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        ("GET", "/api/streams", ""),
        ("POST", "/api/streams", "/start"),
        ("POST", "/api/streams", "/stop"),
        ("GET", f"{ANALYTICS}/streams", "/metrics"),
        ("GET", f"{ANALYTICS}/real-time", ""),
        ("GET", f"{ANALYTICS}/comprehensive", ""),
        ("GET", f"{ANALYTICS}/historical", ""),
        ("POST", f"{ANALYTICS}/streams", "/events"),
        ("POST", f"{ANALYTICS}/streams", "/infrastructure"),
    ],
)
def test_an_id_that_is_not_valid_is_refused(
    memory_world: World, method: str, before: str, after: str, tail: str
) -> None:
    stored = memory_world.snapshot()
    answer = memory_world.http(method, before + tail + after, body={}, token=memory_world.admin)
    stays_as_it_is(memory_world, answer, 400, stored)
    assert "script" not in answer.body["error"]


def test_every_character_a_stream_may_have_works(memory_world: World) -> None:
    name = "aZ9._~@:+-"
    sent(memory_world, f"/api/streams/{name}/start")
    assert metrics(memory_world, name)["streamId"] == name


def test_where_streams_are_not_declared_they_are_refused(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="site")
    before = world.snapshot()
    for path in (*ADMINS_WRITES[1:], f"{ANALYTICS}/streams/{STREAM}/events"):
        body = {"type": "chat", "source": "rtmp", "load": 1}
        stays_as_it_is(world, send(world, path, body), 400, before)
    stays_as_it_is(world, send(world, "/api/streams", {"id": STREAM}), 400, before)


# ------------------------------------------------------------------------------------------ numbers


def test_a_stream_without_viewers_has_zeros_and_nulls(world: World) -> None:
    assert metrics(world) == {
        "streamId": STREAM,
        "currentViewers": 0,
        "peakViewers": 0,
        "totalViews": 0,
        "avgViewDuration": None,
        "chatMessages": None,
        "bandwidth": None,
        "quality": None,
        "buffering": None,
        "errors": None,
    }
    state = real_time(world)
    assert state == {
        "streamId": STREAM,
        "currentViewers": 0,
        "peakViewers": 0,
        "totalViews": 0,
        "avgViewDuration": None,
        "bandwidth": None,
        "latency": None,
        "errorRate": None,
        "uptime": None,
        "chatMessages": None,
        "reactions": None,
        "shares": None,
        "geographicDistribution": {},
        "deviceDistribution": {},
        "viewerTimeline": [{"timestamp": NOON, "viewers": 0, "chatActivity": None}],
        "isConnected": True,
        "lastUpdated": NOON,
        "error": None,
    }
    assert comprehensive(world) == {
        "streamId": STREAM,
        "stream": None,
        "metrics": {name: value for name, value in metrics(world).items() if name != "streamId"},
        "realTime": {name: value for name, value in state.items() if name != "streamId"},
        "engagement": {
            "chatMessages": None,
            "reactions": None,
            "shares": None,
            "revenue": None,
            "revenueToday": None,
            "perView": None,
        },
        "quality": {},
        "infrastructure": {},
        "facets": {},
        "days": [],
    }
    assert read(world, f"{ANALYTICS}/historical/nobody") == {
        "channelId": "nobody",
        "from": "2026-10-23",
        "to": "2026-11-21",
        "streams": [],
        "days": [],
    }


def test_answers_are_as_they_are_documented(memory_world: World) -> None:
    world = memory_world
    sent(world, "/api/streams", {"id": STREAM, "channelId": "channel-1"}, 201)
    world.beat("s1", SPACE, quality={"latency": 85.5}, engagement={"chat": 1}, page="/")
    reports(world, load=0.5)
    send_event(world, "revenue", amount=9.99)
    world.sweep()
    world.settle()
    for path in READS:
        (route,) = [
            one for one in routes.ROUTES if one.method == "GET" and one.pattern.fullmatch(path)
        ]
        body = world.get(path, token=world.admin).body
        assert body.keys() == route.answer.__annotations__.keys()
        assert TypeAdapter(route.answer).validate_json(json.dumps(body)) == body


def test_reading_stores_nothing(memory_world: World) -> None:
    memory_world.beat("s1", SPACE)
    register(memory_world)
    before = memory_world.snapshot()
    for path in READS:
        read(memory_world, path)
    assert memory_world.snapshot() == before


@pytest.mark.parametrize("shards", ["1", "3"])
def test_viewers_peak_views_and_durations_are_the_spaces(
    engine: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(engine, ShardsPerSpace=shards)
    for number in range(5):
        world.beat(f"s{number}", SPACE, visitorId=f"v{number}", page="/")
    world.beat("s4-again", SPACE, visitorId="v4")  # a second tab of the same person
    world.settle()
    world.clock.advance(20)
    world.leave("s0", SPACE)
    world.clock.advance(20)
    world.leave("s1", SPACE)
    world.settle()
    found = metrics(world)
    assert (found["currentViewers"], found["peakViewers"], found["totalViews"]) == (3, 5, 6)
    assert found["avgViewDuration"] == 30
    state = real_time(world)
    assert {name: state[name] for name in ("currentViewers", "peakViewers", "totalViews")} == {
        "currentViewers": 3,
        "peakViewers": 5,
        "totalViews": 6,
    }
    assert (state["avgViewDuration"], state["lastUpdated"]) == (30, "2026-11-21T12:00:40.000Z")


def test_a_read_right_after_a_beat_finds_it(world: World) -> None:
    world.beat("s1", SPACE, quality={"bandwidth": 4000}, engagement={"chat": 2})
    found = metrics(world)
    assert (found["currentViewers"], found["peakViewers"], found["totalViews"]) == (1, 1, 1)
    assert (found["bandwidth"], found["chatMessages"]) == (4000, 2)
    world.leave("s1", SPACE)
    assert metrics(world)["currentViewers"] == 0


def test_a_viewer_is_gone_after_sixty_seconds_without_a_beat(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", SPACE)
    world.clock.advance(59.999)
    assert metrics(world)["currentViewers"] == 1
    world.clock.advance(0.001)
    assert metrics(world)["currentViewers"] == 0


def test_the_mean_duration_is_null_until_the_first_visit_ends(memory_world: World) -> None:
    memory_world.beat("s1", SPACE)
    assert metrics(memory_world)["avgViewDuration"] is None
    memory_world.clock.advance(45)
    memory_world.leave("s1", SPACE)
    assert metrics(memory_world)["avgViewDuration"] == 45


def test_viewers_quality_numbers_are_averaged_or_added_over_those_who_send_them(
    world: World,
) -> None:
    measured = {"bandwidth": 4000, "latency": 100, "buffering": 2, "errors": 1, "quality": 720}
    world.beat("s1", SPACE, quality=measured)
    world.beat("s2", SPACE, quality={"bandwidth": 2001, "latency": 50, "quality": 1080})
    world.beat("s3", SPACE, quality={"buffering": 1, "errors": 2})
    world.beat("s4", SPACE)
    found = metrics(world)
    assert {name: found[name] for name in ("bandwidth", "quality", "buffering", "errors")} == {
        "bandwidth": 3000.5,
        "quality": 900,
        "buffering": 3,
        "errors": 3,
    }
    state = real_time(world)
    assert (state["bandwidth"], state["latency"], state["errorRate"]) == (3000.5, 75, 1.5)
    assert state["uptime"] is None
    assert comprehensive(world)["quality"]["latency"] == {"sessions": 2, "mean": 75.0}


def test_a_number_too_small_to_store_is_zero(world: World) -> None:
    world.beat("s1", SPACE, quality={"latency": 1e-300}, details={"position": 5e-324})
    assert real_time(world)["latency"] == 0


def test_a_viewers_quality_numbers_are_gone_once_they_leave(memory_world: World) -> None:
    memory_world.beat("s1", SPACE, quality={"latency": 900})
    memory_world.leave("s1", SPACE)
    assert real_time(memory_world)["latency"] is None


def test_devices_and_countries_count_people_by_browser_and_edge(
    memory_world: World,
) -> None:
    world = memory_world
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148"
    desktop = "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0"
    viewers = [("s1", phone, "DE"), ("s2", desktop, "DE"), ("s3", desktop, "FR")]
    for session, agent, country in viewers:
        world.http(
            "POST",
            f"/v1/spaces/{SPACE}/presence",
            body={"sessionId": session},
            headers={"user-agent": agent, "cloudfront-viewer-country": country},
        )
    world.beat("s4", SPACE)  # no browser, no edge
    state = real_time(world)
    assert state["geographicDistribution"] == {"DE": 2, "FR": 1}
    assert state["deviceDistribution"] == {"mobile": 1, "desktop": 2}
    assert comprehensive(world)["facets"]["country"] == [
        {"value": "DE", "count": 2, "people": 2},
        {"value": "FR", "count": 1, "people": 1},
    ]


def test_larger_streams_are_read_as_published(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    assert reading.LIVE_UP_TO == 2_000
    monkeypatch.setattr(reading, "LIVE_UP_TO", 2)
    for number in range(3):
        world.beat(f"s{number}", SPACE)
    world.settle()
    world.beat("s3", SPACE)
    assert metrics(world)["currentViewers"] == 3
    world.settle()
    assert metrics(world)["currentViewers"] == 4


# --------------------------------------------------------------------------------------- engagement


def test_engagement_is_added_up_from_events_and_beats(world: World) -> None:
    send_event(world, "chat")
    send_event(world, "chat", count=4)
    send_event(world, "reaction", count=1_000)
    world.beat("s1", SPACE, engagement={"chat": 2, "share": 1})
    world.beat("s1", SPACE, engagement={"chat": 3, "share": 1})  # totals of this visit so far
    world.settle()
    state = real_time(world)
    assert (state["chatMessages"], state["reactions"], state["shares"]) == (8, 1_000, 1)
    world.leave("s1", SPACE)
    world.settle()
    assert metrics(world)["chatMessages"] == 8


def test_a_count_is_null_until_the_first_and_zero_if_clients_send_zero(
    memory_world: World,
) -> None:
    memory_world.beat("s1", SPACE, engagement={"chat": 0})
    state = real_time(memory_world)
    assert (state["chatMessages"], state["reactions"], state["shares"]) == (0, None, None)


def test_revenue_is_added_up_with_refunds_in_total_and_today(world: World) -> None:
    send_event(world, "revenue", amount=0.1)
    send_event(world, "revenue", amount=0.2)
    world.clock.set("2026-11-22T00:00:01Z")
    assert comprehensive(world)["engagement"]["revenueToday"] == 0
    send_event(world, "revenue", amount=20)
    send_event(world, "revenue", amount=-5.5)
    engagement = comprehensive(world)["engagement"]
    assert (engagement["revenue"], engagement["revenueToday"]) == (14.8, 14.5)


def test_engagement_per_view_counts_chat_reactions_and_shares_but_no_revenue(
    memory_world: World,
) -> None:
    world = memory_world
    send_event(world, "chat")
    assert comprehensive(world)["engagement"]["perView"] is None
    world.beat("s1", SPACE)
    world.beat("s2", SPACE)
    send_event(world, "reaction")
    send_event(world, "share")
    send_event(world, "revenue", amount=100)
    assert comprehensive(world)["engagement"]["perView"] == 1.5


def test_a_beat_can_not_report_revenue(memory_world: World) -> None:
    world = memory_world
    path = f"/v1/spaces/{SPACE}/presence"
    for name in ("revenue", "$revenue"):
        forged = {"sessionId": "s1", "engagement": {name: 1_000_000}}
        assert is_error(world.http("POST", path, body=forged), 400)
    engagement = comprehensive(world)["engagement"]
    assert (engagement["revenue"], engagement["revenueToday"]) == (None, None)


def test_revenue_is_in_no_public_count(memory_world: World) -> None:
    world = memory_world
    send_event(world, "revenue", amount=10)
    send_event(world, "chat")
    world.beat("s1", SPACE)
    world.settle()
    answer = world.get(f"/v1/spaces/{SPACE}")
    assert (answer.status, answer.body["engagement"]) == (200, {"chat": 1})


def test_only_admins_report_revenue(memory_world: World) -> None:
    world = memory_world
    before = world.snapshot()
    path = f"{ANALYTICS}/streams/{STREAM}/events"
    body = {"type": "revenue", "amount": 5}
    stays_as_it_is(world, world.http("POST", path, body=body), 401, before)
    user = world.token(sub="u1")
    stays_as_it_is(world, world.http("POST", path, body=body, token=user), 403, before)


@pytest.mark.parametrize("verified", ["true", "false"])
def test_a_session_that_is_here_may_send_events_with_any_token(
    memory: Engine, worlds: Worlds, verified: str
) -> None:
    world = worlds(memory, RequireVerifiedUsers=verified)
    path = f"{ANALYTICS}/streams/{STREAM}/events"
    world.beat("s1", f"stream:{STREAM}")
    for token in (None, "nonsense", world.token(sub="u1")):
        body = {"type": "chat", "sessionId": "s1"}
        assert world.http("POST", path, body=body, token=token).status == 200
    assert metrics(world)["chatMessages"] == 3


def test_nobody_else_sends_events(memory_world: World) -> None:
    world = memory_world
    path = f"{ANALYTICS}/streams/{STREAM}/events"
    world.beat("elsewhere", "stream:another")
    world.beat("left", f"stream:{STREAM}")
    world.leave("left", f"stream:{STREAM}")
    world.beat("lapsed", f"stream:{STREAM}")
    world.clock.advance(61)
    before = world.snapshot()
    for session, status in ((None, 401), *((one, 403) for one in ("elsewhere", "left", "lapsed"))):
        body = {"type": "share", "count": 1000, **({"sessionId": session} if session else {})}
        assert world.http("POST", path, body=body).status == status
    token = world.token(headcount_scopes="ingest:stream:another")
    assert world.http("POST", path, body={"type": "share"}, token=token).status == 403
    assert world.snapshot() == before


def test_the_events_of_a_session_are_bounded(memory_world: World) -> None:
    world = memory_world
    path, space = f"{ANALYTICS}/streams/{STREAM}/events", f"stream:{STREAM}"
    world.beat("s1", space, visitorId="v1")
    body = {"type": "chat", "count": 1000, "sessionId": "s1"}
    statuses = [world.http("POST", path, body=body).status for _ in range(60)]
    assert 10 <= statuses.count(200) <= 20
    assert set(statuses) == {200, 429}
    assert metrics(world)["chatMessages"] <= 20 * MAX_GROWTH
    for _ in range(MAX_ENGAGED // MAX_GROWTH):
        world.clock.advance(10)
        world.beat("s1", space, visitorId="v1")
        last = world.http("POST", path, body=body)
    assert last.status == 403
    assert metrics(world)["chatMessages"] <= MAX_ENGAGED
    world.settle()
    act(world, "POST", "removals", {"visitorId": "v1"}, space=space)
    world.settle()
    world.clock.advance(20)
    assert world.http("POST", path, body=body).status == 403


def test_an_event_may_come_as_text_with_more_fields(memory_world: World) -> None:
    memory_world.beat("s1", f"stream:{STREAM}")
    answer = memory_world.http(
        "POST",
        f"{ANALYTICS}/streams/{STREAM}/events",
        body='{"type": "chat", "sessionId": "s1", "text": "hello"}',
        headers={"content-type": "text/plain"},
    )
    assert answer.status == 200
    assert "hello" not in str(memory_world.snapshot())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "like"},
        {"type": 1},
        {"type": None},
        {"type": "chat", "count": 0},
        {"type": "chat", "count": -1},
        {"type": "chat", "count": 1001},
        {"type": "chat", "count": 1.5},
        {"type": "chat", "count": "2"},
        {"type": "chat", "count": True},
        {"type": "chat", "amount": 1},
        {"type": "revenue"},
        {"type": "revenue", "amount": "5"},
        {"type": "revenue", "amount": True},
        {"type": "revenue", "amount": 1e13},
        {"type": "revenue", "amount": float("nan")},
        {"type": "revenue", "amount": float("inf")},
        {"type": "revenue", "amount": 5, "count": 1},
        [],
        "chat",
        None,
    ],
)
def test_an_event_that_is_not_valid_is_refused(memory_world: World, body: object) -> None:
    before = memory_world.snapshot()
    answer = send(memory_world, f"{ANALYTICS}/streams/{STREAM}/events", body)
    stays_as_it_is(memory_world, answer, 400, before)
    assert "Input" not in answer.body["error"]


# ----------------------------------------------------------------------------------- infrastructure


def test_servers_reports_count_for_five_minutes(world: World) -> None:
    reports(world, "rtmp", bandwidth=6000, latency=40, errorRate=0.02, uptime=3600, load=0.5)
    reports(world, "cdn", bandwidth=8000, latency=20, uptime=7200)
    world.clock.advance(299.999)
    state = real_time(world)
    assert {name: state[name] for name in ("bandwidth", "latency", "errorRate", "uptime")} == {
        "bandwidth": 7000,
        "latency": 30,
        "errorRate": 0.02,
        "uptime": 5400,
    }
    assert metrics(world)["bandwidth"] == 7000
    assert comprehensive(world)["infrastructure"]["cdn"]["stale"] is False
    world.clock.advance(0.001)
    state = real_time(world)
    assert [state[name] for name in ("bandwidth", "latency", "errorRate", "uptime")] == [None] * 4
    assert comprehensive(world)["infrastructure"] == {
        "cdn": {
            "at": NOON,
            "stale": True,
            "numbers": {"bandwidth": 8000, "latency": 20, "uptime": 7200},
        },
        "rtmp": {
            "at": NOON,
            "stale": True,
            "numbers": {
                "bandwidth": 6000,
                "latency": 40,
                "errorRate": 0.02,
                "uptime": 3600,
                "load": 0.5,
            },
        },
    }


def test_a_new_report_replaces_the_last_one(memory_world: World) -> None:
    reports(memory_world, latency=40, load=0.5)
    memory_world.clock.advance(1)
    reports(memory_world, latency=30)
    assert comprehensive(memory_world)["infrastructure"] == {
        "rtmp": {"at": "2026-11-21T12:00:01.000Z", "stale": False, "numbers": {"latency": 30}}
    }


def test_bandwidth_and_latency_come_from_viewers_if_they_send_them_and_the_error_rate_from_servers(
    memory_world: World,
) -> None:
    world = memory_world
    reports(world, bandwidth=6000, latency=40, errorRate=0.02)
    world.beat("s1", SPACE, quality={"bandwidth": 4000, "errors": 3})
    state = real_time(world)
    assert (state["bandwidth"], state["latency"], state["errorRate"]) == (4000, 40, 0.02)
    assert metrics(world)["errors"] == 3


def test_further_numbers_are_kept_to_six_decimals(memory_world: World) -> None:
    reports(memory_world, "container-7", droppedFrames=12, gpu_load=0.123456789, tiny=1e-300)
    found = comprehensive(memory_world)["infrastructure"]["container-7"]["numbers"]
    assert found == {"droppedFrames": 12, "gpu_load": 0.123457, "tiny": 0}


def test_a_stream_has_at_most_sixteen_sources_and_those_go_on_reporting(
    memory_world: World,
) -> None:
    world = memory_world
    for number in range(16):
        reports(world, f"source-{number}", load=1)
    before = world.snapshot()
    path = f"{ANALYTICS}/streams/{STREAM}/infrastructure"
    answer = send(world, path, {"source": "one-more", "load": 1})
    stays_as_it_is(world, answer, 409, before)
    reports(world, "source-7", load=2)


@pytest.mark.parametrize(
    "body",
    [
        {"load": 1},
        {"source": "rtmp"},
        {"source": "rtmp", "load": None},
        {"source": "", "load": 1},
        {"source": "RTMP", "load": 1},
        {"source": "rtmp#1", "load": 1},
        {"source": "x" * 33, "load": 1},
        {"source": 7, "load": 1},
        {"source": "rtmp", "load": "high"},
        {"source": "rtmp", "load": True},
        {"source": "rtmp", "load": 1e13},
        {"source": "rtmp", "load": float("nan")},
        {"source": "rtmp", "frames": float("-inf")},
        {"source": "rtmp", "frames": [1]},
        {"source": "rtmp", "frames": "<script>"},
        {"source": "rtmp", "a b": 1},
        {"source": "rtmp", "": 1},
        {"source": "rtmp", "_x": 1},
        {"source": "rtmp", "é": 1},
        {"source": "rtmp", "x" * 33: 1},
        {"source": "rtmp", **{f"n{number}": number for number in range(17)}},
        [],
        None,
    ],
)
def test_a_report_that_is_not_valid_is_refused(memory_world: World, body: object) -> None:
    before = memory_world.snapshot()
    answer = send(memory_world, f"{ANALYTICS}/streams/{STREAM}/infrastructure", body)
    stays_as_it_is(memory_world, answer, 400, before)
    assert "Input" not in answer.body["error"]
    assert "script" not in str(answer.body)


# ----------------------------------------------------------------------------------------- timeline


def test_the_timeline_has_the_last_hours_minutes_and_this_moment(world: World) -> None:
    for minute in range(3):
        world.beat("s1", SPACE, engagement={"chat": 2 * minute})
        send_event(world, "chat")
        world.beat("s2", SPACE)
        if minute == 2:
            world.leave("s2", SPACE)
        world.sweep()
        world.settle()
        world.clock.set(f"2026-11-21T12:0{minute}:30Z")
        world.beat("s1", SPACE)
        if minute < 2:
            world.beat("s2", SPACE)
        world.clock.set(f"2026-11-21T12:0{minute + 1}:00Z")
    send_event(world, "chat", count=5)
    assert real_time(world)["viewerTimeline"] == [
        {"timestamp": "2026-11-21T12:00:00.000Z", "viewers": 2, "chatActivity": None},
        {"timestamp": "2026-11-21T12:01:00.000Z", "viewers": 2, "chatActivity": 3},
        {"timestamp": "2026-11-21T12:02:00.000Z", "viewers": 1, "chatActivity": 3},
        {"timestamp": "2026-11-21T12:03:00.000Z", "viewers": 1, "chatActivity": 5},
    ]


def test_the_timelines_first_point_counts_from_the_minute_before_the_hour(
    memory_world: World,
) -> None:
    world = memory_world
    world.services("api").history.add_points(
        Point(SPACE, world.clock() + minute * MINUTE, 1, 1, {"chat": minute})
        for minute in range(63)
    )
    world.clock.advance(63 * 60)
    send_event(world, "chat", count=70)
    found = real_time(world)["viewerTimeline"]
    assert len(found) == 61
    assert found[0] == {"timestamp": "2026-11-21T12:03:00.000Z", "viewers": 1, "chatActivity": 1}
    assert found[-1] == {"timestamp": "2026-11-21T13:03:00.000Z", "viewers": 0, "chatActivity": 8}


def test_without_chat_the_timeline_has_no_chat_activity(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", SPACE)
    world.sweep()
    world.clock.advance(20)
    assert real_time(world)["viewerTimeline"] == [
        {"timestamp": NOON, "viewers": 1, "chatActivity": None},
        {"timestamp": "2026-11-21T12:00:20.000Z", "viewers": 1, "chatActivity": None},
    ]


# ------------------------------------------------------------------------------------------ history


def watch(world: World, stream: str, seconds: float, *sessions: str) -> None:
    """Sessions come, stay and leave."""
    space = f"stream:{stream}"
    for session in sessions:
        world.beat(session, space, visitorId=session)
    world.settle()
    world.clock.advance(seconds)
    for session in sessions:
        world.leave(session, space)
    world.settle()


def test_a_channels_history_adds_up_its_streams_days(world: World) -> None:
    for stream in ("a", "b", "elsewhere"):
        channel = "channel-2" if stream == "elsewhere" else "channel-1"
        register(world, stream, channelId=channel)
        world.clock.advance(1)
    watch(world, "a", 30, "v1", "v2", "v3")
    watch(world, "b", 10, "v1")
    watch(world, "elsewhere", 10, "v9")
    send_event(world, "chat", "a", count=3)
    send_event(world, "chat", "b", count=4)
    send_event(world, "reaction", "b")
    send_event(world, "revenue", "a", amount=9.9)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    watch(world, "b", 20, "v4")
    expected = [
        {
            "date": "2026-11-21",
            "uniqueViewers": 4,
            "views": 4,
            "peakViewers": 3,
            "avgViewDuration": 25,
            "chatMessages": 7,
            "reactions": 1,
            "shares": None,
            "revenue": 9.9,
        },
        {
            "date": "2026-11-22",
            "uniqueViewers": 1,
            "views": 1,
            "peakViewers": 1,
            "avgViewDuration": 20,
            "chatMessages": None,
            "reactions": None,
            "shares": None,
            "revenue": None,
        },
    ]
    path = f"{ANALYTICS}/historical/channel-1"
    assert read(world, path) == {
        "channelId": "channel-1",
        "from": "2026-10-24",
        "to": "2026-11-22",
        "streams": ["b", "a"],
        "days": expected,
    }
    assert read(world, path, **{"from": "2026-11-22"})["days"] == expected[1:]
    assert read(world, path, to="2026-11-21")["days"] == expected[:1]
    assert read(world, path, **{"from": "2026-11-01", "to": "2026-11-20"})["days"] == []
    assert [day["views"] for day in comprehensive(world, "a")["days"]] == [3]


def test_a_channels_history_is_of_its_two_hundred_newest_streams(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    assert routes.MAX_CHANNEL_STREAMS == 200
    monkeypatch.setattr(routes, "MAX_CHANNEL_STREAMS", 2)
    for stream in ("a", "b", "c"):
        register(world, stream, channelId="channel-1")
        world.clock.advance(1)
    assert read(world, f"{ANALYTICS}/historical/channel-1")["streams"] == ["c", "b"]


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": ""},
        {"from": "2026-11-22", "to": "2026-11-21"},
        {"from": "2024-01-01", "to": "2026-11-21"},
        {"to": "0001-01-01"},
    ],
)
def test_a_history_is_of_days_that_exist_and_at_most_400(
    memory_world: World, query: dict[str, str]
) -> None:
    path = f"{ANALYTICS}/historical/channel-1"
    assert is_error(memory_world.get(path, token=memory_world.admin, **query), 400)


def test_unexpected_errors_reveal_no_details(memory_world: World) -> None:
    def fail() -> None:
        raise RuntimeError("a secret")

    name = memory_world.tables["headcounts"].name
    with memory_world.engine.interrupted("GetItem", name, fail):
        answer = memory_world.get(READS[2], token=memory_world.admin)
    assert is_error(answer, 500)
    assert "secret" not in str(answer.body)


def test_a_body_over_the_limit_is_refused(memory_world: World) -> None:
    event = http_event(
        "POST",
        f"{ANALYTICS}/streams/{STREAM}/events",
        body={"type": "chat", "text": "x" * 20_000},
    )
    assert is_error(Answer.of(memory_world.invoke("api", event)), 413)


def test_engagement_of_an_expired_visit_stays_counted(world: World) -> None:
    world.beat("a", SPACE, engagement={"chat": 7})
    world.settle()
    world.clock.advance(61)
    assert metrics(world)["chatMessages"] == 7
    world.beat("b", SPACE)
    world.settle()
    assert world.headcount(SPACE)["engagement"] == {"chat": 7}
    for _ in range(3):
        world.sweep()
        world.settle()
        assert metrics(world)["chatMessages"] == 7
        world.clock.advance(30)
        world.beat("b", SPACE)
    activity = {point["chatActivity"] for point in real_time(world)["viewerTimeline"]}
    assert activity <= {0, None}


def test_engagement_never_falls_while_ends_are_on_their_way(world: World) -> None:
    for session in ("a", "b", "c"):
        world.beat(session, SPACE, engagement={"chat": 5})
    world.settle()
    for session in ("a", "b"):
        world.leave(session, SPACE)
    first, second = world.filtered("count")
    world.count([first])
    world.publish(world.filtered("publish"))
    assert world.headcount(SPACE)["engagement"] == {"chat": 15}
    world.count([second])
    world.settle()
    assert world.headcount(SPACE)["engagement"] == {"chat": 15}


def test_a_view_that_is_added_during_a_read_is_not_missed(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    world.beat("a", SPACE)
    world.beat("b", SPACE)
    known = VisitsTable.recorded

    def slow(self: VisitsTable, visits: Any) -> set[str]:
        wanted = list(visits)
        world.settle()
        return known(self, wanted)

    monkeypatch.setattr(VisitsTable, "recorded", slow)
    assert metrics(world)["totalViews"] == 2


@pytest.mark.parametrize(("conflicts", "status"), [(3, 200), (99, 503)])
def test_revenue_of_many_streams_at_once_waits_for_its_turn_at_the_total(
    memory_world: World, conflicts: int, status: int
) -> None:
    world, tries = memory_world, []

    def conflict(**_: object) -> None:
        tries.append(None)
        if len(tries) <= conflicts:
            error: Any = aws_error("TransactionCanceledException", 400, "TransactWriteItems")
            reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
            error.response["CancellationReasons"] = reasons
            raise error

    events = world.engine.client.meta.events
    event = "before-parameter-build.dynamodb.TransactWriteItems"
    events.register(event, conflict, unique_id="conflict")
    try:
        path = f"{ANALYTICS}/streams/{STREAM}/events"
        revenue = {"type": "revenue", "amount": 5}
        answer = world.http("POST", path, body=revenue, token=world.admin)
    finally:
        events.unregister(event, unique_id="conflict")
    assert answer.status == status
