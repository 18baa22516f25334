"""The Counts table: a row per shard with its numbers, and a row per space with its views."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from headcount.model.alert import Rule, rule_from
from headcount.model.durations import (
    RecentDurations,
    average_seconds,
    ends_of,
    latest,
    pack,
    unpack,
)
from headcount.model.headcount import Engagement, Reading, Views
from headcount.model.intervals import Ends
from headcount.model.moderation import PERSON_PREFIXES, Notice, Removal
from headcount.model.tally import Facets, Tally, summed
from headcount.model.trace import Cause
from headcount.store.attributes import decode, encode
from headcount.store.keys import TTL, count_part, shard_of_part
from headcount.store.keys import Counts as Keys
from headcount.store.rows import (
    BYTES,
    FLAG,
    NUMBER,
    NUMBERS,
    TEXT,
    TIME,
    Many,
    Shape,
    check_shapes,
    follows_version,
    in_calendar,
    read,
    version_of,
)
from headcount.store.summaries import notice_from
from headcount.store.table import RetainedTable, Start, conditional_write
from headcount.times import DAY, SECOND, day_start

if TYPE_CHECKING:  # beats have no use for it
    from headcount.model.peaks import Curve, Steps


@dataclass(frozen=True, slots=True)
class ShardCount:
    """A shard's numbers at a recount. The next recount must find this ``version``."""

    space: str
    shard: int
    version: int = 0
    tally: Tally = field(default_factory=Tally)
    rows: int = 0  # rows read, live or not: the cost of the next recount
    counted_at: int = 0
    durations: RecentDurations = ()
    cause: Cause | None = None  # the oldest change since the count before
    settled: bool = False  # the totals include the engagement of all its ended visits
    steps: Steps = ()  # how its numbers changed lately
    paid_until: int = 0  # see ``due_after``: for recounts
    watched: bool = False  # a dashboard got the version before, as far as ``count`` knows
    unheard: bool = False  # it has many sessions, and nobody heard of them at once
    readable: bool = True  # False: its row can't be read, so its numbers are empty

    @property
    def curve(self) -> Curve:
        """How its numbers changed lately; an older release wrote no steps."""
        from headcount.model.peaks import Curve, Step

        now = Step(self.counted_at, self.tally.people, self.tally.sessions)
        return Curve(self.steps or ((now,) if self.version and self.readable else ()), now.at)


@dataclass(frozen=True, slots=True)
class SpaceCounts:
    """All rows of a space."""

    shards: list[ShardCount] = field(default_factory=list)
    views: Views = field(default_factory=Views)
    engagement: Engagement = field(default_factory=Engagement)
    readings: Mapping[str, Reading] = field(default_factory=dict)  # by source
    rules: Mapping[str, Rule] = field(default_factory=dict)  # by name
    notice: Notice | None = None
    removals: Mapping[str, Removal] = field(default_factory=dict)  # by id

    @property
    def shards_in_use(self) -> int:
        """All shards with rows are below this number: at least 1."""
        return max((count.shard + 1 for count in self.shards if count.rows), default=1)

    @property
    def version(self) -> int:
        """The version of its count, if it was always in one shard; else 0."""
        return self.shards[0].version if [one.shard for one in self.shards] == [0] else 0

    @property
    def settled(self) -> bool:
        """Whether the totals include the engagement of all ended visits."""
        return all(count.settled for count in self.shards)

    @property
    def total_engagement(self) -> Mapping[str, float]:
        """The engagement of ended and of running visits."""
        return self.engagement.with_live(summed(count.tally.engagement for count in self.shards))

    @property
    def avg_seconds(self) -> int | None:
        """The mean duration of its last visits; None if none has ended."""
        return average_seconds(latest(*(count.durations for count in self.shards)))

    @property
    def ends(self) -> Ends:
        """How its last visits ended."""
        return ends_of(latest(*(count.durations for count in self.shards)))


def pack_facets(facets: Facets) -> bytes:
    """Facets as compressed JSON, so that a space with hundreds of pages costs a unit or two."""
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
"""The shapes of ``tally_values`` and of packed facets."""


def tally_values(tally: Tally) -> dict[str, Any]:
    """A tally's numbers as attributes, without its facets, which are packed."""
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
            name: (pair[0], pair[1]) for name, pair in row.get("quality", {}).items() if pair[0] > 0
        },
        engagement=row.get("engagement", {}),
    )


