"""The Headcounts table: the published numbers of each space, and the index of live spaces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headcount.model.alert import AlertMemory
from headcount.model.headcount import Headcount, Peak, Views
from headcount.model.moderation import pack_denied, unpack_denied
from headcount.model.pushes import Pushes
from headcount.model.space import kind_of
from headcount.store.attributes import Item, decode, encode
from headcount.store.counts import (
    TALLY,
    pack_facets,
    reading_from,
    tally_from,
    tally_values,
)
from headcount.store.keys import TTL
from headcount.store.keys import Headcounts as Keys
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
from headcount.store.summaries import ENDS, ends_from, ends_values, notice_in
from headcount.store.table import (
    WHOLE_TABLE,
    RetainedTable,
    Segment,
    conditional_write,
)

_INLINE_FACETS = 2_500
"""Bytes above which facets get a row of their own, so that the summary for a beat stays a half-unit
read (4 KB, eventually consistent)."""
_FACETS_ROW = "#facets"

_SHAPES: Mapping[str, Shape] = {
    **TALLY,
    **dict.fromkeys(("version", "views_total", "peak_people"), NUMBER),
    **dict.fromkeys(("shards", "peak_sessions", "accuracy", "counted", "paid_until"), NUMBER),
    **ENDS,
    **dict.fromkeys(("as_of", "left_at", "peak_at", "chunked_at"), TIME),
    **dict.fromkeys(("views", "day_peaks", "engagement_all", "engagement_today"), NUMBERS),
    "cause": TEXT,
    "unsent": FLAG,
    "denied": BYTES,
    "readings": Many(dict, frozenset({dict})),
}


class HeadcountsTable(RetainedTable):
    """Written only by ``publish``, and by ``count`` for spaces with one shard. A space is kept for
    ``day_rows_days`` after its last version.

    A row that can't be read counts as empty, with its version if it has one: the next version
    replaces it.
    """

    _partition = Keys.PARTITION

    def get(self, space: str) -> Headcount:
        """The published numbers, consistent; version 0 if nothing was published yet."""
        row = self._get_row(_key(space), ConsistentRead=True)
        return self._headcount(row) if row else Headcount(space)

    def save(self, headcount: Headcount, *, pushed: Pushes | None = None) -> bool:
        """Store a version if the stored one is the version before it, with these ``pushed``; else
        return False."""
        packed = pack_facets(headcount.tally.facets)
        gone_at = self._gone_at(headcount.as_of)
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
            # First, so that readers of the version find facets at least as new.
            self._client.put_item(
                TableName=self._table,
                Item=_key(headcount.space + _FACETS_ROW) | encode({"facets": packed, TTL: gone_at}),
            )
        peak = headcount.peak
        readings = {
            source: {"at": reading.at, "numbers": reading.numbers}
            for source, reading in headcount.readings.items()
        }
        values = {
            Keys.LIVE: kind_of(headcount.space) if headcount.tally.sessions else None,
            "version": headcount.version,
            **tally_values(headcount.tally),
            "facets": packed if inline else None,
            "views_total": headcount.views.total,
            "views": headcount.views.by_period,
            "peak_people": peak.people if peak else None,
            "peak_at": peak.at if peak else None,
            "day_peaks": headcount.day_peaks,
            "as_of": headcount.as_of,
            "paid_until": headcount.paid_until or None,
            "counted": headcount.counted or None,
            "unsent": headcount.unsent or None,
            "shards": headcount.shards if headcount.shards > 1 else None,
            "cause": headcount.cause,
            "chunked_at": headcount.chunked_at or None,
            "peak_sessions": headcount.peak_sessions,
            "avg_seconds": headcount.avg_seconds,
            "accuracy": headcount.accuracy,
            **ends_values(headcount.ends),
            "engagement_all": headcount.engagement or None,
            "engagement_today": headcount.engagement_today or None,
            "readings": readings or None,
            "pushes": headcount.pushes.pack() if headcount.pushes else None,
            TTL: gone_at,
            **beside,
        }
        return conditional_write(
            self._client.put_item,
            TableName=self._table,
            Item=_key(headcount.space) | encode(values),
            **_unless_pushed(pushed, follows_version(headcount.version)),
        )

    def mark_pushed(self, headcount: Headcount, pushes: Pushes) -> bool:
        """Note that a stored version is pushed; False if it is not as read any more."""
        values = {":version": headcount.version, ":new": pushes.pack()}
        return conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=_key(headcount.space),
            UpdateExpression="SET pushes = :new",
            **_unless_pushed(
                headcount.pushes,
                {
                    "ConditionExpression": "version = :version",
                    "ExpressionAttributeValues": encode(values),
                },
            ),
        )

    def mark_chunked(self, space: str, now: int) -> None:
        """Note that a version is sent in chunks: for a while, later ones must be too."""
        self._client.update_item(
            TableName=self._table,
            Key=_key(space),
            UpdateExpression="SET chunked_at = :now",
            ExpressionAttributeValues=encode({":now": now}),
        )

    def mark_sent(self, headcount: Headcount) -> None:
        """Note that a version was sent to all who were due for it, or is on its way in chunks,
        unless another version is stored by now."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=_key(headcount.space),
            ConditionExpression="version = :version",
            UpdateExpression="REMOVE unsent",
            ExpressionAttributeValues=encode({":version": headcount.version}),
        )

    def mark_deferred(self, headcount: Headcount, cause: str, now: int) -> None:
        """Note that the records after this version, up to ``cause``, are deferred, unless another
        version is stored by now."""
        conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=_key(headcount.space),
            ConditionExpression="version = :version",
            UpdateExpression="SET cause = :cause, left_at = :now",
            ExpressionAttributeValues=encode(
                {":version": headcount.version, ":cause": cause, ":now": now}
            ),
        )

    def live(self, kind: str) -> list[str]:
        """The spaces of a kind with anyone in them, from the index: eventually consistent."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=Keys.LIVE_INDEX,
            KeyConditionExpression="#live = :kind",
            ExpressionAttributeNames={"#live": Keys.LIVE},
            ExpressionAttributeValues=encode({":kind": kind}),
        )
        return [str(decode(item)[Keys.PARTITION]) for page in pages for item in page["Items"]]

    def many(self, spaces: Iterable[str], *, consistent: bool = True) -> dict[str, Headcount]:
        """The published numbers of many spaces; facets only if inline."""
        rows = self._get_rows(map(_key, spaces), consistent=consistent)
        return {row[Keys.PARTITION]: headcount_from(row) for row in rows}

    def scan(self, segment: Segment = WHOLE_TABLE) -> Iterator[Headcount]:
        """All published spaces, or those in a segment; facets only if inline."""
        for page in self._scan(segment):
            for item in page:
                row = decode(item)
                if not row[Keys.PARTITION].endswith(_FACETS_ROW):
                    yield headcount_from(row)

    def _headcount(self, row: Mapping[str, Any]) -> Headcount:
        if "facets" not in row:
            key = _key(row[Keys.PARTITION] + _FACETS_ROW)
            facets = self._get_row(key, ConsistentRead=True)
            row = {**row, "facets": facets.get("facets")} if facets else row
        return headcount_from(row)


def _key(space: str) -> Item:
    return encode({Keys.PARTITION: space})


def _unless_pushed(known: Pushes | None, write: dict[str, Any]) -> dict[str, Any]:
    """A conditional write, only if nothing was pushed but what is ``known``."""
    if known is None:
        return write  # by a release that knew nothing of pushes, and pushed nothing
    return {
        **write,
        "ConditionExpression": f"({write['ConditionExpression']}) AND pushes = :pushed",
        "ExpressionAttributeValues": write["ExpressionAttributeValues"]
        | encode({":pushed": known.pack()}),
    }


def headcount_from(row: Mapping[str, Any]) -> Headcount:
    """A headcount from a space's decoded row; without facets that are in another row."""
    space = row[Keys.PARTITION]
    found = read(_headcount_from, row, space)
    return found or Headcount(space, version=version_of(row), readable=False)


