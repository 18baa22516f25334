"""Output: tables for people, JSON for scripts. Notes and errors go to standard error."""

from __future__ import annotations

import asyncio
import json
import re
import select
import sys
import unicodedata
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from headcount_cli.streams import is_unicode, shown

_PIPED_WIDTH = 100_000
"""Columns if standard output is no terminal: wide enough to break no line."""
_GAP = 2
_NARROWEST = 8
"""Columns of text that are too few to read: a table that would need them becomes a list."""
_NUMBER = re.compile(r"(\$?[\d.,:+-]+( s|%)?)?( \d\d:\d\d:\d\d)?")
"""Numbers, times and days, which are read wrongly if they are cut or broken."""
BARS = "▁▂▃▄▅▆▇█"

Column = tuple[str, str | Callable[[Mapping[str, Any]], object]]
"""A heading, and the row's key or a function of the row."""


_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that are invisible but control a terminal or the text's direction."""
_UNSEEN = "\u2800"  # a Braille pattern without a dot
_IGNORABLE = (
    *(("\u00ad", "\u00ad"), ("\u034f", "\u034f"), ("\u061c", "\u061c"), ("\u115f", "\u1160")),
    *(("\u17b4", "\u17b5"), ("\u180b", "\u180f"), ("\u200b", "\u200f"), ("\u202a", "\u202e")),
    *(("\u2060", "\u206f"), ("\u3164", "\u3164"), ("\ufe00", "\ufe0f"), ("\ufeff", "\ufeff")),
    *(("\uffa0", "\uffa0"), ("\ufff0", "\ufff8"), ("\U0001bca0", "\U0001bca3")),
    *(("\U0001d173", "\U0001d17a"), ("\U000e0000", "\U000e0fff")),
)
"""Unicode's Default_Ignorable_Code_Point."""
_JOINERS = "\u200c\u200d"  # of letters and of emoji


def printable(text: str) -> str:
    """Text from others on one line. Control characters, those that standard output's encoding
    lacks, and all of a text that shows nothing, are escapes such as ``\\u202e``."""
    blank = is_blank(text)
    return shown(
        "".join(
            one
            if (one in _JOINERS or unicodedata.category(one) not in _HIDDEN)
            and (one == " " or not blank)
            else f"\\u{ord(one):04x}"
            for one in text
        )
    )


def is_blank(text: str | None) -> bool:
    """Whether a text shows nothing: spaces, fillers, invisible characters."""
    return all(one.isspace() or one in _UNSEEN or _is_ignorable(one) for one in text or "")


def _is_ignorable(one: str) -> bool:
    return any(first <= one <= last for first, last in _IGNORABLE)


def console() -> Console:
    """Standard output as it is now."""
    return Console(
        highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH
    )


def _print_to_stderr(message: str, style: str) -> None:
    Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(
        escape(message), style=style
    )


def print_error(message: str) -> None:
    """An error, on standard error."""
    _print_to_stderr(message, "red")


def note(message: str) -> None:
    """Something besides the answer, on standard error."""
    _print_to_stderr(message, "dim")


def print_line(line: str) -> None:
    """A line of the answer, unformatted."""
    console().print(escape(line), soft_wrap=True)


def print_json(body: object, *, one_line: bool = False) -> None:
    """JSON without wrapping or colours; in ASCII if standard output is not in UTF-8."""
    indent = None if one_line else 2
    print(json.dumps(body, ensure_ascii=not is_unicode(), indent=indent), flush=True)


def print_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, empty: str = ""
) -> None:
    """A table, or ``empty`` if there are no rows. Values are shown literally, not as markup.

    Nothing is cut: if the terminal is too narrow for a table, each row is a list of its values.
    """
    out = console()
    headings = [heading for heading, _ in columns]
    cells = [
        [cell(row.get(one) if isinstance(one, str) else one(row)) for _, one in columns]
        for row in rows
    ]
    if not cells:
        out.print(empty)
        return
    down = list(zip(*cells, strict=True))
    unbroken = [all(_NUMBER.fullmatch(value) for value in values) for values in down]
    widths = [max(map(cell_len, values)) for values in zip(headings, *cells, strict=True)]
    least = sum(
        width if is_unbroken else min(width, _NARROWEST)
        for width, is_unbroken in zip(widths, unbroken, strict=True)
    )
    if least + _GAP * (len(columns) - 1) > out.width:
        _print_list(out, headings, cells)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, is_unbroken in zip(headings, unbroken, strict=True):
        side: JustifyMethod = "right" if heading in _NUMERIC else "left"
        table.add_column(heading, justify=side, no_wrap=is_unbroken, overflow="fold")
    for values in cells:
        table.add_row(*map(escape, values))
    out.print(table)


def _print_list(out: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A line for each value, which the terminal may wrap; an empty line between two rows."""
    longest = max(map(len, headings))
    for number, row in enumerate(rows):
        if number:
            out.print()
        for heading, value in zip(headings, row, strict=True):
            line = f"[bold]{heading:<{longest}}[/]  {escape(value)}"
            out.print(line.rstrip(), soft_wrap=True)


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, empty: str, as_json: bool
) -> None:
    """The rows as JSON, or as a table of these columns."""
    if as_json:
        print_json(rows)
    else:
        print_table(rows, columns, empty=empty)


_NUMERIC = {
    *("people", "sessions", "signed in", "anonymous", "spaces", "views", "beats", "peak"),
    "average",
}


def cell(value: object) -> str:
    """A cell's text: empty for None, numbers with separators."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def utc_time(at: str | None, *, date: bool = False) -> str:
    """The time of an ISO 8601 moment in UTC, optionally with its date. Empty for None."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


_READER_CHECK = 0.5  # seconds


async def until_reader_leaves(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or until the reader of standard output is gone, as in `| head -1`."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done() and not _reader_is_gone():
            await asyncio.wait({task}, timeout=_READER_CHECK)
        if task.done():
            task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe without a reader; False if that can't be determined."""
    if not hasattr(select, "poll"):
        return False
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last values as bars, from zero to the highest; a space where there is none."""
    last = values[-width:]
    top = max((value for value in last if value is not None), default=0)
    return "".join(
        " " if value is None else BARS[round(value / top * (len(BARS) - 1)) if top > 0 else 0]
        for value in last
    )
