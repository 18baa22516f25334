"""Link analytics: who views a shared link right now, and how often and how long it was viewed.

``GET|POST /api/send/realtime/<linkId>``; the space is ``link:<linkId>``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from headcount.beats import Beat, Leave, check_size
from headcount.messages import Message, SessionId, parse, text_up_to
from headcount.people import hashed_fingerprint
from headcount.session import Session
from headcount.spaces import Space
from headcount.times import SECOND
from headcount.tokens import Action, Scope
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Route, Who

shape_error = respond_error

_PATH = "/api/send/realtime/<linkId>"
_EXAMPLE = '{"action": "join", "sessionId": "s1", "fingerprint": "f1"}'

MAX_READ = 2_000
"""Sessions that the numbers are made from; of a larger space they come as published."""
MAX_LISTED = 1_000
_LONGEST = 86_400  # seconds
_FIRST_PAGE = 1


class ViewerMessage(Message):
    """A viewer joins (which says who it is), goes on viewing, or leaves."""

    action: Literal["join", "heartbeat", "leave"]
    session_id: SessionId
    fingerprint: Annotated[str, text_up_to(4096)] | None = None
    email: Annotated[str, text_up_to(254)] | None = None
    current_page: Annotated[int, Field(ge=1, le=2**31)] | None = None
    duration: Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False)] | None = None


class Done(TypedDict):
    """The message was taken."""

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
    """The longest here comes first."""

    success: bool
    metrics: Metrics
    activeViewers: list[Viewer]


def report(call: Call) -> Done:
    """Take a viewer's join, heartbeat or leave."""
    said = parse(ViewerMessage, call.request.json(), _EXAMPLE)
    space = _space(call)
    if said.action == "join":
        _join(call, space, said)
    elif said.action == "heartbeat":
        page = None if said.current_page is None else str(said.current_page)
        call.record_touch(space, said.session_id, page)
    else:
        stayed = None if said.duration is None else round(said.duration)
        call.record_leave(space, Leave(session_id=said.session_id), stayed=stayed)
    return {"success": True}


def analytics(call: Call) -> Analytics:
    """A link's viewers of this moment, its views, peak and mean duration."""
    now = call.services.reader.now(_space(call), up_to=MAX_READ)
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
        "activeViewers": [_viewer(session, at) for session in here[:MAX_LISTED]],
    }


def _space(call: Call) -> Space:
    return call.space("link", call.params["linkId"])


def _join(call: Call, space: Space, said: ViewerMessage) -> None:
    beat = Beat(
        session_id=said.session_id,
        visitor_id=hashed_fingerprint(said.fingerprint) if said.fingerprint else None,
        name=said.email or None,
        page=str(said.current_page or _FIRST_PAGE),
    )
    check_size(beat, space.id)
    call.record_beat(space, beat, call.identify(None))


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
