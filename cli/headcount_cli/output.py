"""Tables for people, JSON for scripts; complaints go to standard error."""

from __future__ import annotations

import asyncio
import json
import select
import sys
import unicodedata
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
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


_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that act on a terminal or turn text round, and show nothing."""
_JOINERS = "\u200c\u200d"  # of letters and of emoji


def printable(words: str) -> str:
    """A text of others' on one line, as it can't act on a terminal: what shows nothing is named."""
    return "".join(
        one if one in _JOINERS or unicodedata.category(one) not in _HIDDEN else f"\\u{ord(one):04x}"
        for one in words
    )


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
    return printable(str(value))


def local_time(at: str | None, *, date: bool = False) -> str:
    """An ISO 8601 time as a clock in UTC shows it, with its date where asked for."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


_READER_LOOKED_FOR = 0.5  # seconds


async def while_read(work: Coroutine[Any, Any, None]) -> None:
    """Do it until its end, or until nobody reads standard output any more, as in `| head -1`."""
    doing = asyncio.ensure_future(work)
    try:
        while not doing.done() and not _is_abandoned():
            await asyncio.wait({doing}, timeout=_READER_LOOKED_FOR)
        if doing.done():
            doing.result()
    finally:
        doing.cancel()
        with suppress(asyncio.CancelledError):
            await doing


def _is_abandoned() -> bool:
    """Whether standard output is a pipe that nobody reads; False where that can't be seen."""
    if not hasattr(select, "poll"):
        return False
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as bars, from none to the highest."""
    last = values[-width:]
    top = max(last, default=0)
    if top <= 0:
        return BARS[0] * len(last)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in last)
