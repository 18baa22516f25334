"""Course viewers: who is in a course right now, and in which chapter.

The REST routes, and what ``course_viewers_convex`` shares with them. A course is the space
``course:<courseId>``. A person has one row in it however many tabs they have: its session id is
made from who they are, so the chapter they went to last counts.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from typing_extensions import TypedDict

from headcount.beats import Beat, Leave, check_size
from headcount.errors import InvalidRequestError
from headcount.messages import Identifier, Message, SessionId, parse, text_up_to
from headcount.people import own_id
from headcount.session import Session
from headcount.spaces import SPACE, Space
from headcount.tally import ranked
from headcount.tokens import Action, Scope
from headcount.web.calls import Call, Count, Identity, proven
from headcount.web.http import respond_error
from headcount.web.routing import Query, Reply, Route, Who

shape_error = respond_error

KIND = "course"
CHAPTER = "chapter"
MAX_LISTED = 20
"""Viewers in a list."""

_FRESH = 100
"""Sessions up to which a course is counted at the moment of asking: its visitors ask often."""
_NAME_BYTES, _AVATAR_BYTES, _CHAPTER_BYTES = 100, 300, 64
_EXAMPLE = '{"userId": "u1", "userName": "Ada", "chapterId": "intro"}'
_SHARED_FOR = "public, max-age=0, s-maxage=1"
"""The edge may answer everybody for a second; a browser asks again, to see its own beat counted."""


class Presence(Message):
    """``{userId?, userName?, userAvatar?, sessionId?, chapterId?, anonymous?}``.

    Who is viewing (a token says it better) and which chapter. ``sessionId`` is for who has no user
    id; ``anonymous``: count me, don't name me. An empty text is none.
    """

    user_id: Identifier | None = None
    user_name: Annotated[str, text_up_to(_NAME_BYTES)] | None = None
    user_avatar: Annotated[str, text_up_to(_AVATAR_BYTES)] | None = None
    session_id: SessionId | None = None
    chapter_id: Annotated[str, text_up_to(_CHAPTER_BYTES)] | None = None
    anonymous: bool = False


class Recorded(TypedDict):
    """A beat was stored. ``count`` is the course's people, as published a moment ago."""

    success: bool
    courseId: str
    count: int
    version: int
    leaseSeconds: int
    nextBeatIn: int


class Removed(TypedDict):
    """That person is not in the course (any more)."""

    success: bool
    courseId: str


class ViewerCount(TypedDict):
    """People in the course; those who named a chapter also by chapter."""

    success: bool
    total: int
    byChapter: dict[str, int]


class Viewer(TypedDict):
    """A person in the course; times in epoch milliseconds. Nobody's name: they are anonymous."""

    userId: str | None
    name: str | None
    avatar: str | None
    chapterId: str | None
    joinedAt: int
    lastSeen: int


class Viewers(TypedDict):
    """At most 20, named ones first, then who is there longest. ``total``: people in the course."""

    success: bool
    total: int
    viewers: list[Viewer]


# -------------------------------------------------------------------------- for REST and Convex


def course(call: Call, course_id: str) -> Space:
    """The space of a course, or InvalidRequestError."""
    if not SPACE.fullmatch(f"{KIND}:{course_id}"):
        raise InvalidRequestError(
            "courseId is not valid: send 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -"
        )
    return call.space(KIND, course_id)


def record(call: Call, space: Space, said: Presence) -> Count:
    """Store a beat of whoever calls."""
    identity = _who(call, said)
    row = _row(space, identity, said.session_id)
    beat = _beat(space, row, identity, said)
    call.admit(space, beat, identity.user)  # also of who is not to be named
    unnamed = said.anonymous and identity.user is not None
    count = call.record_beat(space, beat, Identity(None, False) if unnamed else identity)
    if count.changed and identity.user is not None and said.session_id is not None:
        # They may have been here before they signed in: one person is never two viewers.
        _end(call, space, _row(space, Identity(None, False), said.session_id))
    return count


def remove(call: Call, space: Space, said: Presence) -> None:
    """End the visit of whoever calls. Somebody proven is ended by their own token or an admin's."""
    identity = _who(call, said)
    if identity.user is not None:
        _end(call, space, _row(space, replace(identity, verified=False), None))
        if identity.verified:
            _end(call, space, _row(space, identity, None))
    if said.session_id is not None:
        _end(call, space, _row(space, Identity(None, False), said.session_id))


def counts(call: Call, space: Space) -> tuple[int, dict[str, int]]:
    """People in a course, and in each chapter; for whom the kind's counts are."""
    call.require_counts(space)
    tally = call.services.reader.now(space, up_to=_FRESH).head.tally
    chapters = ranked(tally.facets.get(CHAPTER, {}))
    return tally.people, {chapter: people for chapter, (_, people) in chapters if people}


def listed(call: Call, space: Space, limit: int) -> tuple[int, list[Viewer]]:
    """How many people are in a course, and some of them; for whom the kind's names are."""
    call.require_names(space)
    now = call.services.reader.now(space, up_to=_FRESH)
    people: dict[str, Session] = {}
    for session in sorted(now.sessions, key=lambda one: (one.facts.verified, one.changed_at)):
        people[session.person] = session  # what is proven, then what is latest
    first = sorted(people.values(), key=lambda one: (_is_unnamed(one), one.joined_at, one.id))
    return now.head.tally.people, [_viewer(session) for session in first[:limit]]


