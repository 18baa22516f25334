"""The ledger as a page: what watching costs, beside the targets and what others ask."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench import beside
from tests.bench.ledger import MEMORY, Part
from tests.bench.model import (
    VIEWERS_PARTS,
    Model,
    measured,
    of_size,
    rhythm,
    shards_of,
)
from tests.bench.prices import Amounts, Prices, Usage
from tests.bench.replay import CRASHES, PAGE_EVERY, ByHttp, Outcome
from tests.support.template import template

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
FLAT_WITHIN = 0.05
MODEL_WITHIN = 0.05
MOST_PER_VISIT = 8.0
MOST_DOLLARS = {"by HTTP": 0.25, "by socket": 0.04}


@dataclass(frozen=True, slots=True)
class Runs:
    """The replays that a page is made of."""

    small: Outcome  # visits of an hour
    middle: Outcome
    large: Outcome
    brief: Outcome  # visits of ten minutes
    socket: Outcome  # visits of an hour, by connection
    socket_brief: Outcome

    @property
    def all(self) -> tuple[Outcome, ...]:
        """Every one of them."""
        return (
            *(self.small, self.middle, self.large, self.brief),
            *(self.socket, self.socket_brief),
        )

    @property
    def model(self) -> Model:
        return Model(self.middle.ledger.prices, self.small, self.large)


@dataclass(frozen=True, slots=True)
class Target:
    """Something promised, and what was found."""

    what: str
    target: str
    found: str
    met: bool


def beat_units(outcome: Outcome) -> float:
    """Write units of a steady beat."""
    part = outcome.ledger.parts["beats"]
    return round(part.usage["write_units"] / part.times, 9)


def visit_units(outcome: Outcome) -> float:
    """Write units of a visit beside its beats, of which the join is one; page changes are beats."""
    ledger = outcome.ledger
    units = sum(ledger.parts[name].usage["write_units"] for name in ("joins", "visits", "leaves"))
    units += sum(
        count
        for (operation, table), count in ledger.parts["sweeps"].operations.items()
        if (operation, table) in {("PutItem", "presence"), ("DeleteItem", "presence")}
    )
    return units / ledger.counts["visits"] - 1


def viewers_total(costs: Mapping[str, float]) -> float:
    """Dollars of all that is there because viewers are."""
    return sum(costs.get(name, 0) for name in VIEWERS_PARTS)


def targets(runs: Runs) -> list[Target]:
    """What was promised of 30 s beats."""
    flat = spread(runs)
    worst = max(abs(off) for _, _, _, off in checks(runs))
    beat = max(beat_units(one) for one in (runs.small, runs.middle, runs.large, runs.brief))
    return [
        Target("write units of a steady beat", "1.00", f"{beat:.2f}", beat <= 1),
        Target(
            "write units of a visit beside its beats and page changes",
            f"at most {MOST_PER_VISIT:g}",
            f"{visit_units(runs.small):.2f}",
            visit_units(runs.small) <= MOST_PER_VISIT,
        ),
        *(_dollars(one) for one in (runs.middle, runs.socket)),
        Target(
            f"difference in cost per viewer, {SIZES[0]:,} to {SIZES[-1]:,} viewers",
            f"within {FLAT_WITHIN:.0%}",
            f"{flat:.1%}",
            flat <= FLAT_WITHIN,
        ),
        Target(
            "the model beside the replays",
            f"within {MODEL_WITHIN:.0%}",
            f"{worst:.1%}",
            worst <= MODEL_WITHIN,
        ),
    ]


def _dollars(outcome: Outcome) -> Target:
    name, total = outcome.scenario.way.name, viewers_total(measured(outcome))
    most = MOST_DOLLARS[name]
    return Target(
        f"per 1,000 viewer-hours {name}, visits of an hour",
        f"at most ${most:.2f}",
        f"${total:.3f}",
        total <= most,
    )


def spread(runs: Runs) -> float:
    """How far the costs per viewer of all sizes are from the middle between the extremes."""
    totals = [
        viewers_total(runs.model.per_thousand(of_size(runs.middle.scenario, size)))
        for size in SIZES
    ]
    return (max(totals) - min(totals)) / (max(totals) + min(totals))


def checks(runs: Runs) -> list[tuple[str, float, float, float]]:
    """Title, dollars by the model, dollars as replayed, and by what share they differ."""
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
            checked=prices.checked,
            region=prices.region,
            engine="a stand-in for DynamoDB" if runs.middle.ledger.engine == MEMORY else _AMAZONS,
        ),
        _targets(runs),
        _by_part(runs),
        _by_socket(runs, prices),
        _by_quantity(runs, prices),
        _by_operation(runs.middle),
        _sizes(runs),
        _apart(runs, prices),
        _hosted(runs, prices),
        _prices(prices),
        _remarks(runs),
    ]
    return "\n\n".join(sections) + "\n"


_AMAZONS = "Amazon's DynamoDB Local"

_TITLE = """# What it costs

