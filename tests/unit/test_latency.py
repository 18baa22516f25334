"""`make bench-latency`: its hops, its streams and queues, and whole scenes with fixed times."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from statistics import quantiles
from typing import Any

import pytest

from lab.bench import latency
from lab.bench.cloud import MILLISECOND, Cloud, Fixed, Queue, Stream, quiet
from lab.bench.hops import Hop, Hops, fixed, hops
from lab.bench.latency import (
    BEFORE,
    CHANGES,
    KINDS,
    LOADS,
    MOST_WATCHED,
    PAGE,
    QUIET,
    RUSH,
    SIZES,
    WATCHED,
    Outcome,
    Scene,
    figures,
    percentile,
    play,
    scenes,
)
from lab.harness.template import template

NO_CPU = Fixed()
HOP, FIFO, GATEWAY = 200.0, 30.0, 8.0
SLOW = fixed(stream=HOP, fifo=FIFO, queue=20, gateway=GATEWAY)


# ------------------------------------------------------------------------------------------ hops


@pytest.mark.parametrize("name", sorted(hops().of))
def test_a_hop_goes_through_its_percentiles(name: str) -> None:
    for share, milliseconds in hops()[name].points:
        assert hops()[name].at(share) == pytest.approx(milliseconds)


@pytest.mark.parametrize("name", ["stream", "queue", "fifo"])
def test_drawn_hops_have_the_published_percentiles(name: str) -> None:
    cloud = a_cloud(hops())
    drawn = quantiles([cloud.draw(hops()[name]) / MILLISECOND for _ in range(40_000)], n=100)
    for share, milliseconds in hops()[name].points:
        assert drawn[round(share * 100) - 1] == pytest.approx(milliseconds, rel=0.08)


def test_no_hop_is_rarer_than_the_rarest_that_was_seen() -> None:
    hop = hops()["fifo"]
    assert hop.at(1 - 1e-9) == hop.at(1 - 1 / 1_024)
    assert hop.at(0) == hop.at(1 / 1_024)
    assert hop.at(0.5) < hop.at(0.95) < hop.at(0.995)


def test_the_published_hops_are_those_of_the_source() -> None:
    of = hops()
    assert of.published == {"stream", "queue", "fifo"}
    assert of["stream"].points == ((0.1, 118), (0.5, 213), (0.9, 341), (0.99, 552))
    assert of["queue"].points[1:] == ((0.5, 16.2), (0.9, 33.8), (0.99, 105))
    assert of["fifo"].points[1:] == ((0.5, 28.1), (0.9, 61.2), (0.99, 645))


def test_a_lognormal_hop_is_exact() -> None:
    hop = Hop.of("x", {"p50": 100, "p84.1344746": 200}, rarest=0.001)
    assert hop.at(0.1586552540) == pytest.approx(50, rel=1e-4)


# -------------------------------------------------------------------------------- streams, queues


def a_cloud(of: Hops) -> Cloud:
    return Cloud(a_random(), of, NO_CPU, charges_tls=False)


def a_random() -> Random:
    return Random(1)  # noqa: S311 - a simulation, not a secret


class Recorder:
    """Stands in for a function: notes when it begins with which records, and takes some time."""

    def __init__(self, cloud: Cloud, takes: float = 0) -> None:
        self.cloud = cloud
        self.takes = takes
        self.begun: list[tuple[float, list[str]]] = []
        self.began_at = cloud.loop.now
        self.answers: list[Any] = []
        cloud.invoke = self.invoke  # type: ignore[method-assign]

    def seconds(self) -> float:
        return (self.cloud.loop.now - self.began_at) / 1e6

    def invoke(self, _function: str, event: Mapping[str, Any]) -> Any:
        names = [
            record["body"] if "body" in record else record["dynamodb"]["Keys"]["session"]["S"]
            for record in event["Records"]
        ]
        self.begun.append((round(self.seconds(), 3), names))
        if self.takes:
            self.cloud.loop.pause(round(self.takes * 1e6))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def a_stream(cloud: Cloud, **settings: Any) -> tuple[Stream, Callable[[str], None]]:
    """A stream of the Presence table, and a function that writes a session there."""
    source = {
        "Stream": "PresenceTable.StreamArn",
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
    }
    stream = Stream(cloud, "count", source | settings)
    cloud.streams[:] = [stream]

    def write(session: str, partition: str = "site:main#0") -> None:
        item = {"partition": {"S": partition}, "session": {"S": session}}
        cloud.database.client.put_item(TableName="presence", Item=item)
        cloud.wake(cloud.loop.now)

    return stream, write


def test_a_record_arrives_after_the_hop_and_the_window() -> None:
    cloud = a_cloud(SLOW)
    _, write = a_stream(cloud, MaximumBatchingWindowInSeconds=1)
    recorder = Recorder(cloud)
    write("a")
    cloud.loop.at(cloud.loop.now + 500 * MILLISECOND, lambda: write("b"))
    cloud.run(5)
    assert recorder.begun == [(1.2, ["a", "b"])]


def test_a_full_batch_ends_the_window() -> None:
    cloud = a_cloud(SLOW)
    _, write = a_stream(cloud, MaximumBatchingWindowInSeconds=5, BatchSize=2)
    recorder = Recorder(cloud)
    for session in "abc":
        write(session)
    cloud.run(20)
    assert recorder.begun == [(0.2, ["a", "b"]), (5.2, ["c"])]


def test_what_arrives_during_an_invocation_forms_the_next_batch() -> None:
    cloud = a_cloud(SLOW)
    _, write = a_stream(cloud)
    recorder = Recorder(cloud, takes=3)
    for after, session in ((0, "a"), (1, "b"), (2, "c")):
        cloud.loop.at(cloud.loop.now + after * 1_000_000, lambda session=session: write(session))
    cloud.run(20)
    assert recorder.begun == [(0.2, ["a"]), (3.2, ["b", "c"])]


def test_what_is_written_between_two_polls_is_late_together() -> None:
    cloud = a_cloud(hops())
    stream, _ = a_stream(cloud)
    drawn = [stream._hop((0, 0), at * MILLISECOND) for at in (0, 100, 240, 260, 490, 510)]
    assert len({*drawn[:3]}) == len({*drawn[3:5]}) == 1
    assert len({*drawn}) == 3


def test_a_failed_batch_is_delivered_again() -> None:
    cloud = a_cloud(SLOW)
    _, write = a_stream(cloud, FunctionResponseTypes=["ReportBatchItemFailures"])
    recorder = Recorder(cloud)
    recorder.answers = [ValueError(), {"batchItemFailures": [{"itemIdentifier": f"{2:021d}"}]}]
    write("a")
    write("b")
    cloud.run(20)
    assert recorder.begun == [(0.2, ["a", "b"]), (0.7, ["a", "b"]), (1.2, ["b"])]
    assert cloud.errors == {"count: ValueError": 1}


def a_queue(cloud: Cloud, name: str, **settings: Any) -> Queue:
    return Queue(cloud, name, "x", {"BatchSize": 1} | settings)


def test_a_delayed_message_arrives_after_its_delay_and_the_hop() -> None:
    cloud = a_cloud(SLOW)
    recorder = Recorder(cloud, takes=5)
    queue = a_queue(cloud, "ErrandQueue")
    queue.send(cloud.loop.now, MessageBody="late", DelaySeconds=3)
    queue.send(cloud.loop.now, MessageBody="soon")
    cloud.run(20)
    assert recorder.begun == [(0.02, ["soon"]), (3.02, ["late"])]


def test_a_fifo_queue_delivers_a_group_in_order_and_one_batch_at_a_time() -> None:
    cloud = a_cloud(SLOW)
    recorder = Recorder(cloud, takes=1)
    settings = {"ScalingConfig": {"MaximumConcurrency": 2}}
    queue = a_queue(cloud, "FanoutQueue", **settings)
    for body, group in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("a1", "a")):
        queue.send(
            cloud.loop.now, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=body
        )
    cloud.run(20)
    assert recorder.begun == [(0.03, ["a1"]), (0.03, ["b1"]), (1.03, ["a2"]), (1.03, ["c1"])]


def test_a_failed_message_blocks_its_group_until_it_is_visible_again() -> None:
    cloud = a_cloud(SLOW)
    recorder = Recorder(cloud)
    queue = a_queue(cloud, "FanoutQueue", BatchSize=4)
    queue.postponed["receipt of FanoutQueue-1"] = 7
    recorder.answers = [{"batchItemFailures": [{"itemIdentifier": "FanoutQueue-1"}]}]
    queue.send(cloud.loop.now, MessageBody="1", MessageGroupId="a", MessageDeduplicationId="1")
    cloud.run(1)
    queue.send(cloud.loop.now, MessageBody="2", MessageGroupId="a", MessageDeduplicationId="2")
    cloud.run(20)
    assert recorder.begun == [(0.03, ["1"]), (7.03, ["1", "2"])]


# ---------------------------------------------------------------------------------- whole scenes


def expected(outcome: Outcome) -> float:
    """The seconds of a join in a quiet small space if only gateway and streams take time."""
    (count,) = template().events("count", "DynamoDB")
    (publish,) = template().events("publish", "DynamoDB")
    windows = count["MaximumBatchingWindowInSeconds"]
    hops_ = 1
    if set(outcome.posted_by) == {"publish"}:
        windows += publish["MaximumBatchingWindowInSeconds"]
        hops_ = 2
    return float(windows + (hops_ * HOP + GATEWAY) / 1000)


def test_fixed_hops_add_up() -> None:
    outcome = play(Scene(10, QUIET, 2), 1, NO_CPU, SLOW)
    for kind in KINDS:
        assert outcome.first[kind] == pytest.approx([expected(outcome)] * 2, abs=0.02)
    assert outcome.last == pytest.approx([expected(outcome)] * 6, abs=0.02)
    assert not outcome.errors


def test_who_watches_hears_of_a_person_after_the_stream_and_a_queue() -> None:
    """Not after a recount: only the hops add up."""
    outcome = play(Scene(10, QUIET, 2, watched=3), 1, NO_CPU, SLOW)
    heard = (GATEWAY + HOP + 20) / 1000
    for kind in KINDS:
        assert outcome.first[kind] == pytest.approx([heard] * 2, abs=0.01)
    assert outcome.posted_by == {"deferred": 6}
    assert not outcome.errors


def test_calls_and_cpu_take_time() -> None:
    def join(cpu: Fixed, of: Hops) -> float:
        return play(Scene(100, QUIET, 2), 1, cpu, of).first["join"][0]

    nothing = join(NO_CPU, SLOW)
    called = join(NO_CPU, fixed(stream=HOP, gateway=GATEWAY, dynamodb=5))
    counted = join(Fixed(row=0.0005), SLOW)
    assert called > nothing + 4 * 0.005
    share = template().functions["count"]["MemorySize"] / 1769
    assert counted > nothing + 100 * 0.0005 / min(1, share) * 0.9


def test_the_last_of_many_dashboards_waits_for_the_rate() -> None:
    rate, dashboards = 1_000, 600
    parameters = (("PostsPerSecond", str(rate)), ("ShardsPerSpace", "1"))
    with quiet():
        cloud = Cloud(a_random(), SLOW, NO_CPU, parameters)
        outcome = latency.Play(Scene(10, QUIET, 1, dashboards), cloud).run()
    assert set(outcome.posted_by) == {"fanout"}
    spread = outcome.last[0] - outcome.first["join"][0]
    assert spread >= 0.5 * dashboards / rate


@pytest.mark.parametrize("load", [QUIET, CHANGES, pytest.param(RUSH, marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_figures(load: str) -> None:
    def seconds(seed: int) -> list[Any]:
        outcome = play(Scene(10, load, 2), seed, Fixed(0.0003, 0.00005), hops())
        return [outcome.first, outcome.last, outcome.work["count"].invocations]

    once = seconds(1)
    assert once == seconds(1)
    assert once != seconds(2)


def test_a_space_of_several_shards_is_filled_up_and_counted() -> None:
    with quiet():
        played = latency.Play(
            Scene(100, QUIET, 2), Cloud(a_random(), SLOW, NO_CPU, (("ShardsPerSpace", "3"),))
        )
        played.shards = 3
        outcome = played.run()
        rows = [
            row for _, (row, _) in played.cloud.database.tables["presence"].rows.scan(None, None)
        ]
    live = [row for row in rows if row["kind"]["S"] not in {"leave", "gone"}]
    assert len(live) == 100
    assert len({row["partition"]["S"] for row in live}) == 3
    sessions = played.audience.shown["sessions"]
    assert sessions == 100
    assert len(outcome.last) == 6


def test_a_large_space_has_several_shards() -> None:
    assert [Scene(size, QUIET, 1).shards for size in SIZES] == [1, 1, 1, 1, 1, 1, 4]


# ---------------------------------------------------------------------------------- what it prints


def test_every_size_and_load_is_timed() -> None:
    found = {(one.sessions, one.load) for one in scenes(1, SIZES[-1])}
    assert found >= {(size, load) for size in SIZES for load in LOADS}
    assert max(one.sessions for one in scenes(0.1, 1_000)) == 1_000
    watched = [one for one in scenes(1, SIZES[-1]) if one.watched]
    assert {(one.sessions, one.load) for one in watched} == {*WATCHED}
    assert all(one.times <= one.watched == MOST_WATCHED for one in watched)
    assert {one.load for one in scenes(0.1, 10)} == {QUIET, CHANGES, RUSH}


def test_percentiles_are_interpolated() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile([1, 2], 0.95) == pytest.approx(1.95)
    assert percentile([7], 0.99) == 7


def test_it_prints_tables_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = play(Scene(1, QUIET, 2), 1, NO_CPU, SLOW)

    def play_all(todo: Any, seed: int, row_cpu: float | None) -> list[Outcome]:
        return [replace(outcome, scene=one) for one in todo]

    monkeypatch.setattr(latency, "play_all", play_all)
    for flag in ((), ("--json",)):
        arguments = ["x", "--share", "0.01", "--most", "10", "--row-cpu", "50", *flag]
        monkeypatch.setattr(sys, "argv", arguments)
        assert latency.main() == 0
    text, _, tail = capsys.readouterr().out.partition("{")
    assert "### 20 joins a second" in text
    assert "The last of many dashboards" in text
    assert re.search(r"^\| sessions \| load \| online \| moved \| offline \|", text, re.M)
    run = json.loads("{" + tail)
    assert {one["load"] for one in run["scenes"]} == set(LOADS)
    page = latency.page(run, run)
    assert "p95, seconds" in page


def test_the_page_is_made_from_a_run_of_all_scenes() -> None:
    text = PAGE.read_text().partition("### The last")[0]
    for size in SIZES:
        assert len(re.findall(rf"^\| {size:,} \|", text, re.M)) == len(LOADS)
    before = json.loads(BEFORE.read_text())
    rows = {(one["sessions"], one["load"]) for one in before["scenes"]}
    assert rows >= {(size, load) for size in SIZES for load in LOADS}
    outcome = play(Scene(1, QUIET, 2), 1, NO_CPU, SLOW)
    assert figures(outcome).keys() == before["scenes"][0].keys()
