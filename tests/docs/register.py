"""The commands that CI and the tests run, according to their sources."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lab.harness.template import ROOT

Words = list[str]

_NAMES = {"SAM": ".venv/bin/sam"}
"""Constants in tests that stand for tools."""
_ALIKE = [[".venv/bin/sam", "local"], ["uv", "tool", "install"], ["pip", "install"]]
"""Commands that count as run if another one with the same beginning is."""


def stages(script: str) -> list[Words]:
    """The commands that a script's stages run: ``stage "name" seconds command...``."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        if re.match(r"stage\s", line):
            _, _, budget, *command = shlex.split(line, comments=True)
            assert budget.isdecimal(), line
            found.append(command)
    return found


def processes(source: str) -> Iterator[Words]:
    """The commands with which a module starts processes; "..." stands for words that are known only
    at run time, and for all after them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in {"run", "Popen"} and isinstance(node.args[0], ast.List | ast.Tuple):
                yield _words(node.args[0])
        elif isinstance(node, ast.Dict):  # arguments of such a call
            for key, value in zip(node.keys, node.values, strict=True):
                is_args = isinstance(key, ast.Constant) and key.value == "args"
                if is_args and isinstance(value, ast.List | ast.Tuple):
                    yield _words(value)


def _words(command: ast.List | ast.Tuple) -> Words:
    words: Words = []
    for element in command.elts:
        if isinstance(element, ast.Constant) and isinstance(element.value, str):
            words.append(element.value)
        elif isinstance(element, ast.Name) and element.id in _NAMES:
            words.append(_NAMES[element.id])
        else:
            return [*words, "..."]
    return words


def target(command: Words) -> str | None:
    """The target of a `make` command; None for other commands."""
    if command[:1] != ["make"]:
        return None
    words = iter(command[1:])
    for word in words:
        if word == "-C":
            next(words)
        elif not re.match(r"\w+=|-", word):
            return word
    return "help"  # the default


def made(commands: Iterable[Words]) -> set[str]:
    """The targets that these commands make."""
    return {name for command in commands if (name := target(command))}


def with_prerequisites(targets: Iterable[str], makefile: str) -> set[str]:
    """These targets with all their prerequisites."""
    needs = {
        name: re.sub("#.*", "", rest).split()
        for name, rest in re.findall(r"^([a-z][\w-]*):([^=\n]*)$", makefile, re.M)
    }
    found = list(targets)
    for name in found:
        found += [one for one in needs.get(name, ()) if one not in found]
    return set(found)


def named(command: Words) -> Words:
    """A command as on pages: without `env`, and with only the program's name."""
    words = command[:]
    while words and (words[0] == "env" or re.match(r"\w+=", words[0])):
        del words[0]
    if words and Path(words[0]).name in {"uv", "pip"}:
        words[0] = Path(words[0]).name
    return words


@cache
def elsewhere() -> tuple[Words, ...]:
    """All commands that CI and the tests run, without the pages'."""
    found = stages((ROOT / ".ci" / "run").read_text())
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        if Path("tests/docs") not in path.relative_to(ROOT).parents:
            found += processes(path.read_text(encoding="utf-8"))
    return tuple(found)


def is_run_elsewhere(command: Words) -> bool:
    """Whether CI or a test runs this target of make, or a command with the same beginning."""
    if name := target(command):
        return name in made(elsewhere())
    others = [named(one) for one in elsewhere()]
    return any(
        command[: len(start)] == start and start in [one[: len(start)] for one in others]
        for start in _ALIKE
    )
