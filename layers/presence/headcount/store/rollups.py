"""The roll-ups' numbers, by part of the index of people: rows of the Counts table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headcount.model.rollups import Numbers
from headcount.model.tally import Tally
from headcount.store.attributes import encode
from headcount.store.counts import ShardCount, SpaceCounts
from headcount.store.keys import TTL, count_part, shard_of_part
from headcount.store.keys import Counts as Keys
from headcount.store.rows import (
    NUMBER,
    TIME,
    Many,
    Shape,
    check_shapes,
    follows_version,
    in_calendar,
    read,
    version_of,
)
from headcount.store.table import RetainedTable, conditional_write

_NUMBERS = ("sessions", "signed_in_sessions", "signed_in", "anonymous")

_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("version", "rows", "paid_until"), NUMBER),
    "counted_at": TIME,
    "numbers": Many(dict, Many(list, NUMBER)),
}


@dataclass(frozen=True, slots=True)
class PartCount:
    """A part's numbers at a recount. The next recount must find this ``version``."""

    part: int
    version: int = 0
    numbers: Numbers = field(default_factory=dict)
    rows: int = 0  # entries read: the cost of the next recount
    counted_at: int = 0
    paid_until: int = 0  # see ``due_after``
    readable: bool = True  # False: its row can't be read, so its numbers are empty


class RollupsTable(RetainedTable):
    """Reads are consistent. The stream of its rows invokes ``publish``."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def part(self, part: int) -> PartCount:
        """A part's row; version 0 if there is none yet."""
        row = self._get_row(self._key(Keys.ROLLUPS, count_part(part)), ConsistentRead=True)
        return _count(row) if row else PartCount(part)

    def parts(self) -> list[PartCount]:
        """The rows of all parts that were ever counted, by one query."""
        rows = self._query_rows(Keys.ROLLUPS, ConsistentRead=True)
        return [_count(row) for row in rows if shard_of_part(row[Keys.SORT]) is not None]

    def save(self, count: PartCount) -> bool:
        """Write a recount if the row still has the version before it; else return False."""
        values = {
            "version": count.version,
            "numbers": {
                id_: [getattr(tally, name) for name in _NUMBERS]
                for id_, tally in count.numbers.items()
            }
            or None,
            "rows": count.rows,
            "counted_at": count.counted_at,
            "paid_until": count.paid_until,
            TTL: self._gone_at(count.counted_at),
        }
        return conditional_write(
            self._client.put_item,
            TableName=self._table,
            Item=self._key(Keys.ROLLUPS, count_part(count.part)) | encode(values),
            **follows_version(count.version),
        )


def counts_of(id_: str, parts: list[PartCount]) -> SpaceCounts:
    """A roll-up's numbers in the shape of a space's counts, a shard for each part."""
    shards = [
        ShardCount(id_, one.part, tally=one.numbers.get(id_, Tally()), rows=one.rows)
        for one in parts
    ]
    return SpaceCounts(shards)


def _count(row: Mapping[str, Any]) -> PartCount:
    part = shard_of_part(row[Keys.SORT]) or 0
    return read(_count_from, row, Keys.ROLLUPS) or PartCount(
        part, version=version_of(row), readable=False
    )


def _count_from(row: Mapping[str, Any]) -> PartCount:
    check_shapes(row, _SHAPES)
    return PartCount(
        part=shard_of_part(row[Keys.SORT]) or 0,
        version=version_of(row),
        numbers={
            id_: Tally(**dict(zip(_NUMBERS, numbers, strict=True)))
            for id_, numbers in row.get("numbers", {}).items()
        },
        rows=row.get("rows", 0),
        counted_at=row.get("counted_at", 0),
        paid_until=in_calendar(row.get("paid_until", 0)),
    )
