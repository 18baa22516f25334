"""A person's ids, and the pseudonyms that replace them once they are erased. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from headcount.model.beat import OWN_PREFIX
from headcount.model.moderation import NO_SUBJECT
from headcount.model.session import Facts
from headcount.model.visit import Visit

ERASED = "erased"
"""Replaces the id of an admin who was erased."""

_FINGERPRINT_LETTERS = 32
_HASH_BYTES = 8
# Only what no browser reads as another host: they take a backslash for a slash.
_OWN_PICTURE = re.compile(r"/(?![/\\])")
_PICTURE = re.compile(r"https://([A-Za-z0-9.-]+)(?::443)?(?![^/?#])")
_PSEUDONYM = re.compile(rf"{OWN_PREFIX}erased-[0-9a-f]{{16}}")


def picture_of(facts: Facts, hosts: Collection[str]) -> str | None:
    """The picture of a session's person that others are shown.

    A viewer tells the host of a picture their address. So without a token it must be of one of
    these ``hosts`` (``*``: of any), or of the page's own.
    """
    url = facts.avatar
    if url is None or facts.verified or "*" in hosts or _OWN_PICTURE.match(url):
        return url
    match = _PICTURE.match(url)
    return url if match is not None and match[1].lower() in hosts else None


def hashed_fingerprint(fingerprint: str, key: str = "") -> str:
    """The visitor id of a browser's fingerprint: always the same, and not reversible.

    With ``key``, the stack's secret, nobody else can tell whether an id is a known browser's: there
    are few enough fingerprints to hash them all. Without it, as an older release stored it.
    """
    data = fingerprint.encode()
    digest = hmac.new(key.encode(), b"fingerprint\0" + data, "sha256") if key else None
    found = hashlib.sha256(data) if digest is None else digest
    return found.hexdigest()[:_FINGERPRINT_LETTERS]


def own_id(space: str, *parts: str | None) -> str:
    """An id derived from a person's ids in a space, as the sessions of courses have."""
    text = json.dumps([space, *parts])
    return OWN_PREFIX + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Person(Struct, frozen=True):
    """A person to erase, by each id that was sent.

    An id is matched only with ids of the same kind, because clients may choose any text as an id.
    ``key`` is random. Pseudonyms are made with it, so visits of one person still count as one
    person's, and cannot be traced back once the key is gone. ``linked`` are hashes, with the same
    key, of sessions that the user was signed in to. Visitors are not linked: a claimed visitor id
    proves nothing about who else uses it.
    """

    key: str
    user: str | None = None
    visitor: str | None = None
    session: str | None = None
    linked: frozenset[str] = frozenset()
    fingerprint: str | None = None  # the visitor id, if what was sent is a fingerprint

    @property
    def keys(self) -> set[str]:
        """The keys of this person, under which they can be looked up."""
        return {
            *([f"u:{self.user}", f"c:{self.user}"] if self.user is not None else []),
            *(f"v:{visitor}" for visitor in self._visitor_ids()),
            *([f"s:{self.session}"] if self.session is not None else []),
        }

    def owns(self, visit: Visit) -> bool:
        """Whether a visit is this person's: by one of their ids; else by the user signed in last;
        else, if there was none, by a linked session."""
        if self._named(visit):
            return True
        if visit.users:
            return visit.users[-1] == self.user
        return self._link(visit.space, visit.session) in self.linked

    def links_of(self, visit: Visit) -> set[str]:
        """The hashes of a visit's sessions if the user was the last one signed in."""
        if self.user is None or visit.users[-1:] != [self.user]:
            return set()
        sessions = {visit.session}
        if visit.visitor is not None and visit.session.startswith(OWN_PREFIX):
            sessions.add(own_id(visit.space, "session", visit.visitor))
        return {self._link(visit.space, session) for session in sessions}

    def pseudonymised(self, visit: Visit) -> Visit:
        """The visit with pseudonyms: the same numbers under other ids.

        In a visit that another person continued, only this user's id is replaced.
        """
        owned, named = self.owns(visit), self._named(visit)

        def user(one: str) -> str:
            return self._pseudonym(one) if named or one == self.user else one

        def other(one: str) -> str:
            return self._pseudonym(one) if owned else one

        return replace(
            visit,
            session=other(visit.session),
            visitor=None if visit.visitor is None else other(visit.visitor),
            user=None if visit.user is None else user(visit.user),
            former_users=tuple(map(user, visit.former_users)),
        )

    def is_named(self, space: str, fields: Mapping[str, Any]) -> bool:
        """Whether one of the id fields, of an audit entry or a removal, identifies this person."""
        return (
            (self.user is not None and fields.get("userId") == self.user)
            or fields.get("visitorId") in self._all_visitor_ids(space)
            or fields.get("sessionId") in self._session_ids(space)
            or self._is_private(space, fields.get("sessionId"))
            or self._is_private(space, fields.get("visitorId"))
        )

    def acted_as(self, who: str) -> bool:
        """Whether an admin in the audit log is this person."""
        return who == self.user and who != NO_SUBJECT

    def hashed(self, id_: str) -> str:
        """An id's hash with this erasure's key."""
        return hashlib.blake2b(
            id_.encode(), digest_size=_HASH_BYTES, key=self.key.encode()
        ).hexdigest()

    def _named(self, visit: Visit) -> bool:
        sessions = self._session_ids(visit.space)
        if any(self._is_private(visit.space, id_) for id_ in (visit.session, visit.visitor)):
            return True
        # A late count restores a visit's visitor, but its session keeps the pseudonym.
        if visit.session in sessions or visit.session in map(self._pseudonym, sessions):
            return True
        if visit.visitor is None:
            return False
        # Where an adapter derives the session id from a user, the client's own is the visitor.
        is_session = visit.session.startswith(OWN_PREFIX) and visit.visitor == self.session
        return is_session or visit.visitor in self._visitor_ids()

    def _session_ids(self, space: str) -> set[str]:
        ids = set()
        if self.session is not None:
            ids |= {self.session, own_id(space, "session", self.session)}
        return ids | self._course_sessions(space)

    def _all_visitor_ids(self, space: str) -> set[str]:
        return self._visitor_ids() | self._course_sessions(space)

    def _course_sessions(self, space: str) -> set[str]:
        """The user's session ids in courses; in private ones they are the visitor ids too."""
        if self.user is None:
            return set()
        return {own_id(space, how, self.user) for how in ("claimed", "proven")}

    def _is_private(self, space: str, id_: object) -> bool:
        """Whether it is the id of someone who claims in private to be this user, in any browser."""
        if self.user is None or not isinstance(id_, str):
            return False
        return id_.startswith(own_id(space, "private", self.user) + ".")

    def _visitor_ids(self) -> set[str]:
        if self.visitor is None:
            return set()
        return {self.visitor, hashed_fingerprint(self.visitor), self.fingerprint or self.visitor}

    def _link(self, space: str, session: str) -> str:
        """The same before and after the session has its pseudonym; different in each space."""
        return self.hashed(json.dumps([space, self._pseudonym(session)]))

    def _pseudonym(self, id_: str) -> str:
        is_pseudonym = _PSEUDONYM.fullmatch(id_) and id_ not in {self.user, self.visitor}
        return id_ if is_pseudonym else f"{OWN_PREFIX}erased-{self.hashed(id_)}"
