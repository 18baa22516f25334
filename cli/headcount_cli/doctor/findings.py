"""What the doctor finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How it is. ``unknown``: it could not be looked at; only ``fail`` makes a stack ill."""

    OK = "ok"
    INFO = "info"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at (``check``), of what (``subject``), how it is, and how to mend it."""

    check: str
    subject: str
    status: Status
    said: str
    mend: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Said:
    """What a check says; which check it is, and of what, is added by who calls it."""

    status: Status
    words: str
    mend: str = ""


def ok(words: str) -> Said:
    """As it should be."""
    return Said(Status.OK, words)


def info(words: str, mend: str = "") -> Said:
    """Worth knowing."""
    return Said(Status.INFO, words, mend)


def unknown(words: str, mend: str = "") -> Said:
    """It could not be looked at."""
    return Said(Status.UNKNOWN, words, mend)


def warn(words: str, mend: str) -> Said:
    """Not as it should be, and it works all the same."""
    return Said(Status.WARN, words, mend)


def fail(words: str, mend: str) -> Said:
    """It does not work."""
    return Said(Status.FAIL, words, mend)