class CountsTable(RetainedTable):
    """Reads are consistent. The stream of its shard rows invokes ``publish``.

    Numbers are kept for ``day_rows_days`` after the last write; alert rules until an admin deletes
    them. A shard's row that can't be read counts as empty, with its version if it has one: the next
    recount replaces it. Other rows that can't be read count as missing.
    """

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def shard(self, space: str, shard: int) -> ShardCount:
        """A shard's row; version 0 if there is none yet."""
        row = self._get_row(self._key(space, count_part(shard)), ConsistentRead=True)
        return _count(row) if row else ShardCount(space, shard)

    def space(self, space: str) -> SpaceCounts:
        """All rows of a space: shards, views, engagement, readings, and what admins set."""
        parts = {row[Keys.SORT]: row for row in self._query_rows(space, ConsistentRead=True)}
        return SpaceCounts(
            shards=[_count(row) for part, row in parts.items() if shard_of_part(part) is not None],
            views=read(_views, parts.get(Keys.VIEWS, {}), space) or Views(),
            engagement=read(_engagement, parts.get(Keys.ENGAGEMENT, {}), space) or Engagement(),
            readings=_readable(parts, Keys.READING, reading_from),
            rules=_readable(parts, Keys.ALERT, _rule),
            notice=_readable(parts, Keys.NOTICE, notice_from).get(""),
            removals=_readable(parts, Keys.DENIED, _removal),
        )

    def save(self, count: ShardCount) -> bool:
        """Write a recount if the row still has the version before it; else return False."""
        from headcount.model.peaks import pack_steps

        values = {
            "version": count.version,
            **tally_values(count.tally),
            "facets": pack_facets(count.tally.facets),
            "rows": count.rows,
            "counted_at": count.counted_at,
            "paid_until": count.paid_until or None,
            "watched": count.watched or None,
            "unheard": count.unheard or None,
            "stays": pack(count.durations) or None,
            "cause": count.cause and count.cause.request,
            "caused_at": count.cause and count.cause.at,
            "settled": count.settled or None,
            "steps": pack_steps(count.steps) or None,
            TTL: self._gone_at(count.counted_at),
        }
        return conditional_write(
            self._client.put_item,
            TableName=self._table,
            Item=self._key(count.space, count_part(count.shard)) | encode(values),
            **follows_version(count.version),
        )

    def add_engagement(
        self, space: str, day: str, numbers: Mapping[str, float], *, also: str | None = None
    ) -> None:
        """Add to a space's engagement, to the totals and to a UTC day. With ``also``, another
        space, to both or to none."""
        gone_at = self._gone_at(day_start(day) + DAY)
        updates = [
            {"TableName": self._table, **engagement_update(one, day, numbers, gone_at)}
            for one in (space, also)
            if one is not None
        ]
        if also is None:
            self._client.update_item(**updates[0])
        else:
            self._transact([{"Update": update} for update in updates])

    def correct_engagement(self, space: str, day: str, name: str, total: float) -> float:
        """Set a total of a space's engagement, running visits included, and the UTC day's along
        with it, but not below 0. Returns what the total was."""
        counted = self.space(space)
        was = counted.total_engagement.get(name, 0)
        of_day = counted.engagement.by_day.get(day, {}).get(name, 0)
        change = total - was
        added = {name: change, f"{day}{Keys.DAY_SEPARATOR}{name}": max(change, -of_day)}
        update = addition(space, Keys.ENGAGEMENT, added, self._gone_at(day_start(day) + DAY))
        self._client.update_item(TableName=self._table, **update)
        return was

    def put_reading(self, space: str, source: str, reading: Reading) -> None:
        """Store a server's report about a space, in place of its last one."""
        values = {"at": reading.at, "numbers": reading.numbers}
        self._put(space, Keys.READING + source, {**values, TTL: self._gone_at(reading.at)})

    def put_rule(self, space: str, rule: Rule) -> None:
        """Set an alert rule, in place of one with the same name."""
        self._put(space, Keys.ALERT + rule.name, {"rule": rule.fields()})

    def delete_rule(self, space: str, name: str) -> None:
        """Delete an alert rule."""
        self._delete(space, Keys.ALERT + name)

    def put_notice(self, space: str, notice: Notice) -> None:
        """Set the message to everyone, in place of the one before."""
        texts = {"id": notice.id, "text": notice.text, "level": notice.level}
        until = {"until": notice.until, TTL: _expires(notice.until)}
        self._put(space, Keys.NOTICE, {**texts, **until})

    def delete_notice(self, space: str, *, id_: str) -> None:
        """Delete the message to everyone, unless another one is set by now."""
        self._delete(space, Keys.NOTICE, {"id": id_})

    def put_removal(self, space: str, removal: Removal) -> None:
        """Deny a person a space, in place of an earlier removal."""
        values: dict[str, Any] = {name: getattr(removal, name) for name in _REMOVAL}
        sessions = list(removal.sessions) or None
        values |= {"sessions": sessions, TTL: _expires(removal.until)}
        self._put(space, Keys.DENIED + removal.id, values)

    def delete_removal(self, space: str, removal: Removal) -> None:
        """Delete a removal, unless it was replaced since."""
        self._delete(space, Keys.DENIED + removal.id, {"until": removal.until})

    def scan_removals(self, start: Start, limit: int) -> tuple[list[tuple[str, Removal]], Start]:
        """The removals among up to ``limit`` rows, each with its space, and where to continue;
        None: that was all."""
        rows, start = self._scan_page(
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

    def _put(self, space: str, part: str, values: Mapping[str, Any]) -> None:
        item = self._key(space, part) | encode(values)
        self._client.put_item(TableName=self._table, Item=item)

    def _delete(self, space: str, part: str, unchanged: Mapping[str, Any] | None = None) -> None:
        condition: dict[str, Any] = {}
        if unchanged is not None:
            ((name, value),) = unchanged.items()
            condition = {
                "ConditionExpression": "#was = :was",
                "ExpressionAttributeNames": {"#was": name},
                "ExpressionAttributeValues": encode({":was": value}),
            }
        key = self._key(space, part)
        conditional_write(self._client.delete_item, TableName=self._table, Key=key, **condition)

    def delete_engagement(self, space: str, names: Iterable[str]) -> None:
        """Delete the counters of expired days."""
        self._delete_attributes(space, Keys.ENGAGEMENT, names)

    def delete_views(self, space: str, periods: Iterable[str]) -> None:
        """Delete the counters of expired days, weeks and months."""
        self._delete_attributes(space, Keys.VIEWS, periods)

    def _delete_attributes(self, space: str, part: str, attributes: Iterable[str]) -> None:
        names = {f"#p{index}": name for index, name in enumerate(attributes)}
        if not names:
            return
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(space, part),
            ConditionExpression="attribute_exists(#p)",  # TTL may have deleted the whole row
            UpdateExpression="REMOVE " + ", ".join(names),
            ExpressionAttributeNames={"#p": Keys.PARTITION, **names},
        )


