"""`make build` where Python of the functions' version is missing: what it advises works."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from local import build, packing
from local.packing import ROOT

SITE = "SiteFunction/built/dashboard.js"
# A stand-in for SAM CLI, which needs a Docker engine for the containers.
SAM = """\
#!{python}
import pathlib, shutil, sys
options = sys.argv[1:]
assert options[0] == "build"
target = pathlib.Path(options[options.index("--build-dir") + 1])
pathlib.Path({log!r}).write_text(" ".join(options))
for name, content in {files!r}.items():
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
if pathlib.Path({bundle!r}).exists():
    (target / {site!r}).parent.mkdir(parents=True)
    shutil.copy({bundle!r}, target / {site!r})
"""
FILES = {
    "template.yaml": "Mappings:\n  Build:\n    Code:\n      Digest: unbuilt\n",
    "ApiFunction/app.py": "import headcount\n",
    "DependenciesLayer/python/botocore/data/endpoints.json": "{}",
    "DependenciesLayer/python/botocore/data/ec2/service-2.json": "{}",
}


@pytest.fixture
def without_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without that Python; returns the folder of the build."""
    bundle, sam, built = tmp_path / "dashboard.js", tmp_path / "sam", tmp_path / "build"

    class Bundler:
        def bundle(self) -> bool:
            bundle.write_text("bundled")
            return True

    sam.write_text(
        SAM.format(
            python=sys.executable,
            log=str(tmp_path / "log"),
            files=FILES,
            bundle=str(bundle),
            site=SITE,
        )
    )
    sam.chmod(0o755)
    monkeypatch.setattr(build, "SAM", str(sam))
    monkeypatch.setattr(build, "Bundler", Bundler)
    monkeypatch.setattr(build, "AWS_BUILD_DIR", built)
    monkeypatch.setattr(build, "find_python", lambda _: None)
    monkeypatch.setattr(packing, "CACHE", tmp_path / "packed")
    monkeypatch.chdir(ROOT)
    return built


def made(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["local.build", *arguments])
    return build.main()


def test_the_advised_build_has_the_dashboard(
    without_python: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(monkeypatch) == 1
    shown = capsys.readouterr().err
    advice = re.search(r"`make build ARGS=(\S+)`", shown)
    assert advice, shown
    assert "`.venv/bin/sam" not in shown  # by itself, SAM CLI does not make the bundle
    assert made(monkeypatch, *shlex.split(advice[1])) == 0
    assert "--use-container" in (without_python.parent / "log").read_text()
    assert (without_python / SITE).read_text() == "bundled"
    assert "unbuilt" not in (without_python / "template.yaml").read_text()
    assert not (without_python / "DependenciesLayer/python/botocore/data/ec2").exists()
    assert "bytecode" in capsys.readouterr().err


def test_a_build_in_a_container_has_bytecode_where_python_is_here(
    without_python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / f"python{build.AWS_RUNTIME}").symlink_to(sys.executable)
    monkeypatch.setattr(build, "find_python", lambda _: tmp_path / "bin")
    assert made(monkeypatch, "-u") == 0
    assert list((without_python / "ApiFunction").rglob("*.pyc"))


def test_the_pages_advise_the_same(
    without_python: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(monkeypatch)
    (advice,) = re.findall(r"`make build (ARGS=\S+)`", capsys.readouterr().err)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert f"`{advice}`" in page
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert "sam build --use-container" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("PYENV_ROOT", "versions/3.13.7/bin"),
        ("UV_PYTHON_INSTALL_DIR", "cpython-3.13.7-linux-x86_64-gnu/bin"),
        ("XDG_DATA_HOME", "uv/python/cpython-3.13.7-linux-x86_64-gnu/bin"),
    ],
)
def test_an_installed_python_is_found_where_its_installer_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str
) -> None:
    python = tmp_path / folder / "python3.13"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    assert build.find_python("3.13") is None
    monkeypatch.setenv(variable, str(tmp_path))
    assert build.find_python("3.13") == python.parent