Made by `make bench-cost ARGS=--write`; numbers are never edited here. The real handlers are
replayed on {engine} with a clock that nobody waits for, and everything that AWS
bills is counted. Prices: {region}, checked {checked}, without any free tier
(`tests/bench/prices.toml`)."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    titles = list(head)
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _targets(runs: Runs) -> str:
    rows = [
        (one.what, one.target, one.found, "yes" if one.met else "**no**") for one in targets(runs)
    ]
    return f"## Targets at 30 s beats\n\n{table(('', 'target', 'found', 'met'), rows)}"


def _by_part(runs: Runs) -> str:
    return (
        "## By part\n\n"
        f"{_parts((runs.small, runs.middle, runs.large, runs.brief))}\n\n"
        f"A page change every {PAGE_EVERY / 60:g} minutes; {CRASHES:.0%} of the visits end without "
        "a leave. Every seat is taken at once by another visitor, so a window of minutes stands "
        "for any other. A visit is joined once and begins and ends once in the ledger of visits; "
        "recounts and publishes are per space, however many are in it."
    )


def _parts(shown: Iterable[Outcome]) -> str:
    every = list(shown)
    costs = [measured(one) for one in every]
    rows = [
        (name, *(f"{cost.get(name, 0):.4f}" for cost in costs))
        for name in VIEWERS_PARTS
        if any(cost.get(name) for cost in costs)
    ]
    rows.append(("**viewers, together**", *(f"**{viewers_total(cost):.4f}**" for cost in costs)))
    rows.append(("one dashboard that watches", *(f"{cost['dashboards']:.4f}" for cost in costs)))
    return table(("$ per 1,000 viewer-hours", *map(_short, every)), rows)


def _by_socket(runs: Runs, prices: Prices) -> str:
    floor = socket_floor(prices)
    left = MOST_DOLLARS["by socket"] - sum(floor.values())
    rows = [(what, f"{dollars:.4f}") for what, dollars in floor.items()]
    rows.append(("**together**", f"**{sum(floor.values()):.4f}**"))
    return (
        "## By socket\n\n"
        "Presence by connection: to connect is to join, to close is to leave, a page change is a "
        "message, and whoever is silent says so before nine minutes are over.\n\n"
        f"{_parts((runs.socket, runs.socket_brief))}\n\n"
        "Whatever is done with them, connections that are held for an hour and say twelve times "
        "that their page changed come to this by the price list:\n\n"
        f"{table(('at the least', '$ per 1,000 viewer-hours'), rows)}\n\n"
        f"That leaves ${left:.4f} of the target for waiting on DynamoDB, the ledger of visits, "
        "recounts, versions, sweeps and days. "
        f"{_met(left, runs)}"
    )


def _met(left: float, runs: Runs) -> str:
    costs = measured(runs.socket)
    rest = sum(costs[name] for name in ("visits", "recounts", "publishes", "sweeps"))
    if rest <= left:
        return f"They take ${rest:.4f}."
    return (
        f"They take ${rest:.4f}: the target can be met without page changes, or without these, "
        "but not with both."
    )


