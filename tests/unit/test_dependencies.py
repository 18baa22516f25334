"""Installed packages are the locked ones: exact versions and the same files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lab.harness.template import ROOT
from local import advisories
from local.ports import free_port
from tests.support.missing import missing

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
def test_every_locked_package_has_hashes(path: Path) -> None:
    """An index that hands out another file under the same version is refused."""
    for entry in entries(path):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize(("asked", "lock"), list(zip(REQUIREMENTS, LOCKS, strict=True)))
def test_a_lock_fits_its_requirements(asked: Path, lock: Path) -> None:
    locked = by_name(lock)
    for name, version in by_name(asked).items():
        assert locked[name] == version, f"{name}: run make lock"


@pytest.mark.parametrize("path", advisories.NPM_LOCKS)
def test_every_npm_package_is_locked_with_its_integrity(path: str) -> None:
    packages = json.loads((ROOT / path).read_text())["packages"]
    for name, package in packages.items():
        if (
            name and not package.get("link") and not package.get("inBundle")
        ):  # part of its parent's file
            assert package["integrity"].startswith("sha512-"), name


def test_every_npm_requirement_is_an_exact_version() -> None:
    for path in advisories.NPM_LOCKS:
        asked = json.loads((ROOT / path).with_name("package.json").read_text())
        for group in ("dependencies", "devDependencies"):
            for name, version in asked.get(group, {}).items():
                assert re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?|file:.*", version), (path, name)


# --------------------------------------------------------------------------------------- advisories


def test_every_lock_file_is_audited() -> None:
    ours = {*map(str, ROOT.glob("clients/**/package-lock.json"))}
    ours |= {*map(str, ROOT.glob("tests/**/package-lock.json")), *map(str, LOCKS)}
    ours = {one for one in ours if "node_modules" not in one}
    assert {str(ROOT / lock) for lock in (*advisories.PYTHON_LOCKS, *advisories.NPM_LOCKS)} == ours
    names = {(one.ecosystem, one.name) for one in advisories.locked()}
    assert {("PyPI", "pydantic"), ("PyPI", "cryptography"), ("npm", "uplot")} <= names


class Database(BaseHTTPRequestHandler):
    """A fake osv.dev; `answer` makes the result of each query."""

    answer: Callable[[dict[str, Any]], Any]

    def do_POST(self) -> None:
        """Answer a batch."""
        assert self.path == "/v1/querybatch"
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"results": [type(self).answer(one) for one in asked["queries"]]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def audited(answer: Callable[[dict[str, Any]], Any]) -> subprocess.CompletedProcess[str]:
    """The output of `make audit-dependencies` for a database's answers."""
    of_it = type("OfThisTest", (Database,), {"answer": staticmethod(answer)})
    with ThreadingHTTPServer(("127.0.0.1", 0), of_it) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            return audit(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    """`make audit-dependencies` with our database; make exits with its status."""
    if shutil.which("make") is None:
        missing("make", "install it.")
    return subprocess.run(
        ["make", "audit-dependencies", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={**os.environ, "OSV_URL": url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_package_with_an_advisory_is_named_and_fails() -> None:
    first = advisories.locked()[0]

    def answer(query: dict[str, Any]) -> Any:
        asked = (query["package"]["ecosystem"], query["package"]["name"], query["version"])
        is_bad = asked == (first.ecosystem, first.name, first.version)
        return {"vulns": [{"id": "GHSA-1"}, {"id": "GHSA-2"}]} if is_bad else {}

    done = audited(answer)
    assert f"{first.name} {first.version} ({first.lock}): GHSA-1, GHSA-2" in done.stdout
    assert re.search(r"\d{3} locked packages, [1-9] with known vulnerabilities", done.stdout)
    assert done.stderr.endswith("Error 1\n")


def test_packages_without_advisories_pass() -> None:
    done = audited(lambda _: {})
    assert done.returncode == 0, done.stderr
    assert "0 with known vulnerabilities" in done.stdout


@pytest.mark.parametrize("answer", [lambda _: None, lambda _: {"vulns": [{}]}])
def test_an_answer_that_is_no_databases_fails_the_audit(answer: Callable[..., Any]) -> None:
    done = audited(answer)
    assert done.stderr.startswith("Not audited: ")
    assert done.stderr.endswith("Error 2\n")


def test_an_unreachable_database_fails_the_audit() -> None:
    done = audit(f"http://127.0.0.1:{free_port()}")
    assert re.match(r"Not audited: http://127.* can't be reached .* OSV_URL", done.stderr)
    assert done.stderr.endswith("Error 2\n")
    assert "Traceback" not in done.stderr
