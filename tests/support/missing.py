"""For tests that need a tool which this machine may not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str, how: str) -> NoReturn:
    """Skip a test because a tool is missing, or fail it if skipping is not allowed."""
    message = f"{what} is missing: {how}"
    if os.environ.get("CI") == "true" or os.environ.get("HEADCOUNT_NO_SKIPS") == "1":
        pytest.fail(f"must not be skipped here: {message}")
    pytest.skip(message)
