"""The History and Subscriptions tables on each engine."""

from __future__ import annotations

import pytest
from headcount.model.headcount import Point
from headcount.model.visit import Day
from headcount.store.history import HistoryTable
from headcount.store.subscriptions import Subscription, SubscriptionsTable
from headcount.times import DAY, HOUR, MINUTE, day_start
from msgspec.structs import replace

from lab.harness.clock import NOON
from lab.harness.engines import Engine, Table
from lab.harness.template import template

DAY_ROW = Day("2026-11-20", 3, 4, 5, 60, 2, 120)


@pytest.fixture
def history_table(engine: Engine) -> Table:
    return engine.create("history")


@pytest.fixture
def history(history_table: Table) -> HistoryTable:
    client = history_table.engine.client
    return HistoryTable(client, history_table.name, timeline_days=30, day_rows_days=400)


@pytest.fixture
def table(engine: Engine) -> Table:
    return engine.create("subscriptions")


@pytest.fixture
def subscriptions(table: Table) -> SubscriptionsTable:
    return SubscriptionsTable(table.engine.client, table.name)


def test_points_come_back_by_time_both_ends_included(history: HistoryTable) -> None:
    points = [Point("site:main", NOON + number * MINUTE, number, number) for number in range(30)]
    history.add_points([*reversed(points), Point("site:other", NOON, 9, 9)])
    assert history.points("site:main", NOON + 2 * MINUTE, NOON + 4 * MINUTE) == points[2:5]
    assert history.points("site:main", NOON - HOUR, NOON + HOUR) == points


def test_a_minute_that_is_sampled_again_is_replaced(history: HistoryTable) -> None:
    history.add_points([Point("site:main", NOON, 1, 1)])
    history.add_points([Point("site:main", NOON, 2, 3)])
    assert history.points("site:main", NOON, NOON) == [Point("site:main", NOON, 2, 3)]


def test_points_and_days_do_not_mix(history: HistoryTable) -> None:
    history.add_points([Point("site:main", NOON, 1, 1)])
    history.add_days([("site:main", DAY_ROW)])
    assert history.days("site:main", "2000-01-01", "2099-12-31") == [DAY_ROW]
    assert len(history.points("site:main", 0, NOON * 2)) == 1


def test_days_come_back_by_date_both_ends_included(history: HistoryTable) -> None:
    days = [replace(DAY_ROW, date=f"2026-11-{number:02d}") for number in range(1, 21)]
    history.add_days(("site:main", day) for day in days)
    assert history.days("site:main", "2026-11-03", "2026-11-05") == days[2:5]


def test_history_rows_are_deleted_as_many_days_later_as_set(
    history: HistoryTable, history_table: Table
) -> None:
    history.add_points([Point("site:main", NOON, 1, 1)])
    history.add_days([("site:main", DAY_ROW)])
    day, minute = history_table.rows()
    assert minute["ttl"] * 1000 == NOON + 30 * DAY
    assert day["ttl"] * 1000 == day_start("2026-11-20") + 400 * DAY


def test_a_subscriber_is_found_from_both_sides(subscriptions: SubscriptionsTable) -> None:
    subscriptions.connect("c1", reads=["*"], now=NOON)
    subscriptions.add("site:main", "c1", now=NOON + 5)
    subscriptions.add("site:other", "c1", now=NOON + 6)
    assert subscriptions.subscribers("site:main") == [
        Subscription("site:main", "c1", NOON + 5, None)
    ]
    assert list(subscriptions.topics("c1")) == ["site:main", "site:other"]
    assert subscriptions.connected_at("c1") == NOON
    assert subscriptions.connected_at("c2") is None


def test_a_connection_has_its_subscriptions_and_scopes(
    subscriptions: SubscriptionsTable, table: Table
) -> None:
    subscriptions.connect("c1", reads={"site:main", "course:*"}, now=NOON)
    subscriptions.connect("c2", reads=(), now=NOON)
    subscriptions.add("site:main", "c1", now=NOON)
    topics, reads = subscriptions.connection("c1")
    assert (list(topics), list(reads)) == (["site:main"], ["course:*", "site:main"])
    assert list(subscriptions.connection("c2")[1]) == []
    assert list(subscriptions.connection("unknown")[1]) == []


