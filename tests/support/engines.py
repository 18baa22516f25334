"""The engines that tests run on, and what they see pass: calls, units, streams."""

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

from tests.support import dynamodb_local
from tests.support.memory import MemoryDynamoDB
from tests.support.template import template

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
    """A call that the engine saw."""

    operation: str
    tables: frozenset[str]
    permissions: frozenset[tuple[str, str]]  # (IAM action, table or table/index/name)
    units: float | None  # consumed capacity; None where it was not asked for
    failed: bool


@dataclass
class Meter:
    """The calls of a while."""

    calls: list[Call] = field(default_factory=list)

    @property
    def operations(self) -> list[str]:
        """Operations, in order."""
        return [call.operation for call in self.calls]

    @property
    def writes(self) -> list[str]:
        """The operations among them that write."""
        return [one for one in self.operations if one in WRITES]

    @property
    def write_units(self) -> float:
        """Units of the writes."""
        return sum(call.units or 0 for call in self.calls if call.operation in WRITES)

    @property
    def read_units(self) -> float:
        """Units of the reads."""
        return sum(call.units or 0 for call in self.calls if call.operation not in WRITES)


def _sdk(url: str | None) -> tuple[DynamoDBClient, DynamoDBStreamsClient]:
    """The SDK's clients."""
    session = boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    return (
        session.client("dynamodb", endpoint_url=url, config=_CONFIG),
        session.client("dynamodbstreams", endpoint_url=url, config=_CONFIG),
    )


class Engine:
    """A DynamoDB to run on: shared by a session's tests, each of which makes tables of its own.

    ``connect`` makes a client for DynamoDB and one for its streams.
    """

    def __init__(self, name: str, connect: Connect) -> None:
        self.name = name
        self._connect = connect
        self.client, self.streams = connect()

    def twin(self) -> Engine:
        """The same engine by a client of its own, which no meter watches."""
        return Engine(self.name, self._connect)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.streams.close()

    def create(self, role: str, **parameters: str) -> Table:
        """A table with the template's own keys, indexes and stream, under a name of its own."""
        spec = template().resolve(template().tables[role], **parameters)
        name = f"{role}-{os.getpid()}-{next(_ids)}"
        asked: dict[str, Any] = {
            key: spec[key]
            for key in (
                "BillingMode",
                "AttributeDefinitions",
                "KeySchema",
                "GlobalSecondaryIndexes",
            )
            if key in spec
        }
        if "StreamSpecification" in spec:
            asked["StreamSpecification"] = {"StreamEnabled": True, **spec["StreamSpecification"]}
        self.client.create_table(TableName=name, **asked)
        # DynamoDB Local would delete by the machine's clock, which is not the tests'.
        if "TimeToLiveSpecification" in spec and self.name != "dynamodb-local":
            self.client.update_time_to_live(
                TableName=name, TimeToLiveSpecification=spec["TimeToLiveSpecification"]
            )
        return Table(self, role, name)

    @contextmanager
    def metered(self, *, capacity: bool = False) -> Iterator[Meter]:
        """What passes meanwhile; with ``capacity``, the units too (exact on DynamoDB Local)."""
        meter = Meter()
        asked: list[Mapping[str, Any]] = []

        def ask(params: dict[str, Any], model: Any, **_: Any) -> None:
            if capacity and model.name in _WITH_CAPACITY:
                params["ReturnConsumedCapacity"] = "TOTAL"
            asked.append(params)

        def note(parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
            consumed = parsed.get("ConsumedCapacity")
            several = consumed if isinstance(consumed, list) else [consumed] if consumed else []
            params = asked.pop()
            meter.calls.append(
                Call(
                    operation=model.name,
                    tables=_tables_in(params),
                    permissions=_permissions(model.name, params),
                    units=_units(params, several),
                    failed="Error" in parsed,
                )
            )

        events = self.client.meta.events
        key = f"meter-{next(_ids)}"
        events.register("before-parameter-build.dynamodb", ask, unique_id=f"{key}-ask")
        events.register("after-call.dynamodb", note, unique_id=f"{key}-note")
        try:
            yield meter
        finally:
            events.unregister("before-parameter-build.dynamodb", unique_id=f"{key}-ask")
            events.unregister("after-call.dynamodb", unique_id=f"{key}-note")

    @contextmanager
    def interrupted(
        self, operation: str, table: str, act: Callable[[], object], *, times: int = 1
    ) -> Iterator[list[int]]:
        """Have ``act`` happen right before the first ``times`` such calls to a table go out.

        This is how two processes interleave without threads: the inner one runs to its end while
        the outer one is about to write. Gives a list with an entry per interruption.
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
        # DynamoDB Local says 4.0 per table whatever the actions. It is two for each, up to 1 KB.
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
    """One table of one test."""

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
        """Write a row, encoded already."""
        self.engine.client.put_item(TableName=self.name, Item=item)

    def new_records(self) -> list[dict[str, Any]]:
        """The stream's records since the last time, as Lambda hands them over."""
        iterator = self._iterator or self._from_the_start()
        found: list[dict[str, Any]] = []
        while True:
            answer = self.engine.streams.get_records(ShardIterator=iterator)
            iterator = answer["NextShardIterator"]
            if not answer["Records"]:
                break
            found += [self._as_lambda_sees(record) for record in answer["Records"]]
        if found:  # DynamoDB Local lets an iterator grow stale that has never seen a record
            self._iterator = iterator
        return found

    def _from_the_start(self) -> str:
        described = self.engine.client.describe_table(TableName=self.name)["Table"]
        arn = described["LatestStreamArn"]
        stream = self.engine.streams.describe_stream(StreamArn=arn)["StreamDescription"]
        (shard,) = stream["Shards"]
        return self.engine.streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]

    def _as_lambda_sees(self, record: Mapping[str, Any]) -> dict[str, Any]:
        plain = _plain(record)
        plain["awsRegion"] = "us-east-1"
        plain["eventSource"] = "aws:dynamodb"
        plain["eventSourceARN"] = (
            f"arn:aws:dynamodb:us-east-1:123456789012:table/{self.name}/stream/2026-11-21T00:00:00"
        )
        assert isinstance(plain, dict)
        return plain


def _plain(value: Any) -> Any:
    """boto3's Python values as the JSON of an event has them."""
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
    """The stand-in of our own, in this process."""
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
