"""``events``: make events of changes in the tables' streams, number them and send them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.errors import failures, refuses_entry
from headcount.logs import logger
from headcount.model.event import NAMES, Event, day_events, headcount_events, visit_events
from headcount.store.attributes import decode
from headcount.store.headcounts import headcount_from
from headcount.store.history import day_from
from headcount.store.keys import SHARD_SEPARATOR, History, Visits
from headcount.store.rows import read
from headcount.store.visits import visit_from

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

    from headcount.store.numbers import NumbersTable
    from headcount.store.table import Backoff

SOURCE = "headcount"
"""The source of all events, for EventBridge's rules."""

_BATCH = 10  # PutEvents' limit; ten of the largest are a tenth of its 256 KB
_PUT_TRIES = 4

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event with its number in its space, and its record's sequence number."""

    event: Event
    seq: int
    record: str


class Bus(Struct, frozen=True, eq=False):
    """An EventBridge bus."""

    client: EventBridgeClient
    name: str
    stack: str
    backoff: Backoff

    def put(self, events: Iterable[NumberedEvent]) -> list[NumberedEvent]:
        """Send events; returns those to send again: after several tries the bus still did not
        accept them."""
        todo, failed = list(events), []
        while todo:
            batch, todo = todo[:_BATCH], todo[_BATCH:]
            failed += self._put(batch)
        return failed

    def _put(self, batch: list[NumberedEvent]) -> list[NumberedEvent]:
        for tries in range(_PUT_TRIES):
            if tries:
                self.backoff.wait(tries)
            batch = self._try(batch)
            if not batch:
                break
        return batch

    def _try(self, batch: Sequence[NumberedEvent]) -> list[NumberedEvent]:
        """Send a batch once; returns the events to try again: the bus decides on each."""
        try:
            answer = self.client.put_events(Entries=[self._entry(one) for one in batch])
        except failures() as error:
            logger().warning("the bus accepted nothing", extra={"error": type(error).__name__})
            return list(batch)
        again = []
        for one, result in zip(batch, answer["Entries"], strict=True):
            if "EventId" in result:
                continue
            code = result.get("ErrorCode", "")
            about = {"event": one.event.id, "space": one.event.space, "seq": one.seq, "code": code}
            if refuses_entry(code):
                # A retry would only delay the events after it.
                logger().error("an event was refused", extra=about)
            else:
                logger().warning("an event was not accepted", extra=about)
                again.append(one)
        return again

    def _entry(self, one: NumberedEvent) -> Any:
        detail = one.event.detail(self.stack, one.seq)
        return {
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": NAMES[one.event.type],
            "Time": datetime.fromtimestamp(one.event.at / 1000, UTC),
            "Detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
        }


class Emitter(Struct, frozen=True, eq=False):
    """What sending events needs. ``clock`` returns epoch milliseconds."""

    numbers: NumbersTable
    bus: Bus
    clock: Callable[[], int]

    def emit(self, records: Iterable[Record]) -> list[str]:
        """Send the events of a batch of stream records. Returns the sequence numbers of the records
        to retry.

        An event gets its number before it is sent. Whatever happens in between, a retry finds the
        number and sends the event with it.
        """
        by_space: dict[str, list[tuple[Event, str]]] = defaultdict(list)
        for record in records:
            number = record["dynamodb"]["SequenceNumber"]
            for event in events_in(record):
                by_space[event.space].append((event, number))
        numbered: list[NumberedEvent] = []
        failed: list[str] = []
        for space, found in by_space.items():
            try:
                ids = [event.id for event, _ in found]
                numbers = self.numbers.number(space, ids, now=self.clock())
            except Exception:
                logger().exception("events got no numbers", extra={"space": space})
                failed += [number for _, number in found]
            else:
                numbered += [
                    NumberedEvent(event, numbers[event.id], number) for event, number in found
                ]
        unsent = self.bus.put(numbered)
        failed += [one.record for one in unsent]
        if numbered:
            about = {"events": len(numbered) - len(unsent), "spaces": len(by_space)}
            logger().info("events sent", extra=about)
        if failed and len(failed) == sum(map(len, by_space.values())):
            raise NothingEmittedError(f"none of {len(failed)} events could be sent")
        return list(dict.fromkeys(failed))


def events_in(record: Record) -> list[Event]:
    """The events of a changed row of Visits, Headcounts or History: usually none.

    A row that can't be read makes none: a retry would only block the stream.
    """
    return read(_events_in, record, str(record.get("eventID"))) or []


def _events_in(record: Record) -> list[Event]:
    change = record["dynamodb"]
    new, old = decode(change["NewImage"]), decode(change.get("OldImage", {}))
    if Visits.PARTITION in new:
        day = new[Visits.PARTITION].rpartition(SHARD_SEPARATOR)[2]
        return visit_events(visit_from(old) if old else None, visit_from(new), day)
    if History.SORT in new:
        return day_events(new[History.PARTITION], day_from(new))
    return headcount_events(headcount_from(new))


class NothingEmittedError(RuntimeError):
    """No event of a batch was sent; the stream retries the batch."""
