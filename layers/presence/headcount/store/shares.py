"""The Streams table's share links: a row for each, in one partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.model.share import Share
from headcount.store.attributes import encode
from headcount.store.keys import TTL
from headcount.store.keys import Streams as Keys
from headcount.store.rows import TEXT, TIME, Shape, check_shapes, read
from headcount.store.table import Table, conditional_write
from headcount.times import DAY, SECOND

_RETENTION = 30 * DAY
"""How long a link is kept after its end, to say what became of it. One that was revoked stays until
then, too: rows that a backup restores don't open it again."""
_SHAPES: dict[str, Shape] = {
    "hash": TEXT,
    "where": TEXT,
    "at": TIME,
    "until": TIME,
    "revoked_at": TIME,
}


class SharesTable(Table):
    """Reads are consistent: a link that was revoked opens nothing any more."""

    _partition = Keys.PARTITION
    _sort = Keys.SORT

    def add(self, share: Share) -> bool:
        """Store a new link; False if there is one with this id."""
        values = {
            "hash": share.hash,
            "where": share.where,
            "at": share.at,
            "until": share.until,
            "label": share.label,
            TTL: (share.until + _RETENTION) // SECOND,
        }
        return conditional_write(
            self._client.put_item,
            TableName=self._table,
            Item=self._key(Keys.SHARES, share.id) | encode(values),
            ConditionExpression="attribute_not_exists(#p)",
            ExpressionAttributeNames={"#p": Keys.PARTITION},
        )

    def get(self, id_: str) -> Share | None:
        """A link, until 30 days after its end; None if there is none."""
        row = self._get_row(self._key(Keys.SHARES, id_), ConsistentRead=True)
        return _share(row) if row else None

    def all(self) -> list[Share]:
        """All links, the newest first."""
        rows = self._query_rows(Keys.SHARES, ConsistentRead=True)
        found = [share for row in rows if (share := _share(row)) is not None]
        return sorted(found, key=lambda one: (-one.at, one.id))

    def revoke(self, id_: str, now: int) -> bool:
        """End a link; False if there is none, or if it was revoked before."""
        return conditional_write(
            self._client.update_item,
            TableName=self._table,
            Key=self._key(Keys.SHARES, id_),
            UpdateExpression="SET #r = :now",
            ConditionExpression="attribute_exists(#p) AND attribute_not_exists(#r)",
            ExpressionAttributeNames={"#p": Keys.PARTITION, "#r": "revoked_at"},
            ExpressionAttributeValues=encode({":now": now}),
        )


def _share(row: dict[str, Any]) -> Share | None:
    """The link of a row; None for a damaged one, which opens nothing."""
    return read(_share_from, row, Keys.SHARES)


def _share_from(row: Mapping[str, Any]) -> Share:
    check_shapes(row, _SHAPES)
    return Share(
        id=row[Keys.SORT],
        hash=row["hash"],
        where=row["where"],
        at=row["at"],
        until=row["until"],
        label=row.get("label"),
        revoked_at=row.get("revoked_at"),
    )
