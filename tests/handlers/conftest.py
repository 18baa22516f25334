"""Other tests show that the stores behave alike on every engine. The tests with the most writes
also run on DynamoDB Local."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.harness.engines import Engine
from tests.conftest import ENGINES, MEMORY

ALSO_ON_DYNAMODB_LOCAL = {
    "test_beats",
    "test_cleanup",
    "test_erasures",
    "test_presence_sockets",
    "test_shards",
}


@pytest.fixture
def engine_name() -> str:
    """The engine in memory, unless a test asks for several."""
    return MEMORY


@pytest.fixture
def engine(engine_name: str, fitted: Callable[[str], Engine]) -> Engine:
    """The engine, or each in turn."""
    return fitted(engine_name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The available engines."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if "engine" in metafunc.fixturenames and module in ALSO_ON_DYNAMODB_LOCAL:
        metafunc.parametrize("engine_name", ENGINES)
