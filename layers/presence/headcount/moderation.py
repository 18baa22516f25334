"""Messages to a space's people, who was removed from it, and what admins did. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headcount.times import SECOND, iso

MAX_REMOVALS = 100
"""People who may be removed from a space at a time."""
MAX_DENIED = 160
"""Ids of them that the headcount carries: of each person one, and of their sessions as many as
fit. It keeps the row that beats' answers are made from within a half-unit read (4 KB)."""

NO_SUBJECT = "admin"
"""Who did something with a token that names nobody."""

_HASH_BYTES = 8
_END_BYTES = 4


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to everyone in a space, shown until a moment (epoch milliseconds)."""

    id: str
    text: str
    level: str
    until: int

    def body(self) -> dict[str, Any]:
        """As beats' answers and dashboards have it."""
        return {
            "id": self.id,
            "text": self.text,
            "level": self.level,
            "until": iso(self.until),
        }


def shown(notice: Notice | None, now: int) -> Notice | None:
    """The message, while it is shown."""
    return notice if notice is not None and notice.until > now else None


@dataclass(frozen=True, slots=True)
class Removal:
    """Somebody who may not be in a space until a moment (epoch milliseconds).

    ``known_as`` is ``userId``, ``visitorId`` or ``sessionId``; ``sessions`` are the hashes of those
    that were ended, for clients that say who they are only when they join.
    """

    known_as: str
    value: str
    until: int
    at: int
    by: str
    reason: str | None = None
    sessions: tuple[str, ...] = field(default_factory=tuple)

    @property
    def id(self) -> str:
        """The same for the same person."""
        return person_hash(f"{PREFIXES[self.known_as]}{self.value}")


PREFIXES = {"userId": "u:", "visitorId": "v:", "sessionId": "s:"}
"""What a person's key (``session.person_of``) begins with, by the field that names them."""

Denied = Mapping[str, int]
"""Hash of a person's key -> until when they are denied (epoch milliseconds, full seconds)."""


def person_hash(person: str) -> str:
    """Of a person's key: not the id itself, which every beat's answer would have to read."""
    return hashlib.blake2b(person.encode(), digest_size=_HASH_BYTES).hexdigest()


def denied_by(removals: Iterable[Removal], now: int) -> Denied:
    """Who is denied now: each person, and the sessions that were theirs as far as they fit."""
    current = sorted(
        (one for one in removals if one.until > now), key=lambda one: (-one.at, one.id)
    )[:MAX_REMOVALS]
    denied = {one.id: one.until for one in current}
    for one in current:
        for session in one.sessions:
            if len(denied) < MAX_DENIED or session in denied:
                denied[session] = max(one.until, denied.get(session, 0))
    return denied


def until_when(denied: Denied, persons: Iterable[str], now: int) -> int | None:
    """Until when any of these keys of one person is denied, if one is."""
    if not denied:
        return None
    ends = [denied.get(person_hash(person), 0) for person in persons]
    latest = max(ends, default=0)
    return latest if latest > now else None


def pack_denied(denied: Denied) -> bytes | None:
    """As 12 bytes each; None when nobody is."""
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


@dataclass(frozen=True, slots=True)
class Act:
    """What an admin did to a space: ``what``, with which parameters, at epoch milliseconds."""

    space: str
    at: int
    id: str
    who: str
    what: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As admins read it."""
        return {
            "id": self.id,
            "at": iso(self.at),
            "who": self.who,
            "what": self.what,
            "parameters": dict(self.parameters),
        }
