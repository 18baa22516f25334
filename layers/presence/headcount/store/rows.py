"""Rows that no release wrote like that, and versions: a row that can't be read stops nobody."""

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
"""What reading a row raises that holds what no release writes."""


class Many(NamedTuple):
    """A ``dict`` or ``list`` whose values are all of a shape."""

    kind: type[Any]
    of: Shape


class Between(NamedTuple):
    """A whole number from ``first`` on, below ``end``."""

    first: int
    end: int


Shape = frozenset[type] | Many | Between
NUMBER = frozenset({int, float})  # True is none
TIME = Between(0, LATEST)
"""Epoch milliseconds: others are in no calendar, and nobody could say them."""
TEXT = frozenset({str})
BYTES = frozenset({bytes})
NUMBERS = Many(dict, NUMBER)

_Read = TypeVar("_Read")


def require(row: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Raise TypeError if an attribute is there that is not of its shape."""
    for name, value in row.items():
        shape = shapes.get(name)
        if shape is None:
            continue
        # Here rather than in a call: a recount asks this of a million attributes.
        if not (type(value) in shape if isinstance(shape, frozenset) else _are(value, shape)):
            raise TypeError(f"{name} is not as it is written")


def in_calendar(time: int) -> int:
    """A time, or the nearest that can be said: of a row that something else can put right."""
    # Nothing is called for the usual one: a recount asks this, too, of every row.
    return time if 0 <= time < LATEST else min(max(time, 0), LATEST - 1)


def _are(value: Any, many: Many | Between) -> bool:
    if isinstance(many, Between):
        return type(value) is int and many.first <= value < many.end
    if not isinstance(value, many.kind):
        return False
    of = many.of
    for part in value.values() if many.kind is dict else value:
        if not (type(part) in of if isinstance(of, frozenset) else _are(part, of)):
            return False
    return True


def read(reader: Callable[[Any], _Read], row: Mapping[str, Any], where: str) -> _Read | None:
    """What a reader makes of a row; None where it can't be read, with a warning that says where."""
    try:
        return reader(row)
    except UNREADABLE as error:
        # Not what the error says: it may quote the row.
        logger().warning("a row can't be read", extra={"row": where, "error": type(error).__name__})
        return None


def version_of(row: Mapping[str, Any]) -> int:
    """A row's version; 0 where it has none that another can follow."""
    version: Any = row.get("version")
    return version if type(version) in NUMBER and version > 0 else 0


def follows(version: int) -> dict[str, Any]:
    """The condition that ``version_of`` the row is the one before this version."""
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
