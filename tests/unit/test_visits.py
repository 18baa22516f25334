"""A day's numbers from its visits."""

from __future__ import annotations

from headcount.model.headcount import Engagement
from headcount.model.visit import Day, Visit, summarise
from headcount.times import DAY, MINUTE, day_of, day_start
from headcount.usecases.daily import past_days, past_keeping
from msgspec.structs import replace

from lab.harness.clock import NOON

TODAY, TOMORROW = "2026-11-21", "2026-11-22"
LATER = NOON + 2 * DAY


def visit(
    name: str,
    *,
    joined: int = NOON,
    ended: int | None = NOON + 10 * MINUTE,
    session: str | None = None,
    user: str | None = None,
    visitor: str | None = None,
    **beats: int,
) -> Visit:
    counted = {key.removeprefix("on_").replace("_", "-"): value for key, value in beats.items()}
    return Visit(
        space="site:main",
        id=name,
        session=session or f"session of {name}",
        user=user,
        visitor=visitor,
        joined_at=joined,
        beats=counted or {day_of(joined): 20},
        ended_at=ended,
    )


def people(*visits: Visit) -> int:
    day = summarise(TODAY, visits, peak=0, now=LATER)
    return day.unique_people if day else 0


def test_a_day_without_beats_is_none() -> None:
    assert summarise(TODAY, [], peak=0, now=LATER) is None
    assert summarise(TOMORROW, [visit("a")], peak=0, now=LATER) is None


def test_a_day_is_the_sum_of_its_visits() -> None:
    visits = [visit("a", visitor="v1"), visit("b", visitor="v1", ended=NOON + 20 * MINUTE)]
    assert summarise(TODAY, visits, peak=7, now=LATER) == Day(
        TODAY, 1, 2, 2, 40, 7, 900, quarters=(*[0] * 48, 2)
    )


def test_a_visit_over_midnight_is_in_both_days_with_the_time_it_spent_there() -> None:
    midnight = day_start(TOMORROW)
    late = visit(
        "a",
        joined=midnight - 5 * MINUTE,
        ended=midnight + 3 * MINUTE,
        on_2026_11_21=10,
        on_2026_11_22=6,
    )
    assert summarise(TODAY, [late], peak=1, now=LATER) == Day(
        TODAY, 1, 1, 1, 10, 1, 300, quarters=(*[0] * 95, 1)
    )
    assert summarise(TOMORROW, [late], peak=1, now=LATER) == Day(
        TOMORROW, 1, 1, 0, 6, 1, 180, quarters=()
    )


def test_a_visit_that_lasts_counts_until_now() -> None:
    day = summarise(TODAY, [visit("a", ended=None)], peak=1, now=NOON + 4 * MINUTE)
    assert day is not None
    assert day.avg_seconds == 240


def test_a_visit_that_is_live_and_in_the_ledger_counts_once() -> None:
    recorded = visit("a", ended=None, on_2026_11_21=1)
    live = visit("a", ended=None, on_2026_11_21=30)
    ended = visit("a", on_2026_11_21=31)
    for row, known in ((live, recorded), (recorded, live)):
        day = summarise(TODAY, [known], live=[row], peak=1, now=NOON + MINUTE)
        assert day is not None
        assert (day.views, day.beats) == (1, 30)
    day = summarise(TODAY, [ended], live=[live], peak=1, now=LATER)
    assert day is not None
    assert (day.views, day.beats, day.avg_seconds) == (1, 31, 600)


def test_people_are_users_else_visitors_else_sessions() -> None:
    assert people(visit("a", user="x"), visit("b", visitor="x"), visit("c")) == 3
    assert people(visit("a", user="x"), visit("b", user="x")) == 1
    assert people(visit("a", session="s"), visit("b", session="s")) == 1


def test_a_visitor_who_signs_in_mid_day_counts_once() -> None:
    assert people(visit("a", visitor="v1"), visit("b", visitor="v1", user="u1")) == 1
    assert people(visit("b", visitor="v1", user="u1"), visit("a", visitor="v1")) == 1
    assert people(visit("a", session="s"), visit("b", session="s", user="u1")) == 1


def test_a_user_on_two_devices_counts_once() -> None:
    assert people(visit("a", visitor="v1", user="u"), visit("b", visitor="v2", user="u")) == 1


def test_an_anonymous_visitor_is_not_merged_with_a_user_without_a_visitor_id() -> None:
    assert people(visit("a", user="u1"), visit("b"), visit("c", visitor="v")) == 3


def test_a_clock_that_stepped_back_makes_no_negative_time() -> None:
    odd = replace(visit("a"), ended_at=NOON - MINUTE)
    day = summarise(TODAY, [odd], peak=1, now=LATER)
    assert day is not None
    assert day.avg_seconds == 0


def test_view_counters_are_kept_while_they_may_be_read() -> None:
    kept = ["2026-11-21", "2026-11-14", "2026-W47", "2026-W43", "2026-11", "2025-11"]
    past = ["2026-11-13", "2026-W42", "2025-10", "2020-01-01"]
    assert past_keeping([*kept, *past], TODAY) == sorted(past)


def test_counters_of_a_day_that_began_meanwhile_are_kept() -> None:
    assert past_keeping(["2027-01-01", "2027-W01", "2027-01"], "2026-12-31") == []
    began = Engagement(by_day={"2027-01-01": {"chat": 1}, "2026-12-23": {"chat": 2}})
    assert past_days(began, "2026-12-31") == ["2026-12-23#chat"]
