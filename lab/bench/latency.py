"""How late a number is on AWS's clock (`make bench-latency`).

A join, a change and a leave are timed from the moment at which the request reaches API Gateway to
the arrival of the first frame that shows it at a dashboard. The real handlers run in virtual time,
with published hop times (``lab.bench.cloud``, ``lab/bench/hops.toml``). The visitors who are timed
carry a facet value of their own, so a frame shows whether it includes them. Of people who are
watched, the frame is timed that says that they are online, moved or offline.

ARGS="--share 0.1" takes a tenth of the samples, ARGS="--most 1000" leaves out larger spaces,
ARGS=--json prints the figures as JSON, ARGS=--write renews docs/latency.md.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from headcount.model.intervals import by_size
from headcount.model.space import shard_of
from headcount.store.keys import Presence as Keys
from headcount.store.keys import presence_partition
from headcount.times import HOUR

from lab.bench.cloud import Cloud, Cpu, Fixed, Measured, Work, quiet
from lab.bench.hops import Hops, hops
from lab.bench.model import shards_of
from lab.bench.prices import prices
from lab.bench.report import table as markdown
from lab.harness.events import path_of
from lab.harness.template import ROOT, template
from lab.harness.world import SITE

PAGE = ROOT / "docs" / "latency.md"
BEFORE = Path(__file__).with_name("latency_before.json")
"""The figures while `count` had a batching window and only `publish` sent versions, by `--json`."""

KINDS = ("join", "change", "leave")
SIZES = (1, 10, 30, 100, 1_000, 10_000, 100_000)
LISTENERS = {100: 20, 1_000: 10, 10_000: 3}
"""Dashboards of one space -> how often the last one is timed."""

WATCHED = {(10, "quiet"): 60, (1_000, "quiet"): 60, (1_000, "20 joins a second"): 60}
"""Sessions and load of a space -> how many of those who are watched are timed in it."""
MOST_WATCHED = 100
WATCHED_WITHIN = 1.0
"""Seconds in which 95 of 100 events are to reach who watches them."""

QUIET, CHANGES, RUSH = "quiet", "a change per 5 s", "20 joins a second"
LOADS = (QUIET, CHANGES, RUSH)

CHANGE_EVERY = 5.0
JOINS_A_SECOND = 20.0
PROBES_A_SECOND = 2.0
"""Visitors of a rush who are timed, each with a join, a change and a leave."""

DASHBOARDS = 3
_SETTLES = 45.0
"""Seconds from the first joins to the first that is timed."""
_BEATS_EVERY = 30.0
_CHANGING = 5
"""Visitors who change, one after the other."""
_GAPS, _RUSH_GAPS = (12.0, 20.0), (4.0, 8.0)
"""Seconds before each of a visit's events that are timed: longer than the slowest pace if the space
is quiet."""
_RUSH_BEGINS = 10.0
"""Seconds of a rush before the first visit that is timed."""
_PAGES = 60
_SHOWN_WITHIN = 120.0
"""Seconds after which a number that no dashboard has shown is a failure."""
_AT_ONCE = 2
_MANY_ROWS = 10_000
_CALL_CPU = 0.0003
"""CPU seconds of a call if they are not measured."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A space of some sessions, what happens in it, and how often it is timed."""

    sessions: int
    load: str
    times: int
    dashboards: int = DASHBOARDS
    watched: int = 0
    """So many people are watched by one connection, and timed there, not at the dashboards."""

    @property
    def shards(self) -> int:
        """The shards that a space of this size needs."""
        return shards_of(self.sessions)

    @property
    def title(self) -> str:
        """For people who wait."""
        shown = f", {self.dashboards:,} dashboards" if self.dashboards != DASHBOARDS else ""
        watched = f", {self.watched} watched" if self.watched else ""
        return f"{self.sessions:,} sessions, {self.load}{shown}{watched}"


