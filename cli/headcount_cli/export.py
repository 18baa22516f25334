"""All rows of one type, as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from headcount_cli.api import Api, pages, rows_of, space_path
from headcount_cli.errors import CommandError, WrongCommandError
from headcount_cli.files import save
from headcount_cli.times import day, iso, moment

Row = dict[str, Any]

DAYS, TIMELINE = timedelta(days=399), timedelta(days=7)
"""The longest periods that the server returns at once."""
_ALL_POINTS = timedelta(days=30)  # as long as points are kept by default
_DAY, _MINUTE, _MILLISECOND = timedelta(days=1), timedelta(minutes=1), timedelta(milliseconds=1)
_MAX_ACTIONS = 500
# As clients/dashboard/csv.js has it, with the reasons.
_FORMULA = re.compile(r"""^(?:["\s]*[=+\-@＝＋－＠]|[\t\r\n])""")
_FORMULA_INSIDE = re.compile(r"""[;|\t\r\n](?=["\s]*[=+\-@＝＋－＠])|[;|](?=[\t\r\n])""")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""It tells spreadsheets that a file is in UTF-8; programs that read standard output need none."""
_TIMESTAMPS = {"at", "joinedAt", "lastSeen"}

COLUMNS = {
    "days": (
        *("date", "uniquePeople", "uniqueSessions", "uniqueUsers"),
        *("views", "beats", "peak", "avgSeconds"),
    ),
    "timeline": ("at", "people", "sessions"),
    "viewers": (
        *("sessionId", "visitorId", "userId", "verified", "name", "avatar", "page"),
        *("state", "joinedAt", "lastSeen"),
    ),
    "audit": ("id", "at", "who", "what"),
}
"""Columns that a file has even without rows."""

NO_PYARROW = (
    "Parquet needs pyarrow, which is not installed here: run `uv tool install '.[parquet]'`, or "
    "`pip install pyarrow` in this environment, or use --format csv."
)


async def export(
    api: Api, what: str, space: str, start: str | None, end: str | None, *, now: datetime
) -> list[Row]:
    """All rows of ``days`` or ``audit`` (400 days), ``timeline`` (30 days) or ``viewers``."""

    async def read(first: str, last: str) -> list[Row]:
        answer = await api.get(space_path(space, what), **{"from": first, "to": last})
        return minutes_of(answer) if what == "timeline" else rows_of(answer, _KEYS[what])

    match what:
        case "viewers":
            if start or end:
                raise WrongCommandError("--viewers exports who is here now: omit --from and --to.")
            path = space_path(space, "viewers")
            return [row async for page in pages(api, path, "viewers") for row in page]
        case "days":
            days = _period(day, start, end, now, latest=now.date(), default=DAYS)
            windows = _windows(*days, DAYS, _DAY)
            return [row for one in windows for row in await read(*map(date.isoformat, one))]
        case "timeline":
            minutes = _period(moment, start, end, now, latest=now, default=_ALL_POINTS)
            spans = _windows(*minutes, TIMELINE - _MILLISECOND, _MILLISECOND)
            return [row for one in spans for row in await read(*map(iso, one))]
        case _:
            return await _actions(read, *_period(moment, start, end, now, latest=now, default=DAYS))


def minutes_of(timeline: Any) -> list[Row]:
    """A row for each minute in which someone was there; without numbers if it was not sampled."""
    rows, gaps = rows_of(timeline, "points"), timeline.get("gaps") or ()
    for gap in gaps:
        at, last = (datetime.fromisoformat(gap[end]) for end in ("from", "to"))
        while at <= last:
            rows.append({"at": iso(at), "people": None, "sessions": None})
            at += _MINUTE
    return sorted(rows, key=lambda row: str(row["at"])) if gaps else rows


def people_by_minute(rows: Iterable[Mapping[str, Any]]) -> list[int | None]:
    """The people of each minute from the first row to the last: 0 without a row, None without a
    number."""
    found = {datetime.fromisoformat(row["at"]).replace(second=0): row["people"] for row in rows}
    if not found:
        return []
    first, last = min(found), max(found)
    times = (first + number * _MINUTE for number in range((last - first) // _MINUTE + 1))
    return [found.get(at, 0) for at in times]


async def _actions(
    read: Callable[[str, str], Awaitable[list[Row]]], first: datetime, last: datetime
) -> list[Row]:
    """Newest first. A full page is continued from its oldest action."""
    rows: dict[str, Row] = {}
    until = iso(last)
    while True:
        page = await read(iso(first), until)
        fresh = [action for action in page if action["id"] not in rows]
        rows |= {action["id"]: action for action in fresh}
        if len(page) < _MAX_ACTIONS or not fresh:
            return list(rows.values())
        until = page[-1]["at"]


Time = TypeVar("Time", date, datetime)
_KEYS = {"days": "days", "timeline": "points", "audit": "acts"}


def _windows(
    first: Time, last: Time, length: timedelta, step: timedelta
) -> Iterator[tuple[Time, Time]]:
    """Periods of at most this length, one after the other; ``step`` separates two."""
    while first <= last:
        until = min(last, first + length)
        yield first, until
        first = until + step


def _period(
    parse: Callable[[str, str, datetime], Time],
    start: str | None,
    end: str | None,
    now: datetime,
    *,
    latest: Time,
    default: timedelta,
) -> tuple[Time, Time]:
    """The first and the last moment, or day: by default the last ones."""
    last = parse("--to", end, now) if end else latest
    first = parse("--from", start, now) if start else last - default
    if first > last:
        raise WrongCommandError("--from must not be later than --to.")
    return first, last


def flat(row: Mapping[str, Any], under: str = "") -> Row:
    """A row with flat columns: ``{"facets": {"page": "/"}}`` becomes ``{"facets.page": "/"}``."""
    found: Row = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{under}{name}.")
        else:
            found[f"{under}{name}"] = value
    return found


def columns(rows: Iterable[Mapping[str, Any]], known: Iterable[str] = ()) -> list[str]:
    """The known columns, then every other column in the order of appearance."""
    return list(dict.fromkeys([*known, *(name for row in rows for name in row)]))


def write(rows: Sequence[Row], kind: str, output: str | None, known: Iterable[str] = ()) -> None:
    """Write rows (flat unless JSON) to a file or standard output; ``known`` columns always exist.

    CommandError if the file can't be written.
    """
    if kind == "json":
        content = as_json(rows)
    else:
        content = {"csv": as_csv, "parquet": as_parquet}[kind](rows, known)
    if output is not None:
        save(_BYTE_ORDER_MARK + content if kind == "csv" else content, output)
        return
    sys.stdout.buffer.write(content)
    sys.stdout.flush()


def as_json(rows: Sequence[Row]) -> bytes:
    """A list."""
    return json.dumps(rows, ensure_ascii=False, indent=2).encode() + b"\n"


def as_csv(rows: Sequence[Row], known: Iterable[str] = ()) -> bytes:
    """RFC 4180 with a header line, in UTF-8. No cell is a formula, whatever separates the cells."""
    names = columns(rows, known)
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(map(_cell, names))
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return file.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    guarded = _FORMULA_INSIDE.sub(r"\g<0>'", text)
    return f"'{guarded}" if _FORMULA.match(text) else guarded


def as_parquet(rows: Sequence[Row], known: Iterable[str] = ()) -> bytes:
    """Typed columns: days are dates, times are timestamps. CommandError without pyarrow."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise CommandError(NO_PYARROW) from None
    table = arrow.table({name: list(_typed(name, rows)) for name in columns(rows, known)})
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def _typed(name: str, rows: Sequence[Row]) -> Iterator[Any]:
    """A column's values in one type: text if they have several."""
    values = [row.get(name) for row in rows]
    kinds = {type(value) for value in values if value is not None}
    for value in values:
        if value is None:
            yield None
        elif name in _TIMESTAMPS:
            yield datetime.fromisoformat(str(value))
        elif name == "date":
            yield date.fromisoformat(str(value))
        elif len(kinds) > 1 and not kinds <= {int, float}:
            yield str(value)
        elif kinds == {int, float}:
            yield float(value)
        else:
            yield value
