"""A shown count is as near to the truth as it says, by an oracle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from headcount.times import SECOND

from lab import accuracy
from lab.accuracy import PAGE, PLAN, Judged, Schedule, by_handlers, play, total


@pytest.mark.parametrize(("sessions", "schedules"), [(10, 40), (300, 4), (3_000, 3)])
def test_the_mean_difference_is_within_what_the_headcounts_say(
    sessions: int, schedules: int
) -> None:
    judged = total(play(seed, sessions) for seed in range(schedules))
    assert judged.schedules == schedules
    assert 0 < judged.mean <= judged.bound
    assert judged.held == schedules, "each for itself, too"


def test_the_oracle_notices_a_statement_that_is_too_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "accuracy_of", lambda *_: 3)  # 1 % of 300
    judged = play(1, 300)
    assert judged.mean > judged.bound == 3
    assert not judged.held


def test_the_oracle_notices_a_lease_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = play(1, 300)
    chosen = accuracy.interval_of
    longer = lambda *of: accuracy.Interval(chosen(*of).beat, 3 * chosen(*of).lease)  # noqa: E731
    monkeypatch.setattr(accuracy, "interval_of", longer)
    assert play(1, 300).mean > 1.5 * as_it_is.mean


def test_a_schedule_is_the_same_each_time() -> None:
    assert play(3, 30) == play(3, 30) != play(4, 30)


def test_the_time_of_a_difference_is_weighed() -> None:
    judged = Judged(10)
    judged.off.update({0: 900, 1: 90, 5: 10})
    assert judged.mean == pytest.approx(0.14)
    assert (judged.within(0.9), judged.within(0.99), judged.within(1)) == (0, 1, 5)


@pytest.mark.slow
def test_the_real_handlers_are_as_far_from_the_truth_as_the_model() -> None:
    real = total(by_handlers(seed, 10, 600, 900) for seed in (1, 2))
    ours = total(
        Schedule(seed, 10, mean_visit=600, replaced=True, judged=900 * SECOND).run()
        for seed in range(40)
    )
    assert real.mean <= real.bound
    assert real.mean == pytest.approx(ours.mean, abs=0.12)
    assert real.bound == pytest.approx(ours.bound, abs=0.1)


def test_the_page_is_of_all_schedules_and_the_bound_holds() -> None:
    rows = re.findall(
        r"^\| ([\d,]+) \| ([\d,]+) \| \d+ \| ([\d.]+) \| [\d,]+ \| ([\d.]+) ", page(), re.M
    )
    numbers = [[float(one.replace(",", "")) for one in row] for row in rows]
    assert {int(sessions): int(many) for sessions, many, *_ in numbers} == PLAN
    assert sum(PLAN.values()) >= 2_000
    assert all(mean <= stated for *_, mean, stated in numbers)
    assert re.findall(r"\| (\d+)% \|$", page(), re.M) == ["100"] * len(numbers)


def page() -> str:
    return Path(PAGE).read_text()
