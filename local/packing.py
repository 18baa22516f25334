"""What `sam build` leaves undone: bytecode goes in, and what no function can use goes out.

Without bytecode Lambda compiles every module at every cold start: it can't write to /opt. SAM's
archives carry times of 1980, so that only bytecode that is never checked against its source
(`unchecked-hash`) is ever used. And nine tenths of botocore's data describe services that no
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
# A client's endpoint follows from these, and they say how it tries again.
_BOTOCORE_DATA = {
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
    "_retry.json",
}


def pack(build: Path, python: str | Path) -> None:
    """Make a finished build ready to start fast. ``python`` is one of the functions' runtime."""
    dependencies = build / DEPENDENCIES
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
    """Write into the built template what its code is: another build, another version of a function.

    ValueError where the template has no place for it.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in build.rglob("*") if path.is_file()):
        if path.parent != build:
            digest.update(f"{path.relative_to(build)}\0".encode() + path.read_bytes())
    template = build / "template.yaml"
    before, found, after = template.read_text().partition(_UNSTAMPED)
    if not found:
        raise ValueError(f"{template} does not say {_UNSTAMPED!r}")
    template.write_text(f"{before}Digest: '{digest.hexdigest()}'{after}")


def sizes(build: Path) -> dict[str, int]:
    """Bytes of each layer and function, unzipped: Lambda takes 250 MB of them together."""
    return {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in sorted(build.iterdir())
        if folder.is_dir()
    }


def used_services() -> set[str]:
    """The services that the functions' code makes a boto3 client of."""
    return {
        service
        for folder in _SOURCES
        for path in folder.rglob("*.py")
        for service in _CLIENT.findall(path.read_text())
    }


def trim(dependencies: Path, services: set[str]) -> None:
    """Leave out the descriptions of all other services, and what only `boto3.resource` reads."""
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
    """Bytecode for every module of a folder, the same wherever the folder is."""
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
    """What the packed dependencies follow from: their files and this module."""
    version = subprocess.run([python, "-VV"], check=True, capture_output=True).stdout
    digest = hashlib.blake2b(version + Path(__file__).read_bytes(), digest_size=16)
    digest.update(" ".join(sorted(used_services())).encode())
    for path in sorted(dependencies.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(dependencies)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _keep(dependencies: Path, packed: Path) -> None:
    """Remember these, and forget those of other builds than the last few."""
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.copytree(dependencies, packed)
    kept = sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in kept[4:]:
        shutil.rmtree(old)
