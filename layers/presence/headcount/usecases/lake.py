"""The lake: a Parquet file in S3 with a day's rows of all spaces, after ``daily`` wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.model.space import kind_of
from headcount.times import add_days, day_of
from headcount.usecases.daily import DayRefusedError, is_unused
from headcount.usecases.parquet import ParquetFile, Type

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from headcount.model.visit import Day
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.history import HistoryTable

COLUMNS: Mapping[str, Type] = {
    "date": Type.DATE,
    "space": Type.TEXT,
    "kind": Type.TEXT,
    **dict.fromkeys(("uniquePeople", "uniqueSessions", "uniqueUsers"), Type.INTEGER),
    **dict.fromkeys(("views", "beats", "peak", "avgSeconds"), Type.INTEGER),
    "engagement": Type.TEXT,  # as JSON
}

ROWS_OF_A_GROUP = 10_000
"""Spaces that are read, sorted and written at once."""


class NoLakeError(ValueError):
    """The deployment has no lake."""


class Exporter(Struct, frozen=True, eq=False):
    """What exporting needs. ``place`` is ``bucket`` or ``bucket/prefix``; ``clock`` returns epoch
    milliseconds."""

    headcounts: HeadcountsTable
    history: HistoryTable
    s3: S3Client
    place: str
    clock: Callable[[], int]

    def export(self, date: str | None = None) -> int:
        """Write the file of a past UTC day, by default yesterday's; returns how many rows it has.
        Writing it again replaces it. Raises NoLakeError or DayRefusedError."""
        if not self.place:
            raise NoLakeError("there is no lake: deploy with lake=<bucket> in Settings")
        today = day_of(self.clock())
        date = date or add_days(today, -1)
        if date >= today:
            raise DayRefusedError(f"{date} is not over yet: export it after midnight UTC")
        file = ParquetFile(COLUMNS)
        spaces = self._spaces(date)
        while some := sorted(islice(spaces, ROWS_OF_A_GROUP)):
            days = self.history.days_of(some, date)
            if rows := [_row(space, days[space]) for space in some if space in days]:
                file.add(rows)
        bucket, _, prefix = self.place.partition("/")
        key = "/".join(filter(None, (prefix, "days", f"{date}.parquet")))
        self.s3.put_object(Bucket=bucket, Key=key, Body=file.content())
        return file.rows

    def _spaces(self, date: str) -> Iterator[str]:
        """The spaces that may have a row of that day."""
        return (head.space for head in self.headcounts.scan() if not is_unused(head, date))


def _row(space: str, day: Day) -> dict[str, Any]:
    body = day.body()
    engagement = json.dumps(body["engagement"], separators=(",", ":"), sort_keys=True)
    return {**body, "space": space, "kind": kind_of(space), "engagement": engagement}
