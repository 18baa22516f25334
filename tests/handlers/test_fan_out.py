"""Large audiences: under the cap, and whoever does not answer holds up none of the others."""

from __future__ import annotations

import json
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from headcount.auditing import SETTLING
from headcount.fanning import CHUNKS, MAX_CLOSINGS, MAX_CONNECTIONS, OVERDUE
from headcount.publishing import SLOWEST_PACE
from headcount.sockets import THROTTLE_BUDGET, Outcome, Pace
from headcount.times import SECOND

from tests.conftest import Worlds
from tests.handlers.test_dashboards import join_and_count, space_rows
from tests.support.clock import Clock
from tests.support.engines import Engine
from tests.support.template import template
from tests.support.world import SITE, World

T = template()
ACCOUNT_LIMIT = 10_000
"""Requests per second to all APIs and connections of an account and region, by default."""
STREAM_SHARDS = 4
"""As many publish at once: a new on-demand table has up to four partitions."""
ONE_AT_A_TIME = 1


def processes(function: str) -> int:
    """How many of a function's processes post at the same time."""
    if function == "publish":
        return STREAM_SHARDS
    limits = [source.get("ScalingConfig") for source in T.events(function, "SQS")] or [None]
    return sum(limit["MaximumConcurrency"] if limit else ONE_AT_A_TIME for limit in limits)


POSTERS = sorted(name for name in T.functions if "POSTS_PER_SECOND" in T.environment(name))


# ---------------------------------------------------------------------------------------- the cap


def test_whoever_may_post_is_paced_but_for_answers(worlds: Worlds, memory: Engine) -> None:
    def may_post(function: str) -> bool:
        return "SOCKET_ENDPOINT" in T.environment(function)

    assert set(POSTERS) == {name for name in T.functions if may_post(name)} - {"socket"}
    world = worlds(memory)
    for function in POSTERS:
        services = world.services(function)
        assert services.courier.line.spare() == services.settings.posts_per_second


