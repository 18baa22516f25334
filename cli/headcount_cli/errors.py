"""What a command says when it can't do what it was asked for."""

from __future__ import annotations

from typing import ClassVar


class CommandError(Exception):
    """Something the operator can mend; its message says what and how. The exit code is 1."""

    code: ClassVar[int] = 1


class WrongCommandError(CommandError):
    """The command line asks for what can't be: a day that is none, a space without a kind."""

    code = 2
