"""`headcount cost`: the price file and the bench's figures, multiplied by the current load."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from headcount.model.cost import A_DAY, A_MILLION_BEATS, A_MILLION_VISITS, A_THOUSAND_HOURS
from headcount_cli import cost
from headcount_cli.cost import Rates, figures, hourly, live_rates, monthly, usage

from lab.bench import prices
from lab.bench.report import monthly_fixed
from lab.harness.template import ROOT
from lab.harness.world import World
from tests.cli.conftest import Run

DAY_SECONDS = 86_400


def test_prices_and_figures_are_those_of_the_bench() -> None:
    assert cost.prices()["checked"] == prices.prices().checked
    held = json.loads((ROOT / "lab" / "bench" / "figures.json").read_text())
    for name, value in figures().items():
        assert held[f"cost.by_HTTP.{name}"]["value"] == value
    assert "write_units_of_a_steady_beat" in figures()


def test_a_beat_is_a_request_and_a_write() -> None:
    used = usage(Rates(sessions=1000, views=0, beat=30))
    assert used["http_requests"] == 120_000
    background = sum(
        figures()[f"write_units_of_{part}_per_viewer_hour"]
        for part in ("recounts", "publishes", "sweeps", "days")
    )
    assert used["write_units"] == pytest.approx(120_000 + 1000 * background)
    slower = usage(Rates(sessions=1000, views=0, beat=60))
    assert slower["http_requests"] == 60_000


def test_an_hour_of_a_hundred_viewers_uses_what_the_bench_measured() -> None:
    """The hour of the figures, in which each viewer stays for the whole hour."""
    used = usage(Rates(sessions=100, views=100))
    entered = {name: figures()[f"{name}_per_viewer_hour"] * 100 for name in used if name in _HELD}
    for name, value in entered.items():
        assert used[name] == pytest.approx(value, rel=0.15), name


_HELD = {"http_requests", "write_units", "read_units", "lambda_requests", "log_bytes", "bytes_out"}


def test_the_page_says_what_strangers_can_cost(run: Run) -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    one, many = (row["dollars"] for row in cost.worst_hours(2000, 600))
    assert f"about ${one:.0f} an hour from one network" in page
    assert f"about ${many:.0f} from very many" in page
    assert 0 < one < many < 112
    shown = run("cost", "--worst")
    assert f"{one:,.2f}" in shown.stdout
    smaller = json.loads(run("cost", "--worst", "--requests", "200", "--json").stdout)
    assert smaller["hours"][1]["dollars"] == pytest.approx(many / 10, rel=0.01)


def test_no_load_costs_nothing() -> None:
    assert sum(line["dollars"] for line in monthly(Rates(0, 0))) == 0


def test_dollars_are_amounts_times_list_prices() -> None:
    (line,) = (one for one in monthly(Rates(1000, 0)) if one["what"].startswith("HTTP API"))
    assert line["amount"] == 120_000 * 730
    assert line["dollars"] == pytest.approx(87.60)


class Spaces:
    """25 spaces of 10 sessions, each with 12 views today."""

    async def get(self, path: str) -> Any:
        if path == "/v1/spaces":
            return {"spaces": [{"space": f"site:{n}", "sessions": 10} for n in range(25)]}
        return {"views": {"today": 12}}


def test_rates_cover_all_spaces_and_today_so_far() -> None:
    anything: Any = Spaces()
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    rates = asyncio.run(live_rates(anything, noon, 30.0))
    assert (rates.sessions, rates.views) == (250, 25.0)


def test_the_command_shows_what_the_last_days_cost(here: World, run: Run) -> None:
    here.beat("tab-1", visitorId="v")
    here.settle()
    here.clock.advance(DAY_SECONDS)
    here.daily()
    done = run("cost")
    assert "What the last days cost" in done.stdout
    (day,) = json.loads(run("cost", "--json").stdout)["days"]
    assert day["date"] in done.stdout
    assert day["dollars"] == pytest.approx(sum(day["parts"].values()), abs=0.001)


def test_the_stack_estimates_by_the_same_figures_as_the_command() -> None:
    """What the functions know of the price list and the bench's figures."""
    never = 1e15  # seconds between beats
    hour = dollars(Rates(1, 0, never))
    assert pytest.approx(1000 * hour, rel=0.2) == A_THOUSAND_HOURS
    assert pytest.approx(1e6 * (dollars(Rates(1, 0, 3600)) - hour), rel=0.05) == A_MILLION_BEATS
    assert pytest.approx(1e6 * (dollars(Rates(1, 1, never)) - hour), rel=0.05) == A_MILLION_VISITS
    assert pytest.approx(monthly_fixed(prices.prices()) / 30.4, rel=0.05) == A_DAY


def dollars(rates: Rates) -> float:
    return float(sum(line["dollars"] for line in hourly(rates)))


def test_the_command_names_its_sources(here: World, run: Run) -> None:
    here.beat("tab-1", visitorId="v")
    here.settle()
    done = run("cost")
    assert "1 sessions now" in done.stdout
    assert f"checked {prices.prices().checked}" in done.stdout
    assert "add them with --stack" in done.stderr
    assert "last days" not in done.stdout
    body = json.loads(run("cost", "--json", "--beat", "60").stdout)
    assert body["days"] == []
    assert (body["sessions"], body["beatSeconds"]) == (1, 60)
    assert body["dollars"] == pytest.approx(sum(line["dollars"] for line in body["lines"]))
