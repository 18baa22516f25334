"""What the functions say of their work: few lines, a thread through them, and alarms that ring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from headcount.causes import MEMORY, Cause, cause_of
from headcount.fanning import cause_in
from headcount.metrics import BEATS_PER_LINE, METRICS, Meter
from headcount.store.attributes import encode
from headcount.store.keys import Counts

from tests.conftest import Worlds
from tests.support.cloudwatch import Point, state_of
from tests.support.emf import lines, metrics, points
from tests.support.engines import Engine
from tests.support.fakes import aws_error
from tests.support.template import template
from tests.support.world import SITE, World
from tests.unit.test_session import gone, here

Printed = Callable[[], str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What was printed since it was last asked."""
    return lambda: capsys.readouterr().out


def said(text: str, message: str) -> list[dict[str, Any]]:
    """The lines that say this, without the parts that CloudWatch alone reads."""
    found = [line for line in lines(text) if line.get("message") == message]
    return [{name: value for name, value in line.items() if name != "_aws"} for line in found]


# -------------------------------------------------------------------------------- the way of a beat


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


def test_a_large_audience_is_on_the_same_thread(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, InlineFanout="0")
    world.subscribe("c1")
    printed()
    world.beat("s1", request="join-1")
    world.settle()
    named = [line for line in lines(printed()) if line.get("cause") == "join-1"]
    assert [line["message"] for line in named] == ["counted", "published", "fanned out"]
    assert [line.get("JoinToPush") for line in named] == [None, None, [0]]
    assert named[-1]["connections"] == named[-1]["Posts"] == 1
    assert named[-1]["version"] == named[-2]["version"]