@dataclass(slots=True)
class Timed:
    """A join, change or leave. Times are microseconds of the loop."""

    kind: str
    sent: int
    shows: Callable[[frozenset[str]], bool]
    """Whether a frame with these values of the visitors' facet includes it."""
    version: int = 0
    first: int = 0
    last: int = 0
    posted_by: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scene took: seconds, in the order in which they were seen."""

    scene: Scene
    first: Mapping[str, Sequence[float]]  # by kind, to the first dashboard
    last: Sequence[float]  # of any kind, to the last dashboard
    posted_by: Mapping[str, int]  # how many first frames each function posted
    versions_a_second: float
    work: Mapping[str, Work]
    errors: Mapping[str, int]
    took: float = 0.0  # CPU seconds of this machine


class Audience:
    """The dashboards of a space: they know when a frame shows what is timed."""

    def __init__(self, loop_now: Callable[[], int]) -> None:
        self._now = loop_now
        self.size = 0
        self.pending: list[Timed] = []
        self.done: list[Timed] = []
        self._waiting: dict[int, list[Timed]] = {}  # version -> events that wait for the last frame
        self._received: Counter[int] = Counter()
        self._frame: tuple[bytes, dict[str, Any]] = (b"", {})
        self.shown: Mapping[str, Any] = {}
        """The data of the newest version that arrived."""

    def expect(self, timed: Timed) -> None:
        """Wait for frames that show this."""
        self.pending.append(timed)

    def receive(self, _connection: str, data: bytes, function: str) -> None:
        """A frame arrives at a dashboard."""
        if self._frame[0] != data:
            self._frame = data, json.loads(data)
        frame = self._frame[1]
        if frame.get("type") != "headcount":
            return
        version = int(frame["version"])
        if not self._received[version]:
            self._first(version, frame["data"], function)
        self._received[version] += 1
        if self._received[version] == self.size:
            for timed in self._waiting.pop(version, ()):
                timed.last = self._now()

    @property
    def versions(self) -> int:
        """The versions that were received."""
        return len(self._received)

    def _first(self, version: int, data: Mapping[str, Any], function: str) -> None:
        self.shown = data
        values = frozenset(one["value"] for one in data["facets"].get("timed", ()))
        seen = [one for one in self.pending if one.shows(values)]
        for one in seen:
            self.pending.remove(one)
            one.version, one.first, one.posted_by = version, self._now(), function
            self.done.append(one)
        if seen:
            self._waiting.setdefault(version, []).extend(seen)


@dataclass
class Visitor:
    """A visitor of the space, with a client like ours."""

    cloud: Cloud
    id: str
    facets: dict[str, str] = field(default_factory=dict)
    page: int = 0
    present: bool = False
    _seq: int = 0

    def beat(self, *, changed: bool = False) -> None:
        """Send a beat, which may join or change."""
        self.present = True
        self._seq += 1
        body = {
            "sessionId": self.id,
            "visitorId": self.id,
            "page": f"/guides/{self.page:02d}/how-things-are-done",
            "facets": {"device": "desktop", "country": "DE", **self.facets},
            "state": "active",
            "seq": self._seq,
            **({"changed": True} if changed else {}),
        }
        self.cloud.request("POST", f"{path_of(SITE)}/presence", body)

    def leave(self) -> None:
        """Close the page."""
        self.present = False
        self._seq += 1
        body = {"sessionId": self.id, "seq": self._seq}
        self.cloud.request("POST", f"{path_of(SITE)}/presence/leave", body)

    def stay(self) -> None:
        """Keep beating."""
        while self.present:
            self.cloud.loop.pause(round(_BEATS_EVERY * (1 + self.cloud.random.random() / 20) * 1e6))
            if self.present:
                self.beat()


class Play:
    """A scene, played in a cloud."""

    def __init__(self, scene: Scene, cloud: Cloud) -> None:
        self.scene = scene
        self.cloud = cloud
        self.loop = cloud.loop
        self.random = cloud.random
        self.audience = Audience(lambda: cloud.loop.now)
        cloud.received = self.audience.receive
        self.shards = scene.shards
        self.regulars: list[Visitor] = []
        """Those of the space who have joined by beats."""
        self._crowd: list[tuple[Any, Any]] = []  # the rows of the others
        self._joined = 0
        self._ended = False

    def run(self) -> Outcome:
        """Play it."""
        machine = time.process_time()
        self._run_to_the_end(self._open)
        gc.collect()
        gc.freeze()  # the space's rows are not in a function's memory
        try:
            self.cloud.forget_work()
            versions, began = self.audience.versions, self.loop.now
            self._run_to_the_end(self._time)
        finally:
            gc.unfreeze()
        done = self.audience.done
        return Outcome(
            self.scene,
            {
                kind: [(one.first - one.sent) / 1e6 for one in done if one.kind == kind]
                for kind in KINDS
            },
            [(one.last - one.sent) / 1e6 for one in done],
            Counter(one.posted_by for one in done),
            (self.audience.versions - versions) / (self.loop.now - began) * 1e6,
            dict(self.cloud.work),
            dict(self.cloud.errors),
            time.process_time() - machine,
        )

    def _run_to_the_end(self, act: Callable[[], None]) -> None:
        """Start a task, and let time pass until it has ended; others may go on."""
        self._ended = False

        def task() -> None:
            act()
            self._ended = True

        self.loop.start(task)
        while not self._ended:
            self.cloud.run(1)

    # ---------------------------------------------------------------------------------- the space

    def _open(self) -> None:
        for number in range(self.scene.dashboards):
            self.cloud.subscribe(f"dashboard-{number:05d}", SITE)
        self.audience.size = self.scene.dashboards
        uncounted = set(range(self.shards))
        while uncounted or len(self.regulars) < min(_CHANGING, self.scene.sessions):
            visitor = self._arrive()
            self.regulars.append(visitor)
            uncounted.discard(shard_of(f"v:{visitor.id}", self.shards))
            if len(self.regulars) == 1:
                self._fill(self.scene.sessions)
        self.loop.start(self._beats)
        self._pause(_SETTLES)

    def _arrive(self) -> Visitor:
        """A visitor joins, and stays."""
        self._joined += 1
        visitor = Visitor(self.cloud, f"session-{self._joined:020d}", page=self._joined % _PAGES)
        visitor.beat()
        self.loop.start(visitor.stay)
        return visitor

    def _fill(self, sessions: int) -> None:
        """Fill the space up with copies of the first session's row. Their beats reach no function
        but their own, so only the rows that they write are here."""
        table = self.cloud.database.tables["presence"]
        ((_, (first, _size)),) = table.rows.scan(None, None)
        until = {"N": str(self.cloud.clock() + 12 * HOUR)}
        since = {"N": str(self.cloud.clock() - HOUR)}
        pages = [{"S": f"/guides/{page:02d}/how-things-are-done"} for page in range(_PAGES)]
        facets = [
            {"M": {"device": {"S": device}, "country": {"S": country}}}
            for device in ("desktop", "mobile", "tablet")
            for country in ("DE", "US", "FR", "GB", "IN", "BR", "JP")
        ]
        shards = [{"S": presence_partition(SITE, shard)} for shard in range(self.shards)]
        others = max(_CHANGING, self.shards)
        for number in range(sessions - min(sessions, others)):
            person = f"crowd-{number:020d}"
            item = {
                **first,
                Keys.PARTITION: shards[shard_of(f"v:{person}", self.shards)],
                Keys.SORT: {"S": person},
                "visitor": {"S": person},
                "visit": {"S": f"{number:032x}"},
                "request": {"S": f"{number:015x}="},
                "page": pages[number % _PAGES],
                "facets": facets[number % len(facets)],
                "joined_at": since,
                "changed_at": since,
                "expires_at": until,
            }
            key, row = table.schema.key(item), table.resized(None, item)
            table.rows.put(key, row)
            self._crowd.append((key, row))

    def _beats(self) -> None:
        """The beats of the crowd: each changes a row, which the next recount has to decode."""
        rows = self.cloud.database.tables["presence"].rows
        together = math.ceil(len(self._crowd) / by_size(self.scene.sessions))
        for first in itertools.cycle(range(0, len(self._crowd), max(1, together))):
            now = self.cloud.clock()
            new = {"last_seen": {"N": str(now)}, "request": {"S": f"{now:014x}="}}
            for place in range(first, min(first + together, len(self._crowd))):
                key, (item, size) = self._crowd[place]
                self._crowd[place] = key, ({**item, **new}, size)
                rows.put(*self._crowd[place])
            self._pause(1)

    # ----------------------------------------------------------------------------- what is timed

    def _time(self) -> None:
        if self.scene.load == CHANGES:
            self.loop.start(self._changes)
        if self.scene.load == RUSH:
            self.loop.start(self._joins)
            self._pause(_RUSH_BEGINS)
        if self.scene.load != RUSH:
            for number in range(self.scene.times):
                self._visit(number, _GAPS)
            return
        visits = []
        after = 0.0
        for number in range(self.scene.times):
            after += self.random.expovariate(PROBES_A_SECOND)
            visits.append(partial(self._visit_later, number, after))
        self.loop.gather(visits)

    def _visit_later(self, number: int, after: float) -> None:
        self._pause(after)
        self._visit(number, _RUSH_GAPS)

    def _visit(self, number: int, gaps: tuple[float, float]) -> None:
        """A visit whose join, change and leave are timed."""
        came, changed = f"{number}a", f"{number}b"
        visitor = Visitor(self.cloud, _timed(number), {"timed": came}, page=number % _PAGES)
        self._pause(self.random.uniform(*gaps))
        self._timed("join", visitor.beat, lambda values: came in values)
        visitor.facets["timed"] = changed
        self._pause(self.random.uniform(*gaps))
        change = partial(visitor.beat, changed=True)
        self._timed("change", change, lambda values: changed in values)
        self._pause(self.random.uniform(*gaps))
        self._timed("leave", visitor.leave, lambda values: changed not in values)

    def _timed(
        self, kind: str, act: Callable[[], None], shows: Callable[[frozenset[str]], bool]
    ) -> None:
        """Do something, and wait until every dashboard shows it."""
        timed = Timed(kind, self.loop.now, shows)
        self.audience.expect(timed)
        act()
        while not timed.last:
            self._pause(0.1)
            if self.loop.now - timed.sent > _SHOWN_WITHIN * 1e6:
                raise LostError(f"{self.scene.title}: no dashboard shows a {kind}")

    def _changes(self) -> None:
        while True:
            self._pause(self.random.expovariate(1 / CHANGE_EVERY))
            visitor = self.random.choice(self.regulars)
            visitor.page = (visitor.page + 1) % _PAGES
            visitor.beat(changed=True)

    def _joins(self) -> None:
        while True:
            self._pause(self.random.expovariate(JOINS_A_SECOND))
            self.loop.start(self._arrive)

    def _pause(self, seconds: float) -> None:
        self.loop.pause(round(seconds * 1e6))


class WatchPlay(Play):
    """A scene in which people are watched, who come, move and go."""

    def __init__(self, scene: Scene, cloud: Cloud) -> None:
        super().__init__(scene, cloud)
        cloud.received = self._receive

    def _open(self) -> None:
        super()._open()
        self.cloud.watch("watcher", [f"v:{_timed(one)}" for one in range(self.scene.watched)])

    def _receive(self, connection: str, data: bytes, function: str) -> None:
        if connection != "watcher":
            return
        frame = json.loads(data)
        if frame["type"] != "person":
            return
        shown = frozenset([f"{frame['event']} {frame['person']}"])
        for one in [one for one in self.audience.pending if one.shows(shown)]:
            self.audience.pending.remove(one)
            one.first = one.last = self.loop.now
            one.posted_by = function
            self.audience.done.append(one)

    def _visit(self, number: int, gaps: tuple[float, float]) -> None:
        visitor = Visitor(self.cloud, _timed(number))

        def time_one(kind: str, event: str, act: Callable[[], None]) -> None:
            self._pause(self.random.uniform(*gaps))
            self._timed(kind, act, lambda shown: f"{event} v:{visitor.id}" in shown)

        time_one("join", "online", visitor.beat)
        visitor.page = 1
        time_one("change", "moved", partial(visitor.beat, changed=True))
        time_one("leave", "offline", visitor.leave)


def _timed(number: int) -> str:
    """The session of a visitor who is timed."""
    return f"timed-{number:022d}"


class LostError(RuntimeError):
    """What no dashboard ever showed."""


def play(scene: Scene, seed: int, cpu: Cpu, of: Hops) -> Outcome:
    """Play a scene; the same seed and a fixed CPU time give the same figures."""
    random = Random(f"{seed} {scene.title}")  # noqa: S311 - a simulation, not a secret
    with quiet():
        parameters = (("ShardsPerSpace", str(scene.shards)),)
        played = WatchPlay if scene.watched else Play
        return played(scene, Cloud(random, of, cpu, parameters)).run()


def scenes(share: float, most: int) -> list[Scene]:
    """All scenes, those that take longest first. ``share``: of the times; ``most``: sessions."""

    def times(whole: int) -> int:
        return max(2, round(whole * share))

    found = [
        Scene(sessions, load, times(_times(sessions, load)))
        for sessions in sorted(SIZES, reverse=True)
        for load in reversed(LOADS)
        if sessions <= most
    ]
    found += [
        Scene(min(100, most), QUIET, times(each), listeners)
        for listeners, each in LISTENERS.items()
        if listeners <= max(most, min(LISTENERS))
    ]
    found += [
        Scene(sessions, load, times(each), watched=MOST_WATCHED)
        for (sessions, load), each in WATCHED.items()
        if sessions <= most
    ]
    return found


def _times(sessions: int, load: str) -> int:
    """How often visits are timed: each recount of a large space takes this machine a while."""
    if load == RUSH:
        return 100 if sessions <= 10_000 else 25
    if sessions < 1_000:
        return 60
    if sessions < 10_000:
        return 60 if load == QUIET else 30
    if sessions <= 10_000:
        return 15 if load == QUIET else 8
    return 5 if load == QUIET else 3


def play_all(todo: Sequence[Scene], seed: int, row_cpu: float | None) -> Iterable[Outcome]:
    """Play scenes in parallel; the outcomes in the same order."""
    with ProcessPoolExecutor(_AT_ONCE, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_played, seed=seed, row_cpu=row_cpu), todo)


def _played(scene: Scene, seed: int, row_cpu: float | None) -> Outcome:
    cpu: Cpu = Measured() if row_cpu is None else Fixed(_CALL_CPU, row_cpu / 1e6)
    outcome = play(scene, seed, cpu, hops())
    print(f"{scene.title}: {outcome.took:.0f} s of CPU", file=sys.stderr)
    return outcome


# ------------------------------------------------------------------------------------ the figures


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile, interpolated between the two nearest values."""
    ranked = sorted(values)
    place = share * (len(ranked) - 1)
    low, part = int(place), place % 1
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * part


