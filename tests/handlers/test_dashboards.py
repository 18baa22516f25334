"""Dashboards: every version in order, whatever crashes, overtakes or hangs up."""

from __future__ import annotations

import json
from itertools import pairwise
from threading import Event, Thread, current_thread
from typing import Any

import pytest
from headcount.subscribing import MAX_SUBSCRIPTIONS

from tests.conftest import Worlds
from tests.support.engines import Engine
from tests.support.events import socket_event
from tests.support.fakes import aws_error
from tests.support.world import SITE, World


def heard_in_order_without_gaps(versions: list[int]) -> bool:
    """Repeats are allowed, gaps and older ones are not."""
    pairs = pairwise(versions)
    return all(after - before in {0, 1} for before, after in pairs)


def join_and_count(world: World, session: str) -> list[dict[str, Any]]:
    """A session joins and is counted; the records for publish."""
    world.beat(session)
    world.count(world.filtered("count"))
    return world.filtered("publish")


def test_a_subscriber_hears_the_current_version_at_once(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.subscribe("c1")
    (frame,) = world.line.frames["c1"]
    assert frame == {
        "type": "headcount",
        "space": SITE,
        "version": 1,
        "asOf": "2026-11-21T12:00:00.000Z",
        "data": world.headcount(),
    }


def test_a_dashboard_hears_every_version_in_order(world: World) -> None:
    world.subscribe("c1")
    for number in range(5):
        world.beat(f"s{number}")
        world.settle()
        world.clock.advance(2)
    world.leave("s0")
    world.settle()
    assert world.versions("c1") == [0, 1, 2, 3, 4, 5, 6]
    assert [frame["data"]["people"] for frame in world.line.frames["c1"]] == [0, 1, 2, 3, 4, 5, 4]


def test_a_dashboard_hears_only_its_spaces(world: World) -> None:
    world.subscribe("c1", "site:other")
    world.beat("s1")
    world.settle()
    assert [frame["space"] for frame in world.line.frames["c1"]] == ["site:other"]


def test_changes_of_one_batch_are_one_version(world: World) -> None:
    world.subscribe("c1")
    for number in range(20):
        world.beat(f"s{number}")
    world.settle()
    assert world.versions("c1") == [0, 1]
    assert world.people() == 20


def test_versions_of_a_space_are_at_least_a_second_apart(moto_world: World) -> None:
    world = moto_world
    world.publish(join_and_count(world, "s1"))
    world.clock.slept.clear()
    start = world.clock()
    world.services("count").counter.recount(SITE, 0)
    world.publish(world.filtered("publish"))
    assert world.clock() - start == 1000
    assert sum(world.clock.slept) == 1.0


def test_a_publish_that_crashed_after_the_save_is_heard_at_the_retry(world: World) -> None:
    world.subscribe("c1")
    batch = join_and_count(world, "s1")
    subscriptions = world.tables["subscriptions"].name

    def crash() -> None:
        raise RuntimeError("the process died here")

    with world.engine.interrupted("Query", subscriptions, crash), pytest.raises(RuntimeError):
        world.invoke("publish", {"Records": batch})
    assert world.versions("c1") == [0]
    world.clock.advance(1)
    more = join_and_count(world, "s2")
    world.publish([*batch, *more])
    assert world.versions("c1") == [0, 1, 2]
    assert world.people() == 2


def test_a_batch_that_is_published_twice_is_a_repeat_and_no_new_version(world: World) -> None:
    world.subscribe("c1")
    batch = join_and_count(world, "s1")
    world.publish(batch)
    world.publish(batch)
    assert world.versions("c1") == [0, 1, 1]
    assert world.headcount()["version"] == 1


def test_a_batch_that_comes_again_with_more_publishes_the_rest(world: World) -> None:
    world.subscribe("c1")
    first = join_and_count(world, "s1")
    world.publish(first)
    world.clock.advance(2)
    second = join_and_count(world, "s2")
    world.publish([*first, *second])
    assert heard_in_order_without_gaps(world.versions("c1"))
    assert world.versions("c1")[-1] == 2
    assert world.people() == 2


def test_of_two_publishers_at_once_one_publishes_and_the_other_tries_again(world: World) -> None:
    world.subscribe("c1")
    first = join_and_count(world, "s1")
    world.clock.advance(2)
    second = join_and_count(world, "s2")
    with (
        world.engine.interrupted(
            "PutItem", world.tables["headcounts"].name, lambda: world.publish(first)
        ),
        pytest.raises(RuntimeError, match="none of 1 spaces"),
    ):
        world.invoke("publish", {"Records": second})
    world.publish(second)
    assert heard_in_order_without_gaps(world.versions("c1"))
    assert world.people() == 2


def test_a_space_that_fails_does_not_hold_up_the_others(moto_world: World) -> None:
    world = moto_world
    world.beat("s1", "site:bad")
    world.beat("s2", "site:good")
    world.count(world.filtered("count"))
    batch = world.filtered("publish")
    publisher = world.services("publish")
    real = publisher.headcounts.get

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(real.__self__, name)

        def get(self, space: str) -> Any:
            if space == "site:bad":
                raise aws_error("ThrottlingException")
            return real(space)

    vars(publisher)["headcounts"] = Failing()
    answer = world.invoke("publish", {"Records": batch})
    (bad,) = [
        record["dynamodb"]["SequenceNumber"]
        for record in batch
        if record["dynamodb"]["Keys"]["space"]["S"] == "site:bad"
    ]
    assert answer == {"batchItemFailures": [{"itemIdentifier": bad}]}
    assert world.people("site:good") == 1
    vars(publisher).pop("publisher")
    vars(publisher)["headcounts"] = real.__self__
    world.publish([record for record in batch if record["dynamodb"]["SequenceNumber"] >= bad])
    assert world.people("site:bad") == 1


def test_the_peak_is_the_highest_ever_published(world: World) -> None:
    for number in range(3):
        world.beat(f"s{number}")
    world.settle()
    at = world.headcount()["asOf"]
    world.clock.advance(5)
    world.leave("s0")
    world.settle()
    assert world.headcount()["peak"] == {"people": 3, "at": at}


# ----------------------------------------------------------------------------------- the greeting


@pytest.mark.parametrize("heard_before", [False, True], ids=["subscribing", "a snapshot"])
@pytest.mark.parametrize("step", range(11))
def test_a_version_published_at_any_step_of_a_greeting_is_heard_in_order(
    moto_world: World, step: int, *, heard_before: bool
) -> None:
    world = moto_world
    world.publish(join_and_count(world, "s1"))
    world.connect("c1")
    if heard_before:
        world.say("c1", {"action": "subscribe", "space": SITE})
    world.clock.advance(2)
    batch = join_and_count(world, "s2")
    action = "snapshot" if heard_before else "subscribe"
    greeting = Paused(world, step, {"action": action, "space": SITE})
    # While the publisher waits, the greeting goes on.
    world.restart("publish")
    world.services("publish").sleep = lambda seconds: (
        world.clock.sleep(seconds),
        greeting.finish(),
    )
    world.publish(batch)
    greeting.finish()
    world.clock.advance(2)
    world.publish(join_and_count(world, "s3"))
    versions = world.versions("c1")
    assert heard_in_order_without_gaps(versions)
    assert versions[-1] == 3


class Paused:
    """A dashboard's frame whose handling halts before its n-th step (a call or a post)."""

    def __init__(self, world: World, step: int, message: dict[str, Any]) -> None:
        self._world = world
        self._steps_left = step
        self._halted, self._go = Event(), Event()
        events = world.engine.client.meta.events
        events.register("before-parameter-build.dynamodb", self._step, unique_id="paused")
        world.line.before_post = world.line.after_post = self._step
        switchboard = world.services("socket").switchboard
        self._thread = Thread(target=switchboard.hear, args=("c1", json.dumps(message)))
        self._thread.start()
        while self._thread.is_alive() and not self._halted.wait(0.001):
            pass

    def _step(self, **_: Any) -> None:
        if current_thread() is not self._thread:
            return
        if self._steps_left == 0:
            self._halted.set()
            assert self._go.wait(10)
        self._steps_left -= 1

    def finish(self) -> None:
        """Let it run to its end."""
        self._go.set()
        self._thread.join()
        events = self._world.engine.client.meta.events
        events.unregister("before-parameter-build.dynamodb", unique_id="paused")


def test_a_publisher_does_not_wait_for_a_subscriber_that_died(world: World) -> None:
    world.connect("c1")
    world.services("socket").subscriptions.add(SITE, "c1", now=world.clock())
    start = world.clock()
    world.publish(join_and_count(world, "s1"))
    assert world.clock() - start == 2000
    assert world.versions("c1") == [1]
    world.clock.advance(2)
    start = world.clock()
    world.publish(join_and_count(world, "s2"))
    assert world.clock() == start
    assert world.versions("c1") == [1, 2]


def test_a_snapshot_of_a_heard_space_keeps_the_order(world: World) -> None:
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    world.say("c1", {"action": "snapshot", "space": SITE})
    world.clock.advance(2)
    world.publish(join_and_count(world, "s2"))
    assert world.versions("c1") == [0, 1, 1, 2]


def test_a_snapshot_of_another_space_does_not_subscribe(world: World) -> None:
    world.connect("c1")
    world.say("c1", {"action": "snapshot", "space": SITE})
    world.beat("s1")
    world.settle()
    assert world.versions("c1") == [0]


# ------------------------------------------------------------------------ connections that fail


def test_a_410_right_after_connecting_is_tried_again(world: World) -> None:
    world.subscribe("c1")
    world.line.go("c1", times=2)
    world.publish(join_and_count(world, "s1"))
    assert world.versions("c1") == [0, 1]


def test_a_410_later_forgets_that_connection_and_no_other(world: World) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    world.clock.advance(10)
    world.line.go("c1")
    world.publish(join_and_count(world, "s1"))
    assert {row["topic"] for row in world.tables["subscriptions"].rows()} == {
        "connection#c2",
        "space#site:main",
    }
    assert world.versions("c2") == [0, 1]
    tries = world.line.tries["c1"]
    world.clock.advance(2)
    world.publish(join_and_count(world, "s2"))
    assert world.line.tries["c1"] == tries
    assert world.versions("c2") == [0, 1, 2]


def test_a_connection_that_never_comes_up_is_forgotten_in_the_end(world: World) -> None:
    world.subscribe("c1")
    world.line.go("c1")
    world.publish(join_and_count(world, "s1"))
    assert world.tables["subscriptions"].rows() == []


def test_a_connection_that_takes_nothing_is_closed(world: World) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    world.line.fail("c1")
    world.publish(join_and_count(world, "s1"))
    assert world.line.closed == ["c1"]
    assert world.versions("c2") == [0, 1]
    assert all("c1" not in row.values() for row in world.tables["subscriptions"].rows())


def test_a_connection_that_fails_for_a_moment_misses_nothing(world: World) -> None:
    world.subscribe("c1")
    world.line.fail("c1", times=3)
    world.publish(join_and_count(world, "s1"))
    assert world.versions("c1") == [0, 1]
    assert world.line.closed == []


def test_a_subscriber_that_is_gone_before_its_greeting_is_forgotten(world: World) -> None:
    world.connect("c1")
    world.line.go("c1")
    world.say("c1", {"action": "subscribe", "space": SITE})
    assert world.tables["subscriptions"].rows() == []


# -------------------------------------------------------------------------------- large audiences


def test_a_large_audience_hears_every_version_through_the_queue(
    engine: Engine, worlds: Worlds
) -> None:
    world = worlds(engine, InlineFanout="3")
    for number in range(8):
        world.subscribe(f"c{number}")
    for number in range(3):
        world.publish(join_and_count(world, f"s{number}"))
        world.clock.advance(2)
    assert world.versions("c0") == [0]
    world.fan_out()
    assert all(world.versions(f"c{number}") == [0, 1, 2, 3] for number in range(8))


def test_an_audience_that_shrinks_goes_on_hearing_in_order(moto: Engine, worlds: Worlds) -> None:
    world = worlds(moto, InlineFanout="3")
    for number in range(4):
        world.subscribe(f"c{number}")
    world.publish(join_and_count(world, "s1"))
    world.disconnect("c3")
    world.clock.advance(2)
    world.publish(join_and_count(world, "s2"))
    assert world.versions("c0") == [0]  # an inline version would overtake the chunk before it
    world.fan_out()
    assert world.versions("c0") == [0, 1, 2]
    world.clock.advance(31)
    world.publish(join_and_count(world, "s3"))
    assert world.versions("c0") == [0, 1, 2, 3]
    assert world.queue.messages == []


def test_a_version_that_is_sent_again_is_queued_once(moto: Engine, worlds: Worlds) -> None:
    world = worlds(moto, InlineFanout="0")
    world.subscribe("c1")
    batch = join_and_count(world, "s1")
    world.publish(batch)
    world.publish(batch)
    assert len(world.queue.messages) == 1


def test_a_chunk_that_is_tried_again_is_a_repeat(moto: Engine, worlds: Worlds) -> None:
    world = worlds(moto, InlineFanout="0")
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    chunk = world.queue.take()
    assert chunk is not None
    world.invoke("fanout", chunk)
    world.invoke("fanout", chunk)
    assert world.versions("c1") == [0, 1, 1]


# -------------------------------------------------------------------------- what dashboards say


def test_an_unsubscribed_dashboard_hears_no_more(world: World) -> None:
    world.subscribe("c1")
    world.say("c1", {"action": "unsubscribe", "space": SITE})
    world.beat("s1")
    world.settle()
    assert world.versions("c1") == [0]


def test_a_disconnected_dashboard_leaves_no_row(world: World) -> None:
    world.subscribe("c1")
    world.say("c1", {"action": "subscribe", "space": "course:1"})
    world.disconnect("c1")
    assert world.tables["subscriptions"].rows() == []


def test_a_ping_is_answered_with_a_pong(moto_world: World) -> None:
    moto_world.connect("c1")
    moto_world.say("c1", {"action": "ping"})
    assert moto_world.line.frames["c1"] == [{"type": "pong"}]


@pytest.mark.parametrize(
    ("frame", "hint"),
    [
        ("", "JSON object"),
        ("no json", "JSON object"),
        ("[]", "JSON object"),
        ("null", "JSON object"),
        pytest.param("[" * 100_000, "JSON object", id="deeply nested"),
        ('{"action": "dance"}', "'action' must be"),
        ('{"space": "site:main"}', "'action' must be"),
        ('{"action": ["subscribe"]}', "'action' must be"),
        ('{"action": {"a": 1}}', "'action' must be"),
        ('{"action": "subscribe"}', "'space' is missing"),
        ('{"action": "subscribe", "space": 7}', "'space' is missing"),
        ('{"action": "subscribe", "space": "site"}', "kind:id"),
        ('{"action": "subscribe", "space": "invented:1"}', "not declared"),
        ('{"action": "subscribe", "space": "site:\\ud800"}', "kind:id"),
    ],
)
def test_a_bad_frame_is_answered_with_what_to_mend(
    moto_world: World, frame: str, hint: str
) -> None:
    moto_world.connect("c1")
    before = moto_world.tables["subscriptions"].rows()
    moto_world.say("c1", frame)
    (answer,) = moto_world.line.frames["c1"]
    assert answer["type"] == "error"
    assert hint in answer["error"]
    assert moto_world.tables["subscriptions"].rows() == before


def test_a_connection_hears_a_limited_number_of_spaces(moto_world: World) -> None:
    world = moto_world
    world.connect("c1")
    for number in range(MAX_SUBSCRIPTIONS):
        world.say("c1", {"action": "subscribe", "space": f"course:{number}"})
    world.say("c1", {"action": "subscribe", "space": "course:more"})
    assert world.line.frames["c1"][-1]["type"] == "error"
    world.say("c1", {"action": "subscribe", "space": "course:1"})
    assert world.line.frames["c1"][-1]["space"] == "course:1"
    world.say("c1", {"action": "unsubscribe", "space": "course:1"})
    world.say("c1", {"action": "subscribe", "space": "course:more"})
    assert world.line.frames["c1"][-1]["space"] == "course:more"


# ------------------------------------------------------------------------------------ connecting


def test_a_connection_without_a_token_is_refused(moto_world: World) -> None:
    answer = moto_world.invoke("socket", socket_event("CONNECT", "c1"))
    assert answer["statusCode"] == 401
    assert moto_world.tables["subscriptions"].rows() == []


def test_a_connection_with_a_bad_token_is_refused(moto_world: World) -> None:
    assert moto_world.connect("c1", token="nonsense")["statusCode"] == 401
    expired = moto_world.token(lives=-60, headcount="admin")
    assert moto_world.connect("c1", token=expired)["statusCode"] == 401
    forged = moto_world.token(secret="another secret, also long enough", headcount="admin")
    assert moto_world.connect("c1", token=forged)["statusCode"] == 401
    assert moto_world.tables["subscriptions"].rows() == []


def test_a_connection_of_somebody_who_is_no_admin_is_refused(moto_world: World) -> None:
    answer = moto_world.connect("c1", token=moto_world.token(sub="u1"))
    assert answer["statusCode"] == 403
    assert "admin" in json.loads(answer["body"])["error"]
    assert moto_world.tables["subscriptions"].rows() == []


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_a_token_in_a_header_connects(moto_world: World, name: str) -> None:
    headers = {name: f"Bearer {moto_world.admin}"}
    event = socket_event("CONNECT", "c1", headers=headers)
    assert moto_world.invoke("socket", event) == {"statusCode": 200}


def test_a_token_in_the_named_cookie_connects(moto: Engine, worlds: Worlds) -> None:
    world = worlds(moto, TokenCookie="session")
    headers = {"Cookie": f"other=1; session={world.admin}"}
    event = socket_event("CONNECT", "c1", headers=headers)
    assert world.invoke("socket", event) == {"statusCode": 200}
