"""What the present numbers would cost if a month went on like now, at list prices.

Prices are those of the one dated price file; units per viewer-hour are those that
`make bench-check` holds (of 100 viewers who beat every 30 s). Only sessions and views are live: it
is an estimate.
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

from headcount_cli.api import Api, connected, space_path
from headcount_cli.output import note, say, say_json, say_table
from headcount_cli.target import Asked, Stack, find

_FIGURES = "cost.by_HTTP."
_MEASURED_BEAT = 30.0  # seconds, in the figures
_API_MEMORY = 512  # MB, as the template gives the function that answers beats
_LARGEST = 20
"""Spaces whose day is read; the views of the others are taken as theirs, by session."""


@cache
def prices() -> dict[str, Any]:
    """The price file."""
    return tomllib.loads(files(__package__).joinpath("prices.toml").read_text())


@cache
def figures() -> dict[str, float]:
    """What a viewer-hour by HTTP takes, by name, without the bench's prefix."""
    loaded = json.loads(files(__package__).joinpath("figures.json").read_text())
    return {
        name.removeprefix(_FIGURES): one["value"]
        for name, one in loaded.items()
        if name.startswith(_FIGURES)
    }


@dataclass(frozen=True, slots=True)
class Rates:
    """What goes on now: ``sessions`` present, ``views`` (joins) an hour, ``beat`` seconds apart."""

    sessions: float
    views: float
    beat: float = _MEASURED_BEAT


def usage(rates: Rates) -> dict[str, float]:
    """What an hour of it uses, by the names of the price file. Pure."""
    figure, assumed = figures(), prices()["assumed"]
    beats = rates.sessions * 3600 / rates.beat
    requests = beats + 2 * rates.views  # a join and a leave beside them
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
    """A line for each thing that is billed: what, how much of it a month, dollars."""
    hours = prices()["assumed"]["hours_a_month"]["value"]
    lines = []
    for name, amount in usage(rates).items():
        price = prices()["prices"][name]
        lines.append(_line(price["what"], amount * hours, price))
    return lines


def fixed(stack: Stack) -> list[dict[str, Any]]:
    """What the stack itself costs a month, whoever is or is not there: by its own template."""
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
        _line("polls of queues in order", fifo * polls, by_use["fifo_requests"]),
        _line("polls of other queues", plain * polls, by_use["queue_requests"]),
        _line("schedules", schedules, by_use["schedules"]),
    ]
    for one in prices()["monthly"].values():
        number = len(deployed.of_type(one["resource"]))
        lines.append(_line(one["what"], number, {"dollars": one["dollars"], "per": 1}))
    return lines


def _line(what: str, amount: float, price: Mapping[str, Any]) -> dict[str, Any]:
    return {"what": what, "amount": amount, "dollars": amount * price["dollars"] / price["per"]}


async def command(
    asked: Asked,
    beat: Annotated[
        float, typer.Option(min=1, max=3600, metavar="SECONDS", help="Between two beats.")
    ] = _MEASURED_BEAT,
) -> None:
    """What a month would cost if it went on like now, at list prices, without free tiers.

    Example: [cyan]headcount cost --stack headcount[/]
    """
    target = find(asked)
    async with connected(target, note) as api:
        rates = await live_rates(api, datetime.now(UTC), beat)
    lines = monthly(rates)
    if target.stack is not None:
        lines += fixed(target.stack)
    else:
        note("Without the stack's own costs (alarms, the secret, polls): --stack adds them.")
    total = sum(line["dollars"] for line in lines)
    checked, region = prices()["checked"].isoformat(), prices()["region"]
    if asked.json:
        said = {"sessions": rates.sessions, "viewsPerHour": rates.views, "beatSeconds": beat}
        say_json({**said, "prices": checked, "region": region, "dollars": total, "lines": lines})
        return
    say(
        f"{rates.sessions:,.0f} sessions now, {rates.views:,.1f} views an hour today, a beat every "
        f"{beat:g} s. If a month went on like this:"
    )
    say_table(
        lines,
        [
            ("what", lambda row: row["what"]),
            ("a month", lambda row: f"{row['amount']:,.0f}"),
            ("$", lambda row: f"{row['dollars']:,.2f}"),
        ],
        nothing="",
    )
    say(f"About ${total:,.2f} a month. List prices of {region}, checked {checked}; docs/cost.md.")


async def live_rates(api: Api, now: datetime, beat: float) -> Rates:
    """Sessions of all spaces, and the views an hour of today so far (UTC)."""
    spaces = (await api.get("/v1/spaces"))["spaces"]
    sessions = sum(one["sessions"] for one in spaces)
    hours = max(1.0, now.hour + now.minute / 60)
    views = 0.0
    for one in spaces[:_LARGEST]:
        today = (await api.get(space_path(one["space"])))["views"]["today"]
        views += today / hours
    read = sum(one["sessions"] for one in spaces[:_LARGEST])
    return Rates(sessions, views * sessions / read if read else 0.0, beat)
