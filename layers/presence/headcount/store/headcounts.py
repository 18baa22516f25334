"""The Headcounts table: the published numbers of each space, and the index of live spaces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.alerts import Memory
from headcount.errors import condition_failed
from headcount.headcounts import Headcount, Peak, Views
from headcount.moderation import Denied, Notice, pack_denied, unpack_denied
from headcount.spaces import kind_of
from headcount.store.attributes import decode, encode
from headcount.store.batches import WHOLE, Segment, get_many
from headcount.store.counts import (
    TALLY,
    kept_until,
    notice_from,
    pack_facets,
    reading_from,
    tally_from,
    tally_values,
)
from headcount.store.keys import TTL
from headcount.store.keys import Headcounts as Keys
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

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_INLINE_FACETS = 2_500
"""Larger facets go to a row of their own, so that the count a beat carries stays a half-unit read
(4 KB, eventually consistent)."""
_FACETS_ROW = "#facets"

_SHAPES: Mapping[str, Shape] = {
    **TALLY,
    **dict.fromkeys(("version", "views_total", "peak_people"), NUMBER),
    **dict.fromkeys(("shards", "peak_sessions", "avg_seconds"), NUMBER),
    **dict.fromkeys(("as_of", "left_at", "peak_at", "chunked_at"), TIME),
    **dict.fromkeys(("views", "day_peaks", "engagement_all", "engagement_today"), NUMBERS),
    "cause": TEXT,
    "denied": BYTES,
    "readings": Many(dict, frozenset({dict})),
}


@dataclass(frozen=True, slots=True)
class Glance:
    """What a beat must know of its space: people and version, how many shards are in use, the
    message to everyone, and who is denied."""

    people: int = 0
    version: int = 0
    shards: int = 1
    notice: Notice | None = None
    denied: Denied = field(default_factory=dict)


class HeadcountsTable:
    """Written by ``publish`` alone. A space is kept for ``day_rows_days`` after its last.

    A row that can't be read counts as empty, with what version it has: the next one replaces it.
    """

    def __init__(self, client: DynamoDBClient, table: str, *, day_rows_days: int) -> None:
        self._client = client
        self._table = table
        self._days = day_rows_days

    def get(self, space: str) -> Headcount:
        """The published numbers, consistent; version 0 when nothing was published yet."""
        item = self._client.get_item(
            TableName=self._table, Key=encode({Keys.PARTITION: space}), ConsistentRead=True
        ).get("Item")
        return self._headcount(decode(item)) if item else Headcount(space)

    def glance(self, space: str) -> Glance:
        """What a beat must know of its space: one half-unit read."""
        item = self._client.get_item(
            TableName=self._table, Key=encode({Keys.PARTITION: space})
        ).get("Item")
        row = decode(item) if item else {}
        return read(_glance, row, space) or Glance(version=version_of(row))

    def save(self, headcount: Headcount) -> bool:
        """Publish a version if the one before it is the latest; else False."""
        packed = pack_facets(headcount.tally.facets)
        gone_at = kept_until(headcount.as_of, self._days)
        notice = headcount.notice
        beside = {
            "notice": None
            if notice is None
            else [notice.id, notice.text, notice.level, notice.until],
            "denied": pack_denied(headcount.denied),
            "alerts": headcount.alerts.pack(),
            "news": json.dumps(headcount.news, separators=(",", ":")) if headcount.news else None,
        }
        inline = len(packed) + _size(beside.values()) <= _INLINE_FACETS
        if not inline:
            # First, so that whoever reads the version finds facets at least as new.
            self._client.put_item(
                TableName=self._table,
                Item=encode(
                    {
                        Keys.PARTITION: headcount.space + _FACETS_ROW,
                        "facets": packed,
                        TTL: gone_at,
                    }
                ),
            )
        peak = headcount.peak
        kind = kind_of(headcount.space)
        try:
            self._client.put_item(
                TableName=self._table,
                Item=encode(
                    {
                        Keys.PARTITION: headcount.space,
                        Keys.LIVE: kind if headcount.tally.sessions else None,
                        "version": headcount.version,
                        **tally_values(headcount.tally),
                        "facets": packed if inline else None,
                        "views_total": headcount.views.total,
                        "views": headcount.views.by_period,
                        "peak_people": peak.people if peak else None,
                        "peak_at": peak.at if peak else None,
                        "day_peaks": headcount.day_peaks,
                        "as_of": headcount.as_of,
                        "shards": headcount.shards if headcount.shards > 1 else None,
                        "cause": headcount.cause,
                        "chunked_at": headcount.chunked_at or None,
                        "peak_sessions": headcount.peak_sessions,
                        "avg_seconds": headcount.avg_seconds,
                        "engagement_all": headcount.engagement or None,
                        "engagement_today": headcount.engagement_today or None,
                        "readings": {
                            source: {"at": reading.at, "numbers": reading.numbers}
                            for source, reading in headcount.readings.items()
                        }
                        or None,
                        TTL: gone_at,
                        **beside,
                    }
                ),
                **follows(headcount.version),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True

    def mark_chunked(self, space: str, now: int) -> None:
        """Note that a version leaves in chunks: for a while, so must the ones after it."""
        self._client.update_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: space}),
            UpdateExpression="SET chunked_at = :now",
            ExpressionAttributeValues=encode({":now": now}),
        )

    def mark_left(self, headcount: Headcount, cause: str, now: int) -> None:
        """Note that what comes after this version, up to a record, is left for later; nothing where
        another version is there by now."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: headcount.space}),
                ConditionExpression="version = :version",
                UpdateExpression="SET cause = :cause, left_at = :now",
                ExpressionAttributeValues=encode(
                    {":version": headcount.version, ":cause": cause, ":now": now}
                ),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise

    def live(self, kind: str) -> list[str]:
        """The spaces of a kind that have anyone in them, as published a moment ago."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=Keys.LIVE_INDEX,
            KeyConditionExpression="#live = :kind",
            ExpressionAttributeNames={"#live": Keys.LIVE},
            ExpressionAttributeValues=encode({":kind": kind}),
        )
        return [str(decode(item)[Keys.PARTITION]) for page in pages for item in page["Items"]]

    def many(self, spaces: Iterable[str]) -> dict[str, Headcount]:
        """The published numbers of many spaces, consistent; facets only where they are inline."""
        keys = (encode({Keys.PARTITION: space}) for space in spaces)
        return {
            row[Keys.PARTITION]: headcount_from(row)
            for row in get_many(self._client, self._table, keys, consistent=True)
        }

    def scan(self, segment: Segment = WHOLE) -> Iterator[Headcount]:
        """Every space ever published, or those in a segment (facets only where they are inline)."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, **segment.parameters()
        )
        for page in pages:
            for item in page["Items"]:
                row = decode(item)
                if not row[Keys.PARTITION].endswith(_FACETS_ROW):
                    yield headcount_from(row)

    def _headcount(self, row: Mapping[str, Any]) -> Headcount:
        if "facets" not in row:
            item = self._client.get_item(
                TableName=self._table,
                Key=encode({Keys.PARTITION: row[Keys.PARTITION] + _FACETS_ROW}),
                ConsistentRead=True,
            ).get("Item")
            row = {**row, "facets": decode(item).get("facets")} if item else row
        return headcount_from(row)