SHARES = (0.5, 0.95, 0.99)


def figures(outcome: Outcome) -> dict[str, Any]:
    """An outcome's figures, rounded to milliseconds, as in the JSON."""
    scene = outcome.scene
    count = outcome.work.get("count", Work())
    return {
        "sessions": scene.sessions,
        "load": scene.load,
        "dashboards": scene.dashboards,
        "shards": scene.shards,
        "times": scene.times,
        **{
            kind: [round(percentile(values, share), 3) for share in SHARES]
            for kind, values in outcome.first.items()
        },
        "last": [round(percentile(outcome.last, share), 3) for share in (*SHARES, 1)],
        "posted_by": dict(outcome.posted_by),
        "versions_a_second": round(outcome.versions_a_second, 3),
        "failed": dict(outcome.errors),
        "count_seconds": [
            round(count.seconds / max(1, count.invocations), 3),
            round(count.longest, 3),
        ],
        "rows_read": sum(work.rows for work in outcome.work.values()),
        "cpu": round(sum(work.cpu for work in outcome.work.values()), 3),
    }


Figures = Mapping[str, Any]


def report(outcomes: Sequence[Outcome], seed: int, row_cpu: float | None) -> dict[str, Any]:
    """The whole run as JSON."""
    return {
        "seed": seed,
        "row_cpu": row_cpu,
        "memory": {name: _memory(name) for name in _COUNTING},
        "scenes": [figures(one) for one in outcomes if not one.scene.watched],
        "watched": [figures(one) for one in outcomes if one.scene.watched],
    }


