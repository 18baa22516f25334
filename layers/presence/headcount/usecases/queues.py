"""All senders of queues: work that is handed to another invocation.

A message that fails is retried, so handling one twice must do no harm.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.model.durations import pack
from headcount.model.trace import Cause
from headcount.times import MINUTE, whole_seconds

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from headcount.model.durations import RecentDurations
    from headcount.model.erasure import ErasureJob
    from headcount.model.feed import Feed
    from headcount.store.table import Segment

CHUNKS = 16
"""A connection is always in the same chunk of its space, and a chunk's versions are in order."""

CONNECTIONS_PER_CHUNK = 1_000
"""Together with the frame well under the queue's 256 KB, and delivered within the function's
timeout at the lowest rate that a deployment may set."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A frame for some of a space's dashboards."""

    space: str
    version: int
    message: str
    connections: list[str]

    def to_json(self) -> str:
        """The body of the queue's message."""
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


class ChunkQueue(Struct, frozen=True, eq=False):
    """The FIFO queue between ``publish`` and ``fanout``, with a message group per chunk."""

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
        """Queue a version for these connections, after all earlier ones."""
        groups: dict[int, list[str]] = defaultdict(list)
        for connection in connections:
            groups[_chunk_of(connection)].append(connection)
        parts = [
            (str(number), members[start : start + CONNECTIONS_PER_CHUNK])
            for number, members in sorted(groups.items())
            for start in range(0, len(members), CONNECTIONS_PER_CHUNK)
        ]
        # In turn: a chunk that fails delays all later ones of its group, and so the marks of their
        # versions.
        noted = version % len(parts) if parts else 0
        for turn, (number, part) in enumerate(parts):
            self.client.send_message(
                QueueUrl=self.url,
                MessageGroupId=_name(space, number),
                # A version that is sent again after a crash may be in the queue already.
                MessageDeduplicationId=_name(space, number, str(version), message, *part),
                MessageBody=Chunk(space, version, message, part).to_json(),
                # Not in the body, which older releases could not read then.
                MessageAttributes=_attributes(cause, noted=turn == noted),
            )


SYNC_GROUPS = 64
"""All that happens to a connection of Convex's clients is in one message group, because its client
needs them in order. A group's messages are handled one after another, the groups in parallel."""

CONNECTIONS_PER_SYNC = 100
"""As many are updated within a second or two; a client's mutation in the group waits for them."""


@dataclass(frozen=True, slots=True)
class SyncTask:
    """What happened to connections of Convex's clients: a packed ``model.sync.Cause``."""

    connections: list[str]
    cause: str

    @classmethod
    def from_json(cls, text: str) -> SyncTask:
        """From the body of the queue's message."""
        return cls(**json.loads(text)["sync"])


def is_sync_task(text: str) -> bool:
    """Whether the body of a message of the fan-out's queue is a ``SyncTask``, not a ``Chunk``."""
    return text.startswith('{"sync":')


class SyncQueue(Struct, frozen=True, eq=False):
    """The fan-out's queue, for what happens to Convex's clients. ``new_id`` returns a unique
    text."""

    client: SQSClient
    url: str
    new_id: Callable[[], str]

    def send(self, connection: str, cause: str) -> None:
        """Queue what happened to a connection, after all before it."""
        self._send(_sync_group(connection), [connection], cause, self.new_id())

    def notify(self, space: str, version: int, cause: str, connections: Sequence[str]) -> None:
        """Queue that a space has a new version, for the connections that watch it. A version that
        is queued twice is handled once."""
        groups: dict[int, list[str]] = defaultdict(list)
        for connection in connections:
            groups[_sync_group(connection)].append(connection)
        for number, members in sorted(groups.items()):
            for start in range(0, len(members), CONNECTIONS_PER_SYNC):
                part = members[start : start + CONNECTIONS_PER_SYNC]
                self._send(number, part, cause, _name(space, str(version), *part))

    def _send(self, group: int, connections: Sequence[str], cause: str, name: str) -> None:
        task = {"sync": {"connections": list(connections), "cause": cause}}
        self.client.send_message(
            QueueUrl=self.url,
            MessageGroupId=_name("~sync", str(group)),
            MessageDeduplicationId=name,
            MessageBody=json.dumps(task, ensure_ascii=False, separators=(",", ":")),
        )


def _sync_group(connection: str) -> int:
    return hashlib.blake2b(connection.encode(), digest_size=1).digest()[0] % SYNC_GROUPS


CONNECTIONS_PER_TASK = 100
"""A batch of such tasks is done within the function's timeout at the lowest rate that a deployment
may set."""


class ClosingQueue(Struct, frozen=True, eq=False):
    """The queue of connections to close. Closing one is a request under the account's limit, too,
    and in an incident there are thousands: so they have a separate queue."""

    client: SQSClient
    url: str

    def send(self, connections: Sequence[str]) -> None:
        """Have these connections closed as soon as possible."""
        for start in range(0, len(connections), CONNECTIONS_PER_TASK):
            part = list(connections[start : start + CONNECTIONS_PER_TASK])
            task = {"do": "close", "connections": part}
            self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps(task))


_NOTED = "noted"


def _attributes(cause: Cause | None, *, noted: bool) -> Any:
    mark = {_NOTED: {"DataType": "String", "StringValue": "yes"}} if noted else {}
    if cause is None:
        return mark
    return mark | {
        "cause": {"DataType": "String", "StringValue": cause.request},
        "caused_at": {"DataType": "Number", "StringValue": str(cause.at)},
    }


