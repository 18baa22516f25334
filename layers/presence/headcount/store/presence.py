"""The Presence table: a row per session, written once per beat."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import cancellation_reasons, condition_failed
from headcount.session import (
    BIN_AFTER,
    NOTHING_RIDES,
    RATE_PERIOD,
    STEADY_MARGIN,
    Facts,
    Riding,
    Session,
    Write,
    message_drains_in,
)
from headcount.store.attributes import Item, decode, encode, encode_value
from headcount.store.batches import WHOLE, Segment, Start, get_items, scan_page
from headcount.store.keys import TTL, presence_partition, split_presence_partition
from headcount.store.keys import Presence as Keys
from headcount.store.rows import NUMBER, NUMBERS, TEXT, Many, Shape, in_calendar, read, require
from headcount.times import SECOND, day_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_FACTS = ("user", "visitor", "name", "avatar", "page")
_RIDING = ("quality", "engagement", "details")
_BURST, _CONNECTION = "n", "c"  # the largest row has no room for longer names
_ENDED_BY_MOVE = "move"
_USUAL_STATE = "active"  # goes without saying: every recount reads every row


_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("joined_at", "changed_at", "last_seen", "expires_at", "ended_at"), NUMBER),
    **dict.fromkeys(("seq", "stayed", _BURST), NUMBER),
    **dict.fromkeys(("beats", "quality", "engagement"), NUMBERS),
    **dict.fromkeys(("request", "visit", "state", *_FACTS), TEXT),
    "facets": Many(dict, TEXT),
}


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
            "state": _state_of(facts),
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
            "moved_to": session.moved_to,
            _BURST: session.burst,
            _CONNECTION: session.connection,
            TTL: _ttl(session.expires_at),
        }
    )


def from_item(item: Mapping[str, Any]) -> Session:
    """A row, or a stream record's image of it, as a session.

    Read by name with defaults, so that rows of an older or newer release are understood. Raises
    one of ``UNREADABLE`` for what none wrote.
    """
    row = decode(item)
    require(row, _SHAPES)
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
            state=row.get("state", _USUAL_STATE),
            verified=row.get("verified", False),
        ),
        joined_at=in_calendar(row["joined_at"]),
        visit=row.get("visit", ""),
        changed_at=in_calendar(row.get("changed_at", row["joined_at"])),
        last_seen=in_calendar(row["last_seen"]),
        expires_at=in_calendar(row["expires_at"]),
        beats=row.get("beats", {}),
        seq=row.get("seq"),
        ended_at=in_calendar(row["ended_at"]) if "ended_at" in row else None,
        ended_by=row.get("ended_by"),
        riding=Riding(**{name: row.get(name, {}) for name in _RIDING}),
        stayed=row.get("stayed"),
        former_users=tuple(row.get("former_users", ())),
        moved_to=row.get("moved_to"),
        burst=row.get(_BURST, 1),
        connection=row.get(_CONNECTION),
    )


def _sessions(items: Iterable[Item]) -> list[Session]:
    """The rows that can be read: the others are of nobody, until their TTL takes them away."""
    found = (read(from_item, item, item[Keys.PARTITION]["S"]) for item in items)
    return [session for session in found if session is not None]


def moved_away(session: Session) -> bool:
    """The row's session lives on in another shard: this is no end of a visit."""
    return session.ended_by == _ENDED_BY_MOVE


def _state_of(facts: Facts) -> str | None:
    return None if facts.state == _USUAL_STATE else facts.state


def _ttl(expires_at: int) -> int:
    return (expires_at + BIN_AFTER) // SECOND


@dataclass(frozen=True, slots=True)
class Page:
    """All that a client says which does not repeat who it is; None: not even a page.

    ``user`` is whom a token proves: a session that was proven to be another's does not go on so.
    """

    page: str | None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class _Update:
    """An update in the making: each attribute ``a`` is ``#a`` in it, and its value ``:a``."""

    conditions: list[str]
    actions: dict[str, list[str]]  # SET and REMOVE
    names: dict[str, str]
    values: dict[str, Any]

    @classmethod
    def of_beat(
        cls,
        *,
        lease: int,
        seq: int | None,
        request: str,
        now: int,
        limit: int,
        connection: str | None,
    ) -> _Update:
        """What every beat of a live session stores, and what it is refused for."""
        update = cls(
            ["#kind IN (:beat, :join, :change)", "expires_at > :margin", "#request <> :request"],
            {"SET": ["beats.#day = if_not_exists(beats.#day, :zero) + :one"], "REMOVE": []},
            {"#day": day_of(now)},
            {
                ":beat": Write.BEAT.value,
                ":join": Write.JOIN.value,
                ":change": Write.CHANGE.value,
                ":margin": now + STEADY_MARGIN,
                ":zero": 0,
                ":one": 1,
            },
        )
        expires_at = now + lease * SECOND
        update.store(request=request, last_seen=now, expires_at=expires_at)
        update.store(**{TTL: _ttl(expires_at), _BURST: 1, _CONNECTION: connection})
        if limit:
            update.conditions.append(
                f"(last_seen <= :empty OR last_seen <= :drained AND #{_BURST} = :one)"
            )
            update.values[":empty"] = now - RATE_PERIOD
            update.values[":drained"] = now - message_drains_in(limit)
        if seq is not None:
            update.conditions.append("(attribute_not_exists(seq) OR seq < :seq)")
            update.store(seq=seq)
        return update

    def value(self, name: str, value: Any) -> str:
        """An attribute beside a value of its name: to be stored, or there already."""
        self.names[f"#{name}"] = name
        self.values[f":{name}"] = value
        return f"#{name} = :{name}"

    def store(self, **values: Any) -> None:
        """Store these; None is no attribute."""
        for name, value in values.items():
            if value is not None:
                self.actions["SET"].append(self.value(name, value))
            else:
                self.names[f"#{name}"] = name
                self.actions["REMOVE"].append(f"#{name}")

    def require(self, **values: Any) -> None:
        """Only where these are there; None is no attribute."""
        for name, value in values.items():
            if value is not None:
                self.conditions.append(self.value(name, value))
            else:
                self.names[f"#{name}"] = name
                self.conditions.append(f"attribute_not_exists(#{name})")

    def parameters(self) -> dict[str, Any]:
        """As the API has it."""
        parts = [f"{verb} {', '.join(acts)}" for verb, acts in self.actions.items() if acts]
        return {
            "ConditionExpression": " AND ".join(self.conditions),
            "UpdateExpression": " ".join(parts),
            "ExpressionAttributeNames": self.names,
            "ExpressionAttributeValues": encode(self.values),
        }


