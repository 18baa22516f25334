"""`make demo`: realistic visitors, and no one left in the space."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from headcount_cli.demo_visitors import SITE, SITE_MAP, Person, invent

from lab.harness.clients import Api, eventually
from local.settings import ROOT
from tests.stack.conftest import Stack


def demo(stack: Stack | None, *words: str) -> list[str]:
    """The command line."""
    url = [] if stack is None else ["--url", stack.outputs["origin"]]
    return [str(Path(sys.executable).with_name("headcount")), "demo", *url, *words]


@pytest.mark.stack
@pytest.mark.exhaustive
def test_forty_visitors_come_and_all_of_them_leave(stack: Stack, api: Api) -> None:
    before = api.headcount(SITE)["people"]

    done = subprocess.run(
        demo(stack, "--duration", "20", "--visitors", "40"),
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines[-1].split()[:5] == ["20/20", "s", "here", "now", "0"], lines
    assert any(numbers(line)["here now"] > 5 < numbers(line)["server"] for line in lines[1:]), lines
    assert stack.outputs["adminToken"] not in done.stdout + done.stderr
    assert before == 0
    eventually(lambda: api.headcount(SITE)["people"] == 0, 5, last=lambda: api.headcount(SITE))


def numbers(line: str) -> dict[str, int]:
    """The numbers in a progress line."""
    words = line.split()
    return {"here now": int(words[4]), "server": int(words[6])}


@pytest.mark.stack
def test_an_interrupted_demo_leaves_no_visitors(stack: Stack, api: Api) -> None:
    process = subprocess.Popen(
        demo(stack, "--duration", "60", "--visitors", "100", "--seed", "3"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        eventually(lambda: api.headcount(SITE)["people"] >= 3, 15, lambda: api.headcount(SITE))
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()

    assert process.returncode == 0, output
    assert time.monotonic() - asked < 15, output
    eventually(lambda: api.headcount(SITE)["people"] == 0, 5, last=lambda: api.headcount(SITE))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--visitors", "0"], "'--visitors': Input should be greater"),
        (["--visitors", "many"], "'--visitors': Input should be a valid integer"),
        (["--duration", "-5"], "'--duration': Input should be greater"),
        (["--duration", "nan"], "'--duration': Input should be less"),
    ],
)
def test_wrong_arguments_are_named(words: Sequence[str], complaint: str) -> None:
    done = subprocess.run(demo(None, *words), check=False, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_where_nothing_runs_the_demo_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = {**os.environ, "HEADCOUNT_LOCAL_DIR": str(tmp_path_factory.mktemp("nowhere"))}
    for words in ([], ["--url", "http://localhost:9"]):
        done = subprocess.run(
            demo(None, *words), check=False, cwd=ROOT, env=nowhere, capture_output=True, text=True
        )

        assert done.returncode == 1
        assert "make run" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_seed_decides_the_visitors() -> None:
    assert invent(7, 50, 120) == invent(7, 50, 120)
    assert invent(7, 50, 120) != invent(8, 50, 120)


def test_visitors_behave_realistically() -> None:
    people = invent(1, 400, 300)
    stays = [stay for person in people for stay in person.stays]

    assert len(people) == 400
    assert {len(_tabs(person)) for person in people} == {1, 2, 3}
    assert 0.1 < sum(person.signs_in_at == 0 for person in people) / 400 < 0.4
    assert any(person.signs_in_at for person in people)
    assert 0.05 < sum(stay.ending == "crash" for stay in stays) / len(stays) < 0.25
    assert any(step.hidden for stay in stays for step in stay.steps)
    assert len({stay.session for stay in stays}) < len(stays)  # some come back
    assert {stay.space.split(":")[0] for stay in stays} == {"site", "course", "stream"}
    assert all(stay.steps[0].at < stay.until for stay in stays)
    pages = {step.page for stay in stays for step in stay.steps} - {None}
    assert pages <= set(SITE_MAP)


def _tabs(person: Person) -> set[str]:
    return {stay.session for stay in person.stays if stay.space == SITE}
