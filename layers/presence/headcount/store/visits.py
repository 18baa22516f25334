"""The Visits table: the ledger of visits, and the views that must agree with it.

A visit's row and the space's views are written in one transaction, and so are a visit's end and its
engagement: whatever crashes or is repeated, each visit counts once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headcount.errors import CONDITION_FAILED
from headcount.model.headcount import periods_of
from headcount.model.visit import Visit
from headcount.store.attributes import Item, decode, encode
from headcount.store.counts import addition, engagement_update
from headcount.store.keys import SHARD_SEPARATOR, TTL, visits_partition
from headcount.store.keys import Counts as CountsKeys
from headcount.store.keys import Visits as Keys
from headcount.store.rows import FLAG, NUMBERS, TEXT, TIME, Many, Shape, check_shapes, read
from headcount.store.table import (
    BY_THE_CLOCK,
    Backoff,
    Parallel,
    RetainedTable,
    Start,
    conditional_write,
)
from headcount.times import DAY, SECOND, day_of, day_start

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

VISITS_PER_TRANSACTION = 99  # TransactWriteItems takes 100 actions, one of them counts the views
RETENTION = 7 * DAY
_LIVE_RETENTION = 35 * DAY  # a visit whose end was lost must not stay forever


class VisitsTable(RetainedTable):
    """Writes may be repeated: a visit is recorded, and counted as a view, once.

    Views are kept for ``day_rows_days`` after the last one. Ends are written ``in_parallel``.
    """

    _partition = Keys.PARTITION

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        counts_table: str,
        *,
        day_rows_days: int,
        in_parallel: Parallel = map,
        backoff: Backoff = BY_THE_CLOCK,
    ) -> None:
        super().__init__(client, table, day_rows_days=day_rows_days, backoff=backoff)
        self._counts_table = counts_table
        self._in_parallel = in_parallel

    def record(self, visits: Iterable[Visit]) -> int:
        """Add visits to the ledger, and their number to their spaces' views.

        Visits that are recorded already only get their end, if it is known. Returns the number of
        new visits.
        """
        by_space: dict[str, dict[str, Visit]] = defaultdict(dict)
        for visit in visits:
            by_space[visit.space][visit.id] = visit
        added = 0
        for space, group in by_space.items():
            todo = list(group.values())
            while todo:
                # Their engagement takes an action too.
                size = VISITS_PER_TRANSACTION - any(_engaged(visit) for visit in todo)
                batch, todo = todo[:size], todo[size:]
                added += self._record_batch(space, batch)
        return added

    def _record_batch(self, space: str, batch: list[Visit]) -> int:
        while batch:
            actions = [
                *map(self._put, batch),
                self._add_views(space, batch),
                *self._add_engagement(space, batch),
            ]
            reasons = self._transact(actions)
            if not reasons:
                self._write_later_days(batch)
                return len(batch)
            known = [reason == CONDITION_FAILED for reason in reasons]
            for visit, there in zip(batch, known, strict=False):
                if there and visit.ended_at is not None:
                    self._write_end(visit)
            batch = [v for v, there in zip(batch, known, strict=False) if not there]
        return 0

    def end(self, visits: Iterable[Visit]) -> None:
        """Write visits' ends into the ledger; a visit that is missing there is recorded whole."""
        plain: list[Visit] = []
        engaged: list[Visit] = []
        for visit in visits:
            (engaged if _engaged(visit) else plain).append(visit)
        # One by one if they add to the same totals: in parallel they would only conflict.
        there = [*self._in_parallel(self._write_end, plain), *map(self._write_end, engaged)]
        ended = zip([*plain, *engaged], there, strict=True)
        self.record([visit for visit, known in ended if not known])

    def _write_end(self, visit: Visit) -> bool:
        """Write a visit's end into its row; False if there is no row."""
        if _engaged(visit) and self._write_engaged_end(visit):
            self._write_later_days([visit])
            return True
        if not conditional_write(self._client.update_item, **self._end_update(visit)):
            return False
        self._write_later_days([visit])
        return True

    def _write_engaged_end(self, visit: Visit) -> bool:
        """Write the end and add the engagement to the totals, in one transaction.

        Returns False if the row has an end already, so that a repeat changes nothing, or if there
        is no row.
        """
        end = self._end_update(visit)
        end["ConditionExpression"] += " AND attribute_not_exists(#ended_at)"
        return not self._transact([{"Update": end}, *self._add_engagement(visit.space, [visit])])

    def _end_update(self, visit: Visit) -> Any:
        return {
            "TableName": self._table,
            "Key": _key(visit, visit.day),
            **self._set_if_exists(_end_values(visit)),
        }

    def on_day(self, space: str, day: str) -> Iterator[Visit]:
        """The visits that began on a UTC day, and ended ones that reached into it: each once, read
        lazily."""
        return _readable(self._query_rows(visits_partition(space, day)))

    def ended(self, visits: Iterable[Visit]) -> set[str]:
        """The ids of those visits that the ledger has with their end."""
        rows = self._get_rows(map(_first_key, visits), consistent=False)
        return {visit.id for visit in _readable(rows) if visit.ended_at is not None}

    def recorded(self, visits: Iterable[Visit]) -> set[str]:
        """The ids of those visits that the ledger has, consistent."""
        rows = self._get_rows(map(_first_key, visits), consistent=True)
        return {visit.id for visit in map(visit_from, rows)}

    def scan_page(self, start: Start, limit: int) -> tuple[list[tuple[str, Visit]], Start]:
        """Up to ``limit`` rows of the ledger, each with its UTC day, and where to continue; None:
        that was all."""
        rows, start = self._scan_page(start, limit)
        found = [decode(row) for row in rows]
        return [
            (row[Keys.PARTITION].rpartition(SHARD_SEPARATOR)[2], visit_from(row)) for row in found
        ], start

    def replace_ids(self, visit: Visit, day: str | None = None) -> int:
        """Replace session, visitor and users in the visit's row of that day, or of all its days.
        Returns the number of rows."""
        values = {
            "session": visit.session,
            "user": visit.user,
            "visitor": visit.visitor,
            "former_users": visit.former_users or None,
        }
        ids = {name: value for name, value in values.items() if value is not None}
        return sum(
            conditional_write(
                self._client.update_item,
                TableName=self._table,
                Key=_key(visit, one),
                **self._set_if_exists(ids),
            )
            for one in ({visit.day, *visit.beats} if day is None else {day})
        )

    def _write_later_days(self, visits: Iterable[Visit]) -> None:
        """Write a row, which is no view, for each later day in which an ended visit had beats."""
        for visit in visits:
            if visit.ended_at is None:
                continue
            for day in visit.beats:
                if day != visit.day:
                    self._client.put_item(TableName=self._table, Item=_item(visit, day))

    def _put(self, visit: Visit) -> Any:
        return {
            "Put": {
                "TableName": self._table,
                "Item": _item(visit, visit.day),
                "ConditionExpression": "attribute_not_exists(#p)",
                "ExpressionAttributeNames": {"#p": Keys.PARTITION},
            }
        }

    def _add_views(self, space: str, visits: list[Visit]) -> Any:
        added = Counter(period for visit in visits for period in periods_of(visit.day))
        added["total"] = len(visits)
        gone_at = self._gone_at(max(visit.joined_at for visit in visits))
        update = addition(space, CountsKeys.VIEWS, added, gone_at)
        return {"Update": {"TableName": self._counts_table, **update}}

    def _add_engagement(self, space: str, visits: list[Visit]) -> list[Any]:
        """The action that adds the engagement of the ended visits, to the day of the last end."""
        done = [visit for visit in visits if _engaged(visit)]
        if not done:
            return []
        total: Counter[str] = Counter()
        for visit in done:
            total.update(visit.engagement)
        day = day_of(max(visit.ended_at or 0 for visit in done))
        gone_at = self._gone_at(day_start(day) + DAY)
        update = engagement_update(space, day, total, gone_at)
        return [{"Update": {"TableName": self._counts_table, **update}}]


