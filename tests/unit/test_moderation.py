"""Admins' rules and removals in the published row, packed and unpacked."""

from __future__ import annotations

from headcount.model.alert import (
    AlertMemory,
    LastVersion,
    Milestone,
    RuleState,
    Spike,
    evaluate,
    people_at,
    rule_from,
)
from headcount.model.moderation import (
    MAX_DENIED,
    MAX_REMOVALS,
    Removal,
    denied_by,
    denied_until,
    pack_denied,
    person_hash,
    unpack_denied,
)
from headcount.times import MINUTE, SECOND

from lab.harness.clock import NOON

SPIKE = Spike("spike", 2.0, 5, 4)


def removal(number: int, *, until: int = NOON + MINUTE, sessions: int = 0) -> Removal:
    hashes = tuple(person_hash(f"s:{number}-{tab}") for tab in range(sessions))
    return Removal("userId", f"u{number}", until, NOON + number, "ada", sessions=hashes)


def test_denied_people_survive_packing_to_the_second() -> None:
    denied = denied_by([removal(1), removal(2, sessions=3)], NOON)
    assert len(denied) == 5
    assert unpack_denied(pack_denied(denied)) == denied
    assert pack_denied({}) is None
    assert unpack_denied(None) == {}


def test_people_are_denied_before_sessions_and_no_more_than_fit() -> None:
    denied = denied_by([removal(number, sessions=5) for number in range(120)], NOON)
    assert len(denied) == MAX_DENIED
    people = {removal(number).id for number in range(120)}
    assert len(people & denied.keys()) == MAX_REMOVALS
    packed = pack_denied(denied)
    assert packed is not None
    assert len(packed) == 12 * MAX_DENIED


def test_an_expired_removal_denies_no_one() -> None:
    denied = denied_by([removal(1, until=NOON), removal(2)], NOON)
    assert list(denied) == [removal(2).id]
    assert denied_until(denied, ["u:u2"], NOON) == NOON + MINUTE
    assert denied_until(denied, ["u:u2"], NOON + MINUTE) is None
    assert denied_until(denied, ["u:u1", "v:u2", "s:u2"], NOON) is None


def test_a_session_of_two_removals_is_denied_until_the_later_end() -> None:
    early = Removal("userId", "u1", NOON + SECOND, NOON + 5, "ada", sessions=("aa" * 8,))
    late = Removal("visitorId", "v1", NOON + MINUTE, NOON, "ada", sessions=("aa" * 8,))
    assert denied_by([early, late], NOON)["aa" * 8] == NOON + MINUTE


def test_alert_state_survives_packing() -> None:
    memory = AlertMemory(
        ((1, 2), (3, 4)), {"a": RuleState(on=True, fired_at=NOON), "b": RuleState()}
    )
    assert AlertMemory.unpack(memory.pack()) == memory
    assert AlertMemory().pack() is None
    assert AlertMemory.unpack(None) == AlertMemory()


def test_rules_survive_the_round_trip_to_json() -> None:
    for rule in (SPIKE, Milestone("m", 7)):
        assert rule_from(rule.name, rule.fields()) == rule


def test_people_of_a_moment_are_those_last_published_before_its_minute() -> None:
    minute = NOON // MINUTE
    samples = ((minute - 5, 3), (minute - 2, 8))
    assert people_at(samples, NOON) == 8
    assert people_at(samples, NOON - MINUTE) == 8
    assert people_at(samples, NOON - MINUTE - 1) == 3
    assert people_at(samples, NOON - 4 * MINUTE) == 3
    assert people_at(samples, NOON - 5 * MINUTE) is None


def test_the_same_version_always_sets_off_the_same() -> None:
    memory, fired = evaluate([SPIKE], AlertMemory(), LastVersion(0, 0), 4, NOON)
    assert evaluate([SPIKE], AlertMemory(), LastVersion(0, 0), 4, NOON) == (memory, fired)
    assert [one["before"] for one in fired] == [0]
    assert evaluate([SPIKE], memory, LastVersion(4, NOON), 4, NOON + SECOND)[1] == []


def test_without_spike_rules_no_minutes_are_stored() -> None:
    memory, _ = evaluate([Milestone("m", 7)], AlertMemory(((1, 2),)), LastVersion(0, 0), 4, NOON)
    assert memory.samples == ()
    assert evaluate([], memory, LastVersion(4, NOON), 4, NOON)[0] == AlertMemory()
