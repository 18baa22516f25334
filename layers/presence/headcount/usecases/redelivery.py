"""When a queue redelivers a failed message: soon, and later after each try.

By default it is redelivered after the queue's visibility timeout: minutes, which are meant for a
function that crashed. In a FIFO queue the messages after it in its group wait, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.errors import failures as failed_calls
from headcount.logs import logger
from headcount.times import MINUTE, SECOND, growing_wait

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LONGEST = 3 * MINUTE // SECOND
"""Seconds, because someone waits for most of what is queued."""
LONGEST_OF_CHUNKS = 6 * MINUTE // SECOND
"""Long enough for a chunk to be overdue before its queue gives it up after a few receives."""
LONGEST_OF_ERASURES = 30 * MINUTE // SECOND
"""No one waits for an erasure, and it has to outlast an outage of hours."""

_FIRST, _GROWTH = 2, 3

Message = Mapping[str, Any]


def wait_after(tries: int, longest: int, chance: float) -> int:
    """Whole seconds until the next try: 2, 6, 18 and so on, at most ``longest``. ``chance`` (0 to
    1) takes off up to half."""
    most = growing_wait(tries, _FIRST, longest, factor=_GROWTH)
    return math.ceil(most * (1 + chance) / 2)


def tries_of(message: Message) -> int:
    """How often a message was delivered, including this time."""
    return int(message.get("attributes", {}).get("ApproximateReceiveCount", 1))


Failures = dict[str, list[dict[str, str]]]
"""What a function returns to its queue or stream, to have only some records retried."""


def failures(ids: Iterable[str]) -> Failures:
    """Have the messages with these ids, or the records with these numbers, retried."""
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in ids]}


class Redelivery(Struct, frozen=True, eq=False):
    """Tells queues when to redeliver messages.

    ``queue_of`` returns the URL of the queue with an ARN, ``chance`` 0 to 1.
    """

    client: Callable[[], SQSClient]
    queue_of: Callable[[str], str]
    chance: Callable[[], float]

    @contextmanager
    def on_failure(self, messages: Sequence[Message], *, longest: int = LONGEST) -> Iterator[None]:
        """If handling them fails, have all of them redelivered soon."""
        try:
            yield
        except Exception:
            self.after_failure(messages, longest=longest)
            raise

    def after_failure(self, messages: Sequence[Message], *, longest: int = LONGEST) -> None:
        """Have messages redelivered together, after a wait that depends on the first one's tries:
        a group of a FIFO queue is redelivered only when all of it is visible again."""
        if messages:
            seconds = wait_after(tries_of(messages[0]), longest, self.chance())
            for message in messages:
                self.put_off(message, seconds)

    def put_off(self, message: Message, seconds: int) -> None:
        """Have a message redelivered in this many seconds."""
        try:
            self.client().change_message_visibility(
                QueueUrl=self.queue_of(message["eventSourceARN"]),
                ReceiptHandle=message["receiptHandle"],
                VisibilityTimeout=seconds,
            )
        except failed_calls(KeyError):  # the last: of no queue that we know
            logger().warning("the message waits for the visibility timeout", exc_info=True)
