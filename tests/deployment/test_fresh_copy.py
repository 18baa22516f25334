"""The README's deployment, word for word in a fresh copy; every question is answered with Enter.

`AWS_ENDPOINT_URL` alone sets the emulator as AWS: SAM CLI and the template are unchanged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import boto3
import jwt
import msgspec
import pytest
from headcount_cli.target import Stack

from lab.harness.clients import Api, Loop, eventually
from lab.harness.template import ROOT
from local.build import AWS_RUNTIME, find_python
from local.emulator import emulator
from local.ports import free_port
from local.settings import EMULATOR_PYTHON, Settings, aws_environment
from tests.docs.readme import deployment
from tests.stack.processes import processes_of
from tests.support.missing import missing

pytestmark = [pytest.mark.stack, pytest.mark.exhaustive]

LIMIT = 600
"""Seconds that a command may take: the build downloads the functions' dependencies."""
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".local", ".aws-sam", ".*_cache", ".hypothesis"),
    *("built", "node_modules", "__pycache__"),
)
"""Paths that a clone does not have."""
MAKES_OWN = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "HEADCOUNT_LOCAL_DIR"}
SPACE = "site:main"


@dataclass
class Newcomer:
    """A new user in a fresh copy, with a terminal."""

    folder: Path
    settings: Settings

    def type(self, command: str) -> str:
        """The output of a command that must succeed; Enter answers every question."""
        kept = {n: v for n, v in aws_environment(self.settings).items() if n not in MAKES_OWN}
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=self.folder,
            env={**kept, "SAM_CLI_TELEMETRY": "0", "SAM_CLI_POLL_DELAY": "0.2", "TERM": "dumb"},
            input="\n" * 200,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{output[-4000:]}"
        return output

    def adapt_build(self) -> None:
        """Add compiled modules of this machine: the build has those of Lambda's processor and
        Python, but the emulator runs functions with this machine's."""
        packages = Path(msgspec.__file__).parents[1]
        built = self.folder / ".aws-sam" / "build" / "DependenciesLayer" / "python"
        for module in packages.rglob("*.so"):
            copy = built / module.relative_to(packages)
            if copy.parent.is_dir():
                shutil.copy(module, copy)

    def stack(self) -> Stack:
        """The stack with the README's name, from CloudFormation."""
        with mock.patch.dict(os.environ, aws_environment(self.settings), clear=True):
            found = Stack("headcount", boto3.Session())
            assert found.described["StackStatus"] == "CREATE_COMPLETE"
            assert found.secret()
        return found


@contextmanager
def newcomer_in(folder: Path, home: Path) -> Iterator[Newcomer]:
    """A new user in a folder, and a separate emulator as their AWS, with its files in ``home``."""
    if not EMULATOR_PYTHON.exists():
        pytest.fail("The emulator is not installed: run `make test`, or `make stack` once.")
    settings = Settings(free_port(), free_port(), home)
    settings.home.mkdir()
    with Loop() as loop:
        running = emulator(settings)
        loop.run(running.__aenter__(), within=90)
        try:
            yield Newcomer(folder, settings)
        finally:
            loop.run(running.__aexit__(None, None, None))
    eventually(lambda: not processes_of(settings.home), 10)


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """Somebody with a fresh copy."""
    if find_python(AWS_RUNTIME) is None:
        missing(f"Python {AWS_RUNTIME} with pip", "`make build` says how to get one.")
    folder = tmp_path / "headcount"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    with newcomer_in(folder, tmp_path / "emulator") as newcomer:
        yield newcomer


def test_three_commands_and_enter_make_a_stack_that_counts(newcomer: Newcomer) -> None:
    build, deploy, token = deployment()
    newcomer.type(build)
    newcomer.adapt_build()
    output = newcomer.type(deploy)
    assert "Successfully created/updated stack - headcount" in output
    stack = newcomer.stack()
    printed = newcomer.type(token).split()[-1]
    claims = jwt.decode(printed, stack.secret(), algorithms=["HS256"])
    assert claims["headcount"] == "admin"
    # The next step in the stack's own outputs works, too.
    by_output = newcomer.type(stack.outputs["NextStep"]).split()[-1]
    assert jwt.decode(by_output, stack.secret(), algorithms=["HS256"])["headcount"] == "admin"
    origin = f"{newcomer.settings.execute_api_url}/{stack.outputs['HttpApiId']}/$default"
    with Loop() as loop, Api(loop, origin, printed) as api:
        assert api.beat(SPACE, "s1", page="/")["count"] == 1
        eventually(lambda: api.headcount(SPACE)["people"] == 1, 30)
        for path in ("/dashboard", "/headcount.js"):
            assert api.request("GET", path).status == 200
    assert "/headcount.js" in stack.outputs["Embed"]
