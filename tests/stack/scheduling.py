"""With several workers, one of them runs all the tests of the stack: two cores carry one stack."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)  # there is no such hook without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Other tests go to any free worker."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class StackInOneWorker(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "tests/stack" if nodeid.startswith("tests/stack/") else nodeid

    return StackInOneWorker(config, log)
