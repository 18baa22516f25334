"""The sample events in events/ are real: each goes through its function's handler."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.store.presence import from_item, to_item

from lab.harness.consumer import EVENTS as EVENT_PARAMETERS
from lab.harness.consumer import by_number, validated
from lab.harness.containers import CONTAINERS, listen
from lab.harness.engines import Engine
from lab.harness.fakes import SECRET
from lab.harness.filters import matches, passes, patterns_of
from lab.harness.template import EMULATED, ROOT, template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.receivers import receiver

EVENTS = {path.stem: path for path in (ROOT / "events").glob("*.json")}


def event(name: str) -> Any:
    return json.loads(EVENTS[name].read_text())


def test_every_function_has_an_event_and_every_event_a_function() -> None:
    functions = template().functions
    owners = {
        max((one for one in functions if f"{name}_".startswith(f"{one}_")), key=len, default=name)
        for name in EVENTS
    }
    assert owners == set(functions)


def test_a_beat(memory_world: World) -> None:
    answer = memory_world.invoke("beat", event("beat_join"))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["space"] == SITE
    assert len(memory_world.live_sessions()) == 1


def test_a_read_of_a_headcount(memory_world: World) -> None:
    answer = memory_world.invoke("api", event("api_headcount"))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["people"] == 0


def test_the_dashboard(memory_world: World) -> None:
    answer = memory_world.invoke("site", event("site_dashboard"))
    assert answer["statusCode"] == 200
    assert answer["headers"]["content-encoding"] == "gzip"


def test_a_dashboard_that_connects_subscribes_and_goes(memory_world: World) -> None:
    world = memory_world
    connect = event("socket_connect")
    assert world.invoke("socket", connect)["statusCode"] == 401
    connect["queryStringParameters"]["token"] = world.admin
    assert world.invoke("socket", connect) == {"statusCode": 200}
    assert world.invoke("socket", event("socket_subscribe")) == {"statusCode": 200}
    (connection,) = world.management.frames
    assert world.versions(connection) == [0]
    assert world.invoke("socket", event("socket_disconnect")) == {"statusCode": 200}
    assert world.tables["subscriptions"].rows() == []


def test_a_join_is_counted(memory_world: World) -> None:
    memory_world.invoke("beat", event("beat_join"))
    memory_world.invoke("count", event("count_join"))
    memory_world.settle()
    assert memory_world.people() == 1
    assert len(memory_world.ledger()) == 1


def test_the_join_is_the_row_of_the_beat(memory_world: World) -> None:
    memory_world.invoke("beat", event("beat_join"))
    (written,) = memory_world.filtered("count")
    (sample,) = event("count_join")["Records"]
    assert sample["dynamodb"]["NewImage"] == written["dynamodb"]["NewImage"]
    assert to_item(from_item(sample["dynamodb"]["NewImage"])) == sample["dynamodb"]["NewImage"]
    assert sample.keys() == written.keys()
    assert sample["dynamodb"].keys() == written["dynamodb"].keys()


@pytest.mark.parametrize(
    ("name", "function"), [("count_join", "count"), ("publish_counts", "publish")]
)
def test_a_stream_event_passes_the_filter_of_its_function(name: str, function: str) -> None:
    (source,) = template().events(function, "DynamoDB")
    assert all(passes(record, patterns_of(source)) for record in event(name)["Records"])


def test_new_counts_are_published(memory_world: World) -> None:
    answer = memory_world.invoke("publish", event("publish_counts"))
    assert answer == {"batchItemFailures": []}
    assert memory_world.headcount()["version"] == 1


def test_a_chunk_is_delivered(memory_world: World) -> None:
    memory_world.invoke("fanout", event("fanout_chunk"))
    (frames,) = memory_world.management.frames.values()
    assert [frame["version"] for frame in frames] == [1]


def test_a_minute(memory_world: World) -> None:
    memory_world.beat("s1")
    report = memory_world.invoke("cleanup", event("cleanup_schedule"))
    assert report["rows"] == 1


def test_a_night(memory_world: World) -> None:
    assert memory_world.invoke("daily", event("daily_schedule")) == {"written": 0}


def test_a_launch_of_a_container(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, **CONTAINERS)
    launch = event("containers_launch")
    assert world.invoke("containers", launch)["statusCode"] == 401
    launch["headers"]["authorization"] = f"Bearer {world.admin}"
    answers = [world.invoke("containers", launch) for _ in range(2)]
    first, again = (json.loads(answer["body"]) for answer in answers)
    assert first["eventId"] == "event-42"
    assert again == first


def test_a_change_of_a_container(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, **CONTAINERS)
    change = event("container_changes_task")
    container = change["detail"]["taskArn"].rpartition("/")[2]
    listen(world, container, "c1")
    world.invoke("container_changes", change)
    (frame,) = world.management.frames["c1"]
    assert (frame["data"]["eventId"], frame["data"]["status"]) == ("event-42", "running")


def test_a_change_of_a_container_passes_the_rule_of_its_cluster() -> None:
    name = ("container_changes", "EventBridgeRule")
    (rule,) = template().events(*name, Containers="cluster=FargateCluster")
    assert matches(event("container_changes_task"), rule["Pattern"])


def test_an_erasure_is_the_message_that_the_api_leaves_and_goes_on(memory_world: World) -> None:
    memory_world.http("POST", "/v1/erasures", body={"userId": "u1"}, token=memory_world.admin)
    ((_, left),) = memory_world.queue.erasures
    (record,) = event("erase_begin")["Records"]
    assert json.loads(left).keys() == json.loads(record["body"]).keys()
    memory_world.beat("s1", userId="u1")
    memory_world.invoke("erase", event("erase_begin"))
    _, text = memory_world.queue.erasures.pop()
    memory_world.invoke("erase", {"Records": [{"body": text}]})
    assert memory_world.presence_rows() == []


def test_a_visit_is_sent_as_an_event(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, **EVENT_PARAMETERS)
    assert world.invoke("events", event("events_visit")) == {"batchItemFailures": []}
    (sent,) = by_number(world.bus.events)
    assert sent["visit"]["joinedAt"] == "2026-11-21T12:00:00.000Z"
    # The webhook's sample contains it.
    (message,) = event("webhook_joined")["Records"]
    assert json.loads(message["body"])["detail"] == sent


def test_the_visit_is_the_row_of_the_join(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, **EVENT_PARAMETERS)
    world.count(event("count_join")["Records"])
    (written,) = world.changes()
    (sample,) = event("events_visit")["Records"]
    assert sample["dynamodb"]["NewImage"] == written["dynamodb"]["NewImage"]
    assert sample.keys() == written.keys()
    assert sample["dynamodb"].keys() == written["dynamodb"].keys()


def test_an_event_is_posted(memory: Engine, worlds: Worlds) -> None:
    with receiver() as sink:
        world = worlds(memory, **{**EVENT_PARAMETERS, **EMULATED, "WebhookUrl": sink.url})
        assert world.invoke("webhook", event("webhook_joined")) == {"batchItemFailures": []}
    (post,) = sink.posts
    assert validated(post.event)["type"] == "joined"
    assert post.is_signed_with(SECRET)


def test_a_deferred_task(memory_world: World) -> None:
    memory_world.connect("c1", path="/api/ws/analytics/realtime")
    memory_world.invoke("deferred", event("deferred_overview"))
    (frame,) = memory_world.management.frames["c1"]
    assert frame["type"] == "analytics"
