"""Lambda's recursion guard, which no local engine has: AWS's SDKs count how often a function ran in
a chain of messages, and Lambda stops the chain above a limit."""

from __future__ import annotations

from lab.harness.template import template

MOST = 16
"""How often a function may run in one chain unless the template allows loops."""


def is_stopped(function: str, times: int) -> bool:
    """Whether Lambda refuses a function that has already run so often in a chain."""
    return times >= MOST and template().functions[function].get("RecursiveLoop") != "Allow"
