"""Live activity: who watches or browses right now, on which device, where, and what.

``POST|GET|DELETE /api/analytics/live-activity``; the one space is ``activity:main``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from headcount.errors import InvalidRequestError
from headcount.model.access import Action, Scope
from headcount.model.beat import MAX_IDENTIFIER, Beat, Leave, fitted, shown, shown_page
from headcount.model.session import Session
from headcount.model.space import Space
from headcount.model.tally import OTHER, Tally, ranked
from headcount.times import MINUTE, SECOND
from headcount.web.bodies import (
    CONTROLS,
    Identifier,
    Message,
    Rule,
    Seq,
    SessionId,
    cut_to,
    parse,
    text_up_to,
)
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.parsing import MAY_RETURN, SEQ, parse_may_return, parse_seq
from headcount.web.routing import Query, Route, Who

shape_error = respond_error

_PATH = "/api/analytics/live-activity"
_EXAMPLE = '{"userId": "u1", "sessionId": "s1", "activityType": "browsing"}'

MAX_ACTIVITIES = 1_000
MAX_TOP = 10
MAX_CUSTOM = 8
MAX_SPLITS = 32
"""Underscores in an activity's id, which joins a user id and a session id by one. Both may contain
underscores, so the id could be split at each."""

_DEFAULT_AGE = 5  # minutes
_AGE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_CUSTOM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_CUSTOM_BYTES = 64
_NOT_CUSTOM = frozenset(
    {"activity", "content", "device", "deviceType", "id", "startedAt", "lastHeartbeat"}
    | {"isActive", "createdAt", "updatedAt", "robot"}
)
"""The server's own fields of an activity, which clients can't set."""

_COUNTED = ("activity", "device", "country", "content")
"""The facets that the stats are made from."""

_COUNTRY = re.compile(r"[A-Za-z]{2}")


def _country(value: str) -> str:
    if value and not _COUNTRY.fullmatch(value):
        raise ValueError("must be two letters, for example US")
    return value.upper()


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)  # like JavaScript's Math.round


Seconds = Annotated[float, Field(ge=0, le=2**31, allow_inf_nan=False), AfterValidator(_rounded)]
Number = Annotated[int, Field(ge=0, le=2**31)]
Label = Annotated[str, cut_to(64)]


class Heartbeat(Message):
    """What a user is doing. Up to 8 fields with other names become facets.

    ``seq`` grows with every message of a session: a late heartbeat or deactivation changes nothing.
    """

    model_config = ConfigDict(extra="allow")

    user_id: Identifier
    session_id: SessionId
    activity_type: Literal["watching", "browsing"]
    content_id: Annotated[str, cut_to(MAX_IDENTIFIER)] | None = None
    content_title: Annotated[str, cut_to(200)] | None = None
    content_type: Label | None = None
    season_number: Number | None = None
    episode_number: Number | None = None
    current_position: Seconds | None = None
    duration: Seconds | None = None
    quality: Label | None = None
    country: Annotated[str, Rule(_country, {"pattern": "^([A-Za-z]{2})?$"})] | None = None
    seq: Seq | None = None


class Deactivation(Message):
    """``?id=&seq=&mayReturn=``: the activity to end, the message's number in its session, and
    whether only a page has closed, so that a heartbeat within 10 seconds continues the activity."""

    id: Annotated[str, text_up_to(5 + 2 * MAX_IDENTIFIER + 1)]
    seq: Seq | None = None
    may_return: bool = False


class Recorded(TypedDict):
    """The heartbeat is stored. ``activityId`` is the id for DELETE."""

    success: bool
    activityId: str


class Done(TypedDict):
    """The activity has ended, now or before."""

    success: bool


class Activity(TypedDict):
    """A live session. Times are epoch milliseconds, positions and durations seconds. ``verified``:
    a token proved the user; otherwise it is what the client claims."""

    id: str | None
    userId: str | None
    verified: bool
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
    """Sessions: in total, by activity, device and country, and of the ten most watched contents."""

    totalActive: int
    watching: int
    browsing: int
    byDevice: dict[str, int]
    byCountry: dict[str, int]
    topContent: list[Content]


class Activities(TypedDict):
    """The latest heartbeat first."""

    success: bool
    activities: list[Activity]
    stats: Stats


def heartbeat(call: Call) -> Recorded:
    """Record what a user is doing. Each heartbeat replaces the one before."""
    body = parse(Heartbeat, call.request.json(), _EXAMPLE)
    if (body.user_id + body.session_id).count("_") >= MAX_SPLITS:
        raise InvalidRequestError(
            f"userId and sessionId may hold at most {MAX_SPLITS - 1} underscores together."
        )
    space = _activity_space(call)
    beat = fitted(_beat(call, body), space.id)
    call.record_beat(space, beat, call.identify(body.user_id))
    return {"success": True, "activityId": _activity_id(body.user_id, body.session_id)}


def activities(call: Call) -> Activities:
    """The activities with a heartbeat in the last ``maxAge`` minutes, and their stats."""
    space = _activity_space(call)
    oldest = call.now - _max_age(call.query("maxAge"), space.kind.lease)
    now = call.services.reader.now(space)
    here = sorted(
        (one for one in now.sessions if one.connection is not None or one.last_seen >= oldest),
        key=lambda session: (-session.last_seen, session.id),
    )
    tally = now.head.tally
    facets = {
        name: _counts(name, here) if now.whole else _published(name, tally) for name in _COUNTED
    }
    doing = facets["activity"]
    return {
        "success": True,
        "activities": [_activity(session) for session in here[:MAX_ACTIVITIES]],
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
    """End an activity. An id that is unknown or has ended changes nothing, nor does a ``seq`` below
    that of a later heartbeat."""
    sent, seq = call.query("id"), call.query("seq")
    query: dict[str, object] = {} if sent is None else {"id": sent}
    if seq is not None:
        query["seq"] = parse_seq(seq)
    query["mayReturn"] = parse_may_return(call.query("mayReturn"))
    asked = parse(Deactivation, query)
    space = _activity_space(call)
    splits = list(_splits(asked.id))
    for user, session in splits:
        row = call.services.session_recorder.find(space.id, session, call.now)
        if row is None:
            found = asked.seq is not None and len(splits) == 1  # it may have overtaken the first
        else:
            found = row.facts.user == user and not (row.ended and asked.seq is None)
        if found:
            call.record_leave(space, Leave(session, asked.seq, asked.may_return))
            break
    return {"success": True}


def close(call: Call) -> Done:
    """End an activity as its tab closes: for ``sendBeacon``, which has no DELETE."""
    return deactivate(call)


def _activity_space(call: Call) -> Space:
    return call.space("activity", "main")


def _activity_id(user: str, session: str) -> str:
    return f"live_{user}_{session}"


def _splits(id_: str) -> Iterator[tuple[str, str]]:
    """Every pair of a user and a session that has this activity id."""
    places = [place for place, letter in enumerate(id_) if letter == "_"][1:]
    pairs = [(id_[len("live_") : place], id_[place + 1 :]) for place in places]
    found = [
        (user, session)
        for user, session in pairs
        if 0 < len(user.encode()) <= MAX_IDENTIFIER and 0 < len(session.encode()) <= MAX_IDENTIFIER
    ]
    if not id_.startswith("live_") or not found or len(places) > MAX_SPLITS:
        raise InvalidRequestError("'id' must be live_<userId>_<sessionId>, as POST returned it.")
    return iter(found)


def _beat(call: Call, body: Heartbeat) -> Beat:
    watching = body.activity_type == "watching"
    content = {
        "content": body.content_id,
        "contentType": body.content_type,
        "quality": body.quality,
    }
    custom = _custom_facets(body.model_extra or {})
    page = custom.pop("page", None)
    facets = {
        **custom,
        "activity": body.activity_type,
        **{name: value for name, value in content.items() if value and watching},
        "device": _device(call, body),
    }
    if country := body.country or call.country:
        facets["country"] = country
    # There are always details: a beat without any would keep those of the previous content.
    details: dict[str, Any] = {"currentPosition": 0, "duration": 0}
    if watching:
        details = {
            "currentPosition": body.current_position or 0,
            "duration": body.duration or 0,
            "contentTitle": body.content_title or None,
            "seasonNumber": body.season_number,
            "episodeNumber": body.episode_number,
        }
    return Beat(
        session_id=body.session_id,
        user_id=body.user_id,
        page=page,
        facets=facets,
        seq=body.seq,
        details={name: value for name, value in details.items() if value is not None},
    )


def _device(call: Call, body: Heartbeat) -> str:
    """By the User-Agent, but for iPads, which call themselves Macs: there the client can tell."""
    touched = call.device == "desktop" and (body.model_extra or {}).get("deviceType") == "tablet"
    return "tablet" if touched else call.device


def _custom_facets(extra: dict[str, Any]) -> dict[str, str]:
    """The client's custom fields, as facets."""
    fields = {
        name: value
        for name, value in extra.items()
        if name not in _NOT_CUSTOM and value is not None and value != ""
    }
    values = {name: _custom_value(name, value) for name, value in fields.items()}
    return dict([pair for pair in values.items() if pair[1]][:MAX_CUSTOM])


