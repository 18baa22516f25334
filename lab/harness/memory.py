"""DynamoDB in memory: the calls that the product and its tests make, with DynamoDB's answers.

``tests/stores`` and ``tests/unit/test_memory_engine.py`` check it against DynamoDB Local; it is
about a hundred times as fast. What it does not support raises TypeError or NotImplementedError.

    from lab.harness.engines import Engine
    from lab.harness.memory import MemoryDynamoDB

    database = MemoryDynamoDB(clock)  # epoch milliseconds; without it, the machine's clock
    with world_on(Engine("memory", database.connect), clock) as world:
        world.beat("s1")
        world.settle()
        database.expire(clock(), lag=3_600)  # TTL deletes what was due an hour ago

``Engine.create(role)`` creates a table, and ``Table.new_records()`` reads its stream. Without them,
``database.client`` stands in for boto3's client; its ``meta.events`` calls handlers as boto3 does
(``before-parameter-build.dynamodb.PutItem``, where a handler may raise an error to inject it, and
``after-call.dynamodb.PutItem``).

``database.lag`` (milliseconds) makes eventually consistent reads see every item as it was that long
ago; by default they see every write at once. ``database.trim()`` drops the streams' records when
they have been read. Do not change the contents of an answer.
"""

# ruff: noqa: N803 - the parameters have DynamoDB's names

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from itertools import takewhile
from threading import RLock
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from botocore.hooks import HierarchicalEmitter

from lab.harness.expressions import (
    InvalidError,
    Item,
    KeyTerm,
    Plan,
    Value,
    comparable,
    normal,
    plan,
    project,
    refuse,
)
from lab.harness.sizes import item_size, value_size

Key = tuple[Any, Any]
"""Partition and sort key as Python values; the sort key is empty if a table has none."""
Row = tuple[Item, int]
"""An item and its size in bytes."""
Answer = dict[str, Any]

_ITEM_BYTES = 400 * 1024
_PAGE_BYTES = 1024 * 1024
_BATCH_BYTES = 16 * 1024 * 1024
_TRANSACTION_BYTES = 4 * 1024 * 1024
_READ_UNIT = 4096
_WRITE_UNIT = 1024
_TTL_HORIZON = 5 * 365 * 86_400
_KEY_BYTES = (2048, 1024)
_CONDITION = "ConditionalCheckFailed"


class RefusedError(Exception):
    """An error answer: its code, its message, and further fields."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.more = more


_BATCH_ROWS = 100


class MemoryDynamoDB:
    """Tables and their streams. Threads may share it.

    ``batch_rows``: how many items a BatchGetItem returns; the others are UnprocessedKeys.
    """

    batch_rows = _BATCH_ROWS

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.clock = clock or (lambda: time.time_ns() // 1_000_000)
        self.lag = 0
        self.lock = RLock()
        self.tables: dict[str, MemoryTable] = {}
        self.client = MemoryClient(self)
        self.streams = MemoryStreams(self)

    def connect(self) -> tuple[Any, Any]:
        """A new client, with its own ``meta.events``, and one for the streams."""
        return MemoryClient(self), MemoryStreams(self)

    def expire(self, now: int, *, lag: int = 0) -> int:
        """Delete, as TTL, items due ``lag`` seconds before ``now`` (ms); returns how many."""
        with self.lock:
            return sum(table.expire(now // 1000 - lag) for table in self.tables.values())

    def trim(self) -> None:
        """Drop every stream's records."""
        with self.lock:
            for table in self.tables.values():
                table.trimmed += len(table.records)
                table.records.clear()

    def table(self, name: str) -> MemoryTable:
        """The table of that name."""
        try:
            return self.tables[name]
        except KeyError:
            raise RefusedError(
                "ResourceNotFoundException", f"Requested resource not found: Table: {name}"
            ) from None

    def horizon(self, consistent: bool) -> int | None:
        """The time (ms) whose state a read sees; None: the current state."""
        return None if consistent or not self.lag else self.clock() - self.lag


# ------------------------------------------------------------------------------------------ rows


@dataclass(slots=True)
class _Partition:
    """The rows under one partition key, by sort key."""

    rows: dict[Any, Row] = field(default_factory=dict)
    sorts: list[Any] = field(default_factory=list)


