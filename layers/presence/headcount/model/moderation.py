"""Messages to everyone in a space, removals of people, and the audit log of admins. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from headcount.times import SECOND, iso

if TYPE_CHECKING:
    from headcount.web import answers
    from headcount.web.moderation import ActOfAdmin

MAX_REMOVALS = 100
"""People who can be removed from a space at the same time."""
MAX_DENIED = 160
"""The most ids of removed people in the headcount: one for each person, and as many of their
sessions as fit. The row is read for responses to beats, and stays a half-unit read (4 KB)."""

NO_SUBJECT = "admin"
"""The admin's name in the audit log if the token has no subject."""

_HASH_BYTES = 8
_END_BYTES = 4


class Notice(Struct, frozen=True):
    """A message to everyone in a space, shown until a moment (epoch milliseconds)."""

    id: str
    text: str
    level: str
    until: int

    def body(self) -> answers.Notice:
        """As in beats' responses and on dashboards."""
        return {
            "id": self.id,
            "text": self.text,
            "level": self.level,  # type: ignore[typeddict-item]  # checked when it was sent
            "until": iso(self.until),
        }


def active_notice(notice: Notice | None, now: int) -> Notice | None:
    """The message, if it has not ended."""
    return notice if notice is not None and notice.until > now else None


class Removal(Struct, frozen=True):
    """A person who is denied a space until a moment (epoch milliseconds).

    ``known_as`` is ``userId``, ``visitorId`` or ``sessionId``; ``sessions`` are the hashes of the
    sessions that were ended, for clients that send their ids only when they join, and of the
    browsers of those who only claimed a user's id: they could drop the claim.
    """

    known_as: str
    value: str
    until: int
    at: int
    by: str
    reason: str | None = None
    sessions: tuple[str, ...] = field(default_factory=tuple)
    verified: bool | None = None
    """Of a user: only the proven one, only those who claim the id, or (None) all of them."""

    @property
    def id(self) -> str:
        """The same for the same person: the hash of the key that is denied."""
        prefix = PERSON_PREFIXES[self.known_as]
        if self.verified is not None:
            prefix = "p:" if self.verified else "c:"
        return person_hash(f"{prefix}{self.value}")


PERSON_PREFIXES = {"userId": "u:", "visitorId": "v:", "sessionId": "s:"}
"""The prefix of a denied key (``session.persons_of``), by the field that identifies the person. A
user's means all with that id, as in 1.0.0, which did not tell the proven one from the others."""

Denied = Mapping[str, int]
"""Hash of a person's key -> until when they are denied (epoch milliseconds, full seconds)."""


def person_hash(person: str) -> str:
    """The hash of a person's key: the row that every beat's response reads holds no ids."""
    return hashlib.blake2b(person.encode(), digest_size=_HASH_BYTES).hexdigest()


def denied_by(removals: Iterable[Removal], now: int) -> Denied:
    """The people who are denied now, and as many of their former sessions as fit."""
    current = sorted(
        (one for one in removals if one.until > now), key=lambda one: (-one.at, one.id)
    )[:MAX_REMOVALS]
    denied = {one.id: one.until for one in current}
    for one in current:
        for session in one.sessions:
            if len(denied) < MAX_DENIED or session in denied:
                denied[session] = max(one.until, denied.get(session, 0))
    return denied


def denied_until(denied: Denied, persons: Iterable[str], now: int) -> int | None:
    """Until when a person with these keys is denied; None if they are not."""
    if not denied:
        return None
    ends = [denied.get(person_hash(person), 0) for person in persons]
    latest = max(ends, default=0)
    return latest if latest > now else None


def pack_denied(denied: Denied) -> bytes | None:
    """As 12 bytes each; None if there are none."""
    return (
        b"".join(
            bytes.fromhex(hashed) + (until // SECOND).to_bytes(_END_BYTES, "big")
            for hashed, until in sorted(denied.items())
        )
        or None
    )


def unpack_denied(packed: bytes | None) -> Denied:
    """The inverse of ``pack_denied``."""
    size = _HASH_BYTES + _END_BYTES
    entries = [packed[at : at + size] for at in range(0, len(packed), size)] if packed else []
    return {
        entry[:_HASH_BYTES].hex(): int.from_bytes(entry[_HASH_BYTES:], "big") * SECOND
        for entry in entries
    }


class AuditEntry(Struct, frozen=True):
    """An action of an admin on a space: ``what``, with its parameters, at epoch milliseconds."""

    space: str
    at: int
    id: str
    who: str
    what: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> ActOfAdmin:
        """As in the API's audit log."""
        return {
            "id": self.id,
            "at": iso(self.at),
            "who": self.who,
            "what": self.what,
            "parameters": dict(self.parameters),
        }