def socket_floor(prices: Prices) -> dict[str, float]:
    """Dollars of 1,000 viewer-hours by connection, in visits of an hour, of what there is no way
    around: each change is a message, an invocation and a write; so are a join and a leave, which
    are no messages."""
    changes = 1000 * 3600 / PAGE_EVERY
    events = changes + 2 * 1000
    quantities: dict[str, Usage] = {
        "connection minutes": Amounts({"socket_minutes": 60_000}),
        "messages that say a page changed": Amounts({"socket_messages": changes}),
        "an invocation for each of these, each join and each leave": Amounts(
            {"lambda_requests": events}
        ),
        "one write unit for each": Amounts({"write_units": events}),
    }
    return {what: prices.cost(usage) for what, usage in quantities.items()}


def _short(outcome: Outcome) -> str:
    scenario = outcome.scenario
    return f"{scenario.viewers:,} viewers, {scenario.stay // 60} min visits"


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
    return f"## By what is billed\n\nViewers' parts only.\n\n{table(head, rows)}"


def total_usage(outcome: Outcome) -> Usage:
    """All that viewers' parts used."""
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
    return f"## Units, each time\n\n{outcome.scenario.title}.\n\n{table(head, rows)}"


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
    head = ("viewers", "shards", "s between recounts", "recounts, publishes", "sweeps", "together")
    checked = [
        (title, f"{modelled:.4f}", f"{replayed:.4f}", f"{off:+.1%}")
        for title, modelled, replayed, off in checks(runs)
    ]
    return (
        "## From 100 to 1,000,000 viewers\n\n"
        "By the model, in $ per 1,000 viewer-hours, visits of an hour.\n\n"
        f"{table(head, rows)}\n\n"
        f"The extremes are {spread(runs):.1%} from their middle. The model is fitted to the "
        "smallest and the largest replay; the middle one is its check.\n\n"
        f"{table(('replay', 'model', 'replayed', 'difference'), checked)}"
    )


def _polled() -> list[dict[str, Any]]:
    """The queues that functions read, whatever the parameters."""
    resources = template().resources
    return [
        resources[event["Properties"]["Queue"]["Fn::GetAtt"][0]]["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::Serverless::Function" and "Condition" not in resource
        for event in resource["Properties"].get("Events", {}).values()
        if event["Type"] == "SQS"
    ]


def _apart(runs: Runs, prices: Prices) -> str:
    queues = _polled()
    fifo = sum(queue.get("FifoQueue", False) for queue in queues)
    polls = {
        "queue_requests": prices.idle_polls(len(queues) - fifo),
        "fifo_requests": prices.idle_polls(fifo),
    }
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
        for name in beside.DONE
    ]
    return (
        "## Apart\n\nWhoever watches or not, a stack costs a month:\n\n"
        f"{table(('what', '$ a month'), rows)}\n\n"
        "A dashboard that hears every version, reads the first hundred sessions after it (at most "
        "every 3 s) and the timeline every minute:\n\n"
        f"{table(('watching', '$ an hour'), hours)}\n\n"
        "What no viewer-hour needs, done once each in the replay; of containers, what ECS asks for "
        "is not in it:\n\n"
        f"{table(('once', '$ for a million'), once)}"
    )


def _hosted(runs: Runs, prices: Prices) -> str:
    ours = viewers_total(measured(runs.middle))
    ours_brief = viewers_total(measured(runs.brief))
    rows = [
        (
            "this, by HTTP",
            f"{ours:.3f}",
            "1.0",
            f"{ours_brief:.3f}",
            "a beat every 30 s, all parts",
        )
    ]
    sockets = [viewers_total(measured(one)) for one in (runs.socket, runs.socket_brief)]
    rows.append(
        (
            "this, by socket",
            f"{sockets[0]:.3f}",
            f"{sockets[0] / ours:.1f}",
            f"{sockets[1]:.3f}",
            "a connection per viewer, all parts",
        )
    )
    for service in prices.hosted:
        asked = [
            prices.hosted_cost(service, messages=presence_messages(one.scenario.stay))
            for one in (runs.middle, runs.brief)
        ]
        rows.append(
            (
                service["name"],
                f"{asked[0]:.3f}",
                f"{asked[0] / ours:.1f}",
                f"{asked[1]:.3f}",
                service["base"],
            )
        )
    head = ("$ per 1,000 viewer-hours", "60 min visits", "times ours", "10 min visits", "")
    sources = "\n".join(f"- {one['name']}: {_links(one['source'])}" for one in prices.hosted)
    return (
        "## Hosted services, by their list prices\n\n"
        "Presence alone, at its cheapest: a connection per viewer, and a message for each join, "
        "leave and page change to a single listener. Visits, peaks, days and distinct people are "
        "not in it. With every viewer a listener, as for a badge with the count, messages grow "
        "with the square of the viewers; here the count is in the answer to the beat.\n\n"
        f"{table(head, rows)}\n\n{sources}"
    )


