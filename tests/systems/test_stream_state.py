"""The messages to stream dashboards, computed from headcounts alone."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.model.headcount import Headcount, Peak, Reading, Views
from headcount.model.stream import Status, Stream, registered, started, stopped
from headcount.model.tally import Tally
from headcount.systems.stream_analytics.days import days_of
from headcount.systems.stream_analytics.state import (
    REPORT_LIFETIME,
    REVENUE,
    metrics_data,
    overview_data,
    real_time_data,
)
from headcount.times import DAY, MINUTE

from lab.harness.clock import NOON


def head(stream: str = "a", people: int = 0, views: int = 0, **fields: Any) -> Headcount:
    tally = Tally(sessions=people, anonymous=people, quality=fields.pop("quality", {}))
    return Headcount(f"stream:{stream}", 1, tally=tally, views=Views(views), as_of=NOON, **fields)


def registry(**statuses: Status) -> list[Stream]:
    return [Stream(name, NOON, status=status) for name, status in statuses.items()]


def earned(total: float, today: float) -> dict[str, dict[str, float]]:
    return {"engagement": {REVENUE: total}, "engagement_today": {REVENUE: today}}


def read(**numbers: float) -> dict[str, Reading]:
    return {"rtmp": Reading(NOON, numbers)}


NOTHING = Headcount("~earned")


def test_without_streams_the_overview_has_zeros_and_nulls() -> None:
    assert overview_data([], [], NOTHING, NOON) == {
        "totalViewers": 0,
        "activeStreams": 0,
        "revenueToday": None,
        "avgEngagement": None,
        "errorRate": None,
        "serverLoad": None,
    }


def test_active_are_live_streams_and_unregistered_ones_with_viewers() -> None:
    heads = [
        head("live", people=5),
        head("idle", people=7),
        head("stopped", people=11),
        head("unregistered", people=13),
        head("left", people=0),
    ]
    streams = registry(
        live=Status.LIVE, unwatched=Status.LIVE, idle=Status.IDLE, stopped=Status.STOPPED
    )
    found = overview_data(heads, streams, NOTHING, NOON)
    assert (found["totalViewers"], found["activeStreams"]) == (18, 3)


def test_revenue_of_today_is_all_streams_active_or_not() -> None:
    every = head("~earned", **earned(59, 24.5))
    assert overview_data([], [], every, NOON)["revenueToday"] == 24.5


def test_revenue_of_today_is_nothing_once_the_day_is_over() -> None:
    every = head("~earned", **earned(50, 20))
    assert overview_data([], [], every, NOON + DAY)["revenueToday"] == 0


def test_engagement_is_actions_per_view_over_all_active_streams() -> None:
    heads = [
        head("a", people=1, views=4, engagement={"chat": 3, "reaction": 2, "other": 99}),
        head("b", people=1, views=6, engagement={"share": 1, REVENUE: 500}),
        head("idle", views=100, engagement={"chat": 100}),
    ]
    streams = registry(idle=Status.IDLE)
    assert overview_data(heads, streams, NOTHING, NOON)["avgEngagement"] == 0.6


def test_error_rate_and_load_are_means_over_the_active_streams_that_have_them() -> None:
    heads = [
        head("a", people=1, readings=read(errorRate=0.1, load=0.2)),
        head("b", people=1, quality={"errors": (2, 1.0)}),
        head("c", people=1),
        head("idle", readings=read(errorRate=1, load=1)),
    ]
    found = overview_data(heads, registry(idle=Status.IDLE), NOTHING, NOON)
    assert (found["errorRate"], found["serverLoad"]) == (0.3, 0.2)
    later = overview_data(heads, [], NOTHING, NOON + REPORT_LIFETIME)
    assert (later["errorRate"], later["serverLoad"]) == (0.5, None)


def test_the_peak_is_never_below_who_is_here() -> None:
    assert metrics_data(head(people=3), NOON)["peakViewers"] == 3
    assert metrics_data(head(people=3, peak=Peak(9, NOON)), NOON)["peakViewers"] == 9
    assert metrics_data(head(people=9, peak=Peak(3, NOON)), NOON)["peakViewers"] == 9


@pytest.mark.parametrize(
    ("age", "latency"), [(0, 40), (REPORT_LIFETIME - 1, 40), (REPORT_LIFETIME, None)]
)
def test_a_reading_counts_for_five_minutes(age: int, latency: float | None) -> None:
    assert REPORT_LIFETIME == 5 * MINUTE
    stream = head(readings=read(latency=40))
    assert real_time_data(stream, [], NOON + age)["latency"] == latency


def test_a_source_without_a_number_does_not_lower_the_mean() -> None:
    readings = {"a": Reading(NOON, {"load": 1}), "b": Reading(NOON, {"latency": 10})}
    found = overview_data([head(people=1, readings=readings)], [], NOTHING, NOON)
    assert found["serverLoad"] == 1


def test_a_day_weighs_by_its_visits() -> None:
    row = {"date": "2026-11-21", "uniquePeople": 1, "peak": 1, "engagement": {}}
    rows = [
        {**row, "views": 9, "uniqueSessions": 3, "avgSeconds": 10},
        {**row, "views": 0, "uniqueSessions": 1, "avgSeconds": 110},  # it began the day before
    ]
    assert days_of(rows)[0]["avgViewDuration"] == 20


def test_a_repeat_is_the_very_same_stream() -> None:
    idle = registered(None, "a", title="t", now=NOON)
    assert registered(idle, "a", title="t", now=NOON + 1) is idle
    live = started(idle, "a", now=NOON + 1)
    assert started(live, "a", now=NOON + 2) is live
    over = stopped(live, now=NOON + 3)
    assert stopped(over, now=NOON + 4) is over
    assert [one.version for one in (idle, live, over)] == [1, 2, 3]
