"""Imports point inward."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lab.harness.template import ROOT, template

PACKAGE = ROOT / "layers" / "presence" / "headcount"

MAY_IMPORT = {
    "times": set(),
    "errors": set(),
    "logs": set(),
    "metrics": {"times"},
    "metric_lines": {"logs", "metrics"},
    "model": {"times", "errors"},
    "store": {"times", "errors", "logs", "model"},
    "auth": {"times", "errors", "logs", "model"},
    "settings": {"model", "auth"},
    "aws": {"errors"},
    "usecases": {"times", "errors", "logs", "metric_lines", "model", "store", "aws"},
    "web": {"times", "errors", "logs", "model", "auth", "usecases"},
    "systems": {"times", "errors", "logs", "model", "usecases", "web"},
    "documents": {"times", "errors", "settings", "model", "web", "systems"},
}
"""A room (a folder, or a module beside the folders) -> the rooms that it may import. ``wiring`` may
import all rooms; no room may import it, except for a type."""

NOT_PURE = {"aws_lambda_powertools", "boto3", "botocore", "os", "random", "time", "uuid"}


def imports_of(path: Path) -> set[str]:
    """The modules a file imports when it runs: not those that only a type checker sees."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports break in the artefact"
            found.add(str(node.module))
        todo += ast.iter_child_nodes(node)
    return found


def ours(path: Path) -> set[str]:
    """Its imports from the package, without the prefix."""
    return {
        name.removeprefix("headcount.")
        for name in imports_of(path)
        if name.startswith("headcount.")
    }


def room_of(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


MODULES = sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_imports_only_rooms_below_its_own(path: Path) -> None:
    room = room_of(named(path))
    if room not in {"__init__", "wiring"}:
        assert {room_of(name) for name in ours(path)} - {room} <= MAY_IMPORT[room]


def test_no_room_may_import_one_above_it() -> None:
    """In the table's order, each may import only earlier ones: there is no cycle."""
    order = list(MAY_IMPORT)
    for room, others in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(room) for other in others), room


def test_no_two_modules_import_each_other_in_a_cycle() -> None:
    names = {named(path) for path in MODULES}
    graph = {named(path): ours(path) & names - {named(path)} for path in MODULES}
    TopologicalSorter(graph).prepare()  # CycleError names the cycle


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(named(path)) in {"model", "times"}], ids=named
)
def test_a_decision_is_pure(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports_of(path)} & NOT_PURE


def test_one_module_builds_clients() -> None:
    importing = {path.stem for path in PACKAGE.rglob("*.py") if "boto3" in imports_of(path)}
    assert importing == {"clients"}


def test_one_module_reads_aws_error_codes() -> None:
    reading = {path.stem for path in PACKAGE.rglob("*.py") if '.get("Code"' in path.read_text()}
    assert reading == {"errors"}


def test_nothing_imports_a_function() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not {name for name in imports_of(path) if name.split(".")[0] == "functions"}


@pytest.mark.parametrize("name", sorted(template().functions))
def test_a_function_imports_the_layers_package_and_the_standard_library(name: str) -> None:
    imported = imports_of(ROOT / "functions" / name / "app.py")
    roots = {module.split(".")[0] for module in imported}
    assert roots <= {"headcount"} | set(sys.stdlib_module_names)


def test_a_beat_starts_with_all_that_it_needs_and_nothing_else() -> None:
    code = "import sys, app; print(*sys.modules)"
    folders = (PACKAGE.parent, ROOT / "functions" / "beat")
    env = {
        **template().environment("beat"),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "AWS_LAMBDA_FUNCTION_NAME": "beat",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    ).stdout.split()
    assert {"headcount.web.beats", "headcount.usecases.record", "headcount.aws.dynamodb"} <= set(
        printed
    )
    heavy = {"jwt", "aws_lambda_powertools", "boto3", "botocore", "pydantic", "typing_extensions"}
    heavy |= {"dataclasses", "inspect", "logging", "pathlib"}
    assert not (heavy | {"headcount.documents", "headcount.web.bodies"}) & set(printed)
    assert not [name for name in printed if name.startswith("headcount.systems")]
