"""The Presence table: a row per session, written once per beat.

The usual beat changes only its session's lease and telemetry: one conditional update without a
read, whose condition checks that it is steady. All other writes replace the row on condition that
no one else wrote it since it was read: each write stores its ``request`` for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, ValidationError, json
from msgspec.structs import replace

from headcount.errors import condition_failed, refusals, response_of
from headcount.model.beat import Tab
from headcount.model.session import (
    MAX_GROWTH,
    MOVED,
    NO_TELEMETRY,
    RATE_PERIOD,
    RETURN_WINDOW,
    ROW_RETENTION,
    STEADY_MARGIN,
    Arrival,
    Facts,
    Session,
    Telemetry,
    Write,
    message_drains_in,
    moved_away,
    person_of,
    place_of,
)
from headcount.store.attributes import Item, decode, encode, encode_value
from headcount.store.keys import TTL, presence_partition, split_presence_partition
from headcount.store.keys import Presence as Keys
from headcount.store.rows import (
    BYTES,
    FLAG,
    NUMBER,
    NUMBERS,
    TEXT,
    Many,
    Shape,
    check_shapes,
    in_calendar,
    read,
)
from headcount.store.table import (
    BY_THE_CLOCK,
    WHOLE_TABLE,
    Backoff,
    Segment,
    Start,
    Table,
    conditional_write,
)
from headcount.times import SECOND, day_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_FACTS = ("user", "visitor", "name", "avatar", "page")
_TELEMETRY = ("quality", "engagement", "details")
_BURST, _CONNECTION = "n", "c"  # longer names don't fit into the largest row
_ENOUGH_LEASE = "expires_at > :margin"
_PAIR = 2
_USUAL_STATE = "active"  # not stored, because every recount reads every row


_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("joined_at", "changed_at", "last_seen", "expires_at", "ended_at"), NUMBER),
    **dict.fromkeys(("seq", "stayed", "joins", "events", _BURST), NUMBER),
    **dict.fromkeys(("beats", "quality", "engagement", "tabs", "tab_seqs"), NUMBERS),
    **dict.fromkeys(("request", "visit", "state", *_FACTS), TEXT),
    "facets": Many(dict, TEXT),
    "moved_at": NUMBER,
    "formerly": Many(list, Many(list, TEXT | NUMBER)),
    "earlier": Many(list, Many(list, NUMBER)),
    "verified": FLAG,
    "former_proofs": Many(list, FLAG),
    Keys.PART: NUMBER,
    Keys.PERSON: BYTES,
}


def _attributes(facts: Facts) -> dict[str, Any]:
    """What a row says of the person and what they do."""
    return {
        **{name: getattr(facts, name) for name in _FACTS},
        "facets": facts.facets or None,
        "state": _state_of(facts),
    }


def to_item(session: Session, parts: int = 0) -> Item:
    """A session as its row, with its entry in the index of people, if that has ``parts``."""
    facts = session.facts
    part, person = session.indexed_in(parts) or (None, None)
    return encode(
        {
            Keys.PARTITION: presence_partition(session.space, session.shard),
            Keys.SORT: session.id,
            "kind": session.write.value,
            "request": session.request,
            "print": facts.fingerprint,
            **_attributes(facts),
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
            **{name: getattr(session.telemetry, name) or None for name in _TELEMETRY},
            "stayed": session.duration,
            "former_users": session.former_users or None,
            "former_proofs": session.former_proofs or None,
            "moved_to": session.moved_to,
            _BURST: session.burst,
            _CONNECTION: session.connection,
            "tabs": session.tabs or None,
            "tab_seqs": session.tab_seqs or None,
            "joins": session.joins if session.joins > 1 else None,
            "moved_at": session.moved_at,
            "formerly": [list(one) for one in session.formerly] or None,
            "earlier": [list(visit) for visit in session.earlier] or None,
            "events": session.events or None,
            Keys.PART: part,
            Keys.PERSON: person,
            TTL: _ttl(max(session.expires_at, session.last_seen)),
        }
    )


def from_item(item: Mapping[str, Any]) -> Session:
    """A session from its row, or from a stream record's image of it.

    Read by name with defaults, so that rows of older and newer releases can be read. Raises one of
    ``UNREADABLE`` for rows that no release wrote.
    """
    row = decode(item)
    check_shapes(row, _SHAPES)
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
        telemetry=Telemetry(**{name: row.get(name, {}) for name in _TELEMETRY}),
        duration=row.get("stayed"),
        former_users=tuple(row.get("former_users", ())),
        former_proofs=tuple(row.get("former_proofs", ())),
        moved_to=row.get("moved_to"),
        burst=row.get(_BURST, 1),
        connection=row.get(_CONNECTION),
        tabs=row.get("tabs", {}),
        tab_seqs=row.get("tab_seqs", {}),
        joins=row.get("joins", 1),
        moved_at=in_calendar(row["moved_at"]) if "moved_at" in row else None,
        formerly=tuple(
            (str(one[0]), in_calendar(one[1]))
            for one in row.get("formerly", ())
            if len(one) == _PAIR
        ),
        earlier=tuple((one[0], one[1]) for one in row.get("earlier", ()) if len(one) == _PAIR),
        events=row.get("events", 0),
        place=(row[Keys.PART], row[Keys.PERSON]) if Keys.PERSON in row else None,
    )


def _sessions(items: Iterable[Item]) -> list[Session]:
    """The readable rows: the others don't count, and TTL deletes them."""
    found = (read(from_item, item, item[Keys.PARTITION]["S"]) for item in items)
    return [session for session in found if session is not None]


