"""Rows of one sort, all of them, as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from headcount_cli.api import Api, pages, space_path
from headcount_cli.errors import CommandError, WrongCommandError

Row = dict[str, Any]

DAYS, TIMELINE = timedelta(days=399), timedelta(days=7)
"""The longest periods that the server answers at once."""
_ALL_POINTS = timedelta(days=30)  # as long as points are kept by default
_A_MOMENT = timedelta(milliseconds=1)
_MOST_ACTS = 500
_FORMULA = re.compile(r"^[=+\-@\t\r\n＝＋－＠]")  # as functions/site/src/csv.js has it
_MOMENTS = {"at", "joinedAt", "lastSeen"}

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
"""What every row has, so that a file without rows has its columns all the same."""

NO_PYARROW = (
    "Parquet needs pyarrow, which is not installed here: `uv tool install '.[parquet]'`, or "
    "`pip install pyarrow` into this environment. Or take --format csv."
)


async def export(api: Api, what: str, space: str, start: str | None, end: str | None) -> list[Row]:
    """All rows: ``days`` (of 400 days), ``timeline`` (of 30), ``viewers``, ``audit`` (of 400)."""
    match what:
        case "viewers":
            if start or end:
                raise WrongCommandError(
                    "Viewers are those who are here now: leave out --from and --to."
                )
            path = space_path(space, "viewers")
            return [row async for page in pages(api, path, "viewers") for row in page]
        case "days":
            return await _days(api, space, start, end)
        case "timeline":
            return await _points(api, space, start, end)
        case _:
            return await _acts(api, space, start, end)


async def _days(api: Api, space: str, start: str | None, end: str | None) -> list[Row]:
    last = _day("--to", end) if end else datetime.now(UTC).date()
    first = _day("--from", start) if start else last - DAYS
    _require_order(first <= last)
    rows: list[Row] = []
    while first <= last:
        until = min(last, first + DAYS)
        asked = {"from": first.isoformat(), "to": until.isoformat()}
        rows += (await api.get(space_path(space, "days"), **asked))["days"]
        first = until + timedelta(days=1)
    return rows


async def _points(api: Api, space: str, start: str | None, end: str | None) -> list[Row]:
    last = _moment("--to", end) if end else datetime.now(UTC)
    first = _moment("--from", start) if start else last - _ALL_POINTS
    _require_order(first <= last)
    rows: list[Row] = []
    while first <= last:
        until = min(last, first + TIMELINE - _A_MOMENT)
        asked = {"from": _iso(first), "to": _iso(until)}
        rows += (await api.get(space_path(space, "timeline"), **asked))["points"]
        first = until + _A_MOMENT
    return rows


async def _acts(api: Api, space: str, start: str | None, end: str | None) -> list[Row]:
    """The newest first; where a page is full, on from its oldest."""
    last = _moment("--to", end) if end else datetime.now(UTC)
    first = _moment("--from", start) if start else last - DAYS
    _require_order(first <= last)
    rows: dict[str, Row] = {}
    until = _iso(last)
    while True:
        page = (await api.get(space_path(space, "audit"), **{"from": _iso(first), "to": until}))[
            "acts"
        ]
        fresh = [act for act in page if act["id"] not in rows]
        rows |= {act["id"]: act for act in fresh}
        if len(page) < _MOST_ACTS or not fresh:
            return list(rows.values())
        until = page[-1]["at"]


def _require_order(ordered: bool) -> None:
    if not ordered:
        raise WrongCommandError("--from must not be later than --to.")


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise WrongCommandError(f"{option} {text!r} is no day: write it like 2026-11-21.") from None


def _moment(option: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongCommandError(
            f"{option} {text!r} is no time: write it like 2026-11-21T12:00:00Z."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def flat(row: Mapping[str, Any], under: str = "") -> Row:
    """A row for columns: ``{"facets": {"page": "/"}}`` becomes ``{"facets.page": "/"}``."""
    found: Row = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{under}{name}.")
        else:
            found[f"{under}{name}"] = value
    return found


def columns(rows: Iterable[Mapping[str, Any]], known: Iterable[str] = ()) -> list[str]:
    """Those that are known, and every column that any row has, in the order they come up."""
    return list(dict.fromkeys([*known, *(name for row in rows for name in row)]))


def write(rows: Sequence[Row], kind: str, output: Path | None, known: Iterable[str] = ()) -> None:
    """Write the rows (flat ones, but for JSON) to a file, or to standard output; ``known`` are
    columns that are there without rows, too.

    A file is there whole or not at all. CommandError where it can't be written.
    """
    if kind == "json":
        content = as_json(rows)
    else:
        content = {"csv": as_csv, "parquet": as_parquet}[kind](rows, known)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        part.write_bytes(content)
        part.replace(output)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise CommandError(f"{output} can't be written: {error.strerror}.") from None


def as_json(rows: Sequence[Row]) -> bytes:
    """A list."""
    return json.dumps(rows, ensure_ascii=False, indent=2).encode() + b"\n"


def as_csv(rows: Sequence[Row], known: Iterable[str] = ()) -> bytes:
    """RFC 4180, UTF-8, a line of names first; text that is a formula to a spreadsheet is none."""
    names = columns(rows, known)
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return file.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) else value
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list) else value


def as_parquet(rows: Sequence[Row], known: Iterable[str] = ()) -> bytes:
    """Columns with types: days are dates, moments timestamps. CommandError without pyarrow."""
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
    """A column's values, all of one type: text where they are not."""
    values = [row.get(name) for row in rows]
    kinds = {type(value) for value in values if value is not None}
    for value in values:
        if value is None:
            yield None
        elif name in _MOMENTS:
            yield datetime.fromisoformat(str(value))
        elif name == "date":
            yield date.fromisoformat(str(value))
        elif len(kinds) > 1 and not kinds <= {int, float}:
            yield str(value)
        elif kinds == {int, float}:
            yield float(value)
        else:
            yield value