_Part = TypeVar("_Part")


def _readable(
    parts: Mapping[str, Any], prefix: str, reader: Callable[[Any], _Part]
) -> dict[str, _Part]:
    """The readable rows whose sort key has this prefix, by the rest of the key."""
    found = {
        part.removeprefix(prefix): read(reader, row, row[Keys.PARTITION])
        for part, row in parts.items()
        if part.startswith(prefix)
    }
    return {name: one for name, one in found.items() if one is not None}


_SHAPES: Mapping[str, Shape] = {
    **TALLY,
    **dict.fromkeys(("version", "rows", "paid_until"), NUMBER),
    **dict.fromkeys(("counted_at", "caused_at"), TIME),
    "stays": BYTES,
    "steps": BYTES,
    "cause": TEXT,
    **dict.fromkeys(("settled", "watched", "unheard"), FLAG),
}


def _count(row: Mapping[str, Any]) -> ShardCount:
    space = row[Keys.PARTITION]
    # Not 0 rows, which are unknown: its shard would count as unused.
    return read(_count_from, row, space) or ShardCount(
        space, _shard_in(row), version=version_of(row), rows=1, readable=False
    )


def _shard_in(row: Mapping[str, Any]) -> int:
    return shard_of_part(row[Keys.SORT]) or 0


