"""The AsyncAPI document: valid, and equal to what goes over the sockets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from headcount.documents import asyncapi
from headcount.settings import Settings
from jsonschema import Draft7Validator, Draft202012Validator

from lab.harness.containers import CONTAINERS, changed, launch
from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.template import ROOT, template
from lab.harness.world import World
from tests.conftest import Worlds
from tests.support.asyncapi_schema import published

_settings = Settings(template().environment("api"))
DOCUMENT = asyncapi.document(tuple(_settings.kinds.names), _settings.token_cookie)
DASHBOARD, REALTIME, METRICS, CONTAINER = "dashboard", "realtime", "metrics", "container"
PRESENCE, COUNT = "presence", "count"
GUIDE = (ROOT / "docs" / "websocket.md").read_text()


def resolve(ref: str) -> Any:
    """The target of a reference within the document."""
    found: Any = DOCUMENT
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found


def problems(message: dict[str, Any], frame: Any) -> list[str]:
    """The errors of a frame against a message's payload."""
    schema = {**message["payload"], "components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(frame)]


def messages(channel: str, action: str) -> dict[str, dict[str, Any]]:
    """The messages that the server receives or sends on a channel, by name."""
    operation = DOCUMENT["operations"][f"{channel}_{action}"]
    assert operation["channel"] == {"$ref": f"#/channels/{channel}"}
    found = [resolve(resolve(one["$ref"])["$ref"]) for one in operation["messages"]]
    return {message["name"]: message for message in found}


def is_documented(channel: str, frame: Any) -> bool:
    """Whether a frame matches exactly one of the messages that a channel sends."""
    sent = messages(channel, "send").values()
    return [problems(message, frame) for message in sent].count([]) == 1


def test_the_document_is_asyncapi() -> None:
    validator = Draft7Validator(published("3.0.0"))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []


def test_every_reference_leads_somewhere() -> None:
    refs = re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT))
    assert len(refs) > 20
    assert all(resolve(ref) for ref in refs)


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_a_schema_is_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])


def test_anyone_may_cache_the_document_for_five_minutes(memory_world: World) -> None:
    answer = memory_world.get("/asyncapi.json")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.body == DOCUMENT


def test_every_message_has_a_description() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        assert message["summary"].endswith(".")
    for channel in DOCUMENT["channels"].values():
        assert channel["description"].endswith(".")


@pytest.mark.parametrize("action", ["subscribe", "snapshot", "unsubscribe", "ping"])
def test_every_documented_message_of_a_dashboard_is_accepted(
    memory_world: World, action: str
) -> None:
    message = {"action": action} if action == "ping" else {"action": action, "space": "site:main"}
    assert problems(messages(DASHBOARD, "receive")[action], message) == []
    memory_world.connect("c1")
    memory_world.send("c1", message)
    assert "error" not in [frame["type"] for frame in memory_world.management.frames["c1"]]


def test_a_dashboard_can_send_nothing_else(memory_world: World) -> None:
    assert set(messages(DASHBOARD, "receive")) == {
        *("subscribe", "snapshot", "unsubscribe", "watch", "unwatch", "ping")
    }
    memory_world.connect("c1")
    memory_world.send("c1", {"action": "shout"})
    (frame,) = memory_world.management.frames["c1"]
    assert problems(messages(DASHBOARD, "send")["error"], frame) == []


def test_a_dashboards_frames_match_the_document(memory_world: World) -> None:
    world = memory_world
    below = "/v1/spaces/site:main"
    full: Any = {"type": "milestone", "people": 1}
    rush: Any = {"type": "spike", "factor": 2, "minutes": 5, "atLeast": 1}
    for name, rule in (("full", full), ("rush", rush)):
        assert (
            world.http("PUT", f"{below}/alerts/{name}", token=world.admin, body=rule).status == 200
        )
    text: Any = {"text": "Back at noon."}
    assert world.http("POST", f"{below}/messages", token=world.admin, body=text).status == 200
    world.subscribe("c1")
    world.send("c1", {"action": "watch", "people": ["c:u1"]})
    world.beat("s1", userId="u1", page="/", quality={"bandwidth": 1.5}, engagement={"chat": 2})
    world.settle()
    world.clock.advance(20)
    world.leave("s1")
    world.settle()
    world.send("c1", {"action": "ping"})
    world.send("c1", {"action": "subscribe", "space": "nothing:here"})
    world.send("c1", "{")
    frames = world.management.frames["c1"]
    types = [frame["type"] for frame in frames]
    assert types[-3:] == ["pong", "error", "error"]
    # When subscribing, of the join and the leave, of the rules, and of the engagement that ended.
    assert types.count("headcount") == 5
    assert types.count("alert") == 2
    assert set(types) == set(messages(DASHBOARD, "send"))
    assert all(is_documented(DASHBOARD, frame) for frame in frames)


