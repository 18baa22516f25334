"""The Visits table: the ledger of stays, and the views that must agree with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import cancellation_reasons, condition_failed
from headcount.headcounts import periods_of
from headcount.store.attributes import Item, decode, encode
from headcount.store.batches import AtOnce, Start, get_many, scan_page
from headcount.store.counts import engagement_update, kept_until
from headcount.store.keys import SHARD_SEPARATOR, TTL, visits_partition
from headcount.store.keys import Counts as CountsKeys
from headcount.store.keys import Visits as Keys
from headcount.store.rows import NUMBERS, TEXT, TIME, Shape, read, require
from headcount.times import DAY, SECOND, day_of
from headcount.visits import Visit

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

VISITS_PER_TRANSACTION = 99  # TransactWriteItems takes 100 actions, one of them counts the views
RETENTION = 7 * DAY
_LIVE_RETENTION = 35 * DAY  # a visit that nobody ended may not outlive the table for ever
_CONFLICT_TRIES = 6


class VisitsTable:
    """Writes are safe to repeat: a visit is recorded, and counted as a view, once.

    Views are kept for ``day_rows_days`` after the last of them. Ends are written ``at_once``.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        counts_table: str,
        *,
        day_rows_days: int,
        at_once: AtOnce = map,
    ) -> None:
        self._client = client
        self._table = table
        self._counts_table = counts_table
        self._days = day_rows_days
        self._at_once = at_once

    def record(self, visits: Iterable[Visit]) -> int:
        """Add visits to the ledger and their number to their spaces' views.

        Those already there only get their end, if it is known now. Returns how many were new.
        """
        by_space: dict[str, dict[str, Visit]] = defaultdict(dict)
        for visit in visits:
            by_space[visit.space][visit.id] = visit
        added = 0
        for space, group in by_space.items():
            todo = list(group.values())
            while todo:
                # What they did takes an action too.
                size = VISITS_PER_TRANSACTION - any(_engaged(visit) for visit in todo)
                batch, todo = todo[:size], todo[size:]
                added += self._record_batch(space, batch)
        return added

    def _record_batch(self, space: str, batch: list[Visit]) -> int:
        for attempt in range(_CONFLICT_TRIES):
            if not batch:
                return 0
            try:
                self._client.transact_write_items(
                    TransactItems=[
                        *map(self._put, batch),
                        self._add_views(space, batch),
                        *self._add_engagement(space, batch),
                    ]
                )
            except ClientError as error:
                reasons = cancellation_reasons(error)
                if reasons is None:
                    raise
                known = [reason == "ConditionalCheckFailed" for reason in reasons]
                for visit, there in zip(batch, known, strict=False):
                    if there and visit.ended_at is not None:
                        self._write_end(visit)
                batch = [v for v, there in zip(batch, known, strict=False) if not there]
                if batch and attempt == _CONFLICT_TRIES - 1:
                    raise  # somebody else keeps writing the same rows: let the stream try again
            else:
                self._continue(batch)
                return len(batch)
        return 0

    def end(self, visits: Iterable[Visit]) -> None:
        """Write visits' ends into the ledger; a visit that is not there yet is recorded whole."""
        plain: list[Visit] = []
        engaged: list[Visit] = []
        for visit in visits:
            (engaged if _engaged(visit) else plain).append(visit)
        # One by one where they add to the same totals: they would only get in each other's way.
        there = [*self._at_once(self._write_end, plain), *map(self._write_end, engaged)]
        ended = zip([*plain, *engaged], there, strict=True)
        self.record([visit for visit, known in ended if not known])

    def _write_end(self, visit: Visit) -> bool:
        """Write a visit's end into its row; False when there is no row."""
        if _engaged(visit) and self._write_engaged_end(visit):
            self._continue([visit])
            return True
        try:
            self._client.update_item(**self._end_update(visit, "attribute_exists(#p)"))
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        self._continue([visit])
        return True

    def _write_engaged_end(self, visit: Visit) -> bool:
        """Write the end and add what was done, together and once; False when not now or not here.

        That the row has no end yet is what makes a repeat change nothing.
        """
        end = self._end_update(visit, "attribute_exists(#p) AND attribute_not_exists(#ended_at)")
        for attempt in range(_CONFLICT_TRIES):
            try:
                self._client.transact_write_items(
                    TransactItems=[{"Update": end}, *self._add_engagement(visit.space, [visit])]
                )
            except ClientError as error:
                reasons = cancellation_reasons(error)
                if reasons is None:
                    raise
                if "ConditionalCheckFailed" in reasons:
                    return False
                if attempt == _CONFLICT_TRIES - 1:
                    raise
            else:
                return True
        return False

    def _end_update(self, visit: Visit, condition: str) -> Any:
        values = _end_values(visit)
        return {
            "TableName": self._table,
            "Key": self._key(visit, visit.day),
            "ConditionExpression": condition,
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ExpressionAttributeNames": {
                "#p": Keys.PARTITION,
                **{f"#{name}": name for name in values},
            },
            "ExpressionAttributeValues": encode(
                {f":{name}": value for name, value in values.items()}
            ),
        }

    def of_day(self, space: str, day: str) -> Iterator[Visit]:
        """The visits that began on a UTC day, and the ended ones that reached into it: each once,
        read as they are asked for."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": visits_partition(space, day)}),
        )
        rows = (decode(item) for page in pages for item in page["Items"])
        return _readable(rows)

    def settled(self, visits: Iterable[Visit]) -> set[str]:
        """Which of these visits the ledger holds with their end: their ids."""
        keys = (self._key(visit, visit.day) for visit in visits)
        rows = get_many(self._client, self._table, keys, consistent=False)
        return {visit.id for visit in _readable(rows) if visit.ended_at is not None}

    def known(self, visits: Iterable[Visit]) -> set[str]:
        """Which of these visits the ledger holds, consistent: their ids."""
        keys = (self._key(visit, visit.day) for visit in visits)
        rows = get_many(self._client, self._table, keys, consistent=True)
        return {visit.id for visit in map(visit_from, rows)}

    def scanned(self, start: Start, limit: int) -> tuple[list[tuple[str, Visit]], Start]:
        """Up to ``limit`` rows of the ledger, each with its UTC day, and where to go on; None:
        that was all."""
        rows, start = scan_page(self._client, self._table, start, limit)
        found = [decode(row) for row in rows]
        return [
            (row[Keys.PARTITION].rpartition(SHARD_SEPARATOR)[2], visit_from(row)) for row in found
        ], start

    def rename(self, visit: Visit, day: str | None = None) -> int:
        """Have the visit's row of that day, or of each, say it was this session, visitor and
        users; nothing else of it changes. Returns how many rows there were."""
        values = {
            "session": visit.session,
            "user": visit.user,
            "visitor": visit.visitor,
            "former_users": visit.former_users or None,
        }
        said = {name: value for name, value in values.items() if value is not None}
        renamed = 0
        for one in {visit.day, *visit.beats} if day is None else {day}:
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=self._key(visit, one),
                    ConditionExpression="attribute_exists(#p)",
                    UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in said),
                    ExpressionAttributeNames={
                        "#p": Keys.PARTITION,
                        **{f"#{name}": name for name in said},
                    },
                    ExpressionAttributeValues=encode(
                        {f":{name}": value for name, value in said.items()}
                    ),
                )
            except ClientError as error:
                if not condition_failed(error):  # it went to the bin
                    raise
            else:
                renamed += 1
        return renamed

    def _continue(self, visits: Iterable[Visit]) -> None:
        """A stay over midnight is in every day it beat in: a row there, without a view."""
        for visit in visits:
            if visit.ended_at is None:
                continue
            for day in visit.beats:
                if day != visit.day:
                    self._client.put_item(TableName=self._table, Item=self._item(visit, day))

    def _put(self, visit: Visit) -> Any:
        return {
            "Put": {
                "TableName": self._table,
                "Item": self._item(visit, visit.day),
                "ConditionExpression": "attribute_not_exists(#p)",
                "ExpressionAttributeNames": {"#p": Keys.PARTITION},
            }
        }

    def _add_views(self, space: str, visits: list[Visit]) -> Any:
        added = Counter(period for visit in visits for period in periods_of(visit.day))
        added["total"] = len(visits)
        names = {f"#v{index}": name for index, name in enumerate(added)}
        return {
            "Update": {
                "TableName": self._counts_table,
                "Key": encode({CountsKeys.PARTITION: space, CountsKeys.SORT: CountsKeys.VIEWS}),
                "UpdateExpression": "SET #ttl = :ttl ADD "
                + ", ".join(f"{name} :{name.removeprefix('#')}" for name in names),
                "ExpressionAttributeNames": {"#ttl": TTL, **names},
                "ExpressionAttributeValues": encode(
                    {
                        ":ttl": kept_until(max(visit.joined_at for visit in visits), self._days),
                        **{
                            f":{short.removeprefix('#')}": added[name]
                            for short, name in names.items()
                        },
                    }
                ),
            }
        }

    def _add_engagement(self, space: str, visits: list[Visit]) -> list[Any]:
        """What was done in those of the visits that have ended, on the day they did."""
        done = [visit for visit in visits if _engaged(visit)]
        if not done:
            return []
        total: Counter[str] = Counter()
        for visit in done:
            total.update(visit.engagement)
        day = day_of(max(visit.ended_at or 0 for visit in done))
        return [
            {
                "Update": {
                    "TableName": self._counts_table,
                    **engagement_update(space, day, dict(total), days_kept=self._days),
                }
            }
        ]

    def _key(self, visit: Visit, day: str) -> Item:
        return encode(
            {
                Keys.PARTITION: visits_partition(visit.space, day),
                Keys.SORT: f"{visit.joined_at:013d}#{visit.id}",
            }
        )

    def _item(self, visit: Visit, day: str) -> Item:
        return {
            **self._key(visit, day),
            **encode(
                {
                    "space": visit.space,
                    "id": visit.id,
                    "session": visit.session,
                    "joined_at": visit.joined_at,
                    **_end_values(visit),
                }
            ),
        }


def _engaged(visit: Visit) -> bool:
    """Something was done in it, and it is over: time to add it up."""
    return visit.ended_at is not None and bool(visit.engagement)


def _end_values(visit: Visit) -> dict[str, Any]:
    """What changes while a visit lasts, or is known at its end."""
    gone_at = (
        visit.joined_at + _LIVE_RETENTION if visit.ended_at is None else visit.ended_at + RETENTION
    )
    values = {
        "user": visit.user,
        "visitor": visit.visitor,
        "beats": visit.beats,
        "ended_at": visit.ended_at,
        "ended_by": visit.ended_by,
        "engagement": visit.engagement or None,
        "former_users": visit.former_users or None,
        TTL: gone_at // SECOND,
    }
    return {name: value for name, value in values.items() if value is not None}


def _readable(rows: Iterable[Mapping[str, Any]]) -> Iterator[Visit]:
    """The visits of those rows that can be read: the others are none's, until they are written
    anew or their TTL takes them away."""
    found = (read(visit_from, row, str(row.get(Keys.PARTITION))) for row in rows)
    return (visit for visit in found if visit is not None)


_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("joined_at", "ended_at"), TIME),
    **dict.fromkeys(("space", "id", "session", "user", "visitor"), TEXT),
    **dict.fromkeys(("beats", "engagement"), NUMBERS),
}


def visit_from(row: Mapping[str, Any]) -> Visit:
    """A row of the ledger, decoded, as the visit. Raises one of ``UNREADABLE`` for what no release
    wrote."""
    require(row, _SHAPES)
    return Visit(
        space=row["space"],
        id=row["id"],
        session=row["session"],
        user=row.get("user"),
        visitor=row.get("visitor"),
        joined_at=row["joined_at"],
        beats=row.get("beats", {}),
        ended_at=row.get("ended_at"),
        ended_by=row.get("ended_by"),
        engagement=row.get("engagement", {}),
        former_users=tuple(row.get("former_users", ())),
    )
