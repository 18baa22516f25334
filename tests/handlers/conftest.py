"""Handlers stand on stores that are known to be alike on every engine. What writes the most runs on
Amazon's own, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import ENGINES, MEMORY
from tests.support.engines import Engine

ON_AMAZONS_OWN_TOO = {
    "test_beats",
    "test_cleanup",
    "test_erasures",
    "test_presence_sockets",
    "test_shards",
}


@pytest.fixture
def engine_name() -> str:
    """The engine in memory, unless there are several."""
    return MEMORY


@pytest.fixture
def engine(engine_name: str, fitted: Callable[[str], Engine]) -> Engine:
    """The engine, or each in turn."""
    return fitted(engine_name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which engines there are."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if "engine" in metafunc.fixturenames and module in ON_AMAZONS_OWN_TOO:
        metafunc.parametrize("engine_name", ENGINES)
