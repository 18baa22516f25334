"""Explaining a number: which sessions were counted, when, and which were not and why."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from typing import Any

import pytest
from headcount.documents import openapi
from headcount.model.space import shard_of
from headcount.settings import Settings
from headcount.times import SECOND
from headcount.usecases import explain as explaining
from headcount.usecases.audit import IN_FLIGHT
from jsonschema import Draft202012Validator

from lab.harness.engines import Engine
from lab.harness.template import ROOT, template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act, ask

SHARDS = 3
QUIET = IN_FLIGHT / SECOND + 1


@pytest.fixture
def world(engine: Engine, worlds: Worlds) -> World:
    return worlds(engine, ShardsPerSpace=str(SHARDS))


def explain(world: World, space: str = SITE, **query: Any) -> Any:
    query = {name: str(value) for name, value in query.items()}
    return act(world, "GET", "explain", space=space, query=query or None).body


def pages(world: World, limit: int) -> list[Any]:
    found = [explain(world, limit=limit)]
    while (cursor := found[-1]["cursor"]) is not None:
        found.append(explain(world, limit=limit, cursor=cursor))
    return found


def people_with_tabs(world: World) -> None:
    """Seven visitors with up to three tabs on several pages, and three users with two."""
    for number in range(7):
        for tab in range(number % 3 + 1):
            world.clock.advance(0.1)
            page = f"/{(number + tab) % 3}"
            world.beat(f"v{number}t{tab}", visitorId=f"v{number}", page=page)
    for number in range(3):
        for tab in range(2):
            facets = {"device": ["tv", "phone"][tab]}
            world.beat(f"u{number}t{tab}", userId=f"u{number}", page="/0", facets=facets)
    world.beat("alone")
    world.settle()


def sums(found: list[Any]) -> dict[str, Any]:
    """The totals of the sessions on all pages, as a headcount."""
    sessions = [one for page in found for one in page["sessions"]]
    people = {(one["person"]["by"], one["person"]["id"]) for one in sessions}
    count: Counter[tuple[str, str]] = Counter()
    of_people: Counter[tuple[str, str]] = Counter()
    for one in sessions:
        count.update(one["facets"].items())
        of_people.update((facet, one["facets"][facet]) for facet in one["decides"])
    facets: dict[str, list[Any]] = defaultdict(list)
    for (facet, value), number in count.items():
        row = {"value": value, "count": number, "people": of_people[facet, value]}
        facets[facet].append(row)
    return {
        "people": len(people),
        "signedIn": sum(by == "user" for by, _ in people),
        "anonymous": sum(by != "user" for by, _ in people),
        "sessions": len(sessions),
        "facets": {name: sorted(found, key=str) for name, found in facets.items()},
    }


def published(world: World) -> dict[str, Any]:
    body = world.headcount()
    named = {name: body[name] for name in ("people", "signedIn", "anonymous", "sessions")}
    facets = {name: sorted(values, key=str) for name, values in body["facets"].items()}
    return {**named, "facets": facets}


@pytest.mark.parametrize("limit", [1, 4, 7, 100])
def test_the_sessions_of_all_pages_add_up_to_the_published_numbers(
    world: World, limit: int
) -> None:
    people_with_tabs(world)
    found = pages(world, limit)
    assert sums(found) == published(world)
    assert {one["shard"] for page in found for one in page["sessions"]} == set(range(SHARDS))
    assert all(len(page["sessions"]) + len(page["notCounted"]) <= limit for page in found)
    assert len(found) == -(-len(world.presence_rows()) // limit)


def test_each_page_has_the_published_numbers_their_time_and_a_recount(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", visitorId="v1", page="/")
    world.beat("s2", userId="u1")
    world.settle()
    world.clock.advance(5)
    body = explain(world)
    assert {name: value for name, value in body.items() if name != "sessions"} == {
        "success": True,
        "space": SITE,
        "verdict": "agrees",
        "published": {
            "people": 2,
            "signedIn": 1,
            "anonymous": 1,
            "sessions": 2,
            "version": 1,
            "asOf": "2026-11-21T12:00:00.000Z",
            "accuracy": {
                "people": 1,
                "because": "No visit has ended yet. One that ends without a leave counts until its "
                "lease is over.",
            },
        },
        "recount": {
            "people": 2,
            "signedIn": 1,
            "anonymous": 1,
            "sessions": 2,
            "at": "2026-11-21T12:00:05.000Z",
        },
        "difference": None,
        "onItsWay": {"written": 2, "leasesRunOut": 0, "counted": 1},
        "note": None,
        "shards": [
            {
                "shard": 0,
                "people": 2,
                "sessions": 2,
                "rows": 2,
                "version": 1,
                "countedAt": "2026-11-21T12:00:00.000Z",
            }
        ],
        "notCounted": [],
        "cursor": None,
    }
    assert body["sessions"] == [
        {
            "sessionId": "s1",
            "person": {"by": "visitor", "id": "v1", "verified": False},
            "shard": 0,
            "facets": {"page": "/"},
            "decides": ["page"],
            "state": "active",
            "joinedAt": "2026-11-21T12:00:00.000Z",
            "lastSeen": "2026-11-21T12:00:00.000Z",
            "leaseEndsAt": "2026-11-21T12:01:00.000Z",
        },
        {
            "sessionId": "s2",
            "person": {"by": "user", "id": "u1", "verified": False},
            "shard": 0,
            "facets": {},
            "decides": [],
            "state": "active",
            "joinedAt": "2026-11-21T12:00:00.000Z",
            "lastSeen": "2026-11-21T12:00:00.000Z",
            "leaseEndsAt": "2026-11-21T12:01:00.000Z",
        },
    ]


def test_a_person_may_be_called_anything(memory_world: World) -> None:
    memory_world.beat("s:1")
    memory_world.beat("s2", visitorId="u:x:y")
    people = [one["person"] for one in explain(memory_world)["sessions"]]
    assert [(one["by"], one["id"]) for one in people] == [("visitor", "u:x:y"), ("session", "s:1")]


def test_of_a_persons_tabs_the_one_that_changed_last_decides(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", visitorId="v1", page="/a", facets={"device": "tv"})
    world.clock.advance(1)
    world.beat("s2", visitorId="v1", page="/b")
    decides = {one["sessionId"]: one["decides"] for one in explain(world)["sessions"]}
    assert decides == {"s1": ["device"], "s2": ["page"]}


def test_sessions_that_are_not_counted_are_listed_with_the_reason(world: World) -> None:
    shards = [shard_of(f"v:{name}", SHARDS) for name in ("a", "b", "c", "d")]
    moved = next(f"u{n}" for n in range(99) if shard_of(f"u:u{n}", SHARDS) != shards[3])
    world.leave("early", seq=2)
    world.beat("out", visitorId="a")
    world.clock.advance(50)
    world.beat("left", visitorId="b")
    world.beat("moves", visitorId="d")
    world.settle()
    world.clock.advance(10)
    world.leave("left")
    world.beat("moves", visitorId="d", userId=moved)
    world.settle()
    body = explain(world)
    found = {one["sessionId"]: one for one in body["notCounted"]}
    assert {name: (one["reason"], one["movedTo"], one["at"]) for name, one in found.items()} == {
        "early": ("leaveOvertookJoin", None, "2026-11-21T12:00:00.000Z"),
        "out": ("leaseRanOut", None, "2026-11-21T12:01:00.000Z"),
        "left": ("left", None, "2026-11-21T12:01:00.000Z"),
        "moves": ("moved", shard_of(f"u:{moved}", SHARDS), "2026-11-21T12:01:00.000Z"),
    }
    assert [one["sessionId"] for one in body["sessions"]] == ["moves"]
    world.sweep()
    (ended,) = [one for one in explain(world)["notCounted"] if one["sessionId"] == "out"]
    assert ended["reason"] == "leaseRanOut"


def test_a_difference_is_explained_by_pending_changes_or_is_drift(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1", page="/a")
    world.settle()
    world.clock.advance(QUIET)
    world.beat("s2", userId="u1", page="/b")
    lost = world.filtered("count")
    body = explain(world)
    assert body["verdict"] == "onItsWay"
    assert body["onItsWay"] == {"written": 1, "leasesRunOut": 0, "counted": 0}
    assert body["difference"] == {
        "people": 1,
        "signedIn": 1,
        "anonymous": 0,
        "sessions": 1,
        "facets": ["page"],
    }
    world.beat("s1", page="/a")
    world.clock.advance(QUIET)
    assert explain(world)["verdict"] == "drift"
    world.count(lost)
    world.publish(world.filtered("publish"))
    body = explain(world)
    assert (body["verdict"], body["difference"]) == ("agrees", None)


def test_a_lease_that_ran_out_explains_a_number_until_the_sweep(memory_world: World) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.clock.advance(61)
    body = explain(world)
    assert (body["verdict"], body["published"]["people"], body["recount"]["people"]) == (
        "onItsWay",
        1,
        0,
    )
    assert body["onItsWay"]["leasesRunOut"] == 1


def test_a_space_without_any_visits_is_explained(memory_world: World) -> None:
    body = explain(memory_world)
    assert (body["verdict"], body["published"]["asOf"], body["shards"]) == ("agrees", None, [])
    assert (body["sessions"], body["cursor"]) == ([], None)


def test_a_large_space_is_read_a_page_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    people_with_tabs(world)
    rows = len(world.presence_rows())
    monkeypatch.setattr(explaining, "MAX_EXPLAINED_ROWS", rows - 1)
    with world.engine.metered() as meter:
        first = explain(world, limit=2)
    assert meter.operations == ["GetItem", "Query", "Query"]
    assert [first[name] for name in ("verdict", "recount", "difference", "onItsWay")] == [None] * 4
    assert f"more than {rows - 1} rows" in first["note"]
    assert first["published"]["sessions"] == world.headcount()["sessions"]
    assert len(first["shards"]) == SHARDS
    for limit in (1, 3, 100):
        found = [one for page in pages(world, limit) for one in page["sessions"]]
        assert len({one["sessionId"] for one in found}) == len(found) == rows
        assert {one["decides"] is None for one in found} == {True}
    monkeypatch.undo()
    assert explain(world)["recount"] is not None


def test_a_moved_row_of_a_large_space_does_not_say_where_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_sessions_that_are_not_counted_are_listed_with_the_reason(world)
    monkeypatch.setattr(explaining, "MAX_EXPLAINED_ROWS", 0)
    (row,) = [one for one in explain(world)["notCounted"] if one["reason"] == "moved"]
    assert row["movedTo"] is None


def test_raising_the_number_of_shards_omits_no_session(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    people_with_tabs(world)
    world.redeploy(ShardsPerSpace="1")
    assert sums(pages(world, 5)) == published(world)
    world.redeploy(ShardsPerSpace="6")
    assert sums(pages(world, 5)) == published(world)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "?"}, "cursor"),
    ],
)
def test_invalid_parameters_are_refused(
    memory_world: World, query: dict[str, str], named: str
) -> None:
    answer = ask(memory_world, "GET", "explain", token=memory_world.admin, query=query)
    assert answer.status == 400
    assert named in answer.body["error"]


def test_the_answer_in_the_docs_is_valid() -> None:
    text = (ROOT / "docs" / "audit.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    answer = json.loads(example)
    settings = Settings(template().environment("api"))
    document = openapi.document(tuple(settings.kinds.names), settings.token_cookie)
    (schema,) = (
        content["schema"]
        for content in document["paths"]["/v1/spaces/{space}/explain"]["get"]["responses"]["200"][
            "content"
        ].values()
    )
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer)
    found = sums([answer])
    for name in ("people", "signedIn", "anonymous", "sessions"):
        assert answer["recount"][name] == found[name]
        assert answer["difference"][name] == found[name] - answer["published"][name]


def test_only_admins_get_explanations(memory_world: World) -> None:
    world = memory_world
    assert ask(world, "GET", "explain").status == 401
    assert ask(world, "GET", "explain", token=world.token(sub="u1")).status == 403
