"""Posting to WebSocket connections, and what becomes of those that do not take it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount.errors import is_gone
from headcount.store.subscriptions import SubscriptionsTable
from headcount.times import SECOND

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

SETTLING = 10 * SECOND
"""Until a connection is up, posting to it says 410: within this time that does not mean gone."""

_BACKOFFS = (0.2, 0.6, 1.5)
"""Seconds before each further try."""


def to_frame(message: Mapping[str, Any]) -> str:
    """A message as it is sent: compact, and in UTF-8 rather than escapes twice its size."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


class Outcome(Enum):
    """What posting came to."""

    SENT = auto()
    GONE = auto()
    FAILED = auto()


class Line:
    """The management side of the WebSocket API."""

    def __init__(self, client: ApiGatewayManagementApiClient) -> None:
        self._client = client

    def post(self, connection: str, message: str) -> Outcome:
        """Send one frame; never raises for a connection's own trouble."""
        try:
            self._client.post_to_connection(ConnectionId=connection, Data=message.encode())
        except ClientError as error:
            return Outcome.GONE if is_gone(error) else Outcome.FAILED
        except BotoCoreError:  # timed out, or the endpoint did not answer
            return Outcome.FAILED
        return Outcome.SENT

    def close(self, connection: str) -> None:
        """End a connection; its client will come back and start from a fresh headcount."""
        try:
            self._client.delete_connection(ConnectionId=connection)
        except (ClientError, BotoCoreError):
            return  # gone already, or about to be: its rows are dropped either way


@dataclass(frozen=True, slots=True)
class Courier:
    """Delivers a message to many connections. A dead or slow one holds up none of the others."""

    line: Line
    subscriptions: SubscriptionsTable
    pool: ThreadPoolExecutor
    clock: Callable[[], int]
    sleep: Callable[[float], None]

    def deliver(self, message: str, connections: Sequence[str]) -> None:
        """Send to all; forget those that are gone.

        A connection that takes nothing even after retries is closed: a dashboard may have to
        start over, but it must never show a number with a gap before it as if it were whole.
        """
        left = self._post(message, connections)
        for backoff in _BACKOFFS:
            left = {
                connection: outcome
                for connection, outcome in left.items()
                if outcome is Outcome.FAILED or self._settling(connection)
            }
            if not left:
                return
            self.sleep(backoff)
            left = self._post(message, left)
        for connection, outcome in left.items():
            if outcome is Outcome.FAILED:
                self.line.close(connection)
            self.subscriptions.disconnect(connection)

    def _post(self, message: str, connections: Iterable[str]) -> dict[str, Outcome]:
        """Post in parallel; returns those that did not take it."""
        todo = list(connections)
        outcomes = self.pool.map(lambda connection: self.line.post(connection, message), todo)
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