_COUNTING = ("count", "publish", "fanout", "deferred")


def _memory(function: str) -> int:
    return int(template().functions[function]["MemorySize"])


def row_microseconds(run: Figures) -> float:
    """CPU microseconds of this machine for each row that handlers read, in large spaces."""
    large = [one for one in run["scenes"] if one["rows_read"] > _MANY_ROWS]
    rows = sum(one["rows_read"] for one in large)
    return 1e6 * sum(one["cpu"] for one in large) / rows if rows else 0.0


def limit(sessions: int, load: str) -> float:
    """Seconds in which 95 of 100 are to be seen."""
    if sessions > 10_000:
        return 2.0
    return 0.6 if sessions <= 30 and load != RUSH else 1.0


def last_limit(dashboards: int) -> float:
    """Seconds in which the last dashboard is to show it."""
    return dashboards / float(template().defaults["PostsPerSecond"]) + 1


def worst(scene: Figures) -> float:
    """The 95th percentile of the kind that takes longest."""
    return float(max(scene[kind][1] for kind in KINDS))


def _of(run: Figures, load: str) -> list[Figures]:
    return sorted(
        (one for one in run["scenes"] if one["load"] == load and one["dashboards"] == DASHBOARDS),
        key=lambda one: int(one["sessions"]),
    )


