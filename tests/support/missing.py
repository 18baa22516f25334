"""Tests that need a tool this machine may not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str, how: str) -> NoReturn:
    """Skip for want of a tool, or fail where that may not be."""
    message = f"{what} is missing: {how}"
    if os.environ.get("CI") == "true" or os.environ.get("HEADCOUNT_NO_SKIPS") == "1":
        pytest.fail(f"may not be skipped here: {message}")
    pytest.skip(message)
