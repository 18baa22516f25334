"""Estimates a month's cost at the current load and list prices.

Prices come from the one dated price file, units per viewer-hour from the figures that
`make bench-check` checks (100 viewers who beat every 30 s). Only sessions and views are live. What
past days cost is the stack's own estimate.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import typer

from headcount_cli.api import Api, connected, rows_of, space_path
from headcount_cli.output import note, print_json, print_line, print_table
from headcount_cli.target import Options, Stack, find_target

_FIGURES = "cost.by_HTTP."
_MEASURED_BEAT = 30.0  # seconds, in the figures
_API_MEMORY = 512  # MB, of the function that answers beats
_SAMPLE = 20
"""The largest spaces, whose views are read; the others are taken to have as many per session."""


@cache
def prices() -> dict[str, Any]:
    """The price file."""
    return tomllib.loads(files(__package__).joinpath("prices.toml").read_text())


@cache
def figures() -> dict[str, float]:
    """What a viewer-hour by HTTP uses, by name, without the bench's prefix."""
    loaded = json.loads(files(__package__).joinpath("figures.json").read_text())
    return {
        name.removeprefix(_FIGURES): one["value"]
        for name, one in loaded.items()
        if name.startswith(_FIGURES)
    }


@dataclass(frozen=True, slots=True)
class Rates:
    """The current load: ``sessions`` present, ``views`` (joins) an hour, ``beat`` seconds apart."""

    sessions: float
    views: float
    beat: float = _MEASURED_BEAT


def usage(rates: Rates) -> dict[str, float]:
    """What an hour of this load uses, by the names of the price file."""
    figure, assumed = figures(), prices()["assumed"]
    beats = rates.sessions * 3600 / rates.beat
    requests = beats + 2 * rates.views  # plus a join and a leave each
    by_request = rates.sessions and requests / figure["http_requests_per_viewer_hour"]
    background = sum(
        figure[f"write_units_of_{part}_per_viewer_hour"]
        for part in ("recounts", "publishes", "sweeps", "days")
    )
    functions = requests + rates.sessions * (
        figure["lambda_requests_per_viewer_hour"] - figure["http_requests_per_viewer_hour"]
    )
    cpu_share = min(1.0, _API_MEMORY / assumed["memory_of_one_vcpu"]["value"])
    seconds = assumed["dynamodb_wait"]["value"] + assumed["client_cpu"]["value"] / cpu_share
    return {
        "http_requests": requests,
        "write_units": beats * figure["write_units_of_a_steady_beat"]
        + rates.views * figure["write_units_of_a_visit_beside"]
        + rates.sessions * background,
        "read_units": rates.sessions * figure["read_units_per_viewer_hour"],
        "lambda_requests": functions,
        "lambda_gb_seconds": functions * seconds * _API_MEMORY / 1024,
        "queue_requests": rates.sessions * figure["queue_requests_per_viewer_hour"],
        "log_bytes": by_request * figure["log_bytes_per_viewer_hour"],
        "bytes_out": by_request * figure["bytes_out_per_viewer_hour"],
    }


def monthly(rates: Rates) -> list[dict[str, Any]]:
    """A line for each billed item: what, the amount a month, dollars."""
    hours = prices()["assumed"]["hours_a_month"]["value"]
    by_use = prices()["prices"]
    return [
        _line(by_use[name]["what"], amount * hours, by_use[name])
        for name, amount in usage(rates).items()
    ]


def fixed(stack: Stack) -> list[dict[str, Any]]:
    """What the stack costs a month without any load, by its own template."""
    from headcount_cli.doctor.deployed import Deployed

    deployed, assumed = Deployed(stack), prices()["assumed"]
    minutes = assumed["hours_a_month"]["value"] * 60
    polls = assumed["pollers"]["value"] * assumed["polls_a_minute"]["value"] * minutes
    sources = [
        str(one.properties["EventSourceArn"])
        for one in deployed.of_type("AWS::Lambda::EventSourceMapping")
    ]
    fifo = sum(":sqs:" in one and one.endswith(".fifo") for one in sources)
    plain = sum(":sqs:" in one and not one.endswith(".fifo") for one in sources)
    schedules = len(deployed.of_type("AWS::Scheduler::Schedule")) and minutes
    by_use = prices()["prices"]
    lines = [
        _line("polls of FIFO queues", fifo * polls, by_use["fifo_requests"]),
        _line("polls of other queues", plain * polls, by_use["queue_requests"]),
        _line("schedules", schedules, by_use["schedules"]),
    ]
    lines += [
        _line(one["what"], len(deployed.of_type(one["resource"])), {**one, "per": 1})
        for one in prices()["monthly"].values()
    ]
    return lines


def _line(what: str, amount: float, price: Mapping[str, Any]) -> dict[str, Any]:
    return {"what": what, "amount": amount, "dollars": amount * price["dollars"] / price["per"]}


