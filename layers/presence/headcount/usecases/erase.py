"""``erase``: take a person out of every table, page by page, in three rounds.

The rows are found by scanning, because an erasure is rare and beats must not pay for an index. The
later rounds catch what was in flight before: a change of the Presence table that is counted late
writes a visit's row as it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct, structs

from headcount.logs import logger
from headcount.model.erasure import FIND_STEPS, ROUND_DELAYS, ErasureJob
from headcount.model.moderation import AuditEntry
from headcount.model.person import ERASED
from headcount.model.session import Facts, Session, Write, after_leave, moved_away
from headcount.model.visit import Visit
from headcount.store.presence import PresenceTable

if TYPE_CHECKING:
    from headcount.store.counts import CountsTable
    from headcount.store.history import HistoryTable
    from headcount.store.people import PeopleTable
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.store.visits import VisitsTable
    from headcount.usecases.queues import ErasureQueue

PAGE = 2_000
"""Rows that are read at a time."""
PAGES = 50
"""Pages of one run; then a message has another run continue."""
MAX_LINKED = 5_000
"""Sessions linked to a user: as many as fit into a message of the queue."""

SPACE = "erasures"
"""The activity log's space of erasures, which concern all spaces."""

_STEPS = ("sessions", "visits", "acts", "removals", "connections", "people")


class Erasures(Struct, frozen=True, eq=False):
    """Requests erasures and reads their progress. ``new_id`` returns a random string."""

    history: HistoryTable
    queue: ErasureQueue
    clock: Callable[[], int]
    new_id: Callable[[], str]
    hash_fingerprint: Callable[[str], str]

    def begin(
        self, *, user: str | None, visitor: str | None, session: str | None, by: str
    ) -> AuditEntry:
        """Request an erasure. The person's ids are only in the queue's message, not in the log."""
        job = ErasureJob(
            id=self.new_id(),
            at=self.clock(),
            key=self.new_id(),
            user=user,
            visitor=visitor,
            session=session,
            fingerprint=None if visitor is None else self.hash_fingerprint(visitor),
        )
        entry = AuditEntry(SPACE, job.at, job.id, by, "erasePerson", _progress(job))
        self.history.add_audit_entry(entry)  # first: what can't be logged must not be done
        self.queue.send(job)
        return entry

    def get(self, at: int, id_: str) -> AuditEntry | None:
        """The erasure with this id, requested at that time; None if there is none."""
        found = self.history.audit_entries(SPACE, at, at, limit=100)
        return next((entry for entry in found if entry.id == id_), None)

    def since(self, at: int, *, limit: int) -> list[AuditEntry]:
        """The erasures requested since then (epoch milliseconds), the newest first."""
        return self.history.audit_entries(SPACE, at, self.clock(), limit=limit)


