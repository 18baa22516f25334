"""`headcount` as an operator runs it: as a command, on the running stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from lab.harness.clients import Api, eventually
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack

HEADCOUNT = str(Path(sys.executable).with_name("headcount"))


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """A terminal's environment, beside the running stack."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADCOUNT")}
    return {**kept, "HEADCOUNT_LOCAL_DIR": str(stack.settings.home), "NO_PROXY": "localhost"}


@pytest.fixture
def watching(environment: dict[str, str], space: str) -> Iterator[subprocess.Popen[str]]:
    """`headcount watch --json` of the test's own space."""
    process = subprocess.Popen(
        [HEADCOUNT, "watch", space, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_watch_shows_a_join_and_stops_on_ctrl_c(
    api: Api, space: str, watching: subprocess.Popen[str]
) -> None:
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())
    assert (first["space"], first["data"]["people"]) == (space, 0)
    api.beat(space, "tab-1", visitorId="v")
    second = json.loads(watching.stdout.readline())
    assert (second["version"], second["data"]["people"]) == (1, 1)
    watching.send_signal(signal.SIGINT)
    _, output = watching.communicate(timeout=20)
    assert (watching.returncode, output) == (0, "")


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_watch_stops_when_its_output_is_closed(
    environment: dict[str, str], space: str, flags: tuple[str, ...]
) -> None:
    with subprocess.Popen(
        [HEADCOUNT, "watch", space, *flags],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [HEADCOUNT, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_token_with_scopes_allows_only_those(
    api: Api, space: str, environment: dict[str, str], stack: Stack
) -> None:
    api.beat(space, "tab-1", visitorId="v")
    made = run(environment, "token", "--scope", f"read:{space}", "--subject", "ada").stdout.strip()
    claims = jwt.decode(made, options={"verify_signature": False})
    assert (claims["sub"], claims["headcount_scopes"]) == ("ada", f"read:{space}")

    elsewhere = {**environment, "HEADCOUNT_URL": stack.outputs["origin"], "HEADCOUNT_TOKEN": made}
    assert run(elsewhere, "timeline", space).returncode == 0
    refused = run(elsewhere, "viewers", space)
    assert (refused.returncode, refused.stderr[:4]) == (1, "403:")
    assert made not in refused.stderr


@pytest.mark.usefixtures("one_day")
def test_an_address_alone_is_enough_to_watch(
    api: Api, space: str, environment: dict[str, str], stack: Stack
) -> None:
    api.beat(space, "tab-1", visitorId="v")
    eventually(lambda: api.headcount(space)["people"] == 1, 5)
    outputs = stack.outputs
    elsewhere = {
        **environment,
        "HEADCOUNT_LOCAL_DIR": "/nowhere",
        "HEADCOUNT_URL": outputs["origin"],
        "HEADCOUNT_TOKEN": outputs["adminToken"],
    }
    done = run(elsewhere, "watch", space, "--count", "1")
    assert done.returncode == 0, done.stderr
    assert f"{space} 1 people (0 signed in), 1 sessions, 1 views today" in done.stdout
