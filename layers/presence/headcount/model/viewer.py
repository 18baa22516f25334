"""People as others in their space see them, where its kind shows names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from typing_extensions import TypedDict

from headcount.model.person import picture_of
from headcount.model.session import Session

CHAPTER = "chapter"


class NamedViewer(TypedDict):
    """A person in a course or another space. Times are epoch milliseconds; an anonymous person's
    name is null. ``verified``: a token proved the user; otherwise it is what they claim to be."""

    userId: str | None
    verified: bool
    name: str | None
    avatar: str | None
    chapterId: str | None
    joinedAt: int
    lastSeen: int


def viewers_among(
    sessions: Iterable[Session], picture_hosts: Collection[str], most: int
) -> list[NamedViewer]:
    """Up to ``most`` people, those with names first, then by time of joining."""
    people: dict[str, Session] = {}
    for session in sorted(sessions, key=lambda one: one.changed_at):
        people[session.person] = session  # the latest
    first = sorted(people.values(), key=lambda one: (_is_unnamed(one), one.joined_at, one.id))
    return [_viewer(session, picture_hosts) for session in first[:most]]


def _is_unnamed(session: Session) -> bool:
    return session.facts.name is None


def _viewer(session: Session, picture_hosts: Collection[str]) -> NamedViewer:
    facts = session.facts
    return {
        "userId": facts.user,
        "verified": facts.verified,
        "name": facts.name,
        "avatar": picture_of(facts, picture_hosts),
        "chapterId": facts.facets.get(CHAPTER),
        "joinedAt": session.joined_at,
        "lastSeen": session.last_seen,
    }
