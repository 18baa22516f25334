"""The systems stand on stores that are known to be alike on every engine: one will do for each
system by itself. All five at once run on Amazon's own, too."""

from __future__ import annotations

import pytest

from tests.support.engines import Engine


@pytest.fixture
def engine(memory: Engine) -> Engine:
    """The engine in memory."""
    return memory
