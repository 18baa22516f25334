"""Hours by weekday, as the dashboard's own code computes them in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from local.settings import ROOT

_SCRIPT = """
import { heatOf } from './clients/dashboard/heat.js';
const [points, from, to] = JSON.parse(process.argv[1]);
console.log(JSON.stringify(heatOf(points, Date.parse(from), Date.parse(to))));
"""


def cell(points: list[dict[str, Any]], start: str, end: str) -> Any:
    """The only cell of that period."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is missing: install it.")
    ran = subprocess.run(
        [node, "--input-type=module", "-e", _SCRIPT, json.dumps([points, start, end])],
        cwd=ROOT,
        env={"TZ": "UTC"},
        check=True,
        capture_output=True,
        text=True,
    )
    (value,) = [one for row in json.loads(ran.stdout) for one in row if one is not None]
    return value


def test_minutes_that_were_not_sampled_are_out_of_the_mean() -> None:
    here = [{"at": f"2026-11-21T12:0{minute}:00Z", "people": 3} for minute in range(5)]
    gap = [{"at": f"2026-11-21T12:0{minute}:00Z", "people": None} for minute in (5, 6, 7)]
    period = ("2026-11-21T12:00:00Z", "2026-11-21T12:10:00Z")
    assert cell([*here, *gap], *period) == pytest.approx(15 / 7)  # two minutes without people
    assert cell(here, *period) == pytest.approx(1.5)
