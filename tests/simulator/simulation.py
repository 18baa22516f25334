"""The whole pipeline in one process and one thread, and what may be done to it."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any

import jwt
from headcount.alerts import Milestone
from headcount.clients import replace_services
from headcount.spaces import Kinds
from headcount.store.attributes import decode
from headcount.store.counts import CountsTable
from headcount.times import HOUR, MINUTE, SECOND, parse_iso

from tests.simulator import faults
from tests.simulator.aws import DynamoDB, Remote, Secrets
from tests.simulator.faults import Faults
from tests.simulator.loop import Loop
from tests.simulator.oracle import Journal, Oracle
from tests.simulator.processes import Fleet, Process
from tests.simulator.sockets import Dashboard, Gateway
from tests.simulator.sources import Bus, Minutes, Queues, Stream, by_item, by_space
from tests.simulator.visitors import Link, Native, Traffic, Visitor, Who
from tests.support.events import http_event
from tests.support.fakes import SECRET
from tests.support.memory import MemoryDynamoDB
from tests.support.telling import Follower
from tests.support.template import template
from tests.support.world import Answer

KINDS = "site:lease=100,counts=public link:lease=160,counts=public room:lease=120"
SPACES = ("site:main", "link:a", "room:r1")
STARTS = (
    "2026-11-21T12:00:00Z",
    "2026-11-20T23:57:30Z",
    "2026-11-22T23:58:00Z",  # a week ends
    "2026-11-30T23:56:00Z",  # a month
    "2026-12-31T23:58:30Z",  # a year
)
BINNED_WITHIN = 6 * MINUTE
FEW = 2
"""People from which on a milestone is told."""
_KEEP_BEATING = 45 * SECOND
_LONGEST_DRAIN = 3 * HOUR
_FOREVER = 4_000_000_000  # tokens don't run out while tests run


@dataclass(frozen=True, slots=True)
class Published:
    """A version as it was stored."""

    version: int
    people: int
    sessions: int
    at: int


@cache
def token(**claims: Any) -> str:
    """A token of this deployment."""
    return jwt.encode({"exp": _FOREVER, **claims}, SECRET, algorithm="HS256")


class Simulation:
    """A deployment, its visitors and dashboards, and everything that goes wrong.

    All that is not said by whoever calls is drawn from ``random``: the same calls and the same
    seed make the same run.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.trace: list[tuple[int, str]] = []
        self.problems: list[str] = []
        self.loop = Loop(parse_iso(random.choice(STARTS)))
        self.faults = Faults(random, self.note)
        self.parameters = {
            "Kinds": KINDS,
            "ShardsPerSpace": str(random.choice((1, 1, 2, 3))),
            "InlineFanout": str(random.choice((1, 100, 100))),
            "PostsPerSecond": str(random.choice((16, 4_000, 4_000))),
            "EventBus": random.choice(("", "", "default")),
        }
        self.fleet = Fleet(self.loop, self.faults, self.parameters, self._wire, self.note)
        # Seldom one row, for which a space is as many: with the others, one space or several.
        self.fleet.rows_at_once = random.choice((None, None, 1, 15, 25))
        self.kinds = Kinds(KINDS)
        self.store = MemoryDynamoDB(lambda: self.loop.now)
        self.store.lag = random.choice((0, 0, 300, 1_500))
        self.store.batch_rows = random.choice((1, 2, 100))
        self._create_tables()
        self.tells = bool(self.parameters["EventBus"])
        if self.tells:
            counts = CountsTable(self.store.client, "counts", day_rows_days=400)
            for space in SPACES:
                counts.put_rule(space, Milestone("a few", FEW))
        self.oracle = Oracle()
        self.journal = Journal()
        self.published: dict[str, list[Published]] = defaultdict(list)
        self.gateway = Gateway(self.fleet)
        self.queues = Queues(self.fleet)
        self.bus = Bus(self.fleet)
        self.untold: list[dict[str, Any]] = []
        """Records that ``events`` will never see."""
        self.followers: dict[str, Follower] = {}
        self.minutes = Minutes(self.fleet)
        self.streams = {
            "presence": Stream(
                self.fleet,
                "presence",
                "count",
                read=self._reader("presence"),
                shard_of=by_item(random.choice((1, 1, 3))),
                seen=self.journal.wrote,
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
        for role, shard_of in {**splits, "history": by_space}.items() if self.tells else ():
            self.streams[role] = Stream(
                self.fleet,
                role,
                "events",
                read=self._reader(role),
                shard_of=shard_of,
                seen=lambda _: None,
                dropped=self.untold.extend,
            )
        self.visitors: list[Visitor] = []
        self.dashboards: list[Dashboard] = []
        self._names = itertools.count(1)
        self._beating = False
        self.in_need = False
        """Records were dropped: it takes the cleanup to make good for them."""
        self.loop.at(self.loop.now + _KEEP_BEATING, self._keep_beating)

    # -------------------------------------------------------------------------------------- wiring

    def note(self, text: str) -> None:
        """Keep a line for the trace."""
        self.trace.append((self.loop.now, text))

    def report(self, problem: str) -> None:
        """A miscount, or anything else that must not be."""
        self.problems.append(problem)
        self.note(f"PROBLEM {problem}")

    @property
    def digest(self) -> str:
        """Equal for equal runs."""
        return hashlib.blake2b(repr(self.trace).encode(), digest_size=12).hexdigest()

    def _create_tables(self) -> None:
        for role, unresolved in template().tables.items():
            spec = template().resolve(unresolved, **self.parameters)
            known = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
            asked = {key: spec[key] for key in known if key in spec}
            if "StreamSpecification" in spec:
                stream = {"StreamEnabled": True, **spec["StreamSpecification"]}
                asked["StreamSpecification"] = stream
            self.store.client.create_table(TableName=role, **asked)
            if "TimeToLiveSpecification" in spec:
                ttl = spec["TimeToLiveSpecification"]
                self.store.client.update_time_to_live(TableName=role, TimeToLiveSpecification=ttl)

    def _wire(self, process: Process) -> None:
        wired: Any = process.services
        wired.dynamodb = DynamoDB(process, self.store.client, self._written)
        # The courier has retries of its own: clients.py asks botocore for none.
        posting = ("throttled", "timeout before the effect")
        wired.management = Remote(process, self.gateway, posting, attempts=1)
        wired.sqs = Remote(process, self.queues, faults.CALLS)
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
        # In the order of the tables: a set's is another in every process.
        for role in sorted({*roles, *params.get("RequestItems", ())} & self.streams.keys()):
            self.streams[role].wake()
        if operation == "put_item" and params["TableName"] == "headcounts":
            self._published(params["Item"])

    def _published(self, item: Any) -> None:
        if "version" not in item:
            return  # facets in a row of their own
        row = decode(item)
        people = row["signed_in"] + row["anonymous"]
        versions = self.published[row["space"]]
        self.note(f"{row['space']} version {row['version']} has {people} people")
        if row["version"] != len(versions) + 1:
            self.report(f"version {row['version']} of {row['space']} follows {len(versions)}")
        versions.append(Published(row["version"], people, row["sessions"], row["as_of"]))

    def _dropped(self, records: list[dict[str, Any]]) -> None:
        self.in_need = True
        self.journal.lost(records)

    # ------------------------------------------------------------------------------------- actions

    def arrive(self, space: str, person: int, *, signed_in: bool = False) -> Visitor:
        """Somebody comes, with a new tab."""
        wire: Any = Native()
        if space.startswith("link:"):
            wire = Link()
        elif space == "site:main" and self.random.random() < 0.3:
            wire = Traffic()
        page = "1" if isinstance(wire, Link) else "/"
        who = Who(f"v{person}", f"u{person}" if signed_in else None, page)
        if not isinstance(wire, Link) and self.random.random() < 0.2:
            who = Who(None, who.user, page)
        visitor = Visitor(
            self.fleet,
            self.oracle,
            self.kinds,
            session=f"s{next(self._names)}",
            space=space,
            wire=wire,
            who=who if not isinstance(wire, Link) else Who(f"v{person}", None, page),
            token=lambda user: token(sub=user),
            report=self.report,
        )
        self.visitors.append(visitor)
        visitor.beat()
        return visitor

    def change(self, visitor: Visitor) -> None:
        """It looks at something else."""
        page = str(self.random.randint(1, 3))
        if isinstance(visitor.wire, Native):
            state = self.random.choice(("active", "active", "hidden"))
            facets = self.random.choice(((), (("plan", "free"),), (("plan", "paid"),)))
            visitor.beat(page=f"/{page}", state=state, facets=facets)
        else:
            visitor.beat(page=page)

    def chat(self, visitor: Visitor) -> None:
        """It says something, which rides in a beat."""
        visitor.beat(chats=visitor.who.chats + isinstance(visitor.wire, Native))

    def identify(self, visitor: Visitor, person: int | None, *, verified: bool) -> None:
        """It signs in, or out."""
        if not isinstance(visitor.wire, Link):
            user = None if person is None else f"u{person}"
            # Whoever proved who they are must go on proving it.
            verified = (verified or visitor.proven) and isinstance(visitor.wire, Native)
            visitor.beat(user=user, verified=verified and user is not None)

    def unload(self, visitor: Visitor) -> None:
        """Its page is closed while a beat may be under way."""
        visitor.beat()
        self.loop.run(self.loop.now + self.random.randint(0, 30))
        visitor.leave(overtaking=True)

    def watch(self) -> Dashboard:
        """An admin opens a dashboard."""
        name = f"dashboard{next(self._names)}"
        admin = token(headcount="admin")
        dashboard = Dashboard(self.fleet, self.gateway, name, admin, self.report)
        self.dashboards.append(dashboard)
        dashboard.wanted.add(self.random.choice(SPACES))
        dashboard.connect()
        return dashboard

    def beat_late(self, visitor: Visitor) -> None:
        """It beats when its lease is about to end, and somebody else comes at that moment."""
        stay = self.oracle.stays.get((visitor.space, visitor.session))
        if stay is None or stay.said is None or stay.left is not None:
            return
        end, person = stay.said.ends[1], self.random.randint(1, 4)

        def act(deed: Callable[[], object]) -> None:
            if self.faults.on:  # or everything is meant to come to rest
                deed()

        came = partial(self.arrive, visitor.space, person)
        self.loop.at(end - self.random.randint(-500, 4_000), partial(act, visitor.beat))
        self.loop.at(end + self.random.randint(-500, 1_500), partial(act, came))

    def expire(self, *, lag: int) -> None:
        """TTL deletes what was due so many seconds ago."""
        if lag:
            self.faults.count(faults.TTL_LATE)
        self.store.expire(self.loop.now, lag=lag)
        for stream in self.streams.values():
            stream.wake()

    def daily(self) -> None:
        """The daily run, whatever the time."""
        self.loop.start(lambda: self.fleet.invoke("daily", {}))

    def wait(self, millis: int, *, without_cleanup: bool = False) -> None:
        """Let time pass."""
        if without_cleanup:
            self.minutes.paused_until = self.loop.now + millis
        self.loop.run(self.loop.now + millis)

    # ---------------------------------------------------------------------------------- quiescence

    def settle(self) -> None:
        """No more faults: let everything come to rest, without the cleanup's help."""
        self.faults.on = False
        self.minutes.paused_until = self.loop.now + HOUR
        self._drain()

    def calm(self) -> None:
        """Let the cleanup come round twice; those who mean to be here stay here."""
        self._beating = True
        self.minutes.paused_until = 0
        self._keep_beating_now()
        self.wait(2 * MINUTE + 10 * SECOND)
        for _ in range(20):
            if not self.oracle.unclear(self.loop.now, published_within=80 * SECOND):
                break
            self.wait(20 * SECOND)
        if self.in_need:  # the views of a space that is empty again may wait for its rows' bin
            self.wait(BINNED_WITHIN)
        self._beating = False
        self.in_need = False
        self.settle()

    def storm(self) -> None:
        """Faults again."""
        self.minutes.paused_until = 0
        self.faults.on = True

    def _drain(self) -> None:
        if not self.loop.drain(self.loop.now + _LONGEST_DRAIN):
            self.report(f"{self.loop.busy} are under way that don't come to an end")

    def _keep_beating(self) -> None:
        self.loop.at(self.loop.now + _KEEP_BEATING, self._keep_beating)
        if self._beating:
            self._keep_beating_now()

    def _keep_beating_now(self) -> None:
        for visitor in self.visitors:
            if visitor.wanted:
                visitor.beat()

    # --------------------------------------------------------------------------------------- reads

    @property
    def used(self) -> list[str]:
        """The spaces that anybody was in."""
        return [space for space in SPACES if self.journal.of(space) or self.published[space]]

    def get(self, path: str, **query: str) -> Any:
        """What an admin reads."""
        answers: list[Any] = []

        def ask() -> None:
            headers = {"authorization": f"Bearer {token(headcount='admin')}"}
            event = http_event("GET", path, headers=headers, query=query or None)
            outcome = self.fleet.invoke("api", event)
            answers.append(Answer.of(outcome.value) if outcome.ok else outcome.why)

        self.loop.start(ask)
        self._drain()
        (answer,) = answers
        if not isinstance(answer, Answer) or answer.status != 200:
            self.report(f"GET {path} came to {answer}")
            return {}
        return answer.body


@contextmanager
def simulated(random: Random) -> Iterator[Simulation]:
    """A simulation that leaves nothing behind; what it logs is about faults that are meant."""
    logging.disable(logging.CRITICAL)
    try:
        yield Simulation(random)
    finally:
        logging.disable(logging.NOTSET)
        replace_services(None)