class _Text(Struct, gc=False):
    S: str


class _Number(Struct, gc=False):
    N: str


class _Flag(Struct, gc=False):
    BOOL: bool


class _Texts(Struct, gc=False):
    M: dict[str, _Text]


class _Numbers(Struct, gc=False):
    M: dict[str, _Number]


class _PlainRow(Struct, forbid_unknown_fields=True, gc=False):
    """The attributes that most rows have, and no others."""

    partition: _Text
    session: _Text
    kind: _Text
    request: _Text
    print: _Text
    joined_at: _Number
    visit: _Text
    changed_at: _Number
    last_seen: _Number
    expires_at: _Number
    beats: _Numbers
    n: _Number
    ttl: _Number
    user: _Text | None = None
    visitor: _Text | None = None
    name: _Text | None = None
    avatar: _Text | None = None
    page: _Text | None = None
    verified: _Flag | None = None
    c: _Text | None = None
    facets: _Texts | None = None
    seq: _Number | None = None


_decode_plain = json.Decoder(_PlainRow).decode


def from_json(row: bytes) -> Session | None:
    """A row of ``raw_pages``; None if it can't be read. Most rows are plain, and are read in half
    of the time that ``from_item`` takes."""
    try:
        return _from_plain(_decode_plain(row))
    except (ValidationError, ValueError):
        item = json.decode(row)
        return read(from_item, item, item[Keys.PARTITION]["S"])


def _from_plain(row: _PlainRow) -> Session:
    """As ``from_item``. Raises ValueError for what only that reads, or refuses."""
    space, shard = split_presence_partition(row.partition.S)
    return Session(
        space=space,
        shard=shard,
        id=row.session.S,
        write=Write(row.kind.S),
        request=row.request.S,
        facts=Facts(
            user=None if row.user is None else row.user.S,
            visitor=None if row.visitor is None else row.visitor.S,
            name=None if row.name is None else row.name.S,
            avatar=None if row.avatar is None else row.avatar.S,
            page=None if row.page is None else row.page.S,
            verified=row.verified is not None and row.verified.BOOL,
            facets={} if row.facets is None else {k: v.S for k, v in row.facets.M.items()},
        ),
        joined_at=in_calendar(int(row.joined_at.N)),
        visit=row.visit.S,
        changed_at=in_calendar(int(row.changed_at.N)),
        last_seen=in_calendar(int(row.last_seen.N)),
        expires_at=in_calendar(int(row.expires_at.N)),
        beats={day: int(beats.N) for day, beats in row.beats.M.items()},
        seq=None if row.seq is None else int(row.seq.N),
        burst=int(row.n.N),
        telemetry=NO_TELEMETRY,
        connection=None if row.c is None else row.c.S,
    )


