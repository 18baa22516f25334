"""Site traffic for existing Supabase clients: the table ``heartbeats`` and its two functions over
PostgREST's protocol, as the npm package ``@supabase/supabase-js`` speaks it.

The column names and the numbers are those of the SQL; errors are ``{code, message, details,
hint}`` with Postgres's and PostgREST's codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from headcount.beats import Beat
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
from headcount.messages import Identifier, SessionId, parse
from headcount.session import Facts
from headcount.spaces import Space
from headcount.systems.site_traffic import (
    READ_SITE,
    Page,
    TopPage,
    beat_of,
    daily_traffic,
    live_traffic,
    site,
)
from headcount.times import day_of, iso
from headcount.tokens import Action, Scope
from headcount.web.calls import Call, Identity
from headcount.web.http import Response, respond
from headcount.web.routing import Query, Reply, Route, Who

MAX_ROWS = 100
"""Heartbeats in one insert."""
MAX_BODY = 64 * 1024

_TABLE = "heartbeats"
_PEOPLE = Scope(Action.PEOPLE, "site:main")
_COLUMNS = ("id", "session_id", "user_id", "page_path", "created_at")
_NOT_NULL = ("session_id", "page_path")
_ONE_OBJECT = "application/vnd.pgrst.object"
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


class PostgrestError(RequestError):
    """An error that has a code of its own."""

    def __init__(
        self, code: str, message: str, *, status: int = HTTPStatus.BAD_REQUEST, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = HTTPStatus(status)
        self.hint = hint


class PostgrestProblem(TypedDict):
    """What went wrong; ``code`` is Postgres's or PostgREST's."""

    code: str
    message: str
    details: str | None
    hint: str | None


ERROR_ANSWER = PostgrestProblem


def shape_error(error: RequestError) -> Response:
    """An error as PostgREST answers it."""
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
    page_path: Page


class Stored(TypedDict, total=False):
    """A row as it is answered with ``Prefer: return=representation``."""

    id: str
    session_id: str
    user_id: str | None
    page_path: str
    created_at: str


class LiveTraffic(TypedDict, total=False):
    """What ``get_live_traffic`` returns; with ``select`` only those columns."""

    active_users: int
    active_sessions: int
    authenticated_users: int
    anonymous_sessions: int
    top_pages: list[TopPage] | None


class DailyActiveUsers(TypedDict, total=False):
    """What ``get_daily_active_users`` returns; with ``select`` only those columns."""

    unique_sessions: int
    unique_users: int
    total_heartbeats: int


# ------------------------------------------------------------------------------------- the table


def insert(call: Call) -> Reply:
    """Record heartbeats, one or a list of up to 100: all of them, or none when one is refused.

    Only what comes up while they are stored leaves some of them stored: BusyError, or somebody
    else's message to one of their sessions. Sending all of them again is safe: no row is doubled,
    but the heartbeats that had been stored count twice.
    """
    _check_schema(call, "content-profile")
    body = _json(call)
    rows = body if isinstance(body, list) else [body]
    if len(rows) > MAX_ROWS:
        raise TooLargeError(f"Too many rows: at most {MAX_ROWS} heartbeats are taken at a time.")
    columns = _inserted_columns(call)
    parsed = [_row(row, columns) for row in rows]
    space = site(call)
    beats = [
        beat_of(space, session=row.session_id, user=row.user_id, page=row.page_path)
        for row in parsed
    ]
    identities = {user: call.identify(user) for user in {row.user_id for row in parsed}}
    shown = _preferred(call, "return") == "representation"
    chosen = _chosen(call, _COLUMNS) if shown else []
    if shown:
        call.require(_PEOPLE)  # whoever may not read rows may not have them back either
        _check_single(call, len(rows))
    for beat in beats:
        call.admit(space, beat, identities[beat.user_id].user)
    _check_together(call, space, beats, identities)
    for number, beat in enumerate(beats):
        # A row must not be taken for a retry of the one before it.
        part = replace(call.request, id=f"{call.request.id}-{number}") if number else call.request
        replace(call, request=part).record_beat(space, beat, identities[beat.user_id])
    headers = _count_header(call, "*", len(rows))
    if not shown:
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
    return Reply(_shaped(call, stored, chosen), HTTPStatus.CREATED, headers)


def _check_together(
    call: Call, space: Space, beats: Sequence[Beat], identities: Mapping[str | None, Identity]
) -> None:
    """Refuse, before anything is stored, rows of which some would be refused."""
    if len(beats) == 1:
        return  # recording it finds out
    per_session: dict[str, list[Facts]] = {}
    for beat in beats:
        who = identities[beat.user_id]
        facts = Facts.of(beat, user=who.user, verified=who.verified)
        per_session.setdefault(beat.session_id, []).append(facts)
    desk = call.services.desk
    if desk.limit and max(map(len, per_session.values()), default=0) > desk.limit:
        raise TooLargeError(f"At most {desk.limit} heartbeats of one session are taken at a time.")
    desk.check_together(space, per_session, call.now)


def select(call: Call) -> Reply:  # noqa: ARG001 - who may is the router's matter
    """Refused: heartbeats are not kept one by one. The functions have the numbers."""
    raise PostgrestError(
        "0A000",
        "Heartbeats are not kept one by one, so the table can't be read.",
        hint="Call get_live_traffic or get_daily_active_users; "
        "GET /v1/spaces/site:main/viewers lists the live sessions.",
    )


def other_table(call: Call) -> Reply:
    """Refused: the only table is ``heartbeats``."""
    raise PostgrestError(
        "PGRST205",
        f"Could not find the table 'public.{_shown(call.params['table'])}' in the schema cache",
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
    """The columns that a bulk insert names; None when the rows' own keys say it."""
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
                f"Could not find the '{_shown(str(name))}' column of '{_TABLE}' in the schema "
                "cache",
                hint=f"The columns are {', '.join(_COLUMNS)}.",
            )


