"""With several workers, two of them run the tests of the stack, each on a stack of its own."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

CLIENTS = (
    *("browsers", "client", "client_by_connection", "elements", "one_tab", "react", "recipes"),
    *("seed_clients", "convex_sync", "sign_in"),
)
"""What runs in visitors' browsers: about half of the time."""


def scope_of(nodeid: str) -> str:
    """What a worker runs in one piece: a test, and of the stack's tests about half of all."""
    path = nodeid.partition("::")[0]
    if not path.startswith("tests/stack/"):
        return nodeid
    of_clients = PurePosixPath(path).stem.removeprefix("test_") in CLIENTS
    return "the stack's clients" if of_clients else "the stack"


@pytest.hookimpl(optionalhook=True)  # there is no such hook without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Other tests go to any free worker."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class StackInTwoWorkers(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return StackInTwoWorkers(config, log)
