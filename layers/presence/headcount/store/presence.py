"""The Presence table: a row per session, written once per beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import cancellation_reasons, condition_failed
from headcount.session import (
    BIN_AFTER,
    NOTHING_RIDES,
    STEADY_MARGIN,
    Facts,
    Riding,
    Session,
    Write,
)
from headcount.store.attributes import Item, decode, encode, encode_value
from headcount.store.keys import TTL, presence_partition, split_presence_partition
from headcount.store.keys import Presence as Keys
from headcount.times import SECOND, day_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_FACTS = ("user", "visitor", "name", "avatar", "page")
_RIDING = ("quality", "engagement", "details")
_ENDED_BY_MOVE = "move"


def to_item(session: Session) -> Item:
    """A session as its row."""
    facts = session.facts
    return encode(
        {
            Keys.PARTITION: presence_partition(session.space, session.shard),
            Keys.SORT: session.id,
            "kind": session.write.value,
            "request": session.request,
            "print": facts.fingerprint,
            **{name: getattr(facts, name) for name in _FACTS},
            "facets": facts.facets or None,
            "state": facts.state,
            "verified": facts.verified or None,
            "joined_at": session.joined_at,
            "visit": session.visit or None,
            "changed_at": session.changed_at,
            "last_seen": session.last_seen,
            "expires_at": session.expires_at,
            "beats": session.beats,
            "seq": session.seq,
            "ended_at": session.ended_at,
            "ended_by": session.ended_by,
            **{name: getattr(session.riding, name) or None for name in _RIDING},
            "stayed": session.stayed,
            "former_users": session.former_users or None,
            TTL: _ttl(session.expires_at),
        }
    )


def from_item(item: Mapping[str, Any]) -> Session:
    """A row, or a stream record's image of it, as a session.

    Read by name with defaults, so that rows of an older or newer release are understood.
    """
    row = decode(item)
    space, shard = split_presence_partition(row[Keys.PARTITION])
    return Session(
        space=space,
        shard=shard,
        id=row[Keys.SORT],
        write=Write(row["kind"]),
        request=row.get("request", ""),
        facts=Facts(
            **{name: row.get(name) for name in _FACTS},
            facets=row.get("facets", {}),
            state=row.get("state", "active"),
            verified=row.get("verified", False),
        ),
        joined_at=row["joined_at"],
        visit=row.get("visit", ""),
        changed_at=row.get("changed_at", row["joined_at"]),
        last_seen=row["last_seen"],
        expires_at=row["expires_at"],
        beats=row.get("beats", {}),
        seq=row.get("seq"),
        ended_at=row.get("ended_at"),
        ended_by=row.get("ended_by"),
        riding=Riding(**{name: row.get(name, {}) for name in _RIDING}),
        stayed=row.get("stayed"),
        former_users=tuple(row.get("former_users", ())),
    )


def moved_away(session: Session) -> bool:
    """The row's session lives on in another shard: this is no end of a visit."""
    return session.ended_by == _ENDED_BY_MOVE


def _ttl(expires_at: int) -> int:
    return (expires_at + BIN_AFTER) // SECOND


@dataclass(frozen=True, slots=True)
class Page:
    """All that a client says which does not repeat who it is; None: not even a page."""

    page: str | None


