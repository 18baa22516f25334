"""The Streams table's containers: the last known state of each."""

from __future__ import annotations

from typing import Any

from headcount.model.container import Container
from headcount.store.attributes import encode
from headcount.store.keys import TTL
from headcount.store.keys import Streams as Keys
from headcount.store.table import Table, conditional_write
from headcount.times import DAY, SECOND

_RETENTION = 7 * DAY


class ContainersTable(Table):
    """A row per container, kept for 7 days. ECS itself forgets a stopped task after about an hour.

    Reads are consistent.
    """

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def save(self, container: Container, *, now: int) -> None:
        """Store a state, unless the same or a later version is stored."""
        values = {
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
        conditional_write(
            self._client.put_item,
            TableName=self._table,
            Item=self._key(Keys.CONTAINER, container.id) | encode(values),
            ConditionExpression="attribute_not_exists(#version) OR #version < :version",
            ExpressionAttributeNames={"#version": "version"},
            ExpressionAttributeValues=encode({":version": container.version}),
        )

    def get(self, container: str) -> Container | None:
        """The last state; None if none was stored in the last 7 days."""
        row = self._row(container)
        return _container(row) if row else None

    def unannounced(self, container: str) -> Container | None:
        """The last state, if it has not been sent to its subscribers."""
        row = self._row(container)
        return _container(row) if row and row.get("announced") != row["version"] else None

    def mark_announced(self, container: Container) -> None:
        """Note that this state was sent to its subscribers, if it is still the last one."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.CONTAINER, container.id),
            ConditionExpression="#version = :version",
            UpdateExpression="SET #announced = :version",
            ExpressionAttributeNames={"#version": "version", "#announced": "announced"},
            ExpressionAttributeValues=encode({":version": container.version}),
        )

    def _row(self, container: str) -> dict[str, Any] | None:
        return self._get_row(self._key(Keys.CONTAINER, container), ConsistentRead=True)


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
