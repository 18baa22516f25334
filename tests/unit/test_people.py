"""A person's visits, and their rows after an erasure."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.model.moderation import NO_SUBJECT
from headcount.model.person import Person, hashed_fingerprint, own_id
from headcount.model.visit import Visit
from msgspec.structs import replace

VISIT = Visit(
    space="site:main",
    id="visit-1",
    session="s1",
    user=None,
    visitor=None,
    joined_at=0,
    beats={"2026-11-21": 3},
    ended_at=9,
    ended_by="leave",
    engagement={"chat": 1},
)
ADA = Person("key", user="ada")
BROWSER = Person("key", visitor="v1")
TAB = Person("key", session="s1")


def visit(**of: Any) -> Visit:
    return replace(VISIT, **of)


LINKED = replace(ADA, linked=frozenset(ADA.links_of(visit(user="ada", visitor="v1"))))


@pytest.mark.parametrize(
    ("person", "one", "owned"),
    [
        (ADA, visit(user="ada"), True),
        (ADA, visit(user="bob"), False),
        (ADA, visit(user="bob", former_users=("ada",)), False),
        (ADA, visit(former_users=("bob", "ada")), True),
        (ADA, visit(former_users=("ada", "bob")), False),
        (ADA, visit(visitor="v1"), False),
        (LINKED, visit(), True),
        (LINKED, visit(visitor="v2"), True),
        (LINKED, visit(session="s2", visitor="v1"), False),
        (LINKED, visit(space="site:other"), False),
        (LINKED, visit(user="bob"), False),
        (BROWSER, visit(visitor="v1"), True),
        (BROWSER, visit(visitor="v1", user="bob"), True),
        (BROWSER, visit(visitor=hashed_fingerprint("v1")), True),
        (BROWSER, visit(visitor="v2"), False),
        (BROWSER, visit(session="v1", user="v1"), False),
        (TAB, visit(), True),
        (TAB, visit(session=own_id("site:main", "session", "s1")), True),
        (TAB, visit(session=own_id("course:c1", "session", "s1")), False),
        (TAB, visit(session="s2", visitor="s1", user="s1"), False),
        (TAB, visit(session=own_id("site:main", "claimed", "bob"), visitor="s1"), True),
        (ADA, visit(session=own_id("site:main", "claimed", "ada")), True),
        (ADA, visit(session=own_id("site:main", "proven", "ada")), True),
        (ADA, visit(session=own_id("site:main", "claimed", "bob")), False),
        (ADA, visit(session="ada", visitor="ada"), False),
        (ADA, visit(visitor=own_id("site:main", "proven", "ada")), False),
    ],
)
def test_a_visit_is_theirs_or_is_not(person: Person, one: Visit, *, owned: bool) -> None:
    assert person.owns(one) is owned
    assert (person.pseudonymised(one) != one) is (owned or "ada" in one.former_users)


def test_a_user_is_linked_to_the_sessions_they_were_signed_in_to_last() -> None:
    signed_in = ADA.links_of(visit(user="ada", visitor="v1"))
    assert signed_in == ADA.links_of(visit(former_users=("bob", "ada"), visitor="v2"))
    assert len(signed_in) == 1
    assert "s1" not in str(signed_in)
    for one in (visit(user="bob", former_users=("ada",)), visit(visitor="v1"), visit()):
        for person in (ADA, BROWSER, TAB):
            assert person.links_of(one) == set()
    for one in (visit(visitor="v1"), visit(user="bob", visitor="v1")):
        assert BROWSER.links_of(one) == set()


def test_a_user_is_linked_to_the_session_that_their_courses_client_sent() -> None:
    sent = visit(session=own_id("site:main", "claimed", "ada"), user="ada", visitor="s1")
    before = visit(session=own_id("site:main", "session", "s1"), visitor="s1")
    linked = replace(ADA, linked=frozenset(ADA.links_of(sent)))
    assert linked.owns(before)
    assert not linked.owns(replace(before, user="bob"))
    assert not linked.owns(visit(session="s2", visitor="s1"))


def test_data_other_than_ids_stays_in_a_visit() -> None:
    hers = visit(user="ada", visitor="v1", former_users=("bob", "ada"))
    left = ADA.pseudonymised(hers)
    ids: Any = {"session": "", "user": "", "visitor": "", "former_users": ()}
    assert replace(left, **ids) == replace(hers, **ids)
    assert not {"ada", "v1", "s1"} & {left.session, left.user, left.visitor, *left.former_users}
    assert left.former_users[0] == "bob"
    assert left.former_users[1] == left.user


def test_in_another_persons_visit_only_her_own_ids_change() -> None:
    his = visit(user="bob", visitor="v1", former_users=("ada",))
    left = ADA.pseudonymised(his)
    assert replace(left, former_users=()) == replace(his, former_users=())
    assert left.former_users != ("ada",)


def test_a_visit_that_is_disguised_stays_as_it_is() -> None:
    for person, one in ((ADA, visit(user="ada", visitor="v1")), (BROWSER, visit(visitor="v1"))):
        once = person.pseudonymised(one)
        assert person.pseudonymised(once) == once


def test_a_visit_that_was_counted_late_gets_the_ids_it_had_been_given() -> None:
    """The ledger's row gets its user and visitor back, and its session stays pseudonymised."""
    hers = visit(user="ada", visitor="v1")
    once = ADA.pseudonymised(hers)
    assert ADA.pseudonymised(replace(once, user="ada", visitor="v1")) == once
    for person in (LINKED, TAB):
        once = person.pseudonymised(visit(visitor="v1"))
        assert person.pseudonymised(replace(once, visitor="v1")) == once


def test_a_person_under_an_alias_is_erased_too() -> None:
    alias = "~erased-0123456789abcdef"
    assert Person("key", user=alias).pseudonymised(visit(user=alias)).user != alias


@pytest.mark.parametrize(
    ("person", "fields", "named"),
    [
        (ADA, {"userId": "ada"}, True),
        (ADA, {"userId": "bob", "seconds": 3, "reason": None}, False),
        (ADA, {"userId": "adam"}, False),
        (ADA, {"visitorId": "ada", "sessionId": "ada", "name": "ada", "level": "ada"}, False),
        (ADA, {"visitorId": own_id("site:main", "proven", "ada")}, True),
        (ADA, {"sessionId": own_id("site:main", "proven", "ada")}, True),
        (ADA, {"sessionId": own_id("course:c1", "proven", "ada")}, False),
        (ADA, {}, False),
        (BROWSER, {"visitorId": "v1"}, True),
        (BROWSER, {"visitorId": hashed_fingerprint("v1")}, True),
        (BROWSER, {"userId": "v1", "sessionId": "v1"}, False),
        (TAB, {"sessionId": "s1"}, True),
        (TAB, {"sessionId": own_id("site:main", "session", "s1")}, True),
        (TAB, {"userId": "s1", "visitorId": "s1"}, False),
        (TAB, {"userId": None, "visitorId": None}, False),
    ],
)
def test_a_person_is_named_by_the_field_of_their_kind_of_id(
    person: Person, fields: dict[str, Any], *, named: bool
) -> None:
    assert person.is_named("site:main", fields) is named


def test_an_admin_is_known_by_their_subject_and_by_nothing_else() -> None:
    assert ADA.acted_as("ada")
    for person in (Person("key", visitor="ada"), Person("key", session="ada"), BROWSER):
        assert not person.acted_as("ada")
    assert not Person("key", user=NO_SUBJECT).acted_as(NO_SUBJECT)
