"""DynamoDB's typed JSON to plain Python and back: None is left out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]
"""An item in DynamoDB's JSON: ``{"name": {"S": "x"}}``."""


_PLAIN: Mapping[type, str] = {str: "S", bool: "BOOL", bytes: "B"}


def encode(values: Mapping[str, Any]) -> Item:
    """Plain values to an item; keys whose value is None are left out."""
    return {key: encode_value(value) for key, value in values.items() if value is not None}


def encode_value(value: Any) -> dict[str, Any]:
    """One plain value to its typed form. Raises TypeError for other types."""
    name = _PLAIN.get(type(value))  # a beat has a dozen of these
    if name is not None:
        return {name: value}
    match value:
        case int() | float():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case Mapping():
            return {"M": encode(value)}
        case list() | tuple():
            return {"L": [encode_value(part) for part in value]}
    raise TypeError(f"no attribute type for {type(value).__name__}")


def decode(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item, or a stream record's image, to plain values."""
    plain = {}
    for key, value in item.items():
        ((kind, inner),) = value.items()
        # Most are texts and whole numbers, and a recount decodes millions: those need no call.
        if kind == "S":
            plain[key] = inner
        elif kind == "N" and inner.isdecimal():
            plain[key] = int(inner)
        else:
            plain[key] = decode_value(value)
    return plain


def decode_value(value: Mapping[str, Any]) -> Any:
    """One typed value to plain Python. Raises TypeError for unknown types."""
    ((kind, inner),) = value.items()
    match kind:
        case "S" | "BOOL" | "SS" | "NS" | "BS":  # sets are never written: no reader accepts them
            return inner
        case "N":
            return int(inner) if inner.lstrip("-").isdecimal() else float(inner)
        case "B":
            return inner if isinstance(inner, bytes) else base64.b64decode(inner)
        case "M":
            return decode(inner)
        case "L":
            return [decode_value(part) for part in inner]
        case "NULL":
            return None
    raise TypeError(f"unknown attribute type {kind!r}")
