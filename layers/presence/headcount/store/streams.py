"""The Streams table's streams: a row each, and one in its channel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import cancellation_reasons, condition_failed
from headcount.store.attributes import Item, decode, encode
from headcount.store.batches import get_many
from headcount.store.keys import Streams as Keys
from headcount.store.rows import in_calendar
from headcount.streams import Status, Stream

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_LOST = {"ConditionalCheckFailed", "TransactionConflict"}


class StreamsTable:
    """Rows are kept for good. Reads are consistent."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, stream: str) -> Stream | None:
        """A registered stream."""
        item = self._client.get_item(
            TableName=self._table, Key=_key(Keys.REGISTRY, stream), ConsistentRead=True
        ).get("Item")
        return _stream(decode(item)) if item else None

    def all(self) -> list[Stream]:
        """Every registered stream, newest first."""
        return newest_first(map(_stream, self._rows(Keys.REGISTRY)))

    def of_channel(self, channel: str) -> list[Stream]:
        """A channel's streams, newest first."""
        keys = [_key(Keys.REGISTRY, row[Keys.SORT]) for row in self._rows(Keys.CHANNEL + channel)]
        found = get_many(self._client, self._table, keys, consistent=True)
        # One may have moved on between the two reads.
        return newest_first(one for one in map(_stream, found) if one.channel == channel)

    def save(self, old: Stream | None, new: Stream) -> bool:
        """Write a stream if it is still the old one; else False. Its channels' rows follow it."""
        put: Any = {
            "TableName": self._table,
            "Item": _item(new),
            "ConditionExpression": "attribute_not_exists(#version)"
            if old is None
            else "#version = :before",
            "ExpressionAttributeNames": {"#version": "version"},
        }
        if old is not None:
            put["ExpressionAttributeValues"] = encode({":before": old.version})
        moves = self._moves(old.channel if old else None, new)
        try:
            if moves:
                self._client.transact_write_items(TransactItems=[{"Put": put}, *moves])
            else:
                self._client.put_item(**put)
        except ClientError as error:
            reasons = cancellation_reasons(error)
            if not (condition_failed(error) or (reasons and _LOST & set(reasons))):
                raise
            return False
        return True

    def _moves(self, old_channel: str | None, new: Stream) -> list[Any]:
        """What makes a stream leave its channel and enter another."""
        moves: list[Any] = []
        if old_channel != new.channel:
            if old_channel is not None:
                key = _key(Keys.CHANNEL + old_channel, new.id)
                moves.append({"Delete": {"TableName": self._table, "Key": key}})
            if new.channel is not None:
                item = _key(Keys.CHANNEL + new.channel, new.id)
                moves.append({"Put": {"TableName": self._table, "Item": item}})
        return moves

    def _rows(self, partition: str) -> Iterable[dict[str, Any]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": partition}),
        )
        return [decode(item) for page in pages for item in page["Items"]]


def newest_first(streams: Iterable[Stream]) -> list[Stream]:
    """By registration; of one moment by id."""
    return sorted(streams, key=lambda stream: (-stream.created_at, stream.id))


def _key(partition: str, sort: str) -> Item:
    return encode({Keys.PARTITION: partition, Keys.SORT: sort})


def _item(stream: Stream) -> Item:
    return _key(Keys.REGISTRY, stream.id) | encode(
        {
            "version": stream.version,
            "title": stream.title,
            "channel": stream.channel,
            "event": stream.event,
            "status": stream.status.value,
            "created_at": stream.created_at,
            "started_at": stream.started_at,
            "stopped_at": stream.stopped_at,
        }
    )


def _stream(row: dict[str, Any]) -> Stream:
    return Stream(
        id=row[Keys.SORT],
        created_at=in_calendar(row["created_at"]),
        title=row.get("title"),
        channel=row.get("channel"),
        event=row.get("event"),
        status=Status(row["status"]),
        started_at=in_calendar(row["started_at"]) if "started_at" in row else None,
        stopped_at=in_calendar(row["stopped_at"]) if "stopped_at" in row else None,
        version=row["version"],
    )
