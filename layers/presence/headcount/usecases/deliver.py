"""Posting to WebSocket connections, and handling those that do not accept a message.

A message is posted to all connections in parallel. Those that are gone lose their subscriptions;
failed and throttled posts are retried, as ``RetryPolicy`` decides. A connection that does not
answer would delay the next version of all others: it is set aside, gets no more messages, and is
closed through a queue. Its client connects again and starts from a fresh headcount, so no client
ever shows a number after one that it missed.
"""

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
from msgspec import Struct

from headcount.errors import failures, is_gone, is_throttled
from headcount.logs import logger
from headcount.model.pushes import CHUNKS_LATE, is_listened
from headcount.times import MINUTE, SECOND, growing_wait

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

    from headcount.metric_lines import MetricLines
    from headcount.model.feed import Forms, Message
    from headcount.model.headcount import Headcount
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.usecases.queues import Chunk, ClosingQueue

CONNECT_GRACE = 10 * SECOND
"""Before a connection is established, a post to it returns 410: during this time after connecting,
410 does not mean that it is gone."""

THROTTLE_BUDGET = 20 * SECOND
"""How long one invocation retries throttled posts. The functions that post have 30 s or more."""

SLOW_BUDGET = 5 * SECOND
"""How long posts without an answer are retried if the service, not the clients, is the cause."""

_MANY_SLOW = 20
"""If more clients than this do not answer, and more than half of all, the service is the cause."""

_BACKOFFS = (0.2, 0.6, 1.5)
"""Seconds before each retry of a connection that fails."""

_FIRST_THROTTLE, _LONGEST_THROTTLE = 0.5, 8.0
"""Seconds at most before the next retry of throttled posts: doubled each time."""

_MIN_CONCURRENCY = 4
"""With fewer, thousands of connections would take longer than the functions' timeout."""


def frame_of(forms: Forms, form: str | None, headcount: Headcount, now: int) -> Message:
    """A version in a subscription's form."""
    return forms.of_headcount(form, headcount, now) if form else headcount.message(now)


