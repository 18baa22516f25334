"""Site traffic for existing Supabase clients: the table ``heartbeats`` and its two functions over
PostgREST's protocol, as the npm package ``@supabase/supabase-js`` speaks it.

Column names and numbers are those of the SQL; errors are ``{code, message, details, hint}`` with
the codes of Postgres and PostgREST.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from headcount.errors import (
    BusyError,
    ForbiddenError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RateLimitError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
)
from headcount.model.access import Action, Scope
from headcount.model.beat import Beat
from headcount.model.session import Facts
from headcount.model.space import Space
from headcount.systems.postgrest_rows import (
    ASKED,
    OURS,
    Asked,
    PostgrestError,
    is_filter,
    parameters,
    shown,
)
from headcount.systems.site_traffic import (
    READ_SITE,
    TopPage,
    beat_of,
    daily_traffic,
    live_traffic,
    site,
)
from headcount.times import add_days, day_of, iso
from headcount.web.bodies import Identifier, Page, SessionId, parse
from headcount.web.calls import Call, Identity
from headcount.web.http import Response, respond
from headcount.web.routing import Query, Reply, Route, Who

MAX_INSERT_ROWS = 100
"""Heartbeats in one insert."""
MAX_STRANGERS_ROWS = 10
"""Heartbeats in one insert without the scope ``ingest``."""
MAX_INSERT_BODY = 64 * 1024
"""Bytes of an insert's body."""

_TABLE = "heartbeats"
_PEOPLE = Scope(Action.PEOPLE, "site:main")
_COLUMNS = ("id", "session_id", "user_id", "page_path", "created_at")
_NOT_NULL = ("session_id", "page_path")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})([T ][0-9:.]{1,16}(Z|[+-][0-9:]{2,6})?)?", re.ASCII)

_CODES: Mapping[type[RequestError], str] = {
    UnauthorizedError: "42501",
    ForbiddenError: "42501",
    NotFoundError: "PGRST125",
    MethodNotAllowedError: "PGRST117",
    TooLargeError: "54000",
    RateLimitError: "53400",
    BusyError: "53000",
    InvalidRequestError: "22P02",
}
_UNEXPECTED = "XX000"


class PostgrestProblem(TypedDict):
    """An error, with a ``code`` of Postgres or PostgREST."""

    code: str
    message: str
    details: str | None
    hint: str | None


ERROR_ANSWER = PostgrestProblem


def shape_error(error: RequestError) -> Response:
    """Format an error like PostgREST."""
    own = error if isinstance(error, PostgrestError) else None
    body: PostgrestProblem = {
        "code": own.code if own else _CODES.get(type(error), _UNEXPECTED),
        "message": error.message,
        "details": " ".join(error.details) or None,
        "hint": (own.hint if own else "") or None,
    }
    response = respond(body, error.status)
    response["headers"].update({name.lower(): text for name, text in error.headers.items()})
    return response


class Row(BaseModel):
    """A row of ``heartbeats``. ``id`` and ``created_at`` may be sent; the server sets them."""

    model_config = ConfigDict(strict=True, frozen=True)

    session_id: SessionId
    user_id: Identifier | None = None
    page_path: Annotated[Page, Field(min_length=1)]


class Stored(TypedDict, total=False):
    """A row, as returned with ``Prefer: return=representation``."""

    id: str
    session_id: str
    user_id: str | None
    page_path: str
    created_at: str


class LiveTraffic(TypedDict, total=False):
    """What ``get_live_traffic`` returns, or the columns that ``select`` names."""

    active_users: int
    active_sessions: int
    authenticated_users: int
    anonymous_sessions: int
    top_pages: list[TopPage] | None


class DailyActiveUsers(TypedDict, total=False):
    """What ``get_daily_active_users`` returns, or the columns that ``select`` names."""

    unique_sessions: int
    unique_users: int
    total_heartbeats: int


# ------------------------------------------------------------------------------------- the table


