"""Slices of a space, and its sessions searched, from the live sessions themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headcount.errors import InvalidRequestError
from headcount.model.slices import Search, Slice, Where, scaled, slice_of
from headcount.model.space import Space
from headcount.model.tally import tally_of
from headcount.usecases.live import LiveReader
from headcount.usecases.parameters import WRONG_CURSOR, page_size
from headcount.usecases.read import viewer

if TYPE_CHECKING:
    from headcount.web import answers

UP_TO = 10_000
"""Sessions that are read for a slice or a search; of a larger space, a sample."""


@dataclass(frozen=True, slots=True)
class Slicer:
    """Reads the sessions of a space for each request. ``clock`` returns epoch milliseconds."""

    live: LiveReader
    picture_hosts: Collection[str]  # of people whom no token proved
    clock: Callable[[], int]

    def slice(self, space: Space, where: Where) -> answers.Slice:
        """The numbers of a slice."""
        present = self.live.now(space, UP_TO)
        now = self.clock()
        tally, whole = slice_of(present.sessions, where, now), present.tally
        if len(present.sessions) == whole.sessions:
            return Slice(tally, whole).body(space.id, now)
        sample = tally_of(present.sessions, now)
        found = Slice(scaled(tally, sample, whole), whole, sample=sample.sessions)
        return found.body(space.id, now)

    def search(
        self, space: Space, search: Search, limit: str | None, cursor: str | None
    ) -> answers.Viewers:
        """A page of the sessions that are found, and how many there are among those read."""
        size, start = page_size(limit), _start(cursor)
        present = self.live.now(space, UP_TO)
        found = search.ordered(present.sessions)
        end = start + size
        answer: answers.Viewers = {
            "success": True,
            "viewers": [viewer(one, self.picture_hosts) for one in found[start:end]],
            "cursor": str(end) if end < len(found) else None,
            "total": len(found),
            "of": len(present.sessions),
        }
        if len(present.sessions) < present.tally.sessions:
            answer["sample"] = True
        return answer


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(UP_TO)):
        return int(cursor)
    raise InvalidRequestError(WRONG_CURSOR)
