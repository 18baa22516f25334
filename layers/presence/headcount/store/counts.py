"""The Counts table: a row per shard with its numbers, and a row per space with its views."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.alerts import Rule, rule_from
from headcount.errors import condition_failed
from headcount.headcounts import Engagement, Reading, Views
from headcount.moderation import Notice, Removal
from headcount.stays import Stays, pack, unpack
from headcount.store.attributes import decode, encode
from headcount.store.keys import Counts as Keys
from headcount.store.keys import count_part
from headcount.tally import Facets, Tally

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


def pack_facets(facets: Facets) -> bytes:
    """Facets as compressed JSON: a space with hundreds of pages stays within a unit or two."""
    return zlib.compress(json.dumps(facets, separators=(",", ":")).encode(), 9)


def unpack_facets(packed: bytes) -> Facets:
    """The inverse of ``pack_facets``."""
    loaded = json.loads(zlib.decompress(packed))
    return {
        facet: {value: (count, people) for value, (count, people) in values.items()}
        for facet, values in loaded.items()
    }


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
        quality={name: (said[0], said[1]) for name, said in row.get("quality", {}).items()},
        engagement=row.get("engagement", {}),
    )


class CountsTable:
    """Reads are consistent. The stream of its shard rows wakes ``publish``."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

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
            shards=[_count(row) for part, row in parts.items() if part.startswith(Keys.SHARD)],
            views=_views(parts.get(Keys.VIEWS, {})),
            engagement=_engagement(parts.get(Keys.ENGAGEMENT, {})),
            readings={
                part.removeprefix(Keys.READING): Reading(row["at"], row["numbers"])
                for part, row in parts.items()
                if part.startswith(Keys.READING)
            },
            rules={
                (name := part.removeprefix(Keys.ALERT)): rule_from(name, row["rule"])
                for part, row in parts.items()
                if part.startswith(Keys.ALERT)
            },
            notice=_notice(parts[Keys.NOTICE]) if Keys.NOTICE in parts else None,
            removals={
                part.removeprefix(Keys.DENIED): _removal(row)
                for part, row in parts.items()
                if part.startswith(Keys.DENIED)
            },
        )

    def save(self, count: Count) -> bool:
        """Write a recount if the row's version is still the one before it; else False."""
        condition: dict[str, Any] = (
            {"ConditionExpression": "attribute_not_exists(#p)"}
            if count.version == 1
            else {
                "ConditionExpression": "#version = :before",
                "ExpressionAttributeValues": encode({":before": count.version - 1}),
            }
        )
        names = {"#p": Keys.PARTITION} if count.version == 1 else {"#version": "version"}
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
                    }
                ),
                ExpressionAttributeNames=names,
                **condition,
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
                {"Update": {"TableName": self._table, **engagement_update(one, day, numbers)}}
                for one in (space, also)
            ]
            self._client.transact_write_items(TransactItems=updates)
            return
        self._client.update_item(TableName=self._table, **engagement_update(space, day, numbers))

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
        self._put(space, Keys.NOTICE, {**said, "until": notice.until})

    def delete_notice(self, space: str, *, id_: str) -> None:
        """Delete the message to everyone, unless it is another one by now."""
        self._delete(space, Keys.NOTICE, {"id": id_})

    def put_removal(self, space: str, removal: Removal) -> None:
        """Deny somebody a space, in place of what was said of them before."""
        said = {name: getattr(removal, name) for name in _REMOVAL}
        sessions = list(removal.sessions) or None
        self._put(space, Keys.DENIED + removal.id, {**said, "sessions": sessions})

    def delete_removal(self, space: str, removal: Removal) -> None:
        """Lift a removal, unless it was put anew since."""
        self._delete(space, Keys.DENIED + removal.id, {"until": removal.until})

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
        self._client.update_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: space, Keys.SORT: part}),
            UpdateExpression="REMOVE " + ", ".join(names),
            ExpressionAttributeNames=names,
        )


def _count(row: Mapping[str, Any]) -> Count:
    return Count(
        space=row[Keys.PARTITION],
        shard=int(row[Keys.SORT].removeprefix(Keys.SHARD)),
        version=row["version"],
        tally=tally_from(row, row.get("facets")),
        rows=row.get("rows", 0),
        counted_at=row.get("counted_at", 0),
        stays=unpack(row["stays"]) if "stays" in row else (),
    )


def engagement_update(space: str, day: str, numbers: Mapping[str, float]) -> Any:
    """The update that adds numbers to a space's engagement, in all and on a UTC day."""
    added = {
        **numbers,
        **{f"{day}{Keys.DAY_SEPARATOR}{name}": number for name, number in numbers.items()},
    }
    names = {f"#n{index}": name for index, name in enumerate(added)}
    return {
        "Key": encode({Keys.PARTITION: space, Keys.SORT: Keys.ENGAGEMENT}),
        "UpdateExpression": "ADD "
        + ", ".join(f"{short} :{short.removeprefix('#')}" for short in names),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": encode(
            {f":{short.removeprefix('#')}": added[name] for short, name in names.items()}
        ),
    }


def _engagement(row: Mapping[str, Any]) -> Engagement:
    totals: dict[str, float] = {}
    by_day: dict[str, dict[str, float]] = {}
    for name, number in row.items():
        if name in (Keys.PARTITION, Keys.SORT):
            continue
        day, separator, short = name.partition(Keys.DAY_SEPARATOR)
        if separator:
            by_day.setdefault(day, {})[short] = number
        else:
            totals[name] = number
    return Engagement(totals, by_day)


_REMOVAL = ("known_as", "value", "until", "at", "by", "reason")


def _removal(row: Mapping[str, Any]) -> Removal:
    said = {name: row.get(name) for name in _REMOVAL}
    return Removal(**said, sessions=tuple(row.get("sessions", ())))  # type: ignore[arg-type]


def _notice(row: Mapping[str, Any]) -> Notice:
    return Notice(row["id"], row["text"], row["level"], row["until"])


def _views(row: Mapping[str, Any]) -> Views:
    return Views(
        total=row.get("total", 0),
        by_period={name: count for name, count in row.items() if name[:1].isdigit()},
    )
