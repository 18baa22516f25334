"""Finish a build of `sam build`: add bytecode, and remove what no function can use.

Without bytecode Lambda compiles every module at every cold start, because it can't write to /opt.
The files in SAM's archives are dated 1980, so Python uses only bytecode that it does not check
against the source (`unchecked-hash`). Nine tenths of botocore's data describe services that no
function calls.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from local.settings import ROOT

DEPENDENCIES = "DependenciesLayer"
CACHE = ROOT / ".aws-sam" / "packed"
_UNSTAMPED = "Digest: unbuilt"
_SOURCES = (ROOT / "layers" / "presence", ROOT / "functions")
_CLIENT = re.compile(r"""boto3\.client\(\s*["']([a-z0-9-]+)["']""")
# They determine a client's endpoint and its retries.
_BOTOCORE_DATA = {
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
    "_retry.json",
}


def pack(build: Path, python: str | Path | None) -> None:
    """Add bytecode to a build and trim it. ``python`` has the version of the functions' runtime;
    without it there is no bytecode."""
    dependencies = build / DEPENDENCIES
    if python is None:
        trim(dependencies, used_services())
        return
    packed = CACHE / _digest(dependencies, python)
    if not packed.is_dir():
        trim(dependencies, used_services())
        _compile(dependencies, "/opt", python)
        _keep(dependencies, packed)
    shutil.rmtree(dependencies)
    shutil.copytree(packed, dependencies)
    for folder in sorted(path for path in build.iterdir() if path.is_dir()):
        if folder != dependencies:
            _compile(folder, "/opt" if folder.name.endswith("Layer") else "/var/task", python)


def stamp(build: Path) -> None:
    """Write the digest of the code into the built template: new code makes new function versions.

    ValueError if the template has no place for it.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in build.rglob("*") if path.is_file()):
        if path.parent != build:
            digest.update(f"{path.relative_to(build)}\0".encode() + path.read_bytes())
    template = build / "template.yaml"
    before, found, after = template.read_text().partition(_UNSTAMPED)
    if not found:
        raise ValueError(f"{template} does not contain {_UNSTAMPED!r}")
    template.write_text(f"{before}Digest: '{digest.hexdigest()}'{after}")


def sizes(build: Path) -> dict[str, int]:
    """Unzipped bytes of each layer and function. A function and its layers may have 250 MB."""
    return {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in sorted(build.iterdir())
        if folder.is_dir()
    }


def used_services() -> set[str]:
    """The services for which the functions' code makes a boto3 client."""
    return {
        service
        for folder in _SOURCES
        for path in folder.rglob("*.py")
        for service in _CLIENT.findall(path.read_text())
    }


def trim(dependencies: Path, services: set[str]) -> None:
    """Remove the data of all other services, and the data that only `boto3.resource` reads."""
    site = dependencies / "python"
    data = site / "botocore" / "data"
    for path in data.iterdir():
        if path.is_dir() and path.name not in services:
            shutil.rmtree(path)
        elif path.is_file() and path.name not in _BOTOCORE_DATA:
            path.unlink()
    for folder in (site / "boto3" / "data", site / "boto3" / "examples"):
        shutil.rmtree(folder, ignore_errors=True)


def _compile(folder: Path, place: str, python: str | Path) -> None:
    """Compile every module of a folder; the bytecode does not depend on the folder's path."""
    subprocess.run(
        [
            *(python, "-m", "compileall", "-q", "-j", "0", "-f"),
            *("--invalidation-mode", "unchecked-hash"),
            *("-s", str(folder), "-p", place, str(folder)),
        ],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def _digest(dependencies: Path, python: str | Path) -> str:
    """A digest of what the packed dependencies are made from: their files and this module."""
    version = subprocess.run([python, "-VV"], check=True, capture_output=True).stdout
    digest = hashlib.blake2b(version + Path(__file__).read_bytes(), digest_size=16)
    digest.update(" ".join(sorted(used_services())).encode())
    for path in sorted(dependencies.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(dependencies)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _keep(dependencies: Path, packed: Path) -> None:
    """Cache the packed dependencies, and delete all but the latest few."""
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.copytree(dependencies, packed)
    kept = sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in kept[4:]:
        shutil.rmtree(old)