def _with_audience(run: Figures) -> list[Figures]:
    found = [one for one in run["scenes"] if one["dashboards"] != DASHBOARDS]
    return sorted(found, key=lambda one: int(one["dashboards"]))


def tables(run: Figures) -> str:
    """The figures as Markdown."""
    parts = []
    for load in LOADS:
        rows = [
            (
                f"{one['sessions']:,}",
                str(one["shards"]),
                *(" / ".join(f"{value:.2f}" for value in one[kind]) for kind in KINDS),
                f"{limit(one['sessions'], load):.1f}",
                "yes" if worst(one) <= limit(one["sessions"], load) else "no",
                f"{one['times']}",
            )
            for one in _of(run, load)
        ]
        head = ("sessions", "shards", *KINDS, "p95 to reach", "reached", "each timed")
        parts.append(f"### {load[0].upper()}{load[1:]}\n\n{markdown(head, rows)}")
    audience = [
        (
            f"{one['dashboards']:,}",
            " / ".join(f"{value:.2f}" for value in one["last"]),
            f"{last_limit(one['dashboards']):.2f}",
            "yes" if one["last"][1] <= last_limit(one["dashboards"]) else "no",
            f"{3 * one['times']}",
        )
        for one in _with_audience(run)
    ]
    head = ("dashboards", "the last one", "p95 to reach", "reached", "timed")
    title = f"### The last of many dashboards ({_audience_scene(run)})"
    parts.append(f"{title}\n\n{markdown(head, audience)}")
    if run["watched"]:
        parts.append(_watched(run["watched"]))
    return "\n\n".join(parts)


