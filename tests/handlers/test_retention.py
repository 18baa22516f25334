"""Every row of every table expires, or has a reason not to, as documented in docs/privacy.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import pytest
from headcount.store import keys
from headcount.store.attributes import encode

from lab.harness.consumer import EVENTS
from lab.harness.containers import CONTAINERS, changed, launch
from lab.harness.engines import Engine
from lab.harness.template import ROOT, template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act

DAY = 86_400
_LINE = re.compile(r"\| `(\w+)` \| (?:all|`([^`]+)`) \| [^|]+ \| (?:(\d+) days?\b|stays)")


class Kept(NamedTuple):
    """A line of the document's table: a table, a prefix of its keys, and days; None: forever."""

    role: str
    prefix: str
    days: int | None


def documented() -> list[Kept]:
    text = (ROOT / "docs" / "privacy.md").read_text()
    return [
        Kept(role, prefix, int(days) if days else None)
        for role, prefix, days in _LINE.findall(text)
    ]


DISTINGUISHING_KEY = {
    "subscriptions": keys.Subscriptions.PARTITION,
    "streams": keys.Streams.PARTITION,
}
"""The key that distinguishes kinds of rows: the sort key, except in these tables."""


def rows(world: World) -> Iterator[tuple[Kept, dict[str, Any]]]:
    """Every row, with its line of the document."""
    lines = documented()
    for role, found in world.snapshot().items():
        key = DISTINGUISHING_KEY.get(
            role, template().tables[role]["KeySchema"][-1]["AttributeName"]
        )
        for row in found:
            matching = [
                one for one in lines if one.role == role and row[key].startswith(one.prefix)
            ]
            assert len(matching) == 1, (role, row[key])
            yield matching[0], row


def delete_expired(world: World) -> None:
    """Delete expired rows, as DynamoDB does."""
    for role, table in world.tables.items():
        names = [key["AttributeName"] for key in template().tables[role]["KeySchema"]]
        attribute = template().tables[role]["TimeToLiveSpecification"]["AttributeName"]
        for row in table.rows():
            if row.get(attribute, world.clock()) < world.clock() // 1000:
                key = encode({name: row[name] for name in names})
                world.engine.client.delete_item(TableName=table.name, Key=key)


def store_every_kind(world: World) -> None:
    """Rows of every kind."""
    for number in range(60):  # so many facets that they get a separate row
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
    link = {"space": SITE, "expiresIn": 366 * DAY}
    assert world.http("POST", "/v1/shares", body=link, token=world.admin).status == 201
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
    act(
        world, "POST", "messages", {"text": "hello", "seconds": 86_400}
    )  # the daily run ends others
    world.settle()
    world.emit()


@pytest.fixture
def full(memory: Engine, worlds: Worlds) -> World:
    world = worlds(memory, **CONTAINERS, **EVENTS)
    store_every_kind(world)
    return world


def test_every_row_expires_as_documented(full: World) -> None:
    now = full.clock() // 1000
    seen = set()
    for kept, row in rows(full):
        seen.add(kept)
        if kept.days is None:
            assert keys.TTL not in row, row
        else:
            assert now - 2 * DAY < row[keys.TTL] <= now + kept.days * DAY, row
    assert seen == set(documented())


def test_the_document_follows_the_parameters(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Limits="day-rows-days=10,timeline-days=2", **CONTAINERS, **EVENTS)
    store_every_kind(world)
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
        "steps#": 9,
        "day#": 9,
        "use#": 9,
        "audit#": 10,
        "events#": 10,
    }


def test_a_space_without_visits_for_that_long_is_deleted(full: World) -> None:
    world = full
    world.clock.advance(401 * DAY)
    world.sweep()
    world.settle()
    world.clock.advance(402 * DAY)
    delete_expired(world)
    assert world.filtered("count") == []
    world.publish(world.filtered("publish"))  # an expired removal invokes it, without effect
    world.clock.advance(402 * DAY)
    delete_expired(world)
    assert world.filtered("publish") == []
    assert {kept for kept, _ in rows(world)} == {one for one in documented() if one.days is None}
    world.clock.advance(60)
    world.beat("s1")
    world.settle()
    head = world.headcount()
    assert (head["people"], head["version"], head["views"]["total"]) == (1, 1, 1)
    assert head["peak"]["people"] == 1


def test_expired_rows_that_still_exist_do_no_harm(full: World) -> None:
    """DynamoDB may delete rows days late: until then a space is unchanged, and visits go on."""
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
    delete_expired(world)
    world.settle()
    left = world.headcount()  # published once more if a removal expired
    assert {**left, "version": 0, "asOf": 0} == {**head, "version": 0, "asOf": 0}


def test_an_erased_space_of_counters_is_not_brought_back_by_forgetting_them(
    memory_world: World,
) -> None:
    counts = memory_world.services("daily").counts
    counts.delete_views("site:gone", ["2026-11-01"])
    counts.delete_engagement("site:gone", ["2026-11-01#chat"])
    assert memory_world.tables["counts"].rows() == []


def test_the_document_lists_every_table() -> None:
    assert {one.role for one in documented()} == set(template().tables)
    assert json.dumps(documented()).count("null") == 4
