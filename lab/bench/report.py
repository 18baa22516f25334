"""The ledger as a page: the costs, compared with the targets and with hosted services."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headcount.model.intervals import BY_SIZE, by_size
from headcount.model.pushes import PushBudget

from lab.bench import extras
from lab.bench.ledger import MEMORY, PEOPLE, PUSHES, ROLL_UPS, Part
from lab.bench.model import (
    VIEWERS_PARTS,
    Model,
    measured,
    of_size,
    rhythm,
    shards_of,
)
from lab.bench.prices import Amounts, Prices, Usage
from lab.bench.replay import CRASHES, PAGE_EVERY, ByHttp, Outcome
from lab.bench.variants import (
    RollUpModel,
    Variants,
    part_rhythm,
    parts_of,
    people_units,
    written_in_a_visit,
)
from lab.harness.template import template

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
MODEL_WITHIN = 0.05
MOST_PER_VISIT = 8.0
MOST_OF_A_PERSON = 2.0
"""Write units that people add to a visit, and roll-ups: one for the join, one for the leave."""
MOST_BY_SOCKET = 0.05
"""Dollars of 1,000 viewer-hours by socket, in visits of an hour."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The replays on which a page is based."""

    small: Outcome  # visits of an hour
    middle: Outcome
    large: Outcome
    brief: Outcome  # visits of ten minutes
    socket: Outcome  # visits of an hour, by connection
    socket_brief: Outcome
    listening: Outcome | None = None  # as ``socket``, and each viewer listens to the count
    variants: Variants | None = None  # without people, and with roll-ups

    @property
    def all(self) -> tuple[Outcome, ...]:
        """All replays."""
        return (
            *(self.small, self.middle, self.large, self.brief),
            *(self.socket, self.socket_brief),
        )

    @property
    def model(self) -> Model:
        return Model(self.middle.ledger.prices, self.small, self.large)


@dataclass(frozen=True, slots=True)
class Target:
    """A target, and the measured value."""

    what: str
    target: str
    found: str
    met: bool


def beat_units(outcome: Outcome) -> float:
    """Write units of a steady beat."""
    part = outcome.ledger.parts["beats"]
    return round(part.usage["write_units"] / part.times, 9)


def visit_units(outcome: Outcome) -> float:
    """Write units of a visit without its beats; the join and page changes count as beats."""
    ledger = outcome.ledger
    units = sum(ledger.parts[name].usage["write_units"] for name in ("joins", "visits", "leaves"))
    units += sum(
        count
        for (operation, table), count in ledger.parts["sweeps"].operations.items()
        if (operation, table) in {("PutItem", "presence"), ("DeleteItem", "presence")}
    )
    return units / ledger.counts["visits"] - 1