def _watched(scenes: Sequence[Figures]) -> str:
    rows = [
        (
            f"{one['sessions']:,}",
            one["load"],
            *(" / ".join(f"{value:.2f}" for value in one[kind]) for kind in KINDS),
            f"{WATCHED_WITHIN:.1f}",
            "yes" if worst(one) <= WATCHED_WITHIN else "no",
            f"{one['times']}",
        )
        for one in scenes
    ]
    head = ("sessions", "load", "online", "moved", "offline", "p95 to reach", "reached", "timed")
    return (
        f"### People who are watched\n\nTo the frame at a connection that watches {MOST_WATCHED} "
        f"[people](people.md), in a space of so many sessions.\n\n{markdown(head, rows)}"
    )


def _audience_scene(run: Figures) -> str:
    (sessions,) = {one["sessions"] for one in _with_audience(run)}
    return f"{sessions} sessions, quiet"


def before_and_after(before: Figures, now: Figures) -> str:
    """The 95th percentiles of two runs as Markdown."""
    earlier = {(one["sessions"], one["load"], one["dashboards"]): one for one in before["scenes"]}

    def row(what: str, one: Figures, value: Callable[[Figures], float]) -> tuple[str, ...]:
        old = earlier.get((one["sessions"], one["load"], one["dashboards"]))
        return what, "" if old is None else f"{value(old):.2f}", f"{value(one):.2f}"

    rows = [
        row(f"{one['sessions']:,} sessions, {load}", one, worst)
        for load in LOADS
        for one in _of(now, load)
    ]
    rows += [
        row(f"the last of {one['dashboards']:,} dashboards", one, lambda each: each["last"][1])
        for one in _with_audience(now)
    ]
    return markdown(("p95, seconds", "before", "now"), rows)


def assumptions(of: Hops) -> str:
    """The hops as Markdown."""
    rows = [
        (
            hop.what,
            "published" if name in of.published else "assumed",
            " / ".join(f"{hop.at(share):.3g}" for share in (0.1, 0.5, 0.9, 0.99)),
        )
        for name, hop in of.of.items()
    ]
    return markdown(("hop, ms", "from", "p10 / p50 / p90 / p99"), rows)