def _headcount_from(row: Mapping[str, Any]) -> Headcount:
    check_shapes(row, _SHAPES)
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
        paid_until=in_calendar(row.get("paid_until", 0)),
        counted=row.get("counted", 0),
        unsent=row.get("unsent", False),
        shards=row.get("shards", 1),
        cause=row.get("cause"),
        deferred_at=row.get("left_at", 0),
        chunked_at=row.get("chunked_at", 0),
        peak_sessions=row.get("peak_sessions", 0),
        avg_seconds=row.get("avg_seconds"),
        accuracy=row.get("accuracy"),
        ends=ends_from(row),
        engagement=row.get("engagement_all", {}),
        engagement_today=row.get("engagement_today", {}),
        readings={source: reading_from(one) for source, one in row.get("readings", {}).items()},
        notice=notice_in(row),
        denied=unpack_denied(row.get("denied")),
        alerts=AlertMemory.unpack(row.get("alerts")),
        news=tuple(json.loads(row["news"])) if "news" in row else (),
        pushes=Pushes.unpack(row.get("pushes")),
    )


def _size(values: Iterable[Any]) -> int:
    """The rough size of values in bytes."""
    return sum(
        len(value) if isinstance(value, bytes) else len(str(value).encode())
        for value in values
        if value is not None
    )
