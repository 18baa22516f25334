"""Other tests show that the stores behave alike on every engine, so each system's own tests use one
engine. The tests of all five at once also use DynamoDB Local."""

from __future__ import annotations

import pytest

from lab.harness.engines import Engine


@pytest.fixture
def engine(memory: Engine) -> Engine:
    """The engine in memory."""
    return memory
