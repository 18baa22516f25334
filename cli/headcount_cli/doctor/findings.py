"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The result of a check. ``unknown``: it could not run. Only ``fail`` makes the exit code 1."""

    OK = "ok"
    INFO = "info"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """A result and its fix. ``check`` names what was checked, ``subject`` on which resource; both
    are empty until the caller of the check adds them."""

    status: Status
    message: str
    fix: str = ""
    check: str = ""
    subject: str = ""

    def about(self, check: str = "", subject: str = "") -> Finding:
        """With these, unless it has its own."""
        return replace(self, check=self.check or check, subject=self.subject or subject)

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "check": self.check,
            "subject": self.subject,
            "status": self.status,
            "message": self.message,
            "fix": self.fix,
        }


def ok(message: str) -> Finding:
    """As expected."""
    return Finding(Status.OK, message)


def info(message: str, fix: str = "") -> Finding:
    """Worth knowing."""
    return Finding(Status.INFO, message, fix)


def unknown(message: str, fix: str = "") -> Finding:
    """The check could not run."""
    return Finding(Status.UNKNOWN, message, fix)


def warn(message: str, fix: str) -> Finding:
    """It works, but not as expected."""
    return Finding(Status.WARN, message, fix)


def fail(message: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(Status.FAIL, message, fix)