def _first_key(visit: Visit) -> Item:
    return _key(visit, visit.day)


def _key(visit: Visit, day: str) -> Item:
    return encode(
        {
            Keys.PARTITION: visits_partition(visit.space, day),
            Keys.SORT: f"{visit.joined_at:013d}#{visit.id}",
        }
    )


def _item(visit: Visit, day: str) -> Item:
    values = {
        "space": visit.space,
        "id": visit.id,
        "session": visit.session,
        "joined_at": visit.joined_at,
        **_end_values(visit),
    }
    return _key(visit, day) | encode(values)


def _engaged(visit: Visit) -> bool:
    """Whether a visit has ended, and has engagement to add to the totals."""
    return visit.ended_at is not None and bool(visit.engagement)


def _end_values(visit: Visit) -> dict[str, Any]:
    """The attributes that change during a visit, or that are known at its end."""
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
        "verified": visit.verified if visit.users else None,
        "former_proofs": visit.former_proofs or None,
        TTL: gone_at // SECOND,
    }
    return {name: value for name, value in values.items() if value is not None}


def _readable(rows: Iterable[Mapping[str, Any]]) -> Iterator[Visit]:
    """The visits of the readable rows: the others are skipped until they are written again, or
    their TTL deletes them."""
    found = (read(visit_from, row, str(row.get(Keys.PARTITION))) for row in rows)
    return (visit for visit in found if visit is not None)


_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("joined_at", "ended_at"), TIME),
    **dict.fromkeys(("space", "id", "session", "user", "visitor"), TEXT),
    **dict.fromkeys(("beats", "engagement"), NUMBERS),
    "verified": FLAG,
    "former_proofs": Many(list, FLAG),
}


def visit_from(row: Mapping[str, Any]) -> Visit:
    """A visit from its decoded row. Raises one of ``UNREADABLE`` for rows that no release wrote."""
    check_shapes(row, _SHAPES)
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
        verified=row.get("verified"),
        former_proofs=tuple(row.get("former_proofs", ())),
    )
