"""The one place for key names and key shapes; the template's key schemas are tested against it."""

from __future__ import annotations

SHARD_SEPARATOR = "#"
"""No space id contains it."""


class Presence:
    """partition ``site:main#0`` (space and shard), sort key the session id."""

    PARTITION = "partition"
    SORT = "session"


class Counts:
    """partition the space, sort key ``shard#0`` for a shard's numbers or ``views``."""

    PARTITION = "space"
    SORT = "part"
    SHARD = "shard#"
    VIEWS = "views"


class Headcounts:
    """partition the space; ``live`` holds the kind while anyone is in: a sparse index on it."""

    PARTITION = "space"
    LIVE = "live"
    LIVE_INDEX = "live"


class Visits:
    """partition ``site:main#2026-11-21`` (space, UTC day), sort key time of joining and visit."""

    PARTITION = "space_day"
    SORT = "visit"


class History:
    """partition the space, sort key ``minute#<ISO time>`` or ``day#<date>``."""

    PARTITION = "space"
    SORT = "at"
    MINUTE = "minute#"
    DAY = "day#"


class Subscriptions:
    """Two rows per subscription, so that both directions are one consistent query.

    partition ``space#site:main``, sort key the connection id: who hears a space.
    partition ``connection#<id>``, sort key the space: what a connection hears; sort key
    ``connection`` is the connection itself.
    """

    PARTITION = "topic"
    SORT = "subscriber"
    SPACE = "space#"
    CONNECTION = "connection#"
    SELF = "connection"


TTL = "ttl"
"""Every table's TTL attribute, in epoch seconds."""


def presence_partition(space: str, shard: int) -> str:
    """``site:main#0``."""
    return f"{space}{SHARD_SEPARATOR}{shard}"


def split_presence_partition(partition: str) -> tuple[str, int]:
    """The inverse of ``presence_partition``."""
    space, _, shard = partition.rpartition(SHARD_SEPARATOR)
    return space, int(shard)


def count_part(shard: int) -> str:
    """``shard#0``."""
    return f"{Counts.SHARD}{shard}"


def visits_partition(space: str, day: str) -> str:
    """``site:main#2026-11-21``."""
    return f"{space}{SHARD_SEPARATOR}{day}"