def to_frame(message: Mapping[str, Any]) -> str:
    """A message as compact JSON, in UTF-8 instead of escapes, which would be twice as long."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


class Outcome(Enum):
    """The outcome of a post."""

    SENT = auto()
    GONE = auto()
    THROTTLED = auto()
    SLOW = auto()  # not answered in time: the message may arrive, or not
    FAILED = auto()


_METRICS = {"Posts": Outcome.SENT, "Gone": Outcome.GONE, "Throttled": Outcome.THROTTLED}


class RateLimiter:
    """Limits calls to ``per_second`` in any second, for any number of threads. ``clock`` returns
    epoch milliseconds, ``sleep`` takes seconds."""

    def __init__(
        self, per_second: int, clock: Callable[[], int], sleep: Callable[[float], None]
    ) -> None:
        self.per_second = per_second
        self._sent_at = deque([0] * per_second, maxlen=per_second)
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()

    def acquire(self) -> None:
        """Wait until the next call is allowed."""
        with self._lock:
            now = self._clock()
            # A wait of more than a second can only come from a clock that stepped back.
            wait = max(0, min(self._sent_at[0] + SECOND - now, SECOND))
            self._sent_at.append(now + wait)
        if wait:
            self._sleep(wait / 1000)

    def spare(self) -> int:
        """The number of calls that are allowed now without waiting."""
        with self._lock:
            return sum(sent_at <= self._clock() - SECOND for sent_at in self._sent_at)


class ConnectionApi:
    """The management side of the WebSocket API. ``limiter``: None for replies to clients' frames,
    which the API limits itself."""

    def __init__(
        self, client: ApiGatewayManagementApiClient, limiter: RateLimiter | None = None
    ) -> None:
        self._client = client
        self._limiter = limiter

    def spare(self) -> int:
        """The number of calls that are allowed now without waiting."""
        assert self._limiter is not None
        return self._limiter.spare()

    def is_busy(self) -> bool:
        """Whether more than half of the calls of a second were made in the last one."""
        assert self._limiter is not None
        return self._limiter.spare() * 2 < self._limiter.per_second

    def post(self, connection: str, message: str) -> Outcome:
        """Send a frame. An error of the connection is an outcome, and not raised."""
        self._wait()
        try:
            self._client.post_to_connection(ConnectionId=connection, Data=message.encode())
        except (ClientError, BotoCoreError) as error:
            return _outcome_of(error)
        return Outcome.SENT

    def close(self, connection: str) -> bool:
        """Close a connection; its client will connect again and start from a fresh headcount.

        Returns False if it may still be open: without subscriptions it would keep an old number.
        """
        self._wait()
        try:
            self._client.delete_connection(ConnectionId=connection)
        except (ClientError, BotoCoreError) as error:
            return _outcome_of(error) is Outcome.GONE
        return True

    def _wait(self) -> None:
        if self._limiter is not None:
            self._limiter.acquire()


def _outcome_of(error: ClientError | BotoCoreError) -> Outcome:
    if isinstance(error, ReadTimeoutError):
        return Outcome.SLOW
    if isinstance(error, BotoCoreError):  # the endpoint can't be reached
        return Outcome.FAILED
    if is_gone(error):
        return Outcome.GONE
    return Outcome.THROTTLED if is_throttled(error) else Outcome.FAILED


@dataclass(slots=True)
class RetryPolicy:
    """How often the posts of one message are retried. Times are epoch milliseconds.

    A connection that fails, or is not established yet, gets a few quick retries. One that does not
    answer gets none, because others wait for their next version meanwhile; but if most do not
    answer, the service is the cause, and they are retried for a while. A throttled post is not the
    connection's fault: the limit is the account's, and beats share it. Throttled posts wait
    together, longer each time and with jitter, and are sent with less concurrency, ``until`` then.
    """

    began: int
    until: int
    concurrency: int
    chance: Callable[[], float]  # 0 to 1
    _tries: Counter[str] = field(default_factory=Counter)
    _throttled: int = 0

    def given_up(self, left: Mapping[str, Outcome], posted: int, now: int) -> list[str]:
        """Those of the ``left`` connections, out of all ``posted``, that are not retried again."""
        slow = sum(outcome is Outcome.SLOW for outcome in left.values())
        outage = slow > _MANY_SLOW and slow > posted / 2 and now < self.began + SLOW_BUDGET
        return [
            connection
            for connection, outcome in left.items()
            if self._gives_up(connection, outcome, now=now, outage=outage)
        ]

    def _gives_up(self, connection: str, outcome: Outcome, *, now: int, outage: bool) -> bool:
        if outcome is Outcome.THROTTLED:
            return now >= self.until
        self._tries[connection] += 1
        if outcome is Outcome.SLOW and not outage:
            return True
        return self._tries[connection] > len(_BACKOFFS)

    def pause(self, left: Mapping[str, Outcome], now: int) -> float:
        """Seconds to wait before the ``left`` connections are retried."""
        if Outcome.THROTTLED not in left.values():
            return _BACKOFFS[max(self._tries[connection] for connection in left) - 1]
        self.concurrency = max(_MIN_CONCURRENCY, self.concurrency // 2)
        self._throttled += 1
        longest = growing_wait(self._throttled, _FIRST_THROTTLE, _LONGEST_THROTTLE)
        # Others are throttled at the same moment: half of the wait is random.
        return min(longest * (1 + self.chance()) / 2, max(0, self.until - now) / 1000)


class Broadcaster(Struct, frozen=True, eq=False):
    """Delivers a message to many connections. A dead or slow one does not delay the others."""

    connection_api: ConnectionApi
    subscriptions: SubscriptionsTable
    pool: ThreadPoolExecutor
    threads: int  # of the pool
    metrics: MetricLines
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    chance: Callable[[], float]

    def deliver(
        self, message: str, connections: Sequence[str], *, until: int | None = None
    ) -> None:
        """Send to all, and unsubscribe those that are gone.

        A connection that accepts nothing even after retries is closed: its dashboard has to start
        over, but never misses a number without noticing. Raises UndeliveredError if one can't be
        closed either, or if ``until`` (see ``post_all``) left no time: the source must retry.
        """
        self.close_all(self.post_all(message, connections, until=until))

    def post_all(
        self, message: str, connections: Sequence[str], *, until: int | None = None
    ) -> list[str]:
        """Send to all, unsubscribe those that are gone, and close those that fail. Returns those
        that do not answer, or could not be closed: they must get no more messages before they are.

        ``until``: when this invocation stops retrying throttled posts. If that leaves a message
        less than ``THROTTLE_BUDGET``, its throttled connections are not given up: raises
        UndeliveredError.
        """
        policy: RetryPolicy | None = None
        failed: list[str] = []
        silent: list[str] = []
        todo = list(connections)
        while left := self._post(message, todo, policy.concurrency if policy else self.threads):
            now = self.clock()
            if policy is None:  # only now: the first post to all takes as long as the rate allows
                most = now + THROTTLE_BUDGET
                policy = RetryPolicy(now, min(most, until or most), self.threads, self.chance)
            for connection in policy.given_up(left, len(todo), now):
                outcome = left.pop(connection)
                if outcome is Outcome.THROTTLED and policy.until < most:
                    raise UndeliveredError("posts are throttled, and there is no time left")
                (silent if outcome is Outcome.SLOW else failed).append(connection)
            if not left:
                break
            self.sleep(policy.pause(left, now))
            todo = list(left)
        return silent + self.try_to_close(failed)

    def post_once(self, message: str, connections: Sequence[str]) -> dict[str, Outcome]:
        """Send to all without a retry, and unsubscribe those that are gone. Returns those that did
        not accept it; GONE: not established yet."""
        return self._post(message, connections, self.threads)

    def close_all(self, connections: Iterable[str]) -> None:
        """Close and unsubscribe connections. Raises UndeliveredError if one may still be open."""
        if left := self.try_to_close(connections):
            raise UndeliveredError(f"{len(left)} connections took no message and are still open")

    def unsubscribe(self, connections: Iterable[str]) -> None:
        """Delete all subscriptions of these connections."""
        list(self.pool.map(self.subscriptions.disconnect, connections))

    def try_to_close(self, connections: Iterable[str]) -> list[str]:
        """Close and unsubscribe connections; returns those that may still be open."""

        def close(connection: str) -> bool:
            if not self.connection_api.close(connection):
                return False
            self.subscriptions.disconnect(connection)
            return True

        todo = list(connections)
        closed = self.pool.map(close, todo)
        return [one for one, done in zip(todo, closed, strict=True) if not done]

    def _post(self, message: str, todo: Sequence[str], concurrency: int) -> dict[str, Outcome]:
        """Post in parallel; returns those that did not accept the message and are not gone."""
        slots = Semaphore(concurrency)

        def post(connection: str) -> tuple[Outcome, bool]:
            with slots:
                outcome = self.connection_api.post(connection, message)
            return outcome, outcome is Outcome.GONE and not self._is_connecting(connection)

        outcomes = list(self.pool.map(post, todo))
        for name, counted in _METRICS.items():
            self.metrics.add(name, sum(outcome is counted for outcome, _ in outcomes))
        return {
            connection: outcome
            for connection, (outcome, gone) in zip(todo, outcomes, strict=True)
            if outcome is not Outcome.SENT and not gone
        }

    def _is_connecting(self, connection: str) -> bool:
        """Whether a 410 may still mean "not yet"; unsubscribes the connection if it can't."""
        since = self.subscriptions.connected_at(connection)
        if since is not None and self.clock() - since < CONNECT_GRACE:
            return True
        self.subscriptions.disconnect(connection)
        return False


