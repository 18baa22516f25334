"""`make run` itself: clear errors about ports, and no process left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.harness.clients import Api, eventually
from local.outputs import read_outputs
from local.ports import free_port
from local.settings import ROOT, Settings
from tests.stack.conftest import Stack, assert_gone

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is missing: install it"),
]

KEYS = {
    *("origin", "httpUrl", "webSocketUrl", "dashboardUrl", "adminToken", "region"),
    *("awsEndpointUrl", "tables", "ready"),
}


class MakeRun:
    """`make run` in its own process group, as a terminal starts it."""

    def __init__(self, settings: Settings, log: Path, *words: str) -> None:
        self.settings, self.log = settings, log
        settings.home.mkdir(parents=True, exist_ok=True)
        ports = [f"PORT={settings.port}", f"GATEWAY_PORT={settings.gateway_port}"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "run", *ports, *words],
                cwd=ROOT,
                env={**os.environ, "HEADCOUNT_LOCAL_DIR": str(settings.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def output(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    """Separate ports and a separate folder."""
    return Settings(free_port(), free_port(), tmp_path / "state")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[MakeRun]]:
    """Processes that are put here end with the test."""
    runs: list[MakeRun] = []
    yield runs
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()


def test_a_taken_port_is_named_with_the_fix(
    stack: Stack, fresh: Settings, tmp_path: Path, runs: list[MakeRun]
) -> None:
    taken = stack.settings
    for settings, name, port in [
        (Settings(taken.port, fresh.gateway_port, fresh.home), "PORT", taken.port),
        (Settings(fresh.port, taken.gateway_port, fresh.home), "GATEWAY_PORT", taken.gateway_port),
    ]:
        run = MakeRun(settings, tmp_path / "log")
        runs.append(run)

        assert run.process.wait(30) != 0
        assert f"Port {port} is taken" in run.output()
        assert f"make run {name}=" in run.output()
        assert "Traceback" not in run.output()
    assert not fresh.outputs_file.exists()


def test_a_second_run_of_the_same_stack_says_so(
    stack: Stack, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(stack.settings, tmp_path / "log")
    runs.append(run)

    assert run.process.wait(30) != 0
    assert "already running" in run.output()
    assert stack.outputs["origin"] in run.output()
    assert stack.settings.outputs_file.exists()  # the first one's, untouched


def test_kinds_that_are_not_valid_end_it_before_it_starts(
    fresh: Settings, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(fresh, tmp_path / "log", "KINDS=page Room")
    runs.append(run)
    assert run.process.wait(60) != 0
    assert "KINDS can't be used: 'Room' is not a kind" in run.output()
    assert "make run KINDS='page:counts=public room:lease=60'" in run.output()
    assert "emulator" not in run.output()


def test_kinds_can_be_declared_and_ctrl_c_ends_all_that_make_run_started(
    stack: Stack, fresh: Settings, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(fresh, tmp_path / "log", "KINDS=page:counts=public room:lease=77")
    runs.append(run)
    outputs = eventually(
        lambda: read_outputs(fresh) or run.process.poll() is not None, 120, last=run.output
    )
    assert isinstance(outputs, dict), run.output()
    assert set(outputs) >= KEYS
    with Api(stack.loop, outputs["origin"], outputs["adminToken"]) as api:
        for space, lease in (("page:1", 60), ("room:1", 77), ("link:1", 300)):
            assert api.beat(space, "s1")["leaseSeconds"] == lease

    os.killpg(run.process.pid, signal.SIGINT)

    run.process.wait(40)
    assert_gone(fresh)
    assert "Traceback" not in run.output()


def test_sigterm_ends_it_also_while_it_starts(
    stack: Stack, fresh: Settings, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(fresh, tmp_path / "log")
    runs.append(run)
    eventually(lambda: "emulator started" in run.output(), 60, last=run.output)

    run.process.terminate()  # only make itself, as a service manager would

    run.process.wait(40)
    assert_gone(fresh)
    assert "Traceback" not in run.output()