def viewers_total(costs: Mapping[str, float]) -> float:
    """Dollars of all parts that viewers cause."""
    return sum(costs.get(name, 0) for name in VIEWERS_PARTS)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars of 1,000 viewer-hours: of release 1.0.0, as it was to be, and as it is."""

    what: str
    before: float | None
    wanted: float
    found: float


def by_url(outcome: Outcome) -> float:
    """Dollars of an outcome whose beats go to a function URL: the gateway bills none of those."""
    ledger = outcome.ledger
    requests = sum(ledger.parts[name].usage["http_requests"] for name in ("beats", "page changes"))
    saved = ledger.prices.cost(Amounts({"http_requests": requests}))
    return viewers_total(measured(outcome)) - saved / outcome.scenario.viewer_hours * 1000


def prices_by_door(runs: Runs) -> list[Price]:
    """What viewers cost by each way of being present, with visits of an hour."""
    found = [
        Price(
            f"HTTP API, {one.scenario.viewers:,} viewers",
            before,
            wanted,
            viewers_total(measured(one)),
        )
        for one, before, wanted in (
            (runs.small, 0.268, 0.20),
            (runs.middle, 0.248, 0.14),
            (runs.large, 0.243, 0.09),
        )
    ]
    found.append(
        Price(
            f"function URL, {runs.large.scenario.viewers:,} viewers", None, 0.05, by_url(runs.large)
        )
    )
    socket = f"{runs.socket.scenario.viewers:,} viewers"
    found.append(
        Price(f"socket, {socket}", 0.062, MOST_BY_SOCKET, viewers_total(measured(runs.socket)))
    )
    if runs.listening is not None:
        costs = measured(runs.listening)
        total = viewers_total(costs) + costs.get(PUSHES, 0)
        found.append(Price(f"with pushes to viewers: socket, {socket}", None, 0.09, total))
    return found


def targets(runs: Runs) -> list[Target]:
    """The targets beside the prices."""
    worst = max(abs(off) for _, _, _, off in checks(runs))
    beat = max(beat_units(one) for one in (runs.small, runs.middle, runs.large, runs.brief))
    return [
        Target("write units of a steady beat", "1.00", f"{beat:.2f}", beat <= 1),
        Target(
            "write units of a visit in addition to its beats and page changes",
            f"at most {MOST_PER_VISIT:g}",
            f"{visit_units(runs.small):.2f}",
            visit_units(runs.small) <= MOST_PER_VISIT,
        ),
        *_targets_of_people(runs),
        *(
            Target(
                f"$ per 1,000 viewer-hours: {one.what}",
                f"at most {one.wanted:.2f}",
                f"{one.found:.3f}",
                one.found <= one.wanted,
            )
            for one in prices_by_door(runs)
        ),
        Target(
            "the model against the replays",
            f"within {MODEL_WITHIN:.0%}",
            f"{worst:.1%}",
            worst <= MODEL_WITHIN,
        ),
    ]


def _targets_of_people(runs: Runs) -> list[Target]:
    """What people and roll-ups may add to a visit, and to a steady beat."""
    if (variants := runs.variants) is None:
        return []
    pair = variants.middle
    beat = max(beat_units(one) for one in (pair.rolled, variants.small.rolled))
    added = {
        "people": 2 * people_units(pair.without),
        "roll-ups": written_in_a_visit(variants.small),
    }
    most = f"at most {MOST_OF_A_PERSON:g}"
    return [
        *(
            Target(
                f"write units that {what} add to a visit",
                most,
                f"{units:.2f}",
                units <= MOST_OF_A_PERSON,
            )
            for what, units in added.items()
        ),
        Target("write units of a steady beat, with both", "1.00", f"{beat:.2f}", beat <= 1),
    ]


def checks(runs: Runs) -> list[tuple[str, float, float, float]]:
    """Title, dollars by the model, dollars by the replay, and their relative difference."""
    found = []
    for one in (runs.small, runs.middle, runs.large):
        modelled = viewers_total(runs.model.per_thousand(one.scenario, steady=False))
        replayed = viewers_total(measured(one))
        found.append((one.scenario.title, modelled, replayed, modelled / replayed - 1))
    return found


def page(runs: Runs) -> str:
    """The whole page, as Markdown."""
    prices = runs.middle.ledger.prices
    sections = [
        _TITLE.format(
            table=_prices_by_door(runs),
            checked=prices.checked,
            region=prices.region,
            engine=_OURS if runs.middle.ledger.engine == MEMORY else _AMAZONS,
        ),
        _targets(runs),
        _payments(runs, prices),
        _by_part(runs),
        _by_socket(runs, prices),
        _by_quantity(runs, prices),
        _by_operation(runs.middle),
        _sizes(runs),
        *_with_people(runs),
        _doors(runs),
        _fixed(runs, prices),
        _hosted(runs, prices),
        _prices(prices),
        _remarks(runs),
    ]
    return "\n\n".join(sections) + "\n"


_AMAZONS = "Amazon's DynamoDB Local"
_OURS = (
    "an engine in memory that bills as Amazon's DynamoDB Local does, which is checked each\ntime,"
)

_TITLE = """# What it costs

{table}

What is bold is missed. A function URL is the same replay without what the gateway bills for beats
and page changes.

