"""The People table: a row per person, with their open visits and when they were last seen.

A join and a leave change one attribute of it, which bears the visit's name: so repeats and other
visits of the person, in whatever order, do no harm. The row only says where to look: whether a
visit goes on is for its presence row to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headcount.model.people import RETENTION, OpenVisit, PersonChange, PersonRecord
from headcount.store.attributes import Item, decode, encode
from headcount.store.keys import TTL
from headcount.store.keys import People as Keys
from headcount.store.rows import FLAG, NUMBER, Shape, check_shapes, in_calendar, read
from headcount.store.table import Table, conditional_write
from headcount.times import DAY, HOUR, SECOND

_OPEN_RETENTION = 35 * DAY  # as long as the row of a visit whose end was lost
_WATCHED_FOR = 2 * HOUR + HOUR // 4
"""API Gateway ends a connection after two hours, and with it what it watches."""

_PLAIN = ("seen", "watched", "online", TTL)
_MARKS = {"#p": Keys.PARTITION, "#seen": "seen", "#ttl": TTL}
_LATER = "(attribute_not_exists(#seen) OR #seen <= :seen)"
_EXISTS = "attribute_exists(#p)"

_SHAPES: Mapping[str, Shape] = {
    "seen": NUMBER,
    "watched": NUMBER,
    "online": FLAG,
}


class PeopleTable(Table):
    """Writes may be repeated and reordered. Reads are eventually consistent unless they say so."""

    _partition = Keys.PARTITION

    def note(self, person: str, change: PersonChange) -> PersonRecord | None:
        """Write what began and ended: one write. Returns the row as it is now; None if there is
        none, because nothing began and the person is not known (they were erased).

        ``seen`` never goes back: if it would, a second write leaves it as it is.
        """
        began, ended = change.began.values(), [Keys.VISIT + one for one in change.ended]
        newest = max((one.since + _OPEN_RETENTION for one in began), default=0)
        values: dict[str, Any] = {Keys.VISIT + one.id: [*one.key, one.since] for one in began}
        values[TTL] = max(newest, change.seen + RETENTION) // SECOND
        exists = "" if change.came or began else _EXISTS
        return self._change(
            person, values | {"seen": change.seen}, ended, [exists, _LATER]
        ) or self._change(person, values, ended, [exists])

    def leave_shard(self, person: str, visit: str, shard: int, *, at: int) -> None:
        """Remove a visit that went on elsewhere, perhaps as another person's, unless it is known
        there already."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=_key(person),
            UpdateExpression="SET #seen = :seen REMOVE #v",
            ConditionExpression=f"#v[1] = :shard AND {_LATER}",
            ExpressionAttributeNames={"#v": Keys.VISIT + visit, "#seen": "seen"},
            ExpressionAttributeValues=encode({":shard": shard, ":seen": at}),
        )

    def forget_visits(self, person: str, visits: Iterable[str]) -> None:
        """Remove visits that have ended, or are too many."""
        self._change(person, {}, [Keys.VISIT + one for one in visits], [_EXISTS])

    def watch(self, person: str, *, now: int) -> PersonRecord:
        """Note that a connection watches a person from now on. Returns the row as it is now."""
        until = {"watched": now + _WATCHED_FOR}
        gone_at = {TTL: (now + _WATCHED_FOR) // SECOND}
        longer = "(attribute_not_exists(#ttl) OR #ttl < :ttl)"
        found = self._change(person, until | gone_at, (), [longer])
        return found or self._change(person, until) or PersonRecord(person)

    def mark_reported(self, person: str, *, online: bool) -> None:
        """Note what was reported to those who watch a person."""
        self._change(person, {"online": online}, (), [_EXISTS])

    def many(self, people: Iterable[str], *, consistent: bool = False) -> dict[str, PersonRecord]:
        """What is known of these people; of those who are not in it, nothing is."""
        keys = [_key(person) for person in dict.fromkeys(people)]
        rows = self._get_rows(keys, consistent=consistent)
        found = (read(_record_from, row, "people") for row in rows)
        return {one.person: one for one in found if one is not None}

    def delete(self, person: str) -> bool:
        """Delete a person's row; whether there was one."""
        return conditional_write(
            self._client.delete_item,
            TableName=self._table,
            Key=_key(person),
            ConditionExpression=_EXISTS,
            ExpressionAttributeNames={"#p": Keys.PARTITION},
        )

    def _change(
        self,
        person: str,
        values: Mapping[str, Any],
        removed: Iterable[str] = (),
        conditions: Iterable[str] = (),
    ) -> PersonRecord | None:
        """Set and remove attributes. Returns the row as it is now; None if a condition did not
        hold."""
        sets = {name: name if name in _PLAIN else f"v{n}" for n, name in enumerate(values)}
        removes = {name: f"r{n}" for n, name in enumerate(removed)}
        verbs = [
            "SET " + ", ".join(f"#{one} = :{one}" for one in sets.values()) if sets else "",
            "REMOVE " + ", ".join(f"#{one}" for one in removes.values()) if removes else "",
        ]
        condition = " AND ".join(filter(None, conditions))
        names = {f"#{one}": name for name, one in {**sets, **removes}.items()}
        names |= {mark: name for mark, name in _MARKS.items() if mark in condition}
        update: dict[str, Any] = {
            "Key": _key(person),
            "UpdateExpression": " ".join(filter(None, verbs)),
            "ExpressionAttributeNames": names,
            "ReturnValues": "ALL_NEW",
        }
        if condition:
            update["ConditionExpression"] = condition
        if sets:
            update["ExpressionAttributeValues"] = encode(
                {f":{one}": values[name] for name, one in sets.items()}
            )
        answers: list[Any] = []

        def write() -> None:
            answers.append(self._client.update_item(TableName=self._table, **update))

        if not conditional_write(write):
            return None
        return read(_record_from, decode(answers[0]["Attributes"]), "people")


def _key(person: str) -> Item:
    return encode({Keys.PARTITION: person})


def _record_from(row: Mapping[str, Any]) -> PersonRecord:
    check_shapes(row, _SHAPES)
    visits = [
        OpenVisit(name.removeprefix(Keys.VISIT), *value)
        for name, value in row.items()
        if name.startswith(Keys.VISIT)
    ]
    seen = row.get("seen")
    return PersonRecord(
        person=row[Keys.PARTITION],
        visits=tuple(sorted(visits, key=lambda one: (one.since, one.id), reverse=True)),
        seen=None if seen is None else in_calendar(seen),
        watched_until=row.get("watched", 0),
        online=row.get("online", False),
    )