class PresenceTable:
    """Reads are consistent: every decision and every count rests on them."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def steady(
        self,
        *,
        space: str,
        shard: int,
        session: str,
        facts: Facts | Page,
        lease: int,
        seq: int | None,
        request: str,
        now: int,
        riding: Riding = NOTHING_RIDES,
    ) -> tuple[bool, Session | None]:
        """The steady beat: one conditional write that needs no read.

        Returns (True, None) when the session was there with the same facts (or, of a client that
        does not repeat them, the same page) and lease to spare; else (False, the row that is
        there, or None) and nothing was written.
        """
        expires_at = now + lease * SECOND
        condition = (
            "#kind IN (:beat, :join, :change) AND expires_at > :margin AND #request <> :request"
        )
        update = (
            "SET #kind = :beat, #request = :request, last_seen = :now, expires_at = :expires_at, "
            "#ttl = :ttl, beats.#day = if_not_exists(beats.#day, :zero) + :one"
        )
        names = {"#kind": "kind", "#request": "request", "#ttl": TTL, "#day": day_of(now)}
        values: dict[str, Any] = {
            ":beat": Write.BEAT.value,
            ":join": Write.JOIN.value,
            ":change": Write.CHANGE.value,
            ":margin": now + STEADY_MARGIN,
            ":request": request,
            ":now": now,
            ":expires_at": expires_at,
            ":ttl": _ttl(expires_at),
            ":zero": 0,
            ":one": 1,
        }
        if isinstance(facts, Facts):
            condition += " AND #print = :print"
            names["#print"] = "print"
            values[":print"] = facts.fingerprint
        elif facts.page is not None:
            condition += " AND #page = :page"
            names["#page"] = "page"
            values[":page"] = facts.page
        for name in _RIDING:
            if said := getattr(riding, name):
                update += f", #{name} = :{name}"
                names[f"#{name}"] = name
                values[f":{name}"] = said
        if seq is not None:
            condition += " AND (attribute_not_exists(seq) OR seq < :seq)"
            update += ", seq = :seq"
            values[":seq"] = seq
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self._key(space, shard, session),
                ConditionExpression=condition,
                UpdateExpression=update,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=encode(values),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False, _returned_row(error)
        return True, None

    def replace(self, old: Session | None, new: Session) -> tuple[bool, Session | None]:
        """Write ``new`` if the row is still ``old`` (None: no row).

        Returns (True, None), or (False, the row that is there if the engine said it).
        """
        if old is not None and old.shard != new.shard:
            return self._move(old, new), None
        try:
            self._client.put_item(
                TableName=self._table,
                Item=to_item(new),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **_unchanged(old),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False, _returned_row(error)
        return True, None

    def _move(self, old: Session, new: Session) -> bool:
        """Both shards in one transaction: a session is never in two of them, nor in none."""
        unchanged = _unchanged(old)
        farewell = replace(
            old,
            write=Write.LEAVE,
            request=new.request,
            ended_at=new.last_seen,
            ended_by=_ENDED_BY_MOVE,
        )
        # A row left over in the new shard from an earlier move may be overwritten.
        free = {
            "ConditionExpression": "attribute_not_exists(#p) OR #kind IN (:leave, :gone)",
            "ExpressionAttributeNames": {"#p": Keys.PARTITION, "#kind": "kind"},
            "ExpressionAttributeValues": encode(
                {":leave": Write.LEAVE.value, ":gone": Write.GONE.value}
            ),
        }
        actions: Any = [
            {"Put": {"TableName": self._table, "Item": to_item(farewell), **unchanged}},
            {"Put": {"TableName": self._table, "Item": to_item(new), **free}},
        ]
        try:
            self._client.transact_write_items(TransactItems=actions)
        except ClientError as error:
            if cancellation_reasons(error) is None:
                raise
            return False
        return True

    def delete_ended(self, session: Session) -> bool:
        """Bin a row whose visit has ended, unless it was written since; True when deleted."""
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=self._key(session.space, session.shard, session.id),
                **_unchanged(session),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True

    def get(self, space: str, shard: int, session: str) -> Session | None:
        """One row."""
        item = self._client.get_item(
            TableName=self._table, Key=self._key(space, shard, session), ConsistentRead=True
        ).get("Item")
        return from_item(item) if item else None

    def find(self, space: str, shards: int, session: str) -> Session | None:
        """The session in whichever shard holds it: a running visit before an ended one."""
        found = [row for shard in range(shards) if (row := self.get(space, shard, session))]
        return min(found, key=lambda row: (row.ended, moved_away(row)), default=None)

    def partition(self, space: str, shard: int) -> list[Session]:
        """Every row of one shard, live or not."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": presence_partition(space, shard)}),
        )
        return [from_item(item) for page in pages for item in page["Items"]]

    def said_by(self, space: str, shard: int, name: str, value: str) -> list[Session]:
        """The rows of one shard with that ``user`` or ``visitor``, live or not."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            FilterExpression="#name = :value",
            ExpressionAttributeNames={"#p": Keys.PARTITION, "#name": name},
            ExpressionAttributeValues=encode(
                {":p": presence_partition(space, shard), ":value": value}
            ),
        )
        return [from_item(item) for page in pages for item in page["Items"]]

    def page(
        self, space: str, shard: int, *, limit: int, after: str | None
    ) -> tuple[list[Session], str | None]:
        """Up to ``limit`` rows of one shard behind the session ``after``, and where to go on."""
        start = {"ExclusiveStartKey": self._key(space, shard, after)} if after else {}
        answer = self._client.query(
            TableName=self._table,
            Limit=limit,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": presence_partition(space, shard)}),
            **start,  # type: ignore[arg-type]
        )
        last = answer.get("LastEvaluatedKey")
        rows = [from_item(item) for item in answer["Items"]]
        return rows, str(decode(last)[Keys.SORT]) if last else None

    def scan(self) -> Iterator[list[Session]]:
        """Every row of the table, page by page."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, ConsistentRead=True
        )
        for page in pages:
            yield [from_item(item) for item in page["Items"]]

    def _key(self, space: str, shard: int, session: str) -> Item:
        return {
            Keys.PARTITION: encode_value(presence_partition(space, shard)),
            Keys.SORT: encode_value(session),
        }


def _unchanged(old: Session | None) -> Any:
    """The condition that nobody has written the row since it was read."""
    if old is None:
        return {
            "ConditionExpression": "attribute_not_exists(#p)",
            "ExpressionAttributeNames": {"#p": Keys.PARTITION},
        }
    return {
        "ConditionExpression": "#request = :was",
        "ExpressionAttributeNames": {"#request": "request"},
        "ExpressionAttributeValues": encode({":was": old.request}),
    }


def _returned_row(error: ClientError) -> Session | None:
    item: Mapping[str, Any] | None = error.response.get("Item")  # type: ignore[assignment]
    return from_item(item) if item else None
