"""Epoch milliseconds internally, ISO 8601 UTC in APIs."""

from __future__ import annotations

import pytest
from headcount.times import DAY, add_days, day_of, day_start, iso, parse_day, parse_iso
from hypothesis import given
from hypothesis import strategies as st

from lab.harness.clock import NOON


def test_a_time_reads_as_iso_with_milliseconds() -> None:
    assert iso(NOON + 7) == "2026-11-21T12:00:00.007Z"


@given(st.integers(0, 4_102_444_800_000))
def test_times_survive_the_round_trip(millis: int) -> None:
    assert parse_iso(iso(millis)) == millis


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-21T12:00:00Z", "2026-11-21T12:00:00+00:00", "2026-11-21T13:30:00+01:30"),
        *("2026-11-21T12:00", "2026-11-21T12:00:00.000Z"),
    ],
)
def test_a_time_may_carry_any_zone_and_is_utc_without_one(text: str) -> None:
    assert parse_iso(text) == NOON


@pytest.mark.parametrize("text", ["", "noon", "1764547200123", "2026-13-01", "2026-11-21T25:00:00"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_iso(text)


@pytest.mark.parametrize("text", ["", "20261121", "2026-11-31", "2026-W47-1", "2026-11-21T00:00"])
def test_an_invalid_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_day(text)


@given(st.integers(0, 4_102_444_800_000))
def test_a_day_begins_at_midnight_utc(millis: int) -> None:
    day = day_of(millis)
    assert day_start(day) <= millis < day_start(day) + DAY
    assert day_of(day_start(day) - 1) == add_days(day, -1)