def _state_of(facts: Facts) -> str | None:
    return None if facts.state == _USUAL_STATE else facts.state


def _ttl(expires_at: int) -> int:
    return (expires_at + ROW_RETENTION) // SECOND


class _Update(Struct, frozen=True):
    """An update being built: attribute ``a`` has the placeholder ``#a``, its value ``:a``."""

    key: Item
    conditions: list[str]
    actions: dict[str, list[str]]  # SET and REMOVE
    names: dict[str, str]
    values: dict[str, Any]

    @classmethod
    def from_beat(cls, beat: Arrival, write: Write) -> _Update:
        """What every beat of a live session stores, and the conditions of storing it."""
        now, limit = beat.now, beat.limit
        update = cls(
            _key(beat.space, beat.shard, beat.session),
            ["#kind IN (:beat, :join, :change)", _ENOUGH_LEASE, "#request <> :request"],
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
        expires_at = now + beat.lease * SECOND
        update.store(
            kind=write.value,
            request=beat.request,
            last_seen=now,
            expires_at=expires_at,
            **{TTL: _ttl(expires_at), _BURST: 1, _CONNECTION: beat.connection},
        )
        if limit:
            update.conditions.append(
                f"(last_seen <= :empty OR last_seen <= :drained AND #{_BURST} = :one)"
            )
            update.values[":empty"] = now - RATE_PERIOD
            update.values[":drained"] = now - message_drains_in(limit)
        if beat.seq is not None:
            update.conditions.append("(attribute_not_exists(seq) OR seq < :seq)")
            update.store(seq=beat.seq)
        if beat.tab is not None:
            update.add_tab(beat.tab, now)
        if beat.telemetry is not NO_TELEMETRY:
            update.store(**_reported(beat.telemetry))
            update.limit_growth(beat.telemetry.engagement)
        return update

    def value(self, name: str, value: Any) -> str:
        """``#name = :name``: an assignment in an action, a comparison in a condition."""
        self.names[f"#{name}"] = name
        self.values[f":{name}"] = value
        return f"#{name} = :{name}"

    def store(self, **values: Any) -> None:
        """Store these attributes; None removes one."""
        for name, value in values.items():
            if value is not None:
                self.actions["SET"].append(self.value(name, value))
            else:
                self.names[f"#{name}"] = name
                self.actions["REMOVE"].append(f"#{name}")

    def add_tab(self, tab: Tab, now: int) -> None:
        """Write only if this tab is known, open and not ahead; store when it was seen."""
        self.names["#tab"] = tab.key
        self.values[":seen"] = now // SECOND
        self.conditions.append("tabs.#tab > :zero")
        self.actions["SET"].append("tabs.#tab = :seen")
        if tab.seq is not None:
            self.values[":tab_seq"] = tab.seq
            self.conditions.append("tab_seqs.#tab < :tab_seq")
            self.actions["SET"].append("tab_seqs.#tab = :tab_seq")

    def limit_growth(self, engagement: Mapping[str, int]) -> None:
        """Write only if no total grows by more than it may."""
        large = [name for name, number in engagement.items() if number > MAX_GROWTH]
        for place, name in enumerate(large):
            self.names[f"#e{place}"] = name
            self.values[f":e{place}"] = engagement[name] - MAX_GROWTH
            self.conditions.append(f"#engagement.#e{place} >= :e{place}")

    def expect(self, **values: Any) -> None:
        """Write only if the row has these attributes; None: does not have it."""
        for name, value in values.items():
            if value is not None:
                self.conditions.append(self.value(name, value))
            else:
                self.names[f"#{name}"] = name
                self.conditions.append(f"attribute_not_exists(#{name})")

    def parameters(self) -> dict[str, Any]:
        """The parameters of UpdateItem."""
        parts = [f"{verb} {', '.join(acts)}" for verb, acts in self.actions.items() if acts]
        return {
            "Key": self.key,
            "ConditionExpression": " AND ".join(self.conditions),
            "UpdateExpression": " ".join(parts),
            "ExpressionAttributeNames": self.names,
            "ExpressionAttributeValues": encode(self.values),
        }


def _reported(telemetry: Telemetry) -> dict[str, Any]:
    return {name: values for name in _TELEMETRY if (values := getattr(telemetry, name))}


class IndexEntry(NamedTuple):
    """A present session in the index of people. ``person``: their name there."""

    space: str
    shard: int
    session: str
    person: bytes


class PresenceTable(Table):
    """Reads are consistent, because every decision and every count depends on them.

    Reads of several rows leave out those that can't be read. ``parts``: of the index of people,
    in which each present session then has an entry; 0: there is no index.
    """

    _partition = Keys.PARTITION

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        backoff: Backoff = BY_THE_CLOCK,
        parts: int = 0,
    ) -> None:
        super().__init__(client, table, backoff=backoff)
        self.parts = parts

    def steady(self, beat: Arrival) -> tuple[bool, Session | None]:
        """Write a steady beat: one conditional write without a read.

        Returns (True, None) if the session is stored with the same facts and enough lease left;
        otherwise (False, the stored row, or None), and nothing was written. With a rate limit, a
        beat that may belong to a burst is not steady, because it has to be counted.
        """
        update = _Update.from_beat(beat, Write.BEAT)
        update.expect(print=beat.facts.fingerprint)
        return self._write(self._client.update_item, update.parameters())

    def touch(
        self, beat: Arrival, *, page: str | None, user: str | None
    ) -> tuple[bool, Session | None]:
        """Write the steady beat of a client that does not repeat its facts, as ``steady`` does.

        The stored session must be on ``page`` (None: on any). If a token proved its user, ``user``,
        the one that this request's token proves, must be the same.
        """
        update = _Update.from_beat(beat, Write.BEAT)
        same_user = "attribute_not_exists(verified)"
        if user is not None:
            same_user += f" OR {update.value('user', user)}"
        update.conditions.append(f"({same_user})")
        if page is not None:
            update.expect(page=page)
        return self._write(self._client.update_item, update.parameters())

    def change(self, beat: Arrival) -> tuple[bool, Session | None]:
        """Write new facts of the same person: one conditional write without a read.

        Returns (True, None) if the session is stored with the same user and visitor, and either
        with other facts and enough lease left, or away and in time to return; otherwise, and with a
        rate limit, as ``steady``. A beat of another person needs a read: it depends on who they
        were and on what a token proved.
        """
        facts = beat.facts
        stored = _attributes(facts)
        update = _Update.from_beat(beat, Write.CHANGE)
        update.expect(
            user=stored.pop("user"),
            visitor=stored.pop("visitor"),
            verified=facts.verified or None,
        )
        update.store(**stored, print=facts.fingerprint, changed_at=beat.now)
        if self.parts:  # one that was away has no entry
            verified = facts.verified
            person = person_of(facts.user, facts.visitor, beat.session, verified=verified)
            part, name = place_of(person, self.parts)
            update.store(**{Keys.PART: part, Keys.PERSON: name})
        update.conditions.remove(_ENOUGH_LEASE)
        # A steady beat written as a change would wake ``count`` for nothing.
        changes = f"{_ENOUGH_LEASE} AND #print <> :print"
        returns = "#ended_by = :left AND changed_at > :window"
        if beat.connection is not None:  # a late frame of the connection that has closed is none
            other = f"attribute_not_exists(#{_CONNECTION}) OR #{_CONNECTION} <> :{_CONNECTION}"
            returns += f" AND ({other})"
        update.conditions.append(f"({changes} OR {returns})")
        update.values[":left"] = "leave"
        update.values[":window"] = beat.now - RETURN_WINDOW
        update.store(ended_by=None, stayed=None)
        return self._write(self._client.update_item, update.parameters())

    def replace(self, old: Session | None, new: Session) -> tuple[bool, Session | None]:
        """Write ``new`` if the stored row is still ``old`` (None: no row).

        Returns (True, None), or (False, the stored row if the engine returned it).
        """
        if old is not None and old.shard != new.shard:
            return self._move(old, new), None
        return self._write(
            self._client.put_item, {"Item": to_item(new, self.parts), **_unchanged(old)}
        )

    def _write(
        self, write: Callable[..., object], parameters: Mapping[str, Any]
    ) -> tuple[bool, Session | None]:
        """Make a conditional write. Returns (True, None), or (False, the stored row if the engine
        returned it)."""
        try:
            write(
                TableName=self._table,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **parameters,
            )
        except refusals() as error:
            if not condition_failed(error):
                raise
            return False, _returned_row(error)
        return True, None

    def _move(self, old: Session, new: Session) -> bool:
        """Write both shards in one transaction, so that a session is always in exactly one."""
        unchanged = _unchanged(old)
        # A visit that had ended is no longer this row's, but was there. A row of a leave that came
        # before its visit had none.
        was = () if old.ended_at is None or not old.visit else ((old.began_here, old.ended_at),)
        left_behind = replace(
            old,
            visit="" if old.ended else old.visit,
            earlier=(*old.earlier, *was),
            write=Write.LEAVE,
            request=new.request,
            ended_at=new.last_seen if new.moved_at is None else new.moved_at,
            ended_by=MOVED,
            moved_to=new.shard,
        )
        # A row in the new shard that an earlier move left behind may be overwritten.
        free = {
            "ConditionExpression": "attribute_not_exists(#p) OR #kind IN (:leave, :gone)",
            "ExpressionAttributeNames": {"#p": Keys.PARTITION, "#kind": "kind"},
            "ExpressionAttributeValues": encode(
                {":leave": Write.LEAVE.value, ":gone": Write.GONE.value}
            ),
        }
        actions: Any = [
            {"Put": {"TableName": self._table, "Item": to_item(left_behind), **unchanged}},
            {"Put": {"TableName": self._table, "Item": to_item(new, self.parts), **free}},
        ]
        return not self._transact(actions)

    def delete_ended(self, session: Session) -> bool:
        """Delete a row whose visit has ended, unless it was written since; whether it was
        deleted."""
        return conditional_write(
            self._client.delete_item,
            TableName=self._table,
            Key=_key(session.space, session.shard, session.id),
            **_unchanged(session),
        )

    def get(self, space: str, shard: int, session: str) -> Session | None:
        """One row; None if there is none."""
        item = self._get_item(_key(space, shard, session), ConsistentRead=True)
        return from_item(item) if item else None

    def many(
        self, keys: Iterable[tuple[str, int, str]], *, consistent: bool
    ) -> dict[tuple[str, int, str], Session]:
        """The rows of these spaces, shards and sessions that there are."""
        items = self._get_items([_key(*key) for key in keys], consistent=consistent)
        return {(row.space, row.shard, row.id): row for row in _sessions(items)}

    def find(self, space: str, shards: int, session: str) -> Session | None:
        """A session's row in any of the shards: of a running visit rather than an ended one."""
        for _ in range(2):
            found = self.in_shards(space, range(shards), session)
            best = min(found, key=lambda row: (row.ended, moved_away(row)), default=None)
            if best is None or not moved_away(best):
                break
            # It moved to a shard that had been read already: read again.
        return best

    def in_shards(self, space: str, shards: Collection[int], session: str) -> list[Session]:
        """A session's rows in these shards: several if it moved. One call for 100 shards."""
        if len(shards) == 1:
            row = self.get(space, next(iter(shards)), session)
            return [] if row is None else [row]
        keys = [_key(space, shard, session) for shard in shards]
        items = self._get_items(keys, consistent=True)
        return sorted(map(from_item, items), key=lambda row: row.shard)

    def partition(self, space: str, shard: int) -> list[Session]:
        """All rows of a shard, live or not."""
        return [row for page in self.pages(space, shard) for row in page]

    def pages(self, space: str, shard: int) -> Iterator[list[Session]]:
        """All rows of a shard, live or not, page by page."""
        pages = self._query(presence_partition(space, shard), ConsistentRead=True)
        return map(_sessions, pages)

    def raw_pages(self, space: str, shard: int) -> Iterator[list[bytes]]:
        """``pages`` as the JSON of the rows: to compare it takes a twentieth of decoding it."""
        partition = presence_partition(space, shard)
        return self._query_raw(partition, ConsistentRead=True)

    def with_identity(self, space: str, shard: int, name: str, value: str) -> list[Session]:
        """The rows of a shard with this ``user`` or ``visitor``, live or not."""
        pages = self._query(
            presence_partition(space, shard),
            ConsistentRead=True,
            FilterExpression="#name = :value",
            names={"#name": name},
            values={":value": value},
        )
        return _sessions(item for page in pages for item in page)

    def people(self, part: int) -> Iterator[tuple[str, bytes]]:
        """The entries of a part of the index of people: for each present session its space, and
        its person's name there."""
        return ((one.space, one.person) for one in self.entries(part))

    def entries(self, part: int) -> Iterator[IndexEntry]:
        """The same, with the key of each session's row. Eventually consistent, as all reads of an
        index are."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=Keys.PEOPLE_INDEX,
            KeyConditionExpression="#r = :r",
            ExpressionAttributeNames={"#r": Keys.PART},
            ExpressionAttributeValues=encode({":r": part}),
        )
        for page in pages:
            for item in page["Items"]:
                row = decode(item)
                space, shard = split_presence_partition(row[Keys.PARTITION])
                yield IndexEntry(space, shard, row[Keys.SORT], row[Keys.PERSON])

    def page(
        self, space: str, shard: int, *, limit: int, after: str | None
    ) -> tuple[list[Session], str | None]:
        """Up to ``limit`` rows of a shard after the session ``after`` (None: from the first), and
        where to continue; None: that was all."""
        start = {"ExclusiveStartKey": _key(space, shard, after)} if after else {}
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
        self, segment: Segment = WHOLE_TABLE, after: tuple[str, int, str] | None = None
    ) -> Iterator[list[Session]]:
        """All rows of the table or of a segment, page by page, each shard's rows together.

        With ``after``, a row's space, shard and session: only those after it.
        """
        start: Any = {"ExclusiveStartKey": _key(*after)} if after else {}
        return map(_sessions, self._scan(segment, ConsistentRead=True, **start))

    def scan_page(self, start: Start, limit: int) -> tuple[list[Session], Start]:
        """Up to ``limit`` rows of the table, and where to continue; None: that was all."""
        rows, start = self._scan_page(start, limit)
        return _sessions(rows), start


def _key(space: str, shard: int, session: str) -> Item:
    return {
        Keys.PARTITION: encode_value(presence_partition(space, shard)),
        Keys.SORT: encode_value(session),
    }


def _unchanged(old: Session | None) -> Any:
    """The condition that the row was not written since it was read."""
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


def _returned_row(error: Exception) -> Session | None:
    item: Mapping[str, Any] | None = response_of(error).get("Item")
    return from_item(item) if item else None
