"""The Streams table's counters of new sessions and spaces: a row for each minute, and the
salt of the networks' hashes, which is replaced so that no stored hash leads to a network."""

from __future__ import annotations

from headcount.store.attributes import encode
from headcount.store.keys import TTL
from headcount.store.keys import Streams as Keys
from headcount.store.table import Table, conditional_write
from headcount.times import MINUTE, SECOND

SALT_LIFE = 10 * MINUTE
_COUNTER_LIFE = 5 * MINUTE


class LimitsTable(Table):
    """Counts exactly, whichever process asks."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def take(self, name: str, amount: int, *, most: int, now: int) -> bool:
        """Add to this minute's counter, unless there would then be more than ``most``; whether it
        was added. ``now`` is in epoch milliseconds."""
        if amount > most:
            return False
        minute = now // MINUTE
        return conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.COUNTER + name, str(minute)),
            UpdateExpression="SET #ttl = :ttl ADD #n :amount",
            ConditionExpression="attribute_not_exists(#n) OR #n <= :room",
            ExpressionAttributeNames={"#ttl": TTL, "#n": "n"},
            ExpressionAttributeValues=encode(
                {
                    ":ttl": (minute * MINUTE + _COUNTER_LIFE) // SECOND,
                    ":amount": amount,
                    ":room": most - amount,
                }
            ),
        )

    def salt(self, now: int, fresh: str) -> str:
        """The salt of this time. If it is over, ``fresh`` takes its place."""
        row = self._get_row(self._key(Keys.COUNTER, Keys.SALT), ConsistentRead=True)
        if row is not None and 0 <= row["until"] - now <= SALT_LIFE:
            return str(row["salt"])
        until = now + SALT_LIFE
        mine = conditional_write(
            self._client.put_item,
            TableName=self._table,
            Item=self._key(Keys.COUNTER, Keys.SALT)
            | encode({"salt": fresh, "until": until, TTL: until // SECOND}),
            ConditionExpression="attribute_not_exists(#until) OR #until = :was",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues=encode({":was": row["until"] if row else 0}),
        )
        if mine:
            return fresh
        found = self._get_row(self._key(Keys.COUNTER, Keys.SALT), ConsistentRead=True) or {}
        return str(found.get("salt", fresh))
