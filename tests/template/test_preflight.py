"""Errors that AWS reports only during a deployment, found by cdk-preflight's rules."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from lab.harness import npm
from lab.harness.template import template
from local.settings import ROOT
from tests.support.missing import missing
from tests.template.rendering import every_pair, rendered

T = template()
SOURCES = ROOT / "tests" / "template" / "preflight"
HOME = ROOT / ".local" / "preflight"

ACCEPTED: Mapping[tuple[str, str], str] = {}
"""(Rule, resource) -> why it is intended."""


def broken() -> dict[str, Any]:
    """A template with two errors that no schema finds."""
    document = deepcopy(rendered(Kinds="x" * 4096).document())
    redrive = document["Resources"]["ErrandQueue"]["Properties"]["RedrivePolicy"]
    redrive["maxReceiveCount"] = 1001
    return document


def checked(templates: Mapping[str, Any], folder: Path) -> dict[str, list[list[str]]]:
    """Template -> (rule, resource, property, message) of each finding."""
    for name, document in templates.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    try:
        npm.install(SOURCES, HOME, oldest_node=18)
        shutil.copy(SOURCES / "check.mjs", HOME)
        output = npm.run("node", "check.mjs", str(folder), cwd=HOME)
    except npm.UnavailableError as error:
        missing("cdk-preflight", str(error))
    found = json.loads(output.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.exhaustive
def test_no_service_refuses_the_template(tmp_path: Path) -> None:
    """With every condition true and false, and beside a template that is refused."""
    rows = every_condition()
    templates = {f"row{number}": rendered(**row).document() for number, row in enumerate(rows)}
    found = checked({**templates, "broken": broken()}, tmp_path)
    assert found.keys() == {*templates, "broken"}
    noticed = {(rule, resource) for rule, resource, *_ in found.pop("broken")}
    assert ("pf-lambda-env-size", "ApiFunction") in noticed
    assert any(resource == "ErrandQueue" for _, resource in noticed)
    refused = {
        (rule, resource, where, message)
        for one in found.values()
        for rule, resource, where, message in one
        if (rule, resource) not in ACCEPTED
    }
    assert refused == set()


def every_condition() -> list[Mapping[str, str]]:
    """A few sets of parameters that make every condition true and false on AWS."""
    rows: list[Mapping[str, str]] = []
    seen: set[tuple[str, bool]] = set()
    for row in every_pair():
        here = {(name, T.holds({"Condition": name}, **row)) for name in T.document["Conditions"]}
        if here - seen:
            rows.append(row)
            seen |= here
    unseen = {
        (name, is_met) for name in T.document["Conditions"] for is_met in (True, False)
    } - seen
    assert unseen == {
        ("IsEmulated", True),
        ("IsOnAws", False),
    }  # true only for an emulator's account
    return rows