class Eraser(Struct, frozen=True, eq=False):
    """What erasing needs. ``clock`` returns epoch milliseconds, ``new_id`` a unique string."""

    presence: PresenceTable
    counts: CountsTable
    visits: VisitsTable
    history: HistoryTable
    subscriptions: SubscriptionsTable
    queue: ErasureQueue
    clock: Callable[[], int]
    new_id: Callable[[], str]
    people: PeopleTable | None = None  # None: people can't be looked up

    def run(self, text: str) -> None:
        """Continue an erasure, and send a message for the rest. A repeated run does no harm."""
        job = ErasureJob(**json.loads(text))
        finding = job.step in FIND_STEPS
        for _ in range(PAGES):
            if job.complete or job.due > self.clock():
                break
            if finding and job.step not in FIND_STEPS:
                break  # store what was found first: after erasing it can't be found again
            job = self._page(job)
        self.history.update_audit_entry(SPACE, job.at, job.id, parameters=_progress(job))
        if not job.complete:
            self.queue.send(job, wait=max(0, job.due - self.clock()))

    def _page(self, job: ErasureJob) -> ErasureJob:
        """Handle a page of the step; returns where to continue."""
        handle: Callable[[ErasureJob], tuple[ErasureJob, Any]] = {
            "find sessions": self._find_sessions,
            "find visits": self._find_visits,
            "sessions": self._erase_sessions,
            "visits": self._erase_visits,
            "acts": self._erase_audit_entries,
            "removals": self._erase_removals,
            "connections": self._erase_connections,
            "people": self._erase_people,
        }[job.step]
        job, start = handle(job)
        if start is not None:
            return replace(job, start=start)
        job = replace(job, start=None)
        steps = FIND_STEPS + _STEPS
        if job.step != steps[-1]:
            return replace(job, step=steps[steps.index(job.step) + 1])
        due = self.clock() + ROUND_DELAYS[job.round] if job.round < len(ROUND_DELAYS) else 0
        return replace(job, round=job.round + 1, step=_STEPS[0], due=due)

    # All finding comes first: a visit that is pseudonymised no longer links sessions.

    def _find_sessions(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        rows, start = self.presence.scan_page(job.start, PAGE)
        return _linking(job, map(Visit.from_session, rows)), start

    def _find_visits(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        rows, start = self.visits.scan_page(job.start, PAGE)
        return _linking(job, (visit for _, visit in rows)), start

    def _erase_sessions(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        rows, start = self.presence.scan_page(job.start, PAGE)
        done: Counter[str] = Counter()
        for session in rows:
            visit = Visit.from_session(session)
            if (pseudonymised := job.person.pseudonymised(visit)) == visit:
                continue
            renamed = 0
            if not job.person.owns(visit):
                erased = self._forget_former(session, pseudonymised)
            else:
                # The ledger may not have the user yet, and its row would not be found without.
                if session.visit and not moved_away(session):
                    renamed = self.visits.replace_ids(pseudonymised)
                done["people"] += self._forget(visit.person)
                erased = self._end_and_delete(session)
            done += Counter(sessions=1, visits=renamed) if erased else Counter(lost=1)
        lost = done.pop("lost", 0)  # rows written since they were read: read them again
        return _counted(job, done), job.start or {} if lost else start

    def _end_and_delete(self, session: Session) -> bool:
        """Delete a row. If the session is live, write a leave without facts first: it ends the
        visit, and the session counts no longer."""
        if not session.ended:
            left = after_leave(session, seq=None, request=self.new_id(), now=self.clock())
            leave = cast("Session", left)  # never Stale without a sequence number
            leave = structs.replace(leave, facts=Facts(), former_users=(), former_proofs=())
            if not self.presence.replace(session, leave)[0]:
                return False
            session = leave
        return self.presence.delete_ended(session)

    def _forget_former(self, session: Session, pseudonymised: Visit) -> bool:
        """Take the person out of a session that now belongs to someone else."""
        write = session.write if session.ended else Write.BEAT  # no number depends on them
        changed = structs.replace(
            session,
            write=write,
            request=self.new_id(),
            former_users=pseudonymised.former_users,
        )
        return self.presence.replace(session, changed)[0]

    def _erase_visits(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        rows, start = self.visits.scan_page(job.start, PAGE)
        done: Counter[str] = Counter()
        for day, visit in rows:
            if (pseudonymised := job.person.pseudonymised(visit)) != visit:
                if job.person.owns(visit):  # else the last one to sign in is somebody else
                    done["people"] += self._forget(visit.person)
                done["visits"] += self.visits.replace_ids(pseudonymised, day)
        return _counted(job, done), start

    def _erase_audit_entries(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        """The log keeps that an action took place, but not who took it, or on whom."""
        entries, start = self.history.scan_audit_entries(job.start, PAGE)
        done = 0
        for entry in entries:
            changes: dict[str, Any] = {}
            if job.person.acted_as(entry.who):
                changes["who"] = ERASED
            if job.person.is_named(entry.space, entry.parameters):
                changes["parameters"] = {}
            if changes:
                self.history.update_audit_entry(entry.space, entry.at, entry.id, **changes)
                done += 1
        return _counted(job, {"acts": done}), start

    def _erase_removals(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        """Removals of the person are lifted: without an id no one can be denied."""
        removals, start = self.counts.scan_removals(job.start, PAGE)
        done = 0
        for space, removal in removals:
            if job.person.is_named(space, {removal.known_as: removal.value}):
                self.counts.delete_removal(space, removal)
            elif job.person.acted_as(removal.by):
                self.counts.put_removal(space, structs.replace(removal, by=ERASED))
            else:
                continue
            done += 1
        return _counted(job, {"removals": done}), start

    def _erase_connections(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        """A connection no longer holds the person's session: to come back, the client has to
        connect again."""
        held, start = self.subscriptions.scan_held(job.start, PAGE)
        done = 0
        for connection, session in held:
            visit = Visit(
                space=session.space,
                id="",
                session=session.session,
                user=session.user,
                visitor=None,
                joined_at=0,
                beats={},
            )
            if job.person.owns(visit):
                if session.space:
                    self.subscriptions.forget(connection)
                else:
                    self.subscriptions.forget_sync(connection)
                done += 1
        return _counted(job, {"connections": done}), start

    def _erase_people(self, job: ErasureJob) -> tuple[ErasureJob, Any]:
        """Where the person is, and when they were last seen, under each of their ids."""
        done = sum(map(self._forget, sorted(job.person.keys)))
        return _counted(job, {"people": done}), None

    def _forget(self, person: str) -> bool:
        return self.people is not None and self.people.delete(person)


def _linking(job: ErasureJob, visits: Any) -> ErasureJob:
    """The job with the sessions that these visits link to the person."""
    person = job.person
    found = dict.fromkeys(job.linked)
    for visit in visits:
        found.update(dict.fromkeys(sorted(person.links_of(visit))))
    if len(found) > MAX_LINKED:
        logger().warning("an erasure has too many linked sessions", extra={"erasure": job.id})
    return replace(job, linked=list(found)[:MAX_LINKED])


def _counted(job: ErasureJob, done: Mapping[str, int]) -> ErasureJob:
    """The job with this many more erased rows per step."""
    return replace(
        job, erased={step: job.erased.get(step, 0) + done.get(step, 0) for step in _STEPS}
    )


def _progress(job: ErasureJob) -> dict[str, Any]:
    """An erasure's parameters in the activity log."""
    return {
        "complete": job.complete,
        "rounds": job.round,
        "erased": {step: job.erased.get(step, 0) for step in _STEPS},
    }
