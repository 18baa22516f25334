"""The messages of a client, beats and leaves, and the limits that keep a row under 1 KB. Pure.

An id that is wrong or too long is refused. What is only shown (name, avatar, page, facets, details)
never decides who is counted: it is cut or left out where it does not fit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

MAX_BEAT_FACETS = 8
"""Without those of ``SOURCES``."""
MAX_TELEMETRY = 8
"""Names in each of quality, engagement and details."""
MAX_IDENTIFIER = 128
"""Bytes of a session, visitor or user id."""
MAX_NAME, MAX_AVATAR, MAX_PAGE, MAX_FACET = 100, 300, 300, 64
MAX_DETAIL = 200
MAX_TOTAL_BYTES = 600
"""The total of a beat's texts and the space's id, where a number of its telemetry counts as 10:
with attribute names, numbers and nine days of beats the row stays within one write unit (1 KB)."""
MAX_SEQ = 2**53
MAX_ENGAGEMENT = 2**31
MAX_EXACT = 2**53
"""JavaScript's numbers are exact up to this one."""

OWN_PREFIX = "~"
"""The beginning of session and visitor ids that an adapter derives from a person. Clients may not
send such ids: they could impersonate someone, or find out whether someone is there."""

ENTRY = "entry"
SOURCES = frozenset(
    {
        *("referrer", "utm_source", "utm_medium", "utm_campaign", ENTRY, "visitor"),
        *("browser", "os", "language"),
    }
)
"""Facets that the client fills by itself, or that follow from the request's headers."""

KEY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""The name of a facet, or of a value in telemetry."""

_CONNECTION = "c"
_NUMBER_BYTES = 10
_TAB_KEY_BYTES = 3
_DECIMALS = 6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPES = re.compile("(?:%[0-9A-Fa-f]{2})+")
_ESCAPED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff;/?:@&=+$,#]")
"""Characters of a page that stay escaped: those that would then mean something else, or nothing.
(A byte that is no UTF-8 is decoded to half of a surrogate pair.)"""
_SHORT_PAGE = 64
_STATES = frozenset({"active", "hidden"})
_FIELDS = frozenset(
    {
        *("sessionId", "visitorId", "userId", "name", "avatar", "page", "facets", "state", "seq"),
        *("quality", "engagement", "details", "changed", "robot"),
    }
)

Value = TypeVar("Value")


class Tab(Struct, frozen=True):
    """The tab that sends a message, where several tabs may share a session, and the message's place
    in that tab's order."""

    id: str = ""
    """Empty: the session's only tab."""
    seq: int | None = None

    @property
    def key(self) -> str:
        """Its short key in the session's row."""
        return hashlib.blake2b(self.id.encode(), digest_size=_TAB_KEY_BYTES).hexdigest()


class Leave(Struct, frozen=True):
    """A session's last message: its visit ends."""

    session_id: str
    seq: int | None = None
    may_return: bool = False
    """Only a page has closed: the tab may be back, on the next page."""


class Beat(Struct, frozen=True):
    """A session's repeated message: it is still here, with these facts and telemetry."""

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
    """The client's hint that its facts changed: it saves a write, and decides nothing."""
    robot: bool = False
    """The client says that its browser is automated."""


def plain_leave(body: object) -> Leave | None:
    """The leave in a JSON body; None if it needs the full check, which explains what is wrong."""
    if not isinstance(body, dict) or not body.keys() <= {"sessionId", "seq", "mayReturn"}:
        return None
    try:
        return Leave(
            _session(body.get("sessionId")),
            _whole(body.get("seq"), MAX_SEQ),
            _flag(body.get("mayReturn", False)),
        )
    except ValueError:
        return None


def plain_beat(body: object) -> Beat | None:
    """The beat in a JSON body; None if it needs the full check, which explains what is wrong."""
    if not isinstance(body, dict) or not body.keys() <= _FIELDS:
        return None
    get = body.get
    try:
        return Beat(
            session_id=_session(get("sessionId")),
            visitor_id=_visitor(get("visitorId")),
            user_id=_identifier(get("userId")),
            name=_shown(get("name"), MAX_NAME),
            avatar=_made(get("avatar"), shown_avatar),
            page=_made(get("page"), shown_page),
            facets=_facets(get("facets", {})),
            state=_state(get("state", "active")),
            seq=_whole(get("seq"), MAX_SEQ),
            quality=_telemetry(get("quality"), check_number),
            engagement=_telemetry(get("engagement"), _count),
            details=_details(get("details")),
            changed=_flag(get("changed", False)),
            robot=_flag(get("robot", False)),
        )
    except ValueError:
        return None


def fitted(beat: Beat, space: str, connection: str = "") -> Beat:
    """The beat, with less of what is only shown if its row would not fit one write unit otherwise.

    ``space`` and ``connection``, the id of the WebSocket that sends it, are part of the row.
    """
    if _size(beat, space, connection) <= MAX_TOTAL_BYTES:
        return beat
    for smaller in _smaller(beat):
        beat = smaller
        if _size(beat, space, connection) <= MAX_TOTAL_BYTES:
            break
    return beat


