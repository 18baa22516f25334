"""All five systems at once on the real local stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from lab.harness.clients import eventually
from tests.stack.conftest import Stack
from tests.systems.five import Five

pytestmark = pytest.mark.stack


def test_every_systems_numbers_are_the_native_ones(stack: Stack) -> None:
    def call(
        method: str,
        path: str,
        *,
        body: Any = None,
        admin: bool = False,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        answer = stack.api.request(
            method,
            f"{path}?{urlencode(query)}" if query else path,
            body=body,
            token=stack.api.token if admin else None,
            headers=headers,
        )
        assert 200 <= answer.status < 300, (method, path, answer)
        return answer.body if answer.text else None

    five = Five(call, uuid4().hex[:8])
    try:
        run_scenario(five)
    finally:
        for number in range(5):  # other tests count there too
            five.native("site:main", "DELETE", f"{five.run}-s{number}")


def run_scenario(five: Five) -> None:
    """Everyone joins, and most leave."""
    five.arrive()
    eventually(lambda: agrees(five), 30, last=lambda: disagreement(five))
    assert five.headcount("course viewers")["people"] == 4
    five.depart()
    eventually(lambda: agrees(five), 30, last=lambda: disagreement(five))
    for system in ("course viewers", "link analytics", "stream analytics"):
        assert five.headcount(system)["people"] == 1


def agrees(five: Five) -> bool:
    """Whether all numbers agree, which they do a moment after a write."""
    return disagreement(five) is None


def disagreement(five: Five) -> str | None:
    try:
        five.reconcile()
    except AssertionError as error:
        return str(error)
    return None
