"""What wakes functions: streams, queues and schedules, at least once each and sometimes late."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from headcount.times import MINUTE, SECOND

from tests.simulator import faults
from tests.simulator.processes import Fleet
from tests.support.fakes import as_received, aws_error
from tests.support.filters import passes, patterns_of
from tests.support.template import template

Record = dict[str, Any]
_GARBAGE = {"partition": {"S": "site:main#0"}, "session": {"S": "?"}, "kind": {"S": "join"}}


class Stream:
    """An event source mapping: a table's stream, read shard by shard, as the template has it."""

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
        (self._settings,) = [
            one
            for one in template().events(function, "DynamoDB")
            if one["Stream"] == f"{role.capitalize()}Table.StreamArn"
        ]
        self._patterns = patterns_of(self._settings)
        self._read = read
        self._shard_of = shard_of
        self._seen = seen
        self._dropped = dropped
        self._shards: dict[str, deque[Record]] = defaultdict(deque)
        self._served: set[str] = set()
        self._old: list[list[Record]] = []

    def wake(self) -> None:
        """The table was written."""
        records = self._read()
        self._seen(records)
        for record in records:
            if passes(record, self._patterns):
                shard = self._shard_of(record["dynamodb"]["Keys"])
                self._shards[shard].append(record)
                if shard not in self._served:
                    self._served.add(shard)
                    self._loop.start(partial(self._serve, shard))

    def replay(self) -> None:
        """Hand over an old batch once more, beside whatever is under way."""
        if self._old:
            batch = self._faults.random.choice(self._old)
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
            self._hand_over(batch, self._loop.now)
            self._old.append(batch)
            if self._faults.strikes(faults.BATCH_TWICE):
                self._hand_over(batch, self._loop.now)
            if self._faults.strikes(faults.BATCH_REPLAYED):
                late = random.randint(0, random.choice((1, 3, 90)) * SECOND)
                self._loop.start(partial(self._invoke, batch), after=late)
        self._served.discard(shard)

    def _hand_over(self, batch: list[Record], since: int) -> None:
        """Until it was handled, in halves where it fails, or until it is too old."""
        while batch:
            failed = self._invoke(batch)
            if not failed:
                return
            if self._loop.now - since > int(self._settings["MaximumRecordAgeInSeconds"]) * SECOND:
                self._faults.count(faults.BATCH_PARKED)
                self._dropped(failed)
                return
            self._loop.pause(self._faults.random.randint(100, 2_000))
            if len(failed) == len(batch) and len(batch) > 1:
                assert self._settings["BisectBatchOnFunctionError"]
                half = len(batch) // 2
                self._hand_over(batch[:half], since)
                failed = batch[half:]
            batch = failed

    def _invoke(self, batch: list[Record]) -> list[Record]:
        """The records that must be tried again."""
        self._fleet.note(f"{self.role}: {', '.join(map(_short, batch))}")
        outcome = self._fleet.invoke(self._function, {"Records": batch})
        if not outcome.ok:
            return batch
        if "ReportBatchItemFailures" not in self._settings.get("FunctionResponseTypes", []):
            return []
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        failures = [one["itemIdentifier"] for one in outcome.value["batchItemFailures"]]
        # From the first that failed on: all behind it are tried again, too.
        return batch[min(map(numbers.index, failures)) :] if failures else []


def _short(record: Record) -> str:
    """A record, for the trace."""
    change = record["dynamodb"]
    keys = "/".join(value["S"] for value in change["Keys"].values())
    image = change.get("NewImage", {})
    return " ".join([keys, *(image[name]["S"] for name in ("kind", "visit") if name in image)])


def by_item(shards: int) -> Callable[[Mapping[str, Any]], str]:
    """A table's partitions may be split between any two items: each keeps its own order only."""

    def shard_of(keys: Mapping[str, Any]) -> str:
        text = repr(sorted((name, value["S"]) for name, value in keys.items()))
        return str(hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % shards)

    return shard_of


