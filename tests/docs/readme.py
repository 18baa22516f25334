"""The parts of the README that tests run."""

from __future__ import annotations

from lab.harness.template import ROOT
from tests.docs.commands import commands
from tests.docs.pages import page


def deployment() -> list[str]:
    """The commands of its section *Deploy*: those of a first deployment."""
    of = page(ROOT / "README.md")
    start = of.text[: of.text.index("\n## Deploy\n")].count("\n")
    block = next(one for one in of.blocks if one.line > start)
    assert block.language == "sh"
    return commands(block.text)
