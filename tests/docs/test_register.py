"""Every target of make and every command of the pages is run, by CI, a test, or with its page."""

from __future__ import annotations

import pytest

from lab.harness.template import ROOT
from tests.docs import register
from tests.docs.checks import make_targets
from tests.docs.commands import How, all_commands, handled, words
from tests.docs.pages import Page, pages

MAKEFILE = (ROOT / "Makefile").read_text()


def run_targets(of: list[Page]) -> set[str]:
    """The targets that CI, a test or a page makes, with prerequisites."""
    here = [words(one) for one in all_commands(of) if handled(one) in {How.HERE, How.APART}]
    return register.with_prerequisites(register.made([*register.elsewhere(), *here]), MAKEFILE)


@pytest.mark.parametrize("name", sorted(make_targets()))
def test_every_target_of_make_is_run(name: str) -> None:
    assert name in run_targets(pages())


def test_a_command_is_run_or_needs_an_account_on_aws() -> None:
    assert {
        words(command)[0] for command in all_commands(pages()) if handled(command) is How.CHECKED
    } <= {
        "aws",
        ".venv/bin/sam",
    }


@pytest.mark.parametrize(
    "script",
    [
        '# stage "nothing" 9 make nothing',
        'echo stage "nothing" 9 make nothing',
        'stage "nothing" 9 echo make nothing',
        'stage "nothing" 9 true # make nothing',
        "nothing() {\n  make nothing\n}",
        'stage "make nothing" 9 true',
        'stage "nothing" 9 env A=1 NOTHING=make nothing',
    ],
)
def test_what_only_looks_like_a_stage_is_not_one(script: str) -> None:
    assert "nothing" not in register.made(register.stages(script))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('subprocess.run(["make", "run", f"PORT={port}"])', {"run"}),
        ('subprocess.Popen(("make", "picture", "ARGS=--only x"), env=env)', {"picture"}),
        ('{"args": ["make", "load"], "cwd": ROOT}', {"load"}),
        ('subprocess.run(["make"])', {"help"}),
        ('"""make nothing"""  # subprocess.run(["make", "nothing"])', set()),
        ("text = \"subprocess.run(['make', 'nothing'])\"", set()),
        ('known = ["make", "nothing"]', set()),
        ('subprocess.run(["echo", "make", "nothing"])', set()),
        ('subprocess.run(["make", name])', {"..."}),
    ],
)
def test_what_a_test_runs_is_read_from_its_lists(source: str, found: set[str]) -> None:
    assert register.made(register.processes(source)) == found


@pytest.mark.parametrize(
    ("script", "target"),
    [
        ('stage "x" 9 make -C "$copy" lock', "lock"),
        ('stage "x" 9 make DAYS=4 test-moved ARGS="-x tests"', "test-moved"),
        ('stage "x" 9 make', "help"),
    ],
)
def test_a_target_is_distinguished_from_its_variables(script: str, target: str) -> None:
    assert register.made(register.stages(script)) == {target}


def test_prerequisites_of_a_target_are_made() -> None:
    makefile = "run: stack ## x\n\t@exec\nstack: python dev\nother: dev\nPORT := 1\n"
    assert register.with_prerequisites({"run"}, makefile) == {"run", "stack", "python", "dev"}
