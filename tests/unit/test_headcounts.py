"""Publications: versions, peaks, views, repeats."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headcount.model.headcount import (
    CountsChange,
    Headcount,
    Numbers,
    Peak,
    Views,
    is_repeat,
    largest_first,
    next_headcount,
    periods_of,
)
from headcount.model.tally import Tally
from headcount.times import DAY, HOUR, SECOND, day_start, parse_iso

from lab.harness.clock import NOON


def people(count: int) -> Tally:
    return Tally(sessions=count, anonymous=count)


def published(old: Headcount, count: int, now: int, cause: str | None = None) -> Headcount:
    return next_headcount(old, Numbers(people(count), Views()), cause=cause, now=now)


def test_a_version_is_one_higher() -> None:
    first = published(Headcount("site:main"), 1, NOON)
    second = published(first, 1, NOON + 1)
    assert (first.version, second.version) == (1, 2)


def test_the_peak_is_the_highest_ever_and_when_it_was_first_reached() -> None:
    head = Headcount("site:main")
    for minute, count in enumerate([1, 3, 2, 3, 0]):
        head = published(head, count, NOON + minute)
    assert head.peak == Peak(3, NOON + 1)


def test_an_empty_space_has_no_peak() -> None:
    assert published(Headcount("site:main"), 0, NOON).peak is None


def test_each_day_has_its_peak() -> None:
    head = published(Headcount("site:main"), 5, NOON)
    head = published(head, 2, NOON + DAY)
    assert (head.peak_on("2026-11-21"), head.peak_on("2026-11-22")) == (5, 5)
    head = published(head, 1, NOON + 2 * DAY)
    assert head.peak_on("2026-11-23") == 2


def test_people_who_stay_over_days_without_publications_are_their_peak() -> None:
    head = published(Headcount("site:main"), 4, NOON)
    assert head.peak_on("2026-11-23") == 4
    later = published(head, 1, NOON + 4 * DAY)
    assert [later.peak_on(f"2026-11-{day}") for day in range(21, 26)] == [4, 4, 4, 4, 4]
    assert later.peak_on("2026-11-20") == 0


def test_an_empty_day_between_has_peak_0() -> None:
    head = published(published(Headcount("site:main"), 4, NOON), 0, NOON + HOUR)
    later = published(head, 1, NOON + 3 * DAY)
    assert [later.peak_on(f"2026-11-{day}") for day in (21, 22, 23, 24)] == [4, 0, 0, 1]


def test_day_peaks_are_kept_for_a_week() -> None:
    head = Headcount("site:main")
    for day in range(30):
        head = published(head, 1 + day, NOON + day * DAY)
    assert len(head.day_peaks) == 8


def test_a_published_time_does_not_step_back() -> None:
    head = published(Headcount("site:main"), 1, NOON)
    assert published(head, 1, NOON - SECOND).as_of == NOON


def test_a_time_published_by_a_wrong_clock_is_corrected() -> None:
    head = published(replace(Headcount("site:main"), chunked_at=NOON + DAY), 1, NOON + DAY)
    assert published(head, 1, NOON).as_of == NOON
    assert published(head, 1, NOON).chunked_at == NOON


def test_a_batch_is_a_repeat_when_its_first_record_or_a_later_one_was_published() -> None:
    head = replace(Headcount("site:main"), cause="000000000000000000100")
    assert is_repeat(head, CountsChange("000000000000000000100"))
    assert is_repeat(head, CountsChange("99"))
    assert not is_repeat(head, CountsChange("000000000000000000101"))
    assert not is_repeat(Headcount("site:main"), CountsChange("1"))


def test_a_record_made_after_a_version_is_new_with_any_number() -> None:
    head = replace(Headcount("site:main"), cause="999", as_of=NOON)
    assert is_repeat(head, CountsChange("1", NOON))
    assert is_repeat(head, CountsChange("1", NOON + SECOND))  # clocks differ
    assert not is_repeat(head, CountsChange("1", NOON + 2 * SECOND))


def test_views_are_of_today_this_week_and_this_month() -> None:
    views = Views(9, {"2026-11-21": 2, "2026-W47": 5, "2026-11": 7, "2026-11-20": 3})
    assert views.at(NOON) == {"total": 9, "today": 2, "week": 5, "month": 7}
    assert views.at(NOON + DAY) == {"total": 9, "today": 0, "week": 5, "month": 7}
    assert views.at(NOON + 2 * DAY) == {"total": 9, "today": 0, "week": 0, "month": 7}
    assert views.at(NOON + 10 * DAY) == {"total": 9, "today": 0, "week": 0, "month": 0}


def test_only_the_views_that_can_be_asked_for_are_published() -> None:
    views = Views(9, {"2026-11-21": 2, "2026-W47": 5, "2026-11": 7, "2026-11-20": 3, "2025-W01": 1})
    kept = views.kept(NOON)
    assert kept == Views(9, {"2026-11-21": 2, "2026-W47": 5, "2026-11": 7})
    assert kept.at(NOON) == views.at(NOON)


@pytest.mark.parametrize(
    ("day", "week"),
    [
        ("2024-12-30", "2025-W01"),
        ("2026-12-31", "2026-W53"),
        ("2027-01-01", "2026-W53"),
        ("2027-01-03", "2026-W53"),
        ("2027-01-04", "2027-W01"),
        ("2023-01-01", "2022-W52"),
    ],
)
def test_a_week_at_new_year_belongs_to_the_year_of_its_thursday(day: str, week: str) -> None:
    assert periods_of(day) == (day, week, day[:7])
    assert Views(1, {week: 4}).at(day_start(day))["week"] == 4


def test_a_dashboard_receives_the_body_of_the_headcount() -> None:
    head = published(Headcount("site:main"), 2, NOON)
    message = head.message(NOON)
    assert message["data"] == head.body(NOON)
    assert (message["version"], message["asOf"]) == (1, "2026-11-21T12:00:00.000Z")
    assert message["type"] == "headcount"


def test_spaces_come_by_people_then_sessions_then_name() -> None:
    heads = [
        Headcount("site:b", tally=Tally(2, 0, 0, 1)),
        Headcount("site:a", tally=Tally(2, 0, 0, 1)),
        Headcount("site:c", tally=Tally(3, 0, 0, 1)),
        Headcount("site:d", tally=Tally(2, 0, 0, 2)),
    ]
    assert [head.space[-1] for head in largest_first(heads)] == ["d", "c", "a", "b"]


def test_times_of_a_version_are_iso() -> None:
    head = published(Headcount("site:main"), 1, parse_iso("2026-01-02T03:04:05.006Z"))
    assert head.body(NOON)["peak"] == {"people": 1, "at": "2026-01-02T03:04:05.006Z"}
