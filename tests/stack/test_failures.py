"""What goes wrong around a running stack: nothing acknowledged is lost, and nobody mends it.

Poison records, partial batches and concurrent recounts are the simulator's: the emulator retries
whole batches, one at a time. It keeps its state in memory, so its own end is not tried either.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from headcount.store.keys import Subscriptions

from tests.stack.clients import Api, Dashboard, assert_no_gaps, beat, eventually, settled
from tests.stack.conftest import Stack
from tests.stack.crowd import Crowd
from tests.stack.faults import POST, Faults, Rule, deploy_anew, kill_workers
from tests.stack.story import numbers_of

pytestmark = pytest.mark.stack

RECOVERY = 65  # seconds: the next minute's sweep repairs whatever is left
FAULTY = ["ApiFunction", "CountFunction", "PublishFunction", "CleanupFunction"]
# About half of the tries fail: of a call's four, all do in one of eighteen cases.
STORM = [Rule("throttled", 0.2), Rule("broken", 0.15), Rule("lost", 0.15), Rule("cut", 0.1)]
MOMENTS = {"limited": 3.0, "gone": 1.0}  # seconds; who is silent for one starts over


@pytest.fixture(scope="session")
def faults(stack: Stack) -> Iterator[Faults]:
    """Functions whose calls to AWS can be made to fail; none does yet."""
    faults = Faults(stack)
    faults.stand_before(*FAULTY)
    yield faults
    faults.close()


def assert_recovered(api: Api, crowd: Crowd, dashboard: Dashboard) -> None:
    """The numbers are what was acknowledged, and the dashboard heard every version to the last."""
    expected = crowd.oracle.numbers()
    seen = settled(lambda: numbers_of(api.headcount(crowd.space)), expected, RECOVERY)
    assert seen == expected, crowd.statuses()

    def shown() -> Any:
        return numbers_of(dashboard.headcounts(crowd.space)[-1].message["data"])

    assert settled(shown, expected, 10) == expected
    assert_no_gaps(dashboard.headcounts(crowd.space))


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
    assert crowd.refusals, "nobody was at work when the functions were killed"


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
                eventually(lambda: crowd.refusals, 40)
                eventually(
                    lambda: {function for _, _, function in dict(faults.done)} >= {*FAULTY},
                    40,
                    lambda: dict(faults.done),
                )
            crowd.go_on(15)
        assert_recovered(api, crowd, dashboard)
    assert {fault for fault, _, _ in faults.done} >= {rule.fault for rule in STORM}
    assert set(crowd.statuses()) == {503}, crowd.statuses()
    for refusal in crowd.refusals:
        assert refusal.headers["Retry-After"] == "5"
        assert json.loads(refusal.text)["error"]


def test_a_table_that_never_answers_is_a_503_in_time(api: Api, space: str, faults: Faults) -> None:
    with faults.having(Rule("silent")):
        method, path, message = beat(space, "s1")
        answer = api.request(method, path, body=message)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), answer
    api.beat(space, "s1")


def connection_of(stack: Stack, space: str) -> str:
    """The connection of the one dashboard that hears a space."""
    (row,) = stack.client("dynamodb").query(
        TableName=stack.outputs["tables"]["subscriptions"],
        KeyConditionExpression="#topic = :topic",
        ExpressionAttributeNames={"#topic": Subscriptions.PARTITION},
        ExpressionAttributeValues={":topic": {"S": Subscriptions.SPACE + space}},
    )["Items"]
    return str(row[Subscriptions.SORT]["S"])


def hears(dashboard: Dashboard, space: str, people: int, within: float) -> None:
    """Wait until a dashboard shows that many people."""
    eventually(lambda: dashboard.people(space) == people, within, lambda: dashboard.frames[-2:])


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_dashboard_whose_posts_fail_for_a_moment_misses_nothing(
    stack: Stack, api: Api, space: str, faults: Faults, fault: str
) -> None:
    with stack.dashboard() as bad, stack.dashboard() as good:
        bad.subscribe(space)
        failing = Rule(fault, call=POST, holding=connection_of(stack, space))
        good.subscribe(space)
        with faults.having(failing):
            api.beat(space, "s1")
            hears(good, space, 1, within=8)
            assert bad.people(space) == 0
            time.sleep(MOMENTS[fault])
        api.beat(space, "s2")
        hears(bad, space, 2, within=20)
        hears(good, space, 2, within=1)
        assert_no_gaps(bad.headcounts(space))
        assert_no_gaps(good.headcounts(space))
    assert faults.done[fault, POST, "PublishFunction"]


def test_a_dashboard_that_never_answers_is_closed_and_the_others_go_on(
    stack: Stack, api: Api, space: str, faults: Faults
) -> None:
    with stack.dashboard() as bad, stack.dashboard() as good:
        bad.subscribe(space)
        failing = Rule("silent", call=POST, holding=connection_of(stack, space))
        good.subscribe(space)
        with faults.having(failing):
            api.beat(space, "s1")
            hears(good, space, 1, within=8)
            api.beat(space, "s2")
            eventually(lambda: bad.closed, 20, lambda: bad.frames[-2:])
            hears(good, space, 2, within=8)
            with stack.dashboard() as back:  # a new connection, which answers
                assert back.subscribe(space)["data"]["people"] == 2
        assert bad.people(space) == 0
        assert_no_gaps(good.headcounts(space))
