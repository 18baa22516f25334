"""What a beat needs of a space's Headcounts row, apart from the rest: a beat starts faster so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from headcount.model.intervals import Crowd, Ends
from headcount.model.moderation import Denied, Notice, unpack_denied
from headcount.store.attributes import encode
from headcount.store.keys import Headcounts as Keys
from headcount.store.rows import BYTES, NUMBER, TEXT, TIME, Shape, check_shapes, read, version_of
from headcount.store.table import Table

ENDS: Mapping[str, Shape] = {
    "ends": NUMBER,
    "ends_lost": NUMBER,
    "ends_since": NUMBER,
    "ends_until": NUMBER,
    "avg_seconds": NUMBER,
}
_SHAPES: Mapping[str, Shape] = {
    **ENDS,
    **dict.fromkeys(("signed_in", "anonymous", "sessions", "version", "shards"), NUMBER),
    "denied": BYTES,
}
_NOTICE_SHAPES: Mapping[str, Shape] = {"id": TEXT, "text": TEXT, "level": TEXT, "until": TIME}
_NOTICE_FIELDS = ("id", "text", "level", "until")


class SpaceSummary(Struct, frozen=True):
    """What a beat needs of its space: people and version, the number of shards in use, the message
    to everyone, who is denied, and what the interval between beats follows from."""

    people: int = 0
    version: int = 0
    crowd: Crowd = Crowd()
    shards: int = 1
    notice: Notice | None = None
    denied: Denied = field(default_factory=dict)


class SummariesTable(Table):
    """The Headcounts table, as beats read it."""

    _partition = Keys.PARTITION

    def summary(self, space: str) -> SpaceSummary:
        """What a beat needs of its space: one half-unit read."""
        row = self._get_row(encode({self._partition: space})) or {}
        return read(_summary_from, row, space) or SpaceSummary(version=version_of(row))


def ends_values(ends: Ends) -> dict[str, int | None]:
    """How visits ended, as attributes beside ``avg_seconds``."""
    if not ends.visits:
        return {}
    return {
        "ends": ends.visits,
        "ends_lost": ends.lost or None,
        "ends_since": ends.since,
        "ends_until": ends.until or None,
    }


def ends_from(row: Mapping[str, Any]) -> Ends:
    """The inverse of ``ends_values``."""
    if "ends" not in row:
        return Ends()
    return Ends(
        row["ends"],
        row.get("ends_lost", 0),
        row.get("ends_since", 0),
        row.get("avg_seconds", 0),
        row.get("ends_until", 0),
    )


def notice_from(row: Mapping[str, Any]) -> Notice:
    """The message to everyone from attributes."""
    check_shapes(row, _NOTICE_SHAPES)
    return Notice(row["id"], row["text"], row["level"], row["until"])


def notice_in(row: Mapping[str, Any]) -> Notice | None:
    """The message to everyone in a space's Headcounts row, if it has one."""
    if "notice" not in row:
        return None
    return notice_from(dict(zip(_NOTICE_FIELDS, row["notice"], strict=True)))


def _summary_from(row: Mapping[str, Any]) -> SpaceSummary:
    check_shapes(row, _SHAPES)
    return SpaceSummary(
        people=row.get("signed_in", 0) + row.get("anonymous", 0),
        version=version_of(row),
        shards=row.get("shards", 1),
        crowd=Crowd(row.get("sessions", 0), ends_from(row)),
        notice=notice_in(row),
        denied=unpack_denied(row.get("denied")),
    )
