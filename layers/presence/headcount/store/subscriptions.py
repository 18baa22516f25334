"""The Subscriptions table: which dashboards are subscribed to which spaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from headcount.model.session import HeldSession
from headcount.store.attributes import decode, encode
from headcount.store.keys import TTL
from headcount.store.keys import Subscriptions as Keys
from headcount.store.table import Start, Table, conditional_write
from headcount.times import HOUR, MINUTE, SECOND

_RETENTION = 3 * HOUR  # API Gateway ends every WebSocket connection after 2 hours
_CLAIM_LOST = MINUTE  # after this time a claim's task must have been lost


@dataclass(frozen=True, slots=True)
class Subscription:
    """A connection's subscription to a space. Times are epoch milliseconds."""

    space: str
    connection: str
    since: int
    after: int | None
    """The version of its first headcount; None until that one was sent. A publisher waits for it,
    instead of sending a later version first."""
    form: str | None = None
    """The form of its messages; None: headcounts."""


@dataclass(frozen=True, slots=True)
class Audience:
    """The subscriptions to a topic."""

    subscriptions: list[Subscription]
    chunked: int = 0
    """The version that was last sent in chunks, if ``mark_chunked`` noted it; 0: none."""
    chunked_at: int = 0


class SubscriptionsTable(Table):
    """Reads are consistent: a publisher must not miss a subscription from before its version."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def connect(
        self, connection: str, *, reads: Iterable[str], sees: Iterable[str] = (), now: int
    ) -> None:
        """Store a connection, the spaces that its token may read, and the people it may see."""
        values = {"since": now, "reads": sorted(reads), "sees": sorted(sees) or None}
        self._put(Keys.CONNECTION + connection, Keys.SELF, values, now)

    def open_by_share(self, connection: str, share: str, until: int, *, now: int) -> None:
        """Note that a share link opened a connection, and when the link ends."""
        values = {"since": now, "share": share, "until": until}
        self._put(Keys.CONNECTION + connection, Keys.SHARES, values, now)
        self._put(Keys.SPACE + Keys.SHARES, connection, values, now)

    def opened_by_shares(self, *, consistent: bool = True) -> list[tuple[str, str, int]]:
        """The connections that share links opened: connection, link, and when that ends. Of the
        last moment, some may be missing unless the read is ``consistent``, which costs twice."""
        rows = self._query_rows(Keys.SPACE + Keys.SHARES, ConsistentRead=consistent)
        return [(row[Keys.SORT], row["share"], row["until"]) for row in rows]

    def listen(self, connection: str, *, now: int) -> None:
        """Store a connection that only listens. It may read nothing else."""
        values = {"since": now, "reads": [], "listens": True}
        self._put(Keys.CONNECTION + connection, Keys.SELF, values, now)

    def hold(self, connection: str, held: HeldSession, *, now: int) -> None:
        """Store a connection that holds a session. It may read nothing."""
        values = {
            "since": now,
            "reads": [],
            "space": held.space,
            "session": held.session,
            "user": held.user,
            "admin": held.admin or None,
            "reads_counts": held.reads or None,
            "robot": held.robot,
            "seen": held.seen or None,
        }
        self._put(Keys.CONNECTION + connection, Keys.SELF, values, now)

    def held(self, connection: str) -> HeldSession | None:
        """The session that a connection holds; None if it holds none, or is unknown.

        Its row never changes, so a cheaper read is as good, unless it does not find the row yet.
        One that an erasure deletes may be found for a moment longer, as its next round expects.
        """
        key = self._key(Keys.CONNECTION + connection, Keys.SELF)
        item = self._get_row(key) or self._get_row(key, ConsistentRead=True)
        return _held(item) if item else None

    def only_listens(self, connection: str) -> tuple[HeldSession | None, bool]:
        """The session that a connection holds, and whether it was opened only to listen."""
        item = self._itself(connection) or {}
        return _held(item), "listens" in item

    def scan_held(self, start: Start, limit: int) -> tuple[list[tuple[str, HeldSession]], Start]:
        """The connections that hold a session among up to ``limit`` rows, and where to continue;
        None: that was all. A client of Convex's holds one of no space, if a token proves it."""
        rows, start = self._scan_page(start, limit)
        found = [
            (str(row[Keys.PARTITION]).removeprefix(Keys.CONNECTION), held)
            for row in map(decode, rows)
            if (held := _held(row)) is not None
        ]
        return found, start

    def open_sync(self, connection: str, state: str, *, now: int) -> None:
        """Store a connection that speaks Convex's sync protocol, with its state as text."""
        self.connect(connection, reads=(), now=now)
        self._put(Keys.SPACE + Keys.SYNC, connection, {"since": now, "form": Keys.SYNC}, now)
        # Last: with this row, its frames are taken.
        self._put(Keys.CONNECTION + connection, Keys.SYNC, {"state": state, "revision": 0}, now)

    def syncing(self) -> list[str]:
        """The connections that speak Convex's sync protocol; of the last moment, some may be
        missing."""
        return [row[Keys.SORT] for row in self._query_rows(Keys.SPACE + Keys.SYNC)]

    def add_sync(self, space: str, connection: str, *, now: int) -> None:
        """Subscribe such a connection to a space."""
        self.add(space, connection, now=now, form=Keys.SYNC)

    def sync(self, connection: str) -> tuple[str, int] | None:
        """The state of such a connection, and its revision; None if it is gone, or none."""
        item = self._item(Keys.CONNECTION + connection, Keys.SYNC)
        return (str(item["state"]), int(item["revision"])) if item else None

    def save_sync(
        self, connection: str, state: str, revision: int, *, user: str | None, now: int
    ) -> bool:
        """Store the next state, unless the connection is gone, or its revision another one.
        ``user``: whom its token proves."""
        unchanged = {
            "ConditionExpression": "#r = :r",
            "ExpressionAttributeNames": {"#r": "revision"},
            "ExpressionAttributeValues": encode({":r": revision}),
        }
        values = {"state": state, "revision": revision + 1, "user": user}
        return conditional_write(
            self._put, Keys.CONNECTION + connection, Keys.SYNC, values, now, **unchanged
        )

    def name_client(self, connection: str, client: str) -> None:
        """Store the name that such a connection's client gave itself, for its mutations: its state
        may have it later."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.CONNECTION + connection, Keys.SELF),
            **self._set_if_exists({"client": client}),
        )

    def client_of(self, connection: str) -> str | None:
        """The name of such a connection's client; None if it is not known, or not yet."""
        item = self._itself(connection)
        return item.get("client") if item else None

    def forget_sync(self, connection: str) -> None:
        """Delete such a connection: with its next frame, it is closed. The first version of a space
        that it watches deletes its subscription."""
        self._delete(Keys.CONNECTION + connection, Keys.SYNC)
        self._delete(Keys.SPACE + Keys.SYNC, connection)
        self.forget(connection)

    def allow_wait(self, connection: str, most: int) -> bool:
        """Whether one more frame of a connection may wait for others, of ``most`` in its life."""
        return conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.CONNECTION + connection, Keys.SELF),
            UpdateExpression="ADD #n :one",
            ConditionExpression="attribute_exists(#at) AND (attribute_not_exists(#n) OR #n < :m)",
            ExpressionAttributeNames={"#n": "waits", "#at": "since"},
            ExpressionAttributeValues=encode({":one": 1, ":m": most}),
        )

    def forget(self, connection: str) -> None:
        """Delete a connection without subscriptions."""
        self._delete(Keys.CONNECTION + connection, Keys.SELF)

    def add(
        self,
        space: str,
        connection: str,
        *,
        now: int,
        form: str | None = None,
        sent_at: int | None = None,
    ) -> None:
        """Subscribe to a space, or another topic, before its first headcount is sent.

        ``sent_at``: when the client asked for it, if not now.
        """
        values = {"since": now if sent_at is None else sent_at, "form": form}
        # In this order: $disconnect could not find a row that is under the space only.
        self._put(Keys.CONNECTION + connection, space, values, now)
        self._put(Keys.SPACE + space, connection, values, now)

    def add_all(self, topics: Sequence[str], connection: str, *, now: int, sent_at: int) -> None:
        """Subscribe to topics whose first message follows, as ``add`` does to one."""
        values = encode({"since": sent_at, TTL: (now + _RETENTION) // SECOND})
        self._put_items(self._key(Keys.CONNECTION + connection, one) | values for one in topics)
        self._put_items(self._key(Keys.SPACE + one, connection) | values for one in topics)

    def mark_greeted(self, space: str, connection: str, version: int) -> None:
        """Note that the first headcount was sent, with this version: later ones may follow."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.SPACE + space, connection),
            **self._set_if_exists({"after": version}),  # not if unsubscribed in between
        )

    def remove(self, space: str, connection: str, *, sent_at: int | None = None) -> None:
        """Unsubscribe, unless the client subscribed at ``sent_at`` or later: consecutive frames are
        handled in parallel, and may overtake each other."""
        self._delete(Keys.SPACE + space, connection, sent_at)
        self._delete(Keys.CONNECTION + connection, space, sent_at)

    def disconnect(self, connection: str) -> HeldSession | None:
        """Delete a connection and its subscriptions. Returns the session that it holds, if any.

        In that case its own row is left to TTL: this saves a write, and the row is still there if
        the end is reported twice, or only after a post found the connection gone.
        """
        rows = {row[Keys.SORT]: row for row in self._rows(Keys.CONNECTION + connection)}
        held = _held(rows.pop(Keys.SELF, {}))
        for space in rows:
            self.remove(space, connection)
        if held is None:
            self._delete(Keys.CONNECTION + connection, Keys.SELF)
        return held

    def topics(self, connection: str) -> dict[str, str | None]:
        """A connection's subscriptions: topic -> form."""
        rows = self._rows(Keys.CONNECTION + connection)
        return {row[Keys.SORT]: row.get("form") for row in rows if row[Keys.SORT] != Keys.SELF}

    def connection(self, connection: str) -> tuple[Collection[str], Collection[str]]:
        """The topics that a connection is subscribed to, and the spaces that it may read."""
        return self._topics_and(connection, "reads")

    def watching(self, connection: str) -> tuple[Collection[str], Collection[str]]:
        """The topics that a connection is subscribed to, and the people that it may see."""
        return self._topics_and(connection, "sees")

    def _topics_and(self, connection: str, allowed: str) -> tuple[Collection[str], Collection[str]]:
        rows = {row[Keys.SORT]: row for row in self._rows(Keys.CONNECTION + connection)}
        itself = rows.pop(Keys.SELF, {})
        rows.pop(Keys.SHARES, None)  # no topic of the client's
        return rows, itself.get(allowed, ())  # nothing if it is unknown

    def set_aside(self, space: str, connection: str, *, now: int) -> None:
        """Note that a connection missed a version of a space: it must not get a later one."""
        self._put(Keys.ASIDE + space, connection, {}, now)

    def aside(self, space: str) -> set[str]:
        """The connections that missed a version of a space."""
        return {row[Keys.SORT] for row in self._rows(Keys.ASIDE + space)}

    def mark_delivered(self, space: str, version: int, *, now: int) -> None:
        """Note that a version sent in chunks was delivered, unless a later one was already."""
        later = {
            "ConditionExpression": "attribute_not_exists(#v) OR #v < :v",
            "ExpressionAttributeNames": {"#v": "version"},
            "ExpressionAttributeValues": encode({":v": version}),
        }
        conditional_write(self._put, Keys.DELIVERED, space, {"version": version}, now, **later)

    def delivered_version(self, space: str) -> int | None:
        """The version that was last delivered in chunks; None if there was none for hours."""
        item = self._item(Keys.DELIVERED, space)
        return int(item["version"]) if item else None

    def claim(self, topic: str, *, now: int) -> bool:
        """Claim the task of sending a topic's next message; False if it is claimed already."""
        return conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.CLAIM, topic),
            # A claim from the future was written by a wrong clock: its age is unknown.
            ConditionExpression="attribute_not_exists(#at) OR NOT #at BETWEEN :lost AND :now",
            UpdateExpression="SET #at = :now",
            ExpressionAttributeNames={"#at": "at"},
            ExpressionAttributeValues=encode({":now": now, ":lost": now - _CLAIM_LOST}),
        )

    def release(self, topic: str) -> None:
        """End a claim, just before the message is sent: later changes claim again."""
        self._client.update_item(
            TableName=self._table,
            Key=self._key(Keys.CLAIM, topic),
            UpdateExpression="REMOVE #at",
            ExpressionAttributeNames={"#at": "at"},
        )

    def connected_at(self, connection: str) -> int | None:
        """When a connection was opened; None if it is unknown."""
        item = self._itself(connection)
        return int(item["since"]) if item else None

    def _itself(self, connection: str) -> dict[str, Any] | None:
        return self._item(Keys.CONNECTION + connection, Keys.SELF)

    def _item(self, topic: str, subscriber: str) -> dict[str, Any] | None:
        return self._get_row(self._key(topic, subscriber), ConsistentRead=True)

    def subscribers(self, space: str) -> list[Subscription]:
        """The subscriptions to a space."""
        return self.audience(space).subscriptions

    def has_subscribers(self, topic: str, least: int = 1) -> bool:
        """Whether a topic has at least so many subscriptions, for a unit or two."""
        rows = self._query_rows(Keys.SPACE + topic, ConsistentRead=True, Limit=least + 1)
        found = (row for row in rows if row[Keys.SORT] != Keys.CHUNKS)
        return len(list(islice(found, least))) == least

    def audience(self, topic: str) -> Audience:
        """The subscriptions to a topic, and what was last sent to them in chunks."""
        rows = {row[Keys.SORT]: row for row in self._rows(Keys.SPACE + topic)}
        chunked = rows.pop(Keys.CHUNKS, {})
        return Audience(
            [
                Subscription(
                    space=topic,
                    connection=connection,
                    since=row["since"],
                    after=row.get("after"),
                    form=row.get("form"),
                )
                for connection, row in rows.items()
            ],
            chunked=chunked.get("version", 0),
            chunked_at=chunked.get("since", 0),
        )

    def mark_chunked(self, topic: str, version: int, *, now: int) -> None:
        """Note that a version is sent to a topic's subscribers in chunks."""
        self._put(Keys.SPACE + topic, Keys.CHUNKS, {"version": version, "since": now}, now)

    def _rows(self, topic: str) -> list[dict[str, Any]]:
        return list(self._query_rows(topic, ConsistentRead=True))

    def _put(
        self, topic: str, subscriber: str, values: dict[str, Any], now: int, **condition: Any
    ) -> None:
        self._client.put_item(
            TableName=self._table,
            Item=self._key(topic, subscriber)
            | encode({**values, TTL: (now + _RETENTION) // SECOND}),
            **condition,
        )

    def _delete(self, topic: str, subscriber: str, sent_at: int | None = None) -> None:
        condition: dict[str, Any] = {}
        if sent_at is not None:
            condition = {
                "ConditionExpression": "attribute_not_exists(#since) OR #since < :sent",
                "ExpressionAttributeNames": {"#since": "since"},
                "ExpressionAttributeValues": encode({":sent": sent_at}),
            }
        key = self._key(topic, subscriber)
        conditional_write(self._client.delete_item, TableName=self._table, Key=key, **condition)


def _held(row: Mapping[str, Any]) -> HeldSession | None:
    if row.get(Keys.SORT) == Keys.SYNC and row.get("user") is not None:
        return HeldSession("", "", user=row["user"])
    if "session" not in row:
        return None
    return HeldSession(
        space=row["space"],
        session=row["session"],
        user=row.get("user"),
        admin=row.get("admin", False),
        reads=row.get("reads_counts", False),
        robot=row.get("robot"),
        seen=row.get("seen", {}),
    )