def _said(riding: Riding) -> dict[str, Any]:
    return {name: said for name in _RIDING if (said := getattr(riding, name))}


class PresenceTable:
    """Reads are consistent: every decision and every count rests on them.

    Reading many leaves out the rows that can't be read.
    """

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
        limit: int = 0,
        connection: str | None = None,
    ) -> tuple[bool, Session | None]:
        """The steady beat: one conditional write that needs no read.

        Returns (True, None) when the session was there with the same facts (or, of a client that
        does not repeat them, the same page) and lease to spare; else (False, the row that is
        there, or None) and nothing was written. Where ``limit`` messages are taken in a rate
        period, a beat that may be one of a burst is not steady: it has to be counted.
        """
        update = _Update.of_beat(
            lease=lease, seq=seq, request=request, now=now, limit=limit, connection=connection
        )
        update.store(kind=Write.BEAT.value, **_said(riding))
        if isinstance(facts, Facts):
            update.require(print=facts.fingerprint)
        else:
            same_user = "attribute_not_exists(verified)"
            if facts.user is not None:
                same_user += f" OR {update.value('user', facts.user)}"
            update.conditions.append(f"({same_user})")
            if facts.page is not None:
                update.require(page=facts.page)
        return self._update(space, shard, session, update)

    def change(
        self,
        *,
        space: str,
        shard: int,
        session: str,
        facts: Facts,
        lease: int,
        seq: int | None,
        request: str,
        now: int,
        riding: Riding = NOTHING_RIDES,
        limit: int = 0,
        connection: str | None = None,
    ) -> tuple[bool, Session | None]:
        """A person who is the same does something else: one conditional write that needs no read.

        Returns (True, None) when the session was there, of the same user and visitor, with other
        facts and lease to spare; else, and where messages are limited, as ``steady``. Whoever
        becomes another person has to be looked at: who they were, and what a token proved.
        """
        update = _Update.of_beat(
            lease=lease, seq=seq, request=request, now=now, limit=limit, connection=connection
        )
        update.require(user=facts.user, visitor=facts.visitor, verified=facts.verified or None)
        update.store(
            kind=Write.CHANGE.value,
            name=facts.name,
            avatar=facts.avatar,
            page=facts.page,
            facets=facts.facets or None,
            state=_state_of(facts),
            print=facts.fingerprint,
            changed_at=now,
            **_said(riding),
        )
        # A steady beat that is called a change would wake everybody.
        update.conditions.append("#print <> :print")
        return self._update(space, shard, session, update)

    def _update(
        self, space: str, shard: int, session: str, update: _Update
    ) -> tuple[bool, Session | None]:
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self._key(space, shard, session),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **update.parameters(),
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
            moved_to=new.shard,
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
        for _ in range(2):
            found = self.in_shards(space, range(shards), session)
            best = min(found, key=lambda row: (row.ended, moved_away(row)), default=None)
            if best is None or not moved_away(best):
                break
            # It went to a shard that had been looked at already: look again.
        return best

    def in_shards(self, space: str, shards: Collection[int], session: str) -> list[Session]:
        """The session's rows in these shards: several where it moved. A call for a hundred."""
        if len(shards) == 1:
            row = self.get(space, next(iter(shards)), session)
            return [] if row is None else [row]
        keys = [self._key(space, shard, session) for shard in shards]
        items = get_items(self._client, self._table, keys, consistent=True)
        return sorted(map(from_item, items), key=lambda row: row.shard)

    def partition(self, space: str, shard: int) -> list[Session]:
        """Every row of one shard, live or not."""
        return [row for page in self.pages(space, shard) for row in page]

    def pages(self, space: str, shard: int) -> Iterator[list[Session]]:
        """Every row of one shard, live or not, page by page."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": presence_partition(space, shard)}),
        )
        for page in pages:
            yield _sessions(page["Items"])

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
        return _sessions(item for page in pages for item in page["Items"])

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
        rows = _sessions(answer["Items"])
        return rows, str(decode(last)[Keys.SORT]) if last else None

    def scan(
        self, segment: Segment = WHOLE, after: tuple[str, int, str] | None = None
    ) -> Iterator[list[Session]]:
        """Every row of the table or of a segment of it, page by page, each shard's together.

        With ``after``, a row's space, shard and session, only those behind it.
        """
        start: Any = {"ExclusiveStartKey": self._key(*after)} if after else {}
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, ConsistentRead=True, **segment.parameters(), **start
        )
        for page in pages:
            yield _sessions(page["Items"])

    def scanned(self, start: Start, limit: int) -> tuple[list[Session], Start]:
        """Up to ``limit`` rows of the table and where to go on; None: that was all."""
        rows, start = scan_page(self._client, self._table, start, limit)
        return _sessions(rows), start

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
