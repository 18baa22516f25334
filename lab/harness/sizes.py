"""The size of an item as DynamoDB counts it: names and values in UTF-8, 1 KB per write unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def item_size(item: Mapping[str, Any]) -> int:
    """Bytes of an encoded item."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    """Bytes of an encoded value; a number takes one byte per two digits, plus one."""
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return len(inner) if inner.isascii() else len(inner.encode())
        case "B":
            return len(inner)
        case "N":
            return (len(inner.lstrip("-").replace(".", "")) + 1) // 2 + 1 + inner.startswith("-")
        case "BOOL" | "NULL":
            return 1
        case "M":
            return 3 + sum(
                1 + len(name.encode()) + value_size(part) for name, part in inner.items()
            )
        case "L":
            return 3 + sum(1 + value_size(part) for part in inner)
    raise TypeError(kind)
