"""The bundler: only locked packages, from npm's registry, downloaded once."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.bundle import Bundler, registry, this_platform
from local.settings import UsageError

# A fake esbuild: writes the names of the requested files.
ESBUILD = """#!/bin/sh
for word; do
  case $word in
    --outdir=*) folder=${word#--outdir=} ;;
    *.js) sources="$sources $word" ;;
  esac
done
for source in $sources; do
  if grep -q broken "$source"; then echo "$source: broken" >&2; exit 1; fi
  cp "$source" "$folder/"
done
"""


def packed(**files: str) -> bytes:
    """An npm tarball."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            member.mode = 0o755 if name.endswith("esbuild") else 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def integrity_of(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@dataclass
class Registry:
    """An npm registry in memory."""

    tarballs: dict[str, bytes]
    asked: list[str] = field(default_factory=list)

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        for name, content in self.tarballs.items():
            if url.endswith(name):
                return content
        raise urllib.error.URLError("no route to host")


@pytest.fixture
def npm() -> Registry:
    return Registry(
        {
            "/uplot/-/uplot-1.0.0.tgz": packed(**{"package/LICENSE": "MIT, of uplot's author"}),
            "/oauth4webapi/-/oauth4webapi-3.0.0.tgz": packed(
                **{"package/LICENSE.md": "MIT, of oauth4webapi's author"}
            ),
            f"/{this_platform()}-2.0.0.tgz": packed(**{"package/bin/esbuild": ESBUILD}),
        }
    )


@pytest.fixture
def bundler(tmp_path: Path, npm: Registry, monkeypatch: pytest.MonkeyPatch) -> Bundler:
    """A site of one page script and one client, with its packages in the registry."""
    monkeypatch.setenv("npm_config_registry", "https://mirror.example.test/npm/")
    clients = tmp_path / "clients"
    (clients / "dashboard").mkdir(parents=True)
    for name, text in {"dashboard/dashboard.js": "page()", "client.js": "client()"}.items():
        (clients / name).write_text(text)
    uplot, oauth, esbuild = npm.tarballs.values()
    packages = {
        "node_modules/uplot": {"version": "1.0.0", "integrity": integrity_of(uplot)},
        "node_modules/oauth4webapi": {"version": "3.0.0", "integrity": integrity_of(oauth)},
        f"node_modules/@esbuild/{this_platform()}": {
            "version": "2.0.0",
            "integrity": integrity_of(esbuild),
        },
    }
    (clients / "package-lock.json").write_text(json.dumps({"packages": packages}))
    return Bundler(clients, tmp_path / "site" / "built", tmp_path / "state", npm.fetch)


def test_the_page_is_bundled_the_client_minified_and_licences_are_kept(bundler: Bundler) -> None:
    assert bundler.bundle()
    built = {path.name: path.read_text() for path in bundler.built.iterdir()}
    assert built["dashboard.js"] == "page()"
    assert built["client.js"] == "client()"
    for name in ("uplot", "oauth4webapi"):
        assert f"MIT, of {name}'s author" in built["licences.txt"]


def test_the_page_its_icon_and_the_types_are_served_as_they_are(bundler: Bundler) -> None:
    for name in ("dashboard/index.html", "dashboard/icon.svg", "client.d.ts"):
        (bundler.clients / name).write_text(name)
    assert bundler.bundle()
    for name in ("dashboard/index.html", "dashboard/icon.svg", "client.d.ts"):
        assert (bundler.built / Path(name).name).read_text() == name
    (bundler.clients / "client.d.ts").write_text("better")
    assert bundler.bundle()
    assert (bundler.built / "client.d.ts").read_text() == "better"


def test_unchanged_sources_are_not_bundled_again(bundler: Bundler, npm: Registry) -> None:
    bundler.bundle()
    npm.asked.clear()
    assert not bundler.bundle()
    assert npm.asked == []


def test_an_edit_is_bundled_without_downloading_again(bundler: Bundler, npm: Registry) -> None:
    bundler.bundle()
    npm.asked.clear()
    (bundler.clients / "client.js").write_text("better()")
    assert bundler.bundle()
    assert (bundler.built / "client.js").read_text() == "better()"
    assert npm.asked == []


def test_a_changed_result_is_built_again(bundler: Bundler) -> None:
    bundler.bundle()
    (bundler.built / "client.js").write_text("else()")
    (bundler.built / "left-over.js").write_text("old()")
    assert bundler.bundle()
    assert (bundler.built / "client.js").read_text() == "client()"
    assert not (bundler.built / "left-over.js").exists()


