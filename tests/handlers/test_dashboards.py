"""Dashboards: every version in order, despite crashes, overtaking and lost connections."""

from __future__ import annotations

import json
from itertools import pairwise
from threading import Lock
from typing import Any

import pytest
from headcount.model.headcount import CHUNKING_GRACE
from headcount.usecases.deliver import THROTTLE_BUDGET, Outcome, RetryPolicy
from headcount.usecases.publish import SLOWEST_PACE
from headcount.usecases.socket import MAX_SUBSCRIPTIONS

from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.fakes import aws_error
from lab.harness.world import SITE, World
from tests.conftest import Worlds


def received_in_order_without_gaps(versions: list[int]) -> bool:
    """Repeats are allowed; gaps and older versions are not."""
    pairs = pairwise(versions)
    return all(after - before in {0, 1} for before, after in pairs)


def join_and_count(world: World, session: str) -> list[dict[str, Any]]:
    """A session joins and is counted; the records for publish."""
    world.beat(session)
    world.count(world.filtered("count"))
    return world.filtered("publish")


def test_a_subscriber_receives_the_current_version_at_once(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.subscribe("c1")
    (frame,) = world.management.frames["c1"]
    assert frame == {
        "type": "headcount",
        "space": SITE,
        "version": 1,
        "asOf": "2026-11-21T12:00:00.000Z",
        "data": world.headcount(),
    }


def test_a_dashboard_receives_every_version_in_order(world: World) -> None:
    world.subscribe("c1")
    for number in range(5):
        world.beat(f"s{number}")
        world.settle()
        world.clock.advance(2)
    world.leave("s0")
    world.settle()
    assert world.versions("c1") == [0, 1, 2, 3, 4, 5, 6]
    assert [frame["data"]["people"] for frame in world.management.frames["c1"]] == [
        0,
        1,
        2,
        3,
        4,
        5,
        4,
    ]


def test_a_dashboard_receives_only_its_spaces(world: World) -> None:
    world.subscribe("c1", "site:other")
    world.beat("s1")
    world.settle()
    assert [frame["space"] for frame in world.management.frames["c1"]] == ["site:other"]


def test_changes_of_one_batch_are_one_version(world: World) -> None:
    world.subscribe("c1")
    for number in range(20):
        world.beat(f"s{number}")
    world.settle()
    assert world.versions("c1") == [0, 1]
    assert world.people() == 20


def test_a_space_has_three_versions_at_once_and_then_one_a_second(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    world.clock.slept.clear()
    start = world.clock()
    at = []
    for _ in range(20):
        world.services("count").recounter.recount(SITE, 0)
        world.publish(world.filtered("publish"))
        at.append((world.clock() - start) / 1000)
    assert at == [0, 0, *range(18)]
    assert max(sum(here <= one < here + 10 for one in at) for here in at) <= 13
    world.clock.advance(60)  # a long rest brings no more
    began = world.clock()
    for _ in range(4):
        world.services("count").recounter.recount(SITE, 0)
        world.publish(world.filtered("publish"))
    assert world.clock() - began == 1000


def test_a_publish_that_crashed_after_the_save_is_sent_at_the_retry(world: World) -> None:
    world.stream_alone()
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
    world.stream_alone()
    world.subscribe("c1")
    batch = join_and_count(world, "s1")
    world.publish(batch)
    world.publish(batch)
    assert world.versions("c1") == [0, 1, 1]
    assert world.headcount()["version"] == 1


def test_a_redelivered_batch_with_more_records_publishes_the_rest(world: World) -> None:
    world.subscribe("c1")
    first = join_and_count(world, "s1")
    world.publish(first)
    world.clock.advance(2)
    second = join_and_count(world, "s2")
    world.publish([*first, *second])
    assert received_in_order_without_gaps(world.versions("c1"))
    assert world.versions("c1")[-1] == 2
    assert world.people() == 2


def test_of_two_publishers_at_once_one_publishes_and_the_other_retries(world: World) -> None:
    world.stream_alone()
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
    assert received_in_order_without_gaps(world.versions("c1"))
    assert world.people() == 2


def test_a_space_that_fails_does_not_delay_the_others(memory_world: World) -> None:
    world = memory_world
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


# ------------------------------------------------------------------------------------- the greeting


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


def test_a_snapshot_of_a_subscribed_space_keeps_the_order(world: World) -> None:
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    world.send("c1", {"action": "snapshot", "space": SITE})
    world.clock.advance(2)
    world.publish(join_and_count(world, "s2"))
    assert world.versions("c1") == [0, 1, 1, 2]


def test_a_snapshot_of_another_space_does_not_subscribe(world: World) -> None:
    world.connect("c1")
    world.send("c1", {"action": "snapshot", "space": SITE})
    world.beat("s1")
    world.settle()
    assert world.versions("c1") == [0]


# ---------------------------------------------------------------------------- connections that fail


def test_a_410_right_after_connecting_is_retried(world: World) -> None:
    world.subscribe("c1")
    world.management.set_gone("c1", times=2)
    world.publish(join_and_count(world, "s1"))
    assert world.versions("c1") == [0, 1]


def test_a_410_later_forgets_that_connection_and_no_other(world: World) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    world.clock.advance(10)
    world.management.set_gone("c1")
    world.publish(join_and_count(world, "s1"))
    assert {row["topic"] for row in world.tables["subscriptions"].rows()} == {
        "connection#c2",
        "space#site:main",
    }
    assert world.versions("c2") == [0, 1]
    tries = world.management.attempts["c1"]
    world.clock.advance(2)
    world.publish(join_and_count(world, "s2"))
    assert world.management.attempts["c1"] == tries
    assert world.versions("c2") == [0, 1, 2]


def test_a_connection_that_never_comes_up_is_forgotten_in_the_end(world: World) -> None:
    world.subscribe("c1")
    world.management.set_gone("c1")
    world.publish(join_and_count(world, "s1"))
    assert world.tables["subscriptions"].rows() == []


def test_a_connection_that_accepts_nothing_is_closed(world: World) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    world.management.fail("c1")
    world.publish(join_and_count(world, "s1"))
    assert world.management.closed == ["c1"]
    assert world.versions("c2") == [0, 1]
    assert all("c1" not in row.values() for row in world.tables["subscriptions"].rows())


def test_a_connection_that_fails_for_a_moment_misses_nothing(world: World) -> None:
    world.subscribe("c1")
    world.management.fail("c1", times=3)
    world.publish(join_and_count(world, "s1"))
    assert world.versions("c1") == [0, 1]
    assert world.management.closed == []


def test_a_throttled_connection_misses_nothing_and_is_not_closed(world: World) -> None:
    world.stream_alone()
    world.subscribe("c1")
    world.management.throttle("c1", times=5)
    start = world.clock()
    world.publish(join_and_count(world, "s1"))
    assert world.versions("c1") == [0, 1]
    assert world.management.closed == []
    assert 7 <= (world.clock() - start) / 1000 <= 15.5  # 0.5, 1, 2, 4 and 8 s, or up to half less


def test_others_receive_a_version_before_a_throttled_one_is_retried(world: World) -> None:
    world.stream_alone()
    world.subscribe("c1")
    world.subscribe("c2")
    world.management.throttle("c1", times=3)
    batch = join_and_count(world, "s1")
    start, heard_at = world.clock(), dict[str, int]()
    world.management.after_post = lambda: [
        heard_at.setdefault(one, world.clock())
        for one in ("c1", "c2")
        if world.versions(one) == [0, 1]
    ]
    world.publish(batch)
    assert heard_at["c2"] == start
    assert heard_at["c1"] > start + 1000


def test_throttled_posts_are_retried_after_random_growing_waits(
    memory_world: World,
) -> None:
    world = memory_world
    world.stream_alone()
    world.subscribe("c1")
    batch = join_and_count(world, "s1")
    world.management.throttle("c1", times=5)
    world.clock.slept.clear()
    world.publish(batch)
    pauses = [pause for pause in world.clock.slept if pause]
    longest = [0.5, 1.0, 2.0, 4.0, 8.0]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len({pause / most for pause, most in zip(pauses, longest, strict=True)}) == 5


def test_fewer_posts_go_out_at_once_while_they_are_throttled() -> None:
    policy = RetryPolicy(began=0, until=20_000, concurrency=32, chance=lambda: 1.0)
    throttled = {"c1": Outcome.THROTTLED, "c2": Outcome.FAILED}
    seen = []
    for _ in range(5):
        policy.pause(throttled, 0)
        seen.append(policy.concurrency)
    assert seen == [16, 8, 4, 4, 4]


def test_a_burst_over_the_accounts_limit_reaches_everyone_in_the_end(memory_world: World) -> None:
    world = memory_world
    for number in range(60):
        world.subscribe(f"c{number}")
    batch = join_and_count(world, "s1")
    world.management.before_post = AccountLimit(world, burst=20, per_second=5).take
    world.publish(batch)
    assert all(world.versions(f"c{number}") == [0, 1] for number in range(60))
    assert world.management.closed == []


class AccountLimit:
    """A bucket of posts, filled as time passes; 429 while it is empty."""

    def __init__(self, world: World, *, burst: int, per_second: int) -> None:
        self._world, self._burst, self._per_second = world, burst, per_second
        self._left, self._at = float(burst), world.clock()
        self._lock = Lock()

    def take(self) -> None:
        with self._lock:
            now = self._world.clock()
            filled = self._left + (now - self._at) / 1000 * self._per_second
            self._left, self._at = min(filled, self._burst), now
            if self._left < 1:
                raise aws_error("LimitExceededException", 429, "PostToConnection")
            self._left -= 1


def test_a_connection_throttled_past_the_timeout_is_closed(world: World) -> None:
    world.stream_alone()
    world.subscribe("c1")
    world.subscribe("c2")
    batch = join_and_count(world, "s1")
    start = world.clock()
    world.management.throttle("c1")
    close = world.management.delete_connection
    wired: Any = world.management
    wired.delete_connection = lambda **who: (world.management.throttled.clear(), close(**who))
    world.publish(batch)
    assert world.clock() - start == THROTTLE_BUDGET
    assert world.management.closed == ["c1"]
    assert world.versions("c2") == [0, 1]
    assert all("c1" not in row.values() for row in world.tables["subscriptions"].rows())


def space_rows(world: World) -> list[dict[str, Any]]:
    """The space's subscribers."""
    rows = world.tables["subscriptions"].rows()
    return [row for row in rows if row["topic"] == f"space#{SITE}"]


def test_a_connection_that_can_not_be_closed_receives_nothing_until_it_is(world: World) -> None:
    world.stream_alone()
    world.subscribe("c1")
    world.subscribe("c2")
    batch = join_and_count(world, "s1")
    world.management.throttle("c1")
    world.publish(batch)
    world.clock.advance(2)
    world.publish(join_and_count(world, "s2"))
    assert world.versions("c2") == [0, 1, 2]
    assert world.versions("c1") == [0]
    assert world.management.closed == []
    world.management.throttled.clear()
    world.run_deferred()
    assert world.management.closed == ["c1"]
    assert all("c1" not in row.values() for row in space_rows(world))


def test_a_subscriber_whose_greeting_is_throttled_is_forgotten_only_once_it_is_closed(
    world: World,
) -> None:
    world.connect("c1")
    world.management.throttle("c1", times=2)  # the greeting, and the attempt to close
    world.send("c1", {"action": "subscribe", "space": SITE})
    assert world.management.closed == []
    world.publish(join_and_count(world, "s1"))
    assert world.versions("c1") == [1]
    world.management.throttle("c1", times=1)
    world.send("c1", {"action": "ping"})
    assert world.management.closed == ["c1"]
    assert world.tables["subscriptions"].rows() == []


def test_a_subscriber_that_is_gone_before_its_greeting_is_forgotten(world: World) -> None:
    world.connect("c1")
    world.management.set_gone("c1")
    world.send("c1", {"action": "subscribe", "space": SITE})
    assert world.tables["subscriptions"].rows() == []


# ---------------------------------------------------------------------------------- large audiences


def test_a_large_audience_receives_every_version_through_the_queue(
    engine: Engine, worlds: Worlds
) -> None:
    world = worlds(engine, Limits="inline-fanout=3")
    for number in range(8):
        world.subscribe(f"c{number}")
    for number in range(3):
        world.publish(join_and_count(world, f"s{number}"))
        world.clock.advance(SLOWEST_PACE / 1000)
    assert world.versions("c0") == [0]
    world.fan_out()
    assert all(world.versions(f"c{number}") == [0, 1, 2, 3] for number in range(8))


def test_an_audience_that_shrinks_still_receives_versions_in_order(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Limits="inline-fanout=3")
    for number in range(4):
        world.subscribe(f"c{number}")
    world.publish(join_and_count(world, "s1"))
    world.disconnect("c3")
    world.clock.advance(SLOWEST_PACE / 1000)
    world.publish(join_and_count(world, "s2"))
    assert world.versions("c0") == [0]  # an inline version would overtake the chunk before it
    world.fan_out()
    assert world.versions("c0") == [0, 1, 2]
    world.clock.advance(CHUNKING_GRACE / 1000 + 1)
    world.publish(join_and_count(world, "s3"))
    assert world.versions("c0") == [0, 1, 2, 3]
    assert world.queue.messages == []


def test_a_version_that_is_sent_again_is_queued_once(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.stream_alone()
    world.subscribe("c1")
    batch = join_and_count(world, "s1")
    world.publish(batch)
    world.publish(batch)
    assert len(world.queue.messages) == 1


def test_a_chunk_that_is_retried_is_a_repeat(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    chunk = world.queue.take()
    assert chunk is not None
    world.invoke("fanout", chunk)
    world.invoke("fanout", chunk)
    assert world.versions("c1") == [0, 1, 1]


# ----------------------------------------------------------------------------- dashboards' messages


def test_an_unsubscribed_dashboard_receives_no_more(world: World) -> None:
    world.subscribe("c1")
    world.clock.advance(1)
    world.send("c1", {"action": "unsubscribe", "space": SITE})
    world.beat("s1")
    world.settle()
    assert world.versions("c1") == [0]


@pytest.mark.parametrize("later", [0, 1])
def test_an_unsubscribe_that_a_newer_subscribe_overtook_does_nothing(
    world: World, later: int
) -> None:
    world.connect("c1")
    event = {
        action: socket_event(
            "MESSAGE",
            "c1",
            body=json.dumps({"action": action, "space": SITE}),
            at=world.clock() + later * (action == "subscribe"),
        )
        for action in ("subscribe", "unsubscribe")
    }
    world.invoke("socket", event["subscribe"])
    world.invoke("socket", event["unsubscribe"])
    world.beat("s1")
    world.settle()
    assert world.versions("c1") == [0, 1]
    world.disconnect("c1")
    assert world.tables["subscriptions"].rows() == []


def test_a_disconnected_dashboard_leaves_no_row(world: World) -> None:
    world.subscribe("c1")
    world.send("c1", {"action": "subscribe", "space": "course:1"})
    world.disconnect("c1")
    assert world.tables["subscriptions"].rows() == []


def test_a_ping_is_answered_with_a_pong(memory_world: World) -> None:
    memory_world.connect("c1")
    memory_world.send("c1", {"action": "ping"})
    assert memory_world.management.frames["c1"] == [{"type": "pong"}]


@pytest.mark.parametrize(
    ("frame", "hint"),
    [
        ("", "JSON object"),
        ("no json", "JSON object"),
        ("[]", "JSON object"),
        ("null", "JSON object"),
        pytest.param("[" * 4_000, "JSON object", id="deeply nested"),
        pytest.param(
            '{"action": "ping"}' + " " * 16_384, "at most 16384 characters", id="too large"
        ),
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
def test_a_bad_frame_is_answered_with_the_fix(memory_world: World, frame: str, hint: str) -> None:
    memory_world.connect("c1")
    before = memory_world.tables["subscriptions"].rows()
    memory_world.send("c1", frame)
    (answer,) = memory_world.management.frames["c1"]
    assert answer["type"] == "error"
    assert hint in answer["error"]
    assert memory_world.tables["subscriptions"].rows() == before


def test_a_connection_may_subscribe_to_a_limited_number_of_spaces(memory_world: World) -> None:
    world = memory_world
    world.connect("c1")
    for number in range(MAX_SUBSCRIPTIONS):
        world.send("c1", {"action": "subscribe", "space": f"course:{number}"})
    world.send("c1", {"action": "subscribe", "space": "course:more"})
    assert world.management.frames["c1"][-1]["type"] == "error"
    world.send("c1", {"action": "subscribe", "space": "course:1"})
    assert world.management.frames["c1"][-1]["space"] == "course:1"
    world.clock.advance(1)
    world.send("c1", {"action": "unsubscribe", "space": "course:1"})
    world.send("c1", {"action": "subscribe", "space": "course:more"})
    assert world.management.frames["c1"][-1]["space"] == "course:more"


# --------------------------------------------------------------------------------------- connecting


def test_a_connection_without_a_token_is_refused(memory_world: World) -> None:
    answer = memory_world.invoke("socket", socket_event("CONNECT", "c1"))
    assert answer["statusCode"] == 401
    assert memory_world.tables["subscriptions"].rows() == []


def test_a_connection_with_a_bad_token_is_refused(memory_world: World) -> None:
    assert memory_world.connect("c1", token="nonsense")["statusCode"] == 401
    expired = memory_world.token(lives=-60, headcount="admin")
    assert memory_world.connect("c1", token=expired)["statusCode"] == 401
    forged = memory_world.token(secret="another secret, also long enough", headcount="admin")
    assert memory_world.connect("c1", token=forged)["statusCode"] == 401
    assert memory_world.tables["subscriptions"].rows() == []


def test_a_connection_of_a_user_who_is_no_admin_is_refused(memory_world: World) -> None:
    answer = memory_world.connect("c1", token=memory_world.token(sub="u1"))
    assert answer["statusCode"] == 403
    assert "admin" in json.loads(answer["body"])["error"]
    assert memory_world.tables["subscriptions"].rows() == []


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_a_token_in_a_header_connects(memory_world: World, name: str) -> None:
    headers = {name: f"Bearer {memory_world.admin}"}
    event = socket_event("CONNECT", "c1", headers=headers)
    assert memory_world.invoke("socket", event) == {"statusCode": 200}


def test_a_token_in_the_named_cookie_connects(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings="token-cookie=session")
    headers = {"Cookie": f"other=1; session={world.admin}"}
    event = socket_event("CONNECT", "c1", headers=headers)
    assert world.invoke("socket", event) == {"statusCode": 200}


def test_restarted_versions_reach_every_dashboard(memory_world: World) -> None:
    world = memory_world
    for number in range(3):
        world.beat(f"s{number}")
        world.settle()
    world.subscribe("c1")
    table = world.tables["headcounts"].name
    world.engine.client.delete_item(TableName=table, Key={"space": {"S": SITE}})
    for session in ("s8", "s9"):
        world.beat(session)
        world.settle()
    assert world.versions("c1") == [3, 1, 2]
    assert world.management.frames["c1"][-1]["data"]["people"] == 5
