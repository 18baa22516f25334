"""The DynamoDB engines that tests run on, with a meter for calls and units, and their streams."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from headcount.store.attributes import decode
from moto import mock_aws

from lab.harness import dynamodb_local
from lab.harness.memory import MemoryDynamoDB
from lab.harness.template import template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

    Connect = Callable[[], tuple[DynamoDBClient, DynamoDBStreamsClient]]

_ids = itertools.count(1)
_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=20)
WRITES = frozenset(
    {
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "BatchWriteItem",
        "TransactWriteItems",
    }
)
_WITH_CAPACITY = WRITES | {"GetItem", "BatchGetItem", "Query", "Scan"}


@dataclass(frozen=True, slots=True)
class Call:
    """A call to the engine."""

    operation: str
    tables: frozenset[str]
    permissions: frozenset[tuple[str, str]]  # (IAM action, table or table/index/name)
    units: float | None  # consumed capacity; None if it was not requested
    failed: bool
    consistent: bool = False


@dataclass
class Meter:
    """The calls made while it was on."""

    calls: list[Call] = field(default_factory=list)

    @property
    def operations(self) -> list[str]:
        """The operations, in order."""
        return [call.operation for call in self.calls]

    @property
    def writes(self) -> list[str]:
        """The operations that write, in order."""
        return [operation for operation in self.operations if operation in WRITES]

    @property
    def write_units(self) -> float:
        """Units consumed by the writes."""
        return sum(call.units or 0 for call in self.calls if call.operation in WRITES)

    @property
    def read_units(self) -> float:
        """Units consumed by the reads."""
        return sum(call.units or 0 for call in self.calls if call.operation not in WRITES)


def _sdk(url: str | None) -> tuple[DynamoDBClient, DynamoDBStreamsClient]:
    """boto3's clients."""
    session = boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    return (
        session.client("dynamodb", endpoint_url=url, config=_CONFIG),
        session.client("dynamodbstreams", endpoint_url=url, config=_CONFIG),
    )


