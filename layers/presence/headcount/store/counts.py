"""The Counts table: a row per shard with its numbers, and a row per space with its views."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from headcount.alerts import Rule, rule_from
from headcount.causes import Cause
from headcount.errors import condition_failed
from headcount.headcounts import Engagement, Reading, Views
from headcount.moderation import PREFIXES, Notice, Removal
from headcount.stays import Stays, average_seconds, latest, pack, unpack
from headcount.store.attributes import decode, encode
from headcount.store.batches import Start, scan_page
from headcount.store.keys import TTL, count_part, shard_of_part
from headcount.store.keys import Counts as Keys
from headcount.store.rows import (
    BYTES,
    NUMBER,
    NUMBERS,
    TEXT,
    TIME,
    Many,
    Shape,
    follows,
    read,
    require,
    version_of,
)
from headcount.tally import Facets, Tally, added
from headcount.times import DAY, SECOND, day_start

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Count:
    """A shard's numbers as of a recount. ``version`` is what the next recount must find."""

    space: str
    shard: int
    version: int = 0
    tally: Tally = field(default_factory=Tally)
    rows: int = 0  # rows read for it, live or not: what the next recount will cost
    counted_at: int = 0
    stays: Stays = ()  # how long its last visits were
    cause: Cause | None = None  # of what changed since the count before, what waited longest
    settled: bool = False  # what was done in its ended visits is in the totals, all of it
    readable: bool = True  # False: its row can't be read, so its numbers stand empty


@dataclass(frozen=True, slots=True)
class SpaceCounts:
    """All that is counted of a space."""

    shards: list[Count] = field(default_factory=list)
    views: Views = field(default_factory=Views)
    engagement: Engagement = field(default_factory=Engagement)
    readings: Mapping[str, Reading] = field(default_factory=dict)  # by source
    rules: Mapping[str, Rule] = field(default_factory=dict)  # by name
    notice: Notice | None = None
    removals: Mapping[str, Removal] = field(default_factory=dict)  # by id

    @property
    def shards_in_use(self) -> int:
        """All shards below this one, and no others, may hold rows: at least 1."""
        return max((count.shard + 1 for count in self.shards if count.rows), default=1)

    @property
    def settled(self) -> bool:
        """Whether the totals hold what was done in all visits that ended."""
        return all(count.settled for count in self.shards)

    @property
    def done(self) -> Mapping[str, float]:
        """What people did, in visits that ended and in those that go on."""
        return self.engagement.with_live(added(count.tally.engagement for count in self.shards))

    @property
    def avg_seconds(self) -> int | None:
        """How long its last visits were; None when none has ended."""
        return average_seconds(latest(*(count.stays for count in self.shards)))


def pack_facets(facets: Facets) -> bytes:
    """Facets as compressed JSON: a space with hundreds of pages stays within a unit or two."""
    return zlib.compress(json.dumps(facets, separators=(",", ":")).encode(), 9)


def unpack_facets(packed: bytes) -> Facets:
    """The inverse of ``pack_facets``."""
    loaded = json.loads(zlib.decompress(packed))
    return {
        facet: {value: (int(count), int(people)) for value, (count, people) in values.items()}
        for facet, values in loaded.items()
    }


TALLY: Mapping[str, Shape] = {
    **dict.fromkeys(("sessions", "signed_in_sessions", "signed_in", "anonymous"), NUMBER),
    "facets": BYTES,
    "quality": Many(dict, Many(list, NUMBER)),
    "engagement": NUMBERS,
}
"""What ``tally_values`` and packed facets are as attributes."""


def tally_values(tally: Tally) -> dict[str, Any]:
    """A tally's numbers as attributes (its facets are packed apart)."""
    return {
        "sessions": tally.sessions,
        "signed_in_sessions": tally.signed_in_sessions,
        "signed_in": tally.signed_in,
        "anonymous": tally.anonymous,
        "quality": tally.quality or None,
        "engagement": tally.engagement or None,
    }


