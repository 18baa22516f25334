"""`make` alone lists the targets."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from lab.harness.template import ROOT
from tests.support.missing import missing

FOR_OTHERS = {"python", "dev", "stack"}
"""Targets that are only prerequisites."""


@pytest.fixture
def listed() -> str:
    """The output of `make`."""
    if shutil.which("make") is None:
        missing("make", "install it.")
    return subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_every_target_is_listed_with_its_purpose(listed: str) -> None:
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M)
    lines = [line.split(maxsplit=1) for line in listed.splitlines() if line.startswith("  ")]
    assert [name for name, _ in lines] == [one for one in targets if one not in FOR_OTHERS]


def test_no_target_is_taken_for_a_file(listed: str) -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY:(.*)$", text, re.M)[0].split()
    assert {*re.findall(r"^([a-z][\w-]*):", text, re.M)} == {*phony}
