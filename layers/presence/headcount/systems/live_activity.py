"""Live activity: who watches or browses right now, on which device, where, and what.

``POST|GET|DELETE /api/analytics/live-activity``. All of it is one space, ``activity:main``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from headcount.beats import MAX_IDENTIFIER, Beat, Leave, check_size, check_text
from headcount.errors import InvalidRequestError
from headcount.messages import CONTROLS, Identifier, Message, Rule, SessionId, parse, text_up_to
from headcount.session import Session
from headcount.spaces import Space
from headcount.tally import OTHER, Tally, ranked
from headcount.times import MINUTE, SECOND
from headcount.tokens import Action, Scope
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Query, Route, Who

shape_error = respond_error

_PATH = "/api/analytics/live-activity"
_EXAMPLE = '{"userId": "u1", "sessionId": "s1", "activityType": "browsing"}'

MAX_READ = 2_000
"""Sessions that a list is made from; of a larger space the stats come as published."""
MAX_LISTED = 1_000
MAX_TOP = 10
MAX_CUSTOM = 8
MAX_SPLITS = 32
"""Underscores in a user id and a session id together: an activity's id joins the two by one, so
each is a place where one may end and the other begin."""

_DEFAULT_AGE = 5  # minutes
_AGE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_CUSTOM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_CUSTOM_BYTES = 64
_NOT_CUSTOM = frozenset(
    {"activity", "content", "device", "deviceType", "id", "startedAt", "lastHeartbeat"}
    | {"isActive", "createdAt", "updatedAt"}
)
"""What the server says of an activity: a client that sends it is not believed."""

_SHOWN = ("activity", "device", "country", "content")
"""The facets that the stats are made of."""

_COUNTRY = re.compile(r"[A-Za-z]{2}")


def _country(value: str) -> str:
    if value and not _COUNTRY.fullmatch(value):
        raise ValueError("must be two letters, for example US")
    return value.upper()


def _whole(value: float) -> int:
    return math.floor(value + 0.5)


Seconds = Annotated[
    float, Field(ge=0, le=2**31, allow_inf_nan=False), AfterValidator(_whole)
]  # as JavaScript's Math.round does it
Number = Annotated[int, Field(ge=0, le=2**31)]
Label = Annotated[str, text_up_to(64)]


class Heartbeat(Message):
    """What somebody is doing. Fields of other names, at most 8, become facets."""

    model_config = ConfigDict(extra="allow")

    user_id: Identifier
    session_id: SessionId
    activity_type: Literal["watching", "browsing"]
    content_id: Annotated[str, text_up_to(MAX_IDENTIFIER)] | None = None
    content_title: Annotated[str, text_up_to(200)] | None = None
    content_type: Label | None = None
    season_number: Number | None = None
    episode_number: Number | None = None
    current_position: Seconds | None = None
    duration: Seconds | None = None
    quality: Label | None = None
    country: Annotated[str, Rule(_country, {"pattern": "^([A-Za-z]{2})?$"})] | None = None


class Deactivation(Message):
    """``?id=``"""

    id: Annotated[str, text_up_to(5 + 2 * MAX_IDENTIFIER + 1)]


class Recorded(TypedDict):
    """The heartbeat was stored; ``activityId`` is what DELETE takes."""

    success: bool
    activityId: str


class Done(TypedDict):
    """The activity is over, or was."""

    success: bool


class Activity(TypedDict):
    """A live session. Times are epoch milliseconds, positions and durations seconds."""

    id: str | None
    userId: str | None
    sessionId: str
    activityType: str | None
    contentId: str | None
    contentTitle: str | None
    contentType: str | None
    seasonNumber: int | None
    episodeNumber: int | None
    currentPosition: int
    duration: int
    quality: str | None
    deviceType: str | None
    country: str | None
    startedAt: int
    lastHeartbeat: int
    isActive: bool
    createdAt: int
    updatedAt: int


class Content(TypedDict):
    """``count`` sessions watch it."""

    contentId: str
    contentTitle: str | None
    contentType: str | None
    count: int


class Stats(TypedDict):
    """Sessions: in all, by activity, device and country, and the ten most watched contents."""

    totalActive: int
    watching: int
    browsing: int
    byDevice: dict[str, int]
    byCountry: dict[str, int]
    topContent: list[Content]


class Activities(TypedDict):
    """Newest heartbeat first."""

    success: bool
    activities: list[Activity]
    stats: Stats


def heartbeat(call: Call) -> Recorded:
    """Record what somebody is doing: each heartbeat says all of it anew."""
    said = parse(Heartbeat, call.request.json(), _EXAMPLE)
    if (said.user_id + said.session_id).count("_") >= MAX_SPLITS:
        raise InvalidRequestError(
            f"userId and sessionId may hold at most {MAX_SPLITS - 1} underscores together."
        )
    beat = _beat(call, said)
    space = _space(call)
    check_size(beat, space.id)
    call.record_beat(space, beat, call.identify(said.user_id))
    return {"success": True, "activityId": _id(said.user_id, said.session_id)}


def activities(call: Call) -> Activities:
    """Whose last heartbeat is at most ``maxAge`` minutes old, and the numbers over them."""
    space = _space(call)
    oldest = call.now - _max_age(call.query("maxAge"), space.kind.lease)
    now = call.services.reader.now(space, up_to=MAX_READ)
    here = sorted(
        (one for one in now.sessions if one.connection is not None or one.last_seen >= oldest),
        key=lambda session: (-session.last_seen, session.id),
    )
    tally = now.head.tally
    facets = {
        name: _counts(name, here) if now.whole else _published(name, tally) for name in _SHOWN
    }
    doing = facets["activity"]
    return {
        "success": True,
        "activities": [_activity(session) for session in here[:MAX_LISTED]],
        "stats": {
            "totalActive": len(here) if now.whole else tally.sessions,
            "watching": doing.get("watching", 0),
            "browsing": doing.get("browsing", 0),
            "byDevice": facets["device"],
            "byCountry": facets["country"],
            "topContent": _top(facets["content"], here),
        },
    }


def deactivate(call: Call) -> Done:
    """End an activity. One that is unknown, or over, is left as it is."""
    sent = call.query("id")
    said = parse(Deactivation, {} if sent is None else {"id": sent})
    space = _space(call)
    for user, session in _splits(said.id):
        row = call.services.desk.find(space.id, session, call.now)
        if row is not None and row.facts.user == user and not row.ended:
            call.record_leave(space, Leave(session_id=session))
            break
    return {"success": True}


def _space(call: Call) -> Space:
    return call.space("activity", "main")


def _id(user: str, session: str) -> str:
    return f"live_{user}_{session}"


def _splits(id_: str) -> Iterator[tuple[str, str]]:
    """Every user and session that this may be the activity of: both may hold underscores."""
    places = [place for place, letter in enumerate(id_) if letter == "_"][1:]
    pairs = [(id_[len("live_") : place], id_[place + 1 :]) for place in places]
    found = [
        (user, session)
        for user, session in pairs
        if 0 < len(user.encode()) <= MAX_IDENTIFIER and 0 < len(session.encode()) <= MAX_IDENTIFIER
    ]
    if not id_.startswith("live_") or not found or len(places) > MAX_SPLITS:
        raise InvalidRequestError("'id' must be live_<userId>_<sessionId>, as POST answered it.")
    return iter(found)


def _beat(call: Call, said: Heartbeat) -> Beat:
    watching = said.activity_type == "watching"
    content = {
        "content": said.content_id,
        "contentType": said.content_type,
        "quality": said.quality,
    }
    custom = _custom(said.model_extra or {})
    page = custom.pop("page", None)
    facets = {
        **custom,
        "activity": said.activity_type,
        **{name: value for name, value in content.items() if value and watching},
        "device": call.device,
    }
    if country := said.country or call.country:
        facets["country"] = country
    # Always some details: a beat without any would leave those of the content before.
    details: dict[str, Any] = {"currentPosition": 0, "duration": 0}
    if watching:
        details = {
            "currentPosition": said.current_position or 0,
            "duration": said.duration or 0,
            "contentTitle": said.content_title or None,
            "seasonNumber": said.season_number,
            "episodeNumber": said.episode_number,
        }
    return Beat(
        session_id=said.session_id,
        user_id=said.user_id,
        page=page,
        facets=facets,
        details={name: value for name, value in details.items() if value is not None},
    )


def _custom(extra: dict[str, Any]) -> dict[str, str]:
    """Fields of the caller's own, as facets."""
    fields = {
        name: value
        for name, value in extra.items()
        if name not in _NOT_CUSTOM and value is not None and value != ""
    }
    if len(fields) > MAX_CUSTOM:
        raise InvalidRequestError(
            f"At most {MAX_CUSTOM} custom fields are allowed, these are {len(fields)}."
        )
    return {name: _custom_value(name, value) for name, value in fields.items()}


