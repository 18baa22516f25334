"""Large fan-outs: chunks in a FIFO queue, so that one big space does not hold up the others."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount.causes import Cause
from headcount.logs import logger
from headcount.sockets import Courier
from headcount.store.subscriptions import SubscriptionsTable
from headcount.times import MINUTE

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CHUNKS = 16
"""A connection is always in the same chunk of its space, and a chunk is heard in order."""

MAX_CONNECTIONS = 1_000
"""Per message: with the message itself well under the queue's 256 KB, and heard within the
function's time at the slowest pace that a deployment may set."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message for some of a space's dashboards."""

    space: str
    version: int
    message: str
    connections: list[str]

    def to_json(self) -> str:
        """As the queue carries it."""
        return json.dumps(
            {
                "space": self.space,
                "version": self.version,
                "message": self.message,
                "connections": self.connections,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Chunk:
        """The inverse of ``to_json``."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ChunkQueue:
    """The FIFO queue between ``publish`` and ``fanout``; a message group per chunk."""

    client: SQSClient
    url: str

    def send(
        self,
        space: str,
        version: int,
        message: str,
        connections: Sequence[str],
        cause: Cause | None = None,
    ) -> None:
        """Queue a version for these connections, behind all earlier ones."""
        groups: dict[int, list[str]] = defaultdict(list)
        for connection in connections:
            groups[_chunk_of(connection)].append(connection)
        parts = [
            (str(number), members[start : start + MAX_CONNECTIONS])
            for number, members in sorted(groups.items())
            for start in range(0, len(members), MAX_CONNECTIONS)
        ]
        # By turns: a chunk that fails holds up all later ones of its group, and their versions'
        # notes with them.
        noted = version % len(parts) if parts else 0
        for turn, (number, part) in enumerate(parts):
            self.client.send_message(
                QueueUrl=self.url,
                MessageGroupId=_name(space, number),
                # A version that is sent again after a crash may be queued already.
                MessageDeduplicationId=_name(space, number, str(version), message, *part),
                MessageBody=Chunk(space, version, message, part).to_json(),
                # Beside the chunk, which older releases take all the same.
                MessageAttributes=_attributes(cause, noted=turn == noted),
            )


OVERDUE = 10 * MINUTE
"""The age from which on a chunk is told to nobody: those behind it may be lost to the queue's
retention or its dead letters, and a version with a gap before it must not look whole."""


MAX_CLOSINGS = 100
"""Connections per errand: a batch of those is done within the function's time at the slowest pace
that a deployment may set."""


@dataclass(frozen=True, slots=True)
class ClosingQueue:
    """Where connections are left that must be closed: errands of a queue of their own. To close one
    is a request of the account's, too, and in an incident there are thousands."""

    client: SQSClient
    url: str

    def close(self, connections: Sequence[str]) -> None:
        """Have them closed as soon as that can be done."""
        for start in range(0, len(connections), MAX_CLOSINGS):
            part = list(connections[start : start + MAX_CLOSINGS])
            errand = {"do": "close", "connections": part}
            self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps(errand))


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Lets a space's dashboards hear a version. ``clock`` gives epoch milliseconds.

    Who does not answer is set aside: others would wait with it for their next version. It hears no
    more, is closed when it can be, and starts over from a fresh headcount.
    """

    courier: Courier
    subscriptions: SubscriptionsTable
    closings: ClosingQueue
    clock: Callable[[], int]

    def deliver(
        self, space: str, message: str, connections: Sequence[str], *, until: int | None = None
    ) -> None:
        """Send a version to all who have heard those before it. Raises when a dependency fails,
        and UndeliveredError when ``until``, the end of an invocation's patience, left no time."""
        silent = self.courier.hand_out(message, connections, until=until)
        if silent:
            self._set_aside(space, silent)

    def deliver_chunk(self, chunk: Chunk, *, noted: bool, queued_at: int, until: int) -> None:
        """Send a chunk's version to those of it that have heard the ones before; ``until`` as with
        ``deliver``. Of a chunk that is overdue everybody starts over instead. With the
        chunk that is ``noted`` a version is told: ``publish`` may go on."""
        aside = self.subscriptions.aside(chunk.space)
        here = [connection for connection in chunk.connections if connection not in aside]
        if self.clock() - queued_at > OVERDUE:
            self._set_aside(chunk.space, here)
        else:
            self.deliver(chunk.space, chunk.message, here, until=until)
        if noted:
            self._note(chunk)

    def _note(self, chunk: Chunk) -> None:
        """Note that its version was told. Where that fails, the next version's note says as much:
        a chunk that comes again is told twice, and holds up all behind it."""
        try:
            self.subscriptions.note_told(chunk.space, chunk.version, now=self.clock())
        except (ClientError, BotoCoreError) as error:
            about = {"space": chunk.space, "error": type(error).__name__}
            logger().warning("not noted as told", extra=about)

    def _set_aside(self, space: str, connections: Sequence[str]) -> None:
        # In this order: should this be tried again half way, none is left open and forgotten.
        self.closings.close(connections)
        for connection in connections:
            # Later versions may be in the queue already, with this connection among theirs.
            self.subscriptions.set_aside(space, connection, now=self.clock())
        self.courier.forget(connections)


_NOTED = "noted"


def _attributes(cause: Cause | None, *, noted: bool) -> Any:
    said = {_NOTED: {"DataType": "String", "StringValue": "yes"}} if noted else {}
    if cause is None:
        return said
    return said | {
        "cause": {"DataType": "String", "StringValue": cause.request},
        "caused_at": {"DataType": "Number", "StringValue": str(cause.at)},
    }


def is_noted_in(record: Mapping[str, Any]) -> bool:
    """Whether a queued chunk is the one of its version that is noted, from its record: the others
    are beside it, so they are heard at about the same time."""
    return _NOTED in (record.get("messageAttributes") or {})


def cause_in(record: Mapping[str, Any]) -> Cause | None:
    """What the version of a queued chunk waited for, from its record."""
    said = record.get("messageAttributes") or {}
    if "cause" not in said:
        return None
    return Cause(said["cause"]["stringValue"], int(said["caused_at"]["stringValue"]))


def _chunk_of(connection: str) -> int:
    return hashlib.blake2b(connection.encode(), digest_size=1).digest()[0] % CHUNKS


def _name(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
