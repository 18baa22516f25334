"""The durations of a space's last visits, and how many of them ended without a leave. Pure.

A recount reads the rows of visits that ended in the last minutes anyway: the new ones among them
are added to the last hundred. Each carries a short hash of its visit, so that reading it again
changes nothing. The hash's last bit says whether the lease ended it, which earlier releases take
for a part of the hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headcount.model.intervals import MAX_ENDS, Ends
from headcount.model.session import Session, moved_away
from headcount.times import SECOND

_HASH_BYTES = 3


@dataclass(frozen=True, slots=True, order=True)
class VisitDuration:
    """An ended visit: when (epoch seconds), which (a hash), how long (seconds)."""

    ended: int
    visit: bytes
    seconds: int

    @classmethod
    def from_session(cls, session: Session) -> VisitDuration:
        """The duration of an ended session's visit."""
        digest = bytearray(
            hashlib.blake2b(session.visit.encode(), digest_size=_HASH_BYTES).digest()
        )
        digest[-1] = digest[-1] & ~1 | (session.ended_by == "expiry")
        return cls((session.ended_at or 0) // SECOND, bytes(digest), session.seconds)

    @property
    def lost(self) -> bool:
        """The visit ended with its lease, not by a leave."""
        return bool(self.visit[-1] & 1)


RecentDurations = tuple[VisitDuration, ...]
"""Oldest first, at most ``MAX_ENDS``."""


def durations_in(rows: Iterable[Session]) -> list[VisitDuration]:
    """The durations of the ended visits among a shard's rows."""
    return [
        VisitDuration.from_session(row)
        for row in rows
        if row.ended and row.visit and row.ended_at is not None and not moved_away(row)
    ]


def latest(*groups: Iterable[VisitDuration]) -> RecentDurations:
    """The last durations of all groups, each visit once."""
    found: dict[bytes, VisitDuration] = {}
    for group in groups:
        for duration in group:
            found.setdefault(duration.visit, duration)
    return tuple(sorted(found.values())[-MAX_ENDS:])


def average_seconds(durations: RecentDurations) -> int | None:
    """Their mean in whole seconds; None if no visit has ended yet."""
    return round(sum(one.seconds for one in durations) / len(durations)) if durations else None


def ends_of(durations: RecentDurations) -> Ends:
    """How these visits ended."""
    if not durations:
        return Ends()
    lost = sum(one.lost for one in durations)
    mean = average_seconds(durations) or 0
    return Ends(len(durations), lost, durations[0].ended, mean, durations[-1].ended)


def pack(durations: RecentDurations) -> bytes:
    """A few bytes per visit: the time since the end before, the duration, the hash."""
    packed = bytearray()
    before = 0
    for one in durations:
        packed += varint(one.ended - before) + varint(one.seconds) + one.visit
        before = one.ended
    return bytes(packed)


def unpack(packed: bytes) -> RecentDurations:
    """The inverse of ``pack``."""
    durations = []
    data = iter(packed)
    before = 0
    for first in data:
        before += read_varint(first, data)
        seconds = read_varint(next(data), data)
        durations.append(
            VisitDuration(before, bytes(next(data) for _ in range(_HASH_BYTES)), seconds)
        )
    return tuple(durations)


_MORE = 0x80
_BITS = 7


def varint(number: int) -> bytes:
    """A number from 0 in as few bytes as it needs, seven bits in each."""
    parts = bytearray()
    while number >= _MORE:
        parts.append(number & (_MORE - 1) | _MORE)
        number >>= _BITS
    parts.append(number)
    return bytes(parts)


def read_varint(first: int, rest: Iterator[int]) -> int:
    """The inverse of ``varint``: its first byte, and where the others come from."""
    number, shift, byte = 0, 0, first
    while True:
        number |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            return number
        byte, shift = next(rest), shift + _BITS
