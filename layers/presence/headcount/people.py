"""The ids that a person goes by, and what stands for them once they are erased. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headcount.beats import OWN
from headcount.moderation import NO_SUBJECT
from headcount.visits import Visit

ERASED = "erased"
"""Stands for an admin who was erased."""

_FINGERPRINT_LETTERS = 32
_HASH_BYTES = 8
_ALIAS = re.compile(rf"{OWN}erased-[0-9a-f]{{16}}")


def hashed_fingerprint(fingerprint: str) -> str:
    """The visitor id of a browser's fingerprint: the same for the same one, and no way back."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:_FINGERPRINT_LETTERS]


def own_id(space: str, *parts: str | None) -> str:
    """An id that Headcount makes from who somebody is in a space: a course's rows have such."""
    text = json.dumps([space, *parts])
    return OWN + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is to be erased, by each id that was named.

    An id is looked for where ids of its kind stand, and nowhere else: anybody may call themselves
    by any word. ``key`` is a random word. What stands for an id is made with it: visits of one
    person still count as one person's, and nothing leads back once the key is gone. ``linked`` are
    hashes, by the same key, of the sessions that the user was signed in to. Visitors are not
    linked: that somebody says to be one proves nothing of who else is.
    """

    key: str
    user: str | None = None
    visitor: str | None = None
    session: str | None = None
    linked: frozenset[str] = frozenset()

    def owns(self, visit: Visit) -> bool:
        """Whether a visit is theirs: by an id that was named; else by who was signed in last;
        else, where nobody was, by a session that is linked to them."""
        if self._named(visit):
            return True
        if visit.users:
            return visit.users[-1] == self.user
        return self._link(visit.space, visit.session) in self.linked

    def linked_by(self, visit: Visit) -> set[str]:
        """The hashes of a visit's sessions, where the user was the last to be signed in."""
        if self.user is None or visit.users[-1:] != [self.user]:
            return set()
        sessions = {visit.session}
        if visit.visitor is not None and visit.session.startswith(OWN):
            sessions.add(own_id(visit.space, "session", visit.visitor))
        return {self._link(visit.space, session) for session in sessions}

    def disguised(self, visit: Visit) -> Visit:
        """The visit without them: the same numbers under other ids.

        In a visit that somebody else went on with, only their having been signed in is disguised.
        """
        owned, named = self.owns(visit), self._named(visit)

        def user(one: str) -> str:
            return self._alias(one) if named or one == self.user else one

        def other(one: str) -> str:
            return self._alias(one) if owned else one

        return replace(
            visit,
            session=other(visit.session),
            visitor=None if visit.visitor is None else other(visit.visitor),
            user=None if visit.user is None else user(visit.user),
            former_users=tuple(map(user, visit.former_users)),
        )

    def is_named(self, space: str, said: Mapping[str, Any]) -> bool:
        """Whether one of the fields that name somebody, as in an act or a removal, names them."""
        return (
            (self.user is not None and said.get("userId") == self.user)
            or said.get("visitorId") in self._visitors(space)
            or said.get("sessionId") in self._sessions(space)
        )

    def did(self, who: str) -> bool:
        """Whether it was they who did something as an admin."""
        return who == self.user and who != NO_SUBJECT

    def hashed(self, id_: str) -> str:
        """An id's hash by this erasure's key."""
        return hashlib.blake2b(
            id_.encode(), digest_size=_HASH_BYTES, key=self.key.encode()
        ).hexdigest()

    def _named(self, visit: Visit) -> bool:
        sessions = self._sessions(visit.space)
        # A visit that was counted late has its visitor back, and its session stays disguised.
        if visit.session in sessions or visit.session in map(self._alias, sessions):
            return True
        if visit.visitor is None:
            return False
        # Where an adapter names the session after a user, the one it was told is the visitor.
        told = visit.session.startswith(OWN) and visit.visitor == self.session
        return told or visit.visitor in self._seen_as()

    def _sessions(self, space: str) -> set[str]:
        ids = set()
        if self.session is not None:
            ids |= {self.session, own_id(space, "session", self.session)}
        return ids | self._rows(space)

    def _visitors(self, space: str) -> set[str]:
        return self._seen_as() | self._rows(space)

    def _rows(self, space: str) -> set[str]:
        """A course's sessions of the user; there in private, they are the visitors too."""
        if self.user is None:
            return set()
        return {own_id(space, how, self.user) for how in ("claimed", "proven")}

    def _seen_as(self) -> set[str]:
        return (
            {self.visitor, hashed_fingerprint(self.visitor)} if self.visitor is not None else set()
        )

    def _link(self, space: str, session: str) -> str:
        """The same before and after the session is disguised, and another in each space."""
        return self.hashed(json.dumps([space, self._alias(session)]))

    def _alias(self, id_: str) -> str:
        stands_already = _ALIAS.fullmatch(id_) and id_ not in {self.user, self.visitor}
        return id_ if stands_already else f"{OWN}erased-{self.hashed(id_)}"
