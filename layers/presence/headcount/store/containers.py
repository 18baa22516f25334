"""The Streams table's containers: the last state that was heard of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.containers import Container
from headcount.errors import condition_failed
from headcount.store.attributes import decode, encode
from headcount.store.keys import TTL
from headcount.store.keys import Streams as Keys
from headcount.times import DAY, SECOND

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_RETENTION = 7 * DAY


class ContainersTable:
    """A row per container, kept for 7 days. ECS itself forgets a stopped task after about an hour.

    Reads are consistent.
    """

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def save(self, container: Container, *, now: int) -> None:
        """Keep a state, unless one of the same or a later version is kept already."""
        item = {
            **_key(container.id),
            "version": container.version,
            "event": container.event,
            "last_status": container.last_status,
            "desired_status": container.desired_status,
            "health_status": container.health_status,
            "created_at": container.created_at,
            "started_at": container.started_at,
            "stopped_at": container.stopped_at,
            "stopped_reason": container.stopped_reason,
            TTL: (now + _RETENTION) // SECOND,
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=encode(item),
                ConditionExpression="attribute_not_exists(#version) OR #version < :version",
                ExpressionAttributeNames={"#version": "version"},
                ExpressionAttributeValues=encode({":version": container.version}),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise

    def get(self, container: str) -> Container | None:
        """The last state; None when nothing was ever heard, or only more than 7 days ago."""
        row = self._row(container)
        return _container(row) if row else None

    def unannounced(self, container: str) -> Container | None:
        """The last state if its listeners have not been told of it."""
        row = self._row(container)
        return _container(row) if row and row.get("announced") != row["version"] else None

    def announced(self, container: Container) -> None:
        """Note that the listeners were told of this state, if it is still the last one."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode(_key(container.id)),
                ConditionExpression="#version = :version",
                UpdateExpression="SET #announced = :version",
                ExpressionAttributeNames={"#version": "version", "#announced": "announced"},
                ExpressionAttributeValues=encode({":version": container.version}),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise

    def _row(self, container: str) -> dict[str, Any] | None:
        item = self._client.get_item(
            TableName=self._table, Key=encode(_key(container)), ConsistentRead=True
        ).get("Item")
        return decode(item) if item else None


def _key(container: str) -> dict[str, str]:
    return {Keys.PARTITION: Keys.CONTAINER, Keys.SORT: container}


def _container(row: dict[str, Any]) -> Container:
    return Container(
        id=row[Keys.SORT],
        event=row["event"],
        version=row["version"],
        last_status=row["last_status"],
        desired_status=row["desired_status"],
        health_status=row.get("health_status"),
        created_at=row.get("created_at"),
        started_at=row.get("started_at"),
        stopped_at=row.get("stopped_at"),
        stopped_reason=row.get("stopped_reason"),
    )
