"""Posting to WebSocket connections, and what becomes of those that do not take it."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from headcount.errors import is_gone, is_throttled
from headcount.metrics import Meter
from headcount.store.subscriptions import SubscriptionsTable
from headcount.times import SECOND

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

SETTLING = 10 * SECOND
"""Until a connection is up, posting to it says 410: within this time that does not mean gone."""

THROTTLE_BUDGET = 20 * SECOND
"""How long throttled posts are tried in one invocation. The functions that post have 30 s or more.
"""

SLOW_BUDGET = 5 * SECOND
"""How long posts that were not answered are tried again where it is not the peers' fault."""

_MANY_SLOW = 20
"""So many peers don't fall silent in one moment, and be more than half of those posted to."""

_BACKOFFS = (0.2, 0.6, 1.5)
"""Seconds before each further try of a connection that fails."""

_FIRST_THROTTLE, _LONGEST_THROTTLE = 0.5, 8.0
"""Seconds at most before the next try of throttled posts: doubled each time."""

_FEWEST_AT_ONCE = 4
"""With fewer, thousands of connections would not have their turn within the functions' time."""


def to_frame(message: Mapping[str, Any]) -> str:
    """A message as it is sent: compact, and in UTF-8 rather than escapes twice its size."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


class Outcome(Enum):
    """What posting came to."""

    SENT = auto()
    GONE = auto()
    THROTTLED = auto()
    SLOW = auto()  # not answered in time: it may arrive, or may not
    FAILED = auto()


_METRICS = {"Posts": Outcome.SENT, "Gone": Outcome.GONE, "Throttled": Outcome.THROTTLED}


class Pace:
    """Lets so many go in any second, for any number of threads. ``clock`` gives epoch milliseconds,
    ``sleep`` takes seconds."""

    def __init__(
        self, per_second: int, clock: Callable[[], int], sleep: Callable[[float], None]
    ) -> None:
        self._went = deque([0] * per_second, maxlen=per_second)
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()

    def take(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = self._clock()
            # Beyond a second a wait can only come from a clock that stepped back.
            wait = max(0, min(self._went[0] + SECOND - now, SECOND))
            self._went.append(now + wait)
        if wait:
            self._sleep(wait / 1000)

    def spare(self) -> int:
        """How many could go now without waiting."""
        with self._lock:
            return sum(went <= self._clock() - SECOND for went in self._went)


class Line:
    """The management side of the WebSocket API. ``pace``: none where the API's own limit of what
    its clients say is one of what is said to them."""

    def __init__(self, client: ApiGatewayManagementApiClient, pace: Pace | None = None) -> None:
        self._client = client
        self._pace = pace

    def spare(self) -> int:
        """How many calls would not have to wait."""
        assert self._pace is not None
        return self._pace.spare()

    def post(self, connection: str, message: str) -> Outcome:
        """Send one frame; never raises for a connection's own trouble."""
        self._wait()
        try:
            self._client.post_to_connection(ConnectionId=connection, Data=message.encode())
        except (ClientError, BotoCoreError) as error:
            return _outcome_of(error)
        return Outcome.SENT

    def close(self, connection: str) -> bool:
        """End a connection; its client will come back and start from a fresh headcount.

        False when it may still be open: whoever forgot it now would leave it with an old number.
        """
        self._wait()
        try:
            self._client.delete_connection(ConnectionId=connection)
        except (ClientError, BotoCoreError) as error:
            return _outcome_of(error) is Outcome.GONE
        return True

    def _wait(self) -> None:
        if self._pace is not None:
            self._pace.take()


def _outcome_of(error: ClientError | BotoCoreError) -> Outcome:
    if isinstance(error, ReadTimeoutError):
        return Outcome.SLOW
    if isinstance(error, BotoCoreError):  # the endpoint is out of reach
        return Outcome.FAILED
    if is_gone(error):
        return Outcome.GONE
    return Outcome.THROTTLED if is_throttled(error) else Outcome.FAILED


