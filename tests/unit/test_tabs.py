"""Tabs that share a session: which are remembered, and when the session ends with the last."""

from __future__ import annotations

from headcount.model.beat import Tab
from headcount.model.session import Arrival, Facts, Session, Stale, Write
from headcount.model.tabs import (
    MAX_TABS,
    MEMORY,
    after_tab_beat,
    after_tab_leave,
)
from headcount.times import SECOND
from msgspec.structs import replace

from lab.harness.clock import NOON

LEASE = 60


def beat(old: Session | None, tab: Tab | None, at: int, request: str = "") -> Session | Stale:
    """What a beat makes of the row, ``at`` seconds after noon."""
    arrival = Arrival(
        space="course:c1",
        shard=0,
        session="s1",
        facts=Facts(user="ada"),
        lease=LEASE,
        seq=None,
        request=request or f"beat-{tab}-{at}",
        now=NOON + at * SECOND,
        tab=tab,
    )
    return after_tab_beat(old, arrival)


def leave(old: Session, tab: Tab | None, at: int, request: str = "leave") -> Session | Stale:
    return after_tab_leave(old, tab, request=request, now=NOON + at * SECOND)


def row(made: Session | Stale) -> Session:
    assert isinstance(made, Session)
    return made


def two_tabs() -> Session:
    return row(beat(row(beat(None, Tab("a", 1), 0)), Tab("b", 1), 10))


def test_the_last_tab_ends_the_session() -> None:
    one = row(leave(two_tabs(), Tab("b", 2), 11))
    assert (one.write, one.live(NOON + 59 * SECOND)) == (Write.BEAT, True)
    assert row(leave(one, Tab("a", 2), 12, "last")).write is Write.LEAVE


def test_the_lease_is_that_of_the_tabs_that_are_left() -> None:
    one = row(leave(two_tabs(), Tab("b", 2), 20))
    assert one.expires_at == NOON + (1 + LEASE) * SECOND  # stored in whole seconds
    assert row(leave(two_tabs(), Tab("a", 2), 20)).expires_at == NOON + (10 + LEASE) * SECOND


def test_a_tab_that_went_silent_holds_nobody() -> None:
    later = row(beat(two_tabs(), Tab("b", 2), 62))
    assert row(leave(later, Tab("b", 3), 63)).write is Write.LEAVE


def test_messages_of_a_tab_keep_their_order_and_tabs_have_none_among_them() -> None:
    both = row(beat(two_tabs(), Tab("a", 7), 20))
    assert isinstance(beat(both, Tab("a", 7), 21), Stale)
    assert isinstance(leave(both, Tab("a", 6), 21), Stale)
    assert isinstance(beat(both, Tab("b", 2), 21), Session)


def test_numbers_outlive_the_stay() -> None:
    one = row(beat(None, Tab("a", 3), 0))
    gone = row(leave(one, Tab("a", 5), 1))
    assert isinstance(beat(gone, Tab("a", 4), 2), Stale)
    late = row(leave(gone, Tab("a", 8), 3, "another"))
    assert (late.write, late.joined_at) == (Write.GONE, gone.joined_at)
    assert isinstance(beat(late, Tab("a", 7), 4), Stale)
    back = row(beat(late, Tab("a", 9), 5))
    assert (back.write, back.joins) == (Write.JOIN, 1)


def test_a_stay_that_all_left_is_held_by_no_tab_of_before() -> None:
    gone = row(leave(two_tabs(), None, 11))
    back = row(beat(gone, Tab("a", 2), 12))
    assert row(leave(back, Tab("a", 3), 13)).write is Write.LEAVE


def test_a_leave_without_a_number_ends_the_stay_unless_another_known_tab_is_open() -> None:
    assert row(leave(two_tabs(), None, 11)).write is Write.LEAVE
    assert row(leave(two_tabs(), Tab("unknown"), 11)).write is Write.LEAVE
    assert row(leave(two_tabs(), Tab("a"), 11)).write is Write.BEAT
    assert isinstance(leave(row(leave(two_tabs(), None, 11)), Tab("a"), 12, "another"), Stale)


def test_a_leave_that_is_retried_counts_once() -> None:
    joined = row(beat(None, None, 0))
    twice = replace(row(beat(joined, None, 1)), joins=2)
    hidden = row(leave(twice, None, 2))
    assert hidden.hidden
    assert isinstance(leave(hidden, None, 2), Stale)
    assert row(leave(hidden, None, 3, "another")).write is Write.LEAVE


def test_the_tabs_remembered_are_few_and_recent() -> None:
    kept = row(beat(None, Tab("open", 1), 0))
    for number in range(3 * MAX_TABS):
        kept = row(beat(kept, Tab(str(number), 1), 1))
        kept = row(leave(kept, Tab(str(number), 2), 1, f"leave-{number}"))
    assert len(kept.tabs) == MAX_TABS
    assert kept.tab_seqs.keys() == kept.tabs.keys()
    assert kept.tabs[Tab("open").key] > 0  # closed tabs are forgotten first
    later = row(beat(replace(kept, expires_at=NOON * 2), Tab("new"), MEMORY + 5))
    assert later.tabs.keys() == {Tab("new").key}
    assert later.tab_seqs == {}
