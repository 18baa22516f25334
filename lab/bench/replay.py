"""A replay of a space's visitors: the real handlers, on a simulated clock.

The number of visitors is constant: when one leaves, another joins. Every moment is therefore like
any other, and a window of some minutes represents an hour.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from headcount.model.intervals import BY_SIZE, by_size
from headcount.store.attributes import encode
from headcount.times import DAY, HOUR, MINUTE, SECOND, day_of, day_start

from lab.bench import extras
from lab.bench.ledger import PUSHES, ROLL_UPS, BilledWorld, Ledger, Part
from lab.bench.prices import Prices
from lab.bench.timeline import Timeline
from lab.harness.engines import Engine
from lab.harness.events import http_event, path_of, socket_event
from lab.harness.sizes import item_size
from lab.harness.template import template
from lab.harness.world import SITE, Answer

BEAT_EVERY = 30.0
LONGEST_SILENCE = 540.0
"""Seconds for which the client lets a connection be silent."""
LONGEST_SOCKET = 6300.0
"""Seconds after which it replaces a connection."""
LOST, DONE = 1006, 1000
"""Close codes: the network failed, the client closed the connection."""
PAGE_EVERY = 300.0
PAGES = 60
CRASHES = 0.1
"""One of ten visits ends without a leave."""

DASHBOARD_READS_EVERY = 3.0
"""Seconds at least between a dashboard's reads of its first hundred sessions."""

_INDEXED = 100
"""Bytes that DynamoDB stores in addition to each item."""

_TRIES = 3
"""How often a batch is tried; Lambda tries more often."""

_LOOK_EVERY = 10 * SECOND
"""Streams are read when something was written that may wake their functions, and this often."""


