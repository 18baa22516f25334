"""Whether a stream is all right, as the dashboard's own code decides it in Node."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local.settings import ROOT
from tests.support.node import run_module

_SCRIPT = """
import { verdictOf } from './clients/dashboard/verdict.js';
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(verdictOf)));
"""


def stream(
    *,
    viewers: int = 10,
    status: str | None = "live",
    buffering: float | None = None,
    picture: float | None = None,
    reports: dict[str, Any] | None = None,
    stale: bool = False,
    **real_time: float,
) -> dict[str, Any]:
    """The part of an answer of GET /api/v1/analytics/comprehensive/{id} that decides."""
    nothing = dict.fromkeys(("bandwidth", "latency", "errorRate", "uptime"))
    return {
        "stream": status and {"status": status},
        "metrics": {"currentViewers": viewers, "quality": picture},
        "realTime": {**nothing, **real_time},
        "quality": {} if buffering is None else {"buffering": {"sessions": 3, "mean": buffering}},
        "infrastructure": {} if reports is None else {"rtmp": {"stale": stale, "numbers": reports}},
    }


def verdicts(*bodies: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = run_module(_SCRIPT, bodies)
    return found


SERVER = {"errorRate": 0.0}
# What is reported, the last good value, where it is degraded, and where poor.
LIMITS: list[tuple[str, float, float, float]] = [
    ("buffering", 0.49, 0.5, 2),
    ("latency", 2999, 3000, 10_000),
    ("errorRate", 0.49, 0.5, 2),
    ("uptime", 99.5001, 99.5, 95),
    ("picture", 71, 70, 40),
    ("picture", 481, 480, 240),
]


@pytest.mark.parametrize(("name", "good", "degraded", "poor"), LIMITS)
def test_a_number_is_degraded_and_poor_from_its_limits_on(
    name: str, good: float, degraded: float, poor: float
) -> None:
    found = verdicts(*(stream(**{name: value}) for value in (good, degraded, poor)))
    assert [one["level"] for one in found] == ["good", "degraded", "poor"]


def test_the_limits_in_the_docs_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| from ([\d.,]+)[^|]*\| from ([\d.,]+)", page, re.MULTILINE)
    numbers = [tuple(float(one.replace(",", "")) for one in row[1:]) for row in rows]
    percents = [(1.0, 5.0)]  # of requests, which the code has as shares
    seconds = {"latency": 1000}
    expected = [(d / seconds.get(n, 1), p / seconds.get(n, 1)) for n, _, d, p in LIMITS]
    assert sorted(numbers) == sorted(expected + percents)


def test_requests_that_fail_are_a_share_where_servers_report_them() -> None:
    found = verdicts(*(stream(reports=SERVER, errorRate=rate) for rate in (0.009, 0.01, 0.05)))
    assert [one["level"] for one in found] == ["good", "degraded", "poor"]
    assert found[2]["why"] == "5% of requests fail."


def test_it_says_why_and_the_worst_comes_first() -> None:
    (one,) = verdicts(stream(latency=4200, buffering=3, bandwidth=4286.64))
    assert (one["title"], one["why"]) == (
        "Poor",
        "3 interruptions per viewer, latency of 4.2 s.",
    )
    (fine,) = verdicts(stream(bandwidth=4286.64, latency=84.2, picture=80.4))
    assert (fine["title"], fine["why"]) == (
        "Good",
        "4.3 Mbit/s, latency of 84 ms, picture quality 80 of 100.",
    )


def test_a_server_that_went_silent_is_no_good_stream() -> None:
    (one,) = verdicts(stream(reports=SERVER, stale=True, latency=80))
    assert one["level"] == "degraded"
    assert "no report from 1 server" in one["why"].lower()


def test_without_reports_it_is_unknown_and_without_viewers_off_air() -> None:
    found = verdicts(
        stream(),
        stream(viewers=0, status=None, latency=99_999),
        stream(viewers=0, status="stopped"),
        stream(viewers=0, latency=80),
        stream(status=None, latency=80),
    )
    assert [one["level"] for one in found] == ["unknown", "off", "off", "good", "good"]
