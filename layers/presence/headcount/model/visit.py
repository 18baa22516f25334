"""Visits, the rows of the ledger, and a day's numbers from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from headcount.model.durations import read_varint, varint
from headcount.model.session import Session, person_of
from headcount.times import DAY, MINUTE, SECOND, day_of, day_start

if TYPE_CHECKING:
    from headcount.web import answers


class Visit(Struct, frozen=True):
    """One visit of a session to a space, from join to leave or expiry (epoch milliseconds)."""

    space: str
    id: str
    session: str
    user: str | None
    visitor: str | None
    joined_at: int
    beats: Mapping[str, int]  # UTC day -> beats
    ended_at: int | None = None  # None: it has not ended
    ended_by: str | None = None
    engagement: Mapping[str, int] = field(default_factory=dict)  # what the person did
    former_users: tuple[str, ...] = ()  # signed in and out again during the visit
    verified: bool | None = None  # whether a token proved the user; None: 1.0.0 did not store it
    former_proofs: tuple[bool, ...] = ()  # whether a token proved each former user; empty: none

    @classmethod
    def from_session(cls, session: Session) -> Visit:
        """The visit of a presence row."""
        return cls(
            space=session.space,
            id=session.visit,
            session=session.id,
            user=session.facts.user,
            visitor=session.facts.visitor,
            joined_at=session.joined_at,
            beats=session.beats,
            ended_at=session.ended_at,
            ended_by=session.ended_by,
            engagement=session.telemetry.engagement,
            former_users=session.former_users,
            verified=session.facts.verified,
            former_proofs=session.former_proofs,
        )

    @property
    def person(self) -> str:
        """The key of the person whom it counted as last."""
        return person_of(self.user, self.visitor, self.session, verified=bool(self.verified))

    @property
    def users(self) -> list[str]:
        """All users who were signed in during the visit, the latest last."""
        return [*self.former_users, *([self.user] if self.user else [])]

    @property
    def proofs(self) -> Mapping[str, bool | None]:
        """Those users, each with whether a token proved it in this visit; None: not known."""
        if not self.users:
            return {}
        fill = None if self.verified is None else False
        proofs: dict[Any, bool | None] = dict(
            zip_longest(self.former_users, self.former_proofs, fillvalue=fill)
        )
        if self.user is not None:
            proofs[self.user] = proofs.get(self.user) or self.verified
        return proofs

    @property
    def day(self) -> str:
        """The UTC day when it began: its view counts on this day."""
        return day_of(self.joined_at)


QUARTER = 15 * MINUTE
"""The steps that are stored of each day, so that a month is not read minute by minute. In every
time zone, hours and days begin with one."""
QUARTERS = DAY // QUARTER
"""Of a day."""


class Day(Struct, frozen=True):
    """A UTC day of a space. ``avg_seconds``: mean time that a visit spent within the day."""

    date: str
    unique_people: int
    unique_sessions: int
    views: int
    beats: int
    peak: int
    avg_seconds: int
    unique_users: int = 0  # signed in
    engagement: Mapping[str, float] = field(default_factory=dict)
    quarters: tuple[int, ...] | None = None
    """Views by quarter of an hour, without zeros at the end; None: 1.0.0 did not store them."""

    def body(self) -> answers.Day:
        """A row of ``GET /v1/spaces/{space}/days``."""
        return {
            "date": self.date,
            "uniquePeople": self.unique_people,
            "uniqueSessions": self.unique_sessions,
            "views": self.views,
            "beats": self.beats,
            "peak": self.peak,
            "avgSeconds": self.avg_seconds,
            "uniqueUsers": self.unique_users,
            "engagement": dict(self.engagement),
        }


def pack_quarters(quarters: tuple[int, ...]) -> bytes:
    """A byte or two each."""
    return b"".join(map(varint, quarters))


def unpack_quarters(packed: bytes) -> tuple[int, ...]:
    """The inverse of ``pack_quarters``."""
    data = iter(packed)
    return tuple([read_varint(first, data) for first in data])


def _without_zeros(quarters: list[int]) -> tuple[int, ...]:
    last = max((index for index, views in enumerate(quarters) if views), default=-1)
    return tuple(quarters[: last + 1])


def summarise(
    date: str,
    visits: Iterable[Visit],
    *,
    peak: int,
    now: int,
    live: Iterable[Visit] = (),
    engagement: Mapping[str, float] | None = None,
) -> Day | None:
    """A day's numbers from the visits with beats in it; None if there are none.

    ``visits`` are the ledger's, each once, and read one by one: a day may have millions. ``live``
    are those of the sessions' rows. If a visit is in both, the one that ended or has more beats
    counts.
    """
    by_id: dict[str, Visit] = {}
    for visit in live:
        if visit.beats.get(date):
            _keep_fuller(by_id, visit)
    day = _DayBuilder(date, now)
    for visit in visits:
        if visit.id in by_id:
            _keep_fuller(by_id, visit)
        elif visit.beats.get(date):
            day.add(visit)
    for visit in by_id.values():
        if visit.beats.get(date):
            day.add(visit)
    return day.build(peak, engagement or {})


def _keep_fuller(by_id: dict[str, Visit], visit: Visit) -> None:
    have = by_id.get(visit.id)
    if have is None or _completeness(have) < _completeness(visit):
        by_id[visit.id] = visit


def _completeness(visit: Visit) -> tuple[bool, int]:
    return visit.ended_at is not None, sum(visit.beats.values())


class _DayBuilder:
    """Builds a day's numbers visit by visit."""

    def __init__(self, date: str, now: int) -> None:
        self._date = date
        self._start = day_start(date)
        self._end = min(self._start + DAY, now)
        self._visits = self._views = self._beats = self._spent = 0
        self._quarters = [0] * QUARTERS
        self._sessions: set[str] = set()
        self._users: dict[bool | None, set[str]] = {True: set(), False: set(), None: set()}
        """By whether a token proved them: an id that is claimed is not the proven user's."""
        self._signed_in: set[tuple[str, str]] = set()
        """Visitors and sessions that were signed in at some time of the day."""
        self._anonymous: set[tuple[str | None, str]] = set()
        """Visitor and session of the visits in which no one was signed in."""

    def add(self, visit: Visit) -> None:
        """Add a visit."""
        gone_at = min(visit.ended_at or self._end, self._end)
        self._visits += 1
        if visit.day == self._date:
            self._views += 1
            self._quarters[(visit.joined_at - self._start) // QUARTER] += 1
        self._beats += visit.beats[self._date]
        self._spent += max(0, gone_at - max(visit.joined_at, self._start))
        self._sessions.add(visit.session)
        if visit.users:
            for user, proof in visit.proofs.items():
                self._users[proof].add(user)
            self._signed_in.add(("session", visit.session))
            if visit.visitor is not None:
                self._signed_in.add(("visitor", visit.visitor))
        else:
            self._anonymous.add((visit.visitor, visit.session))

    def build(self, peak: int, engagement: Mapping[str, float]) -> Day | None:
        """The numbers; None if there was no visit."""
        if not self._visits:
            return None
        proven, claimed = self._users[True], self._users[False]
        # Of visits that 1.0.0 recorded it is not known: they are the user known by that id.
        users = len(proven) + len(claimed) + len(self._users[None] - proven - claimed)
        return Day(
            date=self._date,
            unique_people=users + self._anonymous_people(),
            unique_sessions=len(self._sessions),
            views=self._views,
            beats=self._beats,
            peak=peak,
            avg_seconds=round(self._spent / self._visits / SECOND),
            unique_users=users,
            engagement=engagement,
            quarters=_without_zeros(self._quarters),
        )

    def _anonymous_people(self) -> int:
        """The number of people who did not sign in all day.

        An anonymous visit belongs to a user if its visitor, or its session, signed in that day.
        """
        return len(
            {
                ("session", session) if visitor is None else ("visitor", visitor)
                for visitor, session in self._anonymous
                if ("visitor", visitor) not in self._signed_in
                and ("session", session) not in self._signed_in
            }
        )
