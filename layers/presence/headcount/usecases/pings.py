"""Pings for Convex's clients, which reconnect if they hear nothing for a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.times import MINUTE, SECOND

if TYPE_CHECKING:
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.usecases.queues import DeferredQueue

PINGS = 2
"""Pings in a minute: with one, a late ping would come too late."""
PER_TASK = 3_000
"""As many pings as a process sends within its function's timeout."""
PING = '{"type":"Ping"}'


class Pinger(Struct, frozen=True, eq=False):
    """Has Convex's clients pinged, as long as there are any."""

    subscriptions: SubscriptionsTable
    queue: DeferredQueue

    def schedule(self) -> None:
        """Schedule the pings of the minute that begins."""
        parts = -(-len(self.subscriptions.syncing()) // PER_TASK)
        for number in range(PINGS):
            for part in range(parts):
                self.queue.ping(part, parts, after=number * MINUTE // PINGS // SECOND)
