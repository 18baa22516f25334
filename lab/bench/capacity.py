"""docs/capacity.md: which limit binds first at each size, how to raise it, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headcount.times import MINUTE, SECOND
from headcount.usecases.cleanup import ROWS_PER_INVOCATION
from headcount.usecases.count import pace

from lab.bench.model import (
    VIEWERS_PARTS,
    VIEWERS_PER_SHARD,
    Model,
    joins_look_into,
    measured,
    of_size,
)
from lab.bench.prices import prices
from lab.bench.quotas import Quota, quotas
from lab.bench.replay import BEAT_EVERY, CRASHES, PAGE_EVERY, ByHttp, BySocket, Scenario, Transport
from lab.bench.report import MOST_OF_A_PERSON, viewers_total
from lab.bench.report import table as markdown
from lab.bench.sizes import HEAD, Measured, a_million, judged_targets, table
from lab.bench.synthetic import Rows
from lab.bench.variants import parts_of
from lab.harness.template import ROOT, template

PAGE = ROOT / "docs" / "capacity.md"
VIEWERS = tuple(10**power for power in range(2, 8))
STAY = 3600.0
"""Seconds of a visit."""

_REPLAYED = (
    Scenario(viewers=100, seconds=600, visit_seconds=round(STAY)),
    Scenario(viewers=1_000, seconds=120, visit_seconds=round(STAY)),
    Scenario(viewers=100, seconds=300, visit_seconds=round(STAY), transport=BySocket()),
)
"""The replays on which the costs here are based. `make bench-cost` replays more."""

_OF_A_SPACE = ("visits", "recounts", "publishes", "sweeps", "days")
"""The parts whose cost does not depend on the transport."""

_READ_UNIT = 4096
_SWEEPS_READ = 2
"""How often a sweep reads a table whose shards all differ from their counts."""
_ROWS_PER_VIEWER = 1 + (5.5 * MINUTE / SECOND) / STAY
"""The row of an ended session stays for five minutes, and until the next sweep."""
_SHARDS = "`ShardsPerSpace`"
_MOST_SHARDS = template().parameters["ShardsPerSpace"]["MaxValue"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What depends on the measuring machine."""

    row_cpu: float  # CPU seconds to count a row
    api_seconds: float  # duration of a request's function


