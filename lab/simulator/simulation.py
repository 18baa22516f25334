"""The whole pipeline in one process and one thread, and the actions on it."""

from __future__ import annotations

import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from random import Random
from typing import Any

import jwt
from headcount.model.alert import Milestone
from headcount.model.pushes import PushBudget
from headcount.model.space import Kinds
from headcount.store.attributes import decode
from headcount.store.counts import CountsTable
from headcount.times import HOUR, MINUTE, SECOND, parse_iso
from headcount.usecases import erase as erasing
from headcount.wiring import replace_services

from lab.harness.consumer import Follower
from lab.harness.events import http_event
from lab.harness.fakes import SECRET
from lab.harness.memory import MemoryDynamoDB
from lab.harness.template import template
from lab.harness.world import Answer
from lab.simulator import faults
from lab.simulator.aws import DynamoDB, Remote, Secrets, Sqs
from lab.simulator.faults import Faults
from lab.simulator.loop import Loop
from lab.simulator.oracle import Journal, Oracle
from lab.simulator.processes import Fleet, Outcome, Process
from lab.simulator.sockets import Dashboard, Gateway, Listener
from lab.simulator.sources import Bus, Minutes, Queues, Stream, by_item, by_space
from lab.simulator.visitors import Identity, Link, Native, Traffic, Visitor

KINDS = "site:lease=100,counts=public link:lease=160,counts=public room:lease=120"
SPACES = ("site:main", "link:a", "room:r1")
PUBLIC = SPACES[:2]
"""Those whose counts everybody may read."""
STARTS = (
    "2026-11-21T12:00:00Z",
    "2026-11-20T23:57:30Z",
    "2026-11-22T23:58:00Z",  # a week ends
    "2026-11-30T23:56:00Z",  # a month
    "2026-12-31T23:58:30Z",  # a year
)
GROUPS = "some=site:main,room:* few=link:a*"
ROLL_UPS = {
    "kinds/site": SPACES[:1],
    "kinds/link": SPACES[1:2],
    "kinds/room": SPACES[2:],
    "groups/some": (SPACES[0], SPACES[2]),
    "groups/few": SPACES[1:2],
    "groups/all": SPACES,
}
"""The spaces of each roll-up, by its path."""
BINNED_WITHIN = 6 * MINUTE
FEW = 2
"""The people of the milestone that is set."""
_KEEP_BEATING = 45 * SECOND
_NOTICED_WITHIN = 80 * SECOND
"""The longest time from a lease's end to the version without it, if the cleanup runs each minute.
"""
_MOST_ROUNDS = 20
_LONGEST_DRAIN = 3 * HOUR
_LIVES = 30 * 86_400  # seconds: tokens don't run out while tests run


def rollup_id(path: str) -> str:
    """The id of the roll-up at a path: ``~kind:site`` of ``kinds/site``."""
    what, _, name = path.partition("/")
    return f"~{what[:-1]}:{name}"


@dataclass(frozen=True, slots=True)
class Published:
    """A version as it was stored."""

    version: int
    people: int
    sessions: int
    at: int