@dataclass
class Visitor:
    """A visitor of the space. Times are epoch milliseconds."""

    number: int
    ends_at: float
    crashes: bool
    page: int
    beats: int
    """Steady beats so far, counted from a random number."""
    changes_page_at: float = 0
    beats_at: float = 0
    seq: int = 0
    interval: float = BEAT_EVERY
    """Seconds until the next beat, as the last answer asked for."""
    connections: int = 0
    connected_at: int = 0

    @property
    def session(self) -> str:
        return str(UUID(int=(self.number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))

    def fields(self) -> dict[str, Any]:
        """The fields of the client's next beat."""
        self.seq += 1
        fields: dict[str, Any] = {
            "sessionId": self.session,
            "visitorId": str(UUID(int=self.number * 0xD1B54A32D192ED03 + 2**100)),
            "page": f"/guides/{self.page:02d}/how-things-are-done",
            "facets": {
                "device": ("desktop", "mobile", "tablet")[self.number % 5 // 2],
                "country": ("DE", "US", "FR", "GB", "IN", "BR", "JP")[self.number % 7],
            },
            "state": "active",
            "seq": self.seq,
        }
        if self.number % 3 == 0:
            fields["userId"] = f"user-{self.number:08d}"
            fields["name"] = f"Person Number {self.number}"
        return fields


class Transport(Protocol):
    """How a client reports presence: what it sends, and how that is entered."""

    @property
    def name(self) -> str:
        """The name in titles."""

    def interval(self, viewers: int) -> float:
        """Seconds between two beats in a space of that size."""

    def wait(self, chance: float, interval: float = BEAT_EVERY) -> float:
        """Seconds until the next beat, with the client's jitter from ``chance`` (0 to 1), where the
        server asked for ``interval``."""

    def join(self, world: BilledWorld, visitor: Visitor) -> None:
        """Join."""

    def beat(self, world: BilledWorld, visitor: Visitor) -> None:
        """Send a steady beat."""

    def change_page(self, world: BilledWorld, visitor: Visitor) -> None:
        """Report another page."""

    def leave(self, world: BilledWorld, visitor: Visitor) -> None:
        """Leave."""

    def crash(self, world: BilledWorld, visitor: Visitor) -> None:
        """End without a leave."""

    def enter_time(self, bill: Ledger, *, viewers: int, seconds: float) -> None:
        """Enter what is billed by time."""


@dataclass(frozen=True)
class ByHttp:
    """Beats over the HTTP API, as often as the server says."""

    name: str = "by HTTP"

    def interval(self, viewers: int) -> float:
        """As the server says while few visits are lost."""
        return by_size(viewers)

    def wait(self, chance: float, interval: float = BEAT_EVERY) -> float:
        """Up to a twentieth more than the interval, as in headcount.js."""
        return interval * (1 + chance / 20)

    def join(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "joins", visitor)
        world.bill.add("joins", bytes_out=world.bill.prices.assumed["handshake"])

    def beat(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "beats", visitor)

    def change_page(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "page changes", visitor, changed=True)

    def leave(self, world: BilledWorld, visitor: Visitor) -> None:
        visitor.seq += 1
        fields = {"sessionId": visitor.session, "seq": visitor.seq}
        self._post(world, "leaves", f"{_PRESENCE}/leave", fields)

    def crash(self, world: BilledWorld, visitor: Visitor) -> None:
        """Send nothing; the cleanup ends the session."""

    def enter_time(self, bill: Ledger, *, viewers: int, seconds: float) -> None:
        """Nothing is billed by time."""

    def _beat(self, world: BilledWorld, part: str, visitor: Visitor, **more: bool) -> None:
        answer = self._post(world, part, _PRESENCE, visitor.fields() | more)
        visitor.interval = answer.body["nextBeatIn"]

    def _post(self, world: BilledWorld, part: str, path: str, body: Mapping[str, Any]) -> Answer:
        event = http_event("POST", path, body=dict(body), request=world.request_id())
        answer = Answer.of(world.ask(part, event, caller=str(body["sessionId"])))
        if answer.status != 200:
            raise RuntimeError(f"{part}: {answer}")
        return answer


@dataclass(frozen=True)
class BySocket:
    """An open connection, with a beat at each page change and before it is silent too long."""

    name: str = "by socket"
    listens: bool = False
    """Each connection also listens to the count."""

    def interval(self, viewers: int) -> float:  # noqa: ARG002 - the same for all
        """Nearly as long as the connection may be silent."""
        return LONGEST_SILENCE * 0.95

    def wait(self, chance: float, interval: float = BEAT_EVERY) -> float:  # noqa: ARG002
        """Up to a tenth less than the longest silence, as in headcount.js."""
        return LONGEST_SILENCE * (0.9 + chance / 10)

    def join(self, world: BilledWorld, visitor: Visitor) -> None:
        self._connect(world, "joins", visitor)

    def beat(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "beats", visitor)

    def change_page(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "page changes", visitor, changed=True)

    def leave(self, world: BilledWorld, visitor: Visitor) -> None:
        self._disconnect(world, "leaves", _connection(visitor), DONE)

    def crash(self, world: BilledWorld, visitor: Visitor) -> None:
        """The gateway notices, and reports a lost connection."""
        self._disconnect(world, "leaves", _connection(visitor), LOST)

    def enter_time(self, bill: Ledger, *, viewers: int, seconds: float) -> None:
        """Connections are billed by the minute."""
        bill.add("connections", times=viewers, socket_minutes=viewers * seconds / 60)

    def _beat(self, world: BilledWorld, part: str, visitor: Visitor, **more: bool) -> None:
        if world.clock() - visitor.connected_at >= LONGEST_SOCKET * SECOND:
            before = _connection(visitor)
            self._connect(world, part, visitor, **more)
            self._disconnect(world, part, before, DONE)
            return
        body = json.dumps({"action": "beat", **visitor.fields(), **more})
        world.bill.add(part, socket_messages=1)
        self._invoke(world, part, "MESSAGE", _connection(visitor), body=body)

    def _connect(self, world: BilledWorld, part: str, visitor: Visitor, **more: bool) -> None:
        visitor.connections += 1
        visitor.connected_at = world.clock()
        fields = {"space": SITE, **visitor.fields(), **more}
        if self.listens:
            fields["listen"] = "count"
        query = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }
        self._invoke(world, part, "CONNECT", _connection(visitor), query=query)
        assumed = world.bill.prices.assumed
        world.bill.add(part, bytes_out=assumed["handshake"] + assumed["response_overhead"])

    def _disconnect(self, world: BilledWorld, part: str, connection: str, code: int) -> None:
        self._invoke(world, part, "DISCONNECT", connection, code=code)

    def _invoke(
        self, world: BilledWorld, part: str, kind: str, connection: str, **fields: Any
    ) -> None:
        world.part = part
        event = socket_event(kind, connection, request=world.request_id(), **fields)
        answer = world.invoke("socket", event)
        if answer != {"statusCode": 200}:
            raise RuntimeError(f"{part}: {answer}")


def _connection(visitor: Visitor) -> str:
    """A connection id as long as the gateway's."""
    return f"{visitor.number:010x}{visitor.connections:05x}="


_PRESENCE = f"{path_of(SITE)}/presence"


@dataclass(frozen=True)
class Scenario:
    """How many viewers, for how long, and by which transport."""

    viewers: int
    seconds: int
    visit_seconds: int = 3600
    transport: Transport = field(default_factory=ByHttp)
    sample: int = 1
    """Of this many steady beats of a visitor, one is sent and the others are entered like it.
    Leases are longer by the same factor, so that sessions stay live."""
    seed: int = 1
    people: bool = True
    """People can be looked up."""
    roll_ups: bool = False
    """People are counted across spaces."""
    settles: int = 0
    """Seconds before the window in which they are all there: so long they have pushed already."""

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that differ from the template's defaults."""
        # With this limit, two dashboards are a large audience.
        ours = {"Limits": "inline-fanout=1", **extras.PARAMETERS}
        if not self.people:
            ours["Settings"] = "people=off"
        if self.roll_ups:
            ours["RollUps"] = "on"
        if self.sample == 1:
            return ours
        kinds = template().defaults["Kinds"]
        lease = round(self.transport.wait(1.0, BY_SIZE[-1][1]) * (self.sample + 1))
        return {"Kinds": kinds.replace("site:", f"site:lease={lease},", 1), **ours}

    @property
    def viewer_hours(self) -> float:
        return self.viewers * self.seconds / 3600

    @property
    def title(self) -> str:
        return (
            f"{self.viewers:,} viewers for {_long(self.seconds)}, "
            f"visits of {_long(self.visit_seconds)}, {self.transport.name}"
        )


def _long(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds / 3600:g} h"


@dataclass
class Outcome:
    """A replay's scenario and ledger."""

    scenario: Scenario
    ledger: Ledger


def count_read_units(rate: float) -> float:
    """Read units per request for the published count, in a process that serves ``rate`` requests a
    second and caches the count for one second."""
    return 0.5 / (1 + rate)


def replay(engine: Engine, scenario: Scenario, prices: Prices) -> Outcome:
    """Play a scenario on an engine that reports units, and enter everything in a ledger."""
    ledger = Ledger(prices)
    world = BilledWorld(engine, Timeline(), ledger, **scenario.parameters)
    try:
        with world.metered():
            Replay(world, scenario).play()
    finally:
        world.close()
    outcome = Outcome(scenario, ledger)
    ledger.require_every_function()
    return outcome


_WATCHED, _WATCHED_AT_LEAST = 6, 60
"""The share of a window, and the seconds, for which there is a dashboard."""


class Replay:
    """A scenario's visitors, and what their messages set off."""

    def __init__(self, world: BilledWorld, scenario: Scenario) -> None:
        self.world = world
        self.agenda = world.agenda
        self.scenario = scenario
        self.transport = scenario.transport
        self.random = random.Random(scenario.seed)  # noqa: S311 - a script, not a secret
        self.visitors = 0
        self.open = True
        world.left_deferred = self._queue_deferred
        self.publish = _Trigger(world, "publish", "publishes", lambda: None)
        self.count = _Trigger(world, "count", "recounts", self.publish.poke)

    def play(self) -> None:
        """Play the warm-up, the measured window, a time with a dashboard, and the extras."""
        come = self.agenda.now + round(PAGE_EVERY * SECOND)
        start = come + self.scenario.settles * SECOND
        end = start + self.scenario.seconds * SECOND
        watched = end + max(_WATCHED_AT_LEAST, self.scenario.seconds // _WATCHED) * SECOND
        for _ in range(self.scenario.viewers):
            self._add_visitor(come)
        for at in range(come + 5 * SECOND, watched, MINUTE):
            self.agenda.at(at, self._sweep)
        for at in range(come, watched, _LOOK_EVERY):
            self.agenda.at(at, self.count.poke)
        self.agenda.run_until(start)
        self.world.bill.on = True
        self.agenda.run_until(end)
        self._play_watched(end, watched)
        self.open = False
        self._enter_unsent()
        self.transport.enter_time(
            self.world.bill, viewers=self.scenario.viewers, seconds=self.scenario.seconds
        )
        self._enter_storage()
        self._end_of_day()
        self.world.bill.on = False
        self._play_extras()

    # ------------------------------------------------------------------------------- visitors

    def _add_visitor(self, start: int) -> None:
        """Add a visitor who is present when the window begins, at a random moment of the visit."""
        visitor = self._visitor(start + self.random.random() * self.scenario.visit_seconds * SECOND)
        changed_page = start - self.random.random() * PAGE_EVERY * SECOND
        visitor.changes_page_at = changed_page + PAGE_EVERY * SECOND
        first = changed_page  # then the last beat before the start
        while (then := first + self._wait(visitor)) <= start:
            first = then
        self.agenda.at(first, lambda: self._join(visitor))

    def _wait(self, visitor: Visitor) -> float:
        """Milliseconds until a visitor's next beat."""
        return self.transport.wait(self.random.random(), visitor.interval) * SECOND

    def _visitor(self, ends_at: float) -> Visitor:
        self.visitors += 1
        page = min(int(self.random.paretovariate(0.7)), PAGES)
        crashes = self.random.random() < CRASHES
        return Visitor(self.visitors, ends_at, crashes, page, self.random.randrange(10**6))

    def _join(self, visitor: Visitor) -> None:
        self.transport.join(self.world, visitor)
        self.count.poke()
        self._resume(visitor)

    def _resume(self, visitor: Visitor) -> None:
        visitor.beats_at = self.agenda.now + self._wait(visitor)
        due = min(visitor.beats_at, visitor.changes_page_at, visitor.ends_at)
        self.agenda.at(due, lambda: self._act(visitor))

    def _act(self, visitor: Visitor) -> None:
        if not self.open:
            return
        if self.agenda.now >= round(visitor.ends_at):
            self._end(visitor)
        elif self.agenda.now >= round(visitor.changes_page_at):
            visitor.changes_page_at += PAGE_EVERY * SECOND
            visitor.page = visitor.page % PAGES + 1
            self.transport.change_page(self.world, visitor)
            self.count.poke()
            self._resume(visitor)
        else:
            visitor.beats += 1
            if visitor.beats % self.scenario.sample == 0:
                self.transport.beat(self.world, visitor)
            else:
                self.world.bill.counts["unsent"] += self.world.bill.on
            self._resume(visitor)

    def _end(self, visitor: Visitor) -> None:
        self.world.bill.counts["visits"] += self.world.bill.on
        if visitor.crashes:
            self.transport.crash(self.world, visitor)
        else:
            self.transport.leave(self.world, visitor)
        successor = self._visitor(self.agenda.now + self.scenario.visit_seconds * SECOND)
        successor.changes_page_at = self.agenda.now + self.random.random() * PAGE_EVERY * SECOND
        self._join(successor)

    def _enter_unsent(self) -> None:
        """Enter the steady beats that were not sent, like those that were."""
        part = self.world.bill.parts["beats"]
        sent, unsent = part.times, self.world.bill.counts["unsent"]
        if not unsent:
            return
        by = (sent + unsent) / sent
        part.times += unsent
        part.cpu *= by
        part.usage = part.usage.times(by)
        part.operations = part.operations.times(by)
        part.calls_of = part.calls_of.times(by)
        part.saved_header_bytes = round(part.saved_header_bytes * by)
        # A process reads the published count at most once a second, at any rate of requests.
        reads = part.times * count_read_units(
            self.scenario.viewers / self.transport.interval(self.scenario.viewers)
        )
        part.usage["read_units"] = part.operations["GetItem", "headcounts"] = reads

    def _enter_storage(self) -> None:
        """Enter the storage of the window's visits, each for a week."""
        ledger = self.world.bill
        for role in ("presence", "visits", "counts"):
            rows = self.world.tables[role].rows()
            ledger.row_sizes[role] = sum(item_size(encode(row)) for row in rows) / len(rows)
        size = ledger.row_sizes["visits"] + _INDEXED
        visits, months = ledger.counts["visits"], ledger.prices.assumed["visit_kept"]
        ledger.add("visits", stored_gb_months=visits * size / 1e9 * months)

    # ------------------------------------------------------------------- schedules and queues

    def _sweep(self) -> None:
        def sweep() -> None:
            self.world.part = "sweeps"
            self.world.bill.add("sweeps", schedules=1)
            self.world.sweep()
            self.count.poke()
            self.publish.poke()

        self.agenda.spawn(sweep)

    def _queue_deferred(self) -> None:
        """Schedule the queued tasks for when they are due, each in its own invocation."""
        queue, now = self.world.queue, self.agenda.now
        delays = queue.delays[-len(queue.deferred) :]
        for task, delay in zip(queue.deferred, delays, strict=True):
            self.agenda.at(now + delay * SECOND, partial(self._run_one_deferred, task))
        queue.deferred.clear()

    def _run_one_deferred(self, task: dict[str, Any]) -> None:
        parts = {"recount": "recounts", "roll up": ROLL_UPS, "greet": PUSHES, "push": PUSHES}
        part = parts.get(json.loads(task["body"])["do"], "deferred")

        def run() -> None:
            self.world.part = part
            self.world.invoke("deferred", {"Records": [task]})
            self.world.part = PUSHES
            self.world.fan_out()
            self.publish.poke()

        self.agenda.spawn(run)

    def _end_of_day(self) -> None:
        """Enter the daily run, with the window's share of the visits."""
        ledger, agenda = self.world.bill, self.agenda
        agenda.now = day_start(day_of(agenda.now)) + DAY + HOUR
        self.world.part = "days"
        agenda.spawn(self._daily)
        ledger.add("days", schedules=1)
        share = ledger.counts["visits"] / self.visitors
        part = ledger.parts["days"]
        part.usage, part.operations = part.usage.times(share), part.operations.times(share)

    def _daily(self) -> None:
        self.world.daily()

    # ----------------------------------------------------------------------------- dashboards

    def _play_watched(self, start: int, end: int) -> None:
        """Go on with a dashboard, and enter for it what it adds in a time as long as the window:
        its own requests, and the recounts and versions that are made because it watches."""
        ledger = self.world.bill
        alone, counts = ledger.parts, ledger.counts.copy()
        ledger.parts = defaultdict(Part)
        self._watch(start, end)
        self.agenda.run_until(end)
        with_it, ledger.parts, ledger.counts = ledger.parts, alone, counts
        by = self.scenario.seconds * SECOND / (end - start)
        part = ledger.parts["dashboards"] = with_it["dashboards"]
        part.times = round(part.times * by)
        part.cpu, part.slept = part.cpu * by, part.slept * by
        part.operations, part.usage = part.operations.times(by), part.usage.times(by)
        part.calls_of = part.calls_of.times(by)
        for name in ("recounts", "publishes"):
            part.usage.add(with_it[name].usage.times(by))
            part.usage.add(alone[name].usage.times(-1))

    def _watch(self, start: int, end: int) -> None:
        """Open a dashboard."""
        world, ledger = self.world, self.world.bill
        for name in ("", "/dashboard.css", "/dashboard.js", "/config.json"):
            headers = {"accept-encoding": "gzip"}
            event = http_event("GET", f"/dashboard{name}", headers=headers)
            world.ask("dashboards", event, caller="dashboard-1")
        world.part = "dashboards"
        world.subscribe("dashboard-1")
        minutes = (end - start) / MINUTE
        ledger.add("dashboards", times=-1, socket_messages=1, socket_minutes=minutes)
        last_read = [0]

        def read() -> None:
            versions = len(world.management.frames["dashboard-1"])
            if versions != last_read[0]:
                last_read[0] = versions
                self._read("/viewers", limit="100")

        def leave() -> None:
            world.part = "dashboards"
            world.disconnect("dashboard-1")

        for at in range(start, end, round(DASHBOARD_READS_EVERY * SECOND)):
            self.agenda.at(at, read)
        for at in range(start, end, MINUTE):
            self.agenda.at(at, lambda: self._read("/timeline"))
        self.agenda.at(end, leave)

    def _read(self, tail: str, **query: str) -> None:
        headers = {"authorization": f"Bearer {self.world.admin}"}
        path = f"{path_of(SITE)}{tail}"
        event = http_event("GET", path, query=query, headers=headers)
        answer = Answer.of(self.world.ask("dashboards", event, caller="dashboard-1"))
        if answer.status != 200:
            raise RuntimeError(f"{tail}: {answer}")

    def _play_extras(self) -> None:
        """Invoke the functions that viewer-hours don't need."""
        self.agenda.spawn(lambda: extras.play(self.world))
        # Posts that wait for their turn end, too.
        self.agenda.run_until(self.agenda.now + HOUR)


class _Trigger:
    """Invokes a stream function as Lambda does: with batches, one at a time."""

    def __init__(
        self, world: BilledWorld, function: str, part: str, done: Callable[[], None]
    ) -> None:
        self._world = world
        self._function = function
        self._part = part
        self._done = done
        (source,) = template().events(function, "DynamoDB")
        self._size = int(source["BatchSize"])
        self._window = int(source["MaximumBatchingWindowInSeconds"]) * SECOND
        self._delay = world.bill.prices.assumed["stream_delay"] * SECOND
        self._waiting: list[dict[str, Any]] = []
        self._looking = self._armed = self._busy = False

    def poke(self) -> None:
        """Read the stream soon: something was written that may pass the filter."""
        if not self._looking:
            self._looking = True
            self._world.agenda.at(self._world.agenda.now + self._delay, self._look)

    def _look(self) -> None:
        self._looking = False
        self._waiting += self._world.filtered(self._function)
        if self._waiting and not self._busy and not self._armed:
            self._armed = True
            window = 0 if len(self._waiting) >= self._size else self._window
            self._world.agenda.at(self._world.agenda.now + window, self._fire)

    def _fire(self) -> None:
        self._armed, self._busy = False, True
        self._waiting += self._world.filtered(self._function)
        batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        self._world.agenda.spawn(lambda: self._run(batch))

    def _run(self, batch: list[dict[str, Any]]) -> None:
        self._world.part = self._part
        deliver = self._world.count if self._function == "count" else self._world.publish
        for left in reversed(range(_TRIES)):
            try:
                deliver(batch)
                break
            except RuntimeError:  # of two that publish a space at once, one fails
                if not left:
                    raise
                self._world.part = self._part
        self._world.part = PUSHES  # the only dashboard is not sent chunks
        self._world.fan_out()
        self._busy = False
        self._done()
        self.poke()
