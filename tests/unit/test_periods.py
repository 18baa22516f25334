"""Periods, days and hours of any time zone, as the dashboard's own code computes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.node import run_module

_SCRIPT = """
import * as zone from './clients/dashboard/zone.js';
import * as period from './clients/dashboard/period.js';
import { heatOf } from './clients/dashboard/heat.js';
const [name, calls] = JSON.parse(process.argv[1]);
zone.chooseZone(name);
const all = { ...zone, ...period, heatOf };
console.log(JSON.stringify(calls.map(([called, ...given]) => all[called](...given))));
"""
UTC_ZONE, HERE, INDIA = "UTC", "America/Los_Angeles", "Asia/Kolkata"
NOW = datetime(2026, 11, 30, 22, 37, 12, tzinfo=UTC)


def at(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def computed(zone: str, *calls: list[Any]) -> list[Any]:
    """What the dashboard's functions return in a time zone."""
    found: list[Any] = run_module(_SCRIPT, [zone, calls], env={"TZ": "Europe/Berlin"})
    return found


@pytest.mark.parametrize("zone", [UTC_ZONE, HERE, INDIA, "Australia/Lord_Howe"])
def test_days_begin_at_the_zones_midnight_all_year(zone: str) -> None:
    first = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    dates = [(first + timedelta(days=n)).date() for n in range(0, 366, 3)]
    expected = [at(datetime(d.year, d.month, d.day, tzinfo=ZoneInfo(zone))) for d in dates]
    assert computed(zone, *[["startOf", d.isoformat()] for d in dates]) == expected
    assert computed(zone, *[["dateOf", start] for start in expected]) == [
        d.isoformat() for d in dates
    ]


def test_a_day_earlier_the_clocks_show_the_same() -> None:
    zone = ZoneInfo(HERE)
    after = datetime(2026, 11, 1, 14, 5, tzinfo=zone)  # the clocks were set back at two
    before = datetime(2026, 10, 31, 14, 5, tzinfo=zone)
    assert at(after) - at(before) == 25 * 3_600_000
    assert computed(HERE, ["shiftDays", at(after), -1]) == [at(before)]


@pytest.mark.parametrize(
    ("place", "mode", "start", "end", "earlier"),
    [
        ({"period": "day"}, "before", "11-29 14:37", "11-30 14:37", "11-28 14:37"),
        ({"period": "day"}, "week", "11-29 14:37", "11-30 14:37", "11-22 14:37"),
        ({"period": "week"}, "before", "11-24 00:00", "11-30 14:37", "11-17 00:00"),
        ({}, "before", "11-03 00:00", "11-30 14:37", "10-06 00:00"),
        ({"period": "month"}, "before", "11-01 00:00", "11-30 14:37", "10-01 00:00"),
        ({"period": "last-month"}, "before", "10-01 00:00", "11-01 00:00", "09-01 00:00"),
        (
            {"period": "custom", "from": "2026-11-10", "to": "2026-11-12"},
            *("before", "11-10 00:00", "11-13 00:00", "11-07 00:00"),
        ),
        (
            {"period": "custom", "from": "2026-11-29", "to": "2026-12-24"},
            *("week", "11-29 00:00", "11-30 14:37", "11-22 00:00"),
        ),
        ({"period": "custom", "from": "soon", "to": ""}, "none", "11-03 00:00", "11-30 14:37", ""),
    ],
)
def test_a_period_is_compared_with_as_long_a_one(
    place: dict[str, str], mode: str, start: str, end: str, earlier: str
) -> None:
    def moment(text: str) -> int:
        day, time = text.split()
        found = datetime.fromisoformat(f"2026-{day} {time}").replace(tzinfo=ZoneInfo(HERE))
        return at(found) + (12_000 if time == "14:37" else 0)

    (period,) = computed(HERE, ["periodOf", place, at(NOW)])
    assert (period["from"], period["to"]) == (moment(start), moment(end))
    (before,) = computed(HERE, ["earlierPeriod", period, mode])
    assert (before and before["from"]) == (moment(earlier) if earlier else None)
    if before and not period["isRunning"] and mode == "before":
        assert before["to"] == period["from"]


def day(date: str, quarters: list[int] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"date": date, "views": sum(quarters or [5])}
    return row if quarters is None else {**row, "viewsByQuarter": quarters}


def test_views_of_any_zones_day_are_added_up_from_quarters_of_an_hour() -> None:
    quarters = {f"2026-11-{d}": [(d * 7 + n) % 5 for n in range(96)] for d in (26, 27, 28)}
    rows = [day(date, numbers) for date, numbers in quarters.items()]

    def oracle(start: int, end: int) -> int:
        return sum(
            views
            for date, numbers in quarters.items()
            for n, views in enumerate(numbers)
            if start <= at(datetime.fromisoformat(f"{date}T00:00Z")) + n * 900_000 < end
        )

    known = at(datetime(2026, 11, 20, tzinfo=UTC))
    for zone in (UTC_ZONE, HERE, INDIA):
        start = datetime(2026, 11, 27, tzinfo=ZoneInfo(zone))
        period = at(start), at(start + timedelta(days=1))
        assert computed(zone, ["viewsBetween", rows, *period, known]) == [oracle(*period)]
    whole = [at(datetime(2026, 11, d, tzinfo=UTC)) for d in (27, 28)]
    unknown = [rows[0], day("2026-11-27", None), rows[2]]
    part = [whole[0] + 900_000, whole[1]]
    before = [at(datetime(2026, 11, 19, tzinfo=UTC)), whole[0]]
    assert computed(
        UTC_ZONE,
        ["viewsBetween", unknown, *whole, known],
        ["viewsBetween", unknown, *part, known],
        ["viewsBetween", rows, *before, known],
        ["viewsBetween", rows, *whole, None],
    ) == [5, None, None, None]


def test_a_change_is_never_against_nothing() -> None:
    changes = computed(
        UTC_ZONE,
        *[["change", *one] for one in ((112, 100), (96, 100), (100, 100), (5, 0), (5, None))],
        *[["change", *one] for one in ((None, 5), (0, 5), (2300, 100), (1004, 1000))],
    )
    assert changes == ["+12%", "−4%", "±0%", "–", "–", "–", "−100%", "×23", "±0%"]


def test_only_what_both_periods_know_is_compared() -> None:
    now = {"people": [4, 6, None, 100], "peaks": [5, 9, None, 120]}
    before = {"people": [2, 3, 50, None], "peaks": [2, 4, 60, None]}
    (one, other), nothing = computed(
        UTC_ZONE, ["comparable", now, before], ["comparable", now, None]
    )
    assert (one["mean"], one["peak"], other["mean"], other["peak"]) == (5, 9, 2.5, 4)
    assert nothing == [None, None]


def test_hours_by_weekday_are_the_zones() -> None:
    start = datetime(2026, 11, 29, 1, tzinfo=UTC)  # a Sunday; in Los Angeles Saturday at 17:00
    people = [3, None, 5, 1, 8, 8, 8, 8]
    for zone, place in ((HERE, (5, 17)), (UTC_ZONE, (6, 1))):
        (cells,) = computed(zone, ["heatOf", people, at(start), 15])
        found = {
            (d, h): value
            for d, row in enumerate(cells)
            for h, value in enumerate(row)
            if value is not None
        }
        assert found == {place: 3, (place[0], place[1] + 1): 8}
    (cells,) = computed(INDIA, ["heatOf", [3, 3, 5, 5], at(start), 15])
    assert (cells[6][6], cells[6][7]) == (3, 5)  # from 06:30 on
