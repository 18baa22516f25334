"""The ledger of visits, and a day's numbers from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headcount.session import Session
from headcount.times import DAY, SECOND, day_of, day_start


@dataclass(frozen=True, slots=True)
class Visit:
    """One stay of a session in a space, from join to leave or expiry (epoch milliseconds)."""

    space: str
    id: str
    session: str
    user: str | None
    visitor: str | None
    joined_at: int
    beats: Mapping[str, int]  # UTC day -> beats
    ended_at: int | None = None  # None while it lasts
    ended_by: str | None = None
    engagement: Mapping[str, int] = field(default_factory=dict)  # what was done during it
    former_users: tuple[str, ...] = ()  # signed in during it, and out again

    @classmethod
    def of(cls, session: Session) -> Visit:
        """The visit a presence row is about."""
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
            engagement=session.riding.engagement,
            former_users=session.former_users,
        )

    @property
    def users(self) -> list[str]:
        """Everybody who was signed in during it, the latest last."""
        return [*self.former_users, *([self.user] if self.user else [])]

    @property
    def day(self) -> str:
        """The UTC day it began: the day of its view."""
        return day_of(self.joined_at)


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day of a space. ``avg_seconds``: mean time a visit spent within the day."""

    date: str
    unique_people: int
    unique_sessions: int
    views: int
    beats: int
    peak: int
    avg_seconds: int
    unique_users: int = 0  # signed in
    engagement: Mapping[str, float] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
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


def summarise(
    date: str,
    visits: Iterable[Visit],
    *,
    peak: int,
    now: int,
    live: Iterable[Visit] = (),
    engagement: Mapping[str, float] | None = None,
) -> Day | None:
    """A day's numbers from the visits that beat in it; None when nobody did.

    ``visits`` are the ledger's, each once, and none is kept: a day may have millions. ``live`` are
    those of sessions' rows. Where a visit is in both, the one with more beats counts.
    """
    by_id: dict[str, Visit] = {}
    for visit in live:
        if visit.beats.get(date):
            _keep_fuller(by_id, visit)
    day = _Tallying(date, now)
    for visit in visits:
        if visit.id in by_id:
            _keep_fuller(by_id, visit)
        elif visit.beats.get(date):
            day.add(visit)
    for visit in by_id.values():
        if visit.beats.get(date):
            day.add(visit)
    return day.done(peak, engagement or {})


def _keep_fuller(by_id: dict[str, Visit], visit: Visit) -> None:
    have = by_id.get(visit.id)
    if have is None or _completeness(have) < _completeness(visit):
        by_id[visit.id] = visit


def _completeness(visit: Visit) -> tuple[bool, int]:
    return visit.ended_at is not None, sum(visit.beats.values())


class _Tallying:
    """A day in the making, of visits that beat in it."""

    def __init__(self, date: str, now: int) -> None:
        self._date = date
        self._start = day_start(date)
        self._end = min(self._start + DAY, now)
        self._visits = self._views = self._beats = self._spent = 0
        self._sessions: set[str] = set()
        self._users: set[str] = set()
        self._known: set[tuple[str, str]] = set()
        """Visitors and sessions that were signed in."""
        self._strangers: set[tuple[str | None, str]] = set()
        """Visitor and session of visits in which nobody was."""

    def add(self, visit: Visit) -> None:
        """One more visit."""
        gone_at = min(visit.ended_at or self._end, self._end)
        self._visits += 1
        self._views += visit.day == self._date
        self._beats += visit.beats[self._date]
        self._spent += max(0, gone_at - max(visit.joined_at, self._start))
        self._sessions.add(visit.session)
        if visit.users:
            self._users.update(visit.users)
            self._known.add(("session", visit.session))
            if visit.visitor is not None:
                self._known.add(("visitor", visit.visitor))
        else:
            self._strangers.add((visit.visitor, visit.session))

    def done(self, peak: int, engagement: Mapping[str, float]) -> Day | None:
        """The numbers; None when there was no visit."""
        if not self._visits:
            return None
        return Day(
            date=self._date,
            unique_people=len(self._users) + self._distinct_strangers(),
            unique_sessions=len(self._sessions),
            views=self._views,
            beats=self._beats,
            peak=peak,
            avg_seconds=round(self._spent / self._visits / SECOND),
            unique_users=len(self._users),
            engagement=engagement,
        )

    def _distinct_strangers(self) -> int:
        """People who did not sign in all day: somebody who did half way is counted as a user.

        An anonymous visit belongs to the user its visitor, or else its session, signed in as.
        """
        return len(
            {
                ("session", session) if visitor is None else ("visitor", visitor)
                for visitor, session in self._strangers
                if ("visitor", visitor) not in self._known
                and ("session", session) not in self._known
            }
        )
