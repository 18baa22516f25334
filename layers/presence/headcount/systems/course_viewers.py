"""Course viewers: who is in a course right now, and in which chapter.

The REST routes, and what ``course_viewers_convex`` shares with them. A course is the space
``course:<courseId>``. A person has one row in it, however many tabs they have: its session id is
derived from their identity, so that their latest chapter counts.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, NotRequired

from msgspec.structs import replace
from typing_extensions import TypedDict

from headcount.errors import InvalidRequestError
from headcount.model.access import Action, Scope
from headcount.model.beat import MAX_NAME, Beat, Leave, Tab, fitted, shown, shown_avatar
from headcount.model.person import own_id
from headcount.model.space import SPACE, Space
from headcount.model.tally import ranked
from headcount.model.viewer import CHAPTER, NamedViewer, viewers_among
from headcount.usecases.parameters import page_size
from headcount.web.bodies import (
    Avatar,
    Identifier,
    Name,
    SessionId,
    TabMessage,
    cut_to,
    parse,
)
from headcount.web.calls import BeatResult, Call, Identity, proven
from headcount.web.http import respond_error
from headcount.web.parsing import MAY_RETURN, SEQ, parse_may_return, parse_seq
from headcount.web.routing import Query, Reply, Route, Who

shape_error = respond_error

KIND = "course"
MAX_COURSE_VIEWERS = 20
"""Viewers in a list."""

COUNTED_UP_TO = 100
"""Sessions up to which a course is counted for each request: its visitors send many."""
_CHAPTER_BYTES = 64
_EXAMPLE = '{"userId": "u1", "userName": "Ada", "chapterId": "intro"}'
_SHARED_FOR = "public, max-age=0, s-maxage=1"
"""The edge may cache it for a second. A browser may not, so that visitors see their own beat
counted."""


class Presence(TabMessage):
    """``{userId?, userName?, userAvatar?, sessionId?, chapterId?, anonymous?, tabId?, seq?}``.

    The viewer and the chapter. A token, if there is one, decides the user. ``sessionId`` is for
    visitors without a user id; ``anonymous``: count me, but don't show my name. An empty string
    counts as no value.

    A person stays until their last tab has left. Tabs are distinguished by ``tabId``, else by the
    ``sessionId`` of users. ``seq`` orders a tab's messages: a late one changes nothing.
    """

    user_id: Identifier | None = None
    user_name: Name | None = None
    user_avatar: Avatar = None
    session_id: SessionId | None = None
    chapter_id: Annotated[str, cut_to(_CHAPTER_BYTES)] | None = None
    anonymous: bool = False


class Recorded(TypedDict):
    """The beat is stored. ``count``: people in the course, as last published, for callers who may
    read it."""

    success: bool
    courseId: str
    count: NotRequired[int]
    version: NotRequired[int]
    leaseSeconds: int
    nextBeatIn: int


class Removed(TypedDict):
    """The person is no longer in the course."""

    success: bool
    courseId: str


class ViewerCount(TypedDict):
    """People in the course, and by chapter those who sent one."""

    success: bool
    total: int
    byChapter: dict[str, int]


class Viewers(TypedDict):
    """At most 20 people, those with names first, then by time of joining. ``total``: people in the
    course."""

    success: bool
    total: int
    viewers: list[NamedViewer]


# -------------------------------------------------------------------------- for REST and Convex


def course(call: Call, course_id: str) -> Space:
    """The space of a course, or InvalidRequestError."""
    if not SPACE.fullmatch(f"{KIND}:{course_id}"):
        raise InvalidRequestError(
            "courseId is not valid: send 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -"
        )
    return call.space(KIND, course_id)


def record(call: Call, space: Space, presence: Presence) -> BeatResult:
    """Store a beat of the caller."""
    identity = _identity(call, presence)
    row = _row_of(space, identity, presence)
    beat = _beat(space, row, identity, presence)
    call.admit(space, beat, identity)  # removed people too who ask to be anonymous
    unnamed = presence.anonymous and identity.user is not None
    tab = _tab(identity, presence)
    shown = replace(identity, user=None, verified=False) if unnamed else identity
    result = call.record_beat(space, beat, shown, tab=tab)
    if result.changed and identity.user is not None:
        for former in _former_rows(call, space, identity, presence):
            _end_visit(call, space, former)
    return result


def _former_rows(call: Call, space: Space, identity: Identity, presence: Presence) -> list[str]:
    """The rows that this user had before: one person is never two viewers.

    Nobody else's: by what a claim does to a row of another browser, one could see who is here.
    """
    claim, session = replace(identity, verified=False), presence.session_id
    private = _private_id(space, claim, session)
    former = []
    if session is not None:  # before they signed in, or while they did so in private
        former = [_row_id(space, Identity(None, False), session), private]
    claimed = _row_id(space, claim, None)
    if not identity.verified:
        if presence.anonymous:  # all who claim this id in public are one person
            return [*former[:1], claimed]
        return former
    found = call.services.session_recorder.find(space.id, claimed, call.now) if former else None
    here = found is not None and found.facts.visitor == session
    return [*former, claimed] if here else former


def remove(call: Call, space: Space, presence: Presence, *, may_return: bool = False) -> None:
    """End the caller's visit. That of a verified user needs their own token or an admin's.
    ``may_return``: only a page has closed, and its tab may be back."""
    identity = _identity(call, presence)
    tab = _tab(identity, presence)
    own = _row_of(space, identity, presence)
    rows = {own}
    if identity.user is not None:
        claim = replace(identity, verified=False)
        rows.add(_row_id(space, claim, None))
        rows.add(_private_id(space, claim, presence.session_id))
    if presence.session_id is not None:
        rows.add(_row_id(space, Identity(None, False), presence.session_id))
    for row in sorted(rows):
        # Only the row of this caller's beats may be yet to come.
        leave = Leave(row, may_return=may_return)
        call.record_leave(space, leave, tab=tab, shared=True, may_overtake=row == own)


def counts(call: Call, space: Space) -> tuple[int, dict[str, int]]:
    """People in a course, and in each chapter. Refuses callers who may not see counts."""
    call.require_counts(space)
    tally = call.services.live.now(space, COUNTED_UP_TO).tally
    chapters = ranked(tally.facets.get(CHAPTER, {}))
    return tally.people, {chapter: people for chapter, (_, people) in chapters if people}


def listed(call: Call, space: Space, limit: int) -> tuple[int, list[NamedViewer]]:
    """People in a course, and up to ``limit`` of them. Refuses callers who may not see names."""
    call.require_names(space)
    now = call.services.live.now(space, COUNTED_UP_TO)
    hosts = call.services.settings.avatar_hosts
    return now.tally.people, viewers_among(now.sessions, hosts, limit)


def _tab(identity: Identity, presence: Presence) -> Tab | None:
    """The tab that sends a message. The session of a visitor is all their tabs'."""
    return presence.tab_or(presence.session_id if identity.user is not None else None)