def _custom_value(name: str, value: object) -> str:
    if not _CUSTOM_NAME.fullmatch(name):
        raise InvalidRequestError(
            "The name of a custom field is not valid: use a letter, then up to 31 letters, "
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
    return shown_page(value) if name == "page" else shown(value, _CUSTOM_BYTES)


def _max_age(text: str | None, lease: int) -> int:
    """The age in milliseconds, at most the ``lease`` (in seconds)."""
    if text is None:
        return min(_DEFAULT_AGE * MINUTE, lease * SECOND)
    if not _AGE.fullmatch(text) or float(text) <= 0:
        raise InvalidRequestError("'maxAge' must be a number of minutes above 0, for example 5.")
    return min(round(float(text) * MINUTE), lease * SECOND)


def _activity(session: Session) -> Activity:
    user, facets, details = session.facts.user, session.facts.facets, session.telemetry.details
    return {
        "id": _activity_id(user, session.id) if user is not None else None,
        "userId": user,
        "verified": session.facts.verified,
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
    """Sessions by their value of a facet, the most frequent first."""
    counts = Counter(session.facts.facets.get(facet) for session in here)
    values = [(value, count) for value, count in counts.items() if value is not None]
    return dict(sorted(values, key=lambda pair: (-pair[1], pair[0])))


def _published(facet: str, tally: Tally) -> dict[str, int]:
    """The same, of a space that is too large to count for each request."""
    return {value: count for value, (count, _) in ranked(tally.facets.get(facet, {}))}


def _top(contents: dict[str, int], newest_first: list[Session]) -> list[Content]:
    """The most watched contents, each with its latest title and type."""
    titles: dict[str, str] = {}
    types: dict[str, str] = {}
    watched = set()
    for session in newest_first:
        if content := session.facts.facets.get("content"):
            watched.add(content)
            if title := session.telemetry.details.get("contentTitle"):
                titles.setdefault(content, title)
            if kind := session.facts.facets.get("contentType"):
                types.setdefault(content, kind)
    # A tally puts the values beyond its limit under OTHER, which is then not a content.
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
_LEAVING = [
    Query("id", "The activity: live_<userId>_<sessionId>", _ACTIVITY, required=True),
    Query("seq", "The message's number in its session, if the client numbers them", SEQ),
    Query("mayReturn", "Only a page has closed: its tab may be back", MAY_RETURN),
]

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
                "The greatest age of the last heartbeat in minutes, at most the lease",
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
        query=_LEAVING,
    ),
    Route("POST", f"{_PATH}/leave", close, Who.ANYONE, Done, query=_LEAVING),
]
