"""The board for Grafana shows the metrics of ``GET /metrics``, and the page describes them."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

from headcount.web.prometheus import METRICS

from lab.harness.template import ROOT

BOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "headcount.json").read_text())
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bheadcount_[a-z_]+", text))


def test_the_board_shows_every_metric_and_no_other() -> None:
    asked = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    asked += [one["query"] for one in BOARD["templating"]["list"]]
    assert metrics_in(" ".join(asked)) == set(METRICS)


def test_the_page_describes_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "prometheus.md").read_text()
    assert set(re.findall(r"^\| `(headcount_\w+)`", page, re.MULTILINE)) == set(METRICS)


def test_the_board_asks_whichever_prometheus_is_chosen() -> None:
    names = [variable["name"] for variable in BOARD["templating"]["list"]]
    assert names == ["datasource", "kind"]
    for panel in BOARD["panels"]:
        assert panel["datasource"] == SOURCE
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"kind"}


def test_panels_do_not_overlap() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
