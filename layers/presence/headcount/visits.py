"""The ledger of visits, and a day's numbers from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headcount.session import Session
from headcount.times import DAY, day_of, day_start


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
    engagement: Mapping[str, float] | None = None,
) -> Day | None:
    """A day's numbers from the visits that beat in it; None when nobody did.

    Where a visit is there twice (a live row and the ledger's), the one with more beats counts.
    """
    by_id: dict[str, Visit] = {}
    for visit in visits:
        have = by_id.get(visit.id)
        if have is None or _completeness(have) < _completeness(visit):
            by_id[visit.id] = visit
    here = [visit for visit in by_id.values() if visit.beats.get(date)]
    if not here:
        return None
    start = day_start(date)
    end = min(start + DAY, now)
    spent = [
        max(0, min(visit.ended_at or end, end) - max(visit.joined_at, start)) for visit in here
    ]
    return Day(
        date=date,
        unique_people=_distinct_people(here),
        unique_sessions=len({visit.session for visit in here}),
        views=sum(visit.day == date for visit in here),
        beats=sum(visit.beats[date] for visit in here),
        peak=peak,
        avg_seconds=round(sum(spent) / len(spent) / 1000),
        unique_users=len({user for visit in here for user in visit.users}),
        engagement=engagement or {},
    )


def _completeness(visit: Visit) -> tuple[bool, int]:
    return visit.ended_at is not None, sum(visit.beats.values())


def _distinct_people(visits: Iterable[Visit]) -> int:
    """People of a day, somebody who signed in half way once.

    An anonymous visit belongs to the user its visitor, or else its session, signed in as.
    """
    here = list(visits)
    users: dict[tuple[str, str | None], str] = {}
    for visit in here:
        if visit.users:
            users["visitor", visit.visitor] = users["session", visit.session] = visit.users[-1]
    users.pop(("visitor", None), None)
    people: set[tuple[str, str]] = set()
    for visit in here:
        user = users.get(("visitor", visit.visitor)) or users.get(("session", visit.session))
        if visit.users:
            people.update(("user", one) for one in visit.users)
        elif user:
            people.add(("user", user))
        elif visit.visitor:
            people.add(("visitor", visit.visitor))
        else:
            people.add(("session", visit.session))
    return len(people)