def headcount_from(row: Mapping[str, Any]) -> Headcount:
    """A space's row, decoded, as what is published; without facets that are in another row."""
    space = row[Keys.PARTITION]
    found = read(_whole, row, space)
    return found or Headcount(space, version=version_of(row), readable=False)


def _whole(row: Mapping[str, Any]) -> Headcount:
    require(row, _SHAPES)
    if "cause" in row:
        int(row["cause"])  # a sequence number
    return Headcount(
        space=row[Keys.PARTITION],
        version=version_of(row),
        tally=tally_from(row, row.get("facets")),
        views=Views(row.get("views_total", 0), row.get("views", {})),
        peak=Peak(row["peak_people"], row["peak_at"]) if "peak_at" in row else None,
        day_peaks=row.get("day_peaks", {}),
        as_of=row.get("as_of", 0),
        shards=row.get("shards", 1),
        cause=row.get("cause"),
        left_at=row.get("left_at", 0),
        chunked_at=row.get("chunked_at", 0),
        peak_sessions=row.get("peak_sessions", 0),
        avg_seconds=row.get("avg_seconds"),
        engagement=row.get("engagement_all", {}),
        engagement_today=row.get("engagement_today", {}),
        readings={source: reading_from(said) for source, said in row.get("readings", {}).items()},
        notice=_notice(row),
        denied=unpack_denied(row.get("denied")),
        alerts=Memory.unpack(row.get("alerts")),
        news=tuple(json.loads(row["news"])) if "news" in row else (),
    )


def _glance(row: Mapping[str, Any]) -> Glance:
    require(row, _GLANCED)
    return Glance(
        people=row.get("signed_in", 0) + row.get("anonymous", 0),
        version=version_of(row),
        shards=row.get("shards", 1),
        notice=_notice(row),
        denied=unpack_denied(row.get("denied")),
    )


_GLANCED = {
    name: _SHAPES[name] for name in ("signed_in", "anonymous", "version", "shards", "denied")
}


def _notice(row: Mapping[str, Any]) -> Notice | None:
    if "notice" not in row:
        return None
    return notice_from(dict(zip(_NOTICE, row["notice"], strict=True)))


_NOTICE = ("id", "text", "level", "until")


def _size(values: Iterable[Any]) -> int:
    """Bytes of what stands beside the numbers, roughly."""
    return sum(
        len(value) if isinstance(value, bytes) else len(str(value).encode())
        for value in values
        if value is not None
    )