@dataclass(slots=True)
class Patience:
    """How often one message is tried, whatever carries the posts. Times are epoch milliseconds.

    A connection that fails, or is not up yet, has a few quick tries. One that does not answer has
    had its time: others wait for their next version meanwhile. Should most of them not answer, it
    is the service, and they are tried again for a while. A throttled post says nothing of its
    connection: the limit is the account's, and beats share it. Those wait together, longer each
    time and by chance, and go out fewer at once, until their time is over.
    """

    began: int
    until: int
    at_once: int
    chance: Callable[[], float]  # 0 to 1
    _tries: Counter[str] = field(default_factory=Counter)
    _throttled: int = 0

    def over(self, left: Mapping[str, Outcome], posted: int, now: int) -> list[str]:
        """Of the connections that did not take the message, those that have had their tries."""
        slow = sum(outcome is Outcome.SLOW for outcome in left.values())
        outage = slow > _MANY_SLOW and slow > posted / 2 and now < self.began + SLOW_BUDGET
        return [
            connection
            for connection, outcome in left.items()
            if self._is_over(connection, outcome, now=now, outage=outage)
        ]

    def _is_over(self, connection: str, outcome: Outcome, *, now: int, outage: bool) -> bool:
        if outcome is Outcome.THROTTLED:
            return now >= self.until
        self._tries[connection] += 1
        if outcome is Outcome.SLOW and not outage:
            return True
        return self._tries[connection] > len(_BACKOFFS)

    def pause(self, left: Mapping[str, Outcome], now: int) -> float:
        """Seconds until those that are left are tried again."""
        if Outcome.THROTTLED not in left.values():
            return _BACKOFFS[max(self._tries[connection] for connection in left) - 1]
        self.at_once = max(_FEWEST_AT_ONCE, self.at_once // 2)
        longest = min(_LONGEST_THROTTLE, _FIRST_THROTTLE * 2.0**self._throttled)
        self._throttled += 1
        # Others are throttled at the same moment: half of the wait is left to chance.
        return min(longest * (1 + self.chance()) / 2, max(0, self.until - now) / 1000)


@dataclass(frozen=True, slots=True)
class Courier:
    """Delivers a message to many connections. A dead or slow one holds up none of the others."""

    line: Line
    subscriptions: SubscriptionsTable
    pool: ThreadPoolExecutor
    at_once: int  # how many threads the pool has
    meter: Meter
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    chance: Callable[[], float]

    def deliver(
        self, message: str, connections: Sequence[str], *, until: int | None = None
    ) -> None:
        """Send to all; forget those that are gone.

        A connection that takes nothing even after retries is closed: a dashboard may have to
        start over, but it must never show a number with a gap before it as if it were whole.
        Raises UndeliveredError when one can't even be closed, or ``until`` (see ``hand_out``) left
        no time: the caller's source tries again.
        """
        self.close(self.hand_out(message, connections, until=until))

    def hand_out(
        self, message: str, connections: Sequence[str], *, until: int | None = None
    ) -> list[str]:
        """Send to all, forget those that are gone, and close those that fail. Returns those that
        don't answer, or could not be closed: they must hear no more before they are.

        ``until``: when throttled posts of this invocation have been tried long enough. Who had not
        all of that time because other messages did is not given up, but UndeliveredError raised.
        """
        patience: Patience | None = None
        failed: list[str] = []
        silent: list[str] = []
        todo = list(connections)
        while left := self._post(message, todo, patience.at_once if patience else self.at_once):
            now = self.clock()
            if patience is None:  # only now: to tell everybody once takes what the pace makes of it
                most = now + THROTTLE_BUDGET
                patience = Patience(now, min(most, until or most), self.at_once, self.chance)
            for connection in patience.over(left, len(todo), now):
                outcome = left.pop(connection)
                if outcome is Outcome.THROTTLED and patience.until < most:
                    raise UndeliveredError("posts are throttled, and there is no time left")
                (silent if outcome is Outcome.SLOW else failed).append(connection)
            if not left:
                break
            self.sleep(patience.pause(left, now))
            todo = list(left)
        return silent + self.try_to_close(failed)

    def close(self, connections: Iterable[str]) -> None:
        """End and forget connections. Raises UndeliveredError when one may still be open."""
        if left := self.try_to_close(connections):
            raise UndeliveredError(f"{len(left)} connections took no message and are still open")

    def forget(self, connections: Iterable[str]) -> None:
        """Forget all that these hear."""
        list(self.pool.map(self.subscriptions.disconnect, connections))

    def try_to_close(self, connections: Iterable[str]) -> list[str]:
        """End and forget connections; returns those that may still be open."""

        def close(connection: str) -> bool:
            if not self.line.close(connection):
                return False
            self.subscriptions.disconnect(connection)
            return True

        todo = list(connections)
        closed = self.pool.map(close, todo)
        return [one for one, done in zip(todo, closed, strict=True) if not done]

    def _post(self, message: str, todo: Sequence[str], at_once: int) -> dict[str, Outcome]:
        """Post in parallel; returns those that did not take it and are not gone."""
        slots = Semaphore(at_once)

        def post(connection: str) -> tuple[Outcome, bool]:
            with slots:
                outcome = self.line.post(connection, message)
            return outcome, outcome is Outcome.GONE and not self._settling(connection)

        outcomes = list(self.pool.map(post, todo))
        for name, counted in _METRICS.items():
            self.meter.add(name, sum(outcome is counted for outcome, _ in outcomes))
        return {
            connection: outcome
            for connection, (outcome, gone) in zip(todo, outcomes, strict=True)
            if outcome is not Outcome.SENT and not gone
        }

    def _settling(self, connection: str) -> bool:
        """Whether a 410 may still mean "not yet"; forgets the connection when it can't."""
        since = self.subscriptions.connected_at(connection)
        if since is not None and self.clock() - since < SETTLING:
            return True
        self.subscriptions.disconnect(connection)
        return False


class UndeliveredError(RuntimeError):
    """Connections neither took a message nor could be closed; trying again later may do it."""
