"""Large audiences: under the rate limit, and silent dashboards delay no others."""

from __future__ import annotations

import json
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from headcount.times import SECOND
from headcount.usecases.audit import IN_FLIGHT
from headcount.usecases.deliver import OVERDUE, THROTTLE_BUDGET, Outcome, RateLimiter
from headcount.usecases.publish import SLOWEST_PACE
from headcount.usecases.queues import CHUNKS, CONNECTIONS_PER_CHUNK, CONNECTIONS_PER_TASK
from msgspec.structs import replace

from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.template import template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.handlers.test_dashboards import join_and_count, space_rows

T = template()
ACCOUNT_LIMIT = 10_000
"""Requests per second to all APIs and connections of an account and region, by default."""
STREAM_SHARDS = 4
"""The number of concurrent publishers: a new on-demand table has up to four partitions."""
ONE_AT_A_TIME = 1


def processes(function: str) -> int:
    """The number of a function's processes that post at the same time."""
    if function in {"count", "publish"}:
        return STREAM_SHARDS
    limits = [source.get("ScalingConfig") for source in T.events(function, "SQS")] or [None]
    return sum(limit["MaximumConcurrency"] if limit else ONE_AT_A_TIME for limit in limits)


POSTERS = sorted(name for name in T.functions if "POSTS_PER_SECOND" in T.environment(name))


# ----------------------------------------------------------------------------------- the rate limit


def test_all_posts_are_paced_except_answers(worlds: Worlds, memory: Engine) -> None:
    def may_post(function: str) -> bool:
        return "SOCKET_ENDPOINT" in T.environment(function)

    assert set(POSTERS) == {name for name in T.functions if may_post(name)} - {"socket"}
    world = worlds(memory)
    for function in POSTERS:
        services = world.services(function)
        assert services.broadcaster.connection_api.spare() == services.settings.posts_per_second