def tally_from(row: Mapping[str, Any], facets: bytes | None) -> Tally:
    """A tally from attributes."""
    return Tally(
        sessions=row.get("sessions", 0),
        signed_in_sessions=row.get("signed_in_sessions", 0),
        signed_in=row.get("signed_in", 0),
        anonymous=row.get("anonymous", 0),
        facets=unpack_facets(facets) if facets else {},
        quality={
            name: (said[0], said[1]) for name, said in row.get("quality", {}).items() if said[0] > 0
        },
        engagement=row.get("engagement", {}),
    )


class CountsTable:
    """Reads are consistent. The stream of its shard rows wakes ``publish``.

    Numbers are kept for ``day_rows_days`` after the last of them; alert rules until an admin
    deletes them. A shard's row that can't be read counts as empty, with what version it has: the
    next recount replaces it. Any other counts as not there.
    """

    def __init__(self, client: DynamoDBClient, table: str, *, day_rows_days: int) -> None:
        self._client = client
        self._table = table
        self._days = day_rows_days

    def shard(self, space: str, shard: int) -> Count:
        """A shard's row; version 0 when there is none yet."""
        item = self._client.get_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: space, Keys.SORT: count_part(shard)}),
            ConsistentRead=True,
        ).get("Item")
        return _count(decode(item)) if item else Count(space, shard)

    def space(self, space: str) -> SpaceCounts:
        """Every shard of a space, its views, its engagement, and what servers and admins say."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": space}),
        )
        rows = [decode(item) for page in pages for item in page["Items"]]
        parts = {row[Keys.SORT]: row for row in rows}
        return SpaceCounts(
            shards=[_count(row) for part, row in parts.items() if shard_of_part(part) is not None],
            views=read(_views, parts.get(Keys.VIEWS, {}), space) or Views(),
            engagement=read(_engagement, parts.get(Keys.ENGAGEMENT, {}), space) or Engagement(),
            readings=_readable(parts, Keys.READING, reading_from),
            rules=_readable(parts, Keys.ALERT, _rule),
            notice=_readable(parts, Keys.NOTICE, notice_from).get(""),
            removals=_readable(parts, Keys.DENIED, _removal),
        )

    def save(self, count: Count) -> bool:
        """Write a recount if the row's version is still the one before it; else False."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item=encode(
                    {
                        Keys.PARTITION: count.space,
                        Keys.SORT: count_part(count.shard),
                        "version": count.version,
                        **tally_values(count.tally),
                        "facets": pack_facets(count.tally.facets),
                        "rows": count.rows,
                        "counted_at": count.counted_at,
                        "stays": pack(count.stays) or None,
                        "cause": count.cause and count.cause.request,
                        "caused_at": count.cause and count.cause.at,
                        "settled": count.settled or None,
                        TTL: kept_until(count.counted_at, self._days),
                    }
                ),
                **follows(count.version),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True

    def add_engagement(
        self, space: str, day: str, numbers: Mapping[str, float], *, also: str | None = None
    ) -> None:
        """Add to a space's engagement, in all and on a UTC day; and to another's, or to neither."""
        if also is not None:
            updates: Any = [
                {"Update": {"TableName": self._table, **self._engagement(one, day, numbers)}}
                for one in (space, also)
            ]
            self._client.transact_write_items(TransactItems=updates)
            return
        self._client.update_item(TableName=self._table, **self._engagement(space, day, numbers))

    def _engagement(self, space: str, day: str, numbers: Mapping[str, float]) -> Any:
        return engagement_update(space, day, numbers, days_kept=self._days)

    def report(self, space: str, source: str, reading: Reading) -> None:
        """What a server reports of a space, in place of what it reported before."""
        self._client.put_item(
            TableName=self._table,
            Item=encode(
                {
                    Keys.PARTITION: space,
                    Keys.SORT: Keys.READING + source,
                    "at": reading.at,
                    "numbers": reading.numbers,
                    TTL: kept_until(reading.at, self._days),
                }
            ),
        )

    def put_rule(self, space: str, rule: Rule) -> None:
        """Set an alert rule, in place of the one of that name."""
        self._put(space, Keys.ALERT + rule.name, {"rule": rule.said()})

    def delete_rule(self, space: str, name: str) -> None:
        """Delete an alert rule."""
        self._delete(space, Keys.ALERT + name)

    def put_notice(self, space: str, notice: Notice) -> None:
        """Set the message to everyone, in place of the one before."""
        said = {"id": notice.id, "text": notice.text, "level": notice.level}
        self._put(space, Keys.NOTICE, {**said, "until": notice.until, TTL: _bin(notice.until)})

    def delete_notice(self, space: str, *, id_: str) -> None:
        """Delete the message to everyone, unless it is another one by now."""
        self._delete(space, Keys.NOTICE, {"id": id_})

    def put_removal(self, space: str, removal: Removal) -> None:
        """Deny somebody a space, in place of what was said of them before."""
        said: dict[str, Any] = {name: getattr(removal, name) for name in _REMOVAL}
        sessions = list(removal.sessions) or None
        said |= {"sessions": sessions, TTL: _bin(removal.until)}
        self._put(space, Keys.DENIED + removal.id, said)

    def delete_removal(self, space: str, removal: Removal) -> None:
        """Lift a removal, unless it was put anew since."""
        self._delete(space, Keys.DENIED + removal.id, {"until": removal.until})

    def scanned_removals(self, start: Start, limit: int) -> tuple[list[tuple[str, Removal]], Start]:
        """Who is denied a space among up to ``limit`` rows, each with its space, and where to go
        on; None: that was all."""
        rows, start = scan_page(
            self._client,
            self._table,
            start,
            limit,
            FilterExpression="begins_with(#s, :denied)",
            ExpressionAttributeNames={"#s": Keys.SORT},
            ExpressionAttributeValues=encode({":denied": Keys.DENIED}),
        )
        found = [(row[Keys.PARTITION], row) for row in map(decode, rows)]
        return [
            (space, removal)
            for space, row in found
            if (removal := read(_removal, row, space)) is not None
        ], start

    def _put(self, space: str, part: str, said: Mapping[str, Any]) -> None:
        self._client.put_item(
            TableName=self._table,
            Item=encode({Keys.PARTITION: space, Keys.SORT: part, **said}),
        )

    def _delete(self, space: str, part: str, unchanged: Mapping[str, Any] | None = None) -> None:
        condition: dict[str, Any] = {}
        if unchanged is not None:
            ((name, value),) = unchanged.items()
            condition = {
                "ConditionExpression": "#was = :was",
                "ExpressionAttributeNames": {"#was": name},
                "ExpressionAttributeValues": encode({":was": value}),
            }
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: space, Keys.SORT: part}),
                **condition,
            )
        except ClientError as error:
            if not condition_failed(error):
                raise

    def forget_engagement(self, space: str, names: Iterable[str]) -> None:
        """Drop the counters of days that are past keeping."""
        self._forget(space, Keys.ENGAGEMENT, names)

    def forget_views(self, space: str, periods: Iterable[str]) -> None:
        """Drop the counters of days, weeks and months that are past keeping."""
        self._forget(space, Keys.VIEWS, periods)

    def _forget(self, space: str, part: str, attributes: Iterable[str]) -> None:
        names = {f"#p{index}": name for index, name in enumerate(attributes)}
        if not names:
            return
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: space, Keys.SORT: part}),
                ConditionExpression="attribute_exists(#p)",
                UpdateExpression="REMOVE " + ", ".join(names),
                ExpressionAttributeNames={"#p": Keys.PARTITION, **names},
            )
        except ClientError as error:
            if not condition_failed(error):  # all of it went to the bin
                raise


