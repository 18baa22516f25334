"""People: note where they are, look them up, and tell those who watch them.

``count`` notes a person's joins and leaves in one row of theirs, one write each. What that write
returns says whether somebody watches the person, so nobody else's changes cost anything for it. A
person's state is always read from their presence rows, for each request and each message: the row
only says where these are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.model.people import (
    MOST_VISITS,
    OpenVisit,
    PersonChange,
    PersonRecord,
    former_person,
    seen_at_end,
    topic_of,
    watched_in,
    whereabouts,
)
from headcount.model.session import Session, Write, moved_away
from headcount.times import CLOCKS_DIFFER, iso, whole_seconds
from headcount.usecases.deliver import to_frame

if TYPE_CHECKING:
    from headcount.store.people import PeopleTable
    from headcount.store.presence import PresenceTable
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.store.table import Parallel
    from headcount.usecases.deliver import Broadcaster
    from headcount.usecases.queues import ChunkQueue, DeferredQueue
    from headcount.web import answers

_PER_FRAME = 25
"""People in one frame: well below the gateway's 128 KB, whatever is known of them."""


class PeopleReader(Struct, frozen=True, eq=False):
    """Looks people up: half a read unit for each, and half for each of their sessions."""

    people: PeopleTable
    presence: PresenceTable
    clock: Callable[[], int]

    def find(self, people: Sequence[str], *, consistent: bool = False) -> list[answers.Whereabouts]:
        """Where each of these people is. ``consistent`` costs twice as much."""
        known = self.people.many(people, consistent=consistent)
        return self.of_records(
            [known.get(person) or PersonRecord(person) for person in people], consistent=consistent
        )

    def of_records(
        self, records: Sequence[PersonRecord], *, consistent: bool
    ) -> list[answers.Whereabouts]:
        """Where the people of these records are."""
        keys = {visit.key for record in records for visit in record.visits}
        rows = self.presence.many(sorted(keys), consistent=consistent)
        now = self.clock()  # last: rows that were written meanwhile are not from the future
        return [whereabouts(record.person, record, rows, now) for record in records]


