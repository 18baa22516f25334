"""The Subscriptions table: which dashboards hear which spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import condition_failed
from headcount.store.attributes import decode, encode
from headcount.store.keys import TTL
from headcount.store.keys import Subscriptions as Keys
from headcount.times import HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_RETENTION = 3 * HOUR  # API Gateway ends every WebSocket connection after 2 hours
_CLAIM_LOST = MINUTE  # after which a claim's errand must have come to nothing


@dataclass(frozen=True, slots=True)
class Subscription:
    """A connection that hears a space. Times are epoch milliseconds."""

    space: str
    connection: str
    since: int
    after: int | None
    """The version its first headcount had; None until that one was sent. A publisher waits for it
    instead of sending a later version first."""
    form: str | None = None
    """What it hears it in; None: as headcounts."""


class SubscriptionsTable:
    """Reads are consistent: a publisher must not miss who subscribed before its version."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def connect(self, connection: str, *, now: int) -> None:
        """Remember a connection."""
        self._put(Keys.CONNECTION + connection, Keys.SELF, {"since": now}, now)

    def add(self, space: str, connection: str, *, now: int, form: str | None = None) -> None:
        """Subscribe to a space, or another topic, without a first headcount yet."""
        # This order: a row under the space that $disconnect could not find would be a leak.
        self._put(Keys.CONNECTION + connection, space, {"form": form}, now)
        self._put(Keys.SPACE + space, connection, {"since": now, "form": form}, now)

    def greeted(self, space: str, connection: str, version: int) -> None:
        """The first headcount was sent, with this version: later ones may follow."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: Keys.SPACE + space, Keys.SORT: connection}),
                ConditionExpression="attribute_exists(#p)",
                UpdateExpression="SET #after = :after",
                ExpressionAttributeNames={"#p": Keys.PARTITION, "#after": "after"},
                ExpressionAttributeValues=encode({":after": version}),
            )
        except ClientError as error:
            if not condition_failed(error):  # unsubscribed or gone in between
                raise

    def remove(self, space: str, connection: str) -> None:
        """Unsubscribe."""
        self._delete(Keys.SPACE + space, connection)
        self._delete(Keys.CONNECTION + connection, space)

    def disconnect(self, connection: str) -> None:
        """Forget a connection and all it heard."""
        for space in self.spaces(connection):
            self.remove(space, connection)
        self._delete(Keys.CONNECTION + connection, Keys.SELF)

    def spaces(self, connection: str) -> list[str]:
        """What a connection hears."""
        return list(self.heard(connection))

    def heard(self, connection: str) -> dict[str, str | None]:
        """What a connection hears, and in which form."""
        rows = self._rows(Keys.CONNECTION + connection)
        return {row[Keys.SORT]: row.get("form") for row in rows if row[Keys.SORT] != Keys.SELF}

    def claim(self, topic: str, *, now: int) -> bool:
        """Take it on oneself to have a topic said; False when somebody did, and it is to come."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: Keys.CLAIM, Keys.SORT: topic}),
                ConditionExpression="attribute_not_exists(#at) OR #at < :lost",
                UpdateExpression="SET #at = :now",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues=encode({":now": now, ":lost": now - _CLAIM_LOST}),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True

    def release(self, topic: str) -> None:
        """What is claimed is about to be said: whoever comes now claims anew."""
        self._client.update_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: Keys.CLAIM, Keys.SORT: topic}),
            UpdateExpression="REMOVE #at",
            ExpressionAttributeNames={"#at": "at"},
        )

    def connected_at(self, connection: str) -> int | None:
        """When a connection came up; None when it is not known."""
        item = self._client.get_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: Keys.CONNECTION + connection, Keys.SORT: Keys.SELF}),
            ConsistentRead=True,
        ).get("Item")
        return int(decode(item)["since"]) if item else None

    def of(self, space: str) -> list[Subscription]:
        """Who hears a space."""
        return [
            Subscription(
                space=space,
                connection=row[Keys.SORT],
                since=row["since"],
                after=row.get("after"),
                form=row.get("form"),
            )
            for row in self._rows(Keys.SPACE + space)
        ]

    def _rows(self, topic: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": topic}),
        )
        return [decode(item) for page in pages for item in page["Items"]]

    def _put(self, topic: str, subscriber: str, values: dict[str, Any], now: int) -> None:
        self._client.put_item(
            TableName=self._table,
            Item=encode(
                {
                    Keys.PARTITION: topic,
                    Keys.SORT: subscriber,
                    **values,
                    TTL: (now + _RETENTION) // SECOND,
                }
            ),
        )

    def _delete(self, topic: str, subscriber: str) -> None:
        self._client.delete_item(
            TableName=self._table, Key=encode({Keys.PARTITION: topic, Keys.SORT: subscriber})
        )