def insert(call: Call) -> Reply:
    """Record a heartbeat, or a list of up to 100. If one is refused, none is stored.

    Only an error that occurs while they are being stored leaves some of them stored: the service is
    busy, or another request changes one of their sessions. Sending all of them again is safe: no
    session is doubled, though heartbeats that had been stored count twice.
    """
    _check_schema(call, "content-profile")
    body = _json(call)
    rows = body if isinstance(body, list) else [body]
    if len(rows) > MAX_INSERT_ROWS:
        raise TooLargeError(
            f"Too many rows: at most {MAX_INSERT_ROWS} heartbeats are accepted at a time."
        )
    columns = _inserted_columns(call)
    parsed = [_row(row, columns) for row in rows]
    space = site(call)
    if len(rows) > MAX_STRANGERS_ROWS and not call.may_ingest(space):
        raise TooLargeError(
            f"Too many rows: at most {MAX_STRANGERS_ROWS} heartbeats at a time are accepted "
            f"without a token that has the scope {Scope(Action.INGEST, space.id)}."
        )
    beats = [
        beat_of(space, session=row.session_id, user=row.user_id, page=row.page_path)
        for row in parsed
    ]
    identities = {user: call.identify(user) for user in {row.user_id for row in parsed}}
    _check_insert(call)
    asked = Asked.of(call.request, _TABLE, dict.fromkeys(_COLUMNS, str), ())
    wants_rows = asked.preferred.get("return") == "representation"
    if wants_rows:
        call.require_scope(_PEOPLE)  # returning rows needs the same right as reading them
        asked.check_single(len(rows))
    for beat in beats:
        call.admit(space, beat, identities[beat.user_id])
    admitted = _check_together(call, space, beats, identities)
    for number, beat in enumerate(beats):
        # Each row has its own id, so that it does not look like a retry of the one before.
        part = replace(call.request, id=f"{call.request.id}-{number}") if number else call.request
        part_of = replace(call, request=part)
        part_of.record_beat(space, beat, identities[beat.user_id], admitted=admitted)
    if not wants_rows:
        headers = {"content-range": f"*/{len(rows)}"} if "count" in asked.preferred else {}
        return Reply(status=HTTPStatus.CREATED, headers=headers)
    stored = [
        Stored(
            id=call.services.new_id(),
            session_id=row.session_id,
            user_id=identities[row.user_id].user,
            page_path=row.page_path,
            created_at=iso(call.now),
        )
        for row in parsed
    ]
    return asked.reply(stored, HTTPStatus.CREATED, inserted=True)


def _check_insert(call: Call) -> None:
    """Refuse what is asked of rows that are read, and conflicts that no constraint can find."""
    names = {name for name, _ in parameters(call.request)}
    if names - {"columns", "select", "on_conflict", *OURS}:
        raise PostgrestError(
            "0A000", "Heartbeats that are inserted can be neither filtered, ordered nor cut."
        )
    if "on_conflict" in names and call.query("on_conflict") != "id":
        raise PostgrestError(
            "42P10",
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        )


def _check_together(
    call: Call, space: Space, beats: Sequence[Beat], identities: Mapping[str | None, Identity]
) -> bool:
    """Refuse the rows before anything is stored if some of them would be refused. Returns whether
    the new sessions are admitted."""
    if len(beats) == 1:
        return False  # recording it checks the same
    per_session: dict[str, list[Facts]] = {}
    for beat in beats:
        identity = identities[beat.user_id]
        facts = Facts.from_beat(beat, user=identity.user, verified=identity.verified)
        per_session.setdefault(beat.session_id, []).append(facts)
    recorder = call.services.session_recorder
    most = max(map(len, per_session.values()), default=0)
    if recorder.limit and most > recorder.limit:
        raise TooLargeError(
            f"At most {recorder.limit} heartbeats of one session are accepted at a time."
        )
    call.admit_joins(space, recorder.check_together(space, per_session, call.now))
    return True


def select(call: Call) -> Reply:  # noqa: ARG001 - the router has authorized the caller
    """Refused: single heartbeats are not stored. The functions return the numbers."""
    raise PostgrestError(
        "0A000",
        "Single heartbeats are not stored, so the table can't be read.",
        hint="Call get_live_traffic or get_daily_active_users; "
        "GET /v1/spaces/site:main/viewers lists the live sessions.",
    )


