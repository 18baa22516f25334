"""Bundle the dashboard and minify the client, from clients/ into functions/site/built.

    python -m local.bundle

The packages are pinned in clients/package-lock.json; they come from the npm registry, checked
against the lock's hashes. esbuild is an executable inside its npm package, so Node is not needed. A
second run without changes does nothing.
"""

import base64
import fcntl
import gzip
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from local.settings import ROOT, UsageError

CLIENTS = ROOT / "clients"
BUILT = ROOT / "functions" / "site" / "built"
STATE = ROOT / ".local" / "bundle"
BUNDLED = ("uplot", "oauth4webapi")
"""Packages whose code reaches browsers."""
DEFAULT_REGISTRY = "https://registry.npmjs.org"
FLAGS = ("--minify", "--format=esm", "--target=es2022", "--charset=utf8", "--log-level=warning")
MODULE_FLAGS = (
    *FLAGS,
    "--bundle",  # what several modules share is part of each
    "--tree-shaking=true",  # otherwise constants stay that are written wherever they are used
    *("--external:./headcount*", "--external:./space.js", "--external:react", "--external:vue"),
)
PACKAGE = "headcount-live.tgz"
NPM_TIME = 499_162_500  # npm dates all files so
DOWNLOAD_LIMIT = 60.0  # seconds
BUILD_LIMIT = 60.0
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}

Fetch = Callable[[str], bytes]


def fetch(url: str) -> bytes:
    """Download from the registry."""
    with urllib.request.urlopen(url, timeout=DOWNLOAD_LIMIT) as response:
        content: bytes = response.read()
        return content


@dataclass(frozen=True)
class Bundler:
    """Makes the files that the site function serves, in ``built``, from ``clients``.

    ``state`` holds the packages, and a stamp of the last result and its sources.
    """

    clients: Path = CLIENTS
    built: Path = BUILT
    state: Path = STATE
    fetch: Fetch = fetch

    def bundle(self) -> bool:
        """Bring ``built`` up to date. False if there was nothing to do."""
        with self._alone():
            stamp = self.state / "built.stamp"
            wanted = digest(self._sources())
            if stamp.is_file() and stamp.read_text() == wanted + digest(files_in(self.built)):
                return False
            stamp.unlink(missing_ok=True)
            esbuild = f"@esbuild/{this_platform()}"
            for name in (*BUNDLED, esbuild):
                self._install(name)
            with tempfile.TemporaryDirectory(dir=self.state) as folder:
                self._build(self._package(esbuild) / "bin" / "esbuild", Path(folder))
                replace_files(self.built, Path(folder))
            stamp.write_text(wanted + digest(files_in(self.built)))
            return True

    def install(self, name: str) -> None:
        """Download, check and unpack a locked package, unless it is here already."""
        with self._alone():
            self._install(name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _install(self, name: str) -> None:
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
                f"The dashboard's bundle needs {name} {version}, which can't be downloaded from "
                f"{source} ({error}). Connect to the registry once, or set another one in "
                "npm_config_registry."
            ) from None
        check_integrity(content, integrity, f"{name} {version} from {source}")
        unpack(content, package)
        stamp.write_text(integrity)

    def _sources(self) -> list[Path]:
        given = [self.clients / "package-lock.json", Path(__file__)]
        folders = [self._dashboard, self.clients / "shared", self.clients / "package"]
        inside = [path for folder in folders for path in files_in(folder)]
        return [*given, *inside, *self._modules(), *self._copied()]

    @property
    def _dashboard(self) -> Path:
        return self.clients / "dashboard"

    def _modules(self) -> list[Path]:
        """The modules that pages embed, a file each."""
        return sorted(self.clients.glob("*.js"))

    def _copied(self) -> list[Path]:
        """The files that are served unchanged: types, and the dashboard's page and icon."""
        page = [path for kind in ("*.html", "*.svg") for path in self._dashboard.glob(kind)]
        return sorted([*self.clients.glob("*.d.ts"), *page])

    def _package(self, name: str) -> Path:
        return self.state / "node_modules" / name

    def _locked(self, name: str) -> tuple[str, str]:
        lock: dict[str, Any] = json.loads((self.clients / "package-lock.json").read_text())
        package = lock["packages"].get(f"node_modules/{name}")
        if package is None:
            raise UsageError(
                f"clients/package-lock.json has no {name}. Perhaps esbuild has no executable for "
                "this platform."
            )
        return package["version"], package["integrity"]

    def _build(self, esbuild: Path, target: Path) -> None:
        if modules := self._modules():
            self._run(esbuild, *MODULE_FLAGS, f"--outdir={target}", *map(str, modules))
        if (self.clients / "package").is_dir():
            (target / PACKAGE).write_bytes(self._package_for_npm(esbuild))
        for path in self._copied():
            shutil.copy(path, target / path.name)
        entry = self._dashboard / "dashboard.js"
        self._run(esbuild, "--bundle", *FLAGS, f"--outdir={target}", str(entry))
        licences = [next(self._package(name).glob("LICENSE*")) for name in BUNDLED]
        (target / "licences.txt").write_text(
            "\n".join(f"{path.parent.name}\n\n{path.read_text()}" for path in licences)
        )

    def _package_for_npm(self, esbuild: Path) -> bytes:
        """The same modules with source maps, and those that only packages have."""
        own = self.clients / "package"
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            for modules in (self._modules(), sorted(own.glob("*.js"))):
                flags = (*MODULE_FLAGS, "--sourcemap", f"--outdir={folder}")
                self._run(esbuild, *flags, *map(str, modules))
            for path in Path(folder).glob("*.map"):
                path.write_text(without_folders(path.read_text()))
            types = [*self.clients.glob("*.d.ts"), *own.glob("*.d.ts")]
            texts = [*types, *(own / name for name in ("package.json", "README.md"))]
            return npm_tarball([*files_in(Path(folder)), *texts, ROOT / "LICENSE"])

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            cwd=self.clients,
            env={**os.environ, "NODE_PATH": str(self.state / "node_modules")},
            check=False,
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT,
        )
        if done.returncode:
            raise UsageError(f"The dashboard could not be bundled:\n\n{done.stdout}{done.stderr}")