def _custom_value(name: str, value: object) -> str:
    if not _CUSTOM_NAME.fullmatch(name):
        raise InvalidRequestError(
            "A custom field has a name that is not valid: a letter, then up to 31 letters, "
            "digits, '_' or '-'."
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) <= 2**53:
        return str(value)
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"The custom field {name} must be a string, a whole number, true or false."
        )
    try:
        return check_text(value, _CUSTOM_BYTES)
    except ValueError as error:
        raise InvalidRequestError(f"The custom field {name} {error}.") from None


def _max_age(text: str | None, lease: int) -> int:
    """Milliseconds; nobody is older than the lease of so many seconds."""
    if text is None:
        return min(_DEFAULT_AGE * MINUTE, lease * SECOND)
    if not _AGE.fullmatch(text) or float(text) <= 0:
        raise InvalidRequestError("'maxAge' must be a number of minutes above 0, for example 5.")
    return min(round(float(text) * MINUTE), lease * SECOND)


def _activity(session: Session) -> Activity:
    user, facets, details = session.facts.user, session.facts.facets, session.riding.details
    return {
        "id": _id(user, session.id) if user is not None else None,
        "userId": user,
        "sessionId": session.id,
        "activityType": facets.get("activity"),
        "contentId": facets.get("content"),
        "contentTitle": details.get("contentTitle"),
        "contentType": facets.get("contentType"),
        "seasonNumber": details.get("seasonNumber"),
        "episodeNumber": details.get("episodeNumber"),
        "currentPosition": details.get("currentPosition", 0),
        "duration": details.get("duration", 0),
        "quality": facets.get("quality"),
        "deviceType": facets.get("device"),
        "country": facets.get("country"),
        "startedAt": session.joined_at,
        "lastHeartbeat": session.last_seen,
        "isActive": True,
        "createdAt": session.joined_at,
        "updatedAt": session.last_seen,
    }


