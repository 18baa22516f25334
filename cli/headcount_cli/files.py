"""Writes the file that a command is given, as a shell's `>` would."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

from headcount_cli.errors import CommandError

STDOUT = "-"
"""The file name that means standard output."""
_KEPT_IN_PLACE = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS}
"""Reasons not to replace a file that may still be writable, such as a folder without the right."""


def save(content: bytes, output: str) -> None:
    """Write a file. Links are followed; the file's mode, owner and other names stay.

    A plain file is written completely or not at all. Anything else, such as a device or a pipe, is
    written through and never replaced. CommandError if it can't be written.
    """
    try:
        existing = _status(output)
        if existing is None:
            _replace(Path(os.path.realpath(output)), content, None)
        elif _is_stdout(existing):  # /dev/stdout: opening it again would cut off what is there
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        elif not stat.S_ISREG(existing.st_mode) or existing.st_nlink > 1:
            _write_through(output, content)
        else:
            _replace_or_write_through(output, content, existing)
    except OSError as error:
        raise CommandError(
            f"{output} can't be written: {error.strerror}. Choose another place with -o."
        ) from None


def _status(output: str) -> os.stat_result | None:
    """What is at a path, links followed; None if nothing is."""
    try:
        return os.stat(output)  # noqa: PTH116 - Path() would turn "" into the current folder
    except FileNotFoundError:
        return None


def _is_stdout(existing: os.stat_result) -> bool:
    try:
        return os.path.samestat(existing, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # not open, or not a file of the system
        return False


def _replace_or_write_through(output: str, content: bytes, existing: os.stat_result) -> None:
    try:
        _replace(Path(os.path.realpath(output)), content, existing)
    except OSError as error:
        if error.errno not in _KEPT_IN_PLACE:
            raise
        _write_through(output, content)


def _replace(file: Path, content: bytes, existing: os.stat_result | None) -> None:
    """Write a new file beside it, with the mode and the owner of the existing one, and rename."""
    part = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as new:
            new.write(content)
        if existing is not None:
            shutil.copystat(file, part)  # access lists too
            os.utime(part)
            if (existing.st_uid, existing.st_gid) != (part.stat().st_uid, part.stat().st_gid):
                os.chown(part, existing.st_uid, existing.st_gid)
                part.chmod(stat.S_IMODE(existing.st_mode))  # chown drops the set-id bits
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _write_through(output: str, content: bytes) -> None:
    # Without O_CREAT, which Linux refuses for other users' pipes in /tmp.
    with open(os.open(output, os.O_WRONLY | os.O_TRUNC), "wb") as file:  # noqa: PTH123
        file.write(content)
