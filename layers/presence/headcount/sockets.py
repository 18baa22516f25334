"""Posting to WebSocket connections, and what becomes of those that do not take it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount.errors import is_gone, is_throttled
from headcount.store.subscriptions import SubscriptionsTable
from headcount.times import SECOND

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

SETTLING = 10 * SECOND
"""Until a connection is up, posting to it says 410: within this time that does not mean gone."""

THROTTLE_BUDGET = 20 * SECOND
"""How long throttled posts of one message are tried. The functions that post have 30 s or more."""

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
    FAILED = auto()


class Line:
    """The management side of the WebSocket API."""

    def __init__(self, client: ApiGatewayManagementApiClient) -> None:
        self._client = client

    def post(self, connection: str, message: str) -> Outcome:
        """Send one frame; never raises for a connection's own trouble."""
        try:
            self._client.post_to_connection(ConnectionId=connection, Data=message.encode())
        except (ClientError, BotoCoreError) as error:
            return _outcome_of(error)
        return Outcome.SENT

    def close(self, connection: str) -> bool:
        """End a connection; its client will come back and start from a fresh headcount.

        False when it may still be open: whoever forgot it now would leave it with an old number.
        """
        try:
            self._client.delete_connection(ConnectionId=connection)
        except (ClientError, BotoCoreError) as error:
            return _outcome_of(error) is Outcome.GONE
        return True


def _outcome_of(error: ClientError | BotoCoreError) -> Outcome:
    if isinstance(error, BotoCoreError):  # timed out, or the endpoint did not answer
        return Outcome.FAILED
    if is_gone(error):
        return Outcome.GONE
    return Outcome.THROTTLED if is_throttled(error) else Outcome.FAILED


@dataclass(slots=True)
class Patience:
    """How often one message is tried, whatever carries the posts. Times are epoch milliseconds.

    A connection that fails, or is not up yet, has a few quick tries. A throttled post says nothing
    of its connection: the limit is the account's, and beats share it. Those wait together, longer
    each time and by chance, and go out fewer at once, until their time is over.
    """

    until: int
    at_once: int
    chance: Callable[[], float]  # 0 to 1
    _tries: Counter[str] = field(default_factory=Counter)
    _throttled: int = 0

    def is_over(self, connection: str, outcome: Outcome, now: int) -> bool:
        """Whether a connection that did not take the message has had its tries."""
        if outcome is Outcome.THROTTLED:
            return now >= self.until
        self._tries[connection] += 1
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
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    chance: Callable[[], float]

    def deliver(self, message: str, connections: Sequence[str]) -> None:
        """Send to all; forget those that are gone.

        A connection that takes nothing even after retries is closed: a dashboard may have to
        start over, but it must never show a number with a gap before it as if it were whole.
        Raises UndeliveredError when one can't even be closed: the caller's source tries again.
        """
        patience = Patience(self.clock() + THROTTLE_BUDGET, self.at_once, self.chance)
        stuck = 0
        todo: Iterable[str] = connections
        while left := self._post(message, todo, patience.at_once):
            now = self.clock()
            for connection, outcome in list(left.items()):
                if outcome is Outcome.GONE and not self._settling(connection):
                    del left[connection]
                elif patience.is_over(connection, outcome, now):
                    del left[connection]
                    stuck += not self._give_up(connection, outcome)
            if not left:
                break
            self.sleep(patience.pause(left, now))
            todo = left
        if stuck:
            raise UndeliveredError(f"{stuck} connections took no message and could not be closed")

    def _give_up(self, connection: str, outcome: Outcome) -> bool:
        """Close and forget a connection; False when it may still be open."""
        if outcome is not Outcome.GONE and not self.line.close(connection):
            return False
        self.subscriptions.disconnect(connection)
        return True

    def _post(self, message: str, connections: Iterable[str], at_once: int) -> dict[str, Outcome]:
        """Post in parallel; returns those that did not take it."""
        todo = list(connections)
        slots = Semaphore(at_once)

        def post(connection: str) -> Outcome:
            with slots:
                return self.line.post(connection, message)

        outcomes = self.pool.map(post, todo)
        return {
            connection: outcome
            for connection, outcome in zip(todo, outcomes, strict=True)
            if outcome is not Outcome.SENT
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
