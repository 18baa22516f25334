"""The numbers of each space's events: from 1, one after the other, one for each event.

A space's head holds how far they go, and which events got the latest. Before others get the next,
those get a row each. So an event that is found again, by a try after a crash or by a stream that
hands over an old batch once more, finds its number; and it costs one write for each event and one
for each time that numbers are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from headcount.errors import condition_failed
from headcount.store.attributes import Item, decode, encode
from headcount.store.batches import get_many, put_many
from headcount.store.counts import kept_until
from headcount.store.keys import TTL
from headcount.store.keys import Streams as Keys
from headcount.times import DAY, SECOND

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

AT_ONCE = 75
"""Events that get their numbers together: so many fit a head of 1 KB, which is one write unit."""

KEPT = 2 * DAY
"""How long a number is remembered: streams keep what they may hand over again for a day."""

_TRIES = 20
"""Each lost race means that others got their numbers."""
_ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class _Head:
    """The highest number that was given, and who got the latest."""

    seq: int = 0
    latest: Mapping[str, int] = field(default_factory=dict)


class NumbersTable:
    """In the Streams table. A space that tells nothing for ``day_rows_days`` begins anew at 1."""

    def __init__(self, client: DynamoDBClient, table: str, *, day_rows_days: int) -> None:
        self._client = client
        self._table = table
        self._days = day_rows_days

    def last(self, space: str) -> int:
        """The highest number that any event of the space has; 0: there was none."""
        return self._head(space).seq

    def number(self, space: str, events: Iterable[str], *, now: int) -> dict[str, int]:
        """event id -> its number. Those that have none yet get the next ones, in this order."""
        todo = list(dict.fromkeys(events))
        numbers: dict[str, int] = {}
        while todo:
            batch, todo = todo[:AT_ONCE], todo[AT_ONCE:]
            numbers |= self._number(space, batch, now)
        return numbers

    def _number(self, space: str, events: Sequence[str], now: int) -> dict[str, int]:
        for _ in range(_TRIES):
            # In this order: what leaves the head in between is then among the rows.
            head = self._head(space)
            known = {**head.latest, **self._known(space, events)}
            fresh = [event for event in events if event not in known]
            known |= {event: head.seq + at for at, event in enumerate(fresh, 1)}
            if not fresh or self._give(space, head, fresh, now):
                return {event: known[event] for event in events}
        raise NumbersContendedError(f"the events of {space}: lost {_TRIES} races")

    def _head(self, space: str) -> _Head:
        item = self._client.get_item(
            TableName=self._table, Key=_head_key(space), ConsistentRead=True
        ).get("Item")
        if item is None:
            return _Head()
        row = decode(item)
        packed: bytes = row["latest"]
        ids = [packed[at : at + _ID_BYTES].hex() for at in range(0, len(packed), _ID_BYTES)]
        first = row["seq"] - len(ids) + 1
        return _Head(row["seq"], {event: first + at for at, event in enumerate(ids)})

    def _known(self, space: str, events: Iterable[str]) -> dict[str, int]:
        keys = (_key(space, event) for event in events)
        rows = get_many(self._client, self._table, keys, consistent=True)
        return {row[Keys.SORT]: row["seq"] for row in rows}

    def _remember(self, space: str, numbers: Mapping[str, int], now: int) -> None:
        gone_at = (now + KEPT) // SECOND
        rows = (
            {**_key(space, event), **encode({"seq": seq, TTL: gone_at})}
            for event, seq in numbers.items()
        )
        put_many(self._client, self._table, rows)

    def _give(self, space: str, head: _Head, events: Sequence[str], now: int) -> bool:
        """Give the next numbers, unless others were given since the head was read."""
        self._remember(space, head.latest, now)
        try:
            self._client.update_item(
                TableName=self._table,
                Key=_head_key(space),
                ConditionExpression="seq = :before OR attribute_not_exists(seq)",
                UpdateExpression="SET seq = :seq, latest = :latest, #ttl = :ttl",
                ExpressionAttributeNames={"#ttl": TTL},
                ExpressionAttributeValues=encode(
                    {
                        ":before": head.seq,
                        ":seq": head.seq + len(events),
                        ":latest": bytes.fromhex("".join(events)),
                        ":ttl": kept_until(now, self._days),
                    }
                ),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True


def _head_key(space: str) -> Item:
    return encode({Keys.PARTITION: Keys.EVENTS + space, Keys.SORT: Keys.HEAD})


def _key(space: str, event: str) -> Item:
    return encode({Keys.PARTITION: Keys.NUMBERS + space, Keys.SORT: event})


class NumbersContendedError(RuntimeError):
    """Other events of the space kept getting their numbers first; the stream tries again."""