def is_noted_in(record: Mapping[str, Any]) -> bool:
    """Whether the chunk of a queue's record marks its version as delivered. The other chunks of a
    version are delivered at about the same time."""
    return _NOTED in (record.get("messageAttributes") or {})


def cause_in(record: Mapping[str, Any]) -> Cause | None:
    """The cause of a version, from the record of one of its chunks."""
    sent = record.get("messageAttributes") or {}
    if "cause" not in sent:
        return None
    return Cause(sent["cause"]["stringValue"], int(sent["caused_at"]["stringValue"]))


def _chunk_of(connection: str) -> int:
    return hashlib.blake2b(connection.encode(), digest_size=1).digest()[0] % CHUNKS


def _name(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


class DeferredQueue(Struct, frozen=True, eq=False):
    """The queue of deferred work: small tasks that have to wait a moment."""

    client: SQSClient
    url: str

    def greet(self, connection: str, feed: Feed) -> None:
        """Send a feed's first frame as soon as the connection is established."""
        self._send({"do": "greet", "connection": connection, "feed": asdict(feed)})

    def notice(self, space: str) -> None:
        """Recount a space of which nobody heard before."""
        self._send({"do": "notice", "space": space})

    def send_feed(self, feed: Feed, *, after: int = 0) -> None:
        """Send a feed's current message to all its subscribers, in ``after`` seconds."""
        self._send({"do": "say", "feed": asdict(feed)}, after)

    def ping(self, part: int, of: int, *, after: int) -> None:
        """Ping a part of Convex's clients in ``after`` seconds."""
        self._send({"do": "ping", "part": part, "of": of}, after)

    def tell(self, person: str, *, after: int = 0) -> None:
        """Tell those who watch a person where the person is in ``after`` seconds."""
        self._send({"do": "tell", "person": person}, after)

    def end_share(self, share: str, *, after: int = 0) -> None:
        """Close the connections that a share link opened, in ``after`` seconds."""
        self._send({"do": "end share", "share": share}, after)

    def notify(self, alert: Mapping[str, Any]) -> None:
        """Publish an alert to the alert topic."""
        self._send({"do": "alert", "alert": alert})

    def recount(
        self, space: str, shard: int, *, at: int, durations: RecentDurations, after: int
    ) -> None:
        """Recount a shard in ``after`` seconds, unless a recount that began after ``at`` (epoch
        milliseconds) is made by then. ``durations`` are those of visits that ended meanwhile."""
        packed = base64.b64encode(pack(durations)).decode()
        task = {"do": "recount", "space": space, "shard": shard, "at": at, "stays": packed}
        self._send(task, after)

    def roll_up(self, parts: Sequence[int], *, at: int, after: int) -> None:
        """Recount these parts of the index of people in ``after`` seconds, unless a recount that
        began after ``at`` (epoch milliseconds) is made by then."""
        self._send({"do": "roll up", "parts": list(parts), "at": at}, after)

    def push(self, space: str, *, task: int = 0, missed: int = 0, after: int) -> None:
        """Push a space's count in ``after`` seconds, as the ``task`` that it waits for or because
        a version was ``missed``."""
        self._send({"do": "push", "space": space, "task": task, "missed": missed}, after)

    def _send(self, task: dict[str, Any], after: int = 0) -> None:
        self.client.send_message(
            QueueUrl=self.url, MessageBody=json.dumps(task), DelaySeconds=after
        )


class PieceQueue(Struct, frozen=True, eq=False):
    """The queue of parts of sweeps and days, each for a separate invocation.

    Most invocations send none: for them, neither the client is built nor the URL read.
    """

    client: Callable[[], SQSClient]
    url: Callable[[], str]
    clock: Callable[[], int]

    def sweep(
        self, segment: Segment, after: Place | None = None, *, unsettled: bool = False
    ) -> None:
        """Have a segment swept; ``after``: only the rows after this one. ``unsettled``: visits of
        its shard were ended just now."""
        place: dict[str, Any] = {"segment": segment.number, "of": segment.total}
        place |= {"after": after, "unsettled": unsettled}
        self._send({"do": "sweep", "at": self.clock(), **place})

    def aggregate(self, date: str, spaces: Sequence[str], *, part: int) -> None:
        """Have a UTC day aggregated for these spaces, the day's ``part``."""
        self._send({"do": "aggregate", "date": date, "spaces": list(spaces), "part": part})

    def _send(self, piece: dict[str, Any]) -> None:
        text = json.dumps(piece, separators=(",", ":"))
        self.client().send_message(QueueUrl=self.url(), MessageBody=text)


Place = tuple[str, int, str]
"""A row: its space, shard and session."""

_LONGEST_DELAY = 15 * MINUTE  # SQS's limit


class ErasureQueue(Struct, frozen=True, eq=False):
    """The queue of erasures in progress."""

    client: SQSClient
    url: str

    def send(self, job: ErasureJob, *, wait: int = 0) -> None:
        """Continue in ``wait`` milliseconds, or earlier if SQS can't wait that long: then the job
        is sent again."""
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=json.dumps(asdict(job), separators=(",", ":")),
            DelaySeconds=whole_seconds(min(wait, _LONGEST_DELAY)),
        )
