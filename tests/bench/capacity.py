"""docs/capacity.md: which limit binds first at each size, what lifts it, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headcount.counting import pace
from headcount.sweeping import ROWS_AT_ONCE
from headcount.times import MINUTE, SECOND

from tests.bench.model import (
    VIEWERS_PARTS,
    VIEWERS_PER_SHARD,
    Model,
    joins_look_into,
    measured,
    of_size,
)
from tests.bench.prices import prices
from tests.bench.quotas import Quota, quotas
from tests.bench.replay import CRASHES, PAGE_EVERY, ByHttp, BySocket, Scenario, Way
from tests.bench.report import table as markdown
from tests.bench.report import viewers_total
from tests.bench.sizes import HEAD, Measured, a_million, table, verdicts
from tests.bench.synthetic import Rows
from tests.support.template import ROOT, template

PAGE = ROOT / "docs" / "capacity.md"
VIEWERS = tuple(10**power for power in range(2, 8))
STAY = 3600.0
"""Seconds of a visit."""

_REPLAYED = (
    Scenario(viewers=100, seconds=600, stay=round(STAY)),
    Scenario(viewers=1_000, seconds=120, stay=round(STAY)),
    Scenario(viewers=100, seconds=300, stay=round(STAY), way=BySocket()),
)
"""What the costs rest on here: minutes of few. `make bench-cost` replays more."""

_OF_A_SPACE = ("visits", "recounts", "publishes", "sweeps", "days")
"""What costs the same however a viewer is present."""

_READ_UNIT = 4096
_SWEEPS_READ = 2
"""Times that a sweep reads a table whose shards all differ from their counts."""
_ROWS_PER_VIEWER = 1 + (5.5 * MINUTE / SECOND) / STAY
"""Whoever left has a row for five minutes, and until the next sweep."""
_SHARDS = "`ShardsPerSpace`"
_MOST_SHARDS = template().parameters["ShardsPerSpace"]["MaxValue"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on one's own machine, and is not the same each time."""

    row_cpu: float  # CPU seconds to count a row
    api_seconds: float  # that a request's function takes


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many viewers, in so many shards: of one space, or of as many as those take."""

    viewers: int
    shards: int
    way: Way
    figures: Figures

    @property
    def requests(self) -> float:
        """A second that go through the gateway: joins, signs of being there, changes, leaves."""
        return self.viewers * (1 / self.way.every + 1 / PAGE_EVERY * (not self.beats) + 2 / STAY)

    @property
    def beats(self) -> bool:
        """By HTTP. A change of page is then one of the beats."""
        return isinstance(self.way, ByHttp)

    @property
    def connections(self) -> float:
        """A second that are opened."""
        return 0.0 if self.beats else self.viewers / STAY

    @property
    def writes(self) -> float:
        """Write units a second of the Presence table: one for each request, and the bin's."""
        return self.requests + self.viewers / STAY

    @property
    def spaces(self) -> int:
        """No more shards go into one."""
        return math.ceil(self.shards / _MOST_SHARDS)

    @property
    def rows(self) -> float:
        """Of a shard."""
        return self.viewers * _ROWS_PER_VIEWER / self.shards

    @property
    def reads(self) -> float:
        """Read units a second of the Presence table: recounts, sweeps, and the shards that joins
        and leaves look into."""
        whole = self.rows * Rows(1_000).size / _READ_UNIT
        recounts = self.shards * whole / (pace(round(self.rows)) / SECOND)
        sweeps = self.shards * whole * _SWEEPS_READ / 60
        shards = math.ceil(self.shards / self.spaces)
        looks = joins_look_into(shards) + shards * (1 - CRASHES)
        return recounts + sweeps + self.viewers / STAY * looks

    @property
    def recount_seconds(self) -> float:
        """How long a recount takes in the function that does those of large shards."""
        memory = template().functions["errands"]["MemorySize"]
        return prices().seconds(
            cpu=self.rows * self.figures.row_cpu,
            memory=memory,
            waited=self.rows * Rows(1_000).size / 2**20 * prices().assumed["dynamodb_wait"],
        )

    @property
    def invocations(self) -> float:
        """At once, of all functions."""
        recounts = self.shards * self.recount_seconds / (pace(round(self.rows)) / SECOND)
        swept = self.rows * self.shards / ROWS_AT_ONCE
        each = _SWEEPS_READ * ROWS_AT_ONCE * self.figures.row_cpu * 2
        return self.requests * self.figures.api_seconds + recounts + swept * each / 60