_Part = TypeVar("_Part")


def _readable(
    parts: Mapping[str, Any], prefix: str, reader: Callable[[Any], _Part]
) -> dict[str, _Part]:
    """What can be read of the rows whose part begins so, by the rest of it."""
    found = {
        part.removeprefix(prefix): read(reader, row, row[Keys.PARTITION])
        for part, row in parts.items()
        if part.startswith(prefix)
    }
    return {name: one for name, one in found.items() if one is not None}


_SHAPES: Mapping[str, Shape] = {
    **TALLY,
    **dict.fromkeys(("version", "rows"), NUMBER),
    **dict.fromkeys(("counted_at", "caused_at"), TIME),
    "stays": BYTES,
    "cause": TEXT,
    "settled": frozenset({bool}),
}


def _count(row: Mapping[str, Any]) -> Count:
    space = row[Keys.PARTITION]
    # Who knows how many rows it holds: not none, or its shard would be taken for one out of use.
    return read(_whole, row, space) or Count(
        space, _shard_in(row), version=version_of(row), rows=1, readable=False
    )


def _shard_in(row: Mapping[str, Any]) -> int:
    return shard_of_part(row[Keys.SORT]) or 0


def _whole(row: Mapping[str, Any]) -> Count:
    require(row, _SHAPES)
    return Count(
        space=row[Keys.PARTITION],
        shard=_shard_in(row),
        version=version_of(row),
        tally=tally_from(row, row.get("facets")),
        rows=row.get("rows", 0),
        counted_at=row.get("counted_at", 0),
        stays=unpack(row["stays"]) if "stays" in row else (),
        cause=Cause(row["cause"], row["caused_at"]) if "cause" in row else None,
        settled=row.get("settled", False),
    )