class PeopleNoter(Struct, frozen=True, eq=False):
    """Notes what the changes of the Presence table mean for people."""

    people: PeopleTable
    presence: PresenceTable
    deferred_queue: DeferredQueue
    in_parallel: Parallel
    clock: Callable[[], int]

    def note(self, written: Iterable[Session]) -> Iterator[None]:
        """Begin to note a batch of joins, changes and leaves, and report to those who watch these
        people; what is returned ends when all is done. Repeats do no harm."""
        changes = changes_in(written)
        looks = [one for one, change in changes.items() if not (change.began or change.ended)]
        known = self.people.many(looks) if looks else {}
        return self.in_parallel(lambda one: self._note(*one, known), changes.items())

    def _note(self, person: str, change: PersonChange, known: dict[str, PersonRecord]) -> None:
        record = self._record(person, change, known)
        if record is not None and record.watched_until > self.clock():
            # Of a page that closed, once it counts no longer.
            wait = max(0, change.away_until + CLOCKS_DIFFER - self.clock())
            self.deferred_queue.tell(person, after=whole_seconds(wait) if change.away_until else 0)

    def _record(
        self, person: str, change: PersonChange, known: dict[str, PersonRecord]
    ) -> PersonRecord | None:
        for visit, (shard, at) in change.left.items():
            self.people.leave_shard(person, visit, shard, at=at)
        record = known.get(person)
        if change.began or change.ended:
            # Of an id that many share, a batch may begin very many.
            change.began = dict([*change.began.items()][-MOST_VISITS:])
            record = self.people.note(person, change)
        noted = record.visits if record is not None else ()
        lost = [one for one in change.looks.values() if one not in noted][-MOST_VISITS:]
        if lost:
            # In another shard, from before there was this table, or after a failure.
            seen = [one.since for one in lost] + [at for _, at in change.left.values()]
            found = PersonChange({one.id: one for one in lost}, seen=max(seen))
            record = self.people.note(person, found)
        if record is not None and len(record.visits) > MOST_VISITS:
            self._forget(record)
        return record

    def _forget(self, record: PersonRecord) -> None:
        """Forget visits of a person who has too many: ended ones, else the oldest."""
        rows = self.presence.many([one.key for one in record.visits], consistent=False)
        now = self.clock()
        ended = [
            one
            for one in record.visits[MOST_VISITS // 2 :]  # others' rows may not be readable yet
            if not one.goes_on(rows.get(one.key), record.person, now)
        ]
        old = ended or record.visits[MOST_VISITS:]
        self.people.forget_visits(record.person, [one.id for one in old])


def changes_in(written: Iterable[Session]) -> dict[str, PersonChange]:
    """What a batch means for each of its people. A visit's changes are in order."""
    changes: dict[str, PersonChange] = defaultdict(PersonChange)
    for row in written:
        if not row.visit or row.write is Write.GONE:
            continue
        change, visit = changes[row.person], OpenVisit.from_session(row)
        if moved_away(row):
            began = change.began.get(row.visit)
            if began is not None and began.shard == row.shard:
                change.end(row.visit, seen_at_end(row))
            else:
                change.left[row.visit] = row.shard, seen_at_end(row)
        elif row.ended:
            change.end(row.visit, seen_at_end(row))
        elif row.write is Write.JOIN:
            change.begin(visit, row.joined_at)
        else:
            before = former_person(row)
            if before:
                changes[before].end(row.visit, row.changed_at)
            if before is not None:
                change.begin(visit, row.changed_at)
            elif row.visit not in change.began:
                change.looks[row.visit] = visit
            change.away_until = row.expires_at if row.away else 0
    return dict(changes)


class Watching(Struct, frozen=True, eq=False):
    """What a connection watches: ``socket``."""

    people: PeopleTable
    subscriptions: SubscriptionsTable
    reader: PeopleReader
    in_parallel: Parallel
    clock: Callable[[], int]

    def watch(
        self, connection: str, people: Sequence[str], *, sent_at: int
    ) -> Iterator[dict[str, Any]]:
        """Watch people from now on; the frames with the current state of each."""
        now = self.clock()
        topics = [topic_of(person) for person in people]
        # Before their state is read: what changes after that is reported.
        self.subscriptions.add_all(topics, connection, now=now, sent_at=sent_at)
        records = list(self.in_parallel(partial(self.people.watch, now=now), people))
        found = self.reader.of_records(records, consistent=True)
        for record, one in zip(records, found, strict=True):
            if record.online != one["online"]:
                self.people.mark_reported(record.person, online=one["online"])
        at = iso(self.clock())
        for start in range(0, len(found), _PER_FRAME):
            yield {"type": "people", "people": found[start : start + _PER_FRAME], "at": at}

    def unwatch(self, connection: str, people: Sequence[str] | None, *, sent_at: int) -> None:
        """Watch these people no longer; None: nobody."""
        if people is None:
            people = watched_in(self.subscriptions.topics(connection))
        for person in people:
            self.subscriptions.remove(topic_of(person), connection, sent_at=sent_at)


class Teller(Struct, frozen=True, eq=False):
    """Tells those who watch a person where the person is now: ``deferred``."""

    people: PeopleTable
    subscriptions: SubscriptionsTable
    reader: PeopleReader
    broadcaster: Broadcaster
    chunks: ChunkQueue
    inline_limit: int  # to more connections than this, a frame is sent in chunks
    clock: Callable[[], int]

    def tell(self, person: str) -> None:
        """Send the person's current state. Raises if a dependency fails, and UndeliveredError."""
        topic, at = topic_of(person), self.clock()
        record = self.people.many([person], consistent=True).get(person)
        if record is None or not (audience := self.subscriptions.subscribers(topic)):
            return
        (now,) = self.reader.of_records([record], consistent=True)
        event = "offline" if not now["online"] else "moved" if record.online else "online"
        frame = to_frame({"type": "person", "event": event, **now, "at": iso(at)})
        connections = [one.connection for one in audience]
        if len(connections) > self.inline_limit:
            self.chunks.send(topic, at, frame, connections)
        else:
            self.broadcaster.deliver(frame, connections)
        if record.online != now["online"]:
            self.people.mark_reported(person, online=now["online"])
