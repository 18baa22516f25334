"""Reads that decide something see the last write, though other reads may lag.

The engine's eventually consistent reads lag by a second, so a read that should be consistent and
is not finds old data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from headcount.model.container import Container
from headcount.model.headcount import Headcount
from headcount.model.session import Facts, Session, Write
from headcount.model.stream import Stream
from headcount.model.tally import Tally
from headcount.model.visit import Visit
from headcount.store.containers import ContainersTable
from headcount.store.counts import CountsTable, ShardCount
from headcount.store.headcounts import HeadcountsTable
from headcount.store.numbers import NumbersTable
from headcount.store.presence import PresenceTable
from headcount.store.streams import StreamsTable
from headcount.store.subscriptions import SubscriptionsTable
from headcount.store.visits import VisitsTable

from lab.harness.clock import NOON, Clock
from lab.harness.engines import Engine
from lab.harness.memory import MemoryDynamoDB
from lab.harness.world import SITE, world_on

SESSION = Session(
    space=SITE,
    shard=0,
    id="s1",
    write=Write.JOIN,
    request="r1",
    facts=Facts(user="u1"),
    joined_at=NOON,
    visit="r1",
    changed_at=NOON,
    last_seen=NOON,
    expires_at=NOON + 60_000,
    beats={"2026-11-21": 1},
)
VISIT = Visit.from_session(SESSION)
# Too many pages for the headcount's own row.
LARGE = {
    "page": {hashlib.sha256(bytes([number])).hexdigest(): (1, 1) for number in range(200)},
}
"""Too many to be in the headcount's own row, also compressed."""


@dataclass
class Stores:
    """Every store on tables of one engine, whose eventually consistent reads lag by a second."""

    engine: Engine

    def __post_init__(self) -> None:
        client = self.engine.client
        names = {
            role: self.engine.create(role).name
            for role in ("presence", "counts", "headcounts", "visits", "subscriptions", "streams")
        }
        self.presence = PresenceTable(client, names["presence"])
        self.counts = CountsTable(client, names["counts"], day_rows_days=400)
        self.headcounts = HeadcountsTable(client, names["headcounts"], day_rows_days=400)
        self.visits = VisitsTable(client, names["visits"], names["counts"], day_rows_days=400)
        self.subscriptions = SubscriptionsTable(client, names["subscriptions"])
        self.containers = ContainersTable(client, names["streams"])
        self.streams = StreamsTable(client, names["streams"])
        self.numbers = NumbersTable(client, names["streams"], day_rows_days=400)


@pytest.fixture
def late(clock: Clock) -> Engine:
    """An engine whose eventually consistent reads lag by a second."""
    database = MemoryDynamoDB(clock)
    database.lag = 1000
    return Engine("memory", database.connect)


def join(stores: Stores) -> None:
    assert stores.presence.replace(None, SESSION)[0]


def count(stores: Stores) -> None:
    assert stores.counts.save(ShardCount(SITE, 0, version=1, tally=Tally(sessions=1, anonymous=1)))


def publish(stores: Stores, **facets: Any) -> None:
    tally = Tally(sessions=1, anonymous=1, facets=facets)
    assert stores.headcounts.save(Headcount(SITE, version=1, tally=tally, as_of=NOON))


def subscribe(stores: Stores) -> None:
    stores.subscriptions.connect("c1", reads=["*"], now=NOON)
    stores.subscriptions.add(SITE, "c1", now=NOON)


READS: dict[str, tuple[Callable[[Stores], object], Callable[[Stores], object]]] = {
    "a session": (join, lambda stores: stores.presence.get(SITE, 0, "s1")),
    "a session in any shard": (join, lambda stores: stores.presence.find(SITE, 2, "s1")),
    "a shard's sessions": (join, lambda stores: stores.presence.partition(SITE, 0)),
    "a user's sessions": (
        join,
        lambda stores: stores.presence.with_identity(SITE, 0, "user", "u1"),
    ),
    "a page of sessions": (
        join,
        lambda stores: stores.presence.page(SITE, 0, limit=5, after=None)[0],
    ),
    "every session": (
        join,
        lambda stores: [row for page in stores.presence.scan() for row in page],
    ),
    "a shard's count": (count, lambda stores: stores.counts.shard(SITE, 0).version),
    "a space's counts": (count, lambda stores: stores.counts.space(SITE).shards),
    "a headcount": (publish, lambda stores: stores.headcounts.get(SITE).version),
    "a headcount's many facets": (
        lambda stores: publish(stores, **LARGE),
        lambda stores: stores.headcounts.get(SITE).tally.facets,
    ),
    "many headcounts": (publish, lambda stores: stores.headcounts.many([SITE])),
    "a space's subscribers": (subscribe, lambda stores: stores.subscriptions.subscribers(SITE)),
    "a connection's subscriptions": (
        subscribe,
        lambda stores: list(stores.subscriptions.topics("c1")),
    ),
    "when a connection came": (subscribe, lambda stores: stores.subscriptions.connected_at("c1")),
    "which visits are known": (
        lambda stores: stores.visits.record([VISIT]),
        lambda stores: stores.visits.recorded([VISIT]),
    ),
    "a container": (
        lambda stores: stores.containers.save(
            Container("t1", "e1", 1, "RUNNING", "RUNNING"), now=NOON
        ),
        lambda stores: stores.containers.get("t1"),
    ),
    "a stream": (
        lambda stores: stores.streams.save(None, Stream("st1", NOON)),
        lambda stores: stores.streams.get("st1"),
    ),
    "every stream": (
        lambda stores: stores.streams.save(None, Stream("st1", NOON)),
        lambda stores: stores.streams.all(),
    ),
    "a channel's streams": (
        lambda stores: stores.streams.save(None, replace(Stream("st1", NOON), channel="ch1")),
        lambda stores: stores.streams.of_channel("ch1"),
    ),
    "how far the numbers of events go": (
        lambda stores: stores.numbers.number(SITE, ["0" * 24], now=NOON),
        lambda stores: stores.numbers.last(SITE),
    ),
}


@pytest.mark.parametrize("what", READS)
def test_a_read_that_decides_sees_the_last_write(late: Engine, what: str) -> None:
    write, read = READS[what]
    stores = Stores(late)
    assert not read(stores)
    write(stores)
    assert read(stores)


def test_an_event_finds_its_number_though_reads_lag(late: Engine) -> None:
    numbers = Stores(late).numbers
    for event, number in (("a" * 24, 1), ("b" * 24, 2), ("c" * 24, 3), ("a" * 24, 1)):
        assert numbers.number(SITE, [event], now=NOON) == {event: number}


def test_all_numbers_are_correct_while_reads_lag(late: Engine, clock: Clock) -> None:
    with world_on(late, clock) as world:
        world.subscribe("c1")
        for number in range(5):
            world.beat(f"s{number}", visitorId=f"v{number % 3}", seq=1)
            world.settle()
            clock.advance(2)
        world.leave("s0", seq=2)
        world.beat("s0", visitorId="v0", seq=1)  # it was on its way when the tab closed
        world.settle()
        assert world.headcount()["sessions"] == 4
        clock.advance(58)
        world.beat("s4", visitorId="v1", seq=2)
        world.sweep()
        world.settle()
        assert world.live_sessions() == ["s4"]
        assert world.headcount()["sessions"] == 1
        assert world.headcount()["views"]["total"] == 5
        versions = world.versions("c1")
        assert versions == sorted(versions)
        assert set(versions) == set(range(versions[-1] + 1))
