"""The Subscriptions table: which dashboards hear which spaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import condition_failed
from headcount.store.attributes import decode, encode
from headcount.store.batches import Start, scan_page
from headcount.store.keys import TTL
from headcount.store.keys import Subscriptions as Keys
from headcount.times import HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_RETENTION = 3 * HOUR  # API Gateway ends every WebSocket connection after 2 hours
_CLAIM_LOST = MINUTE  # after which a claim's errand must have come to nothing


@dataclass(frozen=True, slots=True)
class Subscription:
    """A connection that hears a space. Times are epoch milliseconds."""

    space: str
    connection: str
    since: int
    after: int | None
    """The version its first headcount had; None until that one was sent. A publisher waits for it
    instead of sending a later version first."""
    form: str | None = None
    """What it hears it in; None: as headcounts."""


@dataclass(frozen=True, slots=True)
class Held:
    """The session that a connection holds, and what its opening said for as long as it lasts."""

    space: str
    session: str
    user: str | None = None
    """Whom the token proves."""
    admin: bool = False
    """The token was an admin's, who may speak for anyone."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Facets that the request's headers say: device and country."""


class SubscriptionsTable:
    """Reads are consistent: a publisher must not miss who subscribed before its version."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def connect(self, connection: str, *, reads: Iterable[str], now: int) -> None:
        """Remember a connection, and the spaces that its token may read."""
        values = {"since": now, "reads": sorted(reads)}
        self._put(Keys.CONNECTION + connection, Keys.SELF, values, now)

    def hold(self, connection: str, held: Held, *, now: int) -> None:
        """Remember a connection that holds a session. It may read nothing."""
        values = {
            "since": now,
            "reads": [],
            "space": held.space,
            "session": held.session,
            "user": held.user,
            "admin": held.admin or None,
            "seen": held.seen or None,
        }
        self._put(Keys.CONNECTION + connection, Keys.SELF, values, now)

    def held(self, connection: str) -> Held | None:
        """The session that a connection holds; None where it holds none, or is not known."""
        item = self._itself(connection)
        return _held(item) if item else None

    def scanned_held(self, start: Start, limit: int) -> tuple[list[tuple[str, Held]], Start]:
        """The connections that hold a session among up to ``limit`` rows, and where to go on; None:
        that was all."""
        rows, start = scan_page(self._client, self._table, start, limit)
        found = [
            (str(row[Keys.PARTITION]).removeprefix(Keys.CONNECTION), held)
            for row in map(decode, rows)
            if row[Keys.SORT] == Keys.SELF and (held := _held(row)) is not None
        ]
        return found, start

    def forget(self, connection: str) -> None:
        """Forget a connection that hears nothing."""
        self._delete(Keys.CONNECTION + connection, Keys.SELF)

    def add(
        self,
        space: str,
        connection: str,
        *,
        now: int,
        form: str | None = None,
        said_at: int | None = None,
    ) -> None:
        """Subscribe to a space, or another topic, without a first headcount yet.

        ``said_at``: when it was asked for, if that was not now.
        """
        values = {"since": now if said_at is None else said_at, "form": form}
        # This order: a row under the space that $disconnect could not find would be a leak.
        self._put(Keys.CONNECTION + connection, space, values, now)
        self._put(Keys.SPACE + space, connection, values, now)

    def greeted(self, space: str, connection: str, version: int) -> None:
        """The first headcount was sent, with this version: later ones may follow."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: Keys.SPACE + space, Keys.SORT: connection}),
                ConditionExpression="attribute_exists(#p)",
                UpdateExpression="SET #after = :after",
                ExpressionAttributeNames={"#p": Keys.PARTITION, "#after": "after"},
                ExpressionAttributeValues=encode({":after": version}),
            )
        except ClientError as error:
            if not condition_failed(error):  # unsubscribed or gone in between
                raise

    def remove(self, space: str, connection: str, *, said_at: int | None = None) -> None:
        """Unsubscribe, unless to subscribe was asked for at ``said_at`` or later: two frames that
        are sent one after the other are handled side by side, and may overtake each other."""
        self._delete(Keys.SPACE + space, connection, said_at)
        self._delete(Keys.CONNECTION + connection, space, said_at)

    def disconnect(self, connection: str) -> Held | None:
        """Forget a connection and all it heard.

        Where it holds a session, returns that and leaves the row to the bin: it costs no write,
        and is there when the end is told of twice, or only after a post found the connection gone.
        """
        rows = {row[Keys.SORT]: row for row in self._rows(Keys.CONNECTION + connection)}
        held = _held(rows.pop(Keys.SELF, {}))
        for space in rows:
            self.remove(space, connection)
        if held is None:
            self._delete(Keys.CONNECTION + connection, Keys.SELF)
        return held

    def spaces(self, connection: str) -> list[str]:
        """What a connection hears."""
        return list(self.heard(connection))

    def heard(self, connection: str) -> dict[str, str | None]:
        """What a connection hears, and in which form."""
        rows = self._rows(Keys.CONNECTION + connection)
        return {row[Keys.SORT]: row.get("form") for row in rows if row[Keys.SORT] != Keys.SELF}

    def connection(self, connection: str) -> tuple[Collection[str], Collection[str]]:
        """What a connection hears, and which spaces it may read."""
        rows = {row[Keys.SORT]: row for row in self._rows(Keys.CONNECTION + connection)}
        itself = rows.pop(Keys.SELF, {"reads": ()})  # nothing where it is not known
        return rows, itself.get("reads", ("*",))  # before it was kept, only admins connected

    def set_aside(self, space: str, connection: str, *, now: int) -> None:
        """A connection missed a version of a space: it must not hear a later one."""
        self._put(Keys.ASIDE + space, connection, {}, now)

    def aside(self, space: str) -> set[str]:
        """The connections that missed a version of a space."""
        return {row[Keys.SORT] for row in self._rows(Keys.ASIDE + space)}

    def note_told(self, space: str, version: int, *, now: int) -> None:
        """A version of a space that left in chunks was told; a later one may have been before."""
        later = {
            "ConditionExpression": "attribute_not_exists(#v) OR #v < :v",
            "ExpressionAttributeNames": {"#v": "version"},
            "ExpressionAttributeValues": encode({":v": version}),
        }
        try:
            self._put(Keys.TOLD, space, {"version": version}, now, **later)
        except ClientError as error:
            if not condition_failed(error):
                raise

    def told(self, space: str) -> int | None:
        """The version of a space that was told in chunks last; None when none was for hours."""
        item = self._item(Keys.TOLD, space)
        return int(item["version"]) if item else None

    def claim(self, topic: str, *, now: int) -> bool:
        """Take it on oneself to have a topic said; False when somebody did, and it is to come."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: Keys.CLAIM, Keys.SORT: topic}),
                # One from the future is of a clock that was wrong: nobody knows how old it is.
                ConditionExpression="attribute_not_exists(#at) OR NOT #at BETWEEN :lost AND :now",
                UpdateExpression="SET #at = :now",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues=encode({":now": now, ":lost": now - _CLAIM_LOST}),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True

    def release(self, topic: str) -> None:
        """What is claimed is about to be said: whoever comes now claims anew."""
        self._client.update_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: Keys.CLAIM, Keys.SORT: topic}),
            UpdateExpression="REMOVE #at",
            ExpressionAttributeNames={"#at": "at"},
        )

    def connected_at(self, connection: str) -> int | None:
        """When a connection came up; None when it is not known."""
        item = self._itself(connection)
        return int(item["since"]) if item else None

    def _itself(self, connection: str) -> dict[str, Any] | None:
        return self._item(Keys.CONNECTION + connection, Keys.SELF)

    def _item(self, topic: str, subscriber: str) -> dict[str, Any] | None:
        item = self._client.get_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: topic, Keys.SORT: subscriber}),
            ConsistentRead=True,
        ).get("Item")
        return decode(item) if item else None

    def of(self, space: str) -> list[Subscription]:
        """Who hears a space."""
        return [
            Subscription(
                space=space,
                connection=row[Keys.SORT],
                since=row["since"],
                after=row.get("after"),
                form=row.get("form"),
            )
            for row in self._rows(Keys.SPACE + space)
        ]

    def _rows(self, topic: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": topic}),
        )
        return [decode(item) for page in pages for item in page["Items"]]

    def _put(
        self, topic: str, subscriber: str, values: dict[str, Any], now: int, **condition: Any
    ) -> None:
        self._client.put_item(
            TableName=self._table,
            Item=encode(
                {
                    Keys.PARTITION: topic,
                    Keys.SORT: subscriber,
                    **values,
                    TTL: (now + _RETENTION) // SECOND,
                }
            ),
            **condition,
        )

    def _delete(self, topic: str, subscriber: str, said_at: int | None = None) -> None:
        condition: dict[str, Any] = {}
        if said_at is not None:
            condition = {
                "ConditionExpression": "attribute_not_exists(#since) OR #since < :said",
                "ExpressionAttributeNames": {"#since": "since"},
                "ExpressionAttributeValues": encode({":said": said_at}),
            }
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: topic, Keys.SORT: subscriber}),
                **condition,
            )
        except ClientError as error:
            if not condition_failed(error):
                raise


def _held(row: Mapping[str, Any]) -> Held | None:
    if "session" not in row:
        return None
    return Held(
        space=row["space"],
        session=row["session"],
        user=row.get("user"),
        admin=row.get("admin", False),
        seen=row.get("seen", {}),
    )