def other_table(call: Call) -> Reply:
    """Refused: the only table is ``heartbeats``."""
    raise PostgrestError(
        "PGRST205",
        f"Could not find the table 'public.{shown(call.params['table'])}' in the schema cache",
        status=HTTPStatus.NOT_FOUND,
        hint=f"The only table here is 'public.{_TABLE}'.",
    )


def _row(row: object, columns: Sequence[str] | None) -> Row:
    if not isinstance(row, dict):
        raise PostgrestError("PGRST102", "A row must be a JSON object, alone or in a list.")
    if columns is None:
        _check_columns(row)
    else:
        row = {name: row.get(name) for name in columns}
    for name in _NOT_NULL:
        if row.get(name) is None:
            raise PostgrestError(
                "23502",
                f'null value in column "{name}" of relation "{_TABLE}" violates not-null '
                "constraint",
                hint=f"Send {name} with every heartbeat.",
            )
    return parse(Row, row)


def _inserted_columns(call: Call) -> list[str] | None:
    """The columns that a bulk insert names; None if the keys of each row decide."""
    text = call.query("columns")
    if text is None:
        return None
    columns = [name.strip().strip('"') for name in text.split(",")]
    _check_columns(columns)
    return columns


def _check_columns(columns: Iterable[object]) -> None:
    for name in columns:
        if name not in _COLUMNS:
            raise PostgrestError(
                "PGRST204",
                f"Could not find the '{shown(str(name))}' column of '{_TABLE}' in the schema cache",
                hint=f"The columns are {', '.join(_COLUMNS)}.",
            )


# --------------------------------------------------------------------------------- the functions

_LIVE: Mapping[str, type] = {
    **dict.fromkeys(("active_users", "active_sessions", "authenticated_users"), int),
    "anonymous_sessions": int,
    "top_pages": list,
}
_DAILY: Mapping[str, type] = dict.fromkeys(
    ("unique_sessions", "unique_users", "total_heartbeats"), int
)
"""The functions' columns and their types."""


def get_live_traffic(call: Call) -> Reply:
    """The visitors and users on the site right now, in one row."""
    _arguments(call, "get_live_traffic", ())
    asked = Asked.of(call.request, "get_live_traffic", _LIVE, ())
    live = live_traffic(call)
    row = LiveTraffic(
        active_users=live["activeUsers"],
        active_sessions=live["activeSessions"],
        authenticated_users=live["authenticatedUsers"],
        anonymous_sessions=live["anonymousSessions"],
        top_pages=live["topPages"],
    )
    return asked.reply([row])


def get_daily_active_users(call: Call) -> Reply:
    """A UTC day's sessions, users and heartbeats, in one row; without for_date, today so far."""
    args = _arguments(call, "get_daily_active_users", ("for_date",))
    asked = Asked.of(call.request, "get_daily_active_users", _DAILY, ("for_date",))
    for_date = args.get("for_date")
    daily = daily_traffic(
        call, day_of(call.now) if for_date is None else _parse_date(for_date, day_of(call.now))
    )
    row = DailyActiveUsers(
        unique_sessions=daily["uniqueSessions"],
        unique_users=daily["uniqueUsers"],
        total_heartbeats=daily["totalHeartbeats"],
    )
    return asked.reply([row])


def other_function(call: Call) -> Reply:
    """Refused: the functions are ``get_live_traffic`` and ``get_daily_active_users``."""
    raise _unknown_function(call.params["function"])


def _unknown_function(name: str) -> PostgrestError:
    return PostgrestError(
        "PGRST202",
        f"Could not find the function public.{shown(name)} in the schema cache",
        status=HTTPStatus.NOT_FOUND,
        hint="The functions are get_live_traffic() and get_daily_active_users(for_date).",
    )


