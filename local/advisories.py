"""Check the locked packages for known vulnerabilities, with osv.dev.

    python -m local.advisories

It sends only names and versions of the packages. Exits with 0 if no package is vulnerable, 1 if one
is, and 2 if the database could not be reached. OSV_URL names a mirror of it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

from local.settings import ROOT

OSV = "https://api.osv.dev"
PYTHON_LOCKS = (
    "layers/dependencies/requirements.txt",
    "local/locks/dev.txt",
    "local/locks/docs.txt",
    "local/locks/emulator.txt",
    "local/locks/lambda_image.txt",
    "local/locks/policies.txt",
)
NPM_LOCKS = (
    "clients/package-lock.json",
    "tests/template/preflight/package-lock.json",
    "tests/clients/package-lock.json",
    "tests/recipes/package-lock.json",
)
_BATCH = 1_000  # packages in one query
_TIMEOUT = 20  # seconds
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


class Package(NamedTuple):
    """A locked package; ``lock`` is the path of its lock file below the project."""

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


def ask(url: str, packages: Sequence[Package]) -> list[list[str]]:
    """The ids of each package's advisories. Raises OSError if the database can't be reached, and
    ValueError if the response is not a database's."""
    queries = [
        {"package": {"ecosystem": one.ecosystem, "name": one.name}, "version": one.version}
        for one in packages
    ]
    data = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(
        f"{url}/v1/querybatch", data, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        body = json.load(response)
    try:
        found = [[one["id"] for one in result.get("vulns", [])] for result in body["results"]]
    except (AttributeError, KeyError, TypeError):
        found = []
    if len(found) != len(packages):
        raise ValueError("the response is not from a database of advisories")
    return found


def vulnerable(url: str, packages: Sequence[Package]) -> list[tuple[Package, list[str]]]:
    """The packages with advisories, and the advisories' ids. Raises as `ask` does."""
    found = []
    for first in range(0, len(packages), _BATCH):
        batch = packages[first : first + _BATCH]
        found += [(one, ids) for one, ids in zip(batch, ask(url, batch), strict=True) if ids]
    return found


def main() -> int:
    """Check all packages and print the vulnerable ones; returns the exit code."""
    packages, url = locked(), os.environ.get("OSV_URL", OSV).rstrip("/")
    try:
        found = vulnerable(url, packages)
    except (OSError, ValueError) as error:
        print(
            f"Not audited: {url} can't be reached from here ({error}). "
            "Run `make audit-dependencies` where it can, or name a mirror in OSV_URL.",
            file=sys.stderr,
        )
        return 2
    for one, ids in found:
        print(f"{one.name} {one.version} ({one.lock}): {', '.join(ids)}")
        print(f"  https://osv.dev/vulnerability/{ids[0]}")
    print(f"{len(packages)} locked packages, {len(found)} with known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