class _Rows:
    """Rows in partitions, and their recent former values."""

    def __init__(self) -> None:
        self._partitions: dict[Any, _Partition] = {}
        self._order: list[tuple[bytes, Any]] = []
        # By partition and sort key: when a row was written, and its value before that.
        self._before: dict[Any, dict[Any, list[tuple[int, Row | None]]]] = {}

    def get(self, key: Key, horizon: int | None = None) -> Row | None:
        """The row under a key, at a time."""
        hash_, sort = key
        partition = self._partitions.get(hash_)
        row = partition.rows.get(sort) if partition else None
        if horizon is not None:
            for at, before in self._before.get(hash_, {}).get(sort, ()):
                if at > horizon:
                    return before
        return row

    def put(self, key: Key, row: Row | None) -> None:
        """Write or (None) delete the row under a key."""
        hash_, sort = key
        partition = self._partitions.get(hash_)
        if partition is None:
            if row is None:
                return
            partition = self._partitions[hash_] = _Partition()
            insort(self._order, _place(hash_))
        if row is not None:
            if sort not in partition.rows:
                insort(partition.sorts, sort)
            partition.rows[sort] = row
        elif partition.rows.pop(sort, None) is not None:
            del partition.sorts[bisect_left(partition.sorts, sort)]
            if not partition.rows:
                del self._partitions[hash_]
                del self._order[bisect_left(self._order, _place(hash_))]

    def remember(self, key: Key, now: int, lag: int) -> None:
        """Keep the row under a key for reads that lag; forget values that none can see any more."""
        hash_, sort = key
        kept = self._before.setdefault(hash_, {}).setdefault(sort, [])
        kept[:] = [one for one in kept if one[0] > now - lag]
        kept.append((now, self.get(key)))

    def partition(self, hash_: Any, horizon: int | None) -> _Partition:
        """A partition at a time."""
        partition = self._partitions.get(hash_) or _Partition()
        before = self._before.get(hash_)
        if horizon is None or not before:
            return partition
        rows = {
            sort: row
            for sort in partition.rows.keys() | before.keys()
            if (row := self.get((hash_, sort), horizon))
        }
        return _Partition(rows, sorted(rows))

    def scan(self, start: Key | None, horizon: int | None) -> Iterator[tuple[Key, Row]]:
        """Every row after ``start``, in an order that is arbitrary but does not change."""
        order = self._order
        if horizon is not None:
            order = sorted({*order, *map(_place, self._before)})
        first = 0 if start is None else bisect_left(order, _place(start[0]))
        for _, hash_ in order[first:]:
            partition = self.partition(hash_, horizon)
            begin = (
                bisect_right(partition.sorts, start[1])
                if start is not None and hash_ == start[0]
                else 0
            )
            for sort in partition.sorts[begin:]:
                yield (hash_, sort), partition.rows[sort]


def _place(hash_: Any) -> tuple[bytes, Any]:
    return blake2b(repr(hash_).encode(), digest_size=8).digest(), hash_


def _segment(hash_: Any, segments: int) -> int:
    """A partition's segment of a parallel scan; as in DynamoDB, a partition is in one segment."""
    return int.from_bytes(_place(hash_)[0]) * segments >> 64


@dataclass
class _Schema:
    """The key attributes of a table or an index, and their types."""

    attributes: tuple[str, ...]
    types: Mapping[str, str]

    @classmethod
    def of(cls, schema: list[Answer], definitions: list[Answer]) -> _Schema:
        """From the parameters of CreateTable."""
        types = {one["AttributeName"]: one["AttributeType"] for one in definitions}
        parts = {one["KeyType"]: one["AttributeName"] for one in schema}
        names = (parts["HASH"], parts["RANGE"]) if "RANGE" in parts else (parts["HASH"],)
        return cls(names, {name: types[name] for name in names})

    def part(self, item: Item, index: int) -> Any:
        """A key attribute of an item as a Python value; it must be present and valid."""
        name = self.attributes[index]
        value = item.get(name)
        if value is None:
            refuse(f"One or more parameter values were invalid: Missing the key {name} in the item")
        ((kind, inner),) = value.items()
        if kind != self.types[name]:
            refuse(f"One or more parameter values were invalid: Type mismatch for key {name}")
        if kind != "N":
            if not inner:
                refuse(f"One or more parameter values are not valid: the key {name} is empty")
            if len(inner) * 4 > _KEY_BYTES[index] and value_size(value) > _KEY_BYTES[index]:
                refuse(f"One or more parameter values were invalid: the key {name} is too long")
        return comparable(value)

    def key(self, item: Item) -> Key:
        """An item's key."""
        return self.part(item, 0), self.part(item, 1) if len(self.attributes) > 1 else ""

    def named(self, key: Mapping[str, Value]) -> Key:
        """The key in a request, which must have these attributes and no others."""
        if key.keys() != self.types.keys():
            refuse("The provided key element does not match the schema")
        return self.key({name: normal(value) for name, value in key.items()})

    def cut(self, item: Item) -> Item:
        """Only the key attributes."""
        return {name: item[name] for name in self.attributes}


class _Index:
    """A global secondary index: the items that have its key attributes."""

    def __init__(self, spec: Answer, definitions: list[Answer], table: _Schema) -> None:
        self.schema = _Schema.of(spec["KeySchema"], definitions)
        self.keys = tuple(dict.fromkeys((*self.schema.attributes, *table.attributes)))
        self.rows = _Rows()
        self._projection: str = spec["Projection"]["ProjectionType"]
        if self._projection == "INCLUDE":
            raise NotImplementedError("the memory engine's indexes project all attributes or keys")

    def accepts(self, item: Item) -> bool:
        """Whether it contains an item; invalid key attributes are refused."""
        for index, name in enumerate(self.schema.attributes):
            if name in item:
                self.schema.part(item, index)
        return self.schema.types.keys() <= item.keys()

    def place(self, item: Item, key: Key) -> Key:
        """An item's place in it. The table's key distinguishes items with the same index key."""
        hash_, sort = self.schema.key(item)
        return hash_, (sort, *key)

    def projected(self, item: Item) -> Item:
        """An item with the projected attributes."""
        return item if self._projection == "ALL" else {name: item[name] for name in self.keys}


