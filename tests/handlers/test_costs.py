"""What a stack's days cost, by its own estimate: stored, reported, and an alarm above a budget."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.metrics import DIMENSION, NAMESPACE
from headcount.model.cost import A_DAY, Use, month_cents

from lab.harness.template import template
from lab.harness.world import SITE, World
from tests.support.cloudwatch import Point, state_of
from tests.support.emf import metrics
from tests.template.rendering import rendered

DAY, NOON = "2026-11-21", "2026-11-21T12:00:00Z"


@pytest.fixture
def world(memory_world: World) -> World:
    """A day with two visits of ten minutes, the second on a link."""
    world = memory_world
    world.clock.set(NOON)
    for space in (SITE, "link:a"):
        world.beat("s1", space, visitorId="v1")
    world.settle()
    for _ in range(20):
        world.clock.advance(30)
        for space in (SITE, "link:a"):
            world.beat("s1", space, visitorId="v1")
    for space in (SITE, "link:a"):
        world.leave("s1", space)
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    return world


def costs(world: World, **query: str) -> list[dict[str, Any]]:
    answer = world.http("GET", "/v1/costs", token=world.admin, query=query)
    assert answer.status == 200, answer
    days: list[dict[str, Any]] = answer.body["days"]
    return days


def test_a_day_is_reported_with_what_the_estimate_is_made_of(world: World) -> None:
    assert costs(world) == []
    world.daily()
    (day,) = costs(world)
    assert (day["date"], day["beats"], day["views"]) == (DAY, 42, 2)
    assert day["viewerHours"] == pytest.approx(1 / 3, abs=0.05)
    assert day["parts"]["fixed"] == pytest.approx(A_DAY)
    assert day["dollars"] == pytest.approx(sum(day["parts"].values()), abs=0.0003)
    assert costs(world, **{"from": DAY, "to": DAY}) == [day]
    assert costs(world, **{"from": "2026-11-22"}) == []


def test_a_day_that_is_aggregated_again_costs_the_same(world: World) -> None:
    world.daily()
    before = costs(world)
    world.daily(DAY)
    assert costs(world) == before


def test_only_a_token_for_every_space_may_read_it(world: World) -> None:
    for scope, status in (("read:*", 200), ("read:site:*", 403), ("people:*", 403)):
        token = world.token(headcount_scopes=scope)
        assert world.http("GET", "/v1/costs", token=token).status == status, scope
    assert world.http("GET", "/v1/costs").status == 401


def test_each_beat_and_visit_and_hour_costs_more() -> None:
    nothing = Use()
    assert nothing.dollars == A_DAY
    for more in (Use(beats=10**6), Use(views=10**6), Use(seconds=3_600_000)):
        assert more.dollars > nothing.dollars


def test_a_month_is_its_days_until_yesterday() -> None:
    dear = Use(beats=10**6)
    days = {"2026-10-31": dear, "2026-11-01": dear, "2026-11-02": dear, "2026-11-03": dear}
    assert month_cents(days, "2026-11-02") == round(200 * dear.dollars)
    assert month_cents({}, "2026-11-02") == 0


def test_the_daily_run_reports_what_the_month_cost(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def reported() -> int:
        capsys.readouterr()
        world.daily()
        (line,) = metrics(capsys.readouterr().out)
        cents: int = line["MonthCents"]
        return cents

    assert reported() == round(100 * A_DAY)
    world.clock.set("2026-11-23T01:00:00Z")
    assert reported() == pytest.approx(200 * A_DAY, abs=1)
    world.clock.set("2026-12-02T01:00:00Z")
    assert reported() == round(100 * A_DAY), "a new month"


def test_a_budget_rings_above_so_many_dollars_and_is_off_by_default() -> None:
    assert "BudgetAlarm" not in rendered().resources
    alarm = rendered(Settings="dashboard=false,budget=25").resources["BudgetAlarm"]["Properties"]
    assert float(alarm["Threshold"]) == 2_500
    now = 20_000 * 86_400_000

    def state(cents: int) -> str:
        stack = ((DIMENSION, str(alarm["Dimensions"][0]["Value"])),)
        emitted = Point(NAMESPACE, "MonthCents", stack, now - 80_000_000, cents)
        return state_of(alarm, [emitted], now)

    assert (state(2_500), state(2_501)) == ("OK", "ALARM")
    assert state_of(alarm, [], now) == "OK"


def test_the_alarm_goes_to_the_topic_of_all_alarms() -> None:
    alarms = template().of_type("AWS::CloudWatch::Alarm")
    assert alarms["BudgetAlarm"]["AlarmActions"] == alarms["DailyErrorsAlarm"]["AlarmActions"]