def _who(call: Call, said: Presence) -> Identity:
    identity = call.identify(said.user_id)
    if identity.user is not None:
        return identity
    caller = call.caller()
    if caller is not None and caller.admin and caller.subject is not None:
        return proven(caller, caller.subject)
    if said.session_id is None:
        raise InvalidRequestError(
            "Nobody is named: send a user's token, or userId, or sessionId for a visitor."
        )
    return identity


def _row(space: Space, identity: Identity, session: str | None) -> str:
    """The session id of a person's row. Only a token leads to the row of whom a token proved."""
    if identity.user is not None:
        return own_id(space.id, "proven" if identity.verified else "claimed", identity.user)
    return own_id(space.id, "session", session)


def _beat(space: Space, row: str, identity: Identity, said: Presence) -> Beat:
    name = _cut(identity.name) or said.user_name or None
    avatar = said.user_avatar or None
    picture = identity.picture
    if picture is not None and len(picture.encode()) <= _AVATAR_BYTES:
        avatar = picture
    user, visitor = identity.user, said.session_id
    if said.anonymous:
        name = avatar = None
        if user is not None:
            # The row's own id: who only claims to be them has another, is counted beside them, and
            # so does not learn that they are there.
            user, visitor = None, row
    beat = Beat(
        session_id=row,
        visitor_id=visitor,
        user_id=user,
        name=name,
        avatar=avatar,
        facets={CHAPTER: said.chapter_id} if said.chapter_id else {},
    )
    try:
        check_size(beat, space.id)
    except InvalidRequestError:
        if beat.avatar is None or beat.avatar != picture:
            raise
        beat = replace(beat, avatar=None)  # nor can they shorten a token's picture
        check_size(beat, space.id)
    return beat


def _cut(name: str | None) -> str | None:
    """A token's name, as much of it as fits: whoever sends the token can't shorten it."""
    return name.encode()[:_NAME_BYTES].decode(errors="ignore") if name else None


def _end(call: Call, space: Space, row: str) -> None:
    call.record_leave(space, Leave(session_id=row))


def _is_unnamed(session: Session) -> bool:
    return session.facts.name is None


def _viewer(session: Session) -> Viewer:
    facts = session.facts
    return {
        "userId": facts.user,
        "name": facts.name,
        "avatar": facts.avatar,
        "chapterId": facts.facets.get(CHAPTER),
        "joinedAt": session.joined_at,
        "lastSeen": session.last_seen,
    }


# -------------------------------------------------------------------------------------- REST


def enter(call: Call) -> Recorded:
    """Record that somebody views the course; to be repeated every 30 seconds."""
    space = course(call, call.params["course"])
    count = record(call, space, parse(Presence, call.request.json(), _EXAMPLE))
    return {
        "success": True,
        "courseId": call.params["course"],
        "count": count.people,
        "version": count.version,
        "leaseSeconds": space.kind.lease,
        "nextBeatIn": space.kind.beat,
    }


def leave(call: Call) -> Removed:
    """End somebody's visit to the course: named by token, query or body."""
    space = course(call, call.params["course"])
    body = call.request.json() if call.request.event.get("body") else {}
    said = {name: call.query(name) for name in ("userId", "sessionId")}
    said = {name: text for name, text in said.items() if text is not None}
    remove(call, space, parse(Presence, {**said, **body} if isinstance(body, dict) else body))
    return {"success": True, "courseId": call.params["course"]}


def viewer_count(call: Call) -> Any:
    """How many people view the course, in all and by chapter."""
    space = course(call, call.params["course"])
    total, by_chapter = counts(call, space)
    body: ViewerCount = {"success": True, "total": total, "byChapter": by_chapter}
    if space.kind.counts_are_public:
        return Reply(body, headers={"cache-control": _SHARED_FOR})
    return body


def viewers(call: Call) -> Viewers:
    """Who views the course: at most 20 people."""
    space = course(call, call.params["course"])
    total, some = listed(call, space, _limit(call.query("limit")))
    return {"success": True, "total": total, "viewers": some}


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LISTED
    short = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_LISTED))
    if not short or int(text) not in range(1, MAX_LISTED + 1):
        raise InvalidRequestError(f"'limit' must be a whole number from 1 to {MAX_LISTED}.")
    return int(text)


_LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": MAX_LISTED}

ROUTES = [
    Route("POST", "/api/courses/<course>/presence", enter, Who.ANYONE, Recorded, body=Presence),
    Route(
        "DELETE",
        "/api/courses/<course>/presence",
        leave,
        Who.ANYONE,
        Removed,
        query=[
            Query("userId", "Who leaves, unless a token says it", Identifier),
            Query("sessionId", "The session that leaves, of who has no user id", SessionId),
        ],
        errors=[HTTPStatus.REQUEST_ENTITY_TOO_LARGE],  # it may come with a body
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
        query=[Query("limit", "At most so many", _LIMIT)],
        needs=Scope(Action.PEOPLE, "course:<course>"),
    ),
]
