"""The numbers of each space's events: consecutive from 1, one for each event.

A space's head row holds the last number, and the events that got the latest ones. Before the next
events get theirs, each of those gets its own row. So an event that is found again, after a
crash or in an old batch that a stream repeats, gets its number again. The cost is one write per
event and one for each time that numbers are assigned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headcount.store.attributes import encode
from headcount.store.keys import TTL
from headcount.store.keys import Streams as Keys
from headcount.store.table import RetainedTable, conditional_write
from headcount.times import DAY, SECOND

BATCH_SIZE = 75
"""Events that get their numbers together: as many as fit a head row of 1 KB, one write unit."""

NUMBER_RETENTION = 2 * DAY
"""How long a number is kept: streams may repeat records for a day."""

_TRIES = 20
"""Each lost race means that other events got their numbers."""
_ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class _Head:
    """The highest number assigned, and the events with the latest numbers."""

    seq: int = 0
    latest: Mapping[str, int] = field(default_factory=dict)


class NumbersTable(RetainedTable):
    """In the Streams table. After ``day_rows_days`` without events, a space starts again at 1."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def last(self, space: str) -> int:
        """The highest number of the space's events; 0 if there were none."""
        return self._head(space).seq

    def number(self, space: str, events: Iterable[str], *, now: int) -> dict[str, int]:
        """event id -> number. Events without one get the next numbers, in this order. Raises
        NumbersContendedError."""
        todo = list(dict.fromkeys(events))
        numbers: dict[str, int] = {}
        while todo:
            batch, todo = todo[:BATCH_SIZE], todo[BATCH_SIZE:]
            numbers |= self._number(space, batch, now)
        return numbers

    def _number(self, space: str, events: Sequence[str], now: int) -> dict[str, int]:
        for _ in range(_TRIES):
            # In this order: events that leave the head in between are then among the rows.
            head = self._head(space)
            known = {**head.latest, **self._known(space, events)}
            fresh = [event for event in events if event not in known]
            known |= {event: head.seq + at for at, event in enumerate(fresh, 1)}
            if not fresh or self._assign(space, head, fresh, now):
                return {event: known[event] for event in events}
        raise NumbersContendedError(f"the events of {space}: lost {_TRIES} races")

    def _head(self, space: str) -> _Head:
        row = self._get_row(self._key(Keys.EVENTS + space, Keys.HEAD), ConsistentRead=True)
        if row is None:
            return _Head()
        packed: bytes = row["latest"]
        ids = [packed[at : at + _ID_BYTES].hex() for at in range(0, len(packed), _ID_BYTES)]
        first = row["seq"] - len(ids) + 1
        return _Head(row["seq"], {event: first + at for at, event in enumerate(ids)})

    def _known(self, space: str, events: Iterable[str]) -> dict[str, int]:
        keys = (self._key(Keys.NUMBERS + space, event) for event in events)
        rows = self._get_rows(keys, consistent=True)
        return {row[Keys.SORT]: row["seq"] for row in rows}

    def _remember(self, space: str, numbers: Mapping[str, int], now: int) -> None:
        gone_at = (now + NUMBER_RETENTION) // SECOND
        self._put_items(
            {**self._key(Keys.NUMBERS + space, event), **encode({"seq": seq, TTL: gone_at})}
            for event, seq in numbers.items()
        )

    def _assign(self, space: str, head: _Head, events: Sequence[str], now: int) -> bool:
        """Assign the next numbers, unless others were assigned since the head was read."""
        self._remember(space, head.latest, now)
        return conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.EVENTS + space, Keys.HEAD),
            ConditionExpression="seq = :before OR attribute_not_exists(seq)",
            UpdateExpression="SET seq = :seq, latest = :latest, #ttl = :ttl",
            ExpressionAttributeNames={"#ttl": TTL},
            ExpressionAttributeValues=encode(
                {
                    ":before": head.seq,
                    ":seq": head.seq + len(events),
                    ":latest": bytes.fromhex("".join(events)),
                    ":ttl": self._gone_at(now),
                }
            ),
        )


class NumbersContendedError(RuntimeError):
    """Other events of the space kept getting their numbers first; the stream retries."""