@dataclass(frozen=True, slots=True)
class Crowd:
    """Viewers in shards: of one space, or of as many as the shards need."""

    viewers: int
    shards: int
    transport: Transport
    figures: Figures

    @property
    def requests(self) -> float:
        """Requests to the gateway per second: joins, beats, page changes, leaves. Beats are as
        frequent as where many visits are lost."""
        interval = BEAT_EVERY if self.beats else self.transport.interval(self.viewers)
        return self.viewers * (1 / interval + 1 / PAGE_EVERY * (not self.beats) + 2 / STAY)

    @property
    def beats(self) -> bool:
        """Whether presence is by HTTP, where a page change is one of the beats."""
        return isinstance(self.transport, ByHttp)

    @property
    def connections(self) -> float:
        """Connections opened per second."""
        return 0.0 if self.beats else self.viewers / STAY

    @property
    def writes(self) -> float:
        """Write units per second of the Presence table: one for each request, and one to delete
        each row."""
        return self.requests + self.viewers / STAY

    @property
    def spaces(self) -> int:
        """The spaces that this many shards need."""
        return math.ceil(self.shards / _MOST_SHARDS)

    @property
    def rows(self) -> float:
        """The rows of a shard."""
        return self.viewers * _ROWS_PER_VIEWER / self.shards

    @property
    def reads(self) -> float:
        """Read units per second of the Presence table: recounts, sweeps, and the shards in which
        joins and leaves look for a session."""
        whole = self.rows * Rows(1_000).size / _READ_UNIT
        recounts = self.shards * whole / (pace(round(self.rows)) / SECOND)
        sweeps = self.shards * whole * _SWEEPS_READ / 60
        shards = math.ceil(self.shards / self.spaces)
        looks = joins_look_into(shards) + shards * (1 - CRASHES)
        return recounts + sweeps + self.viewers / STAY * looks

    @property
    def recount_seconds(self) -> float:
        """The duration of a recount in the function that recounts large shards."""
        memory = template().functions["deferred"]["MemorySize"]
        return prices().seconds(
            cpu=self.rows * self.figures.row_cpu,
            memory=memory,
            waited=self.rows * Rows(1_000).size / 2**20 * prices().assumed["dynamodb_wait"],
        )

    @property
    def invocations(self) -> float:
        """Parallel invocations of all functions."""
        recounts = self.shards * self.recount_seconds / (pace(round(self.rows)) / SECOND)
        swept = self.rows * self.shards / ROWS_PER_INVOCATION
        each = _SWEEPS_READ * ROWS_PER_INVOCATION * self.figures.row_cpu * 2
        return self.requests * self.figures.api_seconds + recounts + swept * each / 60


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, and the load on it."""

    name: str
    what: str
    value: float
    load: Callable[[Crowd], float]
    lifted: str


def limits(transport: Transport) -> list[Limit]:
    """All limits, with the defaults of the template and of AWS."""
    of = quotas().of

    def granted(name: str, load: Callable[[Crowd], float]) -> Limit:
        quota: Quota = of[name]
        return Limit(quota.name, quota.what, quota.value, load, quota.lifted)

    by_way = [
        Limit(
            "`requests-per-second`",
            "HTTP requests a second",
            template().throttle("HttpApi"),
            lambda crowd: crowd.requests,
            "by `Limits`: `requests-per-second`",
        )
    ]
    if isinstance(transport, BySocket):
        by_way = [
            Limit(
                "`socket-messages-per-second`",
                "WebSocket connections and messages a second",
                template().throttle("SocketStage"),
                lambda crowd: crowd.requests,
                "by `Limits`: `socket-messages-per-second`",
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
            "seconds that a recount of a shard may take: they run one at a time, at this pace",
            pace(VIEWERS_PER_SHARD) / SECOND,
            lambda crowd: crowd.recount_seconds,
            of["partition_writes"].lifted,
        ),
        granted("table_writes", lambda crowd: crowd.writes),
        granted("table_reads", lambda crowd: crowd.reads),
        granted("lambda_concurrency", lambda crowd: crowd.invocations),
        Limit(
            "several spaces",
            f"shards of a space: the maximum of {_SHARDS}",
            float(_MOST_SHARDS),
            lambda crowd: crowd.viewers / VIEWERS_PER_SHARD,
            "by several spaces",
        ),
    ]


def binds_at(limit: Limit, transport: Transport, figures: Figures) -> float:
    """The number of viewers that reaches a limit: for the limit of a shard with one shard, for the
    others with as many as needed."""
    alone = limit.name == _SHARDS

    def over(viewers: int) -> bool:
        shards = 1 if alone else math.ceil(viewers / VIEWERS_PER_SHARD)
        return limit.load(Crowd(viewers, shards, transport, figures)) > limit.value

    low, high = 1, 10**10
    if not over(high):
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if over(middle) else (middle, high)
    return low


def _about(viewers: float) -> str:
    """Rounded to two digits, because more would not be accurate."""
    if viewers == math.inf:
        return "none"
    digits = max(0, len(str(round(viewers))) - 2)
    return f"{round(viewers / 10**digits) * 10**digits:,}"


def limits_table(transport: Transport, figures: Figures) -> str:
    """The limits, and how many viewers reach each."""
    found = sorted(limits(transport), key=lambda limit: binds_at(limit, transport, figures))
    rows = [
        (one.what, f"{one.value:,.0f}", _about(binds_at(one, transport, figures)), one.lifted)
        for one in found
    ]
    return markdown(("limit", "initial value", "viewers that reach it", "how to raise it"), rows)


def sizes_table(transport: Transport, figures: Figures, costs: Mapping[int, float]) -> str:
    """What each size needs, and which limits have to be raised for it."""
    rows = []
    every = sorted(limits(transport), key=lambda limit: binds_at(limit, transport, figures))
    for viewers in VIEWERS:
        shards = math.ceil(viewers / VIEWERS_PER_SHARD)
        crowd = Crowd(viewers, shards, transport, figures)
        reached = {one.name: None for one in every if binds_at(one, transport, figures) < viewers}
        ahead = [one for one in every if one.name not in reached]
        after = (
            f"{ahead[0].name} at {_about(binds_at(ahead[0], transport, figures))}"
            if ahead
            else "none"
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
        "to raise",
        "next limit",
    )
    return markdown(head, rows)


def quotas_section() -> str:
    """The quotas and assumptions as tables."""
    rows = [
        (one.what, f"{one.value:,.0f}", one.lifted, f"<{one.source}>")
        for one in quotas().of.values()
    ]
    assumed = [
        (quotas().assumptions[name], f"{value:g}") for name, value in quotas().assumed.items()
    ]
    return (
        "## Quotas and assumptions\n\n"
        f"Checked {quotas().checked} (`lab/bench/quotas.toml`):\n\n"
        f"{markdown(('what', 'initial value', 'how to raise it', 'source'), rows)}\n\n"
        f"{markdown(('assumed', 'value'), assumed)}\n\n"
        "Prices, and the time that functions wait for answers, are those of [cost.md](cost.md). "
        "The cost of a viewer-hour is based on minutes of a few viewers here, and on more there."
    )


def viewer_section() -> str:
    """The part that does not depend on the measuring machine."""
    figures = Figures(0, 0)
    rows = []
    for transport in (ByHttp(), BySocket()):
        crowd = Crowd(1_000_000, math.ceil(1_000_000 / VIEWERS_PER_SHARD), transport, figures)
        rows.append(
            (
                transport.name,
                f"{crowd.requests / 1e6 * 3600:.1f}",
                f"{crowd.connections / 1e6 * 3600:.1f}",
                f"{crowd.writes / 1e6 * 3600:.1f}",
                f"{crowd.reads / 1e6 * 3600:.1f}",
            )
        )
    head = ("per viewer and hour", "requests", "connections", "write units", "read units")
    return (
        "## What one viewer takes\n\n"
        f"{markdown(head, rows)}\n\n"
        f"Visits of an hour, a page change every {PAGE_EVERY / 60:g} minutes, a shard for every "
        f"{VIEWERS_PER_SHARD:,} viewers, rows of {Rows(1_000).size} bytes; units are those of the "
        "Presence table, in a space of a million. By HTTP a page change is one of the beats, by "
        "socket a separate message. Joins and leaves read every shard, which is why reads grow "
        "with the number of shards.\n\n"
        f"[People](people.md) add {MOST_OF_A_PERSON * 3600 / STAY:g} write units to it, and "
        f"{0.5 * 3600 / PAGE_EVERY:g} read units for page changes, in a table of their own. "
        f"[Roll-ups](rollups.md) add {MOST_OF_A_PERSON * 3600 / STAY:g} write units for entries of "
        f"the index of people: with a million viewers each of its {parts_of(1_000_000)} parts "
        f"takes {MOST_OF_A_PERSON * 1_000_000 / STAY / parts_of(1_000_000):.1f} a second."
    )


def million_section(found: Sequence[Measured]) -> str:
    """The sweep of a million sessions, with its assumptions."""
    last = a_million(found, prices())
    spec = template().functions["cleanup"]
    assumed = prices().assumed
    rows = [
        (
            "elapsed, from the schedule to the end of the last invocation",
            f"**{last.seconds:.0f} s**",
        ),
        ("invocations", f"{last.pieces}"),
        ("most at once", f"{last.at_once}"),
        ("longest invocation", f"{last.longest:.1f} s"),
        ("memory of the function, MB", f"{spec['MemorySize']}"),
        ("its share of one processor", f"{spec['MemorySize'] / assumed['memory_of_one_vcpu']:.2f}"),
        ("CPU seconds in total", f"{last.cpu:.0f}"),
        ("wait for a page or a round of writes, s", f"{assumed['dynamodb_wait']:g}"),
        ("wait for a message to be queued, s", f"{assumed['queue_wait']:g}"),
    ]
    return (
        "## A million sessions, swept\n\n"
        f"A table of more than {ROWS_PER_INVOCATION:,} rows is swept in segments, each by a "
        "separate invocation; an invocation that runs out of time passes the rest on to another. "
        "All rows of a shard are in one segment. The figures are calculated from the invocations "
        f"that a table of {_sweep(found).sessions:,} sessions took.\n\n"
        f"{markdown(('a sweep of 1,000,000 sessions', ''), rows)}"
    )


def _sweep(found: Sequence[Measured]) -> Measured:
    return max((one for one in found if one.part == "sweep"), key=lambda one: one.sessions)


_TITLE = """# How far it goes

