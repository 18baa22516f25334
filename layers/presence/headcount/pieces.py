"""Pieces of what is too large for one invocation: of a sweep, of a day. By way of a queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headcount.aggregating import Aggregator
from headcount.store.batches import Segment
from headcount.sweeping import Place, Report, Sweeper
from headcount.times import MINUTE

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_STALE = 2 * MINUTE
"""A piece of a sweep that waited so long is of no use: later sweeps had all of it done."""


@dataclass(frozen=True, slots=True)
class PieceQueue:
    """Where pieces are left, each for an invocation of its own. One that fails is tried again.

    Most invocations leave none: the client is not built for them, nor the queue's URL asked for.
    """

    client: Callable[[], SQSClient]
    url: Callable[[], str]
    clock: Callable[[], int]

    def sweep(
        self, segment: Segment, after: Place | None = None, *, unsettled: bool = False
    ) -> None:
        """Have a segment swept; ``after``: behind this row, in whose shard visits were ended just
        now if it is ``unsettled``."""
        place: dict[str, Any] = {"segment": segment.number, "of": segment.of}
        place |= {"after": after, "unsettled": unsettled}
        self._send({"do": "sweep", "at": self.clock(), **place})

    def aggregate(self, date: str, spaces: Sequence[str]) -> None:
        """Have a UTC day of these spaces aggregated."""
        self._send({"do": "aggregate", "date": date, "spaces": list(spaces)})

    def _send(self, piece: dict[str, Any]) -> None:
        text = json.dumps(piece, separators=(",", ":"))
        self.client().send_message(QueueUrl=self.url(), MessageBody=text)


@dataclass(frozen=True, slots=True)
class PieceRunner:
    """What doing pieces needs. ``clock`` gives epoch milliseconds."""

    sweeper: Sweeper
    aggregator: Aggregator
    clock: Callable[[], int]

    def run(self, text: str) -> Report | None:
        """Do a piece; to do it again does no harm. Returns what a sweep did, if it was of one."""
        piece = json.loads(text)
        if piece["do"] == "aggregate":
            self.aggregator.aggregate_some(piece["date"], piece["spaces"])
            return None
        if piece["at"] + _STALE < self.clock():
            return None
        after = piece["after"]
        return self.sweeper.sweep(
            Segment(piece["segment"], piece["of"]),
            tuple(after) if after else None,
            unsettled=piece["unsettled"],
        )