def _count_from(row: Mapping[str, Any]) -> ShardCount:
    from headcount.model.peaks import unpack_steps

    check_shapes(row, _SHAPES)
    return ShardCount(
        space=row[Keys.PARTITION],
        shard=_shard_in(row),
        version=version_of(row),
        tally=tally_from(row, row.get("facets")),
        rows=row.get("rows", 0),
        counted_at=row.get("counted_at", 0),
        paid_until=in_calendar(row.get("paid_until", 0)),
        watched=row.get("watched", False),
        unheard=row.get("unheard", False),
        durations=unpack(row["stays"]) if "stays" in row else (),
        cause=Cause(row["cause"], row["caused_at"]) if "cause" in row else None,
        settled=row.get("settled", False),
        steps=unpack_steps(row["steps"]) if "steps" in row else (),
    )


_TTL_DELAY = DAY
"""``daily`` deletes expired rows of known spaces; TTL deletes the others after this time."""


def _expires(until: int) -> int:
    return (until + _TTL_DELAY) // SECOND


def engagement_update(space: str, day: str, numbers: Mapping[str, float], gone_at: int) -> Any:
    """The update that adds numbers to a space's engagement, to the totals and to a UTC day. The row
    is then kept until ``gone_at``."""
    added = {
        **numbers,
        **{f"{day}{Keys.DAY_SEPARATOR}{name}": number for name, number in numbers.items()},
    }
    return addition(space, Keys.ENGAGEMENT, added, gone_at)


def addition(space: str, part: str, added: Mapping[str, float], gone_at: int) -> Any:
    """The update that adds these numbers to a space's row, which is kept until ``gone_at``."""
    names = {f"n{index}": name for index, name in enumerate(added)}
    values = {f":{short}": added[name] for short, name in names.items()}
    return {
        "Key": encode({Keys.PARTITION: space, Keys.SORT: part}),
        "UpdateExpression": "SET #ttl = :ttl ADD "
        + ", ".join(f"#{short} :{short}" for short in names),
        "ExpressionAttributeNames": {
            "#ttl": TTL,
            **{f"#{short}": name for short, name in names.items()},
        },
        "ExpressionAttributeValues": encode({":ttl": gone_at, **values}),
    }


KEY_ATTRIBUTES = (Keys.PARTITION, Keys.SORT, TTL)


def _engagement(row: Mapping[str, Any]) -> Engagement:
    check_shapes(row, dict.fromkeys(row.keys() - set(KEY_ATTRIBUTES), NUMBER))
    totals: dict[str, float] = {}
    by_day: dict[str, dict[str, float]] = {}
    for name, number in row.items():
        if name in KEY_ATTRIBUTES:
            continue
        day, separator, short = name.partition(Keys.DAY_SEPARATOR)
        if separator:
            by_day.setdefault(day, {})[short] = number
        else:
            totals[name] = number
    return Engagement(totals, by_day)


_REMOVAL = ("known_as", "value", "until", "at", "by", "reason", "verified")
_TEXTS = Many(list, TEXT)


_REMOVAL_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("known_as", "value"), TEXT),
    **dict.fromkeys(("until", "at"), TIME),
    "sessions": _TEXTS,
    "verified": FLAG,
}


def _removal(row: Mapping[str, Any]) -> Removal:
    check_shapes(row, _REMOVAL_SHAPES)
    values = {name: row.get(name) for name in _REMOVAL}
    if values["known_as"] not in PERSON_PREFIXES:
        raise ValueError("known_as is not a kind of id")
    return Removal(**values, sessions=tuple(row.get("sessions", ())))  # type: ignore[arg-type]


def reading_from(values: Mapping[str, Any]) -> Reading:
    """A server's report from attributes."""
    check_shapes(values, {"at": TIME, "numbers": NUMBERS})
    return Reading(values["at"], values["numbers"])


def _rule(row: Mapping[str, Any]) -> Rule:
    return rule_from(row[Keys.SORT].removeprefix(Keys.ALERT), row["rule"])


def _views(row: Mapping[str, Any]) -> Views:
    check_shapes(row, dict.fromkeys(row.keys() - set(KEY_ATTRIBUTES), NUMBER))
    return Views(
        total=row.get("total", 0),
        by_period={name: count for name, count in row.items() if name[:1].isdigit()},
    )