def test_a_package_that_differs_from_the_lock_is_refused(bundler: Bundler, npm: Registry) -> None:
    npm.tarballs["/uplot/-/uplot-1.0.0.tgz"] = packed(**{"package/LICENSE": "something else"})
    with pytest.raises(UsageError, match=r"uplot 1\.0\.0 .* does not match .*package-lock\.json"):
        bundler.bundle()
    assert not bundler.built.exists()
    assert not (bundler.state / "node_modules" / "uplot").exists()


@pytest.mark.parametrize("integrity", ["", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="])
def test_a_package_without_a_sha512_in_the_lock_is_refused(
    bundler: Bundler, integrity: str
) -> None:
    lock = bundler.clients / "package-lock.json"
    packages = json.loads(lock.read_text())
    packages["packages"]["node_modules/uplot"]["integrity"] = integrity
    lock.write_text(json.dumps(packages))
    with pytest.raises(UsageError, match="it was not used"):
        bundler.bundle()


def test_nothing_is_unpacked_outside_of_its_folder(bundler: Bundler, npm: Registry) -> None:
    evil = packed(**{"package/LICENSE": "MIT", "package/../../../outside": "evil"})
    npm.tarballs["/uplot/-/uplot-1.0.0.tgz"] = evil
    lock = bundler.clients / "package-lock.json"
    packages = json.loads(lock.read_text())
    packages["packages"]["node_modules/uplot"]["integrity"] = integrity_of(evil)
    lock.write_text(json.dumps(packages))
    bundler.bundle()
    assert not list(bundler.state.parent.rglob("outside"))


def test_packages_come_from_the_registry_that_the_environment_names(
    bundler: Bundler, npm: Registry
) -> None:
    bundler.bundle()
    assert all(url.startswith("https://mirror.example.test/npm/") for url in npm.asked)
    assert "https://mirror.example.test/npm/uplot/-/uplot-1.0.0.tgz" in npm.asked


def test_without_a_network_and_a_bundle_it_says_what_to_do(bundler: Bundler, npm: Registry) -> None:
    npm.tarballs.clear()
    with pytest.raises(UsageError, match="Connect to the registry once, or set another"):
        bundler.bundle()


def test_without_a_network_an_existing_bundle_is_used(bundler: Bundler, npm: Registry) -> None:
    bundler.bundle()
    npm.tarballs.clear()
    assert not bundler.bundle()


def test_an_error_in_a_source_is_reported_and_keeps_the_last_result(bundler: Bundler) -> None:
    bundler.bundle()
    (bundler.clients / "dashboard" / "dashboard.js").write_text("broken")
    with pytest.raises(UsageError, match=r"dashboard\.js: broken"):
        bundler.bundle()
    assert (bundler.built / "dashboard.js").read_text() == "page()"


@pytest.mark.parametrize(
    ("environment", "npmrc", "expected"),
    [
        ({}, None, "https://registry.npmjs.org"),
        ({}, "fund=false\n", "https://registry.npmjs.org"),
        ({}, "registry = https://a.example.test/npm/\n", "https://a.example.test/npm"),
        ({"NPM_CONFIG_REGISTRY": "https://b.example.test"}, None, "https://b.example.test"),
        (
            {"npm_config_registry": "https://b.example.test/"},
            "registry=https://a.example.test\n",
            "https://b.example.test",
        ),
        ({}, "@scope:registry=https://a.example.test\n", "https://registry.npmjs.org"),
    ],
)
def test_the_registry_is_npms_own_choice(
    tmp_path: Path, environment: dict[str, str], npmrc: str | None, expected: str
) -> None:
    if npmrc is not None:
        (tmp_path / ".npmrc").write_text(npmrc)
    assert registry(environment, tmp_path) == expected


def test_the_committed_lock_pins_what_the_bundler_needs() -> None:
    clients = Bundler().clients
    lock = json.loads((clients / "package-lock.json").read_text())["packages"]
    manifest = json.loads((clients / "package.json").read_text())
    for name, version in {**manifest["dependencies"], **manifest["devDependencies"]}.items():
        assert lock[f"node_modules/{name}"]["version"] == version
    for system in ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"):
        assert lock[f"node_modules/@esbuild/{system}"]["integrity"].startswith("sha512-")
    assert not any("resolved" in package for package in lock.values())
