"""The one place for key names and key shapes; the template's key schemas are tested against it."""

from __future__ import annotations

SHARD_SEPARATOR = "#"
"""No space id contains it."""


class Presence:
    """partition ``site:main#0`` (space and shard), sort key the session id."""

    PARTITION = "partition"
    SORT = "session"


class Counts:
    """partition the space, sort key ``shard#0`` for a shard's numbers, ``views``,
    ``engagement``, ``reading#<source>`` for what servers report of the space; and what admins say
    of it: ``alert#<name>`` a rule, ``notice`` the message to everyone, ``denied#<hash of a
    person>`` who may not be there."""

    PARTITION = "space"
    SORT = "part"
    SHARD = "shard#"
    VIEWS = "views"
    ENGAGEMENT = "engagement"
    READING = "reading#"
    ALERT = "alert#"
    NOTICE = "notice"
    DENIED = "denied#"
    DAY_SEPARATOR = "#"  # in the names of a day's counters: 2026-11-21#chat


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
    """partition the space, sort key ``minute#<ISO time>``, ``day#<date>``, or
    ``audit#<ISO time>#<id>`` for what an admin did."""

    PARTITION = "space"
    SORT = "at"
    MINUTE = "minute#"
    DAY = "day#"
    AUDIT = "audit#"


class Subscriptions:
    """Two rows per subscription, so that both directions are one consistent query.

    partition ``space#site:main``, sort key the connection id: who hears a space.
    partition ``connection#<id>``, sort key the space: what a connection hears; sort key
    ``connection`` is the connection itself, and the session that it holds. partition ``claim``,
    sort key a topic: its next frame is on its way. partition ``aside#<space>``, sort key the
    connection id: it missed a version, and hears no more before it is closed. partition ``told``,
    sort key a space: the version that was told in chunks last.
    """

    PARTITION = "topic"
    SORT = "subscriber"
    SPACE = "space#"
    CONNECTION = "connection#"
    SELF = "connection"
    CLAIM = "claim"
    ASIDE = "aside#"
    TOLD = "told"


class Streams:
    """partition ``container``, sort key the container's id: the last known state of a task;
    partition ``streams``, sort key the stream's id: a registered stream;
    partition ``channel#<id>``, sort key the stream's id: which streams a channel has;
    partition ``events#<space>``, sort key ``head``: how far the numbers of the space's events go;
    partition ``numbers#<space>``, sort key an event's id: its number."""

    PARTITION = "partition"
    SORT = "sort"
    CONTAINER = "container"
    REGISTRY = "streams"
    CHANNEL = "channel#"
    EVENTS = "events#"
    HEAD = "head"
    NUMBERS = "numbers#"


TTL = "ttl"
"""Every table's TTL attribute, in epoch seconds: when a row may go to the bin. Rows without it
stay until somebody deletes them."""


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


def shard_of_part(part: str) -> int | None:
    """The inverse of ``count_part``; None: it is another part."""
    number = part.removeprefix(Counts.SHARD)
    return int(number) if part.startswith(Counts.SHARD) and number.isdecimal() else None


def visits_partition(space: str, day: str) -> str:
    """``site:main#2026-11-21``."""
    return f"{space}{SHARD_SEPARATOR}{day}"