def presence_messages(stay: int) -> float:
    """Messages in 1,000 viewer-hours: each change said, and heard by one."""
    changes = 3600 / stay * 2 + 3600 / PAGE_EVERY
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
        "What can't be measured on one's own machine:\n\n"
        f"{table(('assumed', 'value'), assumed)}"
    )


def _links(source: str) -> str:
    return re.sub(r"(https://[^\s,)]+)", r"<\1>", source)


def _remarks(runs: Runs) -> str:
    every = runs.all
    handed = sum(one.ledger.handed_over for one in every)
    split = sum(one.ledger.split_transactions for one in every)
    repeated = sum(runs.middle.ledger.parts[name].spared for name in VIEWERS_PARTS)
    repeated *= 1000 / runs.middle.scenario.viewer_hours
    prices = runs.middle.ledger.prices
    overhead = prices.assumed["handshake"]
    requests = total_usage(runs.middle)["http_requests"] * 1000 / runs.middle.scenario.viewer_hours
    handshakes = prices.cost({"bytes_out": requests * overhead})
    sampled = "".join(
        f"- {one.scenario.title}: of {one.scenario.one_of} steady beats one was sent, the others "
        "entered as it was.\n"
        for one in every
        if one.scenario.one_of > 1
    )
    return (
        "## What was put right, and what is left out\n\n"
        "- DynamoDB hands over the row with a failed condition; the build of 2020 does not, so "
        f"the replay did it in its place ({handed:,} times; on AWS that is no read).\n"
        f"- That build takes 10 actions in a transaction, DynamoDB 100: {split:,} further updates "
        "of the views were taken off.\n"
        "- A transaction's action is two units, a condition that fails one, a query that finds "
        "nothing half a one: by the price list, for DynamoDB Local says otherwise.\n"
        "- Lambda seconds are an estimate: the CPU time the handlers took here, without the "
        "engine's and with what is assumed of our client's, at the function's share of a "
        "processor, and the waits assumed above. Cold starts are left out.\n"
        "- The replay's viewers wait as `headcount.js` does: 30 s to 31.5 s by HTTP since whatever "
        "they said last, so a page change stands for a beat. Their page changes every "
        f"{PAGE_EVERY:.0f} s to the second; at moments as random as can be that would be "
        f"{random_changes() - 1:+.1%} of the requests.\n"
        "- To connect is billed by the minute, and is no message.\n"
        f"{sampled}"
        "- HTTP/2, which HTTP APIs speak with browsers, says a header in a byte that its "
        "connection had before. Over HTTP/1.1 "
        f"${prices.cost({'bytes_out': repeated}):.3f} more would go out.\n"
        f"- Should every request open a TLS connection of its own, that adds ${handshakes:.3f}."
    )


def random_changes() -> float:
    """How many times the requests of an hour with a page change every five minutes to the second
    it would be if these came as a Poisson process does: a beat is due when one wait is over, so a
    stretch between two changes holds 1 / (e^(wait / stretch) - 1) of them."""
    way = ByHttp()
    beats = 1 / math.expm1(way.wait(0.5) / PAGE_EVERY)
    return (1 + beats) / (1 + math.floor(PAGE_EVERY / way.wait(0.5)))