_BIN_AFTER = DAY
"""``daily`` deletes what has run out, where the space is still known; else this is when."""


def kept_until(now: int, days: int) -> int:
    """When numbers of that moment are forgotten (epoch seconds) unless newer ones come."""
    return (now + days * DAY) // SECOND


def _bin(until: int) -> int:
    return (until + _BIN_AFTER) // SECOND


def engagement_update(space: str, day: str, numbers: Mapping[str, float], *, days_kept: int) -> Any:
    """The update that adds numbers to a space's engagement, in all and on a UTC day; the row is
    then kept for so many days."""
    added = {
        **numbers,
        **{f"{day}{Keys.DAY_SEPARATOR}{name}": number for name, number in numbers.items()},
    }
    names = {f"#n{index}": name for index, name in enumerate(added)}
    return {
        "Key": encode({Keys.PARTITION: space, Keys.SORT: Keys.ENGAGEMENT}),
        "UpdateExpression": "SET #ttl = :ttl ADD "
        + ", ".join(f"{short} :{short.removeprefix('#')}" for short in names),
        "ExpressionAttributeNames": {"#ttl": TTL, **names},
        "ExpressionAttributeValues": encode(
            {
                ":ttl": kept_until(day_start(day) + DAY, days_kept),
                **{f":{short.removeprefix('#')}": added[name] for short, name in names.items()},
            }
        ),
    }


RESERVED = (Keys.PARTITION, Keys.SORT, TTL)


def _engagement(row: Mapping[str, Any]) -> Engagement:
    require(row, dict.fromkeys(row.keys() - set(RESERVED), NUMBER))
    totals: dict[str, float] = {}
    by_day: dict[str, dict[str, float]] = {}
    for name, number in row.items():
        if name in RESERVED:
            continue
        day, separator, short = name.partition(Keys.DAY_SEPARATOR)
        if separator:
            by_day.setdefault(day, {})[short] = number
        else:
            totals[name] = number
    return Engagement(totals, by_day)


_REMOVAL = ("known_as", "value", "until", "at", "by", "reason")
_TEXTS = Many(list, TEXT)


def _removal(row: Mapping[str, Any]) -> Removal:
    require(row, {"known_as": TEXT, "value": TEXT, "until": TIME, "at": TIME, "sessions": _TEXTS})
    said = {name: row.get(name) for name in _REMOVAL}
    if said["known_as"] not in PREFIXES:
        raise ValueError("it is of nobody")
    return Removal(**said, sessions=tuple(row.get("sessions", ())))  # type: ignore[arg-type]


def reading_from(said: Mapping[str, Any]) -> Reading:
    """A server's report from attributes."""
    require(said, {"at": TIME, "numbers": NUMBERS})
    return Reading(said["at"], said["numbers"])


def _rule(row: Mapping[str, Any]) -> Rule:
    return rule_from(row[Keys.SORT].removeprefix(Keys.ALERT), row["rule"])


def notice_from(row: Mapping[str, Any]) -> Notice:
    """The message to everyone from attributes."""
    require(row, {**dict.fromkeys(("id", "text", "level"), TEXT), "until": TIME})
    return Notice(row["id"], row["text"], row["level"], row["until"])


def _views(row: Mapping[str, Any]) -> Views:
    require(row, dict.fromkeys(row.keys() - set(RESERVED), NUMBER))
    return Views(
        total=row.get("total", 0),
        by_period={name: count for name, count in row.items() if name[:1].isdigit()},
    )
