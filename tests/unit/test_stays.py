"""How long the last visits were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headcount.stays import KEPT, Stay, average_seconds, latest, pack, unpack
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_session import gone

STAYS = st.builds(
    Stay, st.integers(0, 2**32), st.binary(min_size=3, max_size=3), st.integers(0, 2**24)
)


@given(st.lists(STAYS, max_size=KEPT))
def test_packing_loses_nothing(stays: list[Stay]) -> None:
    ordered = latest(stays)
    assert unpack(pack(ordered)) == ordered


def test_a_hundred_stays_of_a_busy_minute_take_less_than_a_write_unit() -> None:
    stays = tuple(Stay(1_795_262_400 + n, n.to_bytes(3), 60 + n) for n in range(100))
    assert len(pack(stays)) < 620


def test_the_last_hundred_are_kept() -> None:
    stays = [Stay(n, n.to_bytes(3), n) for n in range(150)]
    assert latest(stays) == tuple(stays[50:])


def test_a_visit_that_is_read_again_counts_once() -> None:
    stay = Stay(5, b"abc", 9)
    assert latest([stay], [stay], [replace(stay, seconds=10)]) == (stay,)


def test_nobody_has_left_means_no_average() -> None:
    assert average_seconds(()) is None
    assert average_seconds((Stay(1, b"abc", 10), Stay(2, b"abd", 15))) == 12


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"ended_by": "leave", "joined_at": 1_000, "ended_at": 91_000}, 90),
        ({"ended_by": "leave", "joined_at": 1_000, "ended_at": 91_000, "stayed": 7}, 7),
        ({"ended_by": "expiry", "joined_at": 1_000, "last_seen": 31_000, "ended_at": 91_000}, 30),
    ],
    ids=["a leave", "what the client says", "an expiry: until it was last seen"],
)
def test_how_long_a_visit_was(said: dict[str, object], seconds: int) -> None:
    assert Stay.of(replace(gone(), **said)).seconds == seconds  # type: ignore[arg-type]
