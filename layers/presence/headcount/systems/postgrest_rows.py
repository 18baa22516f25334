"""What PostgREST lets clients ask of a result: filters, order, a range, columns, a format.

A result here is the one row of a function, or the rows of an insert. What is asked for is done, or
refused with PostgREST's or Postgres's own code, never ignored.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from headcount.errors import RequestError
from headcount.web.http import Request
from headcount.web.routing import Reply

Rows = Sequence[Mapping[str, Any]]

JSON = "application/json"
OBJECT = "application/vnd.pgrst.object"
ARRAY = "application/vnd.pgrst.array"
CSV = "text/csv"
_ANY = {"*/*", "application/*"}
_RESERVED = {"select", "order", "limit", "offset", "columns", "on_conflict"}
_GROUPS = {"or", "and", "not.or", "not.and"}
OURS = {"token", "apikey"}
"""The caller's right, for which others have headers."""
ASKED = {*_RESERVED, *_GROUPS, *OURS}
"""The parameters that are neither columns nor arguments."""
_ORDER = re.compile(r'("[^"]*"|[^.,]+)(\.(asc|desc))?(\.nulls(first|last))?')
_RANGE = re.compile(r"(\d+)-(\d*)")


class PostgrestError(RequestError):
    """An error with its own code, and what PostgREST says beside the message."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        details: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, details=[details] if details else [])
        self.code = code
        self.status = HTTPStatus(status)
        self.hint = hint


def shown(name: str) -> str:
    """A name that the client sent, cut and without characters that no name has."""
    return re.sub(r"[^\w(), -]", "?", name[:63])


def preferences(request: Request) -> dict[str, str]:
    """The preferences of the ``Prefer`` header: ``name=value, ...``. Raises PostgrestError."""
    pairs = (one.partition("=") for one in request.headers.get("prefer", "").split(","))
    found: dict[str, str] = {}
    for key, _, value in pairs:
        found.setdefault(key.strip().lower(), value.strip())  # the first one counts
    found.pop("", None)
    invalid = [
        f"{name}={value}"
        for name, value in found.items()
        if value not in _PREFERENCES.get(name, {value})
        or (found.get("handling") == "strict" and name not in {*_PREFERENCES, "max-affected"})
        or (name == "max-affected" and not value.isdecimal())
    ]
    if invalid:
        raise PostgrestError(
            "PGRST122",
            "Invalid preferences given with handling=strict",
            details=f"Invalid preferences: {', '.join(map(shown, invalid))}",
        )
    return found


_PREFERENCES: Mapping[str, Collection[str]] = {
    "return": ("minimal", "representation", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
    "tx": ("commit",),  # what was inserted can't be taken back
    "timezone": ("UTC", "Etc/UTC"),
}


def parameters(request: Request) -> list[tuple[str, str]]:
    """The query's parameters in order: a name may come several times."""
    raw = request.event.get("rawQueryString")
    if raw is None:
        return list(request.query.items())
    return parse_qsl(str(raw), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of a result with these columns."""

    columns: list[str]
    filters: list[Callable[[Mapping[str, Any]], bool]]
    offset: int
    limit: int | None
    media: str
    strips_nulls: bool
    preferred: Mapping[str, str]

    @classmethod
    def of(
        cls, request: Request, relation: str, columns: Mapping[str, type], arguments: Sequence[str]
    ) -> Asked:
        """Parse and check all of it. ``arguments`` are a function's, which are no filters. Raises
        PostgrestError."""
        media, strips_nulls = _media(request)
        filters = []
        values: dict[str, str] = {}
        for name, value in parameters(request):
            if name in _RESERVED:
                values[name] = value
            elif name in _GROUPS:
                filters.append(_group(name, value, relation, columns))
            elif name not in {*arguments, *OURS}:
                filters.append(_filter(name, value, relation, columns))
        selected = _selected(values.get("select", "*"), relation, columns)
        _check_order(values.get("order"), relation, columns)
        offset, limit = _range(request, values)
        return cls(selected, filters, offset, limit, media, strips_nulls, preferences(request))

    def reply(self, rows: Rows, status: int = HTTPStatus.OK, *, inserted: bool = False) -> Reply:
        """The response with what was asked of these rows. Raises PostgrestError."""
        found = [row for row in rows if all(matches(row) for matches in self.filters)]
        end = None if self.limit is None else self.offset + self.limit
        page = found[self.offset : end]
        counted = "count" in self.preferred
        if counted and self.offset and self.offset >= len(found):
            raise PostgrestError(
                "PGRST103",
                "Requested range not satisfiable",
                status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                details=f"An offset of {self.offset} was requested, but there are only "
                f"{len(found)} rows.",
            )
        self.check_single(len(page))
        if counted and len(page) < len(found) and status == HTTPStatus.OK:
            status = HTTPStatus.PARTIAL_CONTENT
        which = f"{self.offset}-{self.offset + len(page) - 1}" if page else "*"
        headers = {"content-range": f"{'*' if inserted else which}/{len(found)}"} if counted else {}
        body = [{name: row[name] for name in self.columns} for row in page]
        if self.strips_nulls:
            body = [{k: v for k, v in row.items() if v is not None} for row in body]
        if self.media == CSV:
            return CsvReply(_csv(body, self.columns), status, headers)
        if self.media == OBJECT:
            return Reply(body[0], status, {**headers, "content-type": _typed(OBJECT)})
        return Reply(body, status, headers)

    def check_single(self, rows: int) -> None:
        """Refuse a number of rows other than one if the client asks for one object."""
        if self.media == OBJECT and rows != 1:
            raise PostgrestError(
                "PGRST116",
                "Cannot coerce the result to a single JSON object",
                status=HTTPStatus.NOT_ACCEPTABLE,
                details=f"The result contains {rows} rows",
            )


class CsvReply(Reply, frozen=True):
    """A response of CSV."""

    def response(self) -> dict[str, Any]:
        """The response in the gateway's format."""
        response = Reply(None, self.status, self.headers).response()
        response["headers"]["content-type"] = f"{CSV}; charset=utf-8"
        return {**response, "body": self.body}


def _typed(media: str) -> str:
    return f"{media}+json; charset=utf-8"


def _csv(rows: Rows, columns: Sequence[str]) -> str:
    """As Postgres's rows in CSV: null is empty, JSON is a text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            [
                json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
                for value in (row.get(name) for name in columns)
            ]
        )
    return out.getvalue().rstrip("\n")


def _media(request: Request) -> tuple[str, bool]:
    """The format that the client takes, and whether without nulls."""
    accept = request.headers.get("accept") or "*/*"
    for one in accept.split(","):
        media, *options = (part.strip().lower() for part in one.split(";"))
        media = media.removesuffix("+json") if media.startswith("application/vnd.pgrst.") else media
        strips = "nulls=stripped" in options
        if media in {JSON, ARRAY, *_ANY}:
            return JSON, strips
        if media in {OBJECT, CSV}:
            return media, strips
    raise PostgrestError(
        "PGRST107",
        f"None of these media types are available: {re.sub(r'[^ -~]', '?', accept[:200])}",
        status=HTTPStatus.NOT_ACCEPTABLE,
    )


def _column(name: str, relation: str, columns: Mapping[str, type]) -> str:
    name = name.strip().strip('"')
    if name not in columns:
        raise PostgrestError(
            "42703",
            f"column {relation}.{shown(name)} does not exist",
            hint=f"The columns are {', '.join(columns)}.",
        )
    return name


def _selected(text: str, relation: str, columns: Mapping[str, type]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if "*" in names or text == "":
        return list(columns)
    for name in names:
        if re.search(r"[(:]|->|::", name):
            raise _unparsed("select parameter", text)
    return [_column(name, relation, columns) for name in names]


def _check_order(text: str | None, relation: str, columns: Mapping[str, type]) -> None:
    """One row has no order, but what the client asks must exist."""
    for term in (text or "").split(",") if text is not None else ():
        match = _ORDER.fullmatch(term.strip())
        if match is None:
            raise _unparsed("order", text or "")
        _column(match[1], relation, columns)


def _unparsed(what: str, text: str) -> PostgrestError:
    cut = re.sub(r"[^ -~]", "?", text[:63])
    return PostgrestError("PGRST100", f'"failed to parse {what} ({cut})" (line 1, column 1)')


def _range(request: Request, values: Mapping[str, str]) -> tuple[int, int | None]:
    offset, limit = _number(values, "offset") or 0, _number(values, "limit")
    header = request.headers.get("range")
    if (
        header is not None
        and request.method in {"GET", "HEAD"}
        and not {"limit", "offset"} & {*values}
    ):
        match = _RANGE.fullmatch(header.strip().removeprefix("items="))
        if match is None:
            raise _unsatisfiable("The Range header must be like 0-9.")
        offset = int(match[1])
        if match[2] and int(match[2]) < offset:
            raise _unsatisfiable(
                "The lower boundary must be lower than or equal to the upper boundary in the "
                "Range header."
            )
        limit = int(match[2]) - offset + 1 if match[2] else None
    if limit is not None and limit < 0:
        raise _unsatisfiable("Limit should be greater than or equal to zero.")
    if offset < 0:
        raise PostgrestError("2201X", "OFFSET must not be negative")
    return offset, limit


def _number(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise _unparsed(name, text)
    return int(text)


def _unsatisfiable(details: str) -> PostgrestError:
    return PostgrestError(
        "PGRST103",
        "Requested range not satisfiable",
        status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        details=details,
    )


# --------------------------------------------------------------------------------- the filters

Matches = Callable[[Mapping[str, Any]], bool]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda one, other: bool(one == other),
    "neq": lambda one, other: bool(one != other),
    "gt": lambda one, other: bool(one > other),
    "gte": lambda one, other: bool(one >= other),
    "lt": lambda one, other: bool(one < other),
    "lte": lambda one, other: bool(one <= other),
}
_TEXT_ONLY = {"like": "~~", "ilike": "~~*", "match": "~", "imatch": "~*"}
_OTHER = {
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "sl": "<<",
    "sr": ">>",
    "nxr": "&<",
    "nxl": "&>",
    "adj": "-|-",
    "fts": "@@",
    "plfts": "@@",
    "phfts": "@@",
    "wfts": "@@",
}


def is_filter(value: str) -> bool:
    """Whether a parameter's value is a filter rather than a function's argument."""
    name = value.removeprefix("not.").partition(".")[0].partition("(")[0]
    return "." in value and name in {*_COMPARE, *_TEXT_ONLY, *_OTHER, "in", "is", "isdistinct"}


def _filter(name: str, value: str, relation: str, columns: Mapping[str, type]) -> Matches:
    """``column=operator.value`` as a function of a row. Raises PostgrestError."""
    if not is_filter(value):
        raise _unparsed("filter", value)
    if "->" in name:
        raise _unparsed("tree path", name)
    negated = value.startswith("not.")
    operator, _, operand = value.removeprefix("not.").partition(".")
    operator, _, quantifier = operator.partition("(")
    column = _column(name, relation, columns)
    matches = _operation(column, operator, quantifier.rstrip(")"), operand, columns[column])

    def apply(row: Mapping[str, Any]) -> bool:
        found = matches(row)
        # In SQL, neither a comparison with null nor its negation is true.
        return found is not None and found is not negated

    return apply


def _operation(
    column: str, operator: str, quantifier: str, operand: str, kind: type
) -> Callable[[Mapping[str, Any]], bool | None]:
    if operator == "is":
        if operand.lower() not in {"null", "not_null"}:
            if operand.lower() in {"true", "false", "unknown"}:
                raise PostgrestError(
                    "42804", f"argument of IS {operand.upper()} must be type boolean"
                )
            raise _unparsed("filter", f"is.{operand}")
        wants_null = operand.lower() == "null"
        return lambda row: (row[column] is None) is wants_null
    if operator in _TEXT_ONLY or operator in _OTHER or kind is list:
        symbol = {**_TEXT_ONLY, **_OTHER}.get(operator, "=")
        name = "json" if kind is list else "bigint"
        raise PostgrestError(
            "42883",
            f"operator does not exist: {name} {symbol} unknown",
            status=HTTPStatus.NOT_FOUND,
            hint="No operator matches the given name and argument types. You might need to add "
            "explicit type casts.",
        )
    if operator == "in":
        values = [_integer(one) for one in _items(operand, "()")]
        return lambda row: None if row[column] is None else row[column] in values
    if quantifier in {"any", "all"} and operator in {"eq", "gt", "gte", "lt", "lte"}:
        compare, combine = _COMPARE[operator], any if quantifier == "any" else all
        numbers = [_integer(one) for one in _items(operand, "{}")]
        return lambda row: combine(compare(row[column], one) for one in numbers)
    if quantifier:
        raise _unparsed("filter", f"{operator}({quantifier}).{operand}")
    number = _integer(operand)
    if operator == "isdistinct":
        return lambda row: bool(row[column] != number)
    compare = _COMPARE[operator]
    return lambda row: None if row[column] is None else compare(row[column], number)


def _items(operand: str, brackets: str) -> list[str]:
    if len(operand) < len(brackets) or (operand[0], operand[-1]) != (brackets[0], brackets[1]):
        raise _unparsed("filter", operand)
    inside = operand[1:-1].strip()
    return [one.strip().strip('"') for one in inside.split(",")] if inside else []


def _integer(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII):
        cut = re.sub(r"[^ -~]", "?", text[:63])
        raise PostgrestError("22P02", f'invalid input syntax for type bigint: "{cut}"')
    return int(text)


def _group(name: str, text: str, relation: str, columns: Mapping[str, type]) -> Matches:
    """``or=(a.eq.1,and(b.gt.2,c.is.null))`` as a function of a row."""
    if len(text) < len("()") or text[0] != "(" or text[-1] != ")":
        raise _unparsed("logic tree", text)
    parts = [_node(one, relation, columns) for one in _split(text[1:-1])]
    combine = any if name.endswith("or") else all
    negated = name.startswith("not.")
    return lambda row: combine(matches(row) for matches in parts) is not negated


def _node(text: str, relation: str, columns: Mapping[str, type]) -> Matches:
    head, bracket, _ = text.partition("(")
    if bracket and head in _GROUPS:
        return _group(head, text[len(head) :], relation, columns)
    column, dot, value = text.partition(".")
    if not dot:
        raise _unparsed("logic tree", text)
    return _filter(column, value, relation, columns)


def _split(text: str) -> Iterable[str]:
    """The parts between commas that are in no brackets."""
    part, depth = "", 0
    for one in text:
        depth += (one in "({") - (one in ")}")
        if one == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += one
    if not part.strip() or depth:
        raise _unparsed("logic tree", text)
    yield part.strip()
