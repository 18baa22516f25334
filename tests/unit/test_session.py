"""A session after a beat, a leave or an expiry: every branch."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.errors import ForbiddenError, RateLimitError
from headcount.model.beat import Beat
from headcount.model.session import (
    RETURN_GRACE,
    RETURN_WINDOW,
    STEADY_MARGIN,
    Arrival,
    Facts,
    Session,
    Stale,
    Write,
    after_absence,
    after_beat,
    after_clock_repair,
    after_expiry,
    after_leave,
    lease_of,
    person_of,
    tombstone,
)
from headcount.model.space import Kinds
from headcount.times import DAY, SECOND
from msgspec.structs import replace

from lab.harness.clock import NOON

SITE = Kinds("site").kind("site")
FACTS = Facts(visitor="v1", page="/")


def beat(old: Session | None, **changes: Any) -> Session | Stale:
    fields: dict[str, Any] = {
        "space": "site:main",
        "shard": 0,
        "session": "s1",
        "facts": FACTS,
        "seq": None,
        "request": "r2",
        "now": NOON + 30 * SECOND,
        **changes,
    }
    lease = lease_of(SITE, fields["facts"].state, fields.get("connection"))
    return after_beat(old, Arrival(lease=lease, **fields))


def here(**changes: Any) -> Session:
    joined = beat(None, request="r1", now=NOON, seq=5)
    assert isinstance(joined, Session)
    return replace(joined, **changes)


def gone(**changes: Any) -> Session:
    left = after_leave(here(), seq=8, request="r-leave", now=NOON + 10 * SECOND)
    assert isinstance(left, Session)
    return replace(left, **changes)


def test_a_first_beat_joins() -> None:
    assert beat(None, request="r1", now=NOON, seq=5) == Session(
        space="site:main",
        shard=0,
        id="s1",
        write=Write.JOIN,
        request="r1",
        facts=FACTS,
        joined_at=NOON,
        visit="r1",
        changed_at=NOON,
        last_seen=NOON,
        expires_at=NOON + 60 * SECOND,
        beats={"2026-11-21": 1},
        seq=5,
    )


def test_a_beat_with_the_same_facts_is_steady() -> None:
    assert beat(here()) == here(
        write=Write.BEAT,
        request="r2",
        last_seen=NOON + 30 * SECOND,
        expires_at=NOON + 90 * SECOND,
        beats={"2026-11-21": 2},
    )


def test_a_beat_with_other_facts_is_a_change_of_the_same_visit() -> None:
    changed = beat(here(), facts=replace(FACTS, page="/b"))
    assert isinstance(changed, Session)
    assert (changed.write, changed.visit, changed.joined_at) == (Write.CHANGE, "r1", NOON)
    assert changed.changed_at == NOON + 30 * SECOND
    assert changed.values == {"page": "/b"}


def test_a_beat_in_another_shard_is_a_change() -> None:
    moved = beat(here(), shard=2)
    assert isinstance(moved, Session)
    assert (moved.write, moved.shard) == (Write.CHANGE, 2)


@pytest.mark.parametrize(
    ("left", "write"),
    [
        (STEADY_MARGIN + 1, Write.BEAT),
        (STEADY_MARGIN, Write.CHANGE),
        (STEADY_MARGIN - 1, Write.CHANGE),
        (0, Write.CHANGE),
        (-DAY, Write.CHANGE),
    ],
)
def test_a_beat_is_steady_with_more_than_5_s_of_lease_left(left: int, write: Write) -> None:
    again = beat(here(), now=NOON + 60 * SECOND - left)
    assert isinstance(again, Session)
    assert again.write is write
    assert again.visit == "r1"


def test_a_beat_after_the_end_begins_a_new_visit() -> None:
    back = beat(gone(), seq=9)
    assert isinstance(back, Session)
    assert (back.write, back.visit, back.joined_at) == (Write.JOIN, "r2", NOON + 30 * SECOND)
    assert back.ended_at is None
    assert back.ended_by is None
    assert back.beats == {"2026-11-21": 1}


def test_a_new_visit_without_a_number_remembers_the_last_one() -> None:
    back = beat(gone())
    assert isinstance(back, Session)
    assert back.seq == 8


@pytest.mark.parametrize("seq", [0, 4, 5])
def test_a_beat_that_is_not_newer_changes_nothing(seq: int) -> None:
    assert beat(here(), seq=seq) == Stale()


@pytest.mark.parametrize("seq", [5, 7, 8])
def test_a_beat_older_than_the_leave_does_not_resurrect(seq: int) -> None:
    assert beat(gone(), seq=seq) == Stale()


def test_the_same_request_again_changes_nothing() -> None:
    assert beat(here(), request="r1") == Stale()
    assert beat(gone(), request="r-leave") == Stale()


def test_a_beat_without_a_number_keeps_the_stored_one() -> None:
    again = beat(here())
    assert isinstance(again, Session)
    assert again.seq == 5


def test_a_number_is_accepted_if_none_was_stored() -> None:
    again = beat(here(seq=None), seq=0)
    assert isinstance(again, Session)
    assert again.seq == 0


def test_a_beat_on_another_day_counts_under_that_day() -> None:
    again = beat(here(), now=NOON + DAY)
    assert isinstance(again, Session)
    assert again.beats == {"2026-11-21": 1, "2026-11-22": 1}


def test_a_hidden_beat_has_the_hidden_lease() -> None:
    hidden = beat(here(), facts=replace(FACTS, state="hidden"))
    assert isinstance(hidden, Session)
    assert hidden.expires_at == NOON + 30 * SECOND + SITE.hidden_lease * SECOND


def test_a_clock_that_steps_back_keeps_the_session_alive() -> None:
    again = beat(here(), now=NOON - 3600 * SECOND)
    assert isinstance(again, Session)
    assert again.write is Write.BEAT
    assert again.live(NOON - 3600 * SECOND)


def test_a_leave_ends_the_visit_now() -> None:
    assert after_leave(here(), seq=None, request="r2", now=NOON + 7) == here(
        write=Write.LEAVE,
        request="r2",
        changed_at=NOON + 7,
        ended_at=NOON + 7,
        ended_by="leave",
        burst=2,
    )


@pytest.mark.parametrize("late", [0, 1, DAY])
def test_a_leave_after_the_lease_ends_the_visit_at_its_lease(late: int) -> None:
    left = after_leave(here(), seq=6, request="r2", now=here().expires_at + late)
    assert isinstance(left, Session)
    assert (left.ended_at, left.ended_by) == (here().expires_at, "expiry")


@pytest.mark.parametrize("seq", [0, 4, 5])
def test_a_leave_that_is_not_newer_changes_nothing(seq: int) -> None:
    assert after_leave(here(), seq=seq, request="r2", now=NOON) == Stale()


def test_a_leave_without_a_number_leaves_an_ended_session_as_it_is() -> None:
    assert after_leave(gone(), seq=None, request="r3", now=NOON + DAY) == Stale()


def test_a_later_leave_of_an_ended_session_only_raises_its_number_and_time() -> None:
    again = after_leave(gone(), seq=12, request="r3", now=NOON + DAY)
    expected = gone(write=Write.GONE, request="r3", seq=12, changed_at=NOON + DAY)
    assert again == replace(expected, burst=1)


def test_a_leave_that_overtook_its_join_makes_the_join_stale() -> None:
    stone = tombstone(space="site:main", shard=0, session="s1", seq=2, request="r1", now=NOON)
    assert stone.ended
    assert not stone.live(NOON - 1)
    assert stone.visit == ""
    assert beat(stone, seq=1) == Stale()
    assert isinstance(beat(stone, seq=3), Session)
    assert isinstance(beat(stone), Session)


def test_an_expiry_ends_the_visit_when_the_lease_was_over() -> None:
    ended = after_expiry(here(), request="sweep", now=NOON + DAY)
    assert ended == here(
        write=Write.LEAVE, request="sweep", ended_at=here().expires_at, ended_by="expiry"
    )


def test_an_expiry_comes_at_the_lease_and_not_before() -> None:
    assert after_expiry(here(), request="sweep", now=here().expires_at - 1) is None
    assert after_expiry(here(), request="sweep", now=here().expires_at) is not None


def test_an_ended_session_does_not_expire() -> None:
    assert after_expiry(gone(), request="sweep", now=NOON + DAY) is None
    assert after_expiry(gone(write=Write.GONE), request="sweep", now=NOON + DAY) is None


def test_a_session_is_live_until_its_lease_is_over() -> None:
    assert here().live(here().expires_at - 1)
    assert not here().live(here().expires_at)
    assert not gone().live(NOON)


def test_a_person_is_the_user_else_the_visitor_else_the_session() -> None:
    assert person_of("x", "y", "z", verified=True) == "u:x"
    assert person_of("x", "y", "z") == "c:x", "someone who claims an id is not the proven user"
    assert person_of(None, "x", "z") == "v:x"
    assert person_of(None, None, "x") == "s:x"


def test_fingerprints_are_equal_for_equal_facts_only() -> None:
    some = Facts(page="/", facets={"a": "1", "b": "2"})
    assert some.fingerprint == Facts(page="/", facets={"b": "2", "a": "1"}).fingerprint
    others = [
        Facts(name="/", facets=some.facets),
        replace(some, facets={"a": "1"}),
        replace(some, facets={"a": "2", "b": "1"}),
        replace(some, state="hidden"),
        replace(some, verified=True),
        replace(some, user="u"),
        replace(some, visitor="u"),
        replace(some, avatar="u"),
    ]
    prints = {one.fingerprint for one in [some, *others]}
    assert len(prints) == len(others) + 1


def test_facts_are_a_beats_fields_except_the_user() -> None:
    beat = Beat(session_id="s", visitor_id="v", user_id="claimed", page="/", facets={"a": "1"})
    assert Facts.from_beat(beat, user="proven", verified=True) == Facts(
        user="proven", visitor="v", page="/", facets={"a": "1"}, verified=True
    )


# ------------------------------------------------------------------------------------------- limits


def flood(old: Session | None, every: float, *, limit: int = 20) -> int:
    """The number of messages, sent that many seconds apart, before a refusal (at most 200)."""
    for number in range(200):
        try:
            next_ = beat(
                old, request=f"r{number}", now=NOON + round(number * every * SECOND), limit=limit
            )
        except RateLimitError:
            return number
        assert isinstance(next_, Session)
        old = next_
    return 200


@pytest.mark.parametrize(
    ("every", "taken"), [(0, 20), (0.1, 20), (0.4, 20), (0.5, 200), (0.7, 200), (30, 200)]
)
def test_a_session_may_send_as_many_messages_as_its_limit_allows(every: float, taken: int) -> None:
    assert flood(None, every) == taken


def test_without_a_limit_any_number_of_messages_is_accepted() -> None:
    assert flood(None, 0, limit=0) == 200


def test_a_refusal_says_when_the_next_message_is_accepted() -> None:
    for limit, wait in ((20, "1"), (2, "5"), (1, "10")):
        full = here(burst=limit)
        with pytest.raises(RateLimitError) as refused:
            beat(full, now=NOON, limit=limit)
        assert refused.value.headers == {"Retry-After": wait}
        assert isinstance(beat(full, now=NOON + int(wait) * SECOND, limit=limit), Session)


def test_a_repeat_and_a_late_message_are_not_refused_as_too_many() -> None:
    full = here(burst=20)
    assert beat(full, request="r1", now=NOON, limit=20) == Stale()
    assert beat(full, seq=5, now=NOON, limit=20) == Stale()


def test_leaving_and_coming_back_does_not_evade_the_limit() -> None:
    old: Session | None = None
    for number in range(200):
        try:
            came = beat(old, request=f"in{number}", now=NOON, limit=20)
        except RateLimitError:
            break
        assert isinstance(came, Session)
        left = after_leave(came, seq=None, request=f"out{number}", now=NOON)
        assert isinstance(left, Session), "a leave is never refused"
        old = left
    assert number == 10


def test_a_clock_that_is_set_back_begins_a_new_burst() -> None:
    again = beat(here(burst=20), now=NOON - DAY, limit=20)
    assert isinstance(again, Session)
    assert (again.burst, again.last_seen) == (1, NOON - DAY)


PROVEN = replace(FACTS, user="u1", verified=True)


@pytest.mark.parametrize(
    ("facts", "allowed"),
    [
        (PROVEN, True),
        (replace(PROVEN, user="u2"), True),  # another user signs in, with their own token
        (replace(FACTS, user="u2"), False),
        (replace(FACTS, user="u1"), True),
        (FACTS, True),  # signs out
    ],
)
def test_a_claim_does_not_take_over_a_session_that_a_token_proved(
    facts: Facts, *, allowed: bool
) -> None:
    if not allowed:
        with pytest.raises(ForbiddenError, match="Send the token of the user"):
            beat(here(facts=PROVEN), facts=facts)
        return
    after = beat(here(facts=PROVEN), facts=facts)
    assert isinstance(after, Session)
    assert (after.facts.user, after.facts.verified) == (facts.user, facts.verified)


def test_after_its_visit_anyone_may_use_the_session() -> None:
    after = beat(gone(facts=PROVEN), facts=replace(FACTS, user="u2"), seq=9)
    assert isinstance(after, Session)
    assert (after.write, after.facts.user) == (Write.JOIN, "u2")


# ------------------------------------------------------------------------------ pages that closed


def away(**changes: Any) -> Session:
    left = after_leave(here(), seq=8, request="r-leave", now=NOON + 10 * SECOND, may_return=True)
    assert isinstance(left, Session)
    return replace(left, **changes)


def test_a_page_that_closed_only_shortens_the_lease() -> None:
    assert away() == here(
        write=Write.CHANGE,
        request="r-leave",
        changed_at=NOON + 10 * SECOND,
        expires_at=NOON + 10 * SECOND + RETURN_GRACE,
        ended_by="leave",
        seq=8,
    )
    assert away().away
    assert not here().away
    assert not gone().away


def test_the_next_page_continues_the_visit() -> None:
    back = beat(away(), seq=9, now=NOON + 11 * SECOND)
    assert isinstance(back, Session)
    assert (back.write, back.visit, back.ended_by) == (Write.CHANGE, "r1", None)
    assert back.live(NOON + 40 * SECOND)
    assert not back.away


def test_a_lease_that_is_about_to_end_is_not_extended_by_closing_the_page() -> None:
    lease_ends = NOON + 60 * SECOND
    left = after_leave(here(), seq=8, request="r", now=lease_ends - 200, may_return=True)
    assert isinstance(left, Session)
    assert left.expires_at == lease_ends
    late = after_leave(here(), seq=8, request="r", now=lease_ends, may_return=True)
    assert isinstance(late, Session)
    assert (late.ended, late.ended_by) == (True, "expiry")


def test_an_absence_ends_at_the_leave_when_nobody_can_return() -> None:
    over = NOON + 10 * SECOND + RETURN_WINDOW
    assert after_expiry(away(), request="r", now=over - 1) is None
    ended = after_expiry(away(), request="r", now=over)
    assert ended == after_absence(away(), request="r")
    assert (ended.ended, ended.ended_at, ended.ended_by) == (True, NOON + 10 * SECOND, "leave")


@pytest.mark.parametrize("seq", [9, None])
def test_a_second_leave_for_good_ends_an_absence_at_the_first(seq: int | None) -> None:
    ended = after_leave(away(), seq=seq, request="r", now=NOON + 11 * SECOND)
    assert isinstance(ended, Session)
    assert (ended.ended, ended.ended_at, ended.seq) == (True, NOON + 10 * SECOND, seq or 8)


def test_a_second_closed_page_changes_only_the_number() -> None:
    again = after_leave(away(), seq=9, request="r", now=NOON + 11 * SECOND, may_return=True)
    assert again == away(request="r", seq=9, write=Write.BEAT)
    assert again.away


def test_a_closed_page_that_a_wrong_clock_wrote_is_repaired_to_a_present_session() -> None:
    repaired = after_clock_repair(away(), kind=SITE, request="r", now=NOON)
    assert not repaired.away
