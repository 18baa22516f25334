"""Site traffic: how many visitors and users are on the site, on which pages, and daily actives.

The REST routes, and what ``site_traffic_postgrest`` shares with them. The site is the space
``site:main``.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from headcount.errors import InvalidRequestError
from headcount.model.access import Action, Scope
from headcount.model.beat import Beat, fitted
from headcount.model.space import Space
from headcount.model.tally import OTHER, ranked
from headcount.model.visit import Day
from headcount.times import day_of, parse_day
from headcount.web.bodies import Identifier, Page, SessionId, TabMessage, parse
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Route, Who

shape_error = respond_error

TOP_PAGES = 5
READ_SITE = Scope(Action.READ, "site:main")
_EXAMPLE = '{"sessionId": "s1", "userId": null, "pagePath": "/"}'


class Heartbeat(TabMessage):
    """``{sessionId, userId?, pagePath, tabId?, seq?}``, or the column names of the table.

    ``seq`` orders a tab's heartbeats: a late one changes nothing. Tabs with one ``sessionId`` that
    number theirs are distinguished by ``tabId``.
    """

    session_id: SessionId
    user_id: Identifier | None = None
    page_path: Annotated[Page, Field(min_length=1)]


class Recorded(TypedDict):
    """The heartbeat is stored. ``count``: people on the site, as last published, for callers who
    may read it."""

    success: bool
    count: NotRequired[int]
    version: NotRequired[int]
    leaseSeconds: int
    nextBeatIn: int


class TopPage(TypedDict):
    """A page and the number of sessions on it."""

    path: str
    count: int


class LiveTraffic(TypedDict):
    """``activeUsers``: distinct users; ``authenticatedUsers``: sessions with a user.

    ``topPages``: the five pages with the most sessions; null without sessions.
    """

    success: bool
    activeUsers: int
    activeSessions: int
    authenticatedUsers: int
    anonymousSessions: int
    topPages: list[TopPage] | None


class DailyTraffic(TypedDict):
    """``uniqueActiveUsers``: distinct people, each a user or otherwise a visitor."""

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
    """A heartbeat as a beat."""
    return fitted(Beat(session_id=session, user_id=user, page=page), space.id)


def live_traffic(call: Call) -> LiveTraffic:
    """The current traffic."""
    now = call.services.reader.now(site(call))
    tally = now.head.tally
    on_page_other = sum(session.facts.page == OTHER for session in now.sessions)
    pages = [
        TopPage(path=path, count=count)
        for path, (count, _) in ranked(tally.facets.get("page", {}))
        if path != OTHER or count == on_page_other  # otherwise it is many pages together
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
    """The traffic of a UTC day; zeros for a day without traffic, or one no longer stored."""
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
    """Record that a session is on a page. Repeat it every 30 seconds."""
    body = parse(Heartbeat, call.request.json(), _EXAMPLE)
    space = site(call)
    beat = beat_of(space, session=body.session_id, user=body.user_id, page=body.page_path)
    result = call.record_beat(space, beat, call.identify(body.user_id), tab=body.tab_or())
    recorded: Recorded = {
        "success": True,
        "leaseSeconds": space.kind.lease,
        "nextBeatIn": space.kind.beat,
    }
    if result.people is not None and result.version is not None:
        recorded["count"], recorded["version"] = result.people, result.version
    return recorded


def live(call: Call) -> LiveTraffic:
    """How many visitors and users are on the site right now, and the five top pages."""
    return live_traffic(call)


def daily(call: Call) -> DailyTraffic:
    """A UTC day's sessions, users and heartbeats, by default of today so far."""
    date = call.query("date")
    return daily_traffic(call, day_of(call.now) if date is None else _parse_date(date))


def _parse_date(text: str) -> str:
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
