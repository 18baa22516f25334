"""Slices: the numbers and the sessions of those with certain facets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Any

import pytest
from headcount.usecases import slices

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

SPACE = "course:one"
"""Of a kind whose counts are not public."""
PATH = f"/v1/spaces/{SPACE}"
FACETS = {
    "page": ["/", "/pricing", "/café & co", "/a:b,c"],
    "device": ["mobile", "desktop", "tablet"],
    "country": ["AT", "DE", None],
    "visitor": ["new", "returning"],
}


class Put(dict[str, str]):
    """The facets of a session that was put in, its person, and when."""

    person: str
    at: int
    session: str


def put(world: World, number: int, random: Random) -> Put:
    """A beat of one of few people, with facets at random."""
    one = Put({name: value for name, of in FACETS.items() if (value := random.choice(of))})
    one.person, one.at, one.session = f"v{random.randrange(14)}", number, f"s{number:02d}"
    facets = {name: value for name, value in one.items() if name != "page"}
    world.beat(one.session, SPACE, visitorId=one.person, page=one["page"], facets=facets, seq=1)
    world.clock.advance(1)
    return one


def oracle(sessions: list[Put], where: dict[str, str]) -> tuple[int, int]:
    """People and sessions of a slice, written down as the words say it."""
    here = [one for one in sessions if all(one.get(f) == v for f, v in where.items())]
    people = set()
    for one in here:
        theirs = [other for other in sessions if other.person == one.person]
        latest = {f: [other for other in theirs if f in other][-1][f] for f in where}
        if latest == where:
            people.add(one.person)
    return len(people), len(here)


def wheres() -> Iterator[dict[str, str]]:
    """All slices by one value, and by two."""
    pairs = [(name, value) for name, of in FACETS.items() for value in of if value]
    yield {}
    yield from ({name: value} for name, value in pairs)
    yield from (
        {one: value, other: more}
        for (one, value), (other, more) in product(pairs, pairs)
        if one < other
    )


def sliced(world: World, where: dict[str, str], **more: Any) -> dict[str, Any]:
    texts = [f"{name}:{value}" for name, value in where.items()]
    answer = world.get(f"{PATH}/slice", where=texts, token=more.pop("token", world.admin))
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


@pytest.fixture
def crowd(memory_world: World) -> tuple[World, list[Put]]:
    random = Random(3)  # noqa: S311 - the same crowd each time
    sessions = [put(memory_world, number, random) for number in range(30)]
    memory_world.settle()
    return memory_world, sessions


def test_each_slice_has_the_numbers_of_its_sessions(crowd: tuple[World, list[Put]]) -> None:
    world, sessions = crowd
    for where in wheres():
        body = sliced(world, where)
        assert (body["people"], body["sessions"]) == oracle(sessions, where), where
        assert body["of"] == {"people": len({one.person for one in sessions}), "sessions": 30}
        assert "sample" not in body
        for facet, values in body["facets"].items():
            for row in values:
                people, number = oracle(sessions, {**where, facet: row["value"]})
                assert row["count"] == number, (where, facet, row)
                if not where:
                    assert row["people"] == people, (facet, row)


def test_a_slice_by_a_row_has_the_rows_numbers(crowd: tuple[World, list[Put]]) -> None:
    world, _ = crowd
    for facet, values in world.headcount(SPACE)["facets"].items():
        for row in values:
            body = sliced(world, {facet: row["value"]})
            assert (body["people"], body["sessions"]) == (row["people"], row["count"])


def test_the_whole_as_a_slice_is_the_headcount(crowd: tuple[World, list[Put]]) -> None:
    world, _ = crowd
    head, whole = world.headcount(SPACE), sliced(world, {})
    assert {name: head[name] for name in whole if name in head and name != "asOf"} == {
        name: whole[name] for name in whole if name in head and name != "asOf"
    }


def test_of_a_large_space_a_slice_is_estimated(
    crowd: tuple[World, list[Put]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, sessions = crowd
    monkeypatch.setattr(slices, "UP_TO", 20)
    whole = sliced(world, {})
    assert (whole["sample"], whole["sessions"]) == (20, 30)
    assert whole["people"] == whole["of"]["people"] == len({one.person for one in sessions})
    part = sliced(world, {"device": "mobile"})
    read = sum(one["device"] == "mobile" for one in sessions[:20])
    assert part["sessions"] == round(read * 1.5)
    assert part["sample"] == 20


@pytest.mark.parametrize(
    "where",
    ["device", ":mobile", "device:", "de vice:mobile", "page:" + "x" * 301, "page:\n", "1a:b"],
)
def test_a_condition_that_is_none_is_refused(memory_world: World, where: str) -> None:
    for path in ("slice", "viewers"):
        answer = memory_world.get(f"{PATH}/{path}", where=where, token=memory_world.admin)
        assert answer.status == 400
        assert "'where'" in answer.body["error"]


def test_at_most_eight_conditions_hold_at_once(memory_world: World) -> None:
    many = [f"f{number}:x" for number in range(9)]
    answer = memory_world.get(f"{PATH}/slice", where=many, token=memory_world.admin)
    assert answer.status == 400
    assert memory_world.get(f"{PATH}/slice", where=many[:8], token=memory_world.admin).status == 200


def test_a_slice_is_a_count_and_names_nobody(crowd: tuple[World, list[Put]]) -> None:
    world, _ = crowd
    token = world.token(headcount_scopes=f"read:{SPACE}")
    answer = world.get(f"{PATH}/slice", where="device:mobile", token=token)
    assert answer.status == 200
    assert not {"userId", "visitorId", "sessionId"} & set(str(answer.body).split("'"))
    assert "'s0" not in str(answer.body)
    assert world.get(f"{PATH}/viewers", where="device:mobile", token=token).status == 403


def test_nobody_slices_public_counts_without_a_token(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="course:counts=public")
    assert world.get(PATH).status == 200
    assert world.get(f"{PATH}/slice").status == 401


# ----------------------------------------------------------------------------------------- sessions


def found(world: World, **query: Any) -> tuple[list[str], dict[str, Any]]:
    answer = world.get(f"{PATH}/viewers", token=world.admin, **query)
    assert answer.status == 200, answer.body
    return [one["sessionId"] for one in answer.body["viewers"]], answer.body


def test_sessions_are_filtered_and_counted_by_the_server(crowd: tuple[World, list[Put]]) -> None:
    world, sessions = crowd
    wanted = [one.session for one in sessions if one["device"] == "mobile"]
    ids, body = found(world, where="device:mobile", limit="3")
    assert ids == wanted[:3]
    assert (body["total"], body["of"], body["cursor"]) == (len(wanted), 30, "3")
    rest = []
    while body["cursor"]:
        more, body = found(world, where="device:mobile", limit="3", cursor=body["cursor"])
        rest += more
    assert ids + rest == wanted


def test_without_a_filter_they_come_by_id_as_ever(crowd: tuple[World, list[Put]]) -> None:
    world, _ = crowd
    ids, body = found(world, limit="5")
    assert ids == ["s00", "s01", "s02", "s03", "s04"]
    assert "total" not in body


def test_sessions_come_in_the_order_that_is_asked_for(memory_world: World) -> None:
    world = memory_world
    for session, name in [("b", "Zoe"), ("a", None), ("c", "ada")]:
        world.beat(session, SPACE, seq=1, **({"name": name, "userId": name} if name else {}))
        world.clock.advance(5)
    world.beat("b", SPACE, seq=2, name="Zoe", userId="Zoe", state="hidden")
    orders = {"seen": "bca", "longest": "bac", "newest": "cab", "name": "cba"}
    for sort, order in orders.items():
        assert "".join(found(world, sort=sort)[0]) == order
    assert found(world, who="signed-in")[0] == ["b", "c"]
    assert found(world, who="anonymous")[0] == ["a"]
    assert found(world, state="hidden")[0] == ["b"]
    assert found(world, q="ZO")[0] == ["b"]
    assert found(world, q="nobody")[1]["total"] == 0


@pytest.mark.parametrize(
    "query", [{"who": "all"}, {"state": ""}, {"sort": "up"}, {"q": "x" * 101}, {"cursor": "x"}]
)
def test_a_filter_that_is_none_is_refused(memory_world: World, query: dict[str, str]) -> None:
    query = {"where": "page:/", **query}
    assert memory_world.get(f"{PATH}/viewers", token=memory_world.admin, **query).status == 400


def test_a_search_in_a_large_space_says_that_it_is_one_of_a_sample(
    crowd: tuple[World, list[Put]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = crowd
    monkeypatch.setattr(slices, "UP_TO", 20)
    body = found(world, who="anonymous")[1]
    assert (body["total"], body["of"], body["sample"]) == (20, 20, True)
