"""The stores run on every engine there is: so the one in memory is known to be like the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.engines import Engine


@pytest.fixture(
    params=["memory", "moto", pytest.param("dynamodb-local", marks=pytest.mark.dynamodb_local)]
)
def engine(request: pytest.FixtureRequest, fitted: Callable[[str], Engine]) -> Engine:
    """Each engine in turn, moto too."""
    return fitted(request.param)
