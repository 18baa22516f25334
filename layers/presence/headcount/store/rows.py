"""Row validation and row versions. A damaged row is skipped with a warning, never an obstacle."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from headcount.logs import logger
from headcount.store.attributes import encode
from headcount.times import LATEST

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    zlib.error,
)
"""The errors of reading a row with content that no release writes."""


class Many(NamedTuple):
    """A ``dict`` or ``list`` whose values all have one shape."""

    kind: type[Any]
    element: Shape


class Between(NamedTuple):
    """A whole number from ``first`` to below ``end``."""

    first: int
    end: int


Shape = frozenset[type] | Many | Between
NUMBER = frozenset({int, float})  # without bool
TIME = Between(0, LATEST)
"""Epoch milliseconds: other numbers can't be formatted as a date."""
TEXT = frozenset({str})
BYTES = frozenset({bytes})
FLAG = frozenset({bool})
NUMBERS = Many(dict, NUMBER)

_Read = TypeVar("_Read")


def check_shapes(row: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Raise TypeError if an attribute does not have its shape. Missing ones are fine."""
    for name, value in row.items():
        shape = shapes.get(name)
        if shape is None:
            continue
        # Inline instead of a call: a recount checks millions of attributes.
        if not (type(value) in shape if isinstance(shape, frozenset) else _are(value, shape)):
            raise TypeError(f"{name} has another shape than releases write")


def in_calendar(time: int) -> int:
    """A time, or the nearest valid one: for rows that a later write repairs."""
    # No call in the usual case: a recount does this for every row.
    return time if 0 <= time < LATEST else min(max(time, 0), LATEST - 1)


def _are(value: Any, many: Many | Between) -> bool:
    if isinstance(many, Between):
        return type(value) is int and many.first <= value < many.end
    if not isinstance(value, many.kind):
        return False
    element = many.element
    for part in value.values() if many.kind is dict else value:
        if not (type(part) in element if isinstance(element, frozenset) else _are(part, element)):
            return False
    return True


def read(reader: Callable[[Any], _Read], row: Mapping[str, Any], where: str) -> _Read | None:
    """What a reader makes of a row; None if it can't be read, with a warning about ``where``."""
    try:
        return reader(row)
    except UNREADABLE as error:
        # Without the error's text: it may quote the row.
        logger().warning("a row can't be read", extra={"row": where, "error": type(error).__name__})
        return None


def version_of(row: Mapping[str, Any]) -> int:
    """A row's version; 0 if it has no valid one."""
    version: Any = row.get("version")
    return version if type(version) in NUMBER and version > 0 else 0


def follows_version(version: int) -> dict[str, Any]:
    """The condition that the row's ``version_of`` is the version before this one."""
    condition = "#version = :before"
    values: dict[str, Any] = {":before": version - 1}
    if version == 1:
        condition = (
            "attribute_not_exists(#version) OR #version <= :before"
            " OR NOT attribute_type(#version, :number)"
        )
        values[":number"] = "N"
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": encode(values),
    }
