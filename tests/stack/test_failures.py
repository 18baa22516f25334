"""What goes wrong around a running stack: nothing acknowledged is lost, and no one has to fix it.

The simulator covers poison records, partial batches and concurrent recounts: the emulator retries
whole batches, one at a time. It keeps its state in memory, so its own end is not tested either.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from headcount.store.keys import Subscriptions

from lab.harness.clients import Api, Dashboard, assert_no_gaps, beat, eventually, settled
from lab.harness.events import path_of
from tests.stack.conftest import Stack
from tests.stack.crowd import Crowd
from tests.stack.faults import POST, Faults, Rule, deploy_anew, kill_workers
from tests.stack.story import numbers_of

pytestmark = pytest.mark.stack

STRUCK = 120  # seconds: the emulator serves all streams in turn, and failing batches hold it up
RECOVERY = 65  # seconds: the next minute's sweep repairs the rest
FAULTY = ["BeatFunction", "CountFunction", "PublishFunction", "CleanupFunction"]
READERS = "ApiFunction"
# About half of the attempts fail: all four of a call fail in one of eighteen cases.
STORM = [Rule("throttled", 0.2), Rule("broken", 0.15), Rule("lost", 0.15), Rule("cut", 0.1)]
MOMENTS = {"limited": 3.0, "gone": 1.0}  # seconds; a dashboard that is silent for one reconnects


@pytest.fixture(scope="package")
def faults(stack: Stack) -> Iterator[Faults]:
    """Functions whose calls to AWS can be made to fail; no rule is active yet."""
    faults = Faults(stack)
    faults.intercept(*FAULTY, READERS)
    yield faults
    faults.close()


def assert_recovered(api: Api, crowd: Crowd, dashboard: Dashboard) -> None:
    """The numbers match what was acknowledged, and the dashboard got every version."""
    expected = crowd.oracle.numbers()
    seen = settled(lambda: numbers_of(api.headcount(crowd.space)), expected, RECOVERY)
    assert seen == expected, crowd.statuses()

    def shown() -> Any:
        return numbers_of(dashboard.headcounts(crowd.space)[-1].message["data"])

    assert settled(shown, expected, 10) == expected
    assert_no_gaps(dashboard.headcounts(crowd.space))


def wait_for_faults(faults: Faults, functions: set[str]) -> None:
    """Wait until a call of each of these functions has failed."""
    eventually(
        lambda: {function for _, _, function in dict(faults.done)} >= functions,
        STRUCK,
        lambda: dict(faults.done),
    )


def test_functions_killed_at_work_lose_nothing_that_was_acknowledged(
    stack: Stack, api: Api, space: str
) -> None:
    crowd = Crowd(api, space)
    killed = []
    with stack.dashboard() as dashboard:
        dashboard.subscribe(space)
        with crowd.busy():
            while len(killed) < 3 or not (crowd.refusals or len(killed) == 20):
                crowd.go_on(10)
                killed.append(kill_workers(stack.settings.home))
            crowd.go_on(10)
        assert_recovered(api, crowd, dashboard)
    assert all(killed), killed
    assert crowd.refusals, "no function was at work when they were killed"


def test_a_deploy_while_visitors_come_and_go_loses_nothing(
    stack: Stack, api: Api, space: str
) -> None:
    crowd = Crowd(api, space)
    with stack.dashboard() as dashboard:
        dashboard.subscribe(space)
        with crowd.busy():
            crowd.go_on(15)
            deploy_anew(stack.settings)
            api.beat("deployed:here", "s1")  # a kind that only the new deployment declares
            crowd.go_on(15)
        assert_recovered(api, crowd, dashboard)


def test_throttled_and_broken_tables_delay_and_lose_nothing(
    stack: Stack, api: Api, space: str, faults: Faults
) -> None:
    crowd = Crowd(api, space)
    with stack.dashboard() as dashboard:
        dashboard.subscribe(space)
        with crowd.busy():
            crowd.go_on(15)
            with faults.having(*STORM):
                faults.invoke("CleanupFunction")
                eventually(lambda: crowd.refusals, STRUCK)
                wait_for_faults(faults, {*FAULTY} - {"PublishFunction"})
            # While counting fails, there may be nothing to publish: that has a storm of its own.
            with faults.having(*(replace(rule, function="PublishFunction") for rule in STORM)):
                wait_for_faults(faults, {"PublishFunction"})
            crowd.go_on(15)
        assert_recovered(api, crowd, dashboard)
    assert {fault for fault, _, _ in faults.done} >= {rule.fault for rule in STORM}
    assert set(crowd.statuses()) == {503}, crowd.statuses()
    for refusal in crowd.refusals:
        assert refusal.headers["Retry-After"] == "5"
        assert json.loads(refusal.text)["error"]


def test_a_space_that_fails_in_a_batch_is_published_later(
    stack: Stack, api: Api, space: str, faults: Faults
) -> None:
    good = f"{space}-good"
    failing = Rule("broken", call="PutItem", containing=space + '"', function="PublishFunction")
    direct = Rule("broken", call="PutItem", containing='"day_peaks"', function="CountFunction")
    with stack.dashboard() as dashboard:
        dashboard.subscribe(space)
        dashboard.subscribe(good)
        with faults.having(failing, direct):
            api.beat(space, "s1")
            eventually(lambda: faults.done["broken", "PutItem", "PublishFunction"], 15)
            api.beat(good, "s1")  # the next attempt's batch holds both
            wait_for_people(dashboard, good, 1, within=20)
        wait_for_people(dashboard, space, 1, within=10)
        assert_no_gaps(dashboard.headcounts(space))


def test_a_table_that_never_answers_is_a_503_in_time(api: Api, space: str, faults: Faults) -> None:
    with faults.having(Rule("silent")):
        method, path, message = beat(space, "s1")
        answer = api.request(method, path, body=message)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), answer
    api.beat(space, "s1")


def test_a_reader_that_waits_does_not_hold_up_beats(api: Api, space: str, faults: Faults) -> None:
    with faults.having(Rule("silent", function=READERS)):
        reader = api.loop.start(api.ask("GET", path_of(space)))
        eventually(lambda: faults.done["silent", "GetItem", READERS], STRUCK)
        for seq in range(1, 4):
            api.beat(space, "s1", seq=seq)
        api.leave(space, "s1", seq=4)
        assert not reader.done()
        assert reader.result(STRUCK).status == 503


def connection_of(stack: Stack, space: str) -> str:
    """The connection of the only dashboard that follows a space."""
    (row,) = stack.client("dynamodb").query(
        TableName=stack.outputs["tables"]["subscriptions"],
        KeyConditionExpression="#topic = :topic",
        ExpressionAttributeNames={"#topic": Subscriptions.PARTITION},
        ExpressionAttributeValues={":topic": {"S": Subscriptions.SPACE + space}},
    )["Items"]
    return str(row[Subscriptions.SORT]["S"])


def wait_for_people(dashboard: Dashboard, space: str, people: int, within: float) -> None:
    """Wait until a dashboard shows that many people."""
    eventually(lambda: dashboard.people(space) == people, within, lambda: dashboard.frames[-2:])


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_dashboard_whose_posts_fail_for_a_moment_misses_nothing(
    stack: Stack, api: Api, space: str, faults: Faults, fault: str
) -> None:
    with stack.dashboard() as bad, stack.dashboard() as good:
        bad.subscribe(space)
        failing = Rule(fault, call=POST, containing=connection_of(stack, space))
        good.subscribe(space)
        with faults.having(failing):
            api.beat(space, "s1")
            wait_for_people(good, space, 1, within=8)
            assert bad.people(space) == 0
            time.sleep(MOMENTS[fault])
        api.beat(space, "s2")
        wait_for_people(bad, space, 2, within=20)
        wait_for_people(good, space, 2, within=1)
        assert_no_gaps(bad.headcounts(space))
        assert_no_gaps(good.headcounts(space))
    # `count` posts the versions that it publishes itself, `publish` those that were left to it.
    assert faults.done[fault, POST, "CountFunction"] + faults.done[fault, POST, "PublishFunction"]


def test_a_dashboard_that_never_answers_is_closed_and_the_others_go_on(
    stack: Stack, api: Api, space: str, faults: Faults
) -> None:
    with stack.dashboard() as bad, stack.dashboard() as good:
        bad.subscribe(space)
        failing = Rule("silent", call=POST, containing=connection_of(stack, space))
        good.subscribe(space)
        with faults.having(failing):
            api.beat(space, "s1")
            wait_for_people(good, space, 1, within=8)
            api.beat(space, "s2")
            eventually(lambda: bad.closed, 20, lambda: bad.frames[-2:])
            wait_for_people(good, space, 2, within=8)
            with stack.dashboard() as back:  # a new connection, which answers
                assert back.subscribe(space)["data"]["people"] == 2
        assert bad.people(space) == 0
        assert_no_gaps(good.headcounts(space))