class UndeliveredError(RuntimeError):
    """Connections neither accepted a message nor could be closed; a later retry may succeed."""


OVERDUE = 10 * MINUTE
"""The age from which a chunk is not sent any more: those after it may be lost to the queue's
retention or to its dead-letter queue, and clients must not miss a version without noticing."""


class Deliveries(Struct, frozen=True, eq=False):
    """Delivers versions to a space's dashboards. ``clock`` returns epoch milliseconds.

    A connection that does not answer is set aside: it gets no more versions, and is closed through
    the closing queue, so that its client starts over from a fresh headcount.
    """

    broadcaster: Broadcaster
    subscriptions: SubscriptionsTable
    closing_queue: ClosingQueue
    clock: Callable[[], int]

    def deliver(
        self, space: str, message: str, connections: Sequence[str], *, until: int | None = None
    ) -> None:
        """Send a version to connections that have got those before it. Raises if a dependency
        fails, and UndeliveredError as ``Broadcaster.post_all``."""
        silent = self.broadcaster.post_all(message, connections, until=until)
        if silent:
            self._set_aside(space, silent)

    def deliver_chunk(self, chunk: Chunk, *, noted: bool, queued_at: int, until: int) -> None:
        """Send a chunk's version to those of its connections that are not set aside; ``until`` as
        for ``deliver``. If the chunk is overdue, all of them start over instead. A ``noted`` chunk
        marks the version as delivered, so that ``publish`` may continue."""
        aside = self.subscriptions.aside(chunk.space)
        here = [connection for connection in chunk.connections if connection not in aside]
        # A listener's next count does not wait longer for this one.
        overdue = CHUNKS_LATE if is_listened(chunk.space) else OVERDUE
        if self.clock() - queued_at > overdue:
            self._set_aside(chunk.space, here)
        else:
            self.deliver(chunk.space, chunk.message, here, until=until)
        if noted:
            self._note(chunk)

    def _note(self, chunk: Chunk) -> None:
        """Mark the chunk's version as delivered. An error is not raised: the next version's mark
        has the same effect, and a retry would send the chunk twice and delay those after it."""
        try:
            self.subscriptions.mark_delivered(chunk.space, chunk.version, now=self.clock())
        except failures() as error:
            about = {"space": chunk.space, "error": type(error).__name__}
            logger().warning("version not marked as delivered", extra=about)

    def _set_aside(self, space: str, connections: Sequence[str]) -> None:
        # In this order: a retry after a crash in between finds none open and unsubscribed.
        self.closing_queue.send(connections)
        for connection in connections:
            # Later versions for this connection may be in the queue already.
            self.subscriptions.set_aside(space, connection, now=self.clock())
        self.broadcaster.unsubscribe(connections)
