"""Link analytics: who views a shared link right now, how often and how long it was viewed.

``GET|POST /api/send/realtime/<linkId>``; the space is ``link:<linkId>``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from headcount.model.access import Action, Scope
from headcount.model.beat import Beat, Leave, fitted
from headcount.model.session import Session
from headcount.model.space import Space
from headcount.times import SECOND
from headcount.web.bodies import SessionId, TabMessage, cut_to, parse, text_up_to
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Route, Who

shape_error = respond_error

_PATH = "/api/send/realtime/<linkId>"
_EXAMPLE = '{"action": "join", "sessionId": "s1", "fingerprint": "f1"}'

MAX_LINK_VIEWERS = 1_000
"""Viewers in a list."""
_MAX_DURATION = 86_400  # seconds
_FIRST_PAGE = 1


class ViewerMessage(TabMessage):
    """A viewer joins (with their fingerprint, email and page), keeps viewing, or leaves.

    ``tabId`` tells tabs with one ``sessionId`` apart, ``seq`` orders a tab's messages: a late one
    changes nothing. ``mayReturn``: only a page has closed, and a join within 10 seconds continues
    the view.
    """

    action: Literal["join", "heartbeat", "leave"]
    session_id: SessionId
    fingerprint: Annotated[str, text_up_to(4096)] | None = None
    email: Annotated[str, cut_to(254)] | None = None
    current_page: Annotated[int, Field(ge=1, le=2**31)] | None = None
    duration: Annotated[float, Field(ge=0, le=_MAX_DURATION, allow_inf_nan=False)] | None = None
    may_return: bool = False


class Done(TypedDict):
    """The message is stored."""

    success: bool


class Metrics(TypedDict):
    """Viewers and views are sessions and joins; ``avgViewDuration`` is in seconds."""

    activeViewers: int
    totalViews: int
    viewsToday: int
    viewsThisWeek: int
    viewsThisMonth: int
    peakConcurrentViewers: int
    avgViewDuration: int


class Viewer(TypedDict):
    """Times are epoch milliseconds; ``duration`` is seconds so far."""

    sessionId: str
    email: str | None
    joinedAt: int
    lastActivity: int
    currentPage: int | None
    duration: int


class Analytics(TypedDict):
    """Viewers are in the order in which they joined."""

    success: bool
    metrics: Metrics
    activeViewers: list[Viewer]


def report(call: Call) -> Done:
    """Record a viewer's join, heartbeat or leave."""
    message = parse(ViewerMessage, call.request.json(), _EXAMPLE)
    space = _link_space(call)
    if message.action == "join":
        _join(call, space, message)
    elif message.action == "heartbeat":
        page = None if message.current_page is None else str(message.current_page)
        call.record_touch(space, message.session_id, page, tab=message.tab_or())
    else:
        duration = None if message.duration is None else round(message.duration)
        call.record_leave(
            space,
            Leave(session_id=message.session_id, may_return=message.may_return),
            duration=duration,
            tab=message.tab_or(),
            shared=True,
            # The view counts: a client whose join is still under way leaves once more after it.
            may_overtake=False,
        )
    return {"success": True}


def analytics(call: Call) -> Analytics:
    """A link's current viewers, its views, peak and mean duration."""
    now = call.services.reader.now(_link_space(call))
    at = call.now
    views = now.head.views.at(at)
    here = sorted(now.sessions, key=lambda session: (session.joined_at, session.id))
    return {
        "success": True,
        "metrics": {
            "activeViewers": now.head.tally.sessions,
            "totalViews": views["total"],
            "viewsToday": views["today"],
            "viewsThisWeek": views["week"],
            "viewsThisMonth": views["month"],
            "peakConcurrentViewers": now.head.peak_sessions,
            "avgViewDuration": now.head.avg_seconds or 0,
        },
        "activeViewers": [_viewer(session, at) for session in here[:MAX_LINK_VIEWERS]],
    }


def _link_space(call: Call) -> Space:
    return call.space("link", call.params["linkId"])


def _join(call: Call, space: Space, message: ViewerMessage) -> None:
    fingerprint = message.fingerprint
    beat = Beat(
        session_id=message.session_id,
        visitor_id=call.services.hash_fingerprint(fingerprint) if fingerprint else None,
        name=message.email or None,
        page=str(message.current_page or _FIRST_PAGE),
    )
    beat = fitted(beat, space.id)
    call.record_beat(space, beat, call.identify(None), tab=message.tab_or(), joins=True)


def _viewer(session: Session, now: int) -> Viewer:
    page = session.facts.page or ""
    return {
        "sessionId": session.id,
        "email": session.facts.name,
        "joinedAt": session.joined_at,
        "lastActivity": session.last_seen,
        "currentPage": int(page) if page.isascii() and page.isdecimal() else None,
        "duration": max(0, now - session.joined_at) // SECOND,
    }


ROUTES = [
    Route(
        "GET",
        _PATH,
        analytics,
        Who.ADMIN,
        Analytics,
        needs=Scope(Action.PEOPLE, "link:<linkId>"),
    ),
    Route("POST", _PATH, report, Who.ANYONE, Done, body=ViewerMessage),
]
