"""What the native API answers. Only the documents read these: no beat imports them."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class Notice(TypedDict):
    """A message to everyone in the space: shown until a moment, a new one in its place."""

    id: str
    text: str
    level: Literal["info", "warning"]
    until: str


class Recorded(TypedDict):
    """A beat was stored. ``count`` is the space's people, as published a moment ago; ``notice`` is
    there while there is a message to everyone."""

    success: bool
    space: str
    count: int
    version: int
    leaseSeconds: int
    nextBeatIn: int
    notice: NotRequired[Notice]


class Left(TypedDict):
    """The session's visit is over, or was."""

    success: bool
    space: str


class FacetValue(TypedDict):
    """``count`` sessions say it, and ``people`` each once under what their latest beat said."""

    value: str
    count: int
    people: int


class Peak(TypedDict):
    """The highest number of people ever published, and when."""

    people: int
    at: str


class Views(TypedDict):
    """Joins: in all, and in this UTC day, ISO week and month."""

    total: int
    today: int
    week: int
    month: int


class Measure(TypedDict):
    """A quality number: the mean over the ``sessions`` that say it."""

    sessions: int
    mean: float


class Headcount(TypedDict):
    """The published numbers of a space. ``people`` = ``signedIn`` + ``anonymous``, distinct."""

    success: bool
    space: str
    people: int
    signedIn: int
    anonymous: int
    sessions: int
    signedInSessions: int
    anonymousSessions: int
    facets: dict[str, list[FacetValue]]
    peak: Peak | None
    peakSessions: int
    avgSeconds: int | None
    quality: dict[str, Measure]
    engagement: dict[str, float]
    views: Views
    version: int
    asOf: str
    notice: NotRequired[Notice]


class LiveSpace(TypedDict):
    """A space with anyone in it."""

    space: str
    people: int
    sessions: int
    signedIn: int
    anonymous: int
    asOf: str


class LiveSpaces(TypedDict):
    """Largest first."""

    success: bool
    spaces: list[LiveSpace]


class Viewer(TypedDict):
    """A session, as those see it who may."""

    sessionId: str
    visitorId: str | None
    userId: str | None
    verified: bool
    name: str | None
    avatar: str | None
    page: str | None
    facets: dict[str, str]
    quality: dict[str, float]
    engagement: dict[str, int]
    details: dict[str, str | float]
    state: str
    joinedAt: str
    lastSeen: str


class Viewers(TypedDict):
    """A page of sessions; ``cursor`` leads to the next, null on the last."""

    success: bool
    viewers: list[Viewer]
    cursor: str | None


class Visit(TypedDict):
    """One stay of a session in a space."""

    id: str
    joinedAt: str
    userId: str | None
    visitorId: str | None


class Snapshot(TypedDict):
    """A page of the visits that have not ended, for whoever follows the space's events.

    Keep the first page's ``eventSeq``, and apply the events behind it to what all pages hold.
    ``cursor`` leads to the next, null on the last.
    """

    success: bool
    space: str
    eventSeq: int
    asOf: str
    visits: list[Visit]
    cursor: str | None


class _Point(TypedDict):
    at: str
    people: int
    sessions: int


class Point(_Point, total=False):
    """A minute's sample. ``engagement``: the totals until then, where there are any."""

    engagement: dict[str, float]


class Timeline(TypedDict):
    """Oldest first; minutes with nobody in the space have no point."""

    success: bool
    space: str
    points: list[Point]


class Day(TypedDict):
    """A UTC day. ``avgSeconds``: mean time that a visit spent within it."""

    date: str
    uniquePeople: int
    uniqueSessions: int
    uniqueUsers: int
    views: int
    beats: int
    peak: int
    avgSeconds: int
    engagement: dict[str, float]


class Days(TypedDict):
    """Oldest first; days with nobody in the space have no row."""

    success: bool
    space: str
    days: list[Day]


class People(TypedDict):
    """``people`` = ``signedIn`` + ``anonymous``, each person once."""

    people: int
    signedIn: int
    anonymous: int
    sessions: int


class PublishedNumbers(People):
    """The version that everybody sees, and when it was published; null: none was yet."""

    version: int
    asOf: str | None


class Recount(People):
    """What the sessions give that were read now."""

    at: str


class Difference(People):
    """The recount minus what is published, and the facets that differ."""

    facets: list[str]


class OnItsWay(TypedDict):
    """What explains a difference for a while: sessions written a moment ago, leases that ran out
    and are ended by the next sweep, shards counted a moment ago."""

    written: int
    leasesRunOut: int
    counted: int


class CountedShard(TypedDict):
    """A shard's numbers as of its last recount, which read so many rows."""

    shard: int
    people: int
    sessions: int
    rows: int
    version: int
    countedAt: str


class CountedAs(TypedDict):
    """Who a session is counted as: the user when signed in, else the visitor, else itself."""

    by: Literal["user", "visitor", "session"]
    id: str


class CountedSession(TypedDict):
    """A session that is counted, under these facets, the page among them. In those that it
    ``decides`` its person counts under what it says; null: not looked at in so large a space."""

    sessionId: str
    person: CountedAs
    shard: int
    facets: dict[str, str]
    decides: list[str] | None
    state: str
    joinedAt: str
    lastSeen: str
    leaseEndsAt: str


class NotCounted(TypedDict):
    """A row that is not counted, why, and since when. ``movedTo``: the shard where the session is
    now, where it is known."""

    sessionId: str
    shard: int
    reason: Literal["left", "leaseRanOut", "leaveOvertookJoin", "moved"]
    movedTo: int | None
    at: str


class Explanation(TypedDict):
    """Where a space's numbers come from. ``verdict``: whether what is published agrees with a
    recount, differs by what is on its way, or drifted and will be repaired. Of a space that is too
    large to be read whole, ``note`` says so, and whatever rests on a recount is null. ``cursor``
    leads to the next page of sessions and rows, null on the last."""

    success: bool
    space: str
    verdict: Literal["agrees", "onItsWay", "drift"] | None
    published: PublishedNumbers
    recount: Recount | None
    difference: Difference | None
    onItsWay: OnItsWay | None
    note: str | None
    shards: list[CountedShard]
    sessions: list[CountedSession]
    notCounted: list[NotCounted]
    cursor: str | None