class MemoryTable:
    """A table: its rows, its indexes, its stream's records."""

    def __init__(self, database: MemoryDynamoDB, params: Mapping[str, Any]) -> None:
        self._database = database
        self.name: str = params["TableName"]
        definitions = params["AttributeDefinitions"]
        self.schema = _Schema.of(params["KeySchema"], definitions)
        self.rows = _Rows()
        self.indexes: dict[str, _Index] = {
            one["IndexName"]: _Index(one, definitions, self.schema)
            for one in params.get("GlobalSecondaryIndexes", ())
        }
        self.view: str | None = params.get("StreamSpecification", {}).get("StreamViewType")
        self.records: list[Answer] = []
        self.trimmed = 0
        self.ttl: str | None = None

    @property
    def stream(self) -> str:
        """The stream's ARN."""
        table = f"arn:aws:dynamodb:us-east-1:123456789012:table/{self.name}"
        return f"{table}/stream/2026-11-21T00:00:00"

    def resized(self, old: Row | None, new: Item, changed: Iterable[str] | None = None) -> Row:
        """An item with its size. ``changed``: the only attributes that may differ from the old."""
        if old is None or changed is None:
            return new, item_size(new)
        before, size = old
        for name in changed:
            one, other = before.get(name), new.get(name)
            if one is not None:
                size -= value_size(one) + len(name.encode())
            if other is not None:
                size += value_size(other) + len(name.encode())
        return new, size

    def accept(self, item: Item) -> None:
        """Refuse an item that is invalid for an index."""
        for index in self.indexes.values():
            index.accepts(item)

    def write(self, key: Key, old: Row | None, new: Row | None, **identity: Any) -> float:
        """Replace a row (None: there is none), and update indexes and stream.

        Returns the write units.
        """
        now = self._database.clock()
        lag = self._database.lag
        units = float(_units(max(row[1] for row in (old, new, (None, 1)) if row), _WRITE_UNIT))
        if lag:
            self.rows.remember(key, now, lag)
        self.rows.put(key, new)
        for index in self.indexes.values():
            units += self._update_index(index, key, old, new, now)
        if self.view is not None and (old and old[0]) != (new and new[0]):
            self.records.append(self._record(old, new, now, identity))
        return units

    def _update_index(
        self, index: _Index, key: Key, old: Row | None, new: Row | None, now: int
    ) -> float:
        """Apply a write to an index; returns the units that this takes."""
        places: dict[Key, Row | None] = {}
        before = index.projected(old[0]) if old and index.accepts(old[0]) else None
        after = index.projected(new[0]) if new and index.accepts(new[0]) else None
        if before == after:
            return 0.0
        if before is not None:
            places[index.place(before, key)] = None
        if after is not None:
            places[index.place(after, key)] = after, item_size(after)
        for place, row in places.items():
            if self._database.lag:
                index.rows.remember(place, now, self._database.lag)
            index.rows.put(place, row)
        size = max(item_size(item) for item in (before, after) if item is not None)
        return float(len(places) * _units(size, _WRITE_UNIT))

    def _record(
        self, old: Row | None, new: Row | None, now: int, identity: Mapping[str, Any]
    ) -> Answer:
        number = self.trimmed + len(self.records) + 1
        some = new or old
        assert some is not None
        keys = self.schema.cut(some[0])
        size = item_size(keys)
        images: Answer = {}
        if new is not None and self.view in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
            images["NewImage"] = new[0]
            size += new[1]
        if old is not None and self.view in {"OLD_IMAGE", "NEW_AND_OLD_IMAGES"}:
            images["OldImage"] = old[0]
            size += old[1]
        return {
            "eventID": blake2b(f"{self.name} {number}".encode(), digest_size=16).hexdigest(),
            "eventName": "INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": now // 1000,  # as Lambda passes it
                "Keys": keys,
                **images,
                "SequenceNumber": f"{number:021d}",
                "SizeBytes": size,
                "StreamViewType": self.view,
            },
            **identity,
        }

    def expire(self, due: int) -> int:
        """Delete the items due at a time (epoch seconds), as TTL does; returns how many."""
        if self.ttl is None:
            return 0
        service = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
        expired = [
            (key, row)
            for key, row in self.rows.scan(None, None)
            if "N" in (value := row[0].get(self.ttl, {}))
            and due - _TTL_HORIZON < float(value["N"]) <= due
        ]
        for key, row in expired:
            self.write(key, row, None, userIdentity=service)
        return len(expired)


