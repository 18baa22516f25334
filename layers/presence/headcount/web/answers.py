"""The types of the native API's responses. Nothing on a beat's path imports them."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class Notice(TypedDict):
    """A message to everyone in the space, shown until ``until`` or until another replaces it."""

    id: str
    text: str
    level: Literal["info", "warning"]
    until: str


class Recorded(TypedDict):
    """The beat is stored. ``count``: people in the space, as last published, and its ``version``,
    for callers who may read them. ``notice``: the message to everyone, while there is one.
    ``beatAt``: an address that takes the same beats for less; if one fails there, send it here."""

    success: bool
    space: str
    count: NotRequired[int]
    version: NotRequired[int]
    leaseSeconds: int
    nextBeatIn: int
    beatAt: NotRequired[str]
    notice: NotRequired[Notice]


class Left(TypedDict):
    """The session's visit has ended, now or before."""

    success: bool
    space: str


class PersonIn(TypedDict):
    """A space that a person is in: since when, when they last beat there, on which page, with how
    many ``sessions``, and whether a token proved who they are. The page is of the latest beat."""

    space: str
    since: str
    lastSeen: str
    page: str | None
    sessions: int
    verified: bool


class Whereabouts(TypedDict):
    """Where a person is, the space of the latest beat first. ``lastSeen``: the latest beat, or when
    they last left; null if that was more than seven days ago, or never."""

    person: str
    online: bool
    spaces: list[PersonIn]
    lastSeen: str | None


class FoundPerson(Whereabouts):
    """Where a person is."""

    success: bool


class FoundPeople(TypedDict):
    """Where people are, in the order of the request."""

    success: bool
    people: list[Whereabouts]


class FacetValue(TypedDict):
    """A facet's value: ``count`` sessions have it, and ``people`` distinct people, each counted
    under the value of their latest beat."""

    value: str
    count: int
    people: int


class Peak(TypedDict):
    """The highest number of people ever published, and when."""

    people: int
    at: str


class Views(TypedDict):
    """Every join counts as a view: in total, and in this UTC day, ISO week and month."""

    total: int
    today: int
    week: int
    month: int


class Measure(TypedDict):
    """A quality number: the mean over the ``sessions`` that report it."""

    sessions: int
    mean: float


class Accuracy(TypedDict):
    """The mean difference between the published and the true number of people is at most
    ``people``; ``because`` says why."""

    people: int
    because: str


class Numbers(TypedDict):
    """Who is there. ``people`` = ``signedIn`` + ``anonymous``, distinct."""

    people: int
    signedIn: int
    anonymous: int
    sessions: int
    signedInSessions: int
    anonymousSessions: int
    facets: dict[str, list[FacetValue]]


class Headcount(Numbers):
    """The published numbers of a space. ``people`` = ``signedIn`` + ``anonymous``, distinct."""

    success: bool
    space: str
    peak: Peak | None
    peakSessions: int
    avgSeconds: int | None
    quality: dict[str, Measure]
    engagement: dict[str, float]
    views: Views
    version: int
    asOf: str
    accuracy: NotRequired[Accuracy]
    notice: NotRequired[Notice]


class RolledUp(TypedDict):
    """The published numbers of a roll-up. ``people`` = ``signedIn`` + ``anonymous``, distinct over
    all its spaces. ``space``: the id to subscribe to."""

    success: bool
    space: str
    people: int
    signedIn: int
    anonymous: int
    sessions: int
    signedInSessions: int
    anonymousSessions: int
    peak: Peak | None
    peakSessions: int
    version: int
    asOf: str


class RollUp(RolledUp):
    """Those of a ``kind`` or a ``group``, and how many of its ``spaces`` have anyone in them."""

    kind: str | None
    group: str | None
    spaces: int


class ListedRollUp(TypedDict):
    """The published numbers of a ``kind`` or a ``group``, and how many of its ``spaces`` have
    anyone in them. ``space``: the id to subscribe to."""

    space: str
    kind: str | None
    group: str | None
    people: int
    signedIn: int
    anonymous: int
    sessions: int
    peak: Peak | None
    spaces: int
    asOf: str


class ListedRollUps(TypedDict):
    """All kinds, then all groups."""

    success: bool
    rollups: list[ListedRollUp]