@pytest.mark.parametrize("allowed", [1_000, 4_000, 20_000])
def test_concurrent_posters_stay_under_the_parameter_in_any_second(
    worlds: Worlds, memory: Engine, allowed: int
) -> None:
    world = worlds(memory, PostsPerSecond=str(allowed))
    went: list[int] = []
    for function in POSTERS:
        share = world.services(function).settings.posts_per_second
        for number in range(processes(function)):
            clock = Clock(1_000_000 + 137 * number)
            pace = RateLimiter(share, clock, clock.sleep)
            for post in range(3 * share):
                pace.acquire()
                went.append(clock())
                if post % (share // 8) == 0:
                    clock.advance(0.03)  # it is delayed, and catches up
    went.sort()
    busiest = max(bisect_left(went, at + 1_000) - index for index, at in enumerate(went))
    assert 0.95 * allowed < busiest <= allowed


def test_the_default_rate_leaves_capacity_for_beats_reads_and_answers() -> None:
    posts = T.parameters["PostsPerSecond"]["Default"]
    assert posts < ACCOUNT_LIMIT / 2
    requests, messages = T.throttle("HttpApi"), T.throttle("SocketStage")
    assert posts + requests + 2 * messages <= ACCOUNT_LIMIT  # a message is answered by one


def test_all_chunks_of_a_space_are_under_way_at_once() -> None:
    (source,) = T.events("fanout", "SQS")
    assert processes("fanout") * source["BatchSize"] == CHUNKS


def test_a_chunk_is_sent_within_the_functions_time_at_the_slowest_pace(
    worlds: Worlds, memory: Engine
) -> None:
    slowest = worlds(memory, PostsPerSecond=str(T.parameters["PostsPerSecond"]["MinValue"]))
    share = slowest.services("fanout").settings.posts_per_second
    (source,) = T.events("fanout", "SQS")
    seconds = source["BatchSize"] * CONNECTIONS_PER_CHUNK / share + THROTTLE_BUDGET / 1000
    assert seconds < T.functions["fanout"]["Timeout"]


def closings_source() -> Any:
    (source,) = (one for one in T.events("deferred", "SQS") if one["Queue"] == "ClosingQueue.Arn")
    return source


def test_a_batch_is_closed_within_the_functions_time_at_the_slowest_pace(
    worlds: Worlds, memory: Engine
) -> None:
    slowest = worlds(memory, PostsPerSecond=str(T.parameters["PostsPerSecond"]["MinValue"]))
    services = slowest.services("deferred")
    most = closings_source()["BatchSize"] * CONNECTIONS_PER_TASK
    paced, unanswered = (
        most / services.settings.posts_per_second,
        most / services.broadcaster.threads,
    )
    assert paced + unanswered + 1 < T.functions["deferred"]["Timeout"]


def test_closing_needs_no_knowledge_of_earlier_closings(world: World) -> None:
    line = world.services("deferred").broadcaster.connection_api
    world.services("fanout").deliveries.closing_queue.send(["c1", "c2"])
    world.close_silent()
    assert world.management.closed == ["c1", "c2"]
    assert line.spare() == world.services("deferred").settings.posts_per_second


def test_recounts_do_not_wait_for_closings() -> None:
    (deferred,) = (one for one in T.events("deferred", "SQS") if one["Queue"] == "ErrandQueue.Arn")
    assert "ScalingConfig" not in deferred


def test_a_clock_that_steps_back_stops_no_posts() -> None:
    clock = Clock()
    pace = RateLimiter(1, clock, clock.sleep)
    pace.acquire()
    clock.advance(-3_600)
    pace.acquire()
    assert clock.slept == [1]


def test_posts_over_publishs_limit_are_sent_in_chunks(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, PostsPerSecond="64")  # 4 for each process of count
    for space, audience in (("link:1", 3), ("link:2", 3)):
        for number in range(audience):
            world.subscribe(f"{space}-{number}", space)
        world.beat("s1", space)
    world.count(world.filtered("count"))
    batch = world.filtered("publish")
    world.clock.slept.clear()
    world.publish(batch)
    assert sum(world.clock.slept) == 0
    assert [len(world.versions(f"link:{one}-0", f"link:{one}")) for one in (1, 2)] == [2, 1]
    world.fan_out()
    assert all(world.versions(f"link:2-{number}", "link:2") == [0, 1] for number in range(3))


def test_half_of_the_posts_are_the_fan_outs(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory)
    share = world.services("fanout").settings.posts_per_second
    assert world.services("publish").publisher.chunked_per_second == share * processes("fanout")


@pytest.fixture
def crowded(memory: Engine, worlds: Worlds) -> World:
    """Forty dashboards, all with the first version; eight of them can get a version per second."""
    world = worlds(memory, Limits="inline-fanout=0", PostsPerSecond="16")
    subscriptions = world.services("socket").subscriptions
    for number in range(40):
        subscriptions.add(SITE, f"c{number}", now=world.clock())
        subscriptions.mark_greeted(SITE, f"c{number}", 0)
    world.publish(join_and_count(world, "s1"))
    world.queue.messages.clear()
    subscriptions.mark_delivered(SITE, 1, now=world.clock())
    return world


def test_the_next_version_waits_until_a_large_audience_can_have_received_the_last(
    crowded: World,
) -> None:
    world = crowded
    world.clock.advance(2)
    world.clock.slept.clear()
    world.publish(join_and_count(world, "s2"))
    assert (world.people(), world.queue.delays) == (1, [3])  # 40 at 8 a second take 5
    assert sum(world.clock.slept) == 0
    world.clock.advance(3)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert world.people() == 2
    assert world.headcount()["version"] == 2


def test_a_waiting_version_is_published_once_with_all_changes_meanwhile(crowded: World) -> None:
    world = crowded
    for number in range(2, 5):
        world.clock.advance(1)
        world.publish(join_and_count(world, f"s{number}"))
    world.clock.advance(2)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    world.clock.advance(3)
    world.run_deferred()
    world.publish(world.filtered("publish"))
    assert (world.people(), world.headcount()["version"]) == (4, 2)


def test_a_huge_audience_gets_a_version_every_fifteen_seconds(crowded: World) -> None:
    world = crowded
    subscriptions = world.services("socket").subscriptions
    for number in range(500):
        subscriptions.add(SITE, f"d{number}", now=world.clock())
        subscriptions.mark_greeted(SITE, f"d{number}", 1)
    world.publish(join_and_count(world, "s2"))
    (delay,) = world.queue.delays
    assert SLOWEST_PACE - 1_000 <= delay * 1_000 <= SLOWEST_PACE
    assert 2 * SLOWEST_PACE <= IN_FLIGHT


# -------------------------------------------------------------------------------- silent dashboards


def test_a_silent_dashboard_is_tried_once_and_the_others_go_on(world: World) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    world.management.hang("c1")
    tries = world.management.attempts["c1"]
    for number in (1, 2):
        batch = join_and_count(world, f"s{number}")
        world.clock.slept.clear()
        world.publish(batch)
        assert sum(world.clock.slept) == 0
        world.clock.advance(2)
    assert world.management.attempts["c1"] == tries + 1
    assert world.versions("c2") == [0, 1, 2]
    assert [row["subscriber"] for row in space_rows(world)] == ["c2"]
    world.management.hanging.clear()
    world.run_deferred()
    assert world.management.closed == ["c1"]


def test_a_version_after_a_missed_one_does_not_reach_the_dashboard(
    engine: Engine, worlds: Worlds
) -> None:
    world = worlds(engine, Limits="inline-fanout=0")
    for name in ("c1", "c2"):
        world.subscribe(name)
    for number in range(3):
        world.publish(join_and_count(world, f"s{number}"))  # all are queued, c1 among theirs
        world.clock.advance(SLOWEST_PACE / SECOND)
    world.management.hang("c1")
    first = world.queue.take()
    while first is not None and "c1" not in first["Records"][0]["body"]:
        world.invoke("fanout", first)
        first = world.queue.take()
    assert first is not None
    world.invoke("fanout", first)
    world.management.hanging.clear()  # it is back, too late
    world.fan_out()
    assert world.versions("c1") == [0]
    assert world.versions("c2") == [0, 1, 2, 3]
    world.run_deferred()
    assert world.management.closed == ["c1"]


def test_a_dashboard_set_aside_in_one_space_misses_nothing_earlier_in_another(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    world.send("c1", {"action": "subscribe", "space": "link:1"})
    for space in (SITE, "link:1"):
        world.beat("s1", space)
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.management.hang("c1")
    chunk = world.queue.take()
    assert chunk is not None
    world.invoke("fanout", chunk)
    world.management.hanging.clear()
    world.fan_out()
    received = [len(world.versions("c1", space)) for space in (SITE, "link:1")]
    assert sorted(received) == [1, 2]


def test_a_chunk_that_died_before_it_set_a_dashboard_aside_is_retried_as_a_whole(
    memory: Engine, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    chunk = world.queue.take()
    assert chunk is not None
    world.management.hang("c1")
    queue = world.services("fanout").closing_queue

    def out_of_reach(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://example.test")

    with monkeypatch.context() as patch:
        patch.setattr(queue.client, "send_message", out_of_reach)
        with pytest.raises(RuntimeError, match="none of 1 chunks"):
            world.invoke("fanout", chunk)
    world.management.hanging.clear()
    world.invoke("fanout", chunk)
    assert world.versions("c1") == [0, 1]
    world.run_deferred()
    assert world.management.closed == []


def test_a_deferred_task_to_close_is_tried_until_it_is_done(world: World) -> None:
    world.subscribe("c1")
    world.management.hang("c1")
    world.publish(join_and_count(world, "s1"))
    closing = world.queue.take_closings(10)
    assert closing is not None
    with pytest.raises(RuntimeError, match="1 connections"):
        world.invoke("deferred", closing)
    world.management.hanging.clear()
    world.invoke("deferred", closing)
    assert world.management.closed == ["c1"]


def test_only_connections_of_a_batch_that_may_be_open_are_retried(memory_world: World) -> None:
    world = memory_world
    closing_queue = world.services("fanout").deliveries.closing_queue
    crowd = [f"c{number}" for number in range(2 * CONNECTIONS_PER_TASK + 1)]
    closing_queue.send(crowd)
    closing_queue.send([])
    batch = world.queue.take_closings(10)
    assert batch is not None
    world.management.hang(crowd[0])
    world.management.throttle(crowd[-1], times=1)
    answer = world.invoke("deferred", batch)
    first, _, last = (one["messageId"] for one in batch["Records"])
    assert [one["itemIdentifier"] for one in answer["batchItemFailures"]] == [first, last]
    assert sorted(world.management.closed) == sorted(crowd[1:-1])
    world.management.hanging.clear()
    world.invoke("deferred", {"Records": [batch["Records"][0], batch["Records"][2]]})
    assert set(world.management.closed) == set(crowd)


def test_no_connection_is_closed_because_the_service_is_silent_for_a_moment(
    memory_world: World,
) -> None:
    world = memory_world
    world.stream_alone()
    names = [f"c{number}" for number in range(40)]
    for name in names:
        world.subscribe(name)
    batch = join_and_count(world, "s1")
    silent = iter(range(40))

    def answer() -> None:
        if next(silent, None) is not None:
            raise ReadTimeoutError(endpoint_url="https://example.test")

    world.management.before_post = answer
    world.publish(batch)
    assert all(world.versions(name) == [0, 1] for name in names)
    assert world.queue.closings == []


def test_many_silent_dashboards_are_given_up_within_seconds(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    silent = [f"c{number}" for number in range(200)]
    subscriptions = world.services("socket").subscriptions
    for name in silent:
        subscriptions.add(SITE, name, now=world.clock())
        subscriptions.mark_greeted(SITE, name, 0)
        world.management.hang(name)
    world.publish(join_and_count(world, "s1"))
    began = world.clock()
    world.management.before_post = lambda: world.clock.advance(0.01)
    world.fan_out()
    assert world.clock() - began < 60_000
    assert max(world.management.attempts[name] for name in silent) <= 4
    assert space_rows(world) == []
    world.management.hanging.clear()
    world.run_deferred()
    assert sorted(world.management.closed) == sorted(silent)


def test_after_a_partial_failure_the_rest_of_the_group_is_retried(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    for name in ("c0", "c1"):  # in separate chunks
        world.subscribe(name)
    for number in range(3):
        world.publish(join_and_count(world, f"s{number}"))
        world.clock.advance(SLOWEST_PACE / SECOND)
    records, world.queue.messages = world.queue.messages, []
    of_c1 = [one for one in records if "c1" in json.loads(one["body"])["connections"]]
    of_c1[1]["body"] = "{"
    answer = world.invoke("fanout", {"Records": records})
    failed = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
    assert failed == [one["messageId"] for one in of_c1[1:]]
    assert world.versions("c0") == [0, 1, 2, 3]
    assert world.versions("c1") == [0, 1]


# -------------------------------------------------------------------- one time limit per invocation


def test_throttled_spaces_of_one_batch_share_its_time_and_no_connection_is_closed_for_that(
    world: World,
) -> None:
    world.stream_alone()
    spaces = ("link:1", "link:2", "link:3")
    for space in spaces:
        world.subscribe(f"to {space}", space)
        world.beat("s1", space)
    world.count(world.filtered("count"))
    batch = world.filtered("publish")
    for space in spaces:
        world.management.throttle(f"to {space}", times=100)
    world.management.delete_connection = lambda **_: world.management.closed.append("one")  # type: ignore[method-assign]
    began = world.clock()
    failed = world.invoke("publish", {"Records": batch})["batchItemFailures"]
    assert world.clock() - began <= THROTTLE_BUDGET + 1_000
    assert (world.management.closed, len(failed)) == (["one"], 2)
    world.management.throttled.clear()
    numbers = [one["itemIdentifier"] for one in failed]
    world.publish([one for one in batch if one["dynamodb"]["SequenceNumber"] in numbers])
    received = [world.versions(f"to {space}", space) for space in spaces]
    assert sorted(received) == [[0], [0, 1], [0, 1]]


def test_a_version_sent_in_chunks_at_its_second_attempt_is_not_overtaken(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, PostsPerSecond="64")  # 4 a second for each process of count
    for number in range(3):
        world.subscribe(f"b{number}", "link:2")
        world.subscribe(f"c{number}", "link:1")
    world.beat("x", "link:2")
    world.count(world.filtered("count"))
    other = world.filtered("publish")
    batch = []
    for session in ("s1", "s2"):
        world.beat(session, "link:1")
        world.count(world.filtered("count"))
        batch.append(world.filtered("publish"))
        world.clock.advance(1)
    first, more = batch
    world.publish(other)

    def die() -> None:
        raise RuntimeError

    subscriptions = world.tables["subscriptions"].name
    with (
        world.engine.interrupted("Query", subscriptions, die),
        pytest.raises(RuntimeError, match="none of 1 spaces"),
    ):
        world.invoke("publish", {"Records": first})
    world.publish([*first, *more])  # retried, with the changes since
    world.settle()
    assert world.versions("c0", "link:1") == [0, 1, 2]


def test_a_dashboard_with_an_overdue_chunk_reconnects_and_gets_no_later_one(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, Limits="inline-fanout=1")
    for connection in ("c1", "c2"):
        world.subscribe(connection)
    world.publish(join_and_count(world, "s1"))
    world.clock.advance(OVERDUE / SECOND - 1)
    world.publish(join_and_count(world, "s2"))
    world.clock.advance(2)
    world.fan_out()
    assert world.versions("c1") == [0]
    assert space_rows(world) == []
    world.run_deferred()
    assert sorted(world.management.closed) == ["c1", "c2"]


def test_throttling_after_a_slow_pass_closes_no_connection(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory)
    broadcaster = world.services("fanout").broadcaster
    audience = [f"c{number}" for number in range(400)]  # more than can be posted before the timeout
    throttled = {"c7"}

    class Busy:
        def post(self, connection: str, message: str) -> Outcome:  # noqa: ARG002 - it has no say
            world.clock.advance(0.1)
            if connection in throttled:
                throttled.discard(connection)
                return Outcome.THROTTLED
            return Outcome.SENT

        def close(self, connection: str) -> bool:
            raise AssertionError(f"{connection} was closed")

    line: Any = Busy()
    with ThreadPoolExecutor(1) as pool:
        slow = replace(broadcaster, connection_api=line, pool=pool)
        assert slow.post_all("hello", audience) == []


def test_a_large_audience_gets_versions_after_a_clock_was_ahead(crowded: World) -> None:
    world = crowded
    world.clock.advance(3600)
    world.publish(join_and_count(world, "s2"))
    ahead = world.headcount()["version"]
    world.clock.advance(-3600)
    join_and_count(world, "s3")
    for _ in range(5):
        world.clock.advance(20)
        world.run_deferred()
        world.publish(world.filtered("publish"))
    assert world.headcount()["version"] > ahead