def processors(run: Figures) -> str:
    """Whose CPU time counts how much."""
    cores = prices().assumed["memory_of_one_vcpu"]
    shares = ", ".join(
        f"`{name}` {megabytes / cores:.2f}" for name, megabytes in run["memory"].items()
    )
    row = row_microseconds(run)
    measured = f"A row that is read took {row:.0f} µs of this machine's CPU." if row else ""
    if run["row_cpu"] is not None:
        measured = f"CPU was not measured: {run['row_cpu']:.0f} µs a row."
    return f"{measured} A function has this share of a processor: {shares}.".strip()


def page(run: Figures, before: Figures) -> str:
    """docs/latency.md."""
    of = hops()
    published = (
        f"{of.events:,} events each, [measured and published in 2022]({of.source}), checked "
        f"{of.checked}."
    )
    return _PAGE.format(
        tables=tables(run),
        compared=before_and_after(before, run),
        hops=assumptions(of),
        published=published,
        processors=processors(run),
        window=_window(),
        stream_shards=round(of.numbers["stream_shards"]),
        seed=run["seed"],
    )


def _window() -> str:
    (source,) = template().events("count", "DynamoDB")
    return str(source["MaximumBatchingWindowInSeconds"])


_PAGE = """\
# How late a number is

Made by `make bench-latency ARGS=--write`; never edit the numbers here. A dashboard on your machine
hears of a join in about 0.2 s, but the local emulator passes a stream's records on at once, and AWS
does not. So this page has what AWS would take: **modelled**, from published times, not measured
there.

Seconds from a request's arrival at API Gateway to the first frame that shows it at a dashboard, as
p50 / p95 / p99. The way of a request and of a frame through the internet is not included, nor are
starts of functions: `make bench-cold-start` has those. Spaces keep their size, except in a rush,
which begins with it. Everyone in them beats.

{tables}

## Before and now

The 95th percentile of whichever takes longest: join, change or leave. *Before* is with a batching
window of a second on `count`, and with versions sent by `publish` alone.

{compared}

## What is real, and what is modelled

| | `make run` | here |
| --- | --- | --- |
| handlers, use cases, DynamoDB client, paces | real | real |
| batches of streams and queues | the emulator's: no windows | the template's |
| a stream's and a queue's way to a function | the emulator's | published percentiles |
| calls to AWS | the emulator's | assumed, see below |
| CPU | this machine's | divided by the function's share of a processor |
| time | real | virtual, so that an hour takes seconds |

{processors}

`count` has a batching window of {window} s. A stream runs one batch of a shard at a time; what
arrives meanwhile forms the next batch. A space's partition is in one of {stream_shards} shards of
the stream. A FIFO queue has one batch of a group at a time. Processes are warm. No cleanup runs.
Seed {seed}: the hops are the same in every run, the CPU is measured.

{hops}

{published}
Between two percentiles a hop's logarithm follows the normal distribution; no hop is drawn that is
rarer than one of those events.
"""


def main() -> int:
    """Play all scenes and print the figures."""
    parser = argparse.ArgumentParser(prog="make bench-latency", description=__doc__)
    parser.add_argument("--share", type=float, default=1, help="share of the samples (1)")
    parser.add_argument(
        "--most", type=int, default=SIZES[-1], metavar="SESSIONS", help="the largest space"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the hops (1)")
    parser.add_argument(
        "--row-cpu",
        type=float,
        metavar="MICROSECONDS",
        help="do not measure CPU, but take this for each row: the same figures in every run",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)} too")
    args = parser.parse_args()
    if args.write and (args.share < 1 or args.most < SIZES[-1]):
        parser.error("--write needs all samples: leave out --share and --most")
    todo = scenes(args.share, args.most)
    run = report(list(play_all(todo, args.seed, args.row_cpu)), args.seed, args.row_cpu)
    if args.json:
        print(json.dumps(run, indent=1))
    else:
        print(tables(run), processors(run), sep="\n\n")
    if args.write:
        PAGE.write_text(page(run, json.loads(BEFORE.read_text())))
    every = [*run["scenes"], *run["watched"]]
    for what, errors in ((one, one["failed"]) for one in every if one["failed"]):
        print(f"failed and repeated: {what['sessions']} {what['load']} {errors}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
