"""The interval between beats, by the size of a space and how its visits end."""

from __future__ import annotations

import pytest
from headcount.model.intervals import (
    LONGEST_LEASE,
    Crowd,
    Ends,
    Interval,
    accuracy_of,
    because,
    interval_of,
)
from headcount.model.space import Kinds

from lab.harness.clock import NOON

KIND = Kinds("site").kind("site")
HOUR = 3_600


def crowd(sessions: int, *, lost: float = 0.0, seconds: int = HOUR) -> Crowd:
    """A space whose visits last that long: its last hundred have ended accordingly."""
    since = NOON // 1000 - round(100 * seconds / max(1, sessions))
    return Crowd(sessions, Ends(100, round(100 * lost), since, seconds))


@pytest.mark.parametrize(
    ("sessions", "beat"),
    [(0, 30), (1, 30), (50, 30), (100, 45), (1_000, 60), (10_000, 120), (1_000_000, 120)],
)
@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_a_larger_space_beats_less_often(sessions: int, beat: int, lost: float) -> None:
    assert interval_of(KIND, "active", crowd(sessions, lost=lost), NOON) == Interval(beat, 2 * beat)


def test_between_two_sizes_it_grows_with_each() -> None:
    found = [interval_of(KIND, "active", crowd(n), NOON).beat for n in range(1, 12_000)]
    assert found == sorted(found)
    assert {*range(30, 121)} == {*found}


@pytest.mark.parametrize("sessions", [100, 1_000, 10_000])
def test_the_more_visits_are_lost_the_shorter_the_lease(sessions: int) -> None:
    leases = [
        interval_of(KIND, "active", crowd(sessions, lost=share, seconds=300), NOON).lease
        for share in (0.0, 0.02, 0.05, 0.1, 0.3, 1.0)
    ]
    assert leases == sorted(leases, reverse=True)
    assert leases[-1] == 60, "the shortest"


@pytest.mark.parametrize("sessions", [51, 100, 300, 1_000, 5_000, 30_000])
@pytest.mark.parametrize("lost", [0.0, 0.03, 0.1, 0.5])
@pytest.mark.parametrize("seconds", [120, 600, HOUR, 5 * HOUR])
def test_a_longer_interval_keeps_the_error_within_what_is_allowed(
    sessions: int, lost: float, seconds: int
) -> None:
    known = crowd(sessions, lost=lost, seconds=seconds)
    found = interval_of(KIND, "active", known, NOON)
    counted = found.lease - found.beat / 2 + 35
    error = sessions / seconds * lost * counted
    if found.beat > 30:
        assert error <= max(1, sessions / 100)
    assert error <= accuracy_of(KIND, known, NOON)


@pytest.mark.parametrize("later", [0, 20, 59])
def test_the_last_hundred_visits_are_no_rarer_until_the_next_sweep_tells_more(later: int) -> None:
    """A sweep tells of a minute's visits at once, of which only the last hundred are kept."""
    end = NOON // 1000
    known = Crowd(3_000, Ends(100, 10, end - 6, 180, end))
    fresh = accuracy_of(KIND, known, NOON)
    assert fresh > 3_000 / 180 * 0.1 * (60 - 15 + 35)
    assert accuracy_of(KIND, known, NOON + later * 1000) == fresh
    assert interval_of(KIND, "active", known, NOON + later * 1000).beat == 30


def test_visits_that_stopped_ending_are_rare_after_a_while() -> None:
    end = NOON // 1000
    known = Crowd(3_000, Ends(100, 10, end - 6, 180, end))
    assert accuracy_of(KIND, known, NOON + HOUR * 1000) == 30
    unknown = Crowd(3_000, Ends(100, 10, end - 6, 180))  # stored by an earlier release
    assert accuracy_of(KIND, unknown, NOON + HOUR * 1000) == 30


def test_before_a_visit_has_ended_a_small_crowd_beats_as_a_few_do() -> None:
    assert interval_of(KIND, "active", Crowd(100), NOON).beat == 30
    assert because(Ends()).startswith("No visit has ended yet.")


def test_a_hidden_tab_beats_less_often_than_a_visible_one() -> None:
    for sessions in (1, 50, 100, 1_000, 10_000):
        visible = interval_of(KIND, "active", crowd(sessions), NOON)
        hidden = interval_of(KIND, "hidden", crowd(sessions), NOON)
        assert hidden.beat > visible.beat
        assert hidden.lease >= max(180, 2 * hidden.beat)
        assert hidden.lease <= LONGEST_LEASE


@pytest.mark.parametrize(
    ("settings", "state", "wanted"),
    [
        ("beat=20", "active", (20, 60)),
        ("beat=20,lease=50", "active", (20, 50)),
        ("beat=20", "hidden", (60, 180)),
        ("lease=300", "active", (120, 300)),
        ("lease=150", "active", (75, 150)),
        ("lease=40", "active", (30, 40)),
        ("hidden-beat=70", "hidden", (70, 180)),
        ("hidden=600", "hidden", (180, 600)),
        ("hidden=200", "hidden", (100, 200)),
        ("beat=auto", "active", (120, 240)),
    ],
)
def test_what_a_kind_names_stays(settings: str, state: str, wanted: tuple[int, int]) -> None:
    kind = Kinds(f"room:{settings}").kind("room")
    found = interval_of(kind, state, crowd(10_000), NOON)
    assert (found.beat, found.lease) == wanted


def test_a_kind_may_want_more_accurate_counts() -> None:
    exact = Kinds("room:accuracy=0.1%").kind("room")
    known = crowd(10_000, lost=0.1)
    assert interval_of(exact, "active", known, NOON).beat < 60
    assert accuracy_of(KIND, known, NOON) == 100


def test_an_error_above_the_limit_is_stated() -> None:
    known = crowd(1_000, lost=0.5, seconds=300)
    assert interval_of(KIND, "active", known, NOON).beat == 30
    assert accuracy_of(KIND, known, NOON) > 100
    assert because(known.ends).startswith("50 of the last 100 visits ended without a leave")


@pytest.mark.parametrize("text", ["1", "0%", "100%", "%", "1.234%", "-1%"])
def test_an_accuracy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"accuracy must be 0\.01% to 99%"):
        Kinds(f"site:accuracy={text}")
