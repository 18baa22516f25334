"""Parquet files of plain columns, without a library: those that write Parquet are larger than all
that a function may have.

Every value is required, encoded plainly and compressed by gzip, which all readers of Parquet know.
Format: https://parquet.apache.org/docs/file-format/, in Thrift's compact protocol.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Any

from msgspec import Struct

_MAGIC = b"PAR1"
_EPOCH = date(1970, 1, 1)
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12  # Thrift's types
_INT32, _INT64, _BYTES = 1, 2, 6  # Parquet's
_UTF8, _DATE = 0, 6  # what they mean
_PLAIN, _RLE, _GZIP = 0, 3, 2
_SHORT_LIST = 15


class _Type(Struct, frozen=True):
    physical: int
    meaning: int | None
    encode: Callable[[Sequence[Any]], bytes]


def _dates(values: Sequence[str]) -> bytes:
    days = [(date.fromisoformat(one) - _EPOCH).days for one in values]
    return struct.pack(f"<{len(days)}i", *days)


def _integers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _texts(values: Sequence[str]) -> bytes:
    encoded = [one.encode() for one in values]
    return b"".join([struct.pack("<i", len(one)) + one for one in encoded])


class Type(Enum):
    """A column's type: days as ``2026-11-21``, whole numbers up to 64 bits, text."""

    DATE = _Type(_INT32, _DATE, _dates)
    INTEGER = _Type(_INT64, None, _integers)
    TEXT = _Type(_BYTES, _UTF8, _texts)


class ParquetFile:
    """A file that grows by groups of rows. ``columns``: name -> type."""

    def __init__(self, columns: Mapping[str, Type]) -> None:
        self._columns = columns
        self._data = bytearray(_MAGIC)
        self._groups: list[bytes] = []
        self.rows = 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a group of rows, each with all columns; their number decides how much memory a reader
        needs."""
        start = len(self._data)
        chunks = [
            self._chunk(name, kind.value, [row[name] for row in rows])
            for name, kind in self._columns.items()
        ]
        size = len(self._data) - start
        self._groups.append(
            _struct((1, _LIST, _list(_STRUCT, chunks)), (2, _I64, size), (3, _I64, len(rows)))
        )
        self.rows += len(rows)

    def content(self) -> bytes:
        """The whole file."""
        root = _struct((4, _BINARY, b"schema"), (5, _I32, len(self._columns)))
        schema = [root, *(_element(name, kind.value) for name, kind in self._columns.items())]
        footer = _struct(
            (1, _I32, 1),
            (2, _LIST, _list(_STRUCT, schema)),
            (3, _I64, self.rows),
            (4, _LIST, _list(_STRUCT, self._groups)),
            (6, _BINARY, b"headcount"),
        )
        return bytes(self._data) + footer + struct.pack("<i", len(footer)) + _MAGIC

    def _chunk(self, name: str, kind: _Type, values: Sequence[Any]) -> bytes:
        """Write a column of a group, as one page; returns its description."""
        plain = kind.encode(values)
        packed = gzip.compress(plain, mtime=0)
        head = _struct((1, _I32, len(values)), (2, _I32, _PLAIN), (3, _I32, _RLE), (4, _I32, _RLE))
        sizes = (2, _I32, len(plain)), (3, _I32, len(packed))
        page = _struct((1, _I32, 0), *sizes, (5, _STRUCT, head))  # 0: a data page
        at = len(self._data)
        self._data += page + packed
        about = _struct(
            (1, _I32, kind.physical),
            (2, _LIST, _list(_I32, [_varint(_zigzag(one)) for one in (_PLAIN, _RLE)])),
            (3, _LIST, _list(_BINARY, [_bytes(name.encode())])),
            (4, _I32, _GZIP),
            (5, _I64, len(values)),
            (6, _I64, len(page) + len(plain)),
            (7, _I64, len(page) + len(packed)),
            (9, _I64, at),
        )
        return _struct((2, _I64, at), (3, _STRUCT, about))


def _element(name: str, kind: _Type) -> bytes:
    meaning = [] if kind.meaning is None else [(6, _I32, kind.meaning)]
    required = 0
    return _struct(
        (1, _I32, kind.physical), (3, _I32, required), (4, _BINARY, name.encode()), *meaning
    )


def _struct(*fields: tuple[int, int, Any]) -> bytes:
    """Thrift's struct of fields: their ids, growing by less than 16, their types and values."""
    written, last = b"", 0
    for number, kind, value in fields:
        written += bytes([(number - last) << 4 | kind])
        if kind in {_I32, _I64}:
            written += _varint(_zigzag(value))
        else:
            written += _bytes(value) if kind == _BINARY else value
        last = number
    return written + b"\0"


def _list(kind: int, values: Sequence[bytes]) -> bytes:
    if len(values) < _SHORT_LIST:
        head = bytes([len(values) << 4 | kind])
    else:
        head = bytes([0xF0 | kind]) + _varint(len(values))
    return head + b"".join(values)


def _bytes(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else -(value << 1) - 1


def _varint(value: int) -> bytes:
    written = b""
    while rest := value >> 7:
        written += bytes([value & 0x7F | 0x80])
        value = rest
    return written + bytes([value])
