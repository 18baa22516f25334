"""The content of the built layers: bytecode that is used, and the services that are called."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from local import packing

ROOT = Path(__file__).parents[2]
UNCHECKED = 0b01  # the flags of a .pyc: by hash, and the hash is not compared


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small build: a function, our layer, and dependencies with three services."""
    monkeypatch.setattr(packing, "CACHE", tmp_path / "packed")
    files = {
        "ApiFunction/app.py": "import headcount\n",
        "HeadcountLayer/python/headcount/__init__.py": "HERE = 1\n",
        "DependenciesLayer/python/boto3/data/s3/resources-1.json": "{}",
        "DependenciesLayer/python/botocore/__init__.py": "def fail():\n    raise KeyError\n",
        "DependenciesLayer/python/botocore/data/endpoints.json": "{}",
        "DependenciesLayer/python/botocore/data/sns/service-2.json": "{}",
        "DependenciesLayer/python/botocore/data/s3/service-2.json": "{}",
        "DependenciesLayer/python/botocore/data/ec2/service-2.json": "{}",
    }
    build = tmp_path / "build"
    for name, content in files.items():
        path = build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (build / "template.yaml").write_text("Resources: {}\n")
    return build


def test_every_module_gets_bytecode_that_lambda_will_use(build: Path) -> None:
    packing.pack(build, sys.executable)
    sources = sorted(build.rglob("*.py"))
    compiled = sorted(build.rglob("*.pyc"))
    assert len(compiled) == len(sources) == 3
    for path in compiled:
        assert int.from_bytes(path.read_bytes()[4:8], "little") == UNCHECKED


def test_a_builds_digest_follows_its_code(build: Path) -> None:
    template = build / "template.yaml"
    stamped = []
    for content in ("import headcount\n", "import headcount  # more\n", "import headcount\n"):
        (build / "ApiFunction" / "app.py").write_text(content)
        template.write_text("Mappings:\n  Build:\n    Code:\n      Digest: unbuilt\n")
        packing.stamp(build)
        stamped.append(template.read_text())
    assert stamped[0] == stamped[2] != stamped[1]
    assert re.fullmatch(
        r"Mappings:\n  Build:\n    Code:\n      Digest: '[0-9a-f]{16}'\n", stamped[0]
    )


def test_a_template_without_a_place_for_the_builds_name_is_refused(build: Path) -> None:
    with pytest.raises(ValueError, match="Digest: unbuilt"):
        packing.stamp(build)


def test_the_template_has_a_place_for_the_builds_name() -> None:
    assert (ROOT / "template.yaml").read_text().count("Digest: unbuilt") == 1


def test_no_path_of_the_machine_that_built_it_is_in_the_bytecode(build: Path) -> None:
    packing.pack(build, sys.executable)
    for path in build.rglob("*.pyc"):
        assert str(build).encode() not in path.read_bytes()


def test_only_called_services_are_described(build: Path) -> None:
    packing.pack(build, sys.executable)
    data = build / "DependenciesLayer" / "python" / "botocore" / "data"
    assert sorted(path.name for path in data.iterdir()) == ["endpoints.json", "s3", "sns"]
    assert not (build / "DependenciesLayer" / "python" / "boto3" / "data").exists()


def test_packed_dependencies_are_kept_and_another_version_is_packed_again(
    build: Path, tmp_path: Path
) -> None:
    packing.pack(build, sys.executable)
    module = build / "DependenciesLayer" / "python" / "botocore" / "__init__.py"
    module.write_text("def fail():\n    raise OSError\n")
    packing.pack(build, sys.executable)
    assert "OSError" in module.read_text()
    kept = list((tmp_path / "packed").iterdir())
    assert len(kept) == 2


def test_every_client_in_the_code_is_found() -> None:
    calls = sum(
        path.read_text().count("boto3.client(") + path.read_text().count(".resource(")
        for folder in ("layers", "functions")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert calls == len(packing.used_services())
