"""The package that `pip install .` and `uv tool install .` install."""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from pathlib import Path

import headcount

from lab.harness.template import ROOT
from local.bootstrap import UV_HOME
from tests.support.missing import missing

CLI = ROOT / "cli" / "headcount_cli"


def test_the_wheel_contains_only_the_command_and_the_bench_s_files(
    tmp_path: Path,
) -> None:
    uv = UV_HOME / "bin" / "uv"
    if not uv.exists():
        missing("uv", "run `make check` once, which installs it where pip can.")
    build = [str(uv), "build", "--quiet", "--offline", "--no-config", "--wheel"]
    subprocess.run([*build, "--out-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
        for name in ("prices.toml", "figures.json"):
            bench = (ROOT / "lab" / "bench" / name).read_bytes()
            assert archive.read(f"headcount_cli/{name}") == bench
    modules = {f"headcount_cli/{path.relative_to(CLI).as_posix()}" for path in CLI.rglob("*.py")}
    assert {name for name in held if name.endswith(".py")} == modules
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {"headcount_cli"}


def test_its_requirements_are_among_the_locked_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = (ROOT / "local" / "locks" / "dev.txt").read_text().lower()
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in group:
            assert f"\n{requirement.partition('>')[0].lower()}==" in locked, requirement


def test_the_api_documents_have_the_project_s_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert headcount.__version__ == project["version"]
