"""Parts of a sweep or a day that is too large for one invocation. They come through a queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.store.table import Segment
from headcount.times import MINUTE

if TYPE_CHECKING:
    from headcount.usecases.cleanup import Report, Sweeper
    from headcount.usecases.daily import Aggregator

_STALE = 2 * MINUTE
"""A part of a sweep that waited this long is skipped: later sweeps did its work."""


class PieceRunner(Struct, frozen=True, eq=False):
    """What running pieces needs. ``clock`` returns epoch milliseconds."""

    sweeper: Sweeper
    aggregator: Aggregator
    clock: Callable[[], int]

    def run(self, text: str) -> Report | None:
        """Run a piece; a repeat does no harm. Returns the sweep's report, if it is of a sweep."""
        piece = json.loads(text)
        if piece["do"] == "aggregate":
            # An earlier release's piece has no number.
            self.aggregator.aggregate_some(piece["date"], piece["spaces"], part=piece.get("part"))
            return None
        if piece["at"] + _STALE < self.clock():
            return None
        after = piece["after"]
        return self.sweeper.sweep(
            Segment(piece["segment"], piece["of"]),
            tuple(after) if after else None,
            unsettled=piece["unsettled"],
        )
