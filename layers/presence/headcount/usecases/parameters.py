"""Parameters of reads: pages of sessions, times and days."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence

from headcount.errors import InvalidRequestError
from headcount.model.beat import MAX_IDENTIFIER
from headcount.model.session import Session
from headcount.store.presence import PresenceTable
from headcount.times import day_start, parse_day, parse_iso

MAX_VIEWERS = 100
MAX_SHARDS = 100
# Outside of these, adding days leaves the calendar.
FIRST_DAY, LAST_DAY = day_start("2000-01-01"), day_start("3000-01-01")

Position = tuple[int, str | None]
"""A shard, and the session after which to continue; None: before its first."""


def page_size(text: str | None, *, default: int = 50, most: int = MAX_VIEWERS) -> int:
    """``limit`` as a number of rows. Raises InvalidRequestError."""
    return whole_number("limit", text, default=default, most=most)


def whole_number(name: str, text: str | None, *, default: int, most: int) -> int:
    """A query parameter as a number from 1 on. Raises InvalidRequestError."""
    if text is None:
        return default
    short = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not short or int(text) not in range(1, most + 1):
        raise InvalidRequestError(f"'{name}' must be a whole number from 1 to {most}.")
    return int(text)


def flag(name: str, text: str | None) -> bool:
    """A query parameter that is true or false, by default false. Raises InvalidRequestError."""
    if text not in {None, "true", "false"}:
        raise InvalidRequestError(f"'{name}' must be true or false.")
    return text == "true"


def one_of(name: str, text: str | None, values: Sequence[str]) -> str | None:
    """A query parameter that is one of these words, or None. Raises InvalidRequestError."""
    if text is None or text in values:
        return text
    raise InvalidRequestError(f"{name!r} must be one of {', '.join(values)}.")


WRONG_CURSOR = "The cursor is not valid. Send the last page's 'cursor', or none for the first page."


def cursor_at(shard: int, after: str | None) -> str:
    """The cursor that continues after a session of a shard (None: before its first)."""
    return base64.urlsafe_b64encode(json.dumps([shard, after]).encode()).decode().rstrip("=")


def parse_cursor(cursor: str | None) -> Position:
    """The shard and the session after which a cursor continues. Raises InvalidRequestError."""
    if cursor is None:
        return 0, None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        shard, after = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if type(shard) is int and shard in range(MAX_SHARDS) and _is_session_id(after):
            return shard, after
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise InvalidRequestError(WRONG_CURSOR)


def _is_session_id(after: object) -> bool:
    if after is None:
        return True
    return isinstance(after, str) and 0 < len(after.encode()) <= MAX_IDENTIFIER


def read_page(
    presence: PresenceTable,
    space: str,
    shards: Sequence[int],
    size: int,
    position: Position,
    *,
    wanted: Callable[[Session], bool] = lambda _: True,
) -> tuple[list[Session], str | None]:
    """Up to ``size`` wanted rows of these shards after a position, and the next page's cursor;
    None: that was all."""
    first, after = position
    if first not in shards:
        after = None
    found: list[Session] = []
    for shard in [one for one in shards if one >= first]:
        while len(found) < size:
            rows, after = presence.page(space, shard, limit=size - len(found), after=after)
            found += filter(wanted, rows)
            if after is None:
                break
        if after is not None or (len(found) >= size and shard != shards[-1]):
            return found, cursor_at(shard if after else shard + 1, after)
    return found, None


def times_in(since: str | None, until: str | None, *, now: int, default: int) -> tuple[int, int]:
    """``from`` and ``to`` as epoch milliseconds, by default the last ``default`` ones. Raises
    InvalidRequestError."""
    end = time_in("to", until, now)
    start = time_in("from", since, end - default)
    if start > end:
        raise InvalidRequestError("'from' must not be later than 'to'.")
    return start, end


def time_in(name: str, text: str | None, default: int) -> int:
    """A query parameter as epoch milliseconds. Raises InvalidRequestError."""
    if text is None:
        return default
    try:
        time = parse_iso(text)
    except ValueError:
        time = -1
    if not FIRST_DAY <= time < LAST_DAY:
        raise InvalidRequestError(
            f"'{name}' must be a time in ISO 8601 from 2000 to 2999, for example "
            "2026-11-21T09:30:00Z."
        )
    return time


def day_in(name: str, text: str | None, default: str) -> str:
    """A query parameter as a UTC day. Raises InvalidRequestError."""
    if text is None:
        return default
    try:
        day = parse_day(text)
    except ValueError:
        day = ""
    if not day or not FIRST_DAY <= day_start(day) < LAST_DAY:
        raise InvalidRequestError(
            f"'{name}' must be a day from 2000 to 2999, for example 2026-11-21."
        )
    return day
