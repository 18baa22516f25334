"""`headcount cost`: the one price file and the held figures, times what is there now."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from headcount_cli import costs
from headcount_cli.costs import Rates, figures, live_rates, monthly, usage

from tests.bench import prices
from tests.cli.conftest import Run
from tests.support.template import ROOT
from tests.support.world import World


def test_prices_and_figures_are_the_benches_own() -> None:
    assert costs.prices()["checked"] == prices.prices().checked
    held = json.loads((ROOT / "tests" / "bench" / "figures.json").read_text())
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


def test_an_hour_of_a_hundred_viewers_comes_to_what_the_bench_entered() -> None:
    """The same hour as the figures', in which each viewer stays for an hour."""
    used = usage(Rates(sessions=100, views=100))
    entered = {name: figures()[f"{name}_per_viewer_hour"] * 100 for name in used if name in _HELD}
    for name, value in entered.items():
        assert used[name] == pytest.approx(value, rel=0.15), name


_HELD = {"http_requests", "write_units", "read_units", "lambda_requests", "log_bytes", "bytes_out"}


def test_nobody_costs_nothing_by_use() -> None:
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


def test_rates_are_of_all_spaces_and_of_today_so_far() -> None:
    anything: Any = Spaces()
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    rates = asyncio.run(live_rates(anything, noon, 30.0))
    assert (rates.sessions, rates.views) == (250, 25.0)


def test_the_command_says_what_it_rests_on(here: World, run: Run) -> None:
    here.beat("tab-1", visitorId="v")
    here.settle()
    said = run("cost")
    assert "1 sessions now" in said.stdout
    assert f"checked {prices.prices().checked}" in said.stdout
    assert "--stack adds them" in said.stderr
    body = json.loads(run("cost", "--json", "--beat", "60").stdout)
    assert (body["sessions"], body["beatSeconds"]) == (1, 60)
    assert body["dollars"] == pytest.approx(sum(line["dollars"] for line in body["lines"]))