class LiveSpace(TypedDict):
    """A space with at least one session."""

    space: str
    people: int
    sessions: int
    signedIn: int
    anonymous: int
    peak: Peak | None
    asOf: str


class KindHere(TypedDict):
    """A declared kind, and the spaces that its declaration names, by ``ids``."""

    kind: str
    spaces: list[str]


class LiveSpaces(TypedDict):
    """The live spaces, largest first, and what else there may be: empty ones."""

    success: bool
    spaces: list[LiveSpace]
    kinds: list[KindHere]


class Health(TypedDict):
    """The API answers, and which release it is."""

    success: bool
    version: str


class Viewer(TypedDict):
    """A session, as callers who may see people see it."""

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
    """A page of sessions. ``cursor`` leads to the next page, null on the last. Of a search also the
    ``total`` that it found, ``of`` how many sessions; ``sample``: the space has more."""

    success: bool
    viewers: list[Viewer]
    cursor: str | None
    total: NotRequired[int]
    of: NotRequired[int]
    sample: NotRequired[bool]


class Whole(TypedDict):
    """People and sessions of the whole space."""

    people: int
    sessions: int


class Slice(Numbers):
    """The numbers of a slice, counted now. ``people`` = ``signedIn`` + ``anonymous``, each under
    the values of their latest tab. ``sample``: estimated from this many sessions of a large
    space."""

    success: bool
    space: str
    of: Whole
    sample: NotRequired[int]
    asOf: str


class Visit(TypedDict):
    """A session's visit to a space. ``verified``: a token proved the user; otherwise it is what
    they claim to be."""

    id: str
    joinedAt: str
    userId: str | None
    verified: bool
    visitorId: str | None


class Snapshot(TypedDict):
    """A page of the visits that have not ended, for clients that follow the space's events.

    Keep the first page's ``eventSeq``, and apply later events to the visits of all pages.
    ``cursor`` leads to the next page, null on the last.
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
    """A minute's sample. ``engagement``: the totals up to then, if there are any."""

    engagement: dict[str, float]


Gap = TypedDict("Gap", {"from": str, "to": str})


class Timeline(TypedDict):
    """Oldest first; minutes without a session in the space have no point.

    ``gaps``, if there are any: from the first to the last of minutes without a point in which
    someone was there, but how many is not known, because no sample was taken.
    """

    success: bool
    space: str
    points: list[Point]
    gaps: NotRequired[list[Gap]]


_Period = TypedDict("_Period", {"from": str, "to": str})


class Series(_Period):
    """Equal steps of a period: mean people and sessions of the step's minutes, and the most people
    of a minute; null: not known."""

    people: list[float | None]
    sessions: list[float | None]
    peaks: list[int | None]


class Usual(TypedDict):
    """For each step, the quartiles of its people in the same step of the weeks before; null: fewer
    than two of them are known. ``weeks``: how many are known, of at most four."""

    weeks: int
    low: list[float | None]
    median: list[float | None]
    high: list[float | None]


class Mark(TypedDict):
    """Something that an admin did at that time: a note, or a message to everyone."""

    at: str
    what: Literal["mark", "message"]
    text: str


class History(Series):
    """``step``: minutes. ``since``: the first stored sample; nothing is known before. ``compared``:
    an equally long period before; ``usual``: of periods of at most 7 days."""

    success: bool
    space: str
    step: int
    since: str | None
    marks: list[Mark]
    compared: NotRequired[Series]
    usual: NotRequired[Usual]


class Day(TypedDict):
    """A UTC day. ``avgSeconds``: the mean time that a visit spent within it.
    ``viewsByQuarter``: those of each quarter of an hour, without zeros at the end; only where that
    was asked for, and stored."""

    date: str
    uniquePeople: int
    uniqueSessions: int
    uniqueUsers: int
    views: int
    beats: int
    peak: int
    avgSeconds: int
    engagement: dict[str, float]
    viewsByQuarter: NotRequired[list[int]]


class Days(TypedDict):
    """Oldest first; days without a session in the space have no row."""

    success: bool
    space: str
    days: list[Day]


class CostParts(TypedDict):
    """Dollars: of beats, of visits beside them, of the hours that people were there (recounts,
    versions, sweeps), and of a day without anyone."""

    beats: float
    visits: float
    presence: float
    fixed: float


