"""Ask osv.dev whether anything that is locked has a known vulnerability.

    python -m local.advisories

Names and versions of the packages are all that is sent. Exits with 1 when one is vulnerable, with 0
when none is, and also, saying so, when the database can't be reached: no build depends on it.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from local.settings import ROOT

URL = "https://api.osv.dev/v1/querybatch"
PYTHON_LOCKS = (
    "layers/dependencies/requirements.txt",
    "local/locks/dev.txt",
    "local/locks/emulator.txt",
    "local/locks/lambda_image.txt",
)
NPM_LOCKS = (
    "functions/site/package-lock.json",
    "tests/clients/package-lock.json",
)
_BATCH = 1_000  # what one query may hold
_TIMEOUT = 20
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


class Package(NamedTuple):
    """One that is locked, by the lock's path below the project."""

    ecosystem: str
    name: str
    version: str
    lock: str


def locked() -> list[Package]:
    """Every package of every lock file."""
    found = []
    for lock in PYTHON_LOCKS:
        text = (ROOT / lock).read_text()
        found += [Package("PyPI", name, version, lock) for name, version in _PINNED.findall(text)]
    for lock in NPM_LOCKS:
        packages: dict[str, Any] = json.loads((ROOT / lock).read_text())["packages"]
        for path, package in packages.items():
            if path and not package.get("link"):
                name = package.get("name") or path.rpartition("node_modules/")[2]
                found.append(Package("npm", name, package["version"], lock))
    return found


def ask(body: bytes) -> Any:
    """The database's answer. Raises OSError where it can't be reached."""
    request = urllib.request.Request(URL, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        return json.load(answer)


def vulnerable(
    packages: Sequence[Package], query: Callable[[bytes], Any]
) -> list[tuple[Package, list[str]]]:
    """Those with advisories, and the advisories' ids."""
    found = []
    for first in range(0, len(packages), _BATCH):
        batch = packages[first : first + _BATCH]
        queries = [
            {"package": {"ecosystem": one.ecosystem, "name": one.name}, "version": one.version}
            for one in batch
        ]
        results = query(json.dumps({"queries": queries}).encode())["results"]
        for one, result in zip(batch, results, strict=True):
            if ids := [advisory["id"] for advisory in result.get("vulns", [])]:
                found.append((one, ids))
    return found


def main(query: Callable[[bytes], Any] = ask) -> int:
    """Ask, and print what was found; returns the exit code."""
    packages = locked()
    try:
        found = vulnerable(packages, query)
    except OSError as error:
        print(
            f"Not audited: {URL} can't be reached from here ({error}). "
            "Run `make audit-dependencies` where it can."
        )
        return 0
    for one, ids in found:
        print(f"{one.name} {one.version} ({one.lock}): {', '.join(ids)}")
        print(f"  https://osv.dev/vulnerability/{ids[0]}")
    print(f"{len(packages)} locked packages, {len(found)} with known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