def test_whoever_did_not_wait_longest_is_found_by_the_count_that_names_them(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    for number in range(3):
        world.beat(f"s{number}", request=f"join-{number}")
        world.clock.advance(0.1)
    world.settle()
    (counted,) = said(printed(), "counted")
    assert counted["requests"] == ["join-0", "join-1", "join-2"]
    assert counted["cause"] == "join-0"


def test_a_batch_of_hundreds_names_the_first_of_them_and_no_more(
    memory_world: World, printed: Printed
) -> None:
    for number in range(300):
        memory_world.beat(f"s{number}", request=f"join-{number}")
    memory_world.settle()
    (counted,) = said(printed(), "counted")
    assert counted["requests"] == [f"join-{number}" for number in range(20)]
    assert counted["Joins"] == 300


def test_a_recount_that_was_left_for_later_goes_on_with_the_thread(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    for number in range(60):  # a pace of more than a second: the second batch waits
        world.beat(f"s{number}")
    world.settle()
    printed()
    world.clock.advance(0.1)
    world.beat("late", request="join-late")
    world.count(world.filtered("count"))
    (left,) = said(printed(), "left for later")
    assert left["requests"] == ["join-late"]
    assert "cause" not in left
    world.clock.advance(5)
    world.settle()
    text = printed()
    (counted,), (published,) = said(text, "counted"), said(text, "published")
    assert counted["cause"] == published["cause"] == "join-late"
    assert published["JoinToPush"] == [5_000]


def test_a_leave_is_on_the_thread_too(memory_world: World, printed: Printed) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.clock.advance(3)
    printed()
    world.leave("s1", request="leave-1")
    world.settle()
    text = printed()
    (counted,), (published,) = said(text, "counted"), said(text, "published")
    assert (counted["Leaves"], counted.get("Joins")) == (1, None)
    assert counted["cause"] == published["cause"] == "leave-1"


def test_a_steady_beat_says_nothing_and_its_row_is_none_the_larger(
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


def test_no_line_says_who_was_there(memory_world: World, printed: Printed) -> None:
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


def test_what_an_older_release_queued_is_fanned_out_without_a_cause(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, InlineFanout="0")
    world.subscribe("c1")
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    printed()
    world.queue.messages[0]["messageAttributes"] = {}
    world.fan_out()
    (line,) = said(printed(), "fanned out")
    assert {"cause", "JoinToPush"}.isdisjoint(line)
    assert world.versions("c1") == [0, 1]
    assert cause_in({"body": "{}"}) is None


def test_a_count_of_an_older_release_has_no_cause(memory_world: World, printed: Printed) -> None:
    world = memory_world
    world.beat("s1")
    world.count(world.filtered("count"))
    (row,) = [one for one in world.tables["counts"].rows() if one[Counts.SORT] == "shard#0"]
    older = {name: value for name, value in row.items() if name not in {"cause", "caused_at"}}
    assert len(older) == len(row) - 2
    world.tables["counts"].put(encode(older))
    printed()
    world.publish(world.filtered("publish"))
    lines_of_it = said(printed(), "published")
    assert lines_of_it
    assert all("cause" not in line for line in lines_of_it)


def test_the_cause_is_what_waited_longest_since_the_count_before() -> None:
    now = here().changed_at + 5_000
    rows = [
        here(id="a", request="old", changed_at=now - 4_000),
        here(id="b", request="first", changed_at=now - 2_000),
        gone(id="c", request="second", changed_at=now - 1_000),
    ]
    assert cause_of(rows, since=now - 3_000, now=now) == Cause("first", now - 2_000)
    assert cause_of(rows, since=now - 1_000, now=now) is None


def test_what_changed_long_ago_is_no_cause_where_a_count_got_lost() -> None:
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


def test_however_fast_beats_come_a_process_says_so_once_a_minute(
    memory_world: World, printed: Printed
) -> None:
    world = memory_world
    for number in range(1_000):
        world.clock.advance(0.1)
        world.beat(f"s{number}")
    first, second = metrics(printed())
    assert second["_aws"]["Timestamp"] - first["_aws"]["Timestamp"] >= 60_000
    assert first["Beats"] == BEATS_PER_LINE


def test_an_error_is_said_every_time(
    memory_world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    world.beat("s1")

    def fail(*_: Any, **__: Any) -> Any:
        raise aws_error("AccessDeniedException")

    monkeypatch.setattr(world.services("api").desk.table, "steady", fail)
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
    world.attend("p1", "s1")
    for number in range(BEATS_PER_LINE):
        world.clock.advance(30)
        world.tell("p1", seq=number + 2)
    (line,) = metrics(printed())
    assert line["Beats"] == BEATS_PER_LINE


def test_a_session_that_is_refused_counts_as_refused(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, BeatsPerSession="1")
    world.beat("s1")
    for _ in range(BEATS_PER_LINE):
        body = {"sessionId": "s1"}
        assert world.http("POST", "/v1/spaces/site%3Amain/presence", body=body).status == 429
    (line,) = metrics(printed())
    assert (line["Beats"], line["Refused"]) == (1, BEATS_PER_LINE - 1)


def test_a_meter_begins_anew_and_keeps_the_longest_times() -> None:
    meter = Meter()
    for took in range(150):
        meter.time("JoinToPush", took)
    meter.add("Posts", 2)
    meter.add("Gone", 0)
    assert meter.take(1) == {"Posts": 2, "JoinToPush": list(range(50, 150))}
    assert meter.take(2) == {}


# ------------------------------------------------------------------------------------------ metrics


def test_every_metric_is_said_by_some_function(
    memory: Engine, worlds: Worlds, printed: Printed
) -> None:
    world = worlds(memory, BeatsPerSession="60")
    world.subscribe("c1")
    world.subscribe("c2")
    world.subscribe("c3")
    for number in range(100):
        world.beat(f"s{number % 50}", visitorId=f"v{number % 50}")
    for _ in range(80):
        body = {"sessionId": "s1"}
        world.http("POST", "/v1/spaces/site%3Amain/presence", body=body)
    world.leave("s1")
    world.clock.advance(20)
    world.line.go("c2")
    world.line.throttle("c3", times=1)
    world.settle()
    world.clock.advance(61)
    for number in range(100):
        world.http("POST", "/v1/spaces/site%3Amain/presence", body={"sessionId": f"t{number}"})
    world.sweep()
    world.settle()
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
    for number in range(20):  # signs in: most of them go on in another shard
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
    """What the printed lines tell CloudWatch."""
    return [Point(*one) for one in points(text)]


def state(name: str, text: str, now: int) -> str:
    alarm = template().resolve(template().resources[name]["Properties"])
    return state_of(alarm, fed(text), now)


MINUTES = 12


def live(world: World, *, slow: float = 0, sweeps: bool = True) -> int:
    """Some minutes of joins, each published ``slow`` seconds late; returns when they are over."""
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


OURS = [
    "DriftAlarm",
    "ExpiryLagAlarm",
    "JoinToPushAlarm",
    "PostsThrottledAlarm",
    "SweepMissingAlarm",
]


def test_every_alarm_on_a_metric_of_our_own_is_tried_here() -> None:
    alarms = template().of_type("AWS::CloudWatch::Alarm")
    assert sorted(name for name, one in alarms.items() if one["Namespace"] == "Headcount") == OURS


@pytest.mark.parametrize("name", OURS)
def test_no_alarm_rings_where_all_is_well(memory_world: World, printed: Printed, name: str) -> None:
    world = memory_world
    world.subscribe("c1")
    now = live(world, slow=1)
    text = printed()
    assert {"Joins", "JoinToPush", "Posts", "Drift", "ExpiryLag"} <= {
        one.metric for one in fed(text)
    }
    assert state(name, text, now) == "OK"


def test_drift_rings(memory_world: World, printed: Printed) -> None:
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


def test_a_slow_way_to_the_dashboards_rings(memory_world: World, printed: Printed) -> None:
    now = live(memory_world, slow=16)
    assert state("JoinToPushAlarm", printed(), now) == "ALARM"


def test_visits_that_are_ended_late_ring(memory_world: World, printed: Printed) -> None:
    world = memory_world
    for _ in range(4):  # each sweep finds a lease that ran out long ago
        world.beat(f"s{world.clock()}")
        world.clock.advance(220)
        world.sweep()
    text = printed()
    # Four late sweeps in four minutes: as of several functions' processes that were held up.
    late = [one for one in fed(text) if one.metric == "ExpiryLag"]
    assert [one.value for one in late] == [160_000] * 4
    now = world.clock() - world.clock() % 60_000
    close = [one._replace(at=now - (n + 1) * 60_000) for n, one in enumerate(late)]
    alarm = template().resolve(template().resources["ExpiryLagAlarm"]["Properties"])
    assert state_of(alarm, close, now) == "ALARM"
    assert state_of(alarm, [one._replace(value=124_000) for one in close], now) == "OK"


def test_a_cleanup_that_does_not_run_rings(memory_world: World, printed: Printed) -> None:
    now = live(memory_world, sweeps=False)
    assert state("SweepMissingAlarm", printed(), now) == "ALARM"


def test_refused_posts_ring(memory_world: World, printed: Printed) -> None:
    world = memory_world
    for number in range(120):
        world.subscribe(f"c{number}")
    for minute in range(6):
        for number in range(120):
            world.line.throttle(f"c{number}", times=1)
        world.beat(f"s{minute}")
        world.settle()
        world.clock.advance(60 - world.clock() % 60_000 / 1000 + 1)
    now = world.clock() - world.clock() % 60_000
    assert state("PostsThrottledAlarm", printed(), now) == "ALARM"
