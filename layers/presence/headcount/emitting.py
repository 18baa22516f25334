"""``events``: what the tables' streams say that others want to know, numbered and told."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount.errors import refuses_entry
from headcount.events import NAMES, Event, of_day, of_headcount, of_visit
from headcount.logs import logger
from headcount.store.attributes import decode
from headcount.store.headcounts import headcount_from
from headcount.store.history import day_from
from headcount.store.keys import SHARD_SEPARATOR, History, Visits
from headcount.store.numbers import NumbersTable
from headcount.store.rows import read
from headcount.store.visits import visit_from

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "headcount"
"""EventBridge's source of everything that is told."""

_AT_ONCE = 10  # PutEvents' limit; ten of the largest are a tenth of its 256 KB
_TRIES = 4
_FIRST_BACKOFF = 0.1
"""Seconds at most before the second try; twice as many before each further one."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its number in its space, and the record it was found in."""

    event: Event
    seq: int
    record: str


@dataclass(frozen=True, slots=True)
class Bus:
    """An EventBridge bus. ``sleep`` takes seconds, ``chance`` gives 0 to 1."""

    client: EventBridgeClient
    name: str
    stack: str
    sleep: Callable[[float], None]
    chance: Callable[[], float]

    def put(self, told: Iterable[Told]) -> list[Told]:
        """Tell these; returns those that the bus did not take, tried again or not."""
        todo, failed = list(told), []
        while todo:
            batch, todo = todo[:_AT_ONCE], todo[_AT_ONCE:]
            failed += self._put(batch)
        return failed

    def _put(self, batch: list[Told]) -> list[Told]:
        for left in range(_TRIES - 1, -1, -1):
            batch = self._try(batch)
            if not batch or not left:
                break
            self.sleep(self.chance() * _FIRST_BACKOFF * 2 ** (_TRIES - 1 - left))
        return batch

    def _try(self, batch: Sequence[Told]) -> list[Told]:
        """Those that are to be tried again: the bus takes and refuses each for itself."""
        try:
            answer = self.client.put_events(Entries=[self._entry(one) for one in batch])
        except (ClientError, BotoCoreError) as error:
            logger().warning("the bus takes nothing", extra={"error": type(error).__name__})
            return list(batch)
        again = []
        for one, said in zip(batch, answer["Entries"], strict=True):
            if "EventId" in said:
                continue
            code = said.get("ErrorCode", "")
            about = {"event": one.event.id, "space": one.event.space, "seq": one.seq, "code": code}
            if refuses_entry(code):
                # For good: trying again would only hold up all that come behind it.
                logger().error("an event was refused", extra=about)
            else:
                logger().warning("an event was not taken", extra=about)
                again.append(one)
        return again

    def _entry(self, one: Told) -> Any:
        detail = one.event.detail(self.stack, one.seq)
        return {
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": NAMES[one.event.type],
            "Time": datetime.fromtimestamp(one.event.at / 1000, UTC),
            "Detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
        }


@dataclass(frozen=True, slots=True)
class Emitter:
    """What telling needs. ``clock`` gives epoch milliseconds."""

    numbers: NumbersTable
    bus: Bus
    clock: Callable[[], int]

    def emit(self, records: Iterable[Record]) -> list[str]:
        """Tell what a batch of the streams' records says; the sequence numbers of those records
        that have to come again.

        An event gets its number before it is told. Whatever happens in between, the next try
        finds the number and tells the event under it.
        """
        by_space: dict[str, list[tuple[Event, str]]] = defaultdict(list)
        for record in records:
            number = record["dynamodb"]["SequenceNumber"]
            for event in events_in(record):
                by_space[event.space].append((event, number))
        told: list[Told] = []
        failed: list[str] = []
        for space, found in by_space.items():
            try:
                ids = [event.id for event, _ in found]
                numbers = self.numbers.number(space, ids, now=self.clock())
            except Exception:
                logger().exception("events got no numbers", extra={"space": space})
                failed += [number for _, number in found]
            else:
                told += [Told(event, numbers[event.id], number) for event, number in found]
        untold = self.bus.put(told)
        failed += [one.record for one in untold]
        if told:
            about = {"events": len(told) - len(untold), "spaces": len(by_space)}
            logger().info("told", extra=about)
        if failed and len(failed) == sum(map(len, by_space.values())):
            raise NothingToldError(f"none of {len(failed)} events could be told")
        return list(dict.fromkeys(failed))


def events_in(record: Record) -> list[Event]:
    """What a change of a row of Visits, Headcounts or History tells: of most, nothing.

    A row that can't be read tells nothing: trying again would only block the stream.
    """
    return read(_events_in, record, str(record.get("eventID"))) or []


def _events_in(record: Record) -> list[Event]:
    change = record["dynamodb"]
    new, old = decode(change["NewImage"]), decode(change.get("OldImage", {}))
    if Visits.PARTITION in new:
        day = new[Visits.PARTITION].rpartition(SHARD_SEPARATOR)[2]
        return of_visit(visit_from(old) if old else None, visit_from(new), day)
    if History.SORT in new:
        return of_day(new[History.PARTITION], day_from(new))
    return of_headcount(headcount_from(new))


class NothingToldError(RuntimeError):
    """No event of a batch got through; the stream tries the batch again."""