def _identity(call: Call, presence: Presence) -> Identity:
    identity = call.identify(presence.user_id)
    if identity.user is not None:
        return identity
    caller = call.caller()
    if caller is not None and caller.admin and caller.subject is not None:
        return proven(caller, caller.subject)
    if presence.session_id is None:
        raise InvalidRequestError(
            "The viewer is missing: send a user's token, a userId, or a visitor's sessionId."
        )
    return identity


def _row_of(space: Space, identity: Identity, presence: Presence) -> str:
    """The session id of the row that a beat writes."""
    if presence.anonymous and identity.user is not None and not identity.verified:
        return _private_id(space, identity, presence.session_id)
    return _row_id(space, identity, presence.session_id)


def _private_id(space: Space, claim: Identity, session: str | None) -> str:
    """The session id of the row of someone who claims an id in private.

    Only their own browser knows its ``session``: others who claim the id have another row, so
    that the count does not reveal that they are here. An erasure finds it by its beginning.
    """
    return own_id(space.id, "private", claim.user) + "." + own_id(space.id, "private", session)[1:9]


def _row_id(space: Space, identity: Identity, session: str | None) -> str:
    """The session id of a person's row. Claiming a user id never leads to a verified user's row."""
    if identity.user is not None:
        return own_id(space.id, "proven" if identity.verified else "claimed", identity.user)
    return own_id(space.id, "session", session)


