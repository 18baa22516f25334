"""The values of --from and --to: a day, a time, or how long ago."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

import pytest
from headcount_cli.errors import WrongCommandError
from headcount_cli.times import day, iso, moment

from lab.harness.world import World
from tests.cli.conftest import Run

NEW_YEAR = datetime(2028, 1, 1, 0, 0, 5, tzinfo=UTC)
AFTER_FEBRUARY = datetime(2028, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-21T12:00:00Z", "2026-11-21T12:00:00.000Z"),
        ("2026-11-21T12:00:00+02:00", "2026-11-21T10:00:00.000Z"),
        ("2026-11-21T12:00", "2026-11-21T12:00:00.000Z"),
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("10s", "2027-12-31T23:59:55.000Z"),
        ("30m", "2027-12-31T23:30:05.000Z"),
        ("6h", "2027-12-31T18:00:05.000Z"),
        ("7d", "2027-12-25T00:00:05.000Z"),
    ],
)
def test_a_moment_is_a_time_or_how_long_ago(text: str, found: str) -> None:
    assert iso(moment("--from", text, NEW_YEAR)) == found


@pytest.mark.parametrize(
    ("text", "now", "found"),
    [
        ("2026-11-21", NEW_YEAR, date(2026, 11, 21)),
        ("10s", NEW_YEAR, date(2027, 12, 31)),
        ("1d", AFTER_FEBRUARY, date(2028, 2, 29)),
        ("366d", AFTER_FEBRUARY, date(2027, 3, 1)),
    ],
)
def test_a_day_is_a_date_or_how_long_ago(text: str, now: datetime, found: date) -> None:
    assert day("--from", text, now) == found


@pytest.mark.parametrize("text", ["", "soon", "7", "d", "7w", "-7d", "2026-02-30", "٧d", "7d ago"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(WrongCommandError, match=r"2026-11-21.* 6h "):
        moment("--to", text, NEW_YEAR)
    with pytest.raises(WrongCommandError, match=r"2026-11-21.* 7d "):
        day("--to", text, NEW_YEAR)


def test_a_time_before_year_1_is_refused() -> None:
    with pytest.raises(WrongCommandError, match="is not a time"):
        moment("--from", "0001-01-01T00:00:00+14:00", NEW_YEAR)


def test_the_last_week_is_a_week_even_if_the_request_is_late(here: World, run: Run) -> None:
    here.clock.now = time.time_ns() // 1_000_000 + 5_000
    here.beat("tab-1")
    here.settle()
    assert run("timeline", "site:main", "--from", "7d").exit_code == 0


def test_a_period_in_the_past_excludes_today(here: World, run: Run) -> None:
    here.clock.now = time.time_ns() // 1_000_000
    here.beat("tab-1")
    here.settle()
    here.sweep()
    here.settle()
    for command in ("timeline", "days"):
        assert "No one was here." not in run(command, "site:main", "--from", "1d").stdout
    assert "No one was here." in run("days", "site:main", "--from", "3d", "--to", "2d").stdout