def _counts(facet: str, here: list[Session]) -> dict[str, int]:
    """Sessions by what they say of a facet, most first, whatever else is said in this space."""
    counts = Counter(session.facts.facets.get(facet) for session in here)
    said = [(value, count) for value, count in counts.items() if value is not None]
    return dict(sorted(said, key=lambda pair: (-pair[1], pair[0])))


def _published(facet: str, tally: Tally) -> dict[str, int]:
    """The same of a space too large to be counted for each reader."""
    return {value: count for value, (count, _) in ranked(tally.facets.get(facet, {}))}


def _top(contents: dict[str, int], newest_first: list[Session]) -> list[Content]:
    """The most watched, each with the title and the type that were said last."""
    titles: dict[str, str] = {}
    types: dict[str, str] = {}
    watched = set()
    for session in newest_first:
        if content := session.facts.facets.get("content"):
            watched.add(content)
            if title := session.riding.details.get("contentTitle"):
                titles.setdefault(content, title)
            if kind := session.facts.facets.get("contentType"):
                types.setdefault(content, kind)
    # The rest beyond the values that a tally keeps is no content.
    named = [content for content in contents if content != OTHER or OTHER in watched]
    return [
        {
            "contentId": content,
            "contentTitle": titles.get(content),
            "contentType": types.get(content),
            "count": contents[content],
        }
        for content in named[:MAX_TOP]
    ]


_ACTIVITY = {"type": "string", "pattern": f"^live_[^{CONTROLS}]+_[^{CONTROLS}]+$"}

ROUTES = [
    Route("POST", _PATH, heartbeat, Who.ANYONE, Recorded, body=Heartbeat),
    Route(
        "GET",
        _PATH,
        activities,
        Who.ADMIN,
        Activities,
        query=[
            Query(
                "maxAge",
                "Minutes since the last heartbeat at most; none is older than the lease",
                {"type": "number", "exclusiveMinimum": 0, "default": _DEFAULT_AGE},
            )
        ],
        needs=Scope(Action.PEOPLE, "activity:main"),
    ),
    Route(
        "DELETE",
        _PATH,
        deactivate,
        Who.ANYONE,
        Done,
        query=[Query("id", "The activity: live_<userId>_<sessionId>", _ACTIVITY, required=True)],
    ),
]