@cache
def _table_of(role: str, parameters: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The parameters of CreateTable."""
    return template().create_table(role, **dict(parameters))


@cache
def token(**claims: Any) -> str:
    """A token of this deployment."""
    return jwt.encode({"exp": int(time.time()) + _LIVES, **claims}, SECRET, algorithm="HS256")


class Simulation:
    """A deployment, its visitors and dashboards, and the injected faults.

    Everything that the caller does not decide is drawn from ``random``: the same calls with the
    same seed give the same run. ``roll_ups``: with kinds and groups; ``look_ups``: the checks look
    everybody up.
    """

    def __init__(self, random: Random, *, roll_ups: bool = False, look_ups: bool = True) -> None:
        self.random = random
        self.look_ups = look_ups
        self.trace: list[tuple[int, str]] = []
        self.problems: list[str] = []
        self.loop = Loop(parse_iso(random.choice(STARTS)))
        self.faults = Faults(random, self.note, lambda: self.loop.now)
        self.budget = PushBudget(random.choice((40, 40, 1_000)), random.choice((1, 4, 20)))
        self.parameters = {
            "Kinds": KINDS,
            "ShardsPerSpace": str(random.choice((1, 1, 2, 3))),
            "Limits": f"inline-fanout={random.choice((1, 100, 100))},"
            f"pushes-per-hour={self.budget.per_hour},push-burst={self.budget.burst}",
            "PostsPerSecond": str(random.choice((32, 4_000, 4_000))),
            "EventBus": random.choice(("", "", "default")),
            "RollUps": f"on {GROUPS}" if roll_ups else "",
        }
        self.fleet = Fleet(self.loop, self.faults, self.parameters, self._wire, self.note)
        # Rarely one row, which gives a segment to each space; else they have one space or several.
        self.fleet.rows_per_invocation = random.choice((None, None, 1, 15, 25))
        self.kinds = Kinds(KINDS)
        self.store = MemoryDynamoDB(lambda: self.loop.now)
        self.store.lag = random.choice((0, 0, 300, 1_500))
        self._create_tables()
        self.has_bus = bool(self.parameters["EventBus"])
        if self.has_bus:
            counts = CountsTable(self.store.client, "counts", day_rows_days=400)
            for space in SPACES:
                counts.put_rule(space, Milestone("a few", FEW))
        self.oracle = Oracle()
        self.journal = Journal(int(self.parameters["ShardsPerSpace"]))
        self.published: dict[str, list[Published]] = defaultdict(list)
        self.gateway = Gateway(self.fleet)
        self.queues = Queues(self.fleet, self.report)
        self.bus = Bus(self.fleet)
        self.unseen: list[dict[str, Any]] = []
        """Records that the function ``events`` never receives."""
        self.followers: dict[str, Follower] = {}
        self.minutes = Minutes(self.fleet)
        self.streams = {
            "presence": Stream(
                self.fleet,
                "presence",
                "count",
                read=self._reader("presence"),
                shard_of=by_item(random.choice((1, 1, 3))),
                seen=lambda records: self.journal.add(records, self.loop.now),
                dropped=self._dropped,
            ),
            "counts": Stream(
                self.fleet,
                "counts",
                "publish",
                read=self._reader("counts"),
                shard_of=by_space,
                seen=lambda _: None,
                dropped=self._dropped,
            ),
        }
        splits = {"visits": by_item(random.choice((1, 3))), "headcounts": by_space}
        for role, shard_of in {**splits, "history": by_space}.items() if self.has_bus else ():
            self.streams[role] = Stream(
                self.fleet,
                role,
                "events",
                read=self._reader(role),
                shard_of=shard_of,
                seen=lambda _: None,
                dropped=self.unseen.extend,
            )
        self.visitors: list[Visitor] = []
        self.dashboards: list[Dashboard] = []
        self.listeners: list[Listener] = []
        self._names = itertools.count(1)
        self.erasures: list[str] = []
        """The ids of the started erasures."""
        self._beating = False
        self.dropped = False
        """Whether a batch of a stream was lost at any time."""
        self.needs_cleanup = False
        """Records were dropped, so the numbers are right only after the cleanup."""
        self.loop.at(self.loop.now + _KEEP_BEATING, self._keep_beating)

    # -------------------------------------------------------------------------------------- wiring

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.loop.now, text))

    def report(self, problem: str) -> None:
        """Add a problem: a miscount, or anything else that is wrong."""
        self.problems.append(problem)
        self.note(f"PROBLEM {problem}")

    def _create_tables(self) -> None:
        for role, table in template().tables.items():
            params = _table_of(role, self.fleet.parameters)
            self.store.client.create_table(TableName=role, **params)
            if ttl := table.get("TimeToLiveSpecification"):
                self.store.client.update_time_to_live(TableName=role, TimeToLiveSpecification=ttl)

    def _wire(self, process: Process) -> None:
        wired: Any = process.services
        wired.dynamodb = DynamoDB(process, self.store.client, self._written, self.report)
        # The broadcaster retries by itself, so clients.py turns botocore's retries off.
        posting = ("throttled", "timeout before the effect")
        wired.management = Remote(process, self.gateway, posting, attempts=1)
        wired.sqs = Sqs(process, self.queues)
        wired.secrets = Secrets(process, SECRET)
        wired.eventbridge = Remote(process, self.bus, faults.CALLS)

    def _reader(self, role: str) -> Callable[[], list[dict[str, Any]]]:
        records, read = self.store.tables[role].records, 0

        def new() -> list[dict[str, Any]]:
            nonlocal read
            found = records[read:]
            read = len(records)
            return found

        return new

    def _written(self, operation: str, params: Any) -> None:
        actions = [one for each in params.get("TransactItems", ()) for one in each.values()]
        roles = {one["TableName"] for one in actions or [params] if "TableName" in one}
        # Sorted, because the order of a set differs between processes.
        for role in sorted({*roles, *params.get("RequestItems", ())} & self.streams.keys()):
            self.streams[role].wake()
        if operation == "put_item" and params["TableName"] == "headcounts":
            self._published(params["Item"])

    def _published(self, item: Any) -> None:
        if "version" not in item:
            return  # a separate row of facets
        row = decode(item)
        people = row["signed_in"] + row["anonymous"]
        versions = self.published[row["space"]]
        self.note(f"{row['space']} version {row['version']} has {people} people")
        if row["version"] != len(versions) + 1:
            self.report(f"version {row['version']} of {row['space']} follows {len(versions)}")
        versions.append(Published(row["version"], people, row["sessions"], row["as_of"]))

    def _dropped(self, records: list[dict[str, Any]]) -> None:
        self.needs_cleanup = self.dropped = True
        self.journal.add_dropped(records)

    # ------------------------------------------------------------------------------------- actions

    def arrive(self, space: str, person: int, *, signed_in: bool = False) -> Visitor:
        """A person opens a tab."""
        system: Any = Native()
        if space.startswith("link:"):
            system = Link()
        elif space == "site:main" and self.random.random() < 0.3:
            system = Traffic()
        page = "1" if isinstance(system, Link) else "/"
        identity = Identity(f"v{person}", f"u{person}" if signed_in else None, page)
        if not isinstance(system, Link) and self.random.random() < 0.2:
            identity = Identity(None, identity.user, page)
        visitor = Visitor(
            self.fleet,
            self.oracle,
            self.kinds,
            session=f"s{next(self._names)}",
            space=space,
            system=system,
            identity=identity
            if not isinstance(system, Link)
            else Identity(f"v{person}", None, page),
            token=lambda user: token(sub=user),
            report=self.report,
        )
        self.visitors.append(visitor)
        visitor.beat()
        return visitor

    def change(self, visitor: Visitor) -> None:
        """A visitor changes page, state or facets."""
        page = str(self.random.randint(1, 3))
        if isinstance(visitor.system, Native):
            state = self.random.choice(("active", "active", "hidden"))
            facets = self.random.choice(((), (("plan", "free"),), (("plan", "paid"),)))
            visitor.beat(page=f"/{page}", state=state, facets=facets)
        else:
            visitor.beat(page=page)

    def chat(self, visitor: Visitor) -> None:
        """A visitor sends a chat message, which a beat reports."""
        visitor.beat(chats=visitor.identity.chats + isinstance(visitor.system, Native))

    def identify(self, visitor: Visitor, person: int | None, *, verified: bool) -> None:
        """A visitor signs in or out."""
        if not isinstance(visitor.system, Link):
            user = None if person is None else f"u{person}"
            # A session with a verified user keeps sending a token.
            verified = (verified or visitor.proven) and isinstance(visitor.system, Native)
            visitor.beat(user=user, verified=verified and user is not None)

    def unload(self, visitor: Visitor) -> None:
        """A visitor closes the page while a beat may be under way."""
        visitor.beat()
        self.loop.run(self.loop.now + self.random.randint(0, 30))
        visitor.leave(overtaking=True, may_return=self.random.random() < 0.5)

    def navigate(self, visitor: Visitor) -> None:
        """A visitor's page closes; usually the tab is back soon, on the next page."""
        if not visitor.leave(may_return=True):
            return

        def load() -> None:
            if self.faults.on:
                visitor.beat(page=f"/{self.random.randint(1, 3)}")

        if isinstance(visitor.system, Native) and self.random.random() < 0.8:
            self.loop.at(self.loop.now + self.random.choice((50, 900, 3_000, 12_000)), load)

    def watch(self) -> Dashboard:
        """An admin opens a dashboard."""
        name = f"dashboard{next(self._names)}"
        admin = token(headcount="admin")
        dashboard = Dashboard(self.fleet, self.gateway, name, admin, self.report)
        self.dashboards.append(dashboard)
        dashboard.wanted.add(self.random.choice(self.topics))
        dashboard.connect()
        return dashboard

    def listen(self) -> Listener:
        """A page shows the count of a space that everybody may read."""
        name = f"listener{next(self._names)}"
        space = self.random.choice(PUBLIC)
        listener = Listener(self.fleet, self.gateway, name, space, self.report)
        self.listeners.append(listener)
        listener.connect()
        return listener

    def beat_late(self, visitor: Visitor) -> None:
        """A visitor sends a beat at the end of its lease, and another person joins at that time."""
        state = self.oracle.sessions.get((visitor.space, visitor.session))
        if state is None or state.beat is None or state.left is not None:
            return
        end, person = state.beat.ends[1], self.random.randint(1, 4)

        def act(action: Callable[[], object]) -> None:
            if self.faults.on:  # not while the simulation comes to rest
                action()

        arrival = partial(self.arrive, visitor.space, person)
        self.loop.at(end - self.random.randint(-500, 4_000), partial(act, visitor.beat))
        self.loop.at(end + self.random.randint(-500, 1_500), partial(act, arrival))

    def expire(self, *, lag: int) -> None:
        """TTL deletes what was due ``lag`` seconds ago."""
        if lag:
            self.faults.count(faults.TTL_LATE)
        self.store.expire(self.loop.now, lag=lag)
        for stream in self.streams.values():
            stream.wake()

    def daily(self) -> None:
        """Run the daily function now."""
        self.loop.start(lambda: self.fleet.invoke("daily", {}))

    def erase(self) -> None:
        """An admin erases a person who was never present: every table is searched, and no number
        may change."""

        def ask() -> None:
            body, request = {"userId": "nobody"}, self.fleet.new_id()
            outcome = self._ask_as_admin("POST", "/v1/erasures", body=body, request=request)
            if outcome.ok and outcome.value["statusCode"] == HTTPStatus.ACCEPTED:
                self.erasures.append(Answer.of(outcome.value).body["id"])

        self.loop.start(ask)

    def _ask_as_admin(self, method: str, path: str, **fields: Any) -> Outcome:
        headers = {"authorization": f"Bearer {token(headcount='admin')}"}
        function = template().function_of(method, path)
        return self.fleet.invoke(function, http_event(method, path, headers=headers, **fields))

    def wait(self, millis: int, *, without_cleanup: bool = False) -> None:
        """Let time pass."""
        if without_cleanup:
            self.minutes.paused_until = self.loop.now + millis
        self.loop.run(self.loop.now + millis)

    # ---------------------------------------------------------------------------------------- rest

    def settle(self) -> None:
        """Stop the faults, and run until everything is at rest, without the cleanup."""
        self.faults.on = False
        self.minutes.paused_until = self.loop.now + HOUR
        self._drain()

    def run_cleanup(self) -> None:
        """Let the cleanup run twice, while the visitors keep sending beats."""
        for _ in range(_MOST_ROUNDS):
            self._run_cleanup_twice()
            since = self.loop.now
            self.settle()
            # Settling has no beats and no cleanup: a lease may have run out unnoticed.
            took = self.loop.now - since
            if not self.oracle.unclear(self.loop.now, published_within=_NOTICED_WITHIN + took):
                return
        self.report("a lease ran out each time the simulation came to rest")

    def _run_cleanup_twice(self) -> None:
        self._beating = True
        self.minutes.paused_until = 0
        self._beat_all()
        self.wait(2 * MINUTE + 10 * SECOND)
        for _ in range(20):
            if not self.oracle.unclear(self.loop.now, published_within=_NOTICED_WITHIN):
                break
            self.wait(20 * SECOND)
        if self.needs_cleanup:  # an empty space's views may wait until its rows are deleted
            self.wait(BINNED_WITHIN)
        self._beating = False
        self.needs_cleanup = False

    def resume_faults(self) -> None:
        """Start the faults again."""
        self.minutes.paused_until = 0
        self.faults.on = True

    def _drain(self) -> None:
        if not self.loop.drain(self.loop.now + _LONGEST_DRAIN):
            self.report(f"{self.loop.busy} tasks do not end")

    def _keep_beating(self) -> None:
        self.loop.at(self.loop.now + _KEEP_BEATING, self._keep_beating)
        if self._beating:
            self._beat_all()

    def _beat_all(self) -> None:
        for visitor in self.visitors:
            if visitor.wanted:
                visitor.beat()

    # --------------------------------------------------------------------------------------- reads

    @property
    def topics(self) -> list[str]:
        """What a dashboard may subscribe to."""
        return [*SPACES, *map(rollup_id, ROLL_UPS if self.parameters["RollUps"] else ())]

    @property
    def used(self) -> list[str]:
        """The spaces that had a visit or a version."""
        return [space for space in SPACES if self.journal.of(space) or self.published[space]]

    def get(self, path: str, **query: str) -> Any:
        """Read as an admin."""
        return self._read("GET", path, query=query or None)

    def look_up(self, people: Sequence[str]) -> Any:
        """Look people up as an admin."""
        return self._read("POST", "/v1/people/lookup", body={"people": [*people]}).get("people", [])

    def _read(self, method: str, path: str, **fields: Any) -> Any:
        answers: list[Any] = []

        def ask() -> None:
            outcome = self._ask_as_admin(method, path, **fields)
            answers.append(Answer.of(outcome.value) if outcome.ok else outcome.error)

        self.loop.start(ask)
        self._drain()
        (answer,) = answers
        if not isinstance(answer, Answer) or answer.status != 200:
            self.report(f"{method} {path} was answered {answer}")
            return {}
        return answer.body


@contextmanager
def simulated(
    random: Random, *, roll_ups: bool = False, look_ups: bool = True
) -> Iterator[Simulation]:
    """A simulation without logs, which are about injected faults; it restores what it patches."""
    logging.disable(logging.CRITICAL)
    pages = erasing.PAGES
    erasing.PAGES = 1  # as for large tables, erase in many runs of the function
    try:
        yield Simulation(random, roll_ups=roll_ups, look_ups=look_ups)
    finally:
        erasing.PAGES = pages
        logging.disable(logging.NOTSET)
        replace_services(None)
