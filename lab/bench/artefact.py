"""The built artefact in fresh processes, started as on Lambda but with this machine's Python."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import distribution
from pathlib import Path

from lab.harness.template import template
from local.build import build, build_lock
from local.packing import DEPENDENCIES
from local.settings import BUILD_DIR, ROOT, Settings

NAIVE = Path(__file__).parent / "naive"
STUB = Path(__file__).parent / "stub_dynamodb.py"
OUR_LAYER = "HeadcountLayer"
ANSWERS = """
import os
answers = os.fdopen(os.dup(1), "w", 1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
"""
"""The first lines of a process that runs a handler: what the handler prints is its log and is
dropped; results are written to `answers`, the pipe to the parent process."""

_PACKAGES = (
    *("aws-lambda-powertools", "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer"),
    *("six", "urllib3", "pydantic", "pydantic-core", "annotated-types", "typing-extensions"),
    "typing-inspection",
)
"""What the plain handler imports, in the functions' versions."""


def built() -> Path:
    """Build as for a deployment, but for this machine's processor and Python."""

    async def make() -> None:
        async with build_lock():
            await build(Settings.from_environment())

    Settings.from_environment().home.mkdir(parents=True, exist_ok=True)
    asyncio.run(make())
    return BUILD_DIR


def without_bytecode(scratch: Path) -> Path:
    """The untrimmed public packages without bytecode, as `sam build` installs them."""
    target = scratch / "packages"
    for name in _PACKAGES:
        found = distribution(name)
        for path in found.files or []:
            if path.suffix != ".pyc" and ".." not in path.parts:
                copy = target / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found.locate_file(path), copy)
    return target


def environment(function: str, paths: list[Path], **more: str) -> dict[str, str]:
    """A function's environment from the template, with Lambda's own variables."""
    return {
        **template().environment(function),
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",  # /opt is read-only
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        **more,
    }


def layers(artefact: Path) -> list[Path]:
    """The folders that Lambda adds to Python's path."""
    return [artefact / OUR_LAYER / "python", artefact / DEPENDENCIES / "python"]


def folder_of(function: str) -> str:
    """The folder of a function in the artefact, named as in the template."""
    words = "".join(word.capitalize() for word in function.split("_"))
    return f"{words}Function"


def stub_dynamodb() -> AbstractContextManager[str]:
    """A server in a separate process that accepts every write; yields its address."""
    return stub(STUB)


@contextmanager
def stub(program: Path) -> Iterator[str]:
    """A server in a separate process that prints its address first, which is yielded."""
    child = subprocess.Popen(
        [sys.executable, "-m", f"lab.bench.{program.stem}"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert child.stdout is not None
        yield child.stdout.readline().strip()
    finally:
        child.terminate()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
