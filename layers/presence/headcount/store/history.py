"""The History table: a sample per minute, a row per day, and the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from headcount.model.headcount import Point
from headcount.model.moderation import AuditEntry
from headcount.model.visit import Day, pack_quarters, unpack_quarters
from headcount.store.attributes import decode, encode
from headcount.store.keys import TTL
from headcount.store.keys import History as Keys
from headcount.store.table import BY_THE_CLOCK, Backoff, RetainedTable, Start, conditional_write
from headcount.times import DAY, SECOND, day_start, iso, parse_iso

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from headcount.model.cost import Use


class HistoryTable(RetainedTable):
    """Writes are whole rows, so that a repeated write changes nothing."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        timeline_days: int,
        day_rows_days: int,
        backoff: Backoff = BY_THE_CLOCK,
    ) -> None:
        super().__init__(client, table, day_rows_days=day_rows_days, backoff=backoff)
        self._timeline_retention = timeline_days * DAY

    def add_points(self, points: Iterable[Point]) -> None:
        """Store samples; a minute's later sample replaces the earlier one."""
        self._put_items(
            encode(
                {
                    Keys.PARTITION: point.space,
                    Keys.SORT: Keys.MINUTE + iso(point.at),
                    "people": point.people,
                    "sessions": point.sessions,
                    "engagement": point.engagement or None,
                    "since": point.since,
                    TTL: (point.at + self._timeline_retention) // SECOND,
                }
            )
            for point in points
        )

    def points(self, space: str, since: int, until: int) -> list[Point]:
        """Samples from ``since`` to ``until``, both included, oldest first."""
        rows = self._between(space, Keys.MINUTE + iso(since), Keys.MINUTE + iso(until))
        return [
            Point(
                space=space,
                at=parse_iso(row[Keys.SORT].removeprefix(Keys.MINUTE)),
                people=row["people"],
                sessions=row["sessions"],
                engagement=row.get("engagement", {}),
                since=row.get("since"),
            )
            for row in rows
        ]

    def next_point(self, space: str, after: int) -> Point | None:
        """The first sample after a time."""
        first = f"{Keys.MINUTE}{iso(after)}$"
        return self._first_point(self._between(space, first, f"{Keys.MINUTE}~", Limit=1))

    def last_point(self, space: str) -> Point | None:
        """The last sample."""
        return self._first_point(
            self._between(space, Keys.MINUTE, f"{Keys.MINUTE}~", Limit=1, ScanIndexForward=False)
        )

    def _first_point(self, rows: Iterator[Mapping[str, Any]]) -> Point | None:
        row = next(rows, None)
        if row is None:
            return None
        at = parse_iso(row[Keys.SORT].removeprefix(Keys.MINUTE))
        people, sessions = row["people"], row["sessions"]
        return Point(row[self._partition], at, people, sessions, since=row.get("since"))

    def add_days(self, days: Iterable[tuple[str, Day]]) -> None:
        """Store days, each with its space; a day that is stored already is replaced."""
        self._put_items(
            encode(
                {
                    Keys.PARTITION: space,
                    Keys.SORT: Keys.DAY + day.date,
                    "unique_people": day.unique_people,
                    "unique_sessions": day.unique_sessions,
                    "views": day.views,
                    "beats": day.beats,
                    "peak": day.peak,
                    "avg_seconds": day.avg_seconds,
                    "unique_users": day.unique_users,
                    "engagement": day.engagement or None,
                    "quarters": None if day.quarters is None else pack_quarters(day.quarters),
                    TTL: self._gone_at(day_start(day.date)),
                }
            )
            for space, day in days
        )

    def add_steps(self, space: str, date: str, packed: bytes) -> None:
        """Store a day's quarters of an hour; they replace those that are stored already."""
        row = {
            Keys.PARTITION: space,
            Keys.SORT: Keys.STEPS + date,
            "steps": packed,
            TTL: self._gone_at(day_start(date)),
        }
        self._put_items([encode(row)])

    def steps(self, space: str, since: str, until: str) -> dict[str, bytes]:
        """The stored quarters of the days from ``since`` to ``until`` (dates), both included."""
        rows = self._between(space, Keys.STEPS + since, Keys.STEPS + until)
        return {row[Keys.SORT].removeprefix(Keys.STEPS): row["steps"] for row in rows}

    def first_steps(self, space: str) -> str | None:
        """The first day whose quarters are stored."""
        row = next(self._between(space, Keys.STEPS, f"{Keys.STEPS}~", Limit=1), None)
        return None if row is None else str(row[Keys.SORT].removeprefix(Keys.STEPS))

    def days(self, space: str, since: str, until: str) -> list[Day]:
        """Days from ``since`` to ``until`` (dates), both included, oldest first."""
        return [day_from(row) for row in self._between(space, Keys.DAY + since, Keys.DAY + until)]

    def days_of(self, spaces: Iterable[str], date: str) -> dict[str, Day]:
        """A day of many spaces, by space; those without a row are left out."""
        keys = [self._key(space, Keys.DAY + date) for space in spaces]
        rows = self._get_rows(keys, consistent=True)
        return {row[self._partition]: day_from(row) for row in rows}

    def add_use(self, date: str, part: int, use: Use, *, parts: int | None = None) -> None:
        """Store what a day of the spaces in a part used. ``parts``: of how many, in part 0."""
        row = {
            Keys.PARTITION: Keys.STACK,
            Keys.SORT: f"{Keys.USE}{date}#{part:05d}",
            "beats": use.beats,
            "views": use.views,
            "seconds": use.seconds,
            "parts": parts,
            TTL: self._gone_at(day_start(date)),
        }
        self._put_items([encode(row)])

    def uses(self, since: str, until: str) -> dict[str, Use]:
        """What the days from ``since`` to ``until`` (dates), both included, used: by date."""
        from headcount.model.cost import Use

        found: dict[str, Use] = {}
        parts = 0
        for row in self._between(Keys.STACK, Keys.USE + since, f"{Keys.USE}{until}$"):
            date, _, part = row[Keys.SORT].removeprefix(Keys.USE).partition("#")
            parts = row.get("parts", parts)
            if int(part) < parts:  # else it is of an earlier run, which had more parts
                use = found.get(date, Use())
                found[date] = use.plus(row["beats"], row["views"], row["seconds"])
        return found

    def add_audit_entry(self, entry: AuditEntry) -> None:
        """Store an entry of the audit log."""
        self._client.put_item(
            TableName=self._table,
            Item=encode(
                {
                    Keys.PARTITION: entry.space,
                    Keys.SORT: _audit_key(entry.at, entry.id),
                    "who": entry.who,
                    "what": entry.what,
                    "parameters": entry.parameters,
                    TTL: self._gone_at(entry.at),
                }
            ),
        )

    def audit_entries(self, space: str, since: int, until: int, *, limit: int) -> list[AuditEntry]:
        """The entries of the audit log from ``since`` to ``until``, both included: the newest
        first, at most ``limit``."""
        rows = self._between(
            space,
            Keys.AUDIT + iso(since),
            f"{Keys.AUDIT}{iso(until)}$",  # "$" sorts right after "#"
            ScanIndexForward=False,
            Limit=limit,  # of a page: the newest are mostly in the first
        )
        return [_audit_entry(row) for row in islice(rows, limit)]

    def scan_audit_entries(self, start: Start, limit: int) -> tuple[list[AuditEntry], Start]:
        """The entries of the audit log among up to ``limit`` rows of the table, and where to
        continue; None: that was all."""
        rows, start = self._scan_page(
            start,
            limit,
            FilterExpression="begins_with(#s, :audit)",
            ExpressionAttributeNames={"#s": Keys.SORT},
            ExpressionAttributeValues=encode({":audit": Keys.AUDIT}),
        )
        return [_audit_entry(decode(row)) for row in rows], start

    def update_audit_entry(self, space: str, at: int, id_: str, **values: Any) -> None:
        """Replace ``who`` or ``parameters`` of an entry, if it is still stored."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(space, _audit_key(at, id_)),
            **self._set_if_exists(values),
        )

    def _between(
        self, space: str, first: str, last: str, **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        return self._query_rows(
            space,
            condition="#p = :p AND #s BETWEEN :first AND :last",
            names={"#s": Keys.SORT},
            values={":first": first, ":last": last},
            **parameters,
        )


def day_from(row: Mapping[str, Any]) -> Day:
    """A day from its decoded row."""
    return Day(
        date=row[Keys.SORT].removeprefix(Keys.DAY),
        unique_people=row["unique_people"],
        unique_sessions=row["unique_sessions"],
        views=row["views"],
        beats=row["beats"],
        peak=row["peak"],
        avg_seconds=row["avg_seconds"],
        unique_users=row.get("unique_users", 0),
        engagement=row.get("engagement", {}),
        quarters=unpack_quarters(row["quarters"]) if "quarters" in row else None,
    )


def _audit_key(at: int, id_: str) -> str:
    return f"{Keys.AUDIT}{iso(at)}#{id_}"


def _audit_entry(row: Mapping[str, Any]) -> AuditEntry:
    at, _, id_ = row[Keys.SORT].removeprefix(Keys.AUDIT).partition("#")
    return AuditEntry(
        space=row[Keys.PARTITION],
        at=parse_iso(at),
        id=id_,
        who=row["who"],
        what=row["what"],
        parameters=row.get("parameters", {}),
    )