@dataclass(frozen=True, slots=True)
class Limit:
    """Something of which there is only so much."""

    name: str
    what: str
    value: float
    load: Callable[[Crowd], float]
    lifted: str


def limits(way: Way) -> list[Limit]:
    """All of them, with what the template and AWS grant at first."""
    of, defaults = quotas().of, template().defaults

    def granted(name: str, load: Callable[[Crowd], float]) -> Limit:
        quota: Quota = of[name]
        return Limit(quota.name, quota.what, quota.value, load, quota.lifted)

    by_way = [
        Limit(
            "`RequestsPerSecond`",
            "HTTP requests a second",
            float(defaults["RequestsPerSecond"]),
            lambda crowd: crowd.requests,
            "by parameter: `RequestsPerSecond`",
        )
    ]
    if isinstance(way, BySocket):
        by_way = [
            Limit(
                "`SocketMessagesPerSecond`",
                "WebSocket connections and messages a second",
                float(defaults["SocketMessagesPerSecond"]),
                lambda crowd: crowd.requests,
                "by parameter: `SocketMessagesPerSecond`",
            ),
            granted("gateway_connections", lambda crowd: crowd.connections),
        ]
    return [
        *by_way,
        granted("gateway_requests", lambda crowd: crowd.requests),
        granted("partition_writes", lambda crowd: crowd.writes / crowd.shards),
        granted("partition_reads", lambda crowd: crowd.reads / crowd.shards),
        Limit(
            _SHARDS,
            "seconds that a shard's recount may take: there is one at a time, that often",
            pace(VIEWERS_PER_SHARD) / SECOND,
            lambda crowd: crowd.recount_seconds,
            of["partition_writes"].lifted,
        ),
        granted("table_writes", lambda crowd: crowd.writes),
        granted("table_reads", lambda crowd: crowd.reads),
        granted("lambda_concurrency", lambda crowd: crowd.invocations),
        Limit(
            "several spaces",
            f"shards of a space: as far as {_SHARDS} goes",
            float(_MOST_SHARDS),
            lambda crowd: crowd.viewers / VIEWERS_PER_SHARD,
            "by several spaces",
        ),
    ]


def binds_at(limit: Limit, way: Way, figures: Figures) -> float:
    """The viewers at which a limit is reached: of a partition with one shard, of others with as
    many as it takes."""
    alone = limit.name == _SHARDS

    def over(viewers: int) -> bool:
        shards = 1 if alone else math.ceil(viewers / VIEWERS_PER_SHARD)
        return limit.load(Crowd(viewers, shards, way, figures)) > limit.value

    low, high = 1, 10**10
    if not over(high):
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if over(middle) else (middle, high)
    return low


def _about(viewers: float) -> str:
    """Two digits: more would be made up."""
    if viewers == math.inf:
        return "none"
    digits = max(0, len(str(round(viewers))) - 2)
    return f"{round(viewers / 10**digits) * 10**digits:,}"


def limits_table(way: Way, figures: Figures) -> str:
    """What binds when."""
    found = sorted(limits(way), key=lambda limit: binds_at(limit, way, figures))
    rows = [
        (one.what, f"{one.value:,.0f}", _about(binds_at(one, way, figures)), one.lifted)
        for one in found
    ]
    return markdown(("limit", "at first", "reached at viewers", "lifted"), rows)


