"""Imports point inward."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.template import ROOT, template

PACKAGE = ROOT / "layers" / "presence" / "headcount"
PURE = {
    "times",
    "errors",
    "spaces",
    "beats",
    "session",
    "tally",
    "visits",
    "headcounts",
    "stays",
    "containers",
    "streams",
    "alerts",
    "moderation",
    "people",
    "messages",
    "events",
    "causes",
}
USE_CASES = {
    *("presence", "counting", "publishing", "fanning", "sweeping"),
    *("aggregating", "subscribing", "reading", "launching", "moderating", "erasing"),
    *("auditing", "explaining", "emitting", "webhooks"),
}
WIRING = {"clients", "settings"}


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
    """What it imports of the package, without the prefix."""
    return {
        name.removeprefix("headcount.")
        for name in imports_of(path)
        if name.split(".")[0] == "headcount"
    }


def modules(folder: str = "") -> list[Path]:
    return sorted((PACKAGE / folder).glob("*.py"))


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_imports_pure_ones_only(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    assert ours(path) <= PURE
    outside = {module.split(".")[0] for module in imports_of(path)} - {"headcount"}
    assert not outside & {"boto3", "botocore", "aws_lambda_powertools", "time", "os", "random"}


@pytest.mark.parametrize("path", modules("store"), ids=lambda path: path.stem)
def test_a_store_imports_no_use_case_and_no_wiring(path: Path) -> None:
    roots = {name.split(".")[0] for name in ours(path)}
    assert roots <= PURE | {"store", "logs"}


@pytest.mark.parametrize("name", sorted(USE_CASES))
def test_a_use_case_is_handed_its_clients(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    roots = {module.split(".")[0] for module in ours(path)}
    assert not roots & (WIRING | {"web"})
    assert "boto3" not in imports_of(path)


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


def test_the_api_starts_with_all_that_a_beat_needs_and_nothing_else() -> None:
    code = "import sys, app; print(*sys.modules)"
    folders = (PACKAGE.parent, ROOT / "functions" / "api")
    env = {
        **template().environment("api"),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "AWS_LAMBDA_FUNCTION_NAME": "api",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    ).stdout.split()
    assert {"headcount.web.native", "headcount.presence", "headcount.aws.dynamodb"} <= set(printed)
    heavy = {"jwt", "aws_lambda_powertools", "boto3", "pydantic", "typing_extensions"}
    assert not (heavy | {"headcount.web.documents", "headcount.messages"}) & set(printed)
    assert not [name for name in printed if name.startswith("headcount.systems")]