def test_a_connection_whose_rights_are_not_stored_reads_nothing(
    subscriptions: SubscriptionsTable, engine: Engine, table: Table
) -> None:
    subscriptions.connect("c1", reads=["site:main"], now=NOON)
    (row,) = table.rows()
    key = {name: {"S": row[name]} for name in table_keys()}
    engine.client.update_item(
        TableName=table.name,
        Key=key,
        UpdateExpression="REMOVE #reads",
        ExpressionAttributeNames={"#reads": "reads"},
    )
    assert list(subscriptions.connection("c1")[1]) == []


def table_keys() -> list[str]:
    return [one["AttributeName"] for one in template().tables["subscriptions"]["KeySchema"]]


def test_the_last_sent_version_is_stored_for_each_space(subscriptions: SubscriptionsTable) -> None:
    assert subscriptions.delivered_version("site:main") is None
    for version in (3, 4, 2):
        subscriptions.mark_delivered("site:main", version, now=NOON)
    subscriptions.mark_delivered("link:1", 9, now=NOON)
    assert (
        subscriptions.delivered_version("site:main"),
        subscriptions.delivered_version("link:1"),
    ) == (4, 9)
    assert subscriptions.subscribers("site:main") == []


def test_whether_a_topic_has_subscribers_is_known_without_reading_all(
    subscriptions: SubscriptionsTable,
) -> None:
    subscriptions.mark_chunked("site:main", 1, now=NOON)
    assert not subscriptions.has_subscribers("site:main")
    subscriptions.add("site:main", "c1", now=NOON)
    assert subscriptions.has_subscribers("site:main")
    assert not subscriptions.has_subscribers("site:main", 2)
    subscriptions.add("site:main", "c2", now=NOON)
    assert subscriptions.has_subscribers("site:main", 2)


def test_a_greeting_is_noted_with_its_version(subscriptions: SubscriptionsTable) -> None:
    subscriptions.add("site:main", "c1", now=NOON)
    subscriptions.mark_greeted("site:main", "c1", 7)
    assert subscriptions.subscribers("site:main") == [Subscription("site:main", "c1", NOON, 7)]


def test_a_greeting_does_not_restore_an_unsubscribed_connection(
    subscriptions: SubscriptionsTable, table: Table
) -> None:
    subscriptions.add("site:main", "c1", now=NOON)
    subscriptions.remove("site:main", "c1")
    subscriptions.mark_greeted("site:main", "c1", 7)
    assert table.rows() == []


def test_a_disconnect_forgets_that_connection_and_no_other(
    subscriptions: SubscriptionsTable,
) -> None:
    for connection in ("c1", "c10"):
        subscriptions.connect(connection, reads=["*"], now=NOON)
        subscriptions.add("site:main", connection, now=NOON)
    subscriptions.disconnect("c1")
    assert list(subscriptions.topics("c1")) == []
    assert subscriptions.connected_at("c1") is None
    assert [one.connection for one in subscriptions.subscribers("site:main")] == ["c10"]
    assert subscriptions.connected_at("c10") == NOON


def test_subscriptions_outlast_the_longest_connection(
    subscriptions: SubscriptionsTable, table: Table
) -> None:
    subscriptions.connect("c1", reads=["*"], now=NOON)
    subscriptions.add("site:main", "c1", now=NOON)
    assert all(row["ttl"] * 1000 >= NOON + 2 * HOUR for row in table.rows())


def test_a_claim_from_the_future_blocks_no_one(
    subscriptions: SubscriptionsTable,
) -> None:
    assert subscriptions.claim("~streams", now=NOON + DAY)
    assert subscriptions.claim("~streams", now=NOON)
    assert not subscriptions.claim("~streams", now=NOON)
