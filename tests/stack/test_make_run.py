"""`make run` itself: plain words about ports, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.outputs import read_outputs
from local.ports import free_port
from local.settings import ROOT, Settings
from tests.stack.clients import eventually
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
    """`make run` in a process group of its own, as a terminal gives it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings, self.log = settings, log
        settings.home.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "run", f"PORT={settings.port}", f"GATEWAY_PORT={settings.gateway_port}"],
                cwd=ROOT,
                env={**os.environ, "HEADCOUNT_LOCAL_DIR": str(settings.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        """All it said so far."""
        return self.log.read_text(errors="replace")


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    """Ports and a folder of its own."""
    return Settings(free_port(), free_port(), tmp_path / "state")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[MakeRun]]:
    """Whatever is put here does not outlive its test."""
    runs: list[MakeRun] = []
    yield runs
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()


def test_a_taken_port_is_named_with_a_way_out(
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
        assert f"Port {port} is taken" in run.said()
        assert f"make run {name}=" in run.said()
        assert "Traceback" not in run.said()
    assert not fresh.outputs_file.exists()


def test_a_second_run_of_the_same_stack_says_so(
    stack: Stack, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(stack.settings, tmp_path / "log")
    runs.append(run)

    assert run.process.wait(30) != 0
    assert "running already" in run.said()
    assert stack.outputs["origin"] in run.said()
    assert stack.settings.outputs_file.exists()  # the first one's, untouched


def test_ctrl_c_ends_all_that_make_run_started(
    stack: Stack, fresh: Settings, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(fresh, tmp_path / "log")
    runs.append(run)
    outputs = eventually(
        lambda: read_outputs(fresh) or run.process.poll() is not None, 120, last=run.said
    )
    assert isinstance(outputs, dict), run.said()
    assert set(outputs) >= KEYS

    os.killpg(run.process.pid, signal.SIGINT)

    run.process.wait(40)
    assert_gone(fresh)
    assert "Traceback" not in run.said()


def test_sigterm_ends_it_also_while_it_starts(
    stack: Stack, fresh: Settings, tmp_path: Path, runs: list[MakeRun]
) -> None:
    run = MakeRun(fresh, tmp_path / "log")
    runs.append(run)
    eventually(lambda: "emulator started" in run.said(), 60, last=run.said)

    run.process.terminate()  # make alone, as a service manager would

    run.process.wait(40)
    assert_gone(fresh)
    assert "Traceback" not in run.said()