def sizes_table(way: Way, figures: Figures, costs: Mapping[int, float]) -> str:
    """What each size needs, and what of that has to be raised."""
    rows = []
    every = sorted(limits(way), key=lambda limit: binds_at(limit, way, figures))
    for viewers in VIEWERS:
        shards = math.ceil(viewers / VIEWERS_PER_SHARD)
        crowd = Crowd(viewers, shards, way, figures)
        reached = {one.name: None for one in every if binds_at(one, way, figures) < viewers}
        ahead = [one for one in every if one.name not in reached]
        after = (
            f"{ahead[0].name} at {_about(binds_at(ahead[0], way, figures))}" if ahead else "none"
        )
        rows.append(
            (
                f"{viewers:,}",
                f"{shards}" + (f" in {crowd.spaces} spaces" if crowd.spaces > 1 else ""),
                f"{crowd.requests:,.0f}",
                f"{crowd.writes:,.0f}",
                f"{crowd.reads:,.0f}",
                f"{crowd.invocations:,.0f}",
                f"{costs[viewers]:.3f}",
                ", ".join(reached) or "nothing",
                after,
            )
        )
    head = (
        "viewers",
        "shards",
        "requests/s",
        "writes/s",
        "reads/s",
        "invocations at once",
        "$ per 1,000 viewer-hours",
        "had to be raised",
        "binds first from here",
    )
    return markdown(head, rows)


def quotas_section() -> str:
    """The file's tables."""
    rows = [
        (one.what, f"{one.value:,.0f}", one.lifted, f"<{one.source}>")
        for one in quotas().of.values()
    ]
    assumed = [
        (quotas().assumptions[name], f"{value:g}") for name, value in quotas().assumed.items()
    ]
    return (
        "## Quotas and assumptions\n\n"
        f"Checked {quotas().checked} (`tests/bench/quotas.toml`):\n\n"
        f"{markdown(('what', 'at first', 'lifted', 'source'), rows)}\n\n"
        f"{markdown(('assumed', 'value'), assumed)}\n\n"
        "Prices, and what a function waits for an answer, are those of [cost.md](cost.md). What a "
        "viewer-hour costs here rests on minutes of a few viewers; there, on more."
    )


def viewer_section() -> str:
    """What does not depend on the machine that measures."""
    figures = Figures(0, 0)
    rows = []
    for way in (ByHttp(), BySocket()):
        crowd = Crowd(1_000_000, math.ceil(1_000_000 / VIEWERS_PER_SHARD), way, figures)
        rows.append(
            (
                way.name,
                f"{crowd.requests / 1e6 * 3600:.1f}",
                f"{crowd.connections / 1e6 * 3600:.1f}",
                f"{crowd.writes / 1e6 * 3600:.1f}",
                f"{crowd.reads / 1e6 * 3600:.1f}",
            )
        )
    head = ("of a viewer in an hour", "requests", "connections", "write units", "read units")
    return (
        "## What one viewer takes\n\n"
        f"{markdown(head, rows)}\n\n"
        f"Visits of an hour, a page change every {PAGE_EVERY / 60:g} minutes, a shard for every "
        f"{VIEWERS_PER_SHARD:,} viewers, rows of {Rows(1_000).size} bytes; units are of the "
        "Presence table, in a space of a million. A change of page is one of the beats by HTTP, "
        "and a message of its own by socket. Joins and leaves look into every shard: that is what "
        "makes reads grow with the number of shards."
    )


def million_section(found: Sequence[Measured]) -> str:
    """How a sweep of a million comes out, with what it rests on."""
    last = a_million(found, prices())
    spec = template().functions["cleanup"]
    assumed = prices().assumed
    rows = [
        ("by the clock, from the schedule to the end of the last", f"**{last.seconds:.0f} s**"),
        ("invocations", f"{last.pieces}"),
        ("at once, at most", f"{last.at_once}"),
        ("the longest", f"{last.longest:.1f} s"),
        ("memory of the function, MB", f"{spec['MemorySize']}"),
        ("of one processor", f"{spec['MemorySize'] / assumed['memory_of_one_vcpu']:.2f}"),
        ("CPU seconds in all", f"{last.cpu:.0f}"),
        ("wait for a page or a round of writes, s", f"{assumed['dynamodb_wait']:g}"),
        ("wait for a message to be queued, s", f"{assumed['queue_wait']:g}"),
    ]
    return (
        "## A million sessions, swept\n\n"
        f"A table of more than {ROWS_AT_ONCE:,} rows is swept in segments, each by an invocation "
        "of its own; one that meets more than it has time for leaves the rest to another. All rows "
        "of a shard are in one segment. Worked out from the invocations that a table of "
        f"{_sweep(found).sessions:,} sessions took.\n\n"
        f"{markdown(('a sweep of 1,000,000 sessions', ''), rows)}"
    )


def _sweep(found: Sequence[Measured]) -> Measured:
    return max((one for one in found if one.part == "sweep"), key=lambda one: one.sessions)


