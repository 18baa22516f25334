"""Bounds what strangers can add in a minute: new sessions and listening sockets of a network, and
new spaces of a kind.

Beats of a session that is here are never counted. Nor are the first joins of a network in a
process: a visitor costs no more than before. What comes above is counted in a row that all
processes share, one write for each join.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from msgspec import Struct, field

from headcount.errors import RateLimitError
from headcount.model.space import Space
from headcount.store.limits import LimitsTable
from headcount.times import MINUTE, SECOND

UNCOUNTED = 5
"""Joins of a network, and new spaces of a kind, that each process admits without a write."""
_KEPT = 10_000
_HASH_BYTES = 8


class JoinLimits(Struct, eq=False):
    """Admits joins. ``per_source``: new sessions of a network in a minute; ``spaces_per_kind``: new
    spaces of a kind; 0: any number. ``new_id`` returns a random string."""

    table: LimitsTable
    per_source: int
    spaces_per_kind: int
    new_id: Callable[[], str]
    _minute: int = -1
    _uncounted: dict[str, int] = field(default_factory=dict)
    """Of this minute, by counter; 0: shared by now."""
    _spare: dict[str, int] = field(default_factory=dict)
    """Joins that were counted and did not take place."""
    _full: set[str] = field(default_factory=set)
    _spaces: set[str] = field(default_factory=set)
    """The new spaces that were admitted."""
    _salt: str = ""

    def admit(
        self, space: Space, *, exists: bool, source: str, now: int, sessions: int = 1
    ) -> None:
        """Admit new sessions. RateLimitError if there were too many in this minute. -1 gives one
        back.

        ``exists``: the space has published numbers. ``source``: the network they come from.
        """
        self._begin_minute(now)
        spare = self._spare.get(source, 0)
        if sessions < 0:
            self._spare[source] = spare - sessions
            return
        if used := min(spare, sessions):
            self._spare[source] = spare - used
            sessions -= used
        if self.per_source and source and sessions:
            self._take(f"source {source}", sessions, self.per_source, _SESSIONS, now)
        if self.spaces_per_kind and not exists and space.id not in self._spaces:
            self._take(f"kind {space.kind.name}", 1, self.spaces_per_kind, _SPACES, now)
            self._spaces.add(space.id)

    def admit_connection(self, source: str, now: int) -> str:
        """Admit a connection of Convex's clients, as many as sessions. RateLimitError if there were
        too many from this network in this minute. Returns an alias of the network, for the joins
        that come by it."""
        self._begin_minute(now)
        if self.per_source and source:
            self._take(f"connections {source}", 1, self.per_source, _CONNECTIONS, now)
        return self._name(f"source {source}", now) if source else ""

    def admit_listener(self, source: str, now: int) -> None:
        """Admit a socket that only listens: as many as sessions. RateLimitError if there were too
        many."""
        self._begin_minute(now)
        if self.per_source and source:
            self._take(f"listener {source}", 1, self.per_source, _LISTENERS, now)

    def _begin_minute(self, now: int) -> None:
        """Begin a new minute, if there is one."""
        if now // MINUTE != self._minute or len(self._uncounted) >= _KEPT:
            self._minute = now // MINUTE
            self._salt = ""
            for known in (self._uncounted, self._spare, self._full, self._spaces):
                known.clear()

    def _take(self, counter: str, amount: int, most: int, message: str, now: int) -> None:
        before = self._uncounted.get(counter)
        shared = before == 0
        amount += before or 0
        if counter not in self._full:
            if not shared and amount <= min(UNCOUNTED, most // 20):
                self._uncounted[counter] = amount
                return
            if self.table.take(self._name(counter, now), amount, most=most, now=now):
                self._uncounted[counter] = 0
                return
            self._full.add(counter)  # asked no more in this minute
        seconds = (MINUTE - now % MINUTE) // SECOND
        raise RateLimitError(message.format(most), max(1, seconds))

    def _name(self, counter: str, now: int) -> str:
        """The counter's name in the table, which no network can be read from."""
        if not self._salt:
            self._salt = self.table.salt(now, self.new_id())
        return hashlib.blake2b(
            counter.encode(), digest_size=_HASH_BYTES, key=self._salt.encode()[:64]
        ).hexdigest()


class FrameCounter(Struct, eq=False):
    """Counts the frames of each connection in this process."""

    _refused: dict[str, int] = field(default_factory=dict)
    _other: dict[str, int] = field(default_factory=dict)

    def refused(self, connection: str) -> int:
        """One more beat above the limit; returns how many."""
        return _count(self._refused, connection)

    def other(self, connection: str) -> int:
        """One more frame that is no valid beat; returns how many."""
        return _count(self._other, connection)


def _count(counts: dict[str, int], connection: str) -> int:
    if len(counts) >= _KEPT and connection not in counts:
        counts.clear()
    counts[connection] = counts.get(connection, 0) + 1
    return counts[connection]


_SESSIONS = (
    "Too many new sessions come from this network: at most {} a minute are accepted. "
    "Wait as long as Retry-After says."
)
_CONNECTIONS = (
    "Too many new connections come from this network: at most {} a minute are accepted. "
    "Wait as long as Retry-After says."
)
_LISTENERS = (
    "Too many sockets listen from this network: at most {} a minute are accepted. "
    "Wait as long as Retry-After says."
)
_SPACES = (
    "Too many new spaces of this kind: at most {} a minute are accepted. "
    "Wait as long as Retry-After says."
)
