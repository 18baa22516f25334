"""Parses times as people type them. `now` is passed in, with a time zone; days are in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import typer

from headcount_cli.errors import WrongCommandError
from headcount_cli.tokens import HOUR

_UNITS = {"s": 1, "m": 60, "h": HOUR, "d": 24 * HOUR}
_LONGEST = 10 * 365 * 24 * HOUR


def seconds(text: str) -> int:
    """``90``, ``90s``, ``15m``, ``12h`` or ``30d`` in seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if not match or not int(match[1]) or int(match[1]) * _UNITS[match[2] or "s"] > _LONGEST:
        raise typer.BadParameter(f"{text!r} is not a duration: write it like 90s, 15m, 12h or 30d")
    return int(match[1]) * _UNITS[match[2] or "s"]


def moment(option: str, text: str, now: datetime) -> datetime:
    """A time such as ``2026-11-21T12:00:00Z``, a day (its start), or how long ago: ``6h``."""
    try:
        found = _ago(text, now) or datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongCommandError(
            f"{option} {text!r} is not a time: write it like 2026-11-21T12:00:00Z, or like 6h for "
            "six hours ago."
        ) from None


def day(option: str, text: str, now: datetime) -> date:
    """A day such as ``2026-11-21``, or how long ago, such as ``7d``."""
    try:
        ago = _ago(text, now)
        return ago.astimezone(UTC).date() if ago else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise WrongCommandError(
            f"{option} {text!r} is not a day: write it like 2026-11-21, or like 7d for a week ago."
        ) from None


def is_ago(text: str) -> bool:
    """Whether it is a duration ago, such as ``6h``."""
    return bool(re.fullmatch(r"[0-9]+[smhd]", text))


def _ago(text: str, now: datetime) -> datetime | None:
    return now - timedelta(seconds=seconds(text)) if is_ago(text) else None


def iso(at: datetime) -> str:
    """In the API's format."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
