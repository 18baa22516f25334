"""Minutes of a timeline: with people, without, and not sampled."""

from __future__ import annotations

from headcount_cli.export import minutes_of, people_by_minute
from headcount_cli.output import sparkline

TIMELINE = {
    "points": [
        {"at": f"2026-11-21T12:{minute}:00.000Z", "people": people, "sessions": people}
        for minute, people in (("00", 2), ("01", 2), ("06", 4), ("08", 1))
    ],
    "gaps": [{"from": "2026-11-21T12:02:00.000Z", "to": "2026-11-21T12:04:00.000Z"}],
}


def test_a_minute_that_was_not_sampled_has_a_row_without_numbers() -> None:
    rows = minutes_of(TIMELINE)
    assert [row["at"][14:16] for row in rows] == ["00", "01", "02", "03", "04", "06", "08"]
    assert [row["people"] for row in rows] == [2, 2, None, None, None, 4, 1]


def test_a_chart_has_a_hole_there_and_zero_where_no_one_was() -> None:
    people = people_by_minute(minutes_of(TIMELINE))
    assert people == [2, 2, None, None, None, 0, 4, 0, 1]
    bars = sparkline(people, 60)
    assert bars[2:5] == "   "
    assert bars[5] == bars[7] == sparkline([0, 1], 2)[0]
    assert sparkline([None, 0], 5) == " " + bars[5]
    assert people_by_minute([]) == []