def test_a_viewers_messages_and_frames_match_the_document(memory_world: World) -> None:
    world = memory_world
    sent = messages(PRESENCE, "receive")
    assert set(sent) == {"beat", "ping"}
    query = DOCUMENT["channels"][PRESENCE]["bindings"]["ws"]["query"]["properties"]
    fields = dict.fromkeys(
        {*query} - {"token", "space", "sessionId", "seq", "facets", "changed", "listen"}, "hidden"
    )
    fields["listen"] = "count"
    assert world.connect_viewer("c1", "s1", seq=1, facets={"chapter": "1"}, **fields) == {
        "statusCode": 200
    }
    (row,) = world.presence_rows()
    assert row.keys() >= {"user", "visitor", "name", "avatar", "page", "state", "seq", "facets"}
    world.settle()
    world.http(
        "POST", "/v1/spaces/site:main/messages", token=world.admin, body={"text": "Back at noon."}
    )
    world.settle()
    world.clock.advance(2)
    beat = {
        "visitorId": "v1",
        "name": "Ada",
        "avatar": "/a.png",
        "page": "/",
        "state": "hidden",
        "facets": {"chapter": "2"},
        "seq": 2,
        "quality": {"bandwidth": 4.5},
        "answer": True,
        "engagement": {"chat": 3},
        "details": {"title": "x"},
        "changed": True,
    }
    assert problems(sent["beat"], {"action": "beat", **beat, "userId": "active"}) == []
    world.send_beat("c1", **beat)
    world.send("c1", {"action": "ping"})
    world.send_beat("c1", page=7)
    for number in range(20):
        world.send_beat("c1", page=f"/{number}")
    frames = world.management.frames["c1"]
    assert "retryAfter" in frames[-1]
    assert "notice" in next(frame for frame in frames if frame["type"] == "present")
    assert {frame["type"] for frame in frames} == set(messages(PRESENCE, "send"))
    assert all(is_documented(PRESENCE, frame) for frame in frames)


@pytest.mark.parametrize(("channel", "address"), [(METRICS, "s1"), (REALTIME, "")])
def test_a_stream_feeds_frames_match_the_document(
    memory_world: World, channel: str, address: str
) -> None:
    world = memory_world
    path = DOCUMENT["channels"][channel]["address"].replace("{id}", address)
    assert world.connect("c1", path=path) == {"statusCode": 200}
    world.run_deferred()
    world.beat("v1", "stream:s1", quality={"bandwidth": 4.5, "errors": 2}, engagement={"chat": 3})
    world.settle()
    world.send("c1", "still here")
    frames = world.management.frames["c1"]
    assert len(frames) >= 3
    assert {frame["type"] for frame in frames} == set(messages(channel, "send"))
    assert all(is_documented(channel, frame) for frame in frames)


def test_a_container_feeds_frames_match_the_document(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, **CONTAINERS)
    container = launch(world)
    path = DOCUMENT["channels"][CONTAINER]["address"].replace("{id}", container)
    assert world.connect("c1", path=path) == {"statusCode": 200}
    world.run_deferred()
    changed(world, world.ecs.change(container, "RUNNING"))
    world.send("c1", "")
    frames = world.management.frames["c1"]
    assert len(frames) == 3
    assert all(is_documented(CONTAINER, frame) for frame in frames)


def test_a_number_too_many_or_too_few_is_noticed(memory_world: World) -> None:
    memory_world.subscribe("c1")
    (frame,) = memory_world.management.frames["c1"]
    assert not is_documented(DASHBOARD, {**frame, "more": 1})
    assert not is_documented(DASHBOARD, {**frame, "data": {**frame["data"], "people": None}})
    del frame["data"]["version"]
    assert not is_documented(DASHBOARD, frame)


def test_the_guides_examples_match_the_document() -> None:
    named = {
        message["name"]: message
        for channel in DOCUMENT["channels"]
        for action in ("receive", "send")
        for message in messages(channel, action).values()
    }
    del named["heartbeat"]
    known = list(named.values())
    examples = [
        json.loads(line)
        for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
        for line in re.split(r"\n(?=\{)", block.strip())
    ]
    shown = set()
    for example in examples:
        names = [message["name"] for message in known if problems(message, example) == []]
        assert len(names) == 1, example
        shown.update(names)
    assert shown == {message["name"] for message in known}


@pytest.mark.parametrize("channel", sorted(DOCUMENT["channels"]))
def test_the_guide_names_every_address(channel: str) -> None:
    assert f"`{DOCUMENT['channels'][channel]['address']}`" in GUIDE


def test_a_listeners_frames_match_the_document(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, Kinds="site:counts=public,names=public")
    assert set(messages(COUNT, "receive")) == {"ping"}
    query = {"space": "site:main", "listen": "count"}
    channel = DOCUMENT["channels"][COUNT]["bindings"]["ws"]["query"]["properties"]
    assert set(channel) == {"token", *query}
    world.beat("s1", name="Ada")
    world.settle()
    assert world.invoke("socket", socket_event("CONNECT", "c1", query=query)) == {"statusCode": 200}
    world.settle()
    world.send("c1", {"action": "ping"})
    world.send("c1", {"action": "subscribe", "space": "site:main"})
    frames = world.management.frames["c1"]
    assert frames[0]["viewers"][0]["name"] == "Ada"
    assert {frame["type"] for frame in frames} == set(messages(COUNT, "send"))
    assert all(is_documented(COUNT, frame) for frame in frames)