def _beat(space: Space, row: str, identity: Identity, presence: Presence) -> Beat:
    name = shown(identity.name or "", MAX_NAME) or presence.user_name or None
    avatar = shown_avatar(identity.picture or "") or presence.user_avatar or None
    user, visitor = identity.user, presence.session_id
    if presence.anonymous:
        name = avatar = None
        if user is not None:
            # The row's own id: someone who only claims to be this user has another row and is
            # counted separately, so the count does not reveal that this user is here.
            user, visitor = None, row
    beat = Beat(
        session_id=row,
        visitor_id=visitor,
        user_id=user,
        name=name,
        avatar=avatar,
        facets={CHAPTER: presence.chapter_id} if presence.chapter_id else {},
    )
    return fitted(beat, space.id)


def _end_visit(call: Call, space: Space, row: str) -> None:
    call.record_leave(space, Leave(session_id=row))


# -------------------------------------------------------------------------------------- REST


def enter(call: Call) -> Recorded:
    """Record that someone views the course. Repeat it every 30 seconds."""
    space = course(call, call.params["course"])
    result = record(call, space, parse(Presence, call.request.json(), _EXAMPLE))
    body: Recorded = {
        "success": True,
        "courseId": call.params["course"],
        "leaseSeconds": space.kind.lease,
        "nextBeatIn": space.kind.beat,
    }
    if result.people is not None and result.version is not None:
        body["count"], body["version"] = result.people, result.version
    return body


def leave(call: Call) -> Removed:
    """End a visit to the course. Name the viewer by token, query or body."""
    space = course(call, call.params["course"])
    body = call.request.json() if call.request.event.get("body") else {}
    named: dict[str, object] = {
        name: text
        for name in ("userId", "sessionId", "tabId")
        if (text := call.query(name)) is not None
    }
    if (seq := call.query("seq")) is not None:
        named["seq"] = parse_seq(seq)
    presence = parse(Presence, {**named, **body} if isinstance(body, dict) else body)
    remove(call, space, presence, may_return=parse_may_return(call.query("mayReturn")))
    return {"success": True, "courseId": call.params["course"]}


def close(call: Call) -> Removed:
    """End a visit to the course as its tab closes: for ``sendBeacon``, which has no DELETE."""
    return leave(call)


def viewer_count(call: Call) -> ViewerCount | Reply:
    """How many people view the course, in total and by chapter."""
    space = course(call, call.params["course"])
    total, by_chapter = counts(call, space)
    body: ViewerCount = {"success": True, "total": total, "byChapter": by_chapter}
    if space.kind.counts_are_public:
        return Reply(body, headers={"cache-control": _SHARED_FOR})
    return body


def viewers(call: Call) -> Viewers:
    """Who views the course: at most 20 people."""
    space = course(call, call.params["course"])
    most = page_size(call.query("limit"), default=MAX_COURSE_VIEWERS, most=MAX_COURSE_VIEWERS)
    total, first = listed(call, space, most)
    return {"success": True, "total": total, "viewers": first}


_LIMIT = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_COURSE_VIEWERS,
    "default": MAX_COURSE_VIEWERS,
}
_LEAVING = [
    Query("userId", "The user who leaves, unless there is a token", Identifier),
    Query("sessionId", "The session that leaves, of a visitor without user id", SessionId),
    Query("tabId", "The tab that leaves, if the client names its tabs", Identifier),
    Query("seq", "The message's number in its tab, if the client numbers them", SEQ),
    Query("mayReturn", "Only a page has closed: its tab may be back", MAY_RETURN),
]

ROUTES = [
    Route("POST", "/api/courses/<course>/presence", enter, Who.ANYONE, Recorded, body=Presence),
    Route(
        "DELETE",
        "/api/courses/<course>/presence",
        leave,
        Who.ANYONE,
        Removed,
        query=_LEAVING,
        errors=[HTTPStatus.REQUEST_ENTITY_TOO_LARGE],  # a body is allowed
    ),
    Route(
        "POST",
        "/api/courses/<course>/presence/leave",
        close,
        Who.ANYONE,
        Removed,
        query=_LEAVING,
        errors=[HTTPStatus.REQUEST_ENTITY_TOO_LARGE],
    ),
    Route(
        "GET",
        "/api/courses/<course>/viewers/count",
        viewer_count,
        Who.COUNTS,
        ViewerCount,
        needs=Scope(Action.READ, "course:<course>"),
    ),
    Route(
        "GET",
        "/api/courses/<course>/viewers",
        viewers,
        Who.NAMES,
        Viewers,
        query=[Query("limit", "The most viewers to return", _LIMIT)],
        needs=Scope(Action.PEOPLE, "course:<course>"),
    ),
]