@pytest.mark.parametrize("allowed", [1_000, 4_000, 20_000])
def test_all_who_post_at_once_stay_under_the_parameter_in_any_second(
    worlds: Worlds, memory: Engine, allowed: int
) -> None:
    world = worlds(memory, PostsPerSecond=str(allowed))
    went: list[int] = []
    for function in POSTERS:
        share = world.services(function).settings.posts_per_second
        for number in range(processes(function)):
            clock = Clock(1_000_000 + 137 * number)
            pace = Pace(share, clock, clock.sleep)
            for post in range(3 * share):
                pace.take()
                went.append(clock())
                if post % (share // 8) == 0:
                    clock.advance(0.03)  # it is held up, and catches up
    went.sort()
    busiest = max(bisect_left(went, at + 1_000) - index for index, at in enumerate(went))
    assert 0.95 * allowed < busiest <= allowed


def test_what_is_allowed_by_default_leaves_room_for_beats_reads_and_answers() -> None:
    default = {name: parameter["Default"] for name, parameter in T.parameters.items()}
    posts = default["PostsPerSecond"]
    assert posts < ACCOUNT_LIMIT / 2
    frames_and_answers = 2 * default["SocketMessagesPerSecond"]
    assert posts + default["RequestsPerSecond"] + frames_and_answers <= ACCOUNT_LIMIT


def test_all_chunks_of_a_space_are_under_way_at_once() -> None:
    (source,) = T.events("fanout", "SQS")
    assert processes("fanout") * source["BatchSize"] == CHUNKS


def test_a_chunk_is_heard_within_the_functions_time_at_the_slowest_pace(
    worlds: Worlds, memory: Engine
) -> None:
    slowest = worlds(memory, PostsPerSecond=str(T.parameters["PostsPerSecond"]["MinValue"]))
    share = slowest.services("fanout").settings.posts_per_second
    (source,) = T.events("fanout", "SQS")
    seconds = source["BatchSize"] * MAX_CONNECTIONS / share + THROTTLE_BUDGET / 1000
    assert seconds < T.functions["fanout"]["Timeout"]


def closings_source() -> Any:
    (source,) = (one for one in T.events("errands", "SQS") if one["Queue"] == "ClosingQueue.Arn")
    return source


def test_a_batch_is_closed_within_the_functions_time_at_the_slowest_pace(
    worlds: Worlds, memory: Engine
) -> None:
    slowest = worlds(memory, PostsPerSecond=str(T.parameters["PostsPerSecond"]["MinValue"]))
    services = slowest.services("errands")
    most = closings_source()["BatchSize"] * MAX_CLOSINGS
    paced, unanswered = most / services.settings.posts_per_second, most / services.courier.at_once
    assert paced + unanswered + 1 < T.functions["errands"]["Timeout"]


def test_whoever_closes_next_need_not_know_what_was_closed_before(world: World) -> None:
    line = world.services("errands").courier.line
    world.services("fanout").deliveries.closings.close(["c1", "c2"])
    world.close_silent()
    assert world.line.closed == ["c1", "c2"]
    assert line.spare() == world.services("errands").settings.posts_per_second


def test_recounts_do_not_wait_for_what_is_closed() -> None:
    (errands,) = (one for one in T.events("errands", "SQS") if one["Queue"] == "ErrandQueue.Arn")
    assert "ScalingConfig" not in errands


def test_a_clock_that_steps_back_stops_nobody() -> None:
    clock = Clock()
    pace = Pace(1, clock, clock.sleep)
    pace.take()
    clock.advance(-3_600)
    pace.take()
    assert clock.slept == [1]


def test_what_publish_may_not_post_at_once_leaves_in_chunks(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, PostsPerSecond="64")  # 4 for a process of publish
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
    """Forty dashboards, of which eight hear a version in a second; they have heard the first."""
    world = worlds(memory, InlineFanout="0", PostsPerSecond="16")
    subscriptions = world.services("socket").subscriptions
    for number in range(40):
        subscriptions.add(SITE, f"c{number}", now=world.clock())
        subscriptions.greeted(SITE, f"c{number}", 0)
    world.publish(join_and_count(world, "s1"))
    world.queue.messages.clear()
    subscriptions.note_told(SITE, 1, now=world.clock())
    return world


def test_the_next_version_waits_until_a_large_audience_can_have_heard_the_last(
    crowded: World,
) -> None:
    world = crowded
    world.clock.advance(2)
    world.clock.slept.clear()
    world.publish(join_and_count(world, "s2"))
    assert (world.people(), world.queue.delays) == (1, [3])  # 40 at 8 a second take 5
    assert sum(world.clock.slept) == 0
    world.clock.advance(3)
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert world.people() == 2
    assert world.headcount()["version"] == 2


def test_what_waits_is_published_once_and_holds_all_that_came_meanwhile(crowded: World) -> None:
    world = crowded
    for number in range(2, 5):
        world.clock.advance(1)
        world.publish(join_and_count(world, f"s{number}"))
    world.clock.advance(2)
    world.run_errands()
    world.publish(world.filtered("publish"))
    world.clock.advance(3)
    world.run_errands()
    world.publish(world.filtered("publish"))
    assert (world.people(), world.headcount()["version"]) == (4, 2)


def test_an_audience_beyond_all_measure_hears_every_fifteen_seconds(crowded: World) -> None:
    world = crowded
    subscriptions = world.services("socket").subscriptions
    for number in range(500):
        subscriptions.add(SITE, f"d{number}", now=world.clock())
        subscriptions.greeted(SITE, f"d{number}", 1)
    world.publish(join_and_count(world, "s2"))
    (delay,) = world.queue.delays
    assert SLOWEST_PACE - 1_000 <= delay * 1_000 <= SLOWEST_PACE
    assert 2 * SLOWEST_PACE <= SETTLING


# ----------------------------------------------------------------------------- who does not answer


def test_who_does_not_answer_is_tried_once_and_the_others_go_on(world: World) -> None:
    world.subscribe("c1")
    world.subscribe("c2")
    world.line.hang("c1")
    tries = world.line.tries["c1"]
    for number in (1, 2):
        batch = join_and_count(world, f"s{number}")
        world.clock.slept.clear()
        world.publish(batch)
        assert sum(world.clock.slept) == 0
        world.clock.advance(2)
    assert world.line.tries["c1"] == tries + 1
    assert world.versions("c2") == [0, 1, 2]
    assert [row["subscriber"] for row in space_rows(world)] == ["c2"]
    world.line.hanging.clear()
    world.run_errands()
    assert world.line.closed == ["c1"]


def test_a_version_behind_the_one_it_missed_does_not_reach_it(
    engine: Engine, worlds: Worlds
) -> None:
    world = worlds(engine, InlineFanout="0")
    for name in ("c1", "c2"):
        world.subscribe(name)
    for number in range(3):
        world.publish(join_and_count(world, f"s{number}"))  # all are queued, c1 among theirs
        world.clock.advance(SLOWEST_PACE / SECOND)
    world.line.hang("c1")
    first = world.queue.take()
    while first is not None and "c1" not in first["Records"][0]["body"]:
        world.invoke("fanout", first)
        first = world.queue.take()
    assert first is not None
    world.invoke("fanout", first)
    world.line.hanging.clear()  # it is back, too late
    world.fan_out()
    assert world.versions("c1") == [0]
    assert world.versions("c2") == [0, 1, 2, 3]
    world.run_errands()
    assert world.line.closed == ["c1"]


def test_who_was_set_aside_in_one_space_misses_nothing_before_in_another(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, InlineFanout="0")
    world.subscribe("c1")
    world.say("c1", {"action": "subscribe", "space": "link:1"})
    for space in (SITE, "link:1"):
        world.beat("s1", space)
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.line.hang("c1")
    chunk = world.queue.take()
    assert chunk is not None
    world.invoke("fanout", chunk)
    world.line.hanging.clear()
    world.fan_out()
    heard = [len(world.versions("c1", space)) for space in (SITE, "link:1")]
    assert sorted(heard) == [1, 2]


def test_a_chunk_that_died_before_it_set_anyone_aside_is_tried_again_whole(
    memory: Engine, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds(memory, InlineFanout="0")
    world.subscribe("c1")
    world.publish(join_and_count(world, "s1"))
    chunk = world.queue.take()
    assert chunk is not None
    world.line.hang("c1")
    queue = world.services("fanout").closing_queue

    def out_of_reach(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://example.test")

    with monkeypatch.context() as patch:
        patch.setattr(queue.client, "send_message", out_of_reach)
        with pytest.raises(RuntimeError, match="none of 1 chunks"):
            world.invoke("fanout", chunk)
    world.line.hanging.clear()
    world.invoke("fanout", chunk)
    assert world.versions("c1") == [0, 1]
    world.run_errands()
    assert world.line.closed == []


def test_an_errand_to_close_is_tried_until_it_is_done(world: World) -> None:
    world.subscribe("c1")
    world.line.hang("c1")
    world.publish(join_and_count(world, "s1"))
    closing = world.queue.take_closings(10)
    assert closing is not None
    with pytest.raises(RuntimeError, match="1 connections"):
        world.invoke("errands", closing)
    world.line.hanging.clear()
    world.invoke("errands", closing)
    assert world.line.closed == ["c1"]


def test_of_a_batch_only_those_are_tried_again_that_may_be_open(memory_world: World) -> None:
    world = memory_world
    closings = world.services("fanout").deliveries.closings
    crowd = [f"c{number}" for number in range(2 * MAX_CLOSINGS + 1)]
    closings.close(crowd)
    closings.close([])
    batch = world.queue.take_closings(10)
    assert batch is not None
    world.line.hang(crowd[0])
    world.line.throttle(crowd[-1], times=1)
    answer = world.invoke("errands", batch)
    first, _, last = (one["messageId"] for one in batch["Records"])
    assert [one["itemIdentifier"] for one in answer["batchItemFailures"]] == [first, last]
    assert sorted(world.line.closed) == sorted(crowd[1:-1])
    world.line.hanging.clear()
    world.invoke("errands", {"Records": [batch["Records"][0], batch["Records"][2]]})
    assert set(world.line.closed) == set(crowd)


def test_nobody_is_closed_because_the_service_does_not_answer_for_a_moment(
    memory_world: World,
) -> None:
    world = memory_world
    names = [f"c{number}" for number in range(40)]
    for name in names:
        world.subscribe(name)
    batch = join_and_count(world, "s1")
    silent = iter(range(40))

    def answer() -> None:
        if next(silent, None) is not None:
            raise ReadTimeoutError(endpoint_url="https://example.test")

    world.line.before_post = answer
    world.publish(batch)
    assert all(world.versions(name) == [0, 1] for name in names)
    assert world.queue.closings == []


def test_a_crowd_that_does_not_answer_is_given_up_within_seconds(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, InlineFanout="0")
    silent = [f"c{number}" for number in range(200)]
    subscriptions = world.services("socket").subscriptions
    for name in silent:
        subscriptions.add(SITE, name, now=world.clock())
        subscriptions.greeted(SITE, name, 0)
        world.line.hang(name)
    world.publish(join_and_count(world, "s1"))
    began = world.clock()
    world.line.before_post = lambda: world.clock.advance(0.01)
    world.fan_out()
    assert world.clock() - began < 60_000
    assert max(world.line.tries[name] for name in silent) <= 4
    assert space_rows(world) == []
    world.line.hanging.clear()
    world.run_errands()
    assert sorted(world.line.closed) == sorted(silent)


def test_of_a_batch_that_fails_in_part_the_rest_of_the_group_is_tried_again(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, InlineFanout="0")
    for name in ("c0", "c1"):  # in chunks of their own
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


# ---------------------------------------------------------------- one invocation has one patience


def test_throttled_spaces_of_one_batch_share_its_time_and_nobody_is_closed_for_want_of_it(
    world: World,
) -> None:
    spaces = ("link:1", "link:2", "link:3")
    for space in spaces:
        world.subscribe(f"to {space}", space)
        world.beat("s1", space)
    world.count(world.filtered("count"))
    batch = world.filtered("publish")
    for space in spaces:
        world.line.throttle(f"to {space}", times=100)
    world.line.delete_connection = lambda **_: world.line.closed.append("one")  # type: ignore[method-assign]
    began = world.clock()
    failed = world.invoke("publish", {"Records": batch})["batchItemFailures"]
    assert world.clock() - began <= THROTTLE_BUDGET + 1_000
    assert (world.line.closed, len(failed)) == (["one"], 2)
    world.line.throttled.clear()
    numbers = [one["itemIdentifier"] for one in failed]
    world.publish([one for one in batch if one["dynamodb"]["SequenceNumber"] in numbers])
    heard = [world.versions(f"to {space}", space) for space in spaces]
    assert sorted(heard) == [[0], [0, 1], [0, 1]]


def test_a_version_that_left_in_chunks_on_its_second_try_is_not_overtaken(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, PostsPerSecond="64")  # 4 a second for a process of publish
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
    world.publish([*first, *more])  # tried again, with what came meanwhile
    world.settle()
    assert world.versions("c0", "link:1") == [0, 1, 2]


def test_whose_chunk_is_overdue_starts_over_and_hears_no_later_one(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, InlineFanout="1")
    for connection in ("c1", "c2"):
        world.subscribe(connection)
    world.publish(join_and_count(world, "s1"))
    world.clock.advance(OVERDUE / SECOND - 1)
    world.publish(join_and_count(world, "s2"))
    world.clock.advance(2)
    world.fan_out()
    assert world.versions("c1") == [0]
    assert space_rows(world) == []
    world.run_errands()
    assert sorted(world.line.closed) == ["c1", "c2"]


def test_an_account_that_is_throttled_after_a_slow_pass_closes_nobody(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory)
    courier = world.services("fanout").courier
    audience = [f"c{number}" for number in range(400)]  # longer than posts are tried
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
        assert replace(courier, line=line, pool=pool).hand_out("hello", audience) == []


def test_a_large_audience_hears_on_after_a_clock_was_ahead(crowded: World) -> None:
    world = crowded
    world.clock.advance(3600)
    world.publish(join_and_count(world, "s2"))
    ahead = world.headcount()["version"]
    world.clock.advance(-3600)
    join_and_count(world, "s3")
    for _ in range(5):
        world.clock.advance(20)
        world.run_errands()
        world.publish(world.filtered("publish"))
    assert world.headcount()["version"] > ahead
