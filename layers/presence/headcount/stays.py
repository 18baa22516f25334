"""How long the last visits of a space were. Pure.

A recount reads the rows of visits that ended in the last minutes anyway: what is new among them
joins the last hundred. Each carries a short hash of its visit, so that reading it again changes
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headcount.session import Session
from headcount.times import SECOND

KEPT = 100
_HASH_BYTES = 3


@dataclass(frozen=True, slots=True, order=True)
class Stay:
    """An ended visit: when (epoch seconds), which (a hash), how long (seconds)."""

    ended: int
    visit: bytes
    seconds: int

    @classmethod
    def of(cls, session: Session) -> Stay:
        """The stay an ended session was."""
        digest = hashlib.blake2b(session.visit.encode(), digest_size=_HASH_BYTES).digest()
        return cls((session.ended_at or 0) // SECOND, digest, session.seconds)


Stays = tuple[Stay, ...]
"""Oldest first, at most ``KEPT``."""


def latest(*groups: Iterable[Stay]) -> Stays:
    """The last stays of all groups, each visit once."""
    found: dict[bytes, Stay] = {}
    for group in groups:
        for stay in group:
            found.setdefault(stay.visit, stay)
    return tuple(sorted(found.values())[-KEPT:])


def average_seconds(stays: Stays) -> int | None:
    """Their mean in whole seconds; None when nobody has left yet."""
    return round(sum(stay.seconds for stay in stays) / len(stays)) if stays else None


def pack(stays: Stays) -> bytes:
    """A few bytes per stay: the time since the one before, the length, the hash."""
    packed = bytearray()
    before = 0
    for stay in stays:
        packed += _varint(stay.ended - before) + _varint(stay.seconds) + stay.visit
        before = stay.ended
    return bytes(packed)


def unpack(packed: bytes) -> Stays:
    """The inverse of ``pack``."""
    stays = []
    data = iter(packed)
    before = 0
    for first in data:
        before += _read_varint(first, data)
        seconds = _read_varint(next(data), data)
        stays.append(Stay(before, bytes(next(data) for _ in range(_HASH_BYTES)), seconds))
    return tuple(stays)


_MORE = 0x80
_BITS = 7


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= _MORE:
        parts.append(number & (_MORE - 1) | _MORE)
        number >>= _BITS
    parts.append(number)
    return bytes(parts)


def _read_varint(first: int, rest: Iterator[int]) -> int:
    number, shift, byte = 0, 0, first
    while True:
        number |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            return number
        byte, shift = next(rest), shift + _BITS