_TITLE = """# How far it goes

Made by `make bench-sizes ARGS=--write`; numbers are never edited here. CPU was measured on one's
own machine, over pages of real rows that were made up as they were asked for; units and calls are
what DynamoDB would bill. The rest is worked out from these, from quotas that AWS grants every
account, and from what is said to be assumed. One space, viewers who stay for an hour."""

_MEASURED = """Recounts are of every shard once. Sweeps are of a table whose every shard differs
from its count, so that each is read twice, and of whose rows two in a hundred are to be ended or
binned; `ends` is a sweep where every lease ran out. `daily` is a day of one space, by visit;
`publish` is of twenty versions of all shards. Peak memory is what the process took beyond what it
had before."""


def page(
    found: Sequence[Measured],
    figures: Figures,
    costs: Mapping[str, Mapping[int, float]],
) -> str:
    """The whole page."""
    http, socket = ByHttp(), BySocket()
    promised = [(text, "yes" if met else "**no**") for text, met in verdicts(found, prices())]
    return (
        "\n\n".join(
            [
                _TITLE,
                "## Measured",
                markdown(HEAD, table(found)),
                _MEASURED,
                markdown(("promised", ""), promised),
                million_section(found),
                viewer_section(),
                "## Which limit binds first, by HTTP",
                limits_table(http, figures),
                sizes_table(http, figures, costs[http.name]),
                "## Which limit binds first, by socket",
                limits_table(socket, figures),
                sizes_table(socket, figures, costs[socket.name]),
                _REMARKS.format(fitting=_about(_fitting(found))),
                quotas_section(),
            ]
        )
        + "\n"
    )


_REMARKS = """## What to do about it

- Up to the first row's viewers nothing has to be done. Before that, set `ShardsPerSpace` to
  one for every 30,000 viewers that are expected: it can be raised while people are there.
- `RequestsPerSecond` and `SocketMessagesPerSecond` are a fuse against abuse and its cost: set them
  to twice what is expected.
- Quotas are raised on request, which takes time: ask before a launch, for the gateway's requests
  first, then for the table's units, then for Lambda's invocations.
- A new on-demand table takes what the table below says and grows with its load: before a sudden
  rush, have it warmed up (DynamoDB's warm throughput).
- Dashboards are not in here: each version is a post to each of them, out of the same requests of
  the gateway. `make bench-fanout` has the figures.
- Of a space's day all visits are read by one invocation, which tells people apart: with the memory
  that the template gives it, up to {fitting} visits a day. Above, raise `MemorySize` of `daily`."""


def _fitting(found: Sequence[Measured]) -> float:
    """Visits of a day that fit in the memory of the function that reads them."""
    *_, few, many = sorted(
        (one for one in found if one.part == "daily"), key=lambda one: one.sessions
    )
    each = (many.peak - few.peak) / (many.sessions - few.sessions)
    memory = template().functions["daily"]["MemorySize"] - quotas().assumed["process_memory"]
    return float((memory - many.peak) / each + many.sessions)


def write(found: Sequence[Measured]) -> None:
    """Renew the committed page."""
    from tests.bench.cost import play

    small, large, held = play(_REPLAYED, in_memory=True)
    model = Model(prices(), small, large)
    by_socket = measured(held)
    costs: dict[str, dict[int, float]] = {ByHttp().name: {}, BySocket().name: {}}
    for viewers in VIEWERS:
        parts = model.per_thousand(of_size(small.scenario, viewers))
        costs[ByHttp().name][viewers] = viewers_total(parts)
        own = {name: by_socket.get(name, 0.0) for name in VIEWERS_PARTS if name not in _OF_A_SPACE}
        costs[BySocket().name][viewers] = sum(own.values()) + sum(
            map(parts.__getitem__, _OF_A_SPACE)
        )
    beats = small.ledger.parts["beats"]
    memory = template().functions["api"]["MemorySize"]
    seconds = beats.usage["lambda_gb_seconds"] / beats.times * 1024 / memory
    recounts = max((one for one in found if one.part == "recount"), key=lambda one: one.sessions)
    figures = Figures(recounts.cpu / recounts.sessions, seconds)
    PAGE.write_text(page(found, figures, costs))