async def command(
    options: Options,
    beat: Annotated[
        float, typer.Option(min=1, max=3600, metavar="SECONDS", help="Seconds between two beats.")
    ] = _MEASURED_BEAT,
    worst: Annotated[
        bool,
        typer.Option("--worst", help="Instead: the most that strangers can make an hour cost."),
    ] = False,
    requests: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="With --worst: `requests-per-second` in `Limits`."),
    ] = 2000,
    joins: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --worst: `joins-per-source` in `Limits`.")
    ] = 600,
) -> None:
    """Estimate a month's cost at the current load, at list prices, without free tiers.

    Example: [cyan]headcount cost --stack headcount[/]
    """
    if worst:
        _print_worst(options, worst_hours(requests, joins))
        return
    target = find_target(options)
    async with connected(target) as api:
        rates = await live_rates(api, datetime.now(UTC), beat)
        days = rows_of(await api.get("/v1/costs"), "days")[-_LAST_DAYS:]
    lines = monthly(rates)
    if target.stack is not None:
        lines += fixed(target.stack)
    else:
        note("Fixed costs (alarms, the secret, polls) are not included: add them with --stack.")
    total = sum(line["dollars"] for line in lines)
    checked, region = prices()["checked"].isoformat(), prices()["region"]
    if options.json:
        load = {"sessions": rates.sessions, "viewsPerHour": rates.views, "beatSeconds": beat}
        estimate = {"dollars": total, "lines": lines, "days": days}
        print_json({**load, "prices": checked, "region": region, **estimate})
        return
    print_line(
        f"{rates.sessions:,.0f} sessions now, {rates.views:,.1f} views an hour today, a beat every "
        f"{beat:g} s. A month at this load:"
    )
    print_table(
        lines,
        [
            ("what", "what"),
            ("a month", lambda row: f"{row['amount']:,.0f}"),
            ("$", lambda row: f"{row['dollars']:,.2f}"),
        ],
    )
    if days:
        print_line("What the last days cost, by what the stack stored of them:")
        print_table(days, _DAYS)
    print_line(
        f"About ${total:,.2f} a month. List prices of {region}, checked {checked}; docs/cost.md."
    )


_LAST_DAYS = 7
_DAYS: list[tuple[str, Any]] = [
    ("day", "date"),
    *(
        (name, lambda row, name=name: f"{row['parts'][name]:,.2f}")
        for name in ("beats", "visits", "presence", "fixed")
    ),
    ("$", lambda row: f"{row['dollars']:,.2f}"),
]

_BEATS_A_SECOND = 2.0  # that a session's limit accepts


def worst_hours(requests: float, joins: float) -> list[dict[str, Any]]:
    """The most that strangers can make an hour cost, who send all ``requests`` a second that the
    stage accepts: from one network, which begins ``joins`` sessions a minute, and from so many that
    each request begins or ends a visit."""
    hour = requests * 3600
    views = min(joins * 60, hour / 2)
    beating = max(1.0, hour - 2 * views) / 3600 / _BEATS_A_SECOND
    return [
        {"from": who, "views": rates.views, "dollars": sum(one["dollars"] for one in hourly(rates))}
        for who, rates in (
            ("one network", Rates(beating, views, beat=1 / _BEATS_A_SECOND)),
            ("many networks", Rates(1.0, hour / 2, beat=3600)),
        )
    ]


def hourly(rates: Rates) -> list[dict[str, Any]]:
    """As ``monthly``, for an hour."""
    by_use = prices()["prices"]
    return [
        _line(by_use[name]["what"], amount, by_use[name]) for name, amount in usage(rates).items()
    ]


def _print_worst(options: Options, rows: list[dict[str, Any]]) -> None:
    checked, region = prices()["checked"].isoformat(), prices()["region"]
    if options.json:
        print_json({"prices": checked, "region": region, "hours": rows})
        return
    print_table(
        rows,
        [
            ("from", "from"),
            ("visits an hour", lambda row: f"{row['views']:,.0f}"),
            ("$ an hour", lambda row: f"{row['dollars']:,.2f}"),
        ],
    )
    print_line(f"List prices of {region}, checked {checked}; docs/security.md.")


async def live_rates(api: Api, now: datetime, beat: float) -> Rates:
    """Sessions of all spaces now, and today's views per hour so far (UTC)."""
    spaces = rows_of(await api.get("/v1/spaces"), "spaces")
    sessions = sum(one["sessions"] for one in spaces)
    hours = max(1.0, now.hour + now.minute / 60)
    views = 0.0
    for one in spaces[:_SAMPLE]:
        today = (await api.get(space_path(one["space"])))["views"]["today"]
        views += today / hours
    read = sum(one["sessions"] for one in spaces[:_SAMPLE])
    return Rates(sessions, views * sessions / read if read else 0.0, beat)