def _units(size: int, unit: int) -> int:
    return max(1, -(-size // unit))


# ----------------------------------------------------------------------------------------- client


class MemoryClient:
    """The part of boto3's DynamoDB client that the product and its tests use."""

    def __init__(self, database: MemoryDynamoDB) -> None:
        self._database = database

    @cached_property
    def meta(self) -> SimpleNamespace:
        """The ``events``. Without them, which few use, a call takes half of the time."""
        return SimpleNamespace(events=HierarchicalEmitter())

    def close(self) -> None:
        """Nothing is open."""

    def get_paginator(self, operation: str) -> MemoryPaginator:
        """Pages of ``query`` or ``scan``."""
        return MemoryPaginator(getattr(self, operation))

    def create_table(self, **params: Any) -> Answer:
        """CreateTable; the table is active at once."""
        return self._call("CreateTable", _create_table, params)

    def describe_table(self, **params: Any) -> Answer:
        """DescribeTable, with the ARN of the stream."""
        return self._call("DescribeTable", _describe_table, params)

    def update_time_to_live(self, **params: Any) -> Answer:
        """UpdateTimeToLive, for ``MemoryDynamoDB.expire``."""
        return self._call("UpdateTimeToLive", _update_time_to_live, params)

    def get_item(self, **params: Any) -> Answer:
        """GetItem."""
        return self._call("GetItem", _get_item, params)

    def put_item(self, **params: Any) -> Answer:
        """PutItem."""
        return self._call("PutItem", _put_item, params)

    def update_item(self, **params: Any) -> Answer:
        """UpdateItem."""
        return self._call("UpdateItem", _update_item, params)

    def delete_item(self, **params: Any) -> Answer:
        """DeleteItem."""
        return self._call("DeleteItem", _delete_item, params)

    def query(self, **params: Any) -> Answer:
        """Query."""
        return self._call("Query", _query, params)

    def scan(self, **params: Any) -> Answer:
        """Scan."""
        return self._call("Scan", _scan, params)

    def batch_get_item(self, **params: Any) -> Answer:
        """BatchGetItem."""
        return self._call("BatchGetItem", _batch_get_item, params)

    def batch_write_item(self, **params: Any) -> Answer:
        """BatchWriteItem."""
        return self._call("BatchWriteItem", _batch_write_item, params)

    def transact_write_items(self, **params: Any) -> Answer:
        """TransactWriteItems."""
        return self._call("TransactWriteItems", _transact_write_items, params)

    def _call(self, operation: str, act: Callable[..., Answer], params: dict[str, Any]) -> Answer:
        emit = self.meta.events.emit if "meta" in vars(self) else None
        if emit is not None:
            model = SimpleNamespace(name=operation)
            event = f"before-parameter-build.dynamodb.{operation}"
            emit(event, params=params, model=model, context={})
        with self._database.lock:
            try:
                answer, status = act(self._database, **params), 200
            except InvalidError as error:
                answer, status = _error("ValidationException", str(error)), 400
            except RefusedError as error:
                answer, status = _error(error.code, str(error), **error.more), 400
        answer["ResponseMetadata"] = {"HTTPStatusCode": status, "RetryAttempts": 0}
        if emit is not None:
            emit(f"after-call.dynamodb.{operation}", parsed=answer, model=model, context={})
        if "Error" in answer:
            raise ClientError(answer, operation)  # type: ignore[arg-type]
        return answer


def _error(code: str, message: str, **more: Any) -> Answer:
    return {"Error": {"Code": code, "Message": message}, **more}


class MemoryPaginator:
    """Pages until the last. Like our own client's, it has no ``PaginationConfig``, which is
    botocore's and no service's."""

    def __init__(self, operation: Callable[..., Answer]) -> None:
        self._operation = operation

    def paginate(self, **params: Any) -> Iterator[Answer]:
        """The answers, one per page."""
        while True:
            page = self._operation(**params)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            params["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _as_read(change: Answer) -> Answer:
    at = datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC)
    return {**change, "ApproximateCreationDateTime": at}


class MemoryStreams:
    """boto3's DynamoDB Streams client, with one shard per table that is never closed."""

    def __init__(self, database: MemoryDynamoDB) -> None:
        self._database = database

    def close(self) -> None:
        """Nothing is open."""

    def describe_stream(self, *, StreamArn: str) -> Answer:
        """The stream's shard."""
        self._table(StreamArn)
        shard = {"ShardId": "shardId-00000000000000000000-00000000"}
        return {"StreamDescription": {"StreamArn": StreamArn, "Shards": [shard]}}

    def get_shard_iterator(
        self,
        *,
        StreamArn: str,
        ShardId: str,  # noqa: ARG002 - there is one
        ShardIteratorType: str,
    ) -> Answer:
        """From the oldest record (``TRIM_HORIZON``) or after the newest (``LATEST``)."""
        table = self._table(StreamArn)
        newest = table.trimmed + len(table.records)
        at = {"TRIM_HORIZON": table.trimmed, "LATEST": newest}[ShardIteratorType]
        return {"ShardIterator": f"{StreamArn}|{at}"}

    def get_records(self, *, ShardIterator: str, Limit: int = 1000) -> Answer:
        """The next records."""
        arn, _, position = ShardIterator.rpartition("|")
        table = self._table(arn)
        with self._database.lock:
            first = max(int(position) - table.trimmed, 0)
            found = table.records[first : first + Limit]
        following = table.trimmed + first + len(found)
        records = [{**one, "dynamodb": _as_read(one["dynamodb"])} for one in found]
        return {"Records": records, "NextShardIterator": f"{arn}|{following}"}

    def _table(self, arn: str) -> MemoryTable:
        return self._database.tables[arn.partition(":table/")[2].partition("/")[0]]


# --------------------------------------------------------------------------------------- operations


def _create_table(
    database: MemoryDynamoDB, *, TableName: str, BillingMode: str = "PROVISIONED", **params: Any
) -> Answer:
    if TableName in database.tables:
        raise RefusedError("ResourceInUseException", f"Table already exists: {TableName}")
    database.tables[TableName] = MemoryTable(database, {"TableName": TableName, **params})
    return {"TableDescription": {"TableName": TableName, "TableStatus": "ACTIVE"}}


def _describe_table(database: MemoryDynamoDB, *, TableName: str) -> Answer:
    table = database.table(TableName)
    described = {"TableName": TableName, "TableStatus": "ACTIVE"}
    if table.view is not None:
        described["LatestStreamArn"] = table.stream
    return {"Table": described}


def _update_time_to_live(
    database: MemoryDynamoDB, *, TableName: str, TimeToLiveSpecification: Mapping[str, Any]
) -> Answer:
    enabled = TimeToLiveSpecification["Enabled"]
    attribute = TimeToLiveSpecification["AttributeName"]
    database.table(TableName).ttl = attribute if enabled else None
    return {"TimeToLiveSpecification": TimeToLiveSpecification}


def _get_item(
    database: MemoryDynamoDB,
    *,
    TableName: str,
    Key: Item,
    ConsistentRead: bool = False,
    ProjectionExpression: str | None = None,
    ExpressionAttributeNames: Mapping[str, str] | None = None,
    ReturnConsumedCapacity: str = "NONE",
) -> Answer:
    wanted = _plan(ExpressionAttributeNames, None, projection=ProjectionExpression)[0]
    table = database.table(TableName)
    row = table.rows.get(table.schema.named(Key), database.horizon(ConsistentRead))
    units = _read_units([row[1] if row else 0], ConsistentRead)
    answer = _consumed(ReturnConsumedCapacity, {TableName: units})
    if row is not None:
        answer["Item"] = _projected(row[0], wanted)
    return answer


@dataclass(slots=True)
class _Write:
    """A valid write: of a call, or of one action of a transaction."""

    table: MemoryTable
    key: Key
    given: Item  # the item of a put, else the key
    kind: str
    plan: Plan
    values: Item
    returns_old: bool

    def check(self) -> Row | None:
        """The current row, if the condition holds; else RefusedError."""
        old = self.table.rows.get(self.key)
        condition = self.plan.condition
        if condition is not None and not condition(old[0] if old else {}, self.values):
            item = {"Item": dict(old[0])} if self.returns_old and old else {}
            raise RefusedError(f"{_CONDITION}Exception", "The conditional request failed", **item)
        return old

    def outcome(self, old: Row | None) -> Row | None:
        """The row after the write."""
        if self.kind == "ConditionCheck":
            return old
        if self.kind == "Delete":
            return None
        if self.kind == "Put":
            return self._limited(self.table.resized(None, self.given))
        if (update := self.plan.update) is None:
            return old or self.table.resized(None, self.given)
        new = update.apply(old[0] if old else self.given, self.values)
        self.table.accept(new)
        return self._limited(self.table.resized(old, new, update.attributes()))

    def _limited(self, row: Row) -> Row:
        if row[1] > _ITEM_BYTES:
            refuse("Item size has exceeded the maximum allowed size")
        return row


def _write(
    database: MemoryDynamoDB,
    kind: str,
    *,
    TableName: str,
    Item: Item | None = None,
    Key: Item | None = None,
    ConditionExpression: str | None = None,
    UpdateExpression: str | None = None,
    ExpressionAttributeNames: Mapping[str, str] | None = None,
    ExpressionAttributeValues: Item | None = None,
    ReturnValuesOnConditionCheckFailure: str = "NONE",
) -> _Write:
    """A write with these parameters; they must be valid."""
    made, values = _plan(
        ExpressionAttributeNames,
        ExpressionAttributeValues,
        condition=ConditionExpression,
        update=UpdateExpression,
    )
    table = database.table(TableName)
    if kind == "Put":
        if Item is None or UpdateExpression is not None:
            raise TypeError("a put takes an item and no update")
        given = {name: normal(value) for name, value in Item.items()}
        key = table.schema.key(given)
        table.accept(given)
    else:
        if Key is None or Item is not None:
            raise TypeError(f"{kind} takes a key and no item")
        key = table.schema.named(Key)
        given = {name: normal(value) for name, value in Key.items()}
    if made.update and (locked := made.update.attributes() & table.schema.types.keys()):
        refuse(f"Cannot update attribute {locked.pop()}. This attribute is part of the key")
    returns_old = ReturnValuesOnConditionCheckFailure == "ALL_OLD"
    return _Write(table, key, given, kind, made, values, returns_old)


def _single(
    database: MemoryDynamoDB,
    kind: str,
    *,
    ReturnValues: str = "NONE",
    ReturnConsumedCapacity: str = "NONE",
    **params: Any,
) -> Answer:
    write = _write(database, kind, **params)
    old = write.check()
    new = write.outcome(old)
    units = write.table.write(write.key, old, new)
    answer = _consumed(ReturnConsumedCapacity, {write.table.name: units})
    if ReturnValues == "ALL_OLD" and old is not None:
        answer["Attributes"] = dict(old[0])
    elif ReturnValues == "ALL_NEW" and new is not None and kind == "Update":
        answer["Attributes"] = dict(new[0])
    elif ReturnValues not in {"NONE", "ALL_OLD"}:
        raise NotImplementedError(f"the memory engine does not return {ReturnValues} of a {kind}")
    return answer


def _put_item(database: MemoryDynamoDB, **params: Any) -> Answer:
    return _single(database, "Put", **params)


def _update_item(database: MemoryDynamoDB, **params: Any) -> Answer:
    return _single(database, "Update", **params)


def _delete_item(database: MemoryDynamoDB, **params: Any) -> Answer:
    return _single(database, "Delete", **params)


def _transact_write_items(
    database: MemoryDynamoDB,
    *,
    TransactItems: list[dict[str, dict[str, Any]]],
    ReturnConsumedCapacity: str = "NONE",
) -> Answer:
    if not 1 <= len(TransactItems) <= 100:
        refuse("Member must have length less than or equal to 100, and not be empty")
    writes = [
        _write(database, kind, **params) for one in TransactItems for kind, params in one.items()
    ]
    if len({(write.table.name, write.key) for write in writes}) < len(writes):
        refuse("Transaction request cannot include multiple operations on one item")
    outcomes: list[tuple[Row | None, Row | None]] = []
    reasons: list[Answer] = []
    for write in writes:
        reason: Answer = {"Code": "None"}
        try:
            old = write.check()
            outcomes.append((old, write.outcome(old)))
        except RefusedError as error:
            reason = {"Code": _CONDITION, "Message": str(error), **error.more}
        except InvalidError as error:
            reason = {"Code": "ValidationError", "Message": str(error)}
        reasons.append(reason)
    if len(outcomes) < len(writes):
        codes = ", ".join(reason["Code"] for reason in reasons)
        raise RefusedError(
            "TransactionCanceledException",
            "Transaction cancelled, please refer cancellation reasons for specific reasons "
            f"[{codes}]",
            CancellationReasons=reasons,
        )
    if sum(new[1] for _, new in outcomes if new) > _TRANSACTION_BYTES:
        refuse("The aggregated size of the items of a transaction cannot exceed 4 MB")
    units: dict[str, float] = {}
    for write, (old, new) in zip(writes, outcomes, strict=True):
        if write.kind == "ConditionCheck":
            cost = float(_units(old[1] if old else 0, _WRITE_UNIT))
        else:
            cost = write.table.write(write.key, old, new)
        units[write.table.name] = units.get(write.table.name, 0.0) + 2 * cost
    return _consumed(ReturnConsumedCapacity, units, as_list=True)


def _batch_get_item(
    database: MemoryDynamoDB,
    *,
    RequestItems: Mapping[str, Mapping[str, Any]],
    ReturnConsumedCapacity: str = "NONE",
) -> Answer:
    if not 1 <= sum(len(params["Keys"]) for params in RequestItems.values()) <= _BATCH_ROWS:
        refuse("Too many items requested for the BatchGetItem call, or none")
    answer: Answer = {"Responses": {}, "UnprocessedKeys": {}}
    units: dict[str, float] = {}
    bytes_left = _BATCH_BYTES
    for name, params in RequestItems.items():
        if extra := params.keys() - {"Keys", "ConsistentRead"}:
            raise TypeError(f"the memory engine's BatchGetItem takes no {extra}")
        table = database.table(name)
        consistent = params.get("ConsistentRead", False)
        keys = {table.schema.named(key): key for key in params["Keys"]}
        if len(keys) < len(params["Keys"]):
            refuse("Provided list of item keys contains duplicates")
        sizes: list[int] = []
        found: list[Item] = []
        later: list[Item] = []
        for key, named in keys.items():
            row = table.rows.get(key, database.horizon(consistent))
            size = row[1] if row else 0
            if size > bytes_left or len(sizes) == database.batch_rows:
                later.append(named)
                continue
            bytes_left -= size
            sizes.append(size)
            if row is not None:
                found.append(dict(row[0]))
        answer["Responses"][name] = found
        if later:
            answer["UnprocessedKeys"][name] = {**params, "Keys": later}
        units[name] = sum(_read_units([size], consistent) for size in sizes)
    return answer | _consumed(ReturnConsumedCapacity, units, as_list=True)


def _batch_write_item(
    database: MemoryDynamoDB,
    *,
    RequestItems: Mapping[str, list[dict[str, Any]]],
    ReturnConsumedCapacity: str = "NONE",
) -> Answer:
    if not 1 <= sum(map(len, RequestItems.values())) <= 25:
        refuse("Too many items requested for the BatchWriteItem call, or none")
    kinds = {"PutRequest": "Put", "DeleteRequest": "Delete"}
    writes = [
        _write(database, kinds[kind], TableName=name, **params)
        for name, requests in RequestItems.items()
        for request in requests
        for kind, params in request.items()
    ]
    if len({(write.table.name, write.key) for write in writes}) < len(writes):
        refuse("Provided list of item keys contains duplicates")
    rows = [(write, old := write.check(), write.outcome(old)) for write in writes]
    units: dict[str, float] = {}
    for write, old, new in rows:
        cost = write.table.write(write.key, old, new)
        units[write.table.name] = units.get(write.table.name, 0.0) + cost
    return {"UnprocessedItems": {}} | _consumed(ReturnConsumedCapacity, units, as_list=True)


def _query(
    database: MemoryDynamoDB,
    *,
    TableName: str,
    KeyConditionExpression: str,
    IndexName: str | None = None,
    ConsistentRead: bool = False,
    ScanIndexForward: bool = True,
    FilterExpression: str | None = None,
    ProjectionExpression: str | None = None,
    ExpressionAttributeNames: Mapping[str, str] | None = None,
    ExpressionAttributeValues: Item | None = None,
    Limit: int | None = None,
    ExclusiveStartKey: Item | None = None,
    ReturnConsumedCapacity: str = "NONE",
) -> Answer:
    made, values = _plan(
        ExpressionAttributeNames,
        ExpressionAttributeValues,
        filter_=FilterExpression,
        keys=KeyConditionExpression,
        projection=ProjectionExpression,
    )
    source = _source(database, TableName, IndexName, ConsistentRead)
    hash_, term = _key_condition(source.schema, made.keys or [], values)
    partition = source.rows.partition(hash_, database.horizon(ConsistentRead))
    low, high = source.bounds(partition.sorts, term, values)
    if ExclusiveStartKey is not None:
        start = source.place(ExclusiveStartKey)
        if start[0] != hash_:
            refuse("The provided starting key is outside query boundaries based on the condition")
        if source.bounds([start[1]], term, values) != (0, 1):
            refuse("The provided starting key does not match the range key predicate")
        if ScanIndexForward:
            low = max(low, bisect_right(partition.sorts, start[1]))
        else:
            high = min(high, bisect_left(partition.sorts, start[1]))
    sorts = partition.sorts[low:high] if low < high else []
    rows = (partition.rows[sort] for sort in (sorts if ScanIndexForward else reversed(sorts)))
    answer, size = _page(source, rows, made, values, Limit)
    units = {TableName: _read_units([size], ConsistentRead)}
    return answer | _consumed(ReturnConsumedCapacity, units)


def _scan(
    database: MemoryDynamoDB,
    *,
    TableName: str,
    IndexName: str | None = None,
    ConsistentRead: bool = False,
    FilterExpression: str | None = None,
    ProjectionExpression: str | None = None,
    ExpressionAttributeNames: Mapping[str, str] | None = None,
    ExpressionAttributeValues: Item | None = None,
    Limit: int | None = None,
    ExclusiveStartKey: Item | None = None,
    Segment: int = 0,
    TotalSegments: int = 1,
    ReturnConsumedCapacity: str = "NONE",
) -> Answer:
    made, values = _plan(
        ExpressionAttributeNames,
        ExpressionAttributeValues,
        filter_=FilterExpression,
        projection=ProjectionExpression,
    )
    source = _source(database, TableName, IndexName, ConsistentRead)
    start = None if ExclusiveStartKey is None else source.place(ExclusiveStartKey)
    rows = (
        row
        for key, row in source.rows.scan(start, database.horizon(ConsistentRead))
        if _segment(key[0], TotalSegments) == Segment
    )
    answer, size = _page(source, rows, made, values, Limit)
    units = {TableName: _read_units([size], ConsistentRead)}
    return answer | _consumed(ReturnConsumedCapacity, units)


# ------------------------------------------------------------------------------------ helpers


def _plan(
    names: Mapping[str, str] | None, values: Item | None, **expressions: str | None
) -> tuple[Plan, Item]:
    """A request's plan and normalized values; its expressions must be valid."""
    key = None if names is None else tuple(names.items())
    made = plan(key, **expressions)
    return made, made.accept(values)


@dataclass
class _Source:
    """What a query or scan reads: a table or one of its indexes."""

    table: MemoryTable
    index: _Index | None

    @property
    def schema(self) -> _Schema:
        return self.index.schema if self.index else self.table.schema

    @property
    def rows(self) -> _Rows:
        return self.index.rows if self.index else self.table.rows

    def place(self, start: Item) -> Key:
        """The place of a starting key."""
        if self.index is None:
            return self.table.schema.named(start)
        if start.keys() != set(self.index.keys):
            refuse("The provided starting key is invalid")
        return self.index.place(start, self.table.schema.key(start))

    def after(self, item: Item) -> Item:
        """The starting key for the page after an item."""
        keys = self.index.keys if self.index else self.table.schema.attributes
        return {name: item[name] for name in keys}

    def bounds(self, sorts: list[Any], term: KeyTerm | None, values: Item) -> tuple[int, int]:
        """Where a condition's rows begin and end among the sort keys."""
        if term is None:
            return 0, len(sorts)

        def sort_key(place: Any) -> Any:
            return place[0] if self.index else place

        def left(value: Any) -> int:
            return bisect_left(sorts, value, key=sort_key)

        def right(value: Any) -> int:
            return bisect_right(sorts, value, key=sort_key)

        first, *second = (comparable(values[name]) for name in term.operands)
        low, high = 0, len(sorts)
        if term.operator in {"=", ">=", "BETWEEN", "begins_with"}:
            low = left(first)
        elif term.operator == ">":
            low = right(first)
        if term.operator in {"=", "<="}:
            high = right(first)
        elif term.operator == "<":
            high = left(first)
        elif term.operator == "BETWEEN":
            high = right(second[0])
        elif term.operator == "begins_with":
            ahead = sorts[low:]
            found = takewhile(lambda place: sort_key(place).startswith(first), ahead)
            high = low + sum(1 for _ in found)
        return low, high


def _source(
    database: MemoryDynamoDB,
    table: str,
    index: str | None,
    consistent: bool,
) -> _Source:
    found = database.table(table)
    if index is None:
        return _Source(found, None)
    if index not in found.indexes:
        refuse(f"The table does not have the specified index: {index}")
    if consistent:
        refuse("Consistent reads are not supported on global secondary indexes")
    return _Source(found, found.indexes[index])


def _key_condition(
    schema: _Schema, terms: list[KeyTerm], values: Item
) -> tuple[Any, KeyTerm | None]:
    """The partition key, and the condition on the sort key."""
    by_name = {term.attribute: term for term in terms}
    if len(by_name) < len(terms):
        refuse("KeyConditionExpressions must only contain one condition per key")
    hash_ = by_name.pop(schema.attributes[0], None)
    if hash_ is None:
        refuse(f"Query condition missed key schema element: {schema.attributes[0]}")
    if hash_.operator != "=":
        refuse("Query key condition not supported")
    sort = by_name.pop(schema.attributes[1], None) if len(schema.attributes) > 1 else None
    if by_name:
        refuse("Query condition missed key schema element, or has one condition too many")
    for term in (hash_, sort):
        for name in term.operands if term else ():
            assert term is not None
            schema.part({term.attribute: values[name]}, schema.attributes.index(term.attribute))
    return comparable(values[hash_.operands[0]]), sort


def _page(
    source: _Source,
    rows: Iterable[Row],
    made: Plan,
    values: Item,
    limit: int | None,
) -> tuple[Answer, int]:
    """A page of a query or scan, up to ``limit`` rows and 1 MB, filtered; and the bytes it read."""
    if limit is not None and limit < 1:
        refuse("Limit must be at least 1")
    items: list[Item] = []
    seen = size = 0
    last: Item | None = None
    more = False
    for item, its_size in rows:
        if seen == limit or (seen and size + its_size > _PAGE_BYTES):
            more = True
            break
        seen += 1
        size += its_size
        last = item
        if made.filter is None or made.filter(item, values):
            items.append(_projected(item, made))
    answer: Answer = {"Items": items, "Count": len(items), "ScannedCount": seen}
    if last is not None and (more or seen == limit):
        answer["LastEvaluatedKey"] = source.after(last)
    return answer, size


def _projected(item: Item, wanted: Plan) -> Item:
    return dict(item) if wanted.projection is None else project(item, wanted.projection)


def _read_units(sizes: list[int], consistent: bool) -> float:
    units = sum(_units(size, _READ_UNIT) for size in sizes)
    return float(units) if consistent else units / 2


def _consumed(requested: str, units: Mapping[str, float], *, as_list: bool = False) -> Answer:
    if requested == "NONE":
        return {}
    each = [{"TableName": name, "CapacityUnits": number} for name, number in units.items()]
    return {"ConsumedCapacity": each if as_list else each[0]}
