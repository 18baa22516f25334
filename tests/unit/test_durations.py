"""The durations of the last visits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headcount.model.durations import (
    VisitDuration,
    average_seconds,
    latest,
    pack,
    unpack,
)
from headcount.model.intervals import MAX_ENDS
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.unit.test_session import gone

DURATIONS = st.builds(
    VisitDuration, st.integers(0, 2**32), st.binary(min_size=3, max_size=3), st.integers(0, 2**24)
)


@given(st.lists(DURATIONS, max_size=MAX_ENDS))
def test_packing_loses_nothing(durations: list[VisitDuration]) -> None:
    ordered = latest(durations)
    assert unpack(pack(ordered)) == ordered


def test_a_hundred_durations_of_a_busy_minute_take_less_than_a_write_unit() -> None:
    durations = tuple(VisitDuration(1_795_262_400 + n, n.to_bytes(3), 60 + n) for n in range(100))
    assert len(pack(durations)) < 620


def test_the_last_hundred_are_kept() -> None:
    durations = [VisitDuration(n, n.to_bytes(3), n) for n in range(150)]
    assert latest(durations) == tuple(durations[50:])


def test_a_visit_that_is_read_again_counts_once() -> None:
    stay = VisitDuration(5, b"abc", 9)
    assert latest([stay], [stay], [replace(stay, seconds=10)]) == (stay,)


def test_without_ended_visits_there_is_no_average() -> None:
    assert average_seconds(()) is None
    assert average_seconds((VisitDuration(1, b"abc", 10), VisitDuration(2, b"abd", 15))) == 12


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"ended_by": "leave", "joined_at": 1_000, "ended_at": 91_000}, 90),
        ({"ended_by": "leave", "joined_at": 1_000, "ended_at": 91_000, "duration": 7}, 7),
        ({"ended_by": "expiry", "joined_at": 1_000, "last_seen": 31_000, "ended_at": 91_000}, 30),
    ],
    ids=["a leave", "the client's duration", "an expiry: until its last beat"],
)
def test_the_duration_of_a_visit(fields: dict[str, object], seconds: int) -> None:
    assert VisitDuration.from_session(structs.replace(gone(), **fields)).seconds == seconds  # type: ignore[arg-type]
