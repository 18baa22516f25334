"""Standard streams that are closed, or that can't show every character."""

from __future__ import annotations

import codecs
import io
import os
import sys

ESCAPE = "headcount.escape"
"""An error handler: characters that an encoding lacks become signs like them, or escapes."""
_ALIKE = dict(zip("▁▂▃▄▅▆▇█✓✗·…", "_.:-=+*#+x-.", strict=True))


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ALIKE.get(one, f"\\u{ord(one):04x}") for one in lacking), error.end


codecs.register_error(ESCAPE, _escape)


def prepare() -> None:
    """Make the standard streams usable: closed ones too, and with any encoding."""
    # Python has None for a closed stream. In this order, each stand-in gets its stream's number,
    # so that no file or socket that is opened later is taken for the stream.
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:  # as a file that is not open for writing: a write fails
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPE)


def finish() -> None:
    """Drop output that can't be written: Python would try again when it ends, and complain."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def is_unicode() -> bool:
    """Whether standard output is in UTF-8."""
    return codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"


def shown(text: str) -> str:
    """Text as standard output's encoding shows it."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, ESCAPE).decode(encoding)
