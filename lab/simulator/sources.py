"""What invokes functions: streams, queues and schedules, at least once and sometimes late."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from headcount.times import MINUTE, SECOND

from lab.harness import recursion
from lab.harness.fakes import as_received, aws_error
from lab.harness.filters import passes, patterns_of
from lab.harness.template import template
from lab.simulator import faults
from lab.simulator.processes import Fleet

Record = dict[str, Any]
_LONG_DELAY = 60
"""Seconds; a message with a longer delay does not keep the simulation busy."""
_GARBAGE = {"partition": {"S": "site:main#0"}, "session": {"S": "?"}, "kind": {"S": "join"}}


class Stream:
    """An event source mapping from the template: it reads a table's stream shard by shard."""

    def __init__(
        self,
        fleet: Fleet,
        role: str,
        function: str,
        *,
        read: Callable[[], list[Record]],
        shard_of: Callable[[Mapping[str, Any]], str],
        seen: Callable[[list[Record]], None],
        dropped: Callable[[list[Record]], None],
    ) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._faults = fleet.faults
        self.role = role
        self._function = function
        self._settings = _source_of(role, function)
        self._patterns = patterns_of(self._settings)
        self._read = read
        self._shard_of = shard_of
        self._seen = seen
        self._dropped = dropped
        self._shards: dict[str, deque[Record]] = defaultdict(deque)
        self._served: set[str] = set()
        self._past_batches: list[list[Record]] = []

    def wake(self) -> None:
        """Read the new records after a write to the table."""
        records = self._read()
        if not records:
            return
        self._seen(records)
        for record in records:
            if passes(record, self._patterns):
                shard = self._shard_of(record["dynamodb"]["Keys"])
                self._shards[shard].append(record)
                if shard not in self._served:
                    self._served.add(shard)
                    self._loop.start(partial(self._serve, shard))

    def replay(self) -> None:
        """Deliver an old batch again, in parallel to the current ones."""
        if self._past_batches:
            batch = self._faults.random.choice(self._past_batches)
            self._faults.count(faults.BATCH_REPLAYED)
            self._loop.start(lambda: self._invoke(batch))

    def _serve(self, shard: str) -> None:
        waiting, random = self._shards[shard], self._faults.random
        window = int(self._settings["MaximumBatchingWindowInSeconds"]) * SECOND
        while waiting:
            self._loop.pause(random.randint(20, 250) + random.randint(0, window))
            if self._faults.strikes(faults.BATCH_DELAYED):
                self._loop.pause(random.choice((5, 40, 200)) * SECOND)
            size = random.choice((1, 3, int(self._settings["BatchSize"])))
            batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            if self._faults.strikes(faults.BATCH_DROPPED):
                self._dropped(batch)
                continue
            if self.role == "presence" and self._faults.strikes(faults.POISON):
                poison = {"dynamodb": {"NewImage": _GARBAGE, "Keys": {}}}
                batch.insert(random.randint(0, len(batch)), poison)
            self._retry_until_done(batch, self._loop.now)
            self._past_batches.append(batch)
            if self._faults.strikes(faults.BATCH_TWICE):
                self._retry_until_done(batch, self._loop.now)
            if self._faults.strikes(faults.BATCH_REPLAYED):
                late = random.randint(0, random.choice((1, 3, 90)) * SECOND)
                self._loop.start(partial(self._invoke, batch), after=late)
        self._served.discard(shard)

    def _retry_until_done(self, batch: list[Record], since: int) -> None:
        """Deliver a batch until it succeeds or is too old, in halves after a failure."""
        while batch:
            failed = self._invoke(batch)
            if not failed:
                return
            if self._loop.now - since > int(self._settings["MaximumRecordAgeInSeconds"]) * SECOND:
                self._faults.count(faults.BATCH_EXPIRED)
                self._dropped(failed)
                return
            self._loop.pause(self._faults.random.randint(100, 2_000))
            if len(failed) == len(batch) and len(batch) > 1:
                assert self._settings["BisectBatchOnFunctionError"]
                half = len(batch) // 2
                self._retry_until_done(batch[:half], since)
                failed = batch[half:]
            batch = failed

    def _invoke(self, batch: list[Record]) -> list[Record]:
        """Deliver a batch; returns the records to retry."""
        self._fleet.note(f"{self.role}: {', '.join(map(_short, batch))}")
        outcome = self._fleet.invoke(self._function, {"Records": batch})
        if not outcome.ok:
            return batch
        if "ReportBatchItemFailures" not in self._settings.get("FunctionResponseTypes", []):
            return []
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        failures = [one["itemIdentifier"] for one in outcome.value["batchItemFailures"]]
        # The first failed record and all after it are retried.
        return batch[min(map(numbers.index, failures)) :] if failures else []