class DayCost(TypedDict):
    """What a UTC day of the stack cost, estimated; and what that is by."""

    date: str
    dollars: float
    parts: CostParts
    beats: int
    views: int
    viewerHours: float


class Costs(TypedDict):
    """Oldest first; only whole days, from 01:00 of the next on."""

    success: bool
    days: list[DayCost]


class People(TypedDict):
    """``people`` = ``signedIn`` + ``anonymous``, each person once."""

    people: int
    signedIn: int
    anonymous: int
    sessions: int


class PublishedNumbers(People):
    """The latest version, when it was published and how accurate it is; null if none has been."""

    version: int
    asOf: str | None
    accuracy: Accuracy | None


class Recount(People):
    """The numbers of the sessions that were read just now."""

    at: str


class Difference(People):
    """The recount minus the published numbers, and the facets that differ."""

    facets: list[str]


class OnItsWay(TypedDict):
    """What explains a temporary difference: sessions written a moment ago, leases that ran out and
    that the next sweep ends, shards counted a moment ago."""

    written: int
    leasesRunOut: int
    counted: int


class CountedShard(TypedDict):
    """A shard's numbers as of its last recount, and how many ``rows`` that recount read."""

    shard: int
    people: int
    sessions: int
    rows: int
    version: int
    countedAt: str


class CountedAs(TypedDict):
    """The person a session counts as: the user if signed in, otherwise the visitor, otherwise the
    session itself. ``verified``: a token proved the user, who is another person than those who only
    claim the id."""

    by: Literal["user", "visitor", "session"]
    id: str
    verified: bool


class CountedSession(TypedDict):
    """A counted session and its facets, the page among them. ``decides``: the facets in which its
    person counts under this session's value; null in a space too large to work that out."""

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
    """A row that is not counted, why, and since when. ``movedTo``: the shard that the session is in
    now, if known."""

    sessionId: str
    shard: int
    reason: Literal["left", "leaseRanOut", "leaveOvertookJoin", "moved"]
    movedTo: int | None
    at: str


class Explanation(TypedDict):
    """Where a space's numbers come from. ``verdict``: the published numbers agree with a recount,
    differ by changes that are on their way, or drifted and will be repaired. A space that is too
    large to read whole has a ``note`` about it, and null where a recount would be needed.
    ``cursor`` leads to the next page of sessions and rows, null on the last."""

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


class PublishedRollUp(People):
    """The latest version of a roll-up, and when it was published; null if none has been."""

    version: int
    asOf: str | None


class RolledUpRecount(People):
    """The numbers of the sessions that the index of people has now."""

    at: str


class CountedPart(TypedDict):
    """What a part of the index of people adds to the roll-up as of its last recount, which read so
    many ``entries``. No person is in two parts."""

    part: int
    people: int
    sessions: int
    entries: int
    version: int
    countedAt: str


class SpaceOfRollUp(TypedDict):
    """A space of a roll-up, and who is in it."""

    space: str
    people: int
    sessions: int


class RolledUpSession(TypedDict):
    """A session that is counted, and the person that it counts as."""

    sessionId: str
    space: str
    person: CountedAs
    joinedAt: str
    lastSeen: str
    leaseEndsAt: str


class RollUpExplanation(TypedDict):
    """Where a roll-up's numbers come from. ``verdict``: the published numbers agree with a recount,
    differ by changes that are on their way (``countedRecently``: parts whose numbers may not be
    published yet), or drifted and will be repaired. ``spaces``: the 100 with the most people, and
    ``inSeveralSpaces`` of the people are in more than one of all. ``sessions``: a person's one
    after the other. If there are too many to read, a ``note`` says so, and what a recount would say
    is null or empty. ``cursor`` leads to the next page of sessions, null on the last."""

    success: bool
    space: str
    kind: str | None
    group: str | None
    verdict: Literal["agrees", "onItsWay", "drift"] | None
    published: PublishedRollUp
    recount: RolledUpRecount | None
    difference: People | None
    countedRecently: int | None
    note: str | None
    parts: list[CountedPart]
    inSeveralSpaces: int | None
    spaces: list[SpaceOfRollUp]
    sessions: list[RolledUpSession]
    cursor: str | None
