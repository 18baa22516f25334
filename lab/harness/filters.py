"""The part of Lambda's event filtering that the template uses: equality lists and prefixes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any


def passes(record: Mapping[str, Any], patterns: list[str]) -> bool:
    """Whether a stream record passes one of the filters, or there are none."""
    return not patterns or any(matches(record, _parsed(pattern)) for pattern in patterns)


@cache
def _parsed(pattern: str) -> Any:
    return json.loads(pattern)


def matches(value: Any, pattern: Any) -> bool:
    """Whether a value matches a pattern: an object of patterns, or a list of alternatives."""
    if isinstance(pattern, Mapping):
        return isinstance(value, Mapping) and all(
            key in value and matches(value[key], inner) for key, inner in pattern.items()
        )
    assert isinstance(pattern, list), f"a pattern ends in a list, not in {pattern!r}"
    return any(_alternative(value, one) for one in pattern)


def _alternative(value: Any, alternative: Any) -> bool:
    if isinstance(alternative, Mapping):
        ((operator, operand),) = alternative.items()
        assert operator == "prefix", f"{operator!r} is not implemented here"
        return isinstance(value, str) and value.startswith(operand)
    return bool(value == alternative)


def patterns_of(event_source: Mapping[str, Any]) -> list[str]:
    """The patterns of an event's FilterCriteria."""
    return [one["Pattern"] for one in event_source.get("FilterCriteria", {}).get("Filters", [])]
