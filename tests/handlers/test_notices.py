"""Messages to everyone in a space: who sees them, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act, ask, frames_of

NOON_AND_5 = "2026-11-21T12:05:00.000Z"


def send(world: World, text: str = "We start soon.", **fields: Any) -> Any:
    """A message that takes effect."""
    answer = act(world, "POST", "messages", {"text": text, **fields}).body
    world.settle()
    world.clock.advance(1)  # a process caches a space for at most a second
    return answer


def test_beats_get_the_message_until_it_ends(world: World) -> None:
    assert "notice" not in world.beat("s1").body
    sent = send(world)
    assert sent == {"success": True, "id": sent["id"], "until": NOON_AND_5}
    notice = {"id": sent["id"], "text": "We start soon.", "level": "info", "until": NOON_AND_5}
    assert world.beat("s1").body["notice"] == notice
    assert world.beat("s2").body["notice"] == notice
    assert "notice" not in world.beat("s3", "site:other").body
    world.clock.set("2026-11-21T12:04:59.999Z")
    assert world.beat("s1").body["notice"] == notice
    world.clock.set(NOON_AND_5)
    assert "notice" not in world.beat("s1").body  # by time alone: nothing was published


def test_dashboards_receive_the_message_and_find_it_in_the_headcount(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.subscribe("c1")
    assert "notice" not in world.headcount()
    sent = send(world, level="warning", seconds=60)
    notice = {
        "id": sent["id"],
        "text": "We start soon.",
        "level": "warning",
        "until": "2026-11-21T12:01:00.000Z",
    }
    (first, version, frame) = world.management.frames["c1"]
    assert (first["type"], version["type"], version["version"]) == ("headcount", "headcount", 2)
    assert version["data"]["notice"] == notice
    assert frame == {
        "type": "notice",
        "space": SITE,
        "version": 2,
        "at": version["asOf"],
        "notice": notice,
    }
    world.clock.advance(2)
    world.subscribe("c2")
    assert world.management.frames["c2"][0]["data"]["notice"] == notice
    assert world.headcount()["notice"] == notice
    assert act(world, "GET", "messages").body["message"] == notice


def test_a_message_is_ended_before_its_time(world: World) -> None:
    world.subscribe("c1")
    send(world)
    act(world, "DELETE", "messages")
    world.settle()
    world.clock.advance(1)
    assert [frame["notice"] is None for frame in frames_of(world, "c1", "notice")] == [False, True]
    assert "notice" not in world.beat("s1").body
    assert "notice" not in world.headcount()
    assert act(world, "GET", "messages").body["message"] is None


def test_a_new_message_replaces_the_old_one(world: World) -> None:
    world.subscribe("c1")
    send(world, "one")
    send(world, "two")
    assert world.beat("s1").body["notice"]["text"] == "two"
    assert [frame["notice"]["text"] for frame in frames_of(world, "c1", "notice")] == ["one", "two"]


def test_an_expired_message_is_gone_with_the_next_version(world: World) -> None:
    world.subscribe("c1")
    send(world, seconds=10)
    world.clock.advance(20)
    assert "notice" not in world.headcount()
    assert act(world, "GET", "messages").body["message"] is None
    world.beat("s1")
    world.settle()
    assert "notice" not in world.management.frames["c1"][-2]["data"]
    assert frames_of(world, "c1", "notice")[-1]["notice"] is None
    world.clock.advance(20)
    world.beat("s2")
    world.settle()
    assert len(frames_of(world, "c1", "notice")) == 2


def test_the_minutes_sweep_tells_dashboards_that_a_message_expired(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.subscribe("c1")
    send(world, seconds=10)
    world.clock.advance(20)
    assert world.sweep()["repaired"] == []
    world.settle()
    assert [frame["notice"] is None for frame in frames_of(world, "c1", "notice")] == [False, True]
    before = world.headcount()["version"]
    world.sweep()
    world.settle()
    assert world.headcount()["version"] == before


def test_a_message_that_the_stream_lost_is_published_by_the_minutes_sweep(world: World) -> None:
    world.beat("s1")
    world.settle()
    act(world, "POST", "messages", {"text": "hello"})
    world.filtered("publish")  # lost
    world.sweep()
    world.settle()
    world.clock.advance(1)
    assert world.beat("s1").body["notice"]["text"] == "hello"


def test_the_daily_run_deletes_an_expired_message(world: World) -> None:
    send(world, seconds=86_400)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    assert [row["part"] for row in world.tables["counts"].rows()] == ["notice"]
    world.clock.set("2026-11-23T01:00:00Z")
    world.daily()
    assert world.tables["counts"].rows() == []
    world.settle()
    (row,) = world.tables["headcounts"].rows()
    assert "notice" not in row


def test_a_message_invokes_no_count_and_makes_no_beat_a_change(memory_world: World) -> None:
    memory_world.beat("s1")
    memory_world.settle()
    send(memory_world)
    memory_world.beat("s1")
    assert memory_world.filtered("count") == []
    assert memory_world.people() == 1


def test_a_publish_of_a_message_that_crashed_is_sent_at_the_retry(world: World) -> None:
    world.subscribe("c1")
    act(world, "POST", "messages", {"text": "hello"})
    batch = world.filtered("publish")
    subscriptions = world.tables["subscriptions"].name

    def crash() -> None:
        raise RuntimeError("the process died here")

    with world.engine.interrupted("Query", subscriptions, crash), pytest.raises(RuntimeError):
        world.invoke("publish", {"Records": batch})
    assert frames_of(world, "c1", "notice") == []
    world.publish(batch)
    assert len(frames_of(world, "c1", "notice")) == 1


def test_feeds_receive_no_message(memory_world: World) -> None:
    memory_world.connect("f1", path="/api/ws/streams/st1/metrics")
    act(memory_world, "POST", "messages", {"text": "hello"}, space="stream:st1")
    memory_world.settle()
    assert {frame["type"] for frame in memory_world.management.frames["f1"]} == {"metrics"}


def test_a_public_count_carries_the_message_too(memory_world: World) -> None:
    send(memory_world)
    answer = memory_world.get(f"/v1/spaces/{SITE}")
    assert answer.body["notice"]["text"] == "We start soon."


def test_a_message_of_280_characters_of_any_script_fits(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    text = "😀" * 280
    send(world, text)
    assert world.beat("s1").body["notice"]["text"] == text


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "text is missing: send it as a string."),
        ([], "The body must be a JSON object, for example"),
        ({"text": ""}, "text must not be empty."),
        ({"text": "  "}, "text must not be empty."),
        ({"text": 5}, "text must be a string."),
        ({"text": "x" * 281}, "text must be at most 280 characters, it has 281."),
        ({"text": "a\u0000b"}, "text must not contain control characters."),
        ({"text": "a\nb"}, "text must not contain control characters."),
        ({"text": "\ud800"}, "text must"),
        ({"text": "x", "level": "error"}, "level must be 'info' or 'warning'."),
        ({"text": "x", "seconds": 0}, "seconds must be 1 or more."),
        ({"text": "x", "seconds": 86_401}, "seconds must be at most 86400."),
        ({"text": "x", "seconds": 1.5}, "seconds must be a whole number."),
        ({"text": "x", "seconds": "60"}, "seconds must be a whole number."),
    ],
)
def test_an_invalid_message_is_refused(memory_world: World, body: Any, sentence: str) -> None:
    answer = ask(memory_world, "POST", "messages", body, token=memory_world.admin)
    assert answer.status == 400
    assert answer.body["error"].startswith(sentence), answer.body
    assert memory_world.tables["counts"].rows() == []
    assert memory_world.tables["history"].rows() == []


def test_without_a_message_none_can_be_ended(memory_world: World) -> None:
    assert ask(memory_world, "DELETE", "messages", token=memory_world.admin).status == 404
    send(memory_world, seconds=5)
    memory_world.clock.advance(10)
    assert ask(memory_world, "DELETE", "messages", token=memory_world.admin).status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_messages_are_for_admins(memory_world: World, method: str) -> None:
    token = memory_world.token(sub="u1")
    body = {"text": "hello"}
    assert ask(memory_world, method, "messages", body).status == 401
    assert ask(memory_world, method, "messages", body, token=token).status == 403
    assert memory_world.tables["counts"].rows() == []
