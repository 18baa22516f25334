"""What is installed is what was locked: exact versions, and files that are the ones of then."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from local import advisories
from tests.support.template import ROOT

REQUIREMENTS = sorted(
    [*ROOT.glob("local/locks/*.in"), *ROOT.glob("layers/dependencies/*.in")],
)
LOCKS = [path.with_suffix(".txt") for path in REQUIREMENTS]


def entries(path: Path) -> list[str]:
    """The requirements of a file, continued lines joined, comments left out."""
    text = path.read_text().replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def by_name(path: Path) -> dict[str, str]:
    """Name -> version."""
    found = {}
    for entry in entries(path):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", entry)
        assert match is not None, f"{path}: {entry} has no exact version"
        found[match[1].lower().replace("_", "-")] = match[2]
    return found


@pytest.mark.parametrize("path", [*REQUIREMENTS, *LOCKS], ids=lambda path: path.name)
def test_every_requirement_is_an_exact_version(path: Path) -> None:
    assert by_name(path)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_that_is_locked_is_known_by_its_files_hashes(path: Path) -> None:
    """An index that hands out another file under the same version is refused."""
    for entry in entries(path):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize(("asked", "lock"), list(zip(REQUIREMENTS, LOCKS, strict=True)))
def test_a_lock_holds_what_was_asked_for(asked: Path, lock: Path) -> None:
    locked = by_name(lock)
    for name, version in by_name(asked).items():
        assert locked[name] == version, f"{name}: run make lock"


@pytest.mark.parametrize("path", advisories.NPM_LOCKS)
def test_every_npm_package_is_locked_with_its_integrity(path: str) -> None:
    packages = json.loads((ROOT / path).read_text())["packages"]
    for name, package in packages.items():
        if name and not package.get("link"):
            assert package["integrity"].startswith("sha512-"), name


def test_every_npm_requirement_is_an_exact_version() -> None:
    for path in advisories.NPM_LOCKS:
        asked = json.loads((ROOT / path).with_name("package.json").read_text())
        for group in ("dependencies", "devDependencies"):
            for name, version in asked.get(group, {}).items():
                assert re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?|file:.*", version), (path, name)


# --------------------------------------------------------------------------------------- advisories


def test_every_lock_file_is_audited() -> None:
    ours = {*map(str, ROOT.glob("functions/**/package-lock.json"))}
    ours |= {*map(str, ROOT.glob("tests/clients/**/package-lock.json")), *map(str, LOCKS)}
    ours = {one for one in ours if "node_modules" not in one}
    assert {str(ROOT / lock) for lock in (*advisories.PYTHON_LOCKS, *advisories.NPM_LOCKS)} == ours
    names = {(one.ecosystem, one.name) for one in advisories.locked()}
    assert {("PyPI", "pydantic"), ("PyPI", "cryptography"), ("npm", "uplot")} <= names


def test_what_has_an_advisory_is_named_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def database(body: bytes) -> Any:
        queries = json.loads(body)["queries"]
        bad = [{"vulns": [{"id": "GHSA-1"}, {"id": "GHSA-2"}]}]
        assert queries[0]["package"]["ecosystem"] == "PyPI"
        return {"results": bad + [{}] * (len(queries) - 1)}

    first = advisories.locked()[0]
    assert advisories.main(database) == 1
    said = capsys.readouterr().out
    assert f"{first.name} {first.version} ({first.lock}): GHSA-1, GHSA-2" in said
    assert "1 with known vulnerabilities" in said


def test_what_has_none_passes(capsys: pytest.CaptureFixture[str]) -> None:
    def database(body: bytes) -> Any:
        return {"results": [{} for _ in json.loads(body)["queries"]]}

    assert advisories.main(database) == 0
    assert "0 with known vulnerabilities" in capsys.readouterr().out


def test_that_the_database_is_out_of_reach_is_said_and_fails_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def database(_: bytes) -> Any:
        raise URLError("no route to host")

    assert advisories.main(database) == 0
    assert capsys.readouterr().out.startswith("Not audited: ")
