"""A space for a while, as it is lived in: the real handlers, on a clock that nobody waits for.

Every seat is taken all the time: whoever leaves is followed by another. So each moment is like any
other, and a window of minutes tells of an hour what the hour itself would.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote
from uuid import UUID

from headcount.store.attributes import encode
from headcount.times import DAY, HOUR, MINUTE, SECOND, day_of, day_start

from tests.bench import beside
from tests.bench.ledger import BilledWorld, Ledger
from tests.bench.prices import Prices
from tests.bench.timeline import Timeline
from tests.support.engines import Engine
from tests.support.events import http_event, socket_event
from tests.support.sizes import item_size
from tests.support.template import template
from tests.support.world import SITE, Answer

BEAT_EVERY = 30.0
LONGEST_SILENCE = 540.0
"""Seconds that the client lets a connection be silent."""
LONGEST_SOCKET = 6300.0
"""Seconds after which it opens another."""
LOST, DONE = 1006, 1000
"""Codes that a connection ends with: the network went, the client said so."""
PAGE_EVERY = 300.0
PAGES = 60
CRASHES = 0.1
"""One of ten visits ends without a leave."""

DASHBOARD_READS_EVERY = 3.0
"""Seconds at least between a dashboard's reads of its first hundred sessions."""

_INDEXED = 100
"""Bytes that DynamoDB stores beside each item."""

_LOOK_EVERY = 10 * SECOND
"""A stream is looked at when something was written that may wake its function, and this often."""


