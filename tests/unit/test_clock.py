"""`python -m local.clock` moves the clock of all that a command starts."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from headcount.times import MINUTE, parse_iso

from lab.harness.template import ROOT
from local import clock
from tests.support.missing import missing

AT = "2028-02-28T23:59:30Z"
PYTHON = "import time; print(time.time() * 1000)"
GRANDCHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {PYTHON!r}])"
NODE = "console.log(Date.now()); console.log(new Date().getTime()); console.log(Date.parse(Date()))"


def moved(*command: str) -> str:
    """A command's output on another day."""
    return subprocess.run(
        [sys.executable, "-m", "local.clock", "--at", AT, "--", *command],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", PYTHON),
        (sys.executable, "-c", GRANDCHILD),
        (sys.executable, "-m", "local.clock", "--days", "0", "--", sys.executable, "-c", PYTHON),
        ("node", "-e", NODE),
    ],
    ids=["Python", "a child of it", "moved again", "Node"],
)
def test_a_command_sees_the_requested_time(command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        missing(command[0], "install Node.js 20 or newer.")
    times = [float(line) for line in moved(*command).splitlines() if line[0].isdigit()]
    assert times
    assert [at for at in times if not 0 <= at - parse_iso(AT) < MINUTE] == []


def test_a_function_finds_its_own_packages() -> None:
    """time-machine would import some of the emulator's, in front of a layer's."""
    output = moved(
        sys.executable, "-c", "import sys; print({'dateutil', 'pytest'} & {*sys.modules})"
    )
    assert output.endswith("set()\n")


def test_an_unknown_command_is_reported() -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        moved("nothing-like-that")
    assert (raised.value.returncode, raised.value.stderr) == (
        127,
        "nothing-like-that: No such file or directory\n",
    )


def test_a_clock_that_was_not_moved_changes_no_process() -> None:
    assert clock.environment(0) == {}
