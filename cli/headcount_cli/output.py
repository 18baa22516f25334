"""Tables for people, JSON for scripts; complaints go to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_PIPED = 200
"""Columns where nobody has a window: nothing that one looks for is cut off."""
BARS = "▁▂▃▄▅▆▇█"

Column = tuple[str, Callable[[Mapping[str, Any]], object]]
"""A heading, and what stands below it."""


def console() -> Console:
    """Standard output as it is now."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED)


def complain(words: str) -> None:
    """Say what is wrong."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(words), style="red")


def note(words: str) -> None:
    """Say something beside the answer."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(words), style="dim")


def say(words: str) -> None:
    """A line of the answer, as it is."""
    console().print(escape(words), soft_wrap=True)


def say_json(body: object, *, lines: bool = False) -> None:
    """JSON, on one line where ``lines``; nothing is wrapped or coloured."""
    print(json.dumps(body, ensure_ascii=False, indent=None if lines else 2), flush=True)


def say_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, nothing: str
) -> None:
    """A row each; ``nothing`` in place of an empty table. What others wrote is no markup."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, _ in columns:
        table.add_column(heading, justify="right" if heading in _RIGHT else "left")
    for row in rows:
        table.add_row(*(escape(text(value(row))) for _, value in columns))
    console().print(table if table.row_count else nothing)


def say_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, nothing: str, as_json: bool
) -> None:
    """The rows as they are in JSON, else as a table of these columns."""
    if as_json:
        say_json(rows)
    else:
        say_table(rows, columns, nothing=nothing)


_RIGHT = {"people", "sessions", "signed in", "anonymous", "views", "beats", "peak", "average"}


def key(name: str) -> Callable[[Mapping[str, Any]], object]:
    """What a row has under a name."""
    return lambda row: row.get(name)


def text(value: object) -> str:
    """A cell: nothing for null, numbers with separators."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def local_time(at: str | None, *, date: bool = False) -> str:
    """An ISO 8601 time as a clock in UTC shows it, with its date where asked for."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as bars, from none to the highest."""
    last = values[-width:]
    top = max(last, default=0)
    if top <= 0:
        return BARS[0] * len(last)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in last)