Made by `make bench-sizes ARGS=--write`; never edit the numbers here. CPU was measured on a
developer's machine, over pages of realistic rows generated on request; units and calls are what
DynamoDB would bill. The rest is calculated from these figures, from the quotas that AWS grants
every account, and from the assumptions below. One space, viewers who stay for an hour. What else
limits Headcount is in [limits](limits.md)."""

_MEASURED = """`recount` counts every shard once. `sweep` reads a table in which every shard differs
from its count, so that each is read twice, and two in a hundred rows have to be ended or deleted;
`ends` is a sweep in which every lease has run out. `daily` is a day of one space, per visit;
`publish` makes twenty versions of all shards. Peak memory is what the process used in addition to
its memory before."""


def page(
    found: Sequence[Measured],
    figures: Figures,
    costs: Mapping[str, Mapping[int, float]],
) -> str:
    """The whole page."""
    http, socket = ByHttp(), BySocket()
    targets = [(text, "yes" if met else "**no**") for text, met in judged_targets(found, prices())]
    return (
        "\n\n".join(
            [
                _TITLE,
                "## Measured",
                markdown(HEAD, table(found)),
                _MEASURED,
                markdown(("target", "met"), targets),
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

- Below the first row's number of viewers there is nothing to do. Before you reach it, set
  `ShardsPerSpace` to one for every 30,000 viewers you expect; you can raise it while people are
  present.
- `RequestsPerSecond` and `SocketMessagesPerSecond` are a fuse against abuse and its cost: set them
  to twice what you expect.
- Raising a quota on request takes time: ask before a launch, first for the gateway's requests,
  then for the table's units, then for Lambda's invocations.
- A new on-demand table starts with the values in the table below and grows with its load: before
  a sudden rush, warm it up (DynamoDB's warm throughput).
- Dashboards are not included: each version is a post to each of them, out of the same requests of
  the gateway. `make bench-fanout` has the figures.
- One invocation reads all visits of a space's day, because it has to tell people apart: with the
  memory in the template, up to {fitting} visits a day. For more, raise `MemorySize` of `daily`."""


