"""The built artefact, in fresh processes: as Lambda would start it, on this machine's Python."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

from local.build import build, build_lock
from local.packing import DEPENDENCIES
from local.settings import BUILD_DIR, Settings
from tests.support.template import template

NAIVE = Path(__file__).parent / "naive"
STUB = Path(__file__).parent / "stub_dynamodb.py"
OUR_LAYER = "HeadcountLayer"
_PACKAGES = (
    *("aws-lambda-powertools", "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer"),
    *("six", "urllib3", "pydantic", "pydantic-core", "annotated-types", "typing-extensions"),
    "typing-inspection",
)
"""What the comparisons import, in the versions that the functions have."""


def built() -> Path:
    """The artefact as it would be deployed, but for this machine's own processor and Python."""

    async def make() -> None:
        async with build_lock():
            await build(Settings.from_environment())

    Settings.from_environment().home.mkdir(parents=True, exist_ok=True)
    asyncio.run(make())
    return BUILD_DIR


def without_bytecode(scratch: Path) -> Path:
    """The public packages alone, whole, as `sam build` alone would leave them."""
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
    """A function's environment as the template has it, with Lambda's own variables."""
    return {
        **template().environment(function),
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",  # /opt can't be written to
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        **more,
    }


def layers(artefact: Path) -> list[Path]:
    """What Lambda puts on the path."""
    return [artefact / OUR_LAYER / "python", artefact / DEPENDENCIES / "python"]


@contextmanager
def stub_dynamodb() -> Iterator[str]:
    """A server that takes every write, in a process of its own; its address."""
    child = subprocess.Popen([sys.executable, STUB], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.stdout.readline().strip()
    finally:
        child.terminate()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
