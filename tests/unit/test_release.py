"""`make release`: a folder that deploys without building."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import boto3
import headcount
import pytest
from botocore.stub import ANY, Stubber
from samcli.vendor.serverlessrepo.publish import publish_application
from samcli.yamlhelper import yaml_parse

from lab.harness.template import ROOT, load
from local.release import archive, deploy_settings, release, version
from local.settings import UsageError

ABOUT: dict[str, Any] = load((ROOT / "template.yaml").read_text())["Metadata"][
    "AWS::ServerlessRepo::Application"
]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A small build, as SAM CLI leaves it."""
    for name, text in (("BeatFunction/app.py", "1"), ("HeadcountLayer/python/a.py", "2")):
        path = tmp_path / "build" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "build" / "template.yaml").write_text(
        "Metadata:\n  AWS::ServerlessRepo::Application:\n    LicenseUrl: ../../LICENSE\n"
        "    ReadmeUrl: ../../README.md\nResources:\n"
        "  BeatFunction:\n    Type: AWS::Serverless::Function\n    Properties:\n"
        "      CodeUri: BeatFunction\n      Role: !Ref Role\n"
        "  HeadcountLayer:\n    Type: AWS::Serverless::LayerVersion\n    Properties:\n"
        "      ContentUri: HeadcountLayer\n"
    )
    return tmp_path / "build"


@pytest.mark.slow
def test_all_that_the_template_names_is_in_the_folder(build: Path, tmp_path: Path) -> None:
    target = tmp_path / "headcount-1"
    release(build, target)
    parsed = yaml_parse((target / "template.yaml").read_text())
    about = parsed["Metadata"]["AWS::ServerlessRepo::Application"]
    properties = [one["Properties"] for one in parsed["Resources"].values()]
    named = [*about.values(), properties[0]["CodeUri"], properties[1]["ContentUri"]]
    assert named == ["LICENSE", "README.md", "code/BeatFunction.zip", "code/HeadcountLayer.zip"]
    assert all((target / name).is_file() for name in named)
    with zipfile.ZipFile(target / "code" / "HeadcountLayer.zip") as packed:
        assert packed.namelist() == ["python/a.py"]
    assert json.loads((target / "cdk" / "template.json").read_text()) == parsed
    how = (target / "README.md").read_text()
    for name in re.findall(rf"\./(?:headcount-{version()}/)?([\w./-]+)", how):
        assert (target / name).is_file(), name
    assert "VERSION" not in how


def test_without_a_build_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="make build"):
        release(tmp_path, tmp_path / "made")


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    made = []
    for name in ("first", "second"):
        folder = tmp_path / name
        for file in ("b/c.py", "a.py") if made else ("a.py", "b/c.py"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(file)
        archive(folder, tmp_path / f"{name}.zip")
        made.append((tmp_path / f"{name}.zip").read_bytes())
    assert made[0] == made[1]


def test_its_settings_are_those_that_deploy_to_aws() -> None:
    ours = tomllib.loads((ROOT / "samconfig.toml").read_text())
    found = tomllib.loads(deploy_settings((ROOT / "samconfig.toml").read_text()))
    assert found == {
        "version": ours["version"],
        "default": {"deploy": ours["default"]["deploy"]},
        "prod": {"deploy": ours["prod"]["deploy"]},
    }


def test_there_is_one_version() -> None:
    packages = ("clients/package/package.json", "cdk/package.json")
    assert {json.loads((ROOT / name).read_text())["version"] for name in packages} == {version()}
    assert headcount.__version__ == ABOUT["SemanticVersion"] == version()


def test_sam_publish_would_publish_it() -> None:
    client: Any = boto3.client(
        "serverlessrepo",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    packaged = ABOUT | {name: f"s3://bucket/{ABOUT[name]}" for name in ("LicenseUrl", "ReadmeUrl")}
    document = load((ROOT / "template.yaml").read_text())
    document["Metadata"] = {"AWS::ServerlessRepo::Application": packaged}
    with Stubber(client) as stub:
        stub.add_response(
            "create_application",
            {"ApplicationId": "arn"},
            dict.fromkeys((*packaged, "TemplateBody"), ANY),
        )
        assert publish_application(document, client)["actions"] == ["CREATE_APPLICATION"]
        stub.assert_no_pending_responses()
    # What the service refuses, by its documentation.
    assert re.fullmatch(r"[A-Za-z0-9-]{1,140}", ABOUT["Name"])
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", ABOUT["Author"])
    assert 0 < len(ABOUT["Description"]) <= 256
    assert len(ABOUT["Labels"]) <= 10
    assert all(re.fullmatch(r"[\w+:/@-]{1,127}", label) for label in ABOUT["Labels"])
    assert (ROOT / "LICENSE").read_text().startswith(f"{ABOUT['SpdxLicenseId']} License")
    assert all((ROOT / ABOUT[name]).is_file() for name in ("LicenseUrl", "ReadmeUrl"))
