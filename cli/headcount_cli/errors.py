"""Errors that end a command with a message."""

from __future__ import annotations

from typing import ClassVar


class CommandError(Exception):
    """Something the operator can fix; the message says what is wrong and how. Exit code 1."""

    code: ClassVar[int] = 1


class WrongCommandError(CommandError):
    """An invalid value on the command line, such as a malformed day. Exit code 2."""

    code = 2


class RefusedError(CommandError):
    """The server refuses this to the token, or without one."""


def unwritable(error: OSError) -> str:
    """Why standard output could not be written."""
    return f"The output could not be written: {error.strerror or error}."


def sentence(text: str) -> str:
    """Text from elsewhere as one sentence: it ends with exactly one full stop."""
    text = text.strip()
    return text if not text or text.endswith(("?", "!")) else f"{text.rstrip('. ')}."