def registry(environment: Mapping[str, str], home: Path) -> str:
    """The npm registry, as npm chooses it: the environment, the user's .npmrc or the default."""
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
    """Raise UsageError unless the content has the lock's sha512."""
    expected = next((one for one in integrity.split() if one.startswith("sha512-")), None)
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if expected is None or not hmac.compare_digest(found, expected):
        raise UsageError(
            f"{what} does not match clients/package-lock.json ({found} instead of {expected}), so "
            "it was not used. Is the registry the right one?"
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


def without_folders(source_map: str) -> str:
    """A source map that does not depend on where it was made."""
    parsed = json.loads(source_map)
    parsed["sources"] = [f"src/{PurePosixPath(source).name}" for source in parsed["sources"]]
    return json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))


def npm_tarball(files: Iterable[Path]) -> bytes:
    """Files as an npm package. The same files give the same bytes."""
    content = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for path in sorted(files, key=lambda path: path.name):
            text = path.read_bytes()
            member = tarfile.TarInfo(f"package/{path.name}")
            member.size, member.mtime, member.mode = len(text), NPM_TIME, 0o644
            archive.addfile(member, io.BytesIO(text))
    return content.getvalue()


def this_platform() -> str:
    """esbuild's name of this platform, for example linux-x64."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{MACHINES.get(machine, machine)}"


def files_in(folder: Path) -> list[Path]:
    """All files of a folder, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(paths: Iterable[Path]) -> str:
    """A hash of the files' names and contents."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def replace_files(target: Path, source: Path) -> None:
    """Replace the files of a folder by those of another, each in one step."""
    target.mkdir(parents=True, exist_ok=True)
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
    print("  dashboard bundled" if done else "  dashboard is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