# --------------------------------------------------------------------------------- the functions


def get_live_traffic(call: Call) -> Reply:
    """Who is on the site right now: one row."""
    _arguments(call, "get_live_traffic", ())
    live = live_traffic(call)
    row = LiveTraffic(
        active_users=live["activeUsers"],
        active_sessions=live["activeSessions"],
        authenticated_users=live["authenticatedUsers"],
        anonymous_sessions=live["anonymousSessions"],
        top_pages=live["topPages"],
    )
    return _one_row(call, row)


def get_daily_active_users(call: Call) -> Reply:
    """A UTC day's sessions, users and heartbeats: one row. Today's so far without for_date."""
    args = _arguments(call, "get_daily_active_users", ("for_date",))
    asked = args.get("for_date")
    daily = daily_traffic(call, day_of(call.now) if asked is None else _date(asked))
    row = DailyActiveUsers(
        unique_sessions=daily["uniqueSessions"],
        unique_users=daily["uniqueUsers"],
        total_heartbeats=daily["totalHeartbeats"],
    )
    return _one_row(call, row)


def other_function(call: Call) -> Reply:
    """Refused: the functions are ``get_live_traffic`` and ``get_daily_active_users``."""
    raise _unknown_function(call.params["function"])


def _unknown_function(name: str) -> PostgrestError:
    return PostgrestError(
        "PGRST202",
        f"Could not find the function public.{_shown(name)} in the schema cache",
        status=HTTPStatus.NOT_FOUND,
        hint="There are get_live_traffic() and get_daily_active_users(for_date).",
    )


def _arguments(call: Call, function: str, names: Sequence[str]) -> Mapping[str, Any]:
    if call.request.method == "GET":
        _check_schema(call, "accept-profile")
        return {name: call.query(name) for name in names}
    _check_schema(call, "content-profile")
    args = _json(call) if call.request.event.get("body") else {}
    if not isinstance(args, dict):
        raise PostgrestError("PGRST102", "A function's arguments must be a JSON object.")
    if unknown := [name for name in args if name not in names]:
        raise _unknown_function(f"{function}({', '.join(sorted(unknown))})")
    return args


def _date(asked: object) -> str:
    """The day of a date, or of a time as JavaScript's ``Date`` becomes one."""
    match = _DATE.fullmatch(asked) if isinstance(asked, str) else None
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
            hint="Send a day of the calendar, for example 2026-11-21.",
        ) from None


# ----------------------------------------------------------------------------------- the protocol


def _json(call: Call) -> Any:
    try:
        return call.request.json(limit=MAX_BODY)
    except InvalidRequestError:
        raise PostgrestError("PGRST102", "The body is empty or not valid JSON.") from None


def _check_schema(call: Call, header: str) -> None:
    if call.request.headers.get(header, "public") != "public":
        raise PostgrestError(
            "PGRST106",
            "The schema must be one of the following: public",
            status=HTTPStatus.NOT_ACCEPTABLE,
        )


def _preferred(call: Call, name: str) -> str | None:
    """What ``Prefer: name=value, ...`` says."""
    pairs = (one.partition("=") for one in call.request.headers.get("prefer", "").split(","))
    return {key.strip().lower(): value.strip() for key, _, value in pairs}.get(name)


