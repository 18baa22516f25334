"""What a command says when it can't do what it was asked for."""


class CommandError(Exception):
    """Something the operator can mend; its message says what and how. The exit code is 1."""
