"""The progress of a person's erasure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headcount.model.person import Person
from headcount.times import HOUR, MINUTE

ROUND_DELAYS = (15 * MINUTE, HOUR + 15 * MINUTE)
"""Milliseconds from the end of a round to the second and the third. The third begins after the
oldest records that the streams may still hand over (an hour)."""

ROUNDS = len(ROUND_DELAYS) + 1

FIND_STEPS = ("find sessions", "find visits")


@dataclass(frozen=True, slots=True)
class ErasureJob:
    """An erasure's progress: stored only in the message that the queue carries.

    ``at`` and ``due`` (when to continue) are epoch milliseconds; ``start`` is the key of the row
    after which the step continues.
    """

    id: str
    at: int
    key: str
    user: str | None = None
    visitor: str | None = None
    session: str | None = None
    linked: list[str] = field(default_factory=list)
    round: int = 0
    step: str = FIND_STEPS[0]
    start: Mapping[str, Any] | None = None
    due: int = 0
    erased: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str | None = None  # the visitor id, if ``visitor`` is a fingerprint

    @property
    def person(self) -> Person:
        """The person to erase."""
        return Person(
            key=self.key,
            user=self.user,
            visitor=self.visitor,
            session=self.session,
            linked=frozenset(self.linked),
            fingerprint=self.fingerprint,
        )

    @property
    def complete(self) -> bool:
        """Whether all rounds are done."""
        return self.round == ROUNDS