def _short(record: Record) -> str:
    """A record in the trace."""
    change = record["dynamodb"]
    keys = "/".join(value["S"] for value in change["Keys"].values())
    image = change.get("NewImage", {})
    return " ".join([keys, *(image[name]["S"] for name in ("kind", "visit") if name in image)])


def by_item(shards: int) -> Callable[[Mapping[str, Any]], str]:
    """A table's partitions may be split between any two items: only an item's own order is kept."""

    def shard_of(keys: Mapping[str, Any]) -> str:
        text = repr(sorted((name, value["S"]) for name, value in keys.items()))
        return str(hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % shards)

    return shard_of


def by_space(keys: Mapping[str, Any]) -> str:
    """All records of a space are in one partition."""
    return str(keys["space"]["S"])


@cache
def _source_of(role: str, function: str) -> Mapping[str, Any]:
    """The event source of a function that reads a table's stream."""
    (found,) = (
        source
        for source in template().events(function, "DynamoDB")
        if source["Stream"] == f"{role.capitalize()}Table.StreamArn"
    )
    return found  # type: ignore[no-any-return]


@cache
def _served_by(queue: str) -> tuple[str, int]:
    """The function that receives a queue's messages, and its batch size."""
    ((function, source),) = (
        (function, source)
        for function in template().functions
        for source in template().events(function, "SQS")
        if source["Queue"] == f"{queue}.Arn"
    )
    return function, int(source["BatchSize"])


@dataclass(slots=True)
class _Message:
    """A queued message. ``lineage``: how often each function ran in its chain of messages."""

    queue: str
    id: str
    record: Record
    lineage: Mapping[str, int]
    receives: int = 0

    @property
    def receipt(self) -> str:
        """The receipt handle of the last receive."""
        return f"{self.id} {self.receives}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """The queue's properties in the template."""
        found: Mapping[str, Any] = template().resources[self.queue]["Properties"]
        return found

    @property
    def is_exhausted(self) -> bool:
        """Whether the next receive would move it to the dead letters."""
        return self.receives >= int(self.properties["RedrivePolicy"]["maxReceiveCount"])

    def receive(self) -> Record:
        """The record for the function."""
        self.receives += 1
        count = {"ApproximateReceiveCount": str(self.receives)}
        return {
            **self.record,
            "messageId": self.id,
            "receiptHandle": self.receipt,
            "attributes": {**self.record["attributes"], **count},
            "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{self.queue}",
        }


