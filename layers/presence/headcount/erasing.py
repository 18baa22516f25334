"""Erasing a person: out of every table, in pages that go on by themselves, and in three rounds.

A row is found by looking at all of them: an erasure is rare, and beats must not pay for an index.
A later round heals what was on its way during the one before it: a change of the Presence table
that is counted late brings a visit back as it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from headcount.logs import logger
from headcount.moderation import Act
from headcount.people import ERASED, Person
from headcount.session import Facts, Session, Write, after_leave
from headcount.store.counts import CountsTable
from headcount.store.history import HistoryTable
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.subscriptions import SubscriptionsTable
from headcount.store.visits import VisitsTable
from headcount.times import HOUR, MINUTE, whole_seconds
from headcount.visits import Visit

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LATER = (15 * MINUTE, HOUR + 15 * MINUTE)
"""When the second and the third round begin, after the end of the one before. The third is later
than the streams' records are old at most when they are handled (an hour)."""

ROUNDS = len(LATER) + 1
PAGE = 2_000
"""Rows looked at before what is theirs among them is erased."""
PAGES = 50
"""Pages after which another run of the function goes on."""
MAX_LINKED = 5_000
"""Sessions that are linked to a user: as many as a message of the queue has room for."""

SPACE = "erasures"
"""Stands for a space in the record of what admins did: an erasure is of no space."""

_LONGEST_DELAY = 15 * MINUTE  # of a message in the queue
_FIRST_STEPS = ("find sessions", "find visits")
_STEPS = ("sessions", "visits", "acts", "removals", "connections")


@dataclass(frozen=True, slots=True)
class Job:
    """How far an erasure has come: the message that the queue carries, and nothing else keeps.

    ``due`` is when to go on (epoch milliseconds), ``start`` the row behind which.
    """

    id: str
    at: int
    key: str
    user: str | None = None
    visitor: str | None = None
    session: str | None = None
    linked: list[str] = field(default_factory=list)
    round: int = 0
    step: str = _FIRST_STEPS[0]
    start: Mapping[str, Any] | None = None
    due: int = 0
    erased: Mapping[str, int] = field(default_factory=dict)

    @property
    def person(self) -> Person:
        """Whom it erases."""
        return Person(self.key, self.user, self.visitor, self.session, frozenset(self.linked))

    @property
    def complete(self) -> bool:
        """No round is left."""
        return self.round == ROUNDS


@dataclass(frozen=True, slots=True)
class ErasureQueue:
    """Where erasures wait to go on. One that fails is tried again."""

    client: SQSClient
    url: str

    def send(self, job: Job, *, wait: int = 0) -> None:
        """Go on in so many milliseconds; what the queue can't wait for it is asked again for."""
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=json.dumps(asdict(job), separators=(",", ":")),
            DelaySeconds=whole_seconds(min(wait, _LONGEST_DELAY)),
        )


@dataclass(frozen=True, slots=True)
class Erasures:
    """Asks for erasures and says how far they are. ``new_id`` gives a random word."""

    history: HistoryTable
    queue: ErasureQueue
    clock: Callable[[], int]
    new_id: Callable[[], str]

    def begin(self, *, user: str | None, visitor: str | None, session: str | None, by: str) -> Act:
        """Have a person erased. Their ids are in the queue's message alone, not in the record."""
        job = Job(self.new_id(), self.clock(), self.new_id(), user, visitor, session)
        act = Act(SPACE, job.at, job.id, by, "erasePerson", _progress(job))
        self.history.add_act(act)  # first: what can't be kept is not done
        self.queue.send(job)
        return act

    def get(self, at: int, id_: str) -> Act | None:
        """An erasure that was asked for at that moment."""
        found = self.history.acts(SPACE, at, at, limit=100)
        return next((act for act in found if act.id == id_), None)


