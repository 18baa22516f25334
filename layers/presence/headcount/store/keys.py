"""The one place for key names and key shapes; the template's key schemas are tested against it."""

from __future__ import annotations

SHARD_SEPARATOR = "#"
"""No space id contains it."""


class Presence:
    """partition ``site:main#0`` (space and shard), sort key the session id. With roll-ups, the
    sparse index of people: partition the person's part, sort key their name there."""

    PARTITION = "partition"
    SORT = "session"
    PEOPLE_INDEX = "people"
    PART, PERSON = "r", "p"  # longer names don't fit into the largest row


class Counts:
    """partition the space, sort key ``shard#0`` for a shard's numbers, ``views``,
    ``engagement``, ``reading#<source>`` for the report of a server; and from admins
    ``alert#<name>`` for a rule, ``notice`` for the message to everyone, ``denied#<hash of a
    person>`` for a removed person. Partition ``~rollups``, sort key ``shard#0`` for the roll-ups'
    numbers of a part of the index of people."""

    PARTITION = "space"
    SORT = "part"
    SHARD = "shard#"
    VIEWS = "views"
    ENGAGEMENT = "engagement"
    READING = "reading#"
    ALERT = "alert#"
    NOTICE = "notice"
    DENIED = "denied#"
    ROLLUPS = "~rollups"
    DAY_SEPARATOR = "#"  # in the names of a day's counters: 2026-11-21#chat


class Headcounts:
    """partition the space; ``live`` holds the kind while anyone is there, for a sparse index."""

    PARTITION = "space"
    LIVE = "live"
    LIVE_INDEX = "live"


class Visits:
    """partition ``site:main#2026-11-21`` (space, UTC day), sort key time of the join and visit."""

    PARTITION = "space_day"
    SORT = "visit"


class People:
    """partition the person, such as ``u:ada``; an attribute ``~<visit>`` for each open visit, with
    its space, shard, session and start."""

    PARTITION = "person"
    VISIT = "~"


class History:
    """partition the space, sort key ``minute#<ISO time>``, ``day#<date>``, ``steps#<date>`` for the
    day's quarters of an hour, or ``audit#<ISO time>#<id>`` for an entry of the audit log. partition
    ``$stack``, sort key ``use#<date>#<part>``: what a day of all spaces used, in the parts that
    aggregated it."""

    PARTITION = "space"
    SORT = "at"
    MINUTE = "minute#"
    DAY = "day#"
    STEPS = "steps#"
    AUDIT = "audit#"
    USE = "use#"
    STACK = "$stack"


class Subscriptions:
    """Two rows per subscription, so that both directions are one consistent query.

    partition ``space#site:main``, sort key the connection id: a space's subscribers.
    partition ``connection#<id>``, sort key the space: a connection's subscriptions; sort key
    ``connection``: the connection itself, and the session that it holds. partition ``claim``,
    sort key a topic: its next frame is already scheduled. partition ``aside#<space>``, sort key the
    connection id: it missed a version, and gets no more before it is closed. partition ``told``,
    sort key a space: the version that was last delivered in chunks. The subscription to ``~sync``
    is every connection's that speaks Convex's sync protocol; its row under the connection holds
    what that client knows. The subscription to ``~shares`` is every connection's that a share link
    opened, with that link's id and end.

    Those who watch a person are the subscribers of a topic as well, ``~person:u:ada``.
    A space's listeners are the subscribers of another topic, ``~count:site:main``; among them,
    sort key ``~chunks``: the version that was last sent to them in chunks."""

    PARTITION = "topic"
    SORT = "subscriber"
    SPACE = "space#"
    CONNECTION = "connection#"
    SELF = "connection"
    CLAIM = "claim"
    ASIDE = "aside#"
    DELIVERED = "told"
    SYNC = "~sync"
    SHARES = "~shares"
    CHUNKS = "~chunks"


class Streams:
    """partition ``container``, sort key the container's id: the last known state of a task;
    partition ``streams``, sort key the stream's id: a registered stream;
    partition ``channel#<id>``, sort key the stream's id: a channel's streams;
    partition ``events#<space>``, sort key ``head``: the last number of the space's events;
    partition ``numbers#<space>``, sort key an event's id: its number;
    partition ``joins#<hash>``, sort key a minute: how many sessions or spaces were new;
    partition ``joins#``, sort key ``salt``: the salt of those hashes;
    partition ``shares``, sort key a share link's id: the link."""

    PARTITION = "partition"
    SORT = "sort"
    CONTAINER = "container"
    REGISTRY = "streams"
    CHANNEL = "channel#"
    EVENTS = "events#"
    HEAD = "head"
    NUMBERS = "numbers#"
    COUNTER = "joins#"
    SALT = "salt"
    SHARES = "shares"


TTL = "ttl"
"""Every table's TTL attribute, in epoch seconds: when DynamoDB may delete a row. Rows without it
stay until they are deleted explicitly."""


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
    """The inverse of ``count_part``; None for other parts."""
    number = part.removeprefix(Counts.SHARD)
    return int(number) if part.startswith(Counts.SHARD) and number.isdecimal() else None


def visits_partition(space: str, day: str) -> str:
    """``site:main#2026-11-21``."""
    return f"{space}{SHARD_SEPARATOR}{day}"
