"""Which spaces a roll-up has, and what a part's entries add up to."""

from __future__ import annotations

import pytest
from headcount.errors import InvalidRequestError, NotFoundError
from headcount.model.rollups import RollUps, added_numbers, numbers_of_part
from headcount.model.session import person_of, place_of
from headcount.model.space import Kinds
from headcount.model.tally import Tally
from headcount.usecases.rollups import part_pace

KINDS = Kinds("site:counts=public course stream:counts=public")


def rollups(text: str = "school=course:*,stream:main chapter=course:42-* one=course:7") -> RollUps:
    return RollUps(text, KINDS)


@pytest.mark.parametrize(
    ("space", "ids"),
    [
        ("site:main", ["~kind:site", "~group:all"]),
        ("course:7", ["~kind:course", "~group:all", "~group:school", "~group:one"]),
        ("course:77", ["~kind:course", "~group:all", "~group:school"]),
        ("course:42-1", ["~kind:course", "~group:all", "~group:school", "~group:chapter"]),
        ("stream:main", ["~kind:stream", "~group:all", "~group:school"]),
        ("stream:main2", ["~kind:stream", "~group:all"]),
        ("gone:main", []),
    ],
)
def test_a_space_is_in_the_rollups_that_name_it(space: str, ids: list[str]) -> None:
    assert list(rollups().of_space(space)) == ids


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("off", "'off' is not a group: write name=pattern"),
        ("School=course:*", "is not a group"),
        ("school=", "must be a space"),
        ("school=cour*", "must be a space"),
        ("school=room:*", "the kind 'room' is not declared"),
        ("all=course:*", "'all' is there already"),
        ("a=course:1 a=course:2", "'a' is there already"),
        (" ".join(f"g{number}=*" for number in range(21)), "at most 20 groups, not 21"),
    ],
)
def test_a_declaration_that_is_not_valid_says_why(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        rollups(text)


def test_without_a_declaration_there_are_none() -> None:
    off = rollups("")
    assert (off.on, off.ids, off.of_space("site:main")) == (False, [], ())
    with pytest.raises(NotFoundError, match="parameter RollUps=on"):
        off.find("kind", "site")


def test_an_unknown_one_is_refused_with_the_names_of_the_others() -> None:
    assert rollups().find("kind", "site") == "~kind:site"
    with pytest.raises(InvalidRequestError, match="Use one of: course, site, stream"):
        rollups().find("kind", "room")
    with pytest.raises(InvalidRequestError, match="Use one of: all, chapter, one, school"):
        rollups().find("group", "room")


def test_only_a_rollup_of_public_kinds_is_public() -> None:
    declared = rollups("live=stream:*,site:main")
    public = {id_: declared.is_public(id_) for id_ in declared.ids}
    assert public == {
        "~kind:course": False,
        "~kind:site": True,
        "~kind:stream": True,
        "~group:all": False,
        "~group:live": True,
    }


def test_a_person_counts_once_in_each_rollup() -> None:
    ada, grace, claimed = (
        place_of(person, 1)[1]
        for person in (
            person_of("ada", None, "s1", verified=True),
            person_of(None, "grace", "s2"),
            person_of("ada", None, "s3"),
        )
    )
    entries = [("site:main", ada), ("course:7", ada), ("course:7", grace), ("course:8", claimed)]
    numbers, rows = numbers_of_part(entries, rollups(""))
    assert (numbers, rows) == ({}, 4)
    numbers, rows = numbers_of_part(entries, rollups("on"))
    assert numbers == {
        "~group:all": Tally(sessions=4, signed_in_sessions=3, signed_in=2, anonymous=1),
        "~kind:course": Tally(sessions=3, signed_in_sessions=2, signed_in=2, anonymous=1),
        "~kind:site": Tally(sessions=1, signed_in_sessions=1, signed_in=1),
    }
    twice = added_numbers([numbers, numbers], ["~kind:site", "~kind:stream"])
    assert twice == {
        "~kind:site": Tally(sessions=2, signed_in_sessions=2, signed_in=2),
        "~kind:stream": Tally(),
    }


def test_people_are_spread_over_all_parts_always_the_same() -> None:
    places = {place_of(f"v:{number}", 4) for number in range(200)}
    assert len(places) == 200
    assert {part for part, _ in places} == {0, 1, 2, 3}
    assert place_of("v:ada", 4) == place_of("v:ada", 4)


def test_a_large_part_is_recounted_less_often() -> None:
    assert [part_pace(rows) for rows in (0, 500, 1_000, 2_500, 100_000)] == [
        1_000,
        1_000,
        2_000,
        5_000,
        5_000,
    ]