class Queues:
    """SQS: messages of a FIFO group arrive in order, all others in any order.

    A failed message is received again after the visibility timeout, which the function should have
    shortened; until then its group is blocked. A function that does not shorten the timeout of a
    failed message, although it did not crash, is reported. A chain of messages in which a function
    runs too often is stopped.
    """

    def __init__(self, fleet: Fleet, report: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._faults = fleet.faults
        self._report = report
        self._groups: dict[str, deque[_Message]] = defaultdict(deque)
        self._sent: set[tuple[str, str]] = set()
        self._served: set[str] = set()
        self._blocked: set[str] = set()  # groups whose first message failed
        self._postponed: dict[str, int] = {}  # receipt -> seconds
        self._numbers = itertools.count(1)
        self.postpone_requests: set[str] = set()
        """Receipts of messages whose timeout a function tried to change, successfully or not."""

    def send_message(
        self,
        lineage: Mapping[str, int],
        *,
        QueueUrl: str,  # noqa: N803
        MessageBody: str,  # noqa: N803
        MessageGroupId: str = "",  # noqa: N803
        MessageDeduplicationId: str = "",  # noqa: N803
        DelaySeconds: int = 0,  # noqa: N803
        MessageAttributes: Mapping[str, Any] | None = None,  # noqa: N803
    ) -> None:
        """Queue a message."""
        if len(MessageBody.encode()) > 256 * 1024:
            raise aws_error("InvalidParameterValue", 400, "SendMessage")
        record = {
            "body": MessageBody,
            "messageAttributes": as_received(MessageAttributes),
            "attributes": {
                "MessageGroupId": MessageGroupId,
                "SentTimestamp": str(self._loop.now),
            },
        }
        message = _Message(QueueUrl, f"message-{next(self._numbers)}", record, lineage)
        if not MessageGroupId:
            late = DelaySeconds * SECOND + self._faults.random.randint(10, 3_000)
            deliver = partial(self._loop.start, partial(self._deliver, message))
            if DelaySeconds > _LONG_DELAY:  # it does not keep the simulation busy
                self._loop.at(self._loop.now + late, deliver)
            else:
                deliver(after=late)
            return
        if (MessageGroupId, MessageDeduplicationId) in self._sent:
            return
        self._sent.add((MessageGroupId, MessageDeduplicationId))
        self._groups[MessageGroupId].append(message)
        if MessageGroupId in self._blocked:
            self._faults.count(faults.GROUP_WAITS)
        if MessageGroupId not in self._served:
            self._served.add(MessageGroupId)
            self._loop.start(partial(self._serve, MessageGroupId))

    def change_message_visibility(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        ReceiptHandle: str,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
    ) -> None:
        """Change after how many seconds a message is received again."""
        assert QueueUrl in template().resources
        self._postponed[ReceiptHandle] = VisibilityTimeout

    def _serve(self, group: str) -> None:
        waiting, random = self._groups[group], self._faults.random
        while waiting:
            self._loop.pause(random.randint(5, 200))
            _, most = _served_by(waiting[0].queue)
            size = random.choice((1, most))
            batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            again = self._invoke(batch)
            if not again:
                continue
            left = [message for message, _ in again if not message.is_exhausted]
            waiting.extendleft(reversed(left))
            self._blocked.add(group)
            self._loop.pause(max(seconds for _, seconds in again) * SECOND)
            self._blocked.discard(group)
        self._served.discard(group)

    def _deliver(self, message: _Message) -> None:
        while not message.is_exhausted:
            again = self._invoke([message])
            if not again:
                return
            ((_, seconds),) = again
            self._loop.pause(seconds * SECOND)

    def _invoke(self, batch: list[_Message]) -> list[tuple[_Message, int]]:
        """Deliver messages; returns those to receive again, and after how many seconds."""
        function, _ = _served_by(batch[0].queue)
        lineage = max((one.lineage for one in batch), key=lambda one: one.get(function, 0))
        hops = lineage.get(function, 0)
        if hops >= recursion.MOST:
            self._faults.count(faults.HOPS)
        if recursion.is_stopped(function, hops):
            self._fleet.note(f"{function} is stopped after {hops} times")
            return []
        event = {"Records": [message.receive() for message in batch]}
        outcome = self._fleet.invoke(function, event, lineage)
        failed = {message.id for message in batch}
        if outcome.ok:
            results = (outcome.value or {}).get("batchItemFailures", ())
            failed = {one["itemIdentifier"] for one in results}
        again = []
        for message in batch:
            if message.id in failed or (outcome.ok and self._faults.strikes(faults.MESSAGE_TWICE)):
                again.append((message, self._visibility_timeout(message)))
            if (
                message.id in failed
                and not outcome.crashed
                and message.receipt not in self.postpone_requests
            ):
                self._report(
                    f"a failed message waits for the visibility timeout of {message.queue}"
                )
        return again

    def _visibility_timeout(self, message: _Message) -> int:
        if message.receipt in self._postponed:
            return self._postponed.pop(message.receipt)
        self._faults.count(faults.OUT_OF_SIGHT)
        return int(message.properties["VisibilityTimeout"])


class Bus:
    """EventBridge's bus, which accepts or refuses each entry."""

    def __init__(self, fleet: Fleet) -> None:
        self._faults = fleet.faults
        self.events: list[Record] = []

    def put_events(self, *, Entries: list[Record]) -> Record:  # noqa: N803
        """Accept or refuse each entry of a batch."""
        results = []
        for entry in Entries:
            if self._faults.strikes(faults.ENTRY_REFUSED):
                results.append({"ErrorCode": "ThrottlingException"})
            else:
                self.events.append(json.loads(entry["Detail"]))
                results.append({"EventId": f"entry-{len(self.events)}"})
        return {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}


class Minutes:
    """EventBridge Scheduler, which runs the cleanup within each minute, usually once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._faults = fleet.faults
        self.paused_until = 0
        self._loop.at(self._next(), self._minute)

    def _next(self) -> int:
        return self._loop.now - self._loop.now % MINUTE + MINUTE

    def _minute(self) -> None:
        self._loop.at(self._next(), self._minute)
        if self._loop.now < self.paused_until:
            return
        if self._faults.strikes(faults.SWEEP_SKIPPED):
            return
        late = self._faults.random.randint(0, 5 * SECOND)
        if self._faults.strikes(faults.SWEEP_LATE):
            late += self._faults.random.randint(0, 100 * SECOND)
        self.sweep(late)
        if self._faults.strikes(faults.SWEEP_TWICE):
            self.sweep(late + self._faults.random.randint(0, SECOND))

    def sweep(self, late: int = 0) -> None:
        """Run the cleanup."""
        self._loop.start(lambda: self._fleet.invoke("cleanup", {}), after=late)
