"""Site traffic: how many visitors and users are on the site, on which pages, and daily actives.

The REST routes, and what ``site_traffic_postgrest`` shares with them. The site is the space
``site:main``; a heartbeat's session id is its session.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from headcount.beats import Beat, check_size, check_text
from headcount.errors import InvalidRequestError
from headcount.messages import PRINTABLE, Identifier, Message, Rule, SessionId, parse
from headcount.spaces import Space
from headcount.tally import OTHER, ranked
from headcount.times import day_of, parse_day
from headcount.tokens import Action, Scope
from headcount.visits import Day
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Route, Who

shape_error = respond_error

TOP_PAGES = 5
_FRESH = 2_000
"""Sessions up to which the live traffic is that of the moment of asking."""
_PAGE_BYTES = 300
_PATH_BYTES = 8 * 1024
READ_SITE = Scope(Action.READ, "site:main")
_EXAMPLE = '{"sessionId": "s1", "userId": null, "pagePath": "/"}'


def _page(path: str) -> str:
    """As much of a path as is kept: no visitor is missing because a page's path is long."""
    return check_text(path, _PATH_BYTES).encode()[:_PAGE_BYTES].decode(errors="ignore")


Page = Annotated[
    str,
    Field(min_length=1),
    Rule(_page, {"maxLength": _PATH_BYTES, "pattern": PRINTABLE}),
]


class Heartbeat(Message):
    """``{sessionId, userId?, pagePath}``; the table's own column names are understood too."""

    session_id: SessionId
    user_id: Identifier | None = None
    page_path: Page


class Recorded(TypedDict):
    """A heartbeat was stored. ``count`` is the site's people, as published a moment ago."""

    success: bool
    count: int
    version: int
    leaseSeconds: int
    nextBeatIn: int


class TopPage(TypedDict):
    """A page and how many sessions are on it."""

    path: str
    count: int


class LiveTraffic(TypedDict):
    """``activeUsers``: distinct users; ``authenticatedUsers``: sessions that have a user.

    ``topPages``: five by sessions, null when nobody is there.
    """

    success: bool
    activeUsers: int
    activeSessions: int
    authenticatedUsers: int
    anonymousSessions: int
    topPages: list[TopPage] | None


class DailyTraffic(TypedDict):
    """``uniqueActiveUsers``: each person once, a user or else a visitor."""

    success: bool
    date: str
    uniqueSessions: int
    uniqueUsers: int
    totalHeartbeats: int
    uniqueActiveUsers: int


# ---------------------------------------------------------------------- for REST and PostgREST


def site(call: Call) -> Space:
    """The space of the site."""
    return call.space("site", "main")


def beat_of(space: Space, *, session: str, user: str | None, page: str) -> Beat:
    """A heartbeat as a beat, or InvalidRequestError where it is too large."""
    beat = Beat(session_id=session, user_id=user, page=page)
    check_size(beat, space.id)
    return beat


def live_traffic(call: Call) -> LiveTraffic:
    """The traffic of this moment."""
    now = call.services.reader.now(site(call), up_to=_FRESH)
    tally = now.head.tally
    called_other = sum(session.facts.page == OTHER for session in now.sessions)
    pages = [
        TopPage(path=path, count=count)
        for path, (count, _) in ranked(tally.facets.get("page", {}))
        if path != OTHER or count == called_other  # else it is many pages together
    ]
    return {
        "success": True,
        "activeUsers": tally.signed_in,
        "activeSessions": tally.sessions,
        "authenticatedUsers": tally.signed_in_sessions,
        "anonymousSessions": tally.anonymous_sessions,
        "topPages": pages[:TOP_PAGES] or None,
    }


def daily_traffic(call: Call, date: str) -> DailyTraffic:
    """The traffic of a UTC day: zeros when nobody was there, or the day is past keeping."""
    day = call.services.reader.day(site(call), date) or Day(date, 0, 0, 0, 0, 0, 0)
    return {
        "success": True,
        "date": date,
        "uniqueSessions": day.unique_sessions,
        "uniqueUsers": day.unique_users,
        "totalHeartbeats": day.beats,
        "uniqueActiveUsers": day.unique_people,
    }


# -------------------------------------------------------------------------------------- REST


def heartbeat(call: Call) -> Recorded:
    """Record that a session is on a page; to be repeated every 30 seconds."""
    said = parse(Heartbeat, call.request.json(), _EXAMPLE)
    space = site(call)
    beat = beat_of(space, session=said.session_id, user=said.user_id, page=said.page_path)
    count = call.record_beat(space, beat, call.identify(said.user_id))
    return {
        "success": True,
        "count": count.people,
        "version": count.version,
        "leaseSeconds": space.kind.lease,
        "nextBeatIn": space.kind.beat,
    }


def live(call: Call) -> LiveTraffic:
    """Who is on the site right now, and the five pages most of them are on."""
    return live_traffic(call)


def daily(call: Call) -> DailyTraffic:
    """A UTC day's sessions, users and heartbeats; today so far unless told otherwise."""
    asked = call.query("date")
    return daily_traffic(call, day_of(call.now) if asked is None else _day(asked))


def _day(text: str) -> str:
    try:
        return parse_day(text)
    except ValueError:
        raise InvalidRequestError("'date' must be a day, for example 2026-11-21.") from None


_DAY = {"type": "string", "format": "date"}

ROUTES = [
    Route("POST", "/api/heartbeats", heartbeat, Who.ANYONE, Recorded, body=Heartbeat),
    Route("GET", "/api/traffic/live", live, Who.ADMIN, LiveTraffic, needs=READ_SITE),
    Route(
        "GET",
        "/api/traffic/daily",
        daily,
        Who.ADMIN,
        DailyTraffic,
        query=[Query("date", "The UTC day; today by default", _DAY)],
        needs=READ_SITE,
    ),
]