Made by `make bench-cost ARGS=--write`; never edit the numbers here. The real handlers are
replayed on {engine} with a simulated clock, and everything that
AWS bills is counted. Prices: {region}, checked {checked}, without any free tier
(`lab/bench/prices.toml`). The units of each operation are in
[how it works](how-it-works.md#what-a-steady-beat-costs)."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; every column except the first has numbers."""
    titles = list(head)
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _prices_by_door(runs: Runs) -> str:
    head = (
        "$ per 1,000 viewer-hours, visits of an hour, a page change per 5 minutes",
        *("release 1.0.0", "to reach", "found"),
    )
    prices = [
        (
            one.what,
            "-" if one.before is None else f"{one.before:.3f}",
            f"{one.wanted:.2f}",
            f"{one.found:.3f}" if one.found <= one.wanted else f"**{one.found:.3f}**",
        )
        for one in prices_by_door(runs)
    ]
    return table(head, prices)


def in_a_sentence(runs: Runs) -> str:
    """What viewers cost, for other pages."""
    by_http = [viewers_total(measured(one)) for one in (runs.small, runs.middle, runs.large)]
    few, many, most = (f"${one:.2f}" for one in by_http)
    sizes = [f"{one.scenario.viewers:,}" for one in (runs.small, runs.middle, runs.large)]
    by_socket = viewers_total(measured(runs.socket))
    return (
        f"Per 1,000 viewer-hours by HTTP, that is {few} with {sizes[0]} viewers, {many} with "
        f"{sizes[1]} and {most} with {sizes[2]}; by socket ${by_socket:.2f} with {sizes[1]}"
    )


SENTENCE = re.compile(
    r"Per 1,000 viewer-hours by HTTP, that\s+is .*?; by socket .*?(?= \()", re.DOTALL
)
"""Where it stands in a page, up to a parenthesis."""


def _targets(runs: Runs) -> str:
    beside = [
        (one.what, one.target, one.found, "yes" if one.met else "**no**")
        for one in targets(runs)
        if not one.what.startswith("$")
    ]
    return f"## Targets\n\n{table(('', 'target', 'measured', 'met'), beside)}"


def _by_part(runs: Runs) -> str:
    return (
        "## By part\n\n"
        f"{_parts((runs.small, runs.middle, runs.large, runs.brief))}\n\n"
        f"A page change every {PAGE_EVERY / 60:g} minutes; {CRASHES:.0%} of the visits end without "
        "a leave. Another visitor takes each seat at once, so a window of minutes represents any "
        "other. Each visit has one join, and one begin and one end in the ledger of visits; "
        "recounts and publishes are per space, however many people are in it."
    )


def _parts(shown: Iterable[Outcome]) -> str:
    every = list(shown)
    costs = [measured(one) for one in every]
    rows = [
        (name, *(f"{cost.get(name, 0):.4f}" for cost in costs))
        for name in VIEWERS_PARTS
        if any(cost.get(name) for cost in costs)
    ]
    rows.append(("**viewers, total**", *(f"**{viewers_total(cost):.4f}**" for cost in costs)))
    rows.append(("one watching dashboard", *(f"{cost['dashboards']:.4f}" for cost in costs)))
    return table(("$ per 1,000 viewer-hours", *map(_short, every)), rows)


def _by_socket(runs: Runs, prices: Prices) -> str:
    floor = socket_floor(prices)
    left = MOST_BY_SOCKET - sum(floor.values())
    rows = [(what, f"{dollars:.4f}") for what, dollars in floor.items()]
    rows.append(("**total**", f"**{sum(floor.values()):.4f}**"))
    return (
        "## By socket\n\n"
        "Presence by connection: connecting is the join, closing is the leave, a page change is a "
        "message, and a silent viewer sends a beat before nine minutes are over.\n\n"
        f"{_parts((runs.socket, runs.socket_brief))}\n\n"
        f"{_listening(runs)}"
        "By the price list alone, connections that are held for an hour and report twelve page "
        "changes cost at least:\n\n"
        f"{table(('minimum', '$ per 1,000 viewer-hours'), rows)}\n\n"
        f"That leaves ${left:.4f} of the target for all else:\n\n"
        f"{table(('beyond the minimum', '$ per 1,000 viewer-hours'), _beyond(runs, floor))}"
    )


def _listening(runs: Runs) -> str:
    """What it costs that viewers hear the count as it changes."""
    if runs.listening is None:
        return ""
    plain, listening = measured(runs.socket), measured(runs.listening)
    messages = runs.listening.ledger.parts[PUSHES].usage["socket_messages"]
    each = messages / runs.listening.scenario.viewer_hours
    budget, prices = PushBudget(), runs.listening.ledger.prices
    usage = runs.listening.ledger.parts[PUSHES].usage
    sent = {name: usage[name] for name in ("socket_messages", "bytes_out")}
    frame = prices.cost(sent) / max(1, messages)
    rows = [
        ("viewers, total", f"{viewers_total(plain):.4f}", f"{viewers_total(listening):.4f}"),
        ("pushes to viewers: socket", "0.0000", f"{listening.get(PUSHES, 0):.4f}"),
    ]
    return (
        "Viewers who also [listen](websocket.md#listeners-the-count) hear each change within the "
        "budget of their space, 40 frames an hour in the long run and 20 at once:\n\n"
        f"{table(('$ per 1,000 viewer-hours', 'by socket', 'with pushes to viewers'), rows)}\n\n"
        f"That is the long run, {each:.0f} frames per viewer-hour with a greeting per connection: "
        f"{runs.listening.scenario.title}, after {runs.listening.scenario.settles // 60} minutes "
        "in which they were all there and the space spent what it may push at once. A space that "
        f"had a rest has that again, {budget.burst} frames to each listener: once, "
        f"${1000 * budget.burst * frame:.4f} for 1,000 listeners, and as much in advance, which "
        "it pays back. Reading who listens is in the total. A page that beats by HTTP and listens "
        "pays for its connection as well.\n\n"
    )


def _beyond(runs: Runs, floor: Mapping[str, float]) -> list[tuple[str, str]]:
    """What viewers by socket cost in addition to the minimum, by part."""
    costs = measured(runs.socket)
    own = ("connections", "joins", "page changes", "leaves", "beats")
    rest = {name: costs.get(name, 0) for name in VIEWERS_PARTS if name not in own}
    requests = sum(costs.get(name, 0) for name in own) - sum(floor.values())
    found = {"waiting, reads and second writes of these requests": requests, **rest}
    found["**total**"] = sum(found.values())
    return [(name, f"{dollars:.4f}") for name, dollars in found.items() if dollars >= 0.00005]


def socket_floor(prices: Prices) -> dict[str, float]:
    """The minimum dollars of 1,000 viewer-hours by connection, in visits of an hour: each page
    change is a message, an invocation and a write; a join and a leave are an invocation and a
    write."""
    changes = 1000 * 3600 / PAGE_EVERY
    events = changes + 2 * 1000
    quantities: dict[str, Usage] = {
        "connection minutes": Amounts({"socket_minutes": 60_000}),
        "messages for page changes": Amounts({"socket_messages": changes}),
        "an invocation for each page change, join and leave": Amounts({"lambda_requests": events}),
        "one write unit for each": Amounts({"write_units": events}),
    }
    return {what: prices.cost(usage) for what, usage in quantities.items()}


def _short(outcome: Outcome) -> str:
    scenario = outcome.scenario
    return f"{scenario.viewers:,} viewers, {scenario.visit_seconds // 60} min visits"


def _by_quantity(runs: Runs, prices: Prices) -> str:
    shown = (runs.middle, runs.brief)
    rows = []
    for name, price in prices.by_use.items():
        cells = []
        for one in shown:
            usage = total_usage(one)
            scale = 1000 / one.scenario.viewer_hours
            cells += [
                f"{usage[name] * scale:,.4g}",
                f"{prices.cost({name: usage[name] * scale}):.4f}",
            ]
        rows.append((price.what, *cells))
    head = ["per 1,000 viewer-hours"]
    for one in shown:
        head += [_short(one), "$"]
    return f"## By what is billed\n\nOnly the viewers' parts.\n\n{table(head, rows)}"


def total_usage(outcome: Outcome) -> Usage:
    """The usage of all parts that viewers cause."""
    usage: Usage = Amounts()
    for name in VIEWERS_PARTS:
        usage.add(outcome.ledger.parts[name].usage)
    return usage


def _by_operation(outcome: Outcome) -> str:
    rows = []
    for name in VIEWERS_PARTS:
        part = outcome.ledger.parts[name]
        times = part.times or outcome.ledger.counts["visits"]
        found = ", ".join(
            f"{operation} {role} {units / times:.3g}"
            for (operation, role), units in sorted(part.operations.items())
            if units
        )
        rows.append((name, f"{part.times or times:,}", *_each(part, times), found))
    head = ("part", "times", "write units", "read units", "CPU ms", "slept s", "units by operation")
    return f"## Units of each operation\n\n{outcome.scenario.title}.\n\n{table(head, rows)}"


def _each(part: Part, times: int) -> tuple[str, ...]:
    return (
        f"{part.usage['write_units'] / times:.2f}",
        f"{part.usage['read_units'] / times:.2f}",
        f"{part.cpu / times * 1000:.1f}",
        f"{part.slept / times:.2f}",
    )


def _sizes(runs: Runs) -> str:
    rows = []
    for size in SIZES:
        scenario = of_size(runs.middle.scenario, size)
        costs = runs.model.per_thousand(scenario)
        beat = rhythm(scenario, runs.middle.ledger.prices)
        rows.append(
            (
                f"{size:,}",
                str(shards_of(size)),
                f"{beat.period:.2f}",
                f"{sum(costs[name] for name in ('recounts', 'publishes')):.4f}",
                f"{costs['sweeps']:.4f}",
                f"{viewers_total(costs):.4f}",
            )
        )
    head = ("viewers", "shards", "s between recounts", "recounts, publishes", "sweeps", "total")
    checked = [
        (title, f"{modelled:.4f}", f"{replayed:.4f}", f"{off:+.1%}")
        for title, modelled, replayed, off in checks(runs)
    ]
    return (
        "## From 100 to 1,000,000 viewers\n\n"
        "By the model, in $ per 1,000 viewer-hours, for visits of an hour.\n\n"
        f"{table(head, rows)}\n\n"
        "A larger space beats less often. The model is fitted to the smallest and the largest "
        "replay; the middle one checks it.\n\n"
        f"{table(('replay', 'model', 'replayed', 'difference'), checked)}"
    )


def _with_people(runs: Runs) -> list[str]:
    """What it costs that people can be looked up, and are counted across spaces."""
    if (variants := runs.variants) is None:
        return []
    standard = variants.middle.without
    people = viewers_total(measured(standard)) - viewers_total(measured(variants.nobody))
    asked = [
        (name, f"{units['write_units']:.2f}", f"{units['read_units']:.2f}")
        for name in extras.PEOPLE
        for units in [standard.ledger.parts[name].usage]
    ]
    features = ("", "without both", "with people", "with roll-ups, too")
    section = (
        "## People and roll-ups\n\n"
        "[People](people.md) can be looked up unless `people=off` is set, [roll-ups](rollups.md) "
        "are off unless `RollUps` is set. All other tables are with people, and without roll-ups. "
        f"Write and read units of one, {standard.scenario.title}:\n\n"
        f"{table(features, _units(variants))}\n\n"
        "What is asked and sent, at once:\n\n"
        f"{table(('once', 'write units', 'read units'), asked)}\n\n"
        "By the model, what each adds in $ per 1,000 viewer-hours, for visits of an hour. In small "
        "spaces roll-ups cost by the change, as each leads to a recount, and to versions of the "
        "kind and of all; in large ones by the entries of joins and leaves:\n\n"
        f"{_added(runs, variants)}\n\n"
        f"The replay without people costs ${people:.4f} less. "
        "The model is fitted to two replays with roll-ups:\n\n"
        f"{_rollups_checked(variants)}"
    )
    return [section]


def _added(runs: Runs, variants: Variants) -> str:
    """What people and roll-ups add to each size, by the model."""
    prices = runs.model.prices
    model = RollUpModel(prices, variants)
    rows = []
    for size in SIZES:
        scenario = of_size(runs.middle.scenario, size)
        people, rolled = runs.model.parts(scenario)[PEOPLE], model.usage(scenario)
        beat = part_rhythm(scenario, rhythm(scenario, prices).batches)
        rows.append(
            (
                f"{size:,}",
                *(f"{prices.cost(usage) * 1000 / size:.4f}" for usage in (people, rolled)),
                str(parts_of(size)),
                f"{beat.entries:,.0f}",
                f"{beat.recounts:,.0f}",
            )
        )
    head = (
        "viewers",
        "people",
        "roll-ups",
        "parts",
        "entries of a part",
        "recounts of them an hour",
    )
    return table(head, rows)


def _rollups_checked(variants: Variants) -> str:
    """What roll-ups add to the replays, by the model too."""
    rows = []
    for pair in (variants.small, variants.middle):
        scenario, ledger = pair.rolled.scenario, pair.rolled.ledger
        prices = ledger.prices
        usage = RollUpModel(prices, variants).usage(scenario, steady=False)
        batches = rhythm(scenario, prices, steady=False).batches
        tasks = ledger.parts[ROLL_UPS].times * 3600 / scenario.seconds
        rows.append(
            (
                scenario.title,
                f"{prices.cost(usage) * 1000 / scenario.viewers:.4f}",
                f"{pair.dollars:.4f}",
                f"{part_rhythm(scenario, batches).tasks:,.0f}",
                f"{tasks:,.0f}",
            )
        )
    head = ("replay", "model", "replayed", "tasks an hour: model", "replayed")
    return table(head, rows)


def _units(variants: Variants) -> list[tuple[str, ...]]:
    """Units of what a viewer does, by what is turned on; with those of its person's row."""
    pair = variants.middle
    row = people_units(pair.without)
    looks = pair.without.ledger.parts[PEOPLE].usage["read_units"]
    rows = []
    for name, write in (("joins", row), ("leaves", row), ("beats", 0.0), ("page changes", 0.0)):
        cells = []
        for outcome in (variants.nobody, pair.without, pair.rolled):
            part, people = outcome.ledger.parts[name], outcome.scenario.people
            times = max(1, part.times)
            writes = part.usage["write_units"] / times + write * people
            reads = part.usage["read_units"] / times
            if name == "page changes" and people:
                reads += looks / times
            cells.append(f"{writes:.2f} / {reads:.2f}")
        rows.append((name, *cells))
    return rows


@dataclass(frozen=True)
class _Every(ByHttp):
    """Beats at a fixed interval; 0: as the server chooses."""

    seconds: int = 0

    def interval(self, viewers: int) -> float:
        return self.seconds or super().interval(viewers)


PAYING = (100, 1_000, 10_000, 100_000)
_OF_A_SIZE = ("visits", "recounts", "publishes", "sweeps", "days")
"""The parts by socket that depend on the size of the space, as by HTTP."""
BY_GATEWAY = ("beats", "page changes")
"""The parts whose requests can go to a function URL."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Dollars of 1,000 viewer-hours by each door, in a space of some size."""

    gateway: float
    url: float
    socket: float
    listening: float | None


def doors(runs: Runs, viewers: int, seconds: int = 0) -> Doors:
    """By the model; beats every so many ``seconds``, or as the server chooses."""
    model = runs.model
    scenario = replace(of_size(runs.middle.scenario, viewers), transport=_Every(seconds=seconds))
    parts = model.parts(scenario)
    costs = {name: model.prices.cost(usage) * 1000 / viewers for name, usage in parts.items()}
    requests = sum(parts[name]["http_requests"] for name in BY_GATEWAY) * 1000 / viewers
    gateway = viewers_total(costs)
    by_size = sum(costs[name] for name in _OF_A_SIZE)
    found = measured(runs.socket)
    socket = by_size + viewers_total(
        {name: cost for name, cost in found.items() if name not in _OF_A_SIZE}
    )
    pushes = None
    if runs.listening is not None:
        pushes = viewers_total(measured(runs.listening)) - viewers_total(found)
        pushes += measured(runs.listening).get(PUSHES, 0)
    return Doors(
        gateway,
        gateway - model.prices.cost(Amounts({"http_requests": requests})),
        socket,
        None if pushes is None else socket + pushes,
    )


def _doors(runs: Runs) -> str:
    every = [30, *(seconds for _, seconds in BY_SIZE[1:])]
    head = ["viewers"]
    for door in ("HTTP API", "function URL"):
        head += [f"{door}, {seconds} s" for seconds in every]
    head += ["socket", "socket, with pushes"]
    rows = []
    for viewers in PAYING:
        fixed = [doors(runs, viewers, seconds) for seconds in every]
        last = fixed[0]
        rows.append(
            (
                f"{viewers:,}",
                *(f"{one.gateway:.3f}" for one in fixed),
                *(f"{one.url:.3f}" for one in fixed),
                f"{last.socket:.3f}",
                "-" if last.listening is None else f"{last.listening:.3f}",
            )
        )
    return (
        "## By door and interval\n\n"
        "By the model, in $ per 1,000 viewer-hours, for visits of an hour and a beat every 30 to "
        f"{BY_SIZE[-1][1]} s. The server chooses {_chosen()}; a kind's `beat` fixes any other.\n\n"
        f"{table(head, rows)}\n\n"
        "By socket: connections, joins, page changes and leaves as replayed with "
        f"{runs.socket.scenario.viewers:,} viewers, the rest by the model; and what pushes cost "
        "there, for all sizes. A page that beats by HTTP and listens pays for its connection, too."
    )


def _chosen() -> str:
    return ", ".join(f"{seconds} s at {viewers:,} viewers" for viewers, seconds in BY_SIZE)


def monthly_fixed(prices: Prices) -> float:
    """Dollars a month of a stack without viewers."""
    return prices.cost(_polls(_polled(), prices)) + sum(
        one["dollars"] * sum(1 for _ in template().of_type(one["resource"]))
        for one in prices.monthly.values()
    )


def _payments(runs: Runs, prices: Prices) -> str:
    hours = prices.assumed["busy_hours"]
    month = hours * prices.assumed["hours_a_month"] / 24
    messages = presence_messages(runs.middle.scenario.visit_seconds) / 1000
    rows = []
    for viewers in PAYING:
        one = doors(runs, viewers)
        ours = [one.gateway, one.url, one.socket, one.listening]
        theirs = [
            prices.hosted_month(service, viewers=viewers, hours=hours, messages=messages)
            for service in prices.hosted
        ]
        paid = [
            None if dollars is None else dollars * viewers * month / 1000 + monthly_fixed(prices)
            for dollars in ours
        ]
        rows.append((f"{viewers:,}", *map(_dollars, paid), *map(_dollars, theirs)))
    head = ("viewers", "HTTP API", "function URL", "socket", "socket, with pushes")
    services = [one["name"].partition(",")[0] for one in prices.hosted]  # with any plan
    return (
        "## What you would pay\n\n"
        f"$ a month for so many viewers at once for {hours:g} hours a day, in visits of "
        f"{runs.middle.scenario.visit_seconds // 60} minutes. Headcount with all its parts, what a "
        "stack costs without viewers, and intervals as the server chooses; hosted services by "
        "their list prices, with the plan that is needed, for "
        "[presence alone](#hosted-services-by-their-list-prices).\n\n"
        f"{table((*head, *services), rows)}\n\n"
        "*By quote*: more than the largest plan that is published. Services that charge by "
        f"monthly users: each person is there for {prices.assumed['hours_a_person']:g} hours a "
        "month."
    )


def _dollars(amount: float | None) -> str:
    return "by quote" if amount is None else f"{amount:,.0f}"


def _polled() -> list[dict[str, Any]]:
    """The queues that functions read with any parameters."""
    resources = template().resources
    return [
        resources[event["Properties"]["Queue"]["Fn::GetAtt"][0]]["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::Serverless::Function" and "Condition" not in resource
        for event in resource["Properties"].get("Events", {}).values()
        if event["Type"] == "SQS"
    ]


def _polls(queues: list[dict[str, Any]], prices: Prices) -> Usage:
    """The requests a month of polling these queues while they are empty."""
    fifo = sum(queue.get("FifoQueue", False) for queue in queues)
    return Amounts(
        {
            "queue_requests": prices.idle_polls(len(queues) - fifo),
            "fifo_requests": prices.idle_polls(fifo),
        }
    )


def _fixed(runs: Runs, prices: Prices) -> str:
    queues = _polled()
    polls = _polls(queues, prices)
    rows = [(f"Lambda's polling of idle queues ({len(queues)})", f"{prices.cost(polls):.2f}")]
    for monthly in prices.monthly.values():
        number = sum(1 for _ in template().of_type(monthly["resource"]))
        rows.append((f"{monthly['what']} ({number})", f"{number * monthly['dollars']:.2f}"))
    hours = []
    for one in (runs.small, runs.middle, runs.large):
        cost = prices.cost(one.ledger.parts["dashboards"].usage)
        hours.append((_short(one), f"{cost * 3600 / one.scenario.seconds:.4f}"))
    once = [
        (name, f"{prices.cost(runs.small.ledger.parts[name].usage) * 1e6:.2f}")
        for name in extras.EXTRAS
    ]
    return (
        "## Fixed and separate costs\n\nA stack costs this a month, with or without viewers:\n\n"
        f"{table(('what', '$ a month'), rows)}\n\n"
        "A dashboard that receives every version, then reads the first hundred sessions (at most "
        "every 3 s), and reads the timeline every minute:\n\n"
        f"{table(('watching', '$ an hour'), hours)}\n\n"
        "Work that viewer-hours don't need, done once each in the replay. ECS's own price for "
        "containers is not included:\n\n"
        f"{table(('once', '$ for a million'), once)}"
    )


def _hosted(runs: Runs, prices: Prices) -> str:
    ours = viewers_total(measured(runs.middle))
    ours_brief = viewers_total(measured(runs.brief))
    rows = [
        (
            "Headcount, by HTTP",
            f"{ours:.3f}",
            "1.0",
            f"{ours_brief:.3f}",
            f"a beat every {by_size(runs.middle.scenario.viewers)} s, all parts",
        )
    ]
    sockets = [viewers_total(measured(one)) for one in (runs.socket, runs.socket_brief)]
    rows.append(
        (
            "Headcount, by socket",
            f"{sockets[0]:.3f}",
            f"{sockets[0] / ours:.1f}",
            f"{sockets[1]:.3f}",
            "a connection per viewer, all parts",
        )
    )
    for service in prices.hosted:
        theirs = [
            prices.hosted_cost(service, messages=presence_messages(one.scenario.visit_seconds))
            for one in (runs.middle, runs.brief)
        ]
        rows.append(
            (
                service["name"],
                f"{theirs[0]:.3f}",
                f"{theirs[0] / ours:.1f}",
                f"{theirs[1]:.3f}",
                service["base"],
            )
        )
    head = ("$ per 1,000 viewer-hours", "60 min visits", "times ours", "10 min visits", "")
    sources = "\n".join(f"- {one['name']}: {_links(one['source'])}" for one in prices.hosted)
    return (
        "## Hosted services, by their list prices\n\n"
        "Presence alone, at its cheapest: a connection per viewer, and a message to a single "
        "listener for each join, leave and page change. Visits, peaks, days and distinct people "
        "are not included. If every viewer listens, as for a badge with the count, messages grow "
        "with the square of the viewers; in Headcount the count is in the answer to the beat.\n\n"
        f"{table(head, rows)}\n\n{sources}"
    )


def presence_messages(visit_seconds: int) -> float:
    """Messages in 1,000 viewer-hours: each change is sent, and received by one listener."""
    changes = 3600 / visit_seconds * 2 + 3600 / PAGE_EVERY
    return 2 * 1000 * changes


def _prices(prices: Prices) -> str:
    rows = [
        (one.what, f"{one.dollars:g}", f"{one.per:,.0f}", _links(one.source))
        for one in prices.by_use.values()
    ]
    assumed = [(prices.assumptions[name], f"{value:g}") for name, value in prices.assumed.items()]
    return (
        "## Prices and assumptions\n\n"
        f"{table(('what', '$', 'for', 'source'), rows)}\n\n"
        "What can't be measured locally:\n\n"
        f"{table(('assumed', 'value'), assumed)}"
    )


def _links(source: str) -> str:
    return re.sub(r"(https://[^\s,)]+)", r"<\1>", source)


def _remarks(runs: Runs) -> str:
    every = runs.all
    returned = sum(one.ledger.returned_rows for one in every)
    split = sum(one.ledger.split_transactions for one in every)
    repeated = sum(runs.middle.ledger.parts[name].saved_header_bytes for name in VIEWERS_PARTS)
    repeated *= 1000 / runs.middle.scenario.viewer_hours
    prices = runs.middle.ledger.prices
    overhead = prices.assumed["handshake"]
    requests = total_usage(runs.middle)["http_requests"] * 1000 / runs.middle.scenario.viewer_hours
    handshakes = prices.cost({"bytes_out": requests * overhead})
    sampled = "".join(
        f"- {one.scenario.title}: of {one.scenario.sample} steady beats one was sent; the "
        "others were entered with its values.\n"
        for one in every
        if one.scenario.sample > 1
    )
    of_its_build = (
        "- DynamoDB returns the row with a failed condition. The build of 2020 does not, so the "
        f"replay adds it ({returned:,} times; on AWS that is not a read).\n"
        "- That build takes 10 actions in a transaction, DynamoDB 100: "
        f"{split:,} extra updates of the views were subtracted.\n"
    )
    return (
        "## Corrections and omissions\n\n"
        f"{of_its_build if returned or split else ''}"
        "- An action of a transaction is two units, a failed condition one, a query that finds "
        "nothing half a unit: these follow the price list, because DynamoDB Local reports other "
        "values.\n"
        "- Lambda seconds are an estimate: the CPU time the handlers took here, without the "
        "engine's and with the assumed time of our client, at the function's share of a "
        "processor, plus the waits assumed above. Cold starts are left out.\n"
        "- The replay's viewers wait as `headcount.js` does: by HTTP as the last answer asked, "
        "and up to a twentieth more, so a page change replaces a beat. Their pages change "
        f"exactly every {PAGE_EVERY:.0f} s; at completely random moments that would be "
        f"{random_changes() - 1:+.1%} of the requests.\n"
        "- Connecting is billed by the minute, and is not a message.\n"
        f"{sampled}"
        "- HTTP/2, which HTTP APIs use with browsers, repeats a header of the same connection in "
        "one byte. Over HTTP/1.1 the repeated headers would add "
        f"${prices.cost({'bytes_out': repeated}):.3f}.\n"
        f"- If every request opened its own TLS connection, that would add ${handshakes:.3f}."
    )


def random_changes() -> float:
    """The requests of an hour in which page changes are a Poisson process, divided by those with a
    page change exactly every five minutes. A beat is due after each full wait, so between two
    changes there are on average 1 / (e^(wait / interval) - 1) beats."""
    transport = ByHttp()
    beats = 1 / math.expm1(transport.wait(0.5) / PAGE_EVERY)
    return (1 + beats) / (1 + math.floor(PAGE_EVERY / transport.wait(0.5)))