def _chosen(call: Call, columns: Sequence[str]) -> Sequence[str]:
    """The columns that ``?select=`` names."""
    names = [name.strip().strip('"') for name in (call.query("select") or "*").split(",")]
    if "*" in names:
        return columns
    for name in names:
        if name not in columns:
            raise PostgrestError(
                "42703",
                f"column {_shown(name)} does not exist",
                hint=f"The columns are {', '.join(columns)}.",
            )
    return names


def _one_row(call: Call, row: Mapping[str, Any]) -> Reply:
    body = _shaped(call, [row], _chosen(call, list(row)))
    return Reply(body, headers=_count_header(call, "0-0", 1))


def _shaped(call: Call, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """A list of rows, or the only one where the client asks for an object."""
    shown = [{name: row[name] for name in columns} for row in rows]
    return shown[0] if _wants_object(call) else shown


def _wants_object(call: Call) -> bool:
    return _ONE_OBJECT in call.request.headers.get("accept", "")


def _check_single(call: Call, rows: int) -> None:
    """Refuse, before anything is stored, what could not be answered."""
    if _wants_object(call) and rows != 1:
        raise PostgrestError(
            "PGRST116",
            "Cannot coerce the result to a single JSON object",
            status=HTTPStatus.NOT_ACCEPTABLE,
            hint="Insert one row, or don't ask for a single one.",
        )


def _count_header(call: Call, which: str, rows: int) -> dict[str, str]:
    asked = _preferred(call, "count") is not None
    return {"content-range": f"{which}/{rows}"} if asked else {}


def _shown(name: str) -> str:
    """A name that somebody sent, as far as it can be one."""
    return re.sub(r"[^\w(), -]", "?", name[:63])


_FOR_DATE = Query("for_date", "The UTC day; today by default", {"type": "string", "format": "date"})
_SELECT = Query("select", "The columns to answer, separated by commas; all by default")
_COLUMNS_SENT = Query("columns", "The columns of the rows sent, separated by commas")
_BAD, _NONE, _UNACCEPTABLE = (
    HTTPStatus.BAD_REQUEST.value,
    HTTPStatus.NOT_FOUND.value,
    HTTPStatus.NOT_ACCEPTABLE.value,
)
_CREATED = HTTPStatus.CREATED.value
_NO_TABLE, _NO_FUNCTION = "/rest/v1/<table>", "/rest/v1/rpc/<function>"
_LIVE, _DAILY = "/rest/v1/rpc/get_live_traffic", "/rest/v1/rpc/get_daily_active_users"
_CALLED = [_BAD, _NONE, _UNACCEPTABLE]

ROUTES = [
    Route(
        "POST",
        f"/rest/v1/{_TABLE}",
        insert,
        Who.ANYONE,
        body=Row | list[Row],
        query=[_COLUMNS_SENT],
        status=_CREATED,
        errors=[_UNACCEPTABLE],
        needs=_PEOPLE,
    ),
    Route("GET", f"/rest/v1/{_TABLE}", select, Who.ADMIN, status=_BAD, needs=_PEOPLE),
    Route(
        "POST",
        _LIVE,
        get_live_traffic,
        Who.ADMIN,
        list[LiveTraffic],
        query=[_SELECT],
        errors=_CALLED,
        needs=READ_SITE,
    ),
    Route(
        "GET",
        _LIVE,
        get_live_traffic,
        Who.ADMIN,
        list[LiveTraffic],
        query=[_SELECT],
        errors=_CALLED,
        needs=READ_SITE,
    ),
    Route(
        "POST",
        _DAILY,
        get_daily_active_users,
        Who.ADMIN,
        list[DailyActiveUsers],
        query=[_SELECT],
        errors=_CALLED,
        needs=READ_SITE,
    ),
    Route(
        "GET",
        _DAILY,
        get_daily_active_users,
        Who.ADMIN,
        list[DailyActiveUsers],
        query=[_FOR_DATE, _SELECT],
        errors=_CALLED,
        needs=READ_SITE,
    ),
    Route("POST", _NO_FUNCTION, other_function, Who.ANYONE, status=_NONE),
    Route("GET", _NO_FUNCTION, other_function, Who.ANYONE, status=_NONE),
    Route("POST", _NO_TABLE, other_table, Who.ANYONE, status=_NONE),
    Route("GET", _NO_TABLE, other_table, Who.ANYONE, status=_NONE),
]
