"""The History table: a point a minute, a row a day, and a row for each act of an admin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import condition_failed
from headcount.moderation import Act
from headcount.store.attributes import Item, decode, encode
from headcount.store.batches import Start, put_many, scan_page
from headcount.store.keys import TTL
from headcount.store.keys import History as Keys
from headcount.times import DAY, SECOND, day_start, iso, parse_iso
from headcount.visits import Day

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Point:
    """A space at a full minute (epoch milliseconds)."""

    space: str
    at: int
    people: int
    sessions: int
    engagement: Mapping[str, float] = field(default_factory=dict)  # totals until then


class HistoryTable:
    """Writes are whole rows, so that writing one again changes nothing."""

    def __init__(
        self, client: DynamoDBClient, table: str, *, timeline_days: int, day_rows_days: int
    ) -> None:
        self._client = client
        self._table = table
        self._timeline_retention = timeline_days * DAY
        self._day_retention = day_rows_days * DAY

    def add_points(self, points: Iterable[Point]) -> None:
        """Store samples; a minute's later sample replaces the earlier one."""
        self._write(
            encode(
                {
                    Keys.PARTITION: point.space,
                    Keys.SORT: Keys.MINUTE + iso(point.at),
                    "people": point.people,
                    "sessions": point.sessions,
                    "engagement": point.engagement or None,
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
            )
            for row in rows
        ]

    def add_days(self, days: Iterable[tuple[str, Day]]) -> None:
        """Store days' rows, each with its space; a day written again is replaced."""
        self._write(
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
                    TTL: (day_start(day.date) + self._day_retention) // SECOND,
                }
            )
            for space, day in days
        )

    def days(self, space: str, since: str, until: str) -> list[Day]:
        """Days' rows from ``since`` to ``until`` (dates), both included, oldest first."""
        return [day_from(row) for row in self._between(space, Keys.DAY + since, Keys.DAY + until)]

    def add_act(self, act: Act) -> None:
        """Store what an admin is about to do."""
        self._client.put_item(
            TableName=self._table,
            Item=encode(
                {
                    Keys.PARTITION: act.space,
                    Keys.SORT: _audit_key(act.at, act.id),
                    "who": act.who,
                    "what": act.what,
                    "parameters": act.parameters,
                    TTL: (act.at + self._day_retention) // SECOND,
                }
            ),
        )

    def acts(self, space: str, since: int, until: int, *, limit: int) -> list[Act]:
        """What admins did from ``since`` to ``until``, both included: the newest first, at most
        ``limit``."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="#p = :p AND #s BETWEEN :first AND :last",
            ExpressionAttributeNames={"#p": Keys.PARTITION, "#s": Keys.SORT},
            ExpressionAttributeValues=encode(
                {
                    ":p": space,
                    ":first": Keys.AUDIT + iso(since),
                    ":last": f"{Keys.AUDIT}{iso(until)}$",  # "$" comes right after "#"
                }
            ),
            ScanIndexForward=False,
            PaginationConfig={"MaxItems": limit},
        )
        return [_act(decode(item)) for page in pages for item in page["Items"]]

    def scanned_acts(self, start: Start, limit: int) -> tuple[list[Act], Start]:
        """What admins did among up to ``limit`` rows of the table, and where to go on; None: that
        was all."""
        rows, start = scan_page(
            self._client,
            self._table,
            start,
            limit,
            FilterExpression="begins_with(#s, :audit)",
            ExpressionAttributeNames={"#s": Keys.SORT},
            ExpressionAttributeValues=encode({":audit": Keys.AUDIT}),
        )
        return [_act(decode(row)) for row in rows], start

    def rewrite(self, space: str, at: int, id_: str, **said: Any) -> None:
        """Have an act say something else, ``who`` or ``parameters``, if it is still kept."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: space, Keys.SORT: _audit_key(at, id_)}),
                ConditionExpression="attribute_exists(#p)",
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in said),
                ExpressionAttributeNames={
                    "#p": Keys.PARTITION,
                    **{f"#{name}": name for name in said},
                },
                ExpressionAttributeValues=encode({f":{name}": one for name, one in said.items()}),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise

    def _between(self, space: str, first: str, last: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="#p = :p AND #s BETWEEN :first AND :last",
            ExpressionAttributeNames={"#p": Keys.PARTITION, "#s": Keys.SORT},
            ExpressionAttributeValues=encode({":p": space, ":first": first, ":last": last}),
        )
        return [decode(item) for page in pages for item in page["Items"]]

    def _write(self, items: Iterable[Item]) -> None:
        put_many(self._client, self._table, items)


def day_from(row: Mapping[str, Any]) -> Day:
    """A day's row, decoded, as the day."""
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
    )


def _audit_key(at: int, id_: str) -> str:
    return f"{Keys.AUDIT}{iso(at)}#{id_}"


def _act(row: Mapping[str, Any]) -> Act:
    at, _, id_ = row[Keys.SORT].removeprefix(Keys.AUDIT).partition("#")
    return Act(
        space=row[Keys.PARTITION],
        at=parse_iso(at),
        id=id_,
        who=row["who"],
        what=row["what"],
        parameters=row.get("parameters", {}),
    )