def by_space(keys: Mapping[str, Any]) -> str:
    """All of a space is in one partition."""
    return str(keys["space"]["S"])


_SERVED_BY = {
    "FanoutQueue": "fanout",
    "ErrandQueue": "errands",
    "ClosingQueue": "errands",
    "PieceQueue": "cleanup",
}
"""The function that a queue's messages are for."""


class Queues:
    """SQS: chunks in order within their group, and errands in any order."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._faults = fleet.faults
        self._groups: dict[str, deque[Record]] = defaultdict(deque)
        self._sent: set[tuple[str, str]] = set()
        self._served: set[str] = set()
        self._numbers = itertools.count(1)
        self.chunks = 0
        self.parked = 0

    def send_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MessageBody: str,  # noqa: N803
        MessageGroupId: str = "",  # noqa: N803
        MessageDeduplicationId: str = "",  # noqa: N803
        DelaySeconds: int = 0,  # noqa: N803
        MessageAttributes: Mapping[str, Any] | None = None,  # noqa: N803
    ) -> None:
        """Take a message."""
        if len(MessageBody.encode()) > 256 * 1024:
            raise aws_error("InvalidParameterValue", 400, "SendMessage")
        message = {
            "messageId": f"message-{next(self._numbers)}",
            "body": MessageBody,
            "messageAttributes": as_received(MessageAttributes),
            "attributes": {
                "MessageGroupId": MessageGroupId,
                "SentTimestamp": str(self._loop.now),
            },
        }
        if not MessageGroupId:
            late = DelaySeconds * SECOND + self._faults.random.randint(10, 3_000)
            self._loop.start(lambda: self._deliver(QueueUrl, message), after=late)
            return
        if (MessageGroupId, MessageDeduplicationId) in self._sent:
            return
        self._sent.add((MessageGroupId, MessageDeduplicationId))
        self.chunks += 1
        self._groups[MessageGroupId].append(message)
        if MessageGroupId not in self._served:
            self._served.add(MessageGroupId)
            self._loop.start(lambda: self._serve(QueueUrl, MessageGroupId))

    def _serve(self, queue: str, group: str) -> None:
        waiting = self._groups[group]
        while waiting:
            self._loop.pause(self._faults.random.randint(5, 200))
            self._deliver(queue, waiting.popleft())
        self._served.discard(group)

    def _deliver(self, name: str, message: Record) -> None:
        function = _SERVED_BY[name]
        queue = template().resources[name]["Properties"]
        for _ in range(int(queue["RedrivePolicy"]["maxReceiveCount"])):
            outcome = self._fleet.invoke(function, {"Records": [message]})
            again = outcome.ok and self._faults.strikes(faults.MESSAGE_TWICE)
            if outcome.ok and not again:
                return
            self._loop.pause(int(queue["VisibilityTimeout"]) * SECOND)
        if not outcome.ok:
            self.parked += 1


class Bus:
    """EventBridge: it takes each entry, or doesn't."""

    def __init__(self, fleet: Fleet) -> None:
        self._faults = fleet.faults
        self.events: list[Record] = []

    def put_events(self, *, Entries: list[Record]) -> Record:  # noqa: N803
        """Take a batch."""
        said = []
        for entry in Entries:
            if self._faults.strikes(faults.ENTRY_NOT_TAKEN):
                said.append({"ErrorCode": "ThrottlingException"})
            else:
                self.events.append(json.loads(entry["Detail"]))
                said.append({"EventId": f"entry-{len(self.events)}"})
        return {"FailedEntryCount": sum("ErrorCode" in one for one in said), "Entries": said}


class Minutes:
    """EventBridge Scheduler and the cleanup: some time within each minute, mostly once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = fleet.loop
        self._faults = fleet.faults
        self.paused_until = 0
        self.finished = 0
        """Sweeps that came to their end."""
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
        """Have the cleanup run."""

        def run() -> None:
            self.finished += self._fleet.invoke("cleanup", {}).ok

        self._loop.start(run, after=late)