def _arguments(call: Call, function: str, names: Sequence[str]) -> Mapping[str, Any]:
    if call.request.method == "GET":
        _check_schema(call, "accept-profile")
        sent = [name for name, value in parameters(call.request) if not is_filter(value)]
        if unknown := [name for name in sent if name not in {*names, *ASKED}]:
            raise _unknown_function(f"{function}({', '.join(sorted(unknown))})")
        return {name: call.query(name) for name in names}
    _check_schema(call, "content-profile")
    args = _json(call) if call.request.event.get("body") else {}
    if not isinstance(args, dict):
        raise PostgrestError("PGRST102", "A function's arguments must be a JSON object.")
    if unknown := [name for name in args if name not in names]:
        raise _unknown_function(f"{function}({', '.join(sorted(unknown))})")
    return args


_DATES: Mapping[str, Callable[[str], str]] = {
    "today": lambda today: today,
    "now": lambda today: today,
    "yesterday": lambda today: add_days(today, -1),
    "tomorrow": lambda today: add_days(today, 1),
    "epoch": lambda _: "1970-01-01",
    "infinity": lambda _: "9999-12-31",  # no day is later, and no visit was on it
    "-infinity": lambda _: "0001-01-01",
}
"""The words that Postgres knows as dates, from today's."""


def _parse_date(value: object, today: str) -> str:
    """The day of a date, of one of Postgres's words, or of a time in the format of JavaScript's
    ``Date``."""
    if isinstance(value, str) and (word := _DATES.get(value.strip().lower())) is not None:
        return word(today)
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PostgrestError(
            "22007",
            "invalid input syntax for type date: for_date",
            hint="Send for_date as YYYY-MM-DD, for example 2026-11-21.",
        )
    try:
        return date(*map(int, match.group(1, 2, 3))).isoformat()
    except ValueError:
        raise PostgrestError(
            "22008",
            "date/time field value out of range: for_date",
            hint="Send a day that exists, for example 2026-11-21.",
        ) from None


# ----------------------------------------------------------------------------------- the protocol


def _json(call: Call) -> Any:
    try:
        return call.request.json(limit=MAX_INSERT_BODY)
    except InvalidRequestError:
        raise PostgrestError("PGRST102", "The body is empty or not valid JSON.") from None


def _check_schema(call: Call, header: str) -> None:
    if call.request.headers.get(header, "public") != "public":
        raise PostgrestError(
            "PGRST106",
            "The schema must be one of the following: public",
            status=HTTPStatus.NOT_ACCEPTABLE,
        )


_FOR_DATE = Query("for_date", "The UTC day; today by default", {"type": "string", "format": "date"})
_SELECT = Query("select", "The columns to return, separated by commas; all by default")
_COLUMNS_SENT = Query("columns", "The columns of the rows in the body, separated by commas")
_CREATED, _BAD, _NOT_FOUND, _NOT_ACCEPTABLE = 201, 400, 404, 406


def _function(
    method: str, name: str, handle: Callable[[Call], Any], answer: Any, *query: Query
) -> Route:
    return Route(
        method,
        f"/rest/v1/rpc/{name}",
        handle,
        Who.ADMIN,
        list[answer],
        query=[*query, _SELECT],
        errors=[_BAD, _NOT_FOUND, _NOT_ACCEPTABLE],
        needs=READ_SITE,
    )


ROUTES = [
    Route(
        "POST",
        f"/rest/v1/{_TABLE}",
        insert,
        Who.ANYONE,
        body=Row | list[Row],
        query=[_COLUMNS_SENT],
        status=_CREATED,
        errors=[_NOT_ACCEPTABLE],
        needs=_PEOPLE,
    ),
    Route("GET", f"/rest/v1/{_TABLE}", select, Who.ADMIN, status=_BAD, needs=_PEOPLE),
    _function("POST", "get_live_traffic", get_live_traffic, LiveTraffic),
    _function("GET", "get_live_traffic", get_live_traffic, LiveTraffic),
    _function("POST", "get_daily_active_users", get_daily_active_users, DailyActiveUsers),
    _function("GET", "get_daily_active_users", get_daily_active_users, DailyActiveUsers, _FOR_DATE),
    *(
        Route(method, f"/rest/v1/{rule}", refuse, Who.ANYONE, status=_NOT_FOUND)
        for rule, refuse in [("rpc/<function>", other_function), ("<table>", other_table)]
        for method in ("POST", "GET")
    ),
]
