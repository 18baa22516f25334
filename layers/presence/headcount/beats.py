"""What a client may say in a beat or a leave, and the limits that keep a row under 1 KB.

What comes in as it should is checked here, in plain Python: a beat pays for no more. Whatever else
comes is left to ``headcount.messages``, which knows what to say about it, and has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from headcount.errors import InvalidRequestError

MAX_FACETS = 8
MAX_RIDING = 8
"""Names in each of quality, engagement and details."""
MAX_IDENTIFIER = 128
"""Bytes of a session, visitor or user id."""
MAX_NAME, MAX_AVATAR, MAX_PAGE, MAX_FACET = 100, 300, 300, 64
MAX_DETAIL = 200
MAX_TOTAL_BYTES = 600
"""All of a beat's texts and the space's id together (a riding number counts as 10): with attribute
names, numbers and nine days of beats the row stays within one write unit (1 KB)."""
MAX_SEQ = 2**53
MAX_ENGAGEMENT = 2**31
EXACT = 2**53
"""Beyond it JavaScript's numbers are no longer exact."""

OWN = "~"
"""Sessions and visitors that an adapter names after a person begin with it: nobody else may speak
for them, nor find out by saying the same whether they are there."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""What a facet, or a riding number, is called."""

_CONNECTION = "c"
_NUMBER_BYTES = 10
_DECIMALS = 6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_STATES = frozenset({"active", "hidden"})
_FIELDS = frozenset(
    {
        *("sessionId", "visitorId", "userId", "name", "avatar", "page", "facets", "state", "seq"),
        *("quality", "engagement", "details", "changed"),
    }
)

Riding = TypeVar("Riding")


@dataclass(frozen=True, slots=True)
class Leave:
    """This session left."""

    session_id: str
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """I am still here, and this is what I am doing."""

    session_id: str
    visitor_id: str | None = None
    user_id: str | None = None
    name: str | None = None
    avatar: str | None = None
    page: str | None = None
    facets: Mapping[str, str] = field(default_factory=dict)
    state: str = "active"
    seq: int | None = None
    quality: Mapping[str, float] | None = None
    engagement: Mapping[str, int] | None = None
    details: Mapping[str, Any] | None = None
    changed: bool = False
    """The client knows that it says something new: that saves a write, and decides nothing."""


def parse_beat(body: object, space: str, connection: str = "") -> Beat:
    """A beat in a space, maybe over a connection, from decoded JSON, or InvalidRequestError."""
    beat = plain_beat(body)
    if beat is None:
        from headcount.messages import BeatMessage, parse

        beat = parse(BeatMessage, body).beat
    check_size(beat, space, connection)
    return beat


def parse_leave(body: object) -> Leave:
    """A leave from decoded JSON, or InvalidRequestError."""
    leave = plain_leave(body)
    if leave is None:
        from headcount.messages import LeaveMessage, parse

        leave = parse(LeaveMessage, body).leave
    return leave


def plain_leave(body: object) -> Leave | None:
    """The leave, or None when there is anything about it to look at twice."""
    if not isinstance(body, dict) or not body.keys() <= {"sessionId", "seq"}:
        return None
    try:
        return Leave(_session(body.get("sessionId")), _whole(body.get("seq"), MAX_SEQ))
    except ValueError:
        return None


def plain_beat(body: object) -> Beat | None:
    """The beat, or None when there is anything about it to look at twice."""
    if not isinstance(body, dict) or not body.keys() <= _FIELDS:
        return None
    said = body.get
    try:
        return Beat(
            session_id=_session(said("sessionId")),
            visitor_id=_visitor(said("visitorId")),
            user_id=_identifier(said("userId")),
            name=_text(said("name"), MAX_NAME),
            avatar=_text(said("avatar"), MAX_AVATAR),
            page=_text(said("page"), MAX_PAGE),
            facets=_facets(said("facets", {})),
            state=_state(said("state", "active")),
            seq=_whole(said("seq"), MAX_SEQ),
            quality=_riding(said("quality"), check_number),
            engagement=_riding(said("engagement"), _count),
            details=_riding(said("details"), check_detail),
            changed=_flag(said("changed", False)),
        )
    except ValueError:
        return None


