"""A few thousand hostile inputs, the same on every run; ``make soak`` sends more."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.errors import InvalidRequestError
from headcount.web.calls import Call

from lab.fuzz import fuzz, routes


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_input_causes_a_server_error_or_is_stored_though_refused(seed: int) -> None:
    report = fuzz(600, seed, inputs=1_000)
    assert report.server_errors == []
    assert report.inputs == sum(report.by_status.values()) == 1_000
    # Hostile, but some inputs pass the first check.
    assert report.by_status[200] > 100
    assert report.by_status[400] > 100
    assert {401, 404, 405} <= set(report.by_status)


def test_some_inputs_are_too_large() -> None:
    assert any(413 in fuzz(600, seed, inputs=1_000).by_status for seed in range(1, 20))


def test_the_same_seed_sends_the_same_inputs(memory: object) -> None:
    assert fuzz(600, 4, inputs=100) == fuzz(600, 4, inputs=100)


@pytest.mark.parametrize(
    ("raised", "report"),
    [
        (KeyError("a bug"), "answered 500"),
        (InvalidRequestError("That was wrong."), "400 stored something"),
        (InvalidRequestError(""), "400 without a message"),
    ],
)
def test_a_faulty_server_is_noticed(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, report: str
) -> None:
    record = Call.record_beat

    def broken(*how: Any, **more: Any) -> Any:
        record(*how, **more)
        raise raised

    monkeypatch.setattr(Call, "record_beat", broken)
    found = fuzz(600, 1, inputs=400).server_errors
    assert any(report in one for one in found)


def test_every_route_is_attacked() -> None:
    assert {"/v1/spaces/<space>/presence", "/rest/v1/heartbeats", "/api/mutation"} <= {
        route.rule for route in routes()
    }