@dataclass
class Visitor:
    """Somebody in a space. Times are epoch milliseconds."""

    number: int
    ends_at: float
    crashes: bool
    page: int
    stays: int
    """Steady beats so far; where they begin to be counted is by chance."""
    moves_at: float = 0
    stays_at: float = 0
    seq: int = 0
    connections: int = 0
    connected_at: int = 0

    @property
    def session(self) -> str:
        return str(UUID(int=(self.number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))

    def says(self) -> dict[str, Any]:
        """What the client sends of them."""
        self.seq += 1
        said: dict[str, Any] = {
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
            said["userId"] = f"user-{self.number:08d}"
            said["name"] = f"Person Number {self.number}"
        return said


class Way(Protocol):
    """A way of being present: what a visitor's client sends, and how it is entered."""

    @property
    def name(self) -> str:
        """As titles have it."""

    @property
    def every(self) -> float:
        """Seconds between two signs of being there."""

    def wait(self, chance: float) -> float:
        """Seconds until the next one, as the client draws them by lot."""

    def join(self, world: BilledWorld, visitor: Visitor) -> None:
        """Arrive."""

    def stay(self, world: BilledWorld, visitor: Visitor) -> None:
        """Say that one is still there."""

    def move(self, world: BilledWorld, visitor: Visitor) -> None:
        """Be on another page from now on."""

    def leave(self, world: BilledWorld, visitor: Visitor) -> None:
        """Go, and say so."""

    def vanish(self, world: BilledWorld, visitor: Visitor) -> None:
        """Go, and say nothing."""

    def passed(self, bill: Ledger, *, viewers: int, seconds: float) -> None:
        """Enter what being there costs by itself."""


@dataclass(frozen=True)
class ByHttp:
    """A beat every 30 s over the HTTP API."""

    name: str = "by HTTP"
    every: float = BEAT_EVERY

    def wait(self, chance: float) -> float:
        """A little late, as headcount.js has it."""
        return self.every * (1 + chance / 20)

    def join(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "joins", visitor)
        world.bill.add("joins", bytes_out=world.bill.prices.assumed["handshake"])

    def stay(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "beats", visitor)

    def move(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "page changes", visitor, changed=True)

    def leave(self, world: BilledWorld, visitor: Visitor) -> None:
        visitor.seq += 1
        said = {"sessionId": visitor.session, "seq": visitor.seq}
        self._post(world, "leaves", f"{_PRESENCE}/leave", said)

    def vanish(self, world: BilledWorld, visitor: Visitor) -> None:
        """Nothing is sent; the cleanup will find out."""

    def passed(self, bill: Ledger, *, viewers: int, seconds: float) -> None:
        """Between beats nothing is paid for."""

    def _beat(self, world: BilledWorld, part: str, visitor: Visitor, **more: bool) -> None:
        self._post(world, part, _PRESENCE, visitor.says() | more)

    def _post(self, world: BilledWorld, part: str, path: str, said: Mapping[str, Any]) -> None:
        event = http_event("POST", path, body=dict(said), request=world.request_id())
        answer = Answer.of(world.ask(part, event, caller=str(said["sessionId"])))
        if answer.status != 200:
            raise RuntimeError(f"{part}: {answer}")


@dataclass(frozen=True)
class BySocket:
    """A connection that is held, a beat over it now and then, and with each page."""

    name: str = "by socket"
    every: float = LONGEST_SILENCE * 0.95

    def wait(self, chance: float) -> float:
        """A little early, as headcount.js has it: silence would end the connection."""
        return LONGEST_SILENCE * (0.9 + chance / 10)

    def join(self, world: BilledWorld, visitor: Visitor) -> None:
        self._dial(world, "joins", visitor)

    def stay(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "beats", visitor)

    def move(self, world: BilledWorld, visitor: Visitor) -> None:
        self._beat(world, "page changes", visitor, changed=True)

    def leave(self, world: BilledWorld, visitor: Visitor) -> None:
        self._hang_up(world, "leaves", visitor, DONE)

    def vanish(self, world: BilledWorld, visitor: Visitor) -> None:
        """The gateway finds out, and tells."""
        self._hang_up(world, "leaves", visitor, LOST)

    def passed(self, bill: Ledger, *, viewers: int, seconds: float) -> None:
        """Connections are paid for by the minute."""
        bill.add("connections", times=viewers, socket_minutes=viewers * seconds / 60)

    def _beat(self, world: BilledWorld, part: str, visitor: Visitor, **more: bool) -> None:
        if world.clock() - visitor.connected_at >= LONGEST_SOCKET * SECOND:
            before = _connection(visitor)
            self._dial(world, part, visitor, **more)
            self._end(world, part, before, DONE)
            return
        body = json.dumps({"action": "beat", **visitor.says(), **more})
        world.bill.add(part, socket_messages=1)
        self._tell(world, part, "MESSAGE", _connection(visitor), body=body)

    def _dial(self, world: BilledWorld, part: str, visitor: Visitor, **more: bool) -> None:
        visitor.connections += 1
        visitor.connected_at = world.clock()
        said = {"space": SITE, **visitor.says(), **more}
        query = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in said.items()
        }
        self._tell(world, part, "CONNECT", _connection(visitor), query=query)
        assumed = world.bill.prices.assumed
        world.bill.add(part, bytes_out=assumed["handshake"] + assumed["response_overhead"])

    def _hang_up(self, world: BilledWorld, part: str, visitor: Visitor, code: int) -> None:
        self._end(world, part, _connection(visitor), code)

    def _end(self, world: BilledWorld, part: str, connection: str, code: int) -> None:
        self._tell(world, part, "DISCONNECT", connection, code=code)

    def _tell(
        self, world: BilledWorld, part: str, kind: str, connection: str, **event: Any
    ) -> None:
        world.part = part
        told = socket_event(kind, connection, request=world.request_id(), **event)
        answer = world.invoke("socket", told)
        if answer != {"statusCode": 200}:
            raise RuntimeError(f"{part}: {answer}")


def _connection(visitor: Visitor) -> str:
    """An id as long as the gateway's."""
    return f"{visitor.number:010x}{visitor.connections:05x}="


_PRESENCE = f"/v1/spaces/{quote(SITE, safe='')}/presence"


@dataclass(frozen=True)
class Scenario:
    """How many, for how long, and how."""

    viewers: int
    seconds: int
    stay: int = 3600  # seconds of a visit
    way: Way = field(default_factory=ByHttp)
    one_of: int = 1
    """Of so many of a visitor's steady beats one is really sent; the others are entered as it was.
    Leases are then as much longer, or those who are there would not be seen."""
    seed: int = 1

    @property
    def parameters(self) -> dict[str, str]:
        """What is deployed with other parameters than the template's own."""
        # Two dashboards are a large audience.
        ours = {"InlineFanout": "1", **beside.PARAMETERS}
        if self.one_of == 1:
            return ours
        kinds = template().defaults["Kinds"]
        lease = round(self.way.wait(1.0) * (self.one_of + 1))
        return {"Kinds": kinds.replace("site:", f"site:lease={lease},", 1), **ours}

    @property
    def viewer_hours(self) -> float:
        return self.viewers * self.seconds / 3600

    @property
    def title(self) -> str:
        return (
            f"{self.viewers:,} viewers for {_long(self.seconds)}, "
            f"visits of {_long(self.stay)}, {self.way.name}"
        )


def _long(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds / 3600:g} h"


@dataclass
class Outcome:
    """A replay's ledger, and what is needed to make sense of it."""

    scenario: Scenario
    ledger: Ledger


def glance_units(rate: float) -> float:
    """Read units a request takes for the published count, of a process that serves so many a
    second and keeps what it read for one second."""
    return 0.5 / (1 + rate)


def replay(engine: Engine, scenario: Scenario, prices: Prices) -> Outcome:
    """Play a scenario through on an engine that tells units, and enter all of it."""
    ledger = Ledger(prices)
    world = BilledWorld(engine, Timeline(), ledger, **scenario.parameters)
    try:
        with world.metered():
            _Replay(world, scenario).play()
    finally:
        world.close()
    outcome = Outcome(scenario, ledger)
    ledger.require_every_function()
    return outcome


class _Replay:
    def __init__(self, world: BilledWorld, scenario: Scenario) -> None:
        self.world = world
        self.agenda = world.agenda
        self.scenario = scenario
        self.way = scenario.way
        self.random = random.Random(scenario.seed)  # noqa: S311 - a script, not a secret
        self.visitors = 0
        self.open = True
        world.left_errands = self._queue_errands
        self.publish = _Trigger(world, "publish", "publishes", lambda: None)
        self.count = _Trigger(world, "count", "recounts", self.publish.poke)

    def play(self) -> None:
        """The warm-up, the window, and what comes once."""
        start = self.agenda.now + round(PAGE_EVERY * SECOND)
        end = start + self.scenario.seconds * SECOND
        for _ in range(self.scenario.viewers):
            self._take_seat(start)
        for minute in range(self.scenario.seconds // 60):
            self.agenda.at(start + minute * MINUTE + 5 * SECOND, self._sweep)
        for at in range(start, end, _LOOK_EVERY):
            self.agenda.at(at, self.count.poke)
        self.agenda.run_until(start)
        self.world.bill.on = True
        self._watch(start, end)
        self.agenda.run_until(end)
        self.open = False
        self._enter_unsent()
        self.way.passed(
            self.world.bill, viewers=self.scenario.viewers, seconds=self.scenario.seconds
        )
        self._enter_storage()
        self._end_of_day()
        self.world.bill.on = False
        self._once()

    # ------------------------------------------------------------------------------- visitors

    def _take_seat(self, start: int) -> None:
        """Somebody who is there when the window begins: since when, is any moment."""
        visitor = self._visitor(start + self.random.random() * self.scenario.stay * SECOND)
        moved = start - self.random.random() * PAGE_EVERY * SECOND
        visitor.moves_at = moved + PAGE_EVERY * SECOND
        first = moved  # and since then a beat now and then
        while (then := first + self._wait()) <= start:
            first = then
        self.agenda.at(first, lambda: self._join(visitor))

    def _wait(self) -> float:
        """Milliseconds until a visitor's next beat."""
        return self.way.wait(self.random.random()) * SECOND

    def _visitor(self, ends_at: float) -> Visitor:
        self.visitors += 1
        page = min(int(self.random.paretovariate(0.7)), PAGES)
        crashes = self.random.random() < CRASHES
        return Visitor(self.visitors, ends_at, crashes, page, self.random.randrange(10**6))

    def _join(self, visitor: Visitor) -> None:
        self.way.join(self.world, visitor)
        self.count.poke()
        self._go_on(visitor)

    def _go_on(self, visitor: Visitor) -> None:
        visitor.stays_at = self.agenda.now + self._wait()
        due = min(visitor.stays_at, visitor.moves_at, visitor.ends_at)
        self.agenda.at(due, lambda: self._act(visitor))

    def _act(self, visitor: Visitor) -> None:
        if not self.open:
            return
        if self.agenda.now >= round(visitor.ends_at):
            self._end(visitor)
        elif self.agenda.now >= round(visitor.moves_at):
            visitor.moves_at += PAGE_EVERY * SECOND
            visitor.page = visitor.page % PAGES + 1
            self.way.move(self.world, visitor)
            self.count.poke()
            self._go_on(visitor)
        else:
            visitor.stays += 1
            if visitor.stays % self.scenario.one_of == 0:
                self.way.stay(self.world, visitor)
            else:
                self.world.bill.counts["unsent"] += self.world.bill.on
            self._go_on(visitor)

    def _end(self, visitor: Visitor) -> None:
        self.world.bill.counts["visits"] += self.world.bill.on
        if visitor.crashes:
            self.way.vanish(self.world, visitor)
        else:
            self.way.leave(self.world, visitor)
        follower = self._visitor(self.agenda.now + self.scenario.stay * SECOND)
        follower.moves_at = self.agenda.now + self.random.random() * PAGE_EVERY * SECOND
        self._join(follower)

    def _enter_unsent(self) -> None:
        """The steady beats that were not sent, as those that were."""
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
        part.spared = round(part.spared * by)
        # A process asks for the published count once a second at most, however many it serves.
        glances = part.times * glance_units(self.scenario.viewers / self.way.every)
        part.usage["read_units"] = part.operations["GetItem", "headcounts"] = glances

    def _enter_storage(self) -> None:
        """The rows of the window's visits, each kept for a week."""
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

    def _queue_errands(self) -> None:
        """Have what was left run when its time has come, each by itself, as the queue does."""
        queue, now = self.world.queue, self.agenda.now
        delays = queue.delays[-len(queue.errands) :]
        for errand, delay in zip(queue.errands, delays, strict=True):
            self.agenda.at(now + delay * SECOND, partial(self._run_errand, errand))
        queue.errands.clear()

    def _run_errand(self, errand: dict[str, Any]) -> None:
        recount = json.loads(errand["body"])["do"] == "recount"

        def run() -> None:
            self.world.part = "recounts" if recount else "errands"
            self.world.invoke("errands", {"Records": [errand]})
            self.publish.poke()

        self.agenda.spawn(run)

    def _end_of_day(self) -> None:
        """Yesterday's row; the visits of before the window are none of its cost."""
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

    def _watch(self, start: int, end: int) -> None:
        """One dashboard, from the first second to the last."""
        world, ledger = self.world, self.world.bill
        for name in ("", "/dashboard.css", "/dashboard.js", "/config.json"):
            headers = {"accept-encoding": "gzip"}
            event = http_event("GET", f"/dashboard{name}", headers=headers)
            world.ask("dashboards", event, caller="dashboard-1", function="site")
        world.part = "dashboards"
        world.subscribe("dashboard-1")
        minutes = (end - start) / MINUTE
        ledger.add("dashboards", times=-1, socket_messages=1, socket_minutes=minutes)
        heard = [0]

        def read() -> None:
            versions = len(world.line.frames["dashboard-1"])
            if versions != heard[0]:
                heard[0] = versions
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
        path = f"/v1/spaces/{quote(SITE, safe='')}{tail}"
        event = http_event("GET", path, query=query, headers=headers)
        answer = Answer.of(self.world.ask("dashboards", event, caller="dashboard-1"))
        if answer.status != 200:
            raise RuntimeError(f"{tail}: {answer}")

    def _once(self) -> None:
        """What an ordinary hour of one space does not need, so that no function goes unseen."""
        self.agenda.spawn(lambda: beside.play(self.world))
        self.agenda.run_until(self.agenda.now + MINUTE)


class _Trigger:
    """A stream function, woken as Lambda does: by batches, one at a time."""

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
        """Something was written that may pass the filter."""
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
        deliver(batch)
        self._busy = False
        self._done()
        self.poke()