def _fitting(found: Sequence[Measured]) -> float:
    """How many visits of a day fit in the memory of the function that reads them."""
    *_, few, many = sorted(
        (one for one in found if one.part == "daily"), key=lambda one: one.sessions
    )
    each = (many.peak - few.peak) / (many.sessions - few.sessions)
    memory = template().functions["daily"]["MemorySize"] - quotas().assumed["process_memory"]
    return float((memory - many.peak) / each + many.sessions)


def write(found: Sequence[Measured]) -> None:
    """Renew the committed page."""
    from lab.bench.cost import play

    small, large, socket = play(_REPLAYED, in_memory=True)
    model = Model(prices(), small, large)
    by_socket = measured(socket)
    costs: dict[str, dict[int, float]] = {ByHttp().name: {}, BySocket().name: {}}
    for viewers in VIEWERS:
        parts = model.per_thousand(of_size(small.scenario, viewers))
        costs[ByHttp().name][viewers] = viewers_total(parts)
        own = {name: by_socket.get(name, 0.0) for name in VIEWERS_PARTS if name not in _OF_A_SPACE}
        costs[BySocket().name][viewers] = sum(own.values()) + sum(
            map(parts.__getitem__, _OF_A_SPACE)
        )
    beats = small.ledger.parts["beats"]
    memory = template().functions["beat"]["MemorySize"]
    seconds = beats.usage["lambda_gb_seconds"] / beats.times * 1024 / memory
    recounts = max((one for one in found if one.part == "recount"), key=lambda one: one.sessions)
    figures = Figures(recounts.cpu / recounts.sessions, seconds)
    PAGE.write_text(page(found, figures, costs))
