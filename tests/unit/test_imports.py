"""Imports point inward."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.template import ROOT, template

PACKAGE = ROOT / "layers" / "presence" / "headcount"
PURE = {"times", "errors", "spaces", "beats", "session", "tally", "visits", "headcounts"}
USE_CASES = {
    *("presence", "counting", "publishing", "fanning", "sweeping"),
    *("aggregating", "subscribing", "reading"),
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
    assert roots <= PURE | {"store"}


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
    import sys

    imported = imports_of(ROOT / "functions" / name / "app.py")
    roots = {module.split(".")[0] for module in imported}
    assert roots <= {"headcount"} | set(sys.stdlib_module_names)


def test_a_beat_imports_neither_the_router_nor_the_tokens_nor_the_logger_at_start() -> None:
    for path in (ROOT / "functions" / "api" / "app.py", PACKAGE / "web" / "presence.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {"headcount.web.native", "aws_lambda_powertools"}
    assert "jwt" not in {
        alias.name
        for node in ast.parse((PACKAGE / "tokens.py").read_text()).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
