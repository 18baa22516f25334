"""The structured logger, built when the first line is written: a beat writes none."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger


@cache
def logger() -> Logger:
    """JSON lines. Callers pass spaces, versions and counts; never tokens, names, emails or IPs."""
    from aws_lambda_powertools import Logger

    return Logger(service="headcount")
