"""npm packages that the lab and the tests need, each installed once below .local/."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKED = ("package.json", "package-lock.json")
TIMEOUT = 300.0  # seconds of one command


class UnavailableError(RuntimeError):
    """It is not available here; the message says what to install."""


def install(sources: Path, home: Path, *, oldest_node: int) -> Path:
    """Install what the lock in ``sources`` names into ``home``, again when the lock changes."""
    for tool, package in (("node", "nodejs"), ("npm", "npm")):
        if not shutil.which(tool):
            raise UnavailableError(f"There is no {tool}: install {package}.")
    version = run("node", "--version", cwd=sources).strip().removeprefix("v")
    if int(version.split(".")[0]) < oldest_node:
        raise UnavailableError(f"Node {version} is too old: install {oldest_node} or newer.")
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        stamp = home / "headcount.stamp"
        locked = hashlib.sha256(b"".join((sources / name).read_bytes() for name in LOCKED))
        if not stamp.is_file() or stamp.read_text() != locked.hexdigest():
            stamp.unlink(missing_ok=True)
            for name in LOCKED:
                shutil.copy(sources / name, home / name)
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=home)
            stamp.write_text(locked.hexdigest())
    return home


def unpack(package: str, home: Path, file: Path) -> Path:
    """Download a package, without what it depends on, into ``home`` unless ``file`` is there.

    Returns ``file``.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        if not file.is_file():
            with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
                run("npm", "pack", "--silent", package, cwd=Path(scratch))
                (archive,) = Path(scratch).glob("*.tgz")
                with tarfile.open(archive) as packed:
                    packed.extractall(scratch, filter="data")
                shutil.rmtree(home, ignore_errors=True)
                (Path(scratch) / "package").rename(home)
    return file


def run(*command: str, cwd: Path) -> str:
    """The output of a command; UnavailableError if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false"},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode:
        raise UnavailableError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time install into a folder."""
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
