"""The Counts table: a row per shard with its numbers, and a row per space with its views."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from headcount.errors import condition_failed
from headcount.headcounts import Views
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


def tally_values(tally: Tally) -> dict[str, int]:
    """A tally's numbers as attributes (its facets are packed apart)."""
    return {
        "sessions": tally.sessions,
        "signed_in_sessions": tally.signed_in_sessions,
        "signed_in": tally.signed_in,
        "anonymous": tally.anonymous,
    }


def tally_from(row: Mapping[str, Any], facets: bytes | None) -> Tally:
    """A tally from attributes."""
    return Tally(
        sessions=row.get("sessions", 0),
        signed_in_sessions=row.get("signed_in_sessions", 0),
        signed_in=row.get("signed_in", 0),
        anonymous=row.get("anonymous", 0),
        facets=unpack_facets(facets) if facets else {},
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

    def space(self, space: str) -> tuple[list[Count], Views]:
        """Every shard of a space and its views."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
            ExpressionAttributeValues=encode({":p": space}),
        )
        rows = [decode(item) for page in pages for item in page["Items"]]
        counts = [_count(row) for row in rows if row[Keys.SORT].startswith(Keys.SHARD)]
        views = next((_views(row) for row in rows if row[Keys.SORT] == Keys.VIEWS), Views())
        return counts, views

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

    def forget_views(self, space: str, periods: Iterable[str]) -> None:
        """Drop the counters of days, weeks and months that are past keeping."""
        names = {f"#p{index}": period for index, period in enumerate(periods)}
        if not names:
            return
        self._client.update_item(
            TableName=self._table,
            Key=encode({Keys.PARTITION: space, Keys.SORT: Keys.VIEWS}),
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
    )


def _views(row: Mapping[str, Any]) -> Views:
    return Views(
        total=row.get("total", 0),
        by_period={name: count for name, count in row.items() if name[:1].isdigit()},
    )
