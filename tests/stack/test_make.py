"""Targets of `make` that use the running stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Playwright

from lab.harness.clients import Api, eventually
from lab.harness.template import ROOT
from tests.stack.conftest import Stack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.exhaustive,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is missing: install it"),
]

PNG = b"\x89PNG"


@pytest.fixture
def terminal(stack: Stack) -> dict[str, Any]:
    """How to run a command beside the running stack."""
    return {
        "cwd": ROOT,
        "env": {
            **{name: text for name, text in os.environ.items() if name != "ARGS"},
            "HEADCOUNT_LOCAL_DIR": str(stack.settings.home),
            "PYTHON": sys.executable,
        },
        "capture_output": True,
        "text": True,
        "timeout": 300,
    }


def done(process: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must succeed."""
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    return process.stdout


def test_make_load_beats_on_the_stack_and_leaves_no_sessions(
    api: Api, terminal: dict[str, Any]
) -> None:
    small = "ARGS=--sessions 50 --seconds 3 --stack-sessions 5"
    output = done(subprocess.run(["make", "load", small], check=False, **terminal))
    assert "in process: 50 sessions held, 50 counted" in output
    assert "on the stack: 5 sessions held, 5 counted" in output

    def left() -> list[str]:
        live = [one["space"] for one in api.get("/v1/spaces").body["spaces"]]
        return [space for space in live if space.startswith("site:load-")]

    eventually(lambda: left() == [], 30)


@pytest.mark.browser
def test_make_picture_saves_a_screenshot_of_the_dashboard(
    api: Api, space: str, terminal: dict[str, Any], playwright: Playwright, tmp_path: Path
) -> None:
    api.beat(space, "tab-1")
    eventually(lambda: api.headcount(space)["people"] == 1, 10)
    one = f"ARGS=--target {tmp_path} --only dashboard-spaces"
    output = done(subprocess.run(["make", "picture", one], check=False, **terminal))
    (kept,) = re.findall(r"saved (.*)", output)
    assert Path(kept) == tmp_path / "dashboard-spaces.png"
    assert Path(kept).read_bytes().startswith(PNG)


def test_make_deploy_local_updates_the_stack_and_keeps_its_sessions(
    stack: Stack, api: Api, spaces: Callable[[str], str], terminal: dict[str, Any]
) -> None:
    space = spaces("deployed")
    api.beat(space, "tab-1", state="hidden")  # for three minutes
    eventually(lambda: api.headcount(space)["people"] == 1, 10)
    output = done(subprocess.run(["make", "deploy-local"], check=False, **terminal))
    assert f"deployed onto {stack.outputs['origin']}" in output
    eventually(lambda: api.headcount(space)["people"] == 1, 30)
    api.beat(space, "tab-2", visitorId="v2")
    eventually(lambda: api.headcount(space)["people"] == 2, 30)