def _smaller(beat: Beat) -> Iterator[Beat]:
    """The beat with less and less of what is only shown, in the order in which it is missed least;
    at last only who it is."""
    for name in sorted(SOURCES & beat.facets.keys(), key=lambda name: -len(beat.facets[name])):
        yield (beat := replace(beat, facets=_without(beat.facets, name)))
    yield (beat := replace(beat, avatar=None))
    if beat.details:
        numbers = {name: value for name, value in beat.details.items() if type(value) is not str}
        yield (beat := replace(beat, details=numbers))
    while beat.facets:
        longest = max(beat.facets, key=lambda name: len(name) + len(beat.facets[name]))
        if beat.page and len(beat.page) > max(_SHORT_PAGE, len(beat.facets[longest])):
            yield (beat := replace(beat, page=shown(beat.page, len(beat.page.encode()) // 2)))
        else:
            yield (beat := replace(beat, facets=_without(beat.facets, longest)))
    while beat.page:
        yield (beat := replace(beat, page=shown(beat.page, len(beat.page.encode()) // 2)))
    yield (beat := replace(beat, page=None, name=None))
    yield replace(beat, quality=None, engagement=None, details=None)


def _without(facets: Mapping[str, str], name: str) -> dict[str, str]:
    return {other: text for other, text in facets.items() if other != name}


def _size(beat: Beat, space: str, connection: str) -> int:
    texts: list[object] = [space, beat.session_id, beat.visitor_id, beat.user_id, beat.name]
    texts += (beat.avatar, beat.page, *beat.facets, *beat.facets.values())
    for values in (beat.quality, beat.engagement, beat.details):
        if values:
            texts += (*values, *values.values())
    if connection:
        texts += (_CONNECTION, connection)
    total = max(0, len(beat.facets) - MAX_BEAT_FACETS)  # a byte that joins a name and its value
    for text in texts:  # a loop: it is on every beat's way
        if isinstance(text, str):
            total += len(text) if text.isascii() else len(text.encode())
        elif text is not None:
            total += _NUMBER_BYTES
    return total


# ------------------------------------------------------------------------ what is only shown


def shown(text: str, limit: int) -> str:
    """As much of a text as is stored: without control characters, and cut after the last whole
    character within ``limit`` bytes."""
    if _CONTROL.search(text):
        text = " ".join(_CONTROL.sub(" ", text).split())
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")


def shown_avatar(address: str) -> str | None:
    """An avatar's address; None if it does not fit, because a part of one shows nothing."""
    return address if shown(address, MAX_AVATAR) == address else None


def shown_page(path: str) -> str:
    """A page as people read it, however it was escaped: ``/caf%C3%A9`` is ``/café``."""
    return shown(_ESCAPES.sub(_unescaped, path) if "%" in path else path, MAX_PAGE)


def _unescaped(escapes: re.Match[str]) -> str:
    text = bytes.fromhex(escapes[0].replace("%", "")).decode(errors="surrogateescape")
    return _ESCAPED.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    data = character[0].encode(errors="surrogateescape")
    return "".join(f"%{byte:02X}" for byte in data)


# ---------------------------------- checks: the value, or ValueError with the rest of a sentence


def check_text(value: str, limit: int) -> str:
    """A text of at most ``limit`` bytes, without control characters."""
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    if len(value.encode()) > limit:
        raise ValueError(f"must be at most {limit} bytes, it is {len(value.encode())}")
    return value


def check_facets(value: dict[str, str]) -> dict[str, str]:
    """The facets that are stored: the first that have a value, as much of it as fits. They are
    checked for their names."""
    facets: dict[str, str] = {}
    for name, text in value.items():
        _check_name(name)
        if name == "page":
            raise ValueError("must not name 'page': send it as the field 'page'")
        kept = shown(shown_page(text) if name == ENTRY else text, MAX_FACET)
        if kept and (name in SOURCES or len(facets.keys() - SOURCES) < MAX_BEAT_FACETS):
            facets[name] = kept
    return facets


def check_details(value: Mapping[str, Any]) -> dict[str, Any]:
    """The details that are stored: the first that show something. They are checked for their
    names."""
    for name in value:
        _check_name(name)
    return dict([pair for pair in value.items() if pair[1] != ""][:MAX_TELEMETRY])


def check_telemetry(value: Mapping[str, object]) -> Mapping[str, object]:
    """A part of a beat's telemetry, checked for the number of its values and their names."""
    if len(value) > MAX_TELEMETRY:
        raise ValueError(f"must hold at most {MAX_TELEMETRY} names, it holds {len(value)}")
    for name in value:
        _check_name(name)
    return value


def _check_name(name: str) -> None:
    if not KEY_NAME.fullmatch(name):
        raise ValueError(
            "has a name that is not valid: a letter, then up to 31 letters, digits, '_' or '-'"
        )


def check_number(value: object) -> int | float:
    """A number that both JavaScript and DynamoDB can store."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - parts of sentences, not types
    if not -MAX_EXACT <= value <= MAX_EXACT:
        raise ValueError("must be a number between -2^53 and 2^53")
    # DynamoDB refuses numbers that are too close to 0.
    return round(value, _DECIMALS) if isinstance(value, float) else value


def check_detail(value: object) -> str | int | float:
    """A text or a number that is shown with a session."""
    return shown(value, MAX_DETAIL) if isinstance(value, str) else check_number(value)


def check_not_ours(value: str) -> str:
    """A session or visitor id that cannot be one of an adapter's."""
    if value.startswith(OWN_PREFIX):
        raise ValueError(f"must not begin with '{OWN_PREFIX}': such ids are Headcount's own")
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
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError  # without a text: the full check has one
    return check_text(value, MAX_IDENTIFIER)


def _shown(value: object, limit: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004
    return shown(value, limit)


def _made(value: object, make: Callable[[str], str | None]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004
    return make(value)


def _facets(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004
    if not all(isinstance(text, str) for text in value.values()):
        raise ValueError
    return check_facets(value)


def _details(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004
    return check_details({name: check_detail(one) for name, one in value.items()})


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


def _telemetry(value: object, check: Callable[[object], Value]) -> dict[str, Value] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004
    check_telemetry(value)
    return {name: check(one) for name, one in value.items()}