@dataclass(frozen=True, slots=True)
class Eraser:
    """What erasing needs. ``clock`` gives epoch milliseconds, ``new_id`` a unique word."""

    presence: PresenceTable
    counts: CountsTable
    visits: VisitsTable
    history: HistoryTable
    subscriptions: SubscriptionsTable
    queue: ErasureQueue
    clock: Callable[[], int]
    new_id: Callable[[], str]

    def run(self, text: str) -> None:
        """Go on with an erasure, and have the queue go on behind that. To do it again changes
        nothing more."""
        job = Job(**json.loads(text))
        finding = job.step in _FIRST_STEPS
        for _ in range(PAGES):
            if job.complete or job.due > self.clock():
                break
            if finding and job.step not in _FIRST_STEPS:
                break  # what was found has to be kept: erasing leaves nothing to find it by
            job = self._page(job)
        self.history.rewrite(SPACE, job.at, job.id, parameters=_progress(job))
        if not job.complete:
            self.queue.send(job, wait=max(0, job.due - self.clock()))

    def _page(self, job: Job) -> Job:
        """Handle a page of the step; returns where to go on."""
        act: Callable[[Job], tuple[Job, Any]] = {
            "find sessions": self._find_sessions,
            "find visits": self._find_visits,
            "sessions": self._erase_sessions,
            "visits": self._erase_visits,
            "acts": self._erase_acts,
            "removals": self._erase_removals,
            "connections": self._erase_connections,
        }[job.step]
        job, start = act(job)
        if start is not None:
            return replace(job, start=start)
        job = replace(job, start=None)
        steps = _FIRST_STEPS + _STEPS
        if job.step != steps[-1]:
            return replace(job, step=steps[steps.index(job.step) + 1])
        due = self.clock() + LATER[job.round] if job.round < len(LATER) else 0
        return replace(job, round=job.round + 1, step=_STEPS[0], due=due)

    # Finding first, and nothing else: once a visit is disguised it links no session any more.

    def _find_sessions(self, job: Job) -> tuple[Job, Any]:
        rows, start = self.presence.scanned(job.start, PAGE)
        return _linking(job, map(Visit.of, rows)), start

    def _find_visits(self, job: Job) -> tuple[Job, Any]:
        rows, start = self.visits.scanned(job.start, PAGE)
        return _linking(job, (visit for _, visit in rows)), start

    def _erase_sessions(self, job: Job) -> tuple[Job, Any]:
        rows, start = self.presence.scanned(job.start, PAGE)
        done: Counter[str] = Counter()
        for session in rows:
            visit = Visit.of(session)
            if (disguised := job.person.disguised(visit)) == visit:
                continue
            renamed = 0
            if not job.person.owns(visit):
                erased = self._forget_former(session, disguised)
            else:
                # The ledger may not know yet who signed in: it would not be found by that.
                if session.visit and not moved_away(session):
                    renamed = self.visits.rename(disguised)
                erased = self._end_and_delete(session)
            done += Counter(sessions=1, visits=renamed) if erased else Counter(lost=1)
        lost = done.pop("lost", 0)  # whoever was written since is read again
        return _counted(job, done), job.start or {} if lost else start

    def _end_and_delete(self, session: Session) -> bool:
        """Delete a row; of somebody who is live, after a leave that says nothing of them, by which
        they are counted no more and their visit has an end."""
        if not session.ended:
            left = after_leave(session, seq=None, request=self.new_id(), now=self.clock())
            leave = cast("Session", left)  # without a sequence number it is not stale
            leave = replace(leave, facts=Facts(), former_users=())
            if not self.presence.replace(session, leave)[0]:
                return False
            session = leave
        return self.presence.delete_ended(session)

    def _forget_former(self, session: Session, disguised: Visit) -> bool:
        """Take the person out of a session that is somebody else's by now."""
        write = session.write if session.ended else Write.BEAT  # no number depends on it
        changed = replace(
            session,
            write=write,
            request=self.new_id(),
            former_users=disguised.former_users,
        )
        return self.presence.replace(session, changed)[0]

    def _erase_visits(self, job: Job) -> tuple[Job, Any]:
        rows, start = self.visits.scanned(job.start, PAGE)
        done = 0
        for day, visit in rows:
            if (disguised := job.person.disguised(visit)) != visit:
                done += self.visits.rename(disguised, day)
        return _counted(job, {"visits": done}), start

    def _erase_acts(self, job: Job) -> tuple[Job, Any]:
        """That somebody did it, or that it was done to somebody, stays; who is gone."""
        acts, start = self.history.scanned_acts(job.start, PAGE)
        done = 0
        for act in acts:
            said: dict[str, Any] = {}
            if job.person.did(act.who):
                said["who"] = ERASED
            if job.person.is_named(act.space, act.parameters):
                said["parameters"] = {}
            if said:
                self.history.rewrite(act.space, act.at, act.id, **said)
                done += 1
        return _counted(job, {"acts": done}), start

    def _erase_removals(self, job: Job) -> tuple[Job, Any]:
        """Those of the person are lifted: there is no denying somebody without knowing who."""
        removals, start = self.counts.scanned_removals(job.start, PAGE)
        done = 0
        for space, removal in removals:
            if job.person.is_named(space, {removal.known_as: removal.value}):
                self.counts.delete_removal(space, removal)
            elif job.person.did(removal.by):
                self.counts.put_removal(space, replace(removal, by=ERASED))
            else:
                continue
            done += 1
        return _counted(job, {"removals": done}), start

    def _erase_connections(self, job: Job) -> tuple[Job, Any]:
        """A connection that holds a session of theirs holds it no more: to come back it has to
        connect anew."""
        held, start = self.subscriptions.scanned_held(job.start, PAGE)
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
                self.subscriptions.forget(connection)
                done += 1
        return _counted(job, {"connections": done}), start


def _linking(job: Job, visits: Any) -> Job:
    """With the sessions that these visits link to the person."""
    person = job.person
    found = dict.fromkeys(job.linked)
    for visit in visits:
        found.update(dict.fromkeys(sorted(person.linked_by(visit))))
    if len(found) > MAX_LINKED:
        logger().warning("an erasure has too many linked sessions", extra={"erasure": job.id})
    return replace(job, linked=list(found)[:MAX_LINKED])


def _counted(job: Job, done: Mapping[str, int]) -> Job:
    """With so many more rows that were erased, of those that are known of."""
    return replace(
        job, erased={step: job.erased.get(step, 0) + done.get(step, 0) for step in _STEPS}
    )


def _progress(job: Job) -> dict[str, Any]:
    """What the record says of it."""
    return {
        "complete": job.complete,
        "rounds": job.round,
        "erased": {step: job.erased.get(step, 0) for step in _STEPS},
    }