class Engine:
    """A DynamoDB shared by the tests of a run, each of which creates its own tables.

    ``connect`` returns a client for DynamoDB and one for its streams.
    """

    def __init__(self, name: str, connect: Connect) -> None:
        self.name = name
        self._connect = connect
        self.client, self.streams = connect()

    def twin(self) -> Engine:
        """The same engine through a separate client, which no meter watches."""
        return Engine(self.name, self._connect)

    def close(self) -> None:
        """Close the clients."""
        self.client.close()
        self.streams.close()

    def create(self, role: str, **parameters: str) -> Table:
        """Create a table with the template's keys, indexes and stream, under a unique name."""
        name = f"{role}-{os.getpid()}-{next(_ids)}"
        self.client.create_table(TableName=name, **template().create_table(role, **parameters))
        ttl = template().tables[role].get("TimeToLiveSpecification")
        # DynamoDB Local would delete by the machine's clock, not by the test's.
        if ttl and self.name != "dynamodb-local":
            self.client.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
        return Table(self, role, name)

    @contextmanager
    def metered(self, *, capacity: bool = False) -> Iterator[Meter]:
        """Meter a block's calls; with ``capacity``, their units too (exact on DynamoDB Local)."""
        meter = Meter()
        requests: list[Mapping[str, Any]] = []

        def before(params: dict[str, Any], model: Any, **_: Any) -> None:
            if capacity and model.name in _WITH_CAPACITY:
                params["ReturnConsumedCapacity"] = "TOTAL"
            requests.append(params)

        def after(parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
            consumed = parsed.get("ConsumedCapacity")
            per_table = consumed if isinstance(consumed, list) else [consumed] if consumed else []
            params = requests.pop()
            meter.calls.append(
                Call(
                    operation=model.name,
                    tables=_tables_in(params),
                    permissions=_permissions(model.name, params),
                    units=_units(params, per_table),
                    failed="Error" in parsed,
                    consistent=bool(params.get("ConsistentRead")),
                )
            )

        events = self.client.meta.events
        key = f"meter-{next(_ids)}"
        events.register("before-parameter-build.dynamodb", before, unique_id=f"{key}-before")
        events.register("after-call.dynamodb", after, unique_id=f"{key}-after")
        try:
            yield meter
        finally:
            events.unregister("before-parameter-build.dynamodb", unique_id=f"{key}-before")
            events.unregister("after-call.dynamodb", unique_id=f"{key}-after")

    @contextmanager
    def interrupted(
        self, operation: str, table: str, act: Callable[[], object], *, times: int = 1
    ) -> Iterator[list[int]]:
        """Call ``act`` right before each of the first ``times`` such calls to a table.

        This interleaves two processes without threads: the inner one runs to its end while the
        outer one is about to write. Yields a list with an entry per interruption.
        """
        done: list[int] = []

        def before(params: Mapping[str, Any], **_: Any) -> None:
            if len(done) < times and table in _tables_in(params):
                done.append(len(done) + 1)
                act()

        event, key = f"before-parameter-build.dynamodb.{operation}", f"interrupt-{next(_ids)}"
        self.client.meta.events.register(event, before, unique_id=key)
        try:
            yield done
        finally:
            self.client.meta.events.unregister(event, unique_id=key)


def _permissions(operation: str, params: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    if "TransactItems" in params:
        return frozenset(
            (f"dynamodb:{kind}Item", action["TableName"])
            for one in params["TransactItems"]
            for kind, action in one.items()
        )
    index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
    return frozenset((f"dynamodb:{operation}", name + index) for name in _tables_in(params))


def _units(params: Mapping[str, Any], consumed: list[Any]) -> float | None:
    if not consumed:
        return None
    if "TransactItems" in params:
        # DynamoDB Local reports 4.0 per table for any actions. Each costs two units, up to 1 KB.
        return 2.0 * len(params["TransactItems"])
    return float(sum(one["CapacityUnits"] for one in consumed))


def _tables_in(params: Mapping[str, Any]) -> frozenset[str]:
    if "TableName" in params:
        return frozenset({params["TableName"]})
    if "RequestItems" in params:
        return frozenset(params["RequestItems"])
    actions = params.get("TransactItems", [])
    return frozenset(action["TableName"] for one in actions for action in one.values())


@dataclass
class Table:
    """A table of one test."""

    engine: Engine
    role: str
    name: str
    _iterator: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Every row, decoded, in a stable order."""
        pages = self.engine.client.get_paginator("scan").paginate(
            TableName=self.name, ConsistentRead=True
        )
        rows = [decode(item) for page in pages for item in page["Items"]]
        keys = [key["AttributeName"] for key in template().tables[self.role]["KeySchema"]]
        return sorted(rows, key=lambda row: [row[key] for key in keys])

    def put(self, item: dict[str, Any]) -> None:
        """Write an encoded row."""
        self.engine.client.put_item(TableName=self.name, Item=item)

    def new_records(self) -> list[dict[str, Any]]:
        """The stream's records since the last call, as Lambda passes them to a function."""
        iterator = self._iterator or self._first_iterator()
        found: list[dict[str, Any]] = []
        while True:
            answer = self.engine.streams.get_records(ShardIterator=iterator)
            iterator = answer["NextShardIterator"]
            if not answer["Records"]:
                break
            found += [self._as_event(record) for record in answer["Records"]]
        if found:  # on DynamoDB Local, an iterator that has read no record goes stale
            self._iterator = iterator
        return found

    def _first_iterator(self) -> str:
        described = self.engine.client.describe_table(TableName=self.name)["Table"]
        arn = described["LatestStreamArn"]
        stream = self.engine.streams.describe_stream(StreamArn=arn)["StreamDescription"]
        (shard,) = stream["Shards"]
        return self.engine.streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]

    def _as_event(self, record: Mapping[str, Any]) -> dict[str, Any]:
        plain = _plain(record)
        plain["awsRegion"] = "us-east-1"
        plain["eventSource"] = "aws:dynamodb"
        plain["eventSourceARN"] = (
            f"arn:aws:dynamodb:us-east-1:123456789012:table/{self.name}/stream/2026-11-21T00:00:00"
        )
        assert isinstance(plain, dict)
        return plain


def _plain(value: Any) -> Any:
    """boto3's Python values as in the JSON of an event."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.timestamp()
    return value


@contextmanager
def memory_engine() -> Iterator[Engine]:
    """Our own stand-in, in this process."""
    yield Engine("memory", MemoryDynamoDB().connect)


@contextmanager
def moto_engine() -> Iterator[Engine]:
    """moto, in this process."""
    with mock_aws():
        engine = Engine("moto", partial(_sdk, None))
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def local_engine(log: Path) -> Iterator[Engine]:
    """DynamoDB Local, in a child process."""
    with dynamodb_local.running(log) as url:
        engine = Engine("dynamodb-local", partial(_sdk, url))
        try:
            yield engine
        finally:
            engine.close()