def check_size(beat: Beat, space: str, connection: str = "") -> None:
    """Refuse a beat whose row would not fit one write unit."""
    words = [beat.session_id, beat.visitor_id, beat.user_id, beat.name, beat.avatar, beat.page]
    riding = [said for said in (beat.quality, beat.engagement, beat.details) if said]
    texts: list[object] = [space, *words, *beat.facets, *beat.facets.values()]
    texts += [part for said in riding for pair in said.items() for part in pair]
    texts += [_CONNECTION, connection] if connection else []
    total = sum(
        len(text.encode()) if isinstance(text, str) else _NUMBER_BYTES
        for text in texts
        if text is not None
    )
    if total > MAX_TOTAL_BYTES:
        over = ", its connection's id" if connection else ""
        raise InvalidRequestError(
            f"The beat is too large: its texts{over} and the space are {total} bytes together, "
            f"at most {MAX_TOTAL_BYTES} are allowed. Shorten page, avatar, facets or details."
        )


# ------------------------------------------------------ checks: the value, or ValueError saying why


def check_text(value: str, limit: int) -> str:
    """A text of at most that many bytes, without control characters."""
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    if len(value.encode()) > limit:
        raise ValueError(f"must be at most {limit} bytes, it is {len(value.encode())}")
    return value


def check_facets(value: dict[str, str]) -> dict[str, str]:
    """Facets: how many, and their names."""
    if len(value) > MAX_FACETS:
        raise ValueError(f"must hold at most {MAX_FACETS} facets, it holds {len(value)}")
    for name in value:
        _check_name(name)
        if name == "page":
            raise ValueError("must not name 'page': send it as the field 'page'")
    return value


def check_riding(value: Mapping[str, object]) -> Mapping[str, object]:
    """What rides along: how much, and its names."""
    if len(value) > MAX_RIDING:
        raise ValueError(f"must hold at most {MAX_RIDING} names, it holds {len(value)}")
    for name in value:
        _check_name(name)
    return value


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(
            "has a name that is not valid: a letter, then up to 31 letters, digits, '_' or '-'"
        )


def check_number(value: object) -> int | float:
    """A number that JavaScript and DynamoDB can both hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - sentences are made of these
    if not -EXACT <= value <= EXACT:
        raise ValueError("must be a number between -2^53 and 2^53")
    # DynamoDB takes no number that is next to nothing.
    return round(value, _DECIMALS) if isinstance(value, float) else value


def check_detail(value: object) -> str | int | float:
    """A text or a number to show beside a session."""
    if not isinstance(value, str):
        return check_number(value)
    if not value:
        raise ValueError("must not be empty")
    return check_text(value, MAX_DETAIL)


def check_not_ours(value: str) -> str:
    """A session or visitor id that no adapter makes."""
    if value.startswith(OWN):
        raise ValueError(f"must not begin with '{OWN}': such ids are Headcount's own")
    return value


def _session(value: object) -> str:
    found = _visitor(value)
    if found is None:
        raise ValueError
    return found


def _visitor(value: object) -> str | None:
    found = _identifier(value)
    return None if found is None else check_not_ours(found)


def _identifier(value: object) -> str | None:
    if value == "":
        raise ValueError
    return _text(value, MAX_IDENTIFIER)


def _text(value: object, limit: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - none of these is ever said
    return check_text(value, limit)


def _facets(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004
    for text in value.values():
        if not text or _text(text, MAX_FACET) is None:
            raise ValueError
    return check_facets(value)


def _state(value: object) -> str:
    if not isinstance(value, str) or value not in _STATES:
        raise ValueError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004
    return value


def _whole(value: object, most: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError
    return value


def _count(value: object) -> int:
    found = _whole(value, MAX_ENGAGEMENT)
    if found is None:
        raise ValueError
    return found


def _riding(value: object, check: Callable[[object], Riding]) -> dict[str, Riding] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004
    check_riding(value)
    return {name: check(said) for name, said in value.items()}
