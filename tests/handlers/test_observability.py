"""The functions' logs: few lines, a correlation through them, and alarms that go off."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import StringIO
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from headcount import logs
from headcount.metric_lines import MetricLines
from headcount.metrics import BEATS_PER_LINE, METRICS, BeatMeter
from headcount.model.headcount import BURST
from headcount.model.trace import MEMORY, Cause, cause_of
from headcount.store.attributes import encode
from headcount.store.keys import Counts
from headcount.usecases.queues import cause_in
from msgspec.structs import replace

from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.template import ROOT, template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.cloudwatch import Point, state_of
from tests.support.emf import lines, metrics, points
from tests.unit.test_session import gone, here

Printed = Callable[[], str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """The output since the last call."""
    return lambda: capsys.readouterr().out


def lines_with(text: str, message: str) -> list[dict[str, Any]]:
    """The lines with this message, without the parts that only CloudWatch reads."""
    found = [line for line in lines(text) if line.get("message") == message]
    return [{name: value for name, value in line.items() if name != "_aws"} for line in found]


# ------------------------------------------------------------------------------------ a beat's path


def test_one_request_is_followed_from_the_beat_to_the_broadcast(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    world.subscribe("c1")
    printed()
    world.beat("s1", request="join-1")
    world.settle()
    named = [line for line in lines(printed()) if "join-1" in str(line)]
    assert [line["message"] for line in named] == ["counted", "published"]
    assert {line["cause"] for line in named} == {"join-1"}
    assert {line["space"] for line in named} == {SITE}
    counted, published = named
    assert (counted["requests"], counted["shard"], counted["count"]) == (["join-1"], 0, 1)
    assert published["version"] == 1
    assert world.versions("c1") == [0, 1]


def test_a_large_audience_has_the_same_correlation(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    printed()
    world.beat("s1", request="join-1")
    world.settle()
    named = [line for line in lines(printed()) if line.get("cause") == "join-1"]
    assert [line["message"] for line in named] == ["counted", "published", "fanned out"]
    assert [line.get("JoinToPush") for line in named] == [None, None, [0]]
    assert named[-1]["connections"] == named[-1]["Posts"] == 1
    assert named[-1]["version"] == named[-2]["version"]


def test_other_changes_of_a_version_are_found_by_the_count_that_names_them(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    for number in range(3):
        world.beat(f"s{number}", request=f"join-{number}")
        world.clock.advance(0.1)
    world.settle()
    (counted,) = lines_with(printed(), "counted")
    assert counted["requests"] == ["join-0", "join-1", "join-2"]
    assert counted["cause"] == "join-0"


def test_a_batch_of_hundreds_names_only_the_first(memory_world: World, printed: Printed) -> None:
    for number in range(300):
        memory_world.beat(f"s{number}", request=f"join-{number}")
    memory_world.settle()
    (counted,) = lines_with(printed(), "counted")
    assert counted["requests"] == [f"join-{number}" for number in range(20)]
    assert counted["Joins"] == 300


def test_a_deferred_recount_keeps_the_correlation(memory_world: World, printed: Printed) -> None:
    world = memory_world
    for number in range(120):  # paced above a second: the second batch waits
        world.beat(f"s{number}")
    world.settle()
    for _ in range(BURST):
        world.services("cleanup").recounter.recount(SITE, 0)
    world.settle()
    world.restart("count")  # which took that many joins for a rush
    printed()
    world.clock.advance(0.1)
    world.beat("late", request="join-late")
    world.count(world.filtered("count"))
    (left,) = lines_with(printed(), "deferred")
    assert left["requests"] == ["join-late"]
    assert "cause" not in left
    world.clock.advance(5)
    world.settle()
    text = printed()
    (counted,), (published,) = lines_with(text, "counted"), lines_with(text, "published")
    assert counted["cause"] == published["cause"] == "join-late"
    assert published["JoinToPush"] == [5_000]


def test_a_leave_has_the_correlation_too(memory_world: World, printed: Printed) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.clock.advance(3)
    printed()
    world.leave("s1", request="leave-1")
    world.settle()
    text = printed()
    (counted,), (published,) = lines_with(text, "counted"), lines_with(text, "published")
    assert (counted["Leaves"], counted.get("Joins")) == (1, None)
    assert counted["cause"] == published["cause"] == "leave-1"


def test_a_steady_beat_logs_nothing_and_its_row_is_no_larger(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.clock.advance(30)
    before = world.presence_rows()[0].keys()
    printed()
    world.beat("s1")
    assert printed() == ""
    assert world.presence_rows()[0].keys() == before


def test_no_line_reveals_who_was_there(memory_world: World, printed: Printed) -> None:
    world = memory_world
    world.subscribe("c-secret")
    world.beat("s-secret", visitorId="v-secret", userId="u-secret", name="Ada Secret")
    for _ in range(BEATS_PER_LINE):
        world.clock.advance(30)
        world.beat("s-secret", visitorId="v-secret", userId="u-secret", name="Ada Secret")
    world.settle()
    world.leave("s-secret")
    world.settle()
    world.sweep()
    text = printed()
    assert "counted" in text
    assert "ecret" not in text


def test_chunks_of_an_older_release_are_fanned_out_without_a_cause(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    world.subscribe("c1")
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    printed()
    world.queue.messages[0]["messageAttributes"] = {}
    world.fan_out()
    (line,) = lines_with(printed(), "fanned out")
    assert {"cause", "JoinToPush"}.isdisjoint(line)
    assert world.versions("c1") == [0, 1]
    assert cause_in({"body": "{}"}) is None


def test_a_count_of_an_older_release_has_no_cause(memory_world: World, printed: Printed) -> None:
    world = memory_world
    world.stream_alone()
    world.beat("s1")
    world.count(world.filtered("count"))
    (row,) = [one for one in world.tables["counts"].rows() if one[Counts.SORT] == "shard#0"]
    older = {name: value for name, value in row.items() if name not in {"cause", "caused_at"}}
    assert len(older) == len(row) - 2
    world.tables["counts"].put(encode(older))
    printed()
    world.publish(world.filtered("publish"))
    lines_of_it = lines_with(printed(), "published")
    assert lines_of_it
    assert all("cause" not in line for line in lines_of_it)


def test_the_cause_is_the_change_that_waited_longest_since_the_last_count() -> None:
    now = here().changed_at + 5_000
    rows = [
        here(id="a", request="old", changed_at=now - 4_000),
        here(id="b", request="first", changed_at=now - 2_000),
        gone(id="c", request="second", changed_at=now - 1_000),
    ]
    assert cause_of(rows, since=now - 3_000, now=now) == Cause("first", now - 2_000)
    assert cause_of(rows, since=now - 1_000, now=now) is None


def test_an_old_change_is_no_cause_after_a_lost_count() -> None:
    now = here().changed_at + MEMORY
    assert cause_of([here()], since=0, now=now) is None
    assert cause_of([here()], since=0, now=now - 1) == Cause(here().request, here().changed_at)


# ----------------------------------------------------------------------------------------- sampling


def test_at_most_one_line_is_written_for_a_hundred_beats(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    world.beat("s1")
    printed()
    beats = 1_000
    for _ in range(beats):
        world.clock.advance(30)
        world.beat("s1")
    written = printed().splitlines()
    assert 1 <= len(written) <= beats // BEATS_PER_LINE
    assert BEATS_PER_LINE == 100
    assert sum(line["Beats"] for line in metrics("\n".join(written))) == beats


def test_a_process_logs_beats_at_most_once_a_minute(memory_world: World, printed: Printed) -> None:
    world = memory_world
    for number in range(1_000):
        world.clock.advance(0.1)
        world.beat(f"s{number}")
    first, second = metrics(printed())
    assert second["_aws"]["Timestamp"] - first["_aws"]["Timestamp"] >= 60_000
    assert first["Beats"] == BEATS_PER_LINE


def test_an_error_is_logged_every_time(
    memory_world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    world.beat("s1")

    def fail(*_: Any, **__: Any) -> Any:
        raise aws_error("AccessDeniedException")

    monkeypatch.setattr(world.services("beat").session_recorder.table, "steady", fail)
    for number in range(5):
        path = "/v1/spaces/site%3Amain/presence"
        body = {"sessionId": "s1", "seq": number + 2}
        answer = world.http("POST", path, body=body, request=f"bad-{number}")
        assert answer.status == 500
    failed = [record for record in caplog.records if record.levelname == "ERROR"]
    requests = [vars(record)["request"] for record in failed]
    assert requests == [f"bad-{number}" for number in range(5)]


def test_beats_over_a_socket_are_counted_with_the_others(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    world.connect_viewer("p1", "s1")
    for number in range(BEATS_PER_LINE):
        world.clock.advance(30)
        world.send_beat("p1", seq=number + 2)
    (line,) = metrics(printed())
    assert line["Beats"] == BEATS_PER_LINE


def test_a_session_that_is_refused_counts_as_refused(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, Limits="beats-per-session=1")
    world.beat("s1")
    for _ in range(BEATS_PER_LINE):
        body = {"sessionId": "s1"}
        assert world.http("POST", "/v1/spaces/site%3Amain/presence", body=body).status == 429
    (line,) = metrics(printed())
    assert (line["Beats"], line["Refused"]) == (1, BEATS_PER_LINE - 1)


def test_lines_restart_their_numbers_and_keep_the_longest_times() -> None:
    written: list[str] = []
    meter = MetricLines("stack", lambda: 150, written.append)
    for at in range(150):
        meter.add_time_since("JoinToPush", 150 - at)
    meter.add("Posts", 2)
    meter.add("Gone", 0)
    meter.write("first")
    meter.write("second")
    first, second = lines("".join(written))
    del first["_aws"]
    assert first == {
        "message": "first",
        "Stack": "stack",
        "Posts": 2,
        "JoinToPush": list(range(50, 150)),
    }
    assert second == {"message": "second"}


def test_a_line_of_pending_work_is_written_only_if_there_is_any() -> None:
    written: list[str] = []
    meter = MetricLines("stack", lambda: 0, written.append)
    meter.add("Gone", 0)
    meter.write_pending("nothing")
    assert written == []
    meter.add("Gone")
    meter.write_pending("something")
    assert [line["message"] for line in lines("".join(written))] == ["something"]


def test_what_one_process_counts_is_in_no_line_of_another() -> None:
    written: list[str] = []
    one, other = (MetricLines(name, lambda: 0, written.append) for name in ("one", "other"))
    one.add("Posts", 2)
    other.write("other", space=SITE)
    one.write("one")
    other.add("Gone")
    other.write()
    found = [{**line, "_aws": None} for line in lines("".join(written))]
    assert found == [
        {"_aws": None, "message": "other", "space": SITE},
        {"_aws": None, "message": "one", "Stack": "one", "Posts": 2},
        {"_aws": None, "Stack": "other", "Gone": 1},
    ]


def test_nothing_is_lost_or_counted_twice_between_threads() -> None:
    written: list[str] = []
    made = MetricLines("stack", lambda: 0, written.append)

    def work(number: int) -> None:
        for _ in range(200):
            made.add("Posts")
            made.add_time_since("JoinToPush", 0)
            made.write("posted", space=f"site:{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = metrics("".join(written))
    assert sum(line.get("Posts", 0) for line in found) == 1_600
    assert sum(len(line.get("JoinToPush", [])) for line in found) == 1_600
    assert len(written) == 1_600


def test_beats_are_counted_without_a_library() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, headcount.metrics, headcount.logs; print(*sys.modules)",
        ],
        env={"PYTHONPATH": str(ROOT / "layers" / "presence")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "headcount.metrics" in found
    assert not [name for name in found if name.startswith(("aws_lambda_powertools", "logging"))]


def test_a_line_of_beats_is_of_the_documented_format() -> None:
    written: list[str] = []
    meter = BeatMeter("stack", lambda: 60_000, written.append)
    for name in ["Beats"] * (BEATS_PER_LINE - 1):
        meter.add(name)
    meter.write_beats("early")
    assert written == []
    meter.add("Refused")
    meter.write_beats("last")
    meter.write_beats("again")
    (line,) = metrics("".join(written))
    del line["_aws"]
    assert line == {
        "message": "beats, up to this one",
        "request": "last",
        "Stack": "stack",
        "Beats": BEATS_PER_LINE - 1,
        "Refused": 1,
    }


# ---------------------------------------------------------------------------------- correlation ids


def written_by_the_logger(world: World, act: Callable[[], object]) -> list[dict[str, Any]]:
    """The lines that the logger writes meanwhile, as they are in the log."""
    made = logs.logger()
    stream = StringIO()
    before = made.handlers[0].setStream(stream)  # type: ignore[attr-defined]
    try:
        with suppress(Exception):
            act()
    finally:
        made.handlers[0].setStream(before)  # type: ignore[attr-defined]
    return lines(stream.getvalue())


def broken_count(world: World) -> object:
    world.beat("s1")
    (record,) = world.filtered("count")
    bad = {"eventID": "event-7", "dynamodb": {"NewImage": {"kind": {"S": "join"}}}}
    return world.invoke("count", {"Records": [bad, record]})


def broken_beat(world: World) -> object:
    recorder = world.services("beat").session_recorder
    wired: Any = world.services("beat")
    wired.session_recorder = replace(recorder, table=None)
    return world.http(
        "POST", "/v1/spaces/site%3Amain/presence", body={"sessionId": "s1"}, request="event-7"
    )


def broken_chunk(world: World) -> object:
    record = world.queue._record("FanoutQueue", "event-7", "{}")
    record["attributes"]["MessageGroupId"] = "g"
    return world.invoke("fanout", {"Records": [record]})


def broken_change(world: World) -> object:
    return world.invoke("container_changes", {"id": "event-7"})


@pytest.mark.parametrize("broken", [broken_count, broken_beat, broken_chunk, broken_change])
def test_a_line_carries_the_id_of_its_event_and_the_next_one_does_not(
    memory_world: World, broken: Callable[[World], object]
) -> None:
    world = memory_world
    found = written_by_the_logger(world, lambda: broken(world))
    assert found
    assert {line["correlation_id"] for line in found} == {"event-7"}
    assert not logs.handling
    (after,) = written_by_the_logger(world, lambda: logs.logger().info("after"))
    assert "correlation_id" not in after


def test_the_event_around_another_ones_is_the_current_one_again() -> None:
    seen: list[str | None] = []

    @logs.correlated
    def inner(event: Any, context: Any) -> None:
        seen.append(logs.correlation_id(logs.handling[-1]))
        raise ValueError

    @logs.correlated
    def outer(event: Any, context: Any) -> None:
        with suppress(ValueError):
            inner({"Records": [{"messageId": "inner"}]}, None)
        seen.append(logs.correlation_id(logs.handling[-1]))

    outer({"requestContext": {"requestId": "outer"}}, None)
    assert seen == ["inner", "outer"]
    assert not logs.handling


def test_events_that_overlap_leave_none_behind(memory_world: World) -> None:
    """A test may handle several at once. Whichever ends first, no line after them has an id."""
    both = Barrier(2)
    first_is_over = Event()

    @logs.correlated
    def handle(event: Any, context: Any) -> None:
        both.wait(10)
        if event["id"] == "second":
            assert first_is_over.wait(10)

    def first() -> None:
        handle({"id": "first"}, None)
        first_is_over.set()

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(first)]
        while not logs.handling:
            time.sleep(0.001)
        running.append(pool.submit(handle, {"id": "second"}, None))
        for one in running:
            one.result(10)
    assert not logs.handling
    (after,) = written_by_the_logger(memory_world, lambda: logs.logger().info("after"))
    assert "correlation_id" not in after


@pytest.mark.parametrize("path", sorted((ROOT / "events").glob("*.json")), ids=lambda one: one.stem)
def test_every_event_but_a_functions_own_has_an_id(path: Path) -> None:
    assert logs.correlation_id(json.loads(path.read_text()))


# ------------------------------------------------------------------------------------------ metrics


def test_every_metric_is_emitted_by_some_function(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, Limits="beats-per-session=60")
    world.subscribe("c1")
    world.subscribe("c2")
    world.subscribe("c3")
    for number in range(100):
        world.beat(f"s{number % 50}", visitorId=f"v{number % 50}")
    for _ in range(80):
        body = {"sessionId": "s1"}
        world.http("POST", "/v1/spaces/site%3Amain/presence", body=body)
    robot = {"user-agent": "Googlebot/2.1"}
    body = {"sessionId": "robot"}
    world.http("POST", "/v1/spaces/site%3Amain/presence", body=body, headers=robot)
    world.leave("s1")
    world.clock.advance(20)
    world.management.set_gone("c2")
    world.management.throttle("c3", times=1)
    world.settle()
    world.clock.advance(61)
    for number in range(100):
        world.http("POST", "/v1/spaces/site%3Amain/presence", body={"sessionId": f"t{number}"})
    world.sweep()
    world.settle()
    world.daily()
    seen = {(metric, unit) for metric, unit in units(printed())}
    assert seen == set(METRICS.items())


def units(text: str) -> set[tuple[str, str]]:
    return {
        (one["Name"], one["Unit"])
        for line in metrics(text)
        for directive in line["_aws"]["CloudWatchMetrics"]
        for one in directive["Metrics"]
    }


def test_joins_and_leaves_are_counted_once_each_and_moves_and_expiries_are_none(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, ShardsPerSpace="4")
    for number in range(20):
        world.beat(f"s{number}", visitorId=f"v{number}")
    world.settle()
    for number in range(20):  # signs in: most of them move to another shard
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}")
    world.settle()
    for number in range(5):
        world.leave(f"s{number}")
    world.settle()
    world.clock.advance(61)
    world.sweep()
    world.settle()
    text = printed()

    def total(name: str) -> int:
        return sum(int(one.value) for one in fed(text) if one.metric == name)

    assert (total("Joins"), total("Leaves"), total("Ended")) == (20, 5, 15)
    assert total("Sessions") == 0


# ------------------------------------------------------------------------------------------- alarms


def fed(text: str) -> list[Point]:
    """The metrics that the printed lines send to CloudWatch."""
    return [Point(*one) for one in points(text)]


def state(name: str, text: str, now: int) -> str:
    alarm = template().resolve(template().resources[name]["Properties"])
    return state_of(alarm, fed(text), now)


MINUTES = 12


def live(world: World, *, slow: float = 0, sweeps: bool = True) -> int:
    """Some minutes of joins, each published ``slow`` seconds late; returns the end time."""
    for minute in range(MINUTES):
        world.beat(f"s{minute}", visitorId=f"v{minute}")
        world.clock.advance(slow)
        world.settle()
        world.clock.advance(59 - slow)
        if sweeps:
            world.sweep()
            world.settle()
        world.clock.advance(1)
    return -(-world.clock() // 60_000) * 60_000


OURS = [  # the budget's has test_costs.py
    "DriftAlarm",
    "ExpiryLagAlarm",
    "JoinToPushAlarm",
    "JoinsAlarm",
    "PostsThrottledAlarm",
    "SweepMissingAlarm",
]


def test_every_alarm_on_our_own_metrics_is_tested_here() -> None:
    alarms = template().of_type("AWS::CloudWatch::Alarm")
    ours = {name for name, one in alarms.items() if one["Namespace"] == "Headcount"}
    assert ours - {"BudgetAlarm"} == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_no_alarm_goes_off_without_a_fault(
    memory_world: World, printed: Printed, name: str
) -> None:
    world = memory_world
    world.subscribe("c1")
    now = live(world, slow=1)
    text = printed()
    assert {"Joins", "JoinToPush", "Posts", "Drift", "ExpiryLag"} <= {
        one.metric for one in fed(text)
    }
    assert state(name, text, now) == "OK"


def test_drift_sets_off_an_alarm(memory_world: World, printed: Printed) -> None:
    world = memory_world
    live(world)
    (row,) = world.tables["headcounts"].rows()
    world.tables["headcounts"].put(encode({**row, "anonymous": 99}))
    world.clock.advance(60)
    world.sweep()
    text = printed()
    soon = world.clock() - world.clock() % 300_000 + 300_000
    assert state("DriftAlarm", text, soon) == "ALARM"
    assert state("DriftAlarm", text, soon + 300_000) == "OK"  # it was repaired


def test_slow_updates_of_dashboards_set_off_an_alarm(memory_world: World, printed: Printed) -> None:
    now = live(memory_world, slow=16)
    assert state("JoinToPushAlarm", printed(), now) == "ALARM"


def test_visits_that_are_ended_late_set_off_an_alarm(memory_world: World, printed: Printed) -> None:
    world = memory_world
    for _ in range(4):  # each sweep finds a lease that ran out long ago
        world.beat(f"s{world.clock()}")
        world.clock.advance(220)
        world.sweep()
    text = printed()
    # Four late sweeps in four minutes, as if several processes were delayed.
    late = [one for one in fed(text) if one.metric == "ExpiryLag"]
    assert [one.value for one in late] == [160_000] * 4
    now = world.clock() - world.clock() % 60_000
    close = [one._replace(at=now - (n + 1) * 60_000) for n, one in enumerate(late)]
    alarm = template().resolve(template().resources["ExpiryLagAlarm"]["Properties"])
    assert state_of(alarm, close, now) == "ALARM"
    assert state_of(alarm, [one._replace(value=124_000) for one in close], now) == "OK"


def test_a_cleanup_that_does_not_run_sets_off_an_alarm(
    memory_world: World, printed: Printed
) -> None:
    now = live(memory_world, sweeps=False)
    assert state("SweepMissingAlarm", printed(), now) == "ALARM"


def test_a_flood_of_joins_sets_off_an_alarm(memory_world: World, printed: Printed) -> None:
    now = live(memory_world)
    (one, *_) = [point for point in fed(printed()) if point.metric == "Joins"]
    flood = [one._replace(at=now - (n + 1) * 60_000, value=10_001) for n in range(5)]
    alarm = template().resolve(template().resources["JoinsAlarm"]["Properties"])
    assert state_of(alarm, flood, now) == "ALARM"
    assert state_of(alarm, flood[1:], now) == "OK"


def test_refused_posts_set_off_an_alarm(memory_world: World, printed: Printed) -> None:
    world = memory_world
    for number in range(120):
        world.subscribe(f"c{number}")
    for minute in range(6):
        for number in range(120):
            world.management.throttle(f"c{number}", times=1)
        world.beat(f"s{minute}")
        world.settle()
        world.clock.advance(60 - world.clock() % 60_000 / 1000 + 1)
    now = world.clock() - world.clock() % 60_000
    assert state("PostsThrottledAlarm", printed(), now) == "ALARM"
