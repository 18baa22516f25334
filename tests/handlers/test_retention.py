"""Every row of every table has an end, or a reason to have none: as docs/privacy.md says it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import pytest
from headcount.store import keys
from headcount.store.attributes import encode

from tests.conftest import Worlds
from tests.support.containers import CONTAINERS, changed, launch
from tests.support.engines import Engine
from tests.support.moderation import act
from tests.support.telling import EVENTS
from tests.support.template import ROOT, template
from tests.support.world import SITE, World

DAY = 86_400
_LINE = re.compile(r"\| `(\w+)` \| (?:all|`([^`]+)`) \| [^|]+ \| (?:(\d+) days?\b|stays)")


class Kept(NamedTuple):
    """A line of the document's table: rows of a table whose key begins so, and days; None: they
    stay."""

    role: str
    prefix: str
    days: int | None


def documented() -> list[Kept]:
    text = (ROOT / "docs" / "privacy.md").read_text()
    return [
        Kept(role, prefix, int(days) if days else None)
        for role, prefix, days in _LINE.findall(text)
    ]


TELLING_KEY = {"subscriptions": keys.Subscriptions.PARTITION, "streams": keys.Streams.PARTITION}
"""The key that tells kinds of rows apart: the sort key, but in these tables."""


def rows(world: World) -> Iterator[tuple[Kept, dict[str, Any]]]:
    """Every row, with what the document says of it."""
    lines = documented()
    for role, found in world.snapshot().items():
        key = TELLING_KEY.get(role, template().tables[role]["KeySchema"][-1]["AttributeName"])
        for row in found:
            said = [one for one in lines if one.role == role and row[key].startswith(one.prefix)]
            assert len(said) == 1, (role, row[key])
            yield said[0], row


def bin_what_expired(world: World) -> None:
    """As DynamoDB does by itself."""
    for role, table in world.tables.items():
        names = [key["AttributeName"] for key in template().tables[role]["KeySchema"]]
        attribute = template().tables[role]["TimeToLiveSpecification"]["AttributeName"]
        for row in table.rows():
            if row.get(attribute, world.clock()) < world.clock() // 1000:
                key = encode({name: row[name] for name in names})
                world.engine.client.delete_item(TableName=table.name, Key=key)


def live_fully(world: World) -> None:
    """Something of everything that is stored."""
    for number in range(60):  # so many facets that they get a row of their own
        words = {f"facet{n}": blake2b(f"{n}-{number}".encode()).hexdigest()[:40] for n in range(8)}
        world.beat(f"s{number}", visitorId=f"v{number}", facets=words)
    world.subscribe("c1")
    world.beat("w1", "stream:st1", engagement={"chat": 2})
    world.settle()
    world.leave("w1", "stream:st1")
    world.leave("s1")
    world.leave("s2", seq=7)
    world.leave("never", seq=3)
    world.settle()
    analytics = "/api/v1/analytics/streams/st1"
    for path, body in (
        ("/api/streams", {"id": "st1", "channelId": "ch1"}),
        (f"{analytics}/events", {"type": "revenue", "amount": 3}),
        (f"{analytics}/infrastructure", {"source": "rtmp", "load": 0.5}),
    ):
        answer = world.http("POST", path, body=body, token=world.admin)
        assert answer.status in {200, 201}, answer
    act(world, "PUT", "alerts/one", {"type": "milestone", "people": 1})
    act(world, "POST", "removals", {"userId": "u9", "seconds": 30 * DAY})
    container = launch(world)
    changed(world, world.ecs.change(container, "RUNNING"))
    world.connect("f1", path="/api/ws/analytics/realtime")
    world.connect("f2", path="/api/ws/streams/st1/metrics")
    world.settle()
    world.http("POST", "/v1/erasures", body={"userId": "u9"}, token=world.admin)
    _, message = world.queue.erasures.pop()
    world.invoke("erase", {"Records": [{"body": message}]})
    world.sweep()
    world.emit()
    world.clock.advance(DAY)
    world.beat("s1")
    world.settle()
    world.daily()
    act(world, "POST", "messages", {"text": "hello", "seconds": 86_400})  # the night ends others
    world.settle()
    world.emit()


@pytest.fixture
def full(memory: Engine, worlds: Worlds) -> World:
    world = worlds(memory, **CONTAINERS, **EVENTS)
    live_fully(world)
    return world


def test_every_row_has_the_end_that_is_documented(full: World) -> None:
    now = full.clock() // 1000
    seen = set()
    for kept, row in rows(full):
        seen.add(kept)
        if kept.days is None:
            assert keys.TTL not in row, row
        else:
            assert now - 2 * DAY < row[keys.TTL] <= now + kept.days * DAY, row
    assert seen == set(documented())


def test_what_the_document_says_follows_the_parameters(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, DayRowsDays="10", TimelineDays="2", **CONTAINERS, **EVENTS)
    live_fully(world)
    now = world.clock() // 1000
    longer = {}
    for kept, row in rows(world):
        if kept.days in {30, 400, 401}:
            longer[kept] = max(longer.get(kept, 0), row[keys.TTL] - now)
    assert {kept.prefix: -(-seconds // DAY) for kept, seconds in longer.items()} == {
        "shard#": 10,
        "views": 10,
        "engagement": 10,
        "reading#": 9,
        "": 10,
        "minute#": 1,
        "day#": 9,
        "audit#": 10,
        "events#": 10,
    }


def test_a_space_that_nobody_came_to_for_that_long_is_forgotten(full: World) -> None:
    world = full
    world.clock.advance(401 * DAY)
    world.sweep()
    world.settle()
    world.clock.advance(402 * DAY)
    bin_what_expired(world)
    assert world.filtered("count") == []
    world.publish(world.filtered("publish"))  # a removal that is over wakes it: to no harm
    world.clock.advance(402 * DAY)
    bin_what_expired(world)
    assert world.filtered("publish") == []
    assert {kept for kept, _ in rows(world)} == {one for one in documented() if one.days is None}
    world.clock.advance(60)
    world.beat("s1")
    world.settle()
    head = world.headcount()
    assert (head["people"], head["version"], head["views"]["total"]) == (1, 1, 1)
    assert head["peak"]["people"] == 1


def test_rows_that_are_past_their_end_and_still_there_do_no_harm(full: World) -> None:
    """DynamoDB may come days late: until then a space is as it was, and a visit goes on from it."""
    world = full
    total = world.headcount()["views"]["total"]
    world.clock.advance(500 * DAY)
    head = world.headcount()
    assert head["views"] == {"total": total, "today": 0, "week": 0, "month": 0}
    assert world.get(f"/v1/spaces/{SITE}/days", token=world.admin).body["days"] == []
    assert world.get(f"/v1/spaces/{SITE}/audit", token=world.admin).body["acts"] == []
    assert act(world, "GET", "removals").body["removals"] == []
    assert act(world, "GET", "messages").body["message"] is None
    world.sweep()
    world.settle()
    world.daily()
    assert world.people() == 0
    world.beat("new")
    world.settle()
    head = world.headcount()
    assert (head["people"], head["views"]["total"]) == (1, total + 1)
    bin_what_expired(world)
    world.settle()
    left = world.headcount()  # published once more where a removal went to the bin
    assert {**left, "version": 0, "asOf": 0} == {**head, "version": 0, "asOf": 0}


def test_an_erased_space_of_counters_is_not_brought_back_by_forgetting_them(
    memory_world: World,
) -> None:
    counts = memory_world.services("daily").counts
    counts.forget_views("site:gone", ["2026-11-01"])
    counts.forget_engagement("site:gone", ["2026-11-01#chat"])
    assert memory_world.tables["counts"].rows() == []


def test_the_document_lists_every_table() -> None:
    assert {one.role for one in documented()} == set(template().tables)
    assert json.dumps(documented()).count("null") == 4
