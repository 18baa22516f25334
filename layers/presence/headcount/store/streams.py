"""The Streams table's streams: a row for each, and one in its channel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headcount.model.stream import Status, Stream
from headcount.store.attributes import Item, encode
from headcount.store.keys import Streams as Keys
from headcount.store.rows import in_calendar
from headcount.store.table import Table, conditional_write


class StreamsTable(Table):
    """Rows are kept permanently. Reads are consistent."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def get(self, stream: str) -> Stream | None:
        """A registered stream; None if there is none."""
        row = self._get_row(self._key(Keys.REGISTRY, stream), ConsistentRead=True)
        return _stream(row) if row else None

    def all(self) -> list[Stream]:
        """Every registered stream, newest first."""
        return newest_first(map(_stream, self._rows(Keys.REGISTRY)))

    def of_channel(self, channel: str) -> list[Stream]:
        """A channel's streams, newest first."""
        keys = [
            self._key(Keys.REGISTRY, row[Keys.SORT]) for row in self._rows(Keys.CHANNEL + channel)
        ]
        found = self._get_rows(keys, consistent=True)
        # One may have left the channel between the two reads.
        return newest_first(one for one in map(_stream, found) if one.channel == channel)

    def save(self, old: Stream | None, new: Stream) -> bool:
        """Write a stream, with its channels' rows, if the stored one is still ``old``; else return
        False."""
        put: Any = {
            "TableName": self._table,
            "Item": self._key(Keys.REGISTRY, new.id) | _values(new),
            "ConditionExpression": "attribute_not_exists(#version)"
            if old is None
            else "#version = :before",
            "ExpressionAttributeNames": {"#version": "version"},
        }
        if old is not None:
            put["ExpressionAttributeValues"] = encode({":before": old.version})
        moves = self._moves(old.channel if old else None, new)
        if moves:
            return not self._transact([{"Put": put}, *moves])
        return conditional_write(self._client.put_item, **put)

    def _moves(self, old_channel: str | None, new: Stream) -> list[Any]:
        """The actions that move a stream from its old channel to the new one."""
        moves: list[Any] = []
        if old_channel != new.channel:
            if old_channel is not None:
                key = self._key(Keys.CHANNEL + old_channel, new.id)
                moves.append({"Delete": {"TableName": self._table, "Key": key}})
            if new.channel is not None:
                item = self._key(Keys.CHANNEL + new.channel, new.id)
                moves.append({"Put": {"TableName": self._table, "Item": item}})
        return moves

    def _rows(self, partition: str) -> Iterable[dict[str, Any]]:
        return self._query_rows(partition, ConsistentRead=True)


def newest_first(streams: Iterable[Stream]) -> list[Stream]:
    """By time of registration; at the same time, by id."""
    return sorted(streams, key=lambda stream: (-stream.created_at, stream.id))


def _values(stream: Stream) -> Item:
    return encode(
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
