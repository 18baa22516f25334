"""Large fan-outs: chunks in a FIFO queue, so that one big space does not hold up the others."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CHUNKS = 16
"""A connection is always in the same chunk of its space, and a chunk is heard in order."""

MAX_CONNECTIONS = 2_500
"""Per message: with the message itself well under the queue's 256 KB."""


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

    def send(self, space: str, version: int, message: str, connections: Sequence[str]) -> None:
        """Queue a version for these connections, behind all earlier ones."""
        groups: dict[int, list[str]] = defaultdict(list)
        for connection in connections:
            groups[_chunk_of(connection)].append(connection)
        for number, members in sorted(groups.items()):
            for start in range(0, len(members), MAX_CONNECTIONS):
                part = members[start : start + MAX_CONNECTIONS]
                self.client.send_message(
                    QueueUrl=self.url,
                    MessageGroupId=_name(space, str(number)),
                    # A version that is sent again after a crash may be queued already.
                    MessageDeduplicationId=_name(space, str(number), str(version), message, *part),
                    MessageBody=Chunk(space, version, message, part).to_json(),
                )


def _chunk_of(connection: str) -> int:
    return hashlib.blake2b(connection.encode(), digest_size=1).digest()[0] % CHUNKS


def _name(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
