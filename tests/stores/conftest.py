"""The stores are tested on every engine, which shows that the one in memory behaves the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.harness.engines import Engine


@pytest.fixture(
    params=["memory", "moto", pytest.param("dynamodb-local", marks=pytest.mark.dynamodb_local)]
)
def engine(request: pytest.FixtureRequest, fitted: Callable[[str], Engine]) -> Engine:
    """Each engine in turn, moto too."""
    return fitted(request.param)
