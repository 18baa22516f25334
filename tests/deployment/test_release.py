"""A release deploys from its folder alone, as its README says: by SAM CLI, and in a CDK app."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from lab.harness import npm
from lab.harness.clients import Api, Loop, eventually
from local.build import build, build_lock
from local.release import release, version
from local.settings import BUILD_DIR, ROOT, VENV_BIN, Settings
from tests.deployment.test_fresh_copy import Newcomer, newcomer_in
from tests.docs.commands import commands
from tests.docs.pages import page
from tests.support.missing import missing

pytestmark = [pytest.mark.stack, pytest.mark.exhaustive]

CDK = ROOT / ".local" / "cdk"
OLDEST_NODE = 20
SPACE = "site:main"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, with code for this machine, as the emulator runs functions with it."""
    made = tmp_path_factory.mktemp("app") / f"headcount-{version()}"

    async def make() -> None:
        async with build_lock():
            await build(Settings(home=made.parent))
            release(BUILD_DIR, made)

    with Loop() as loop:
        loop.run(make(), within=300)
    return made


@pytest.fixture
def newcomer(folder: Path, tmp_path: Path) -> Iterator[Newcomer]:
    """Somebody with a release and nothing else."""
    with newcomer_in(folder, tmp_path / "emulator") as newcomer:
        yield newcomer


def blocks(folder: Path, language: str) -> list[str]:
    """The README's blocks in a language."""
    of = page(folder / "README.md")
    return [block.text for block in of.blocks if block.language == language]


def test_sam_deploy_in_the_folder_makes_a_stack_that_counts(newcomer: Newcomer) -> None:
    deploy, publish, *_, afterwards = blocks(newcomer.folder, "sh")
    assert commands(deploy) == ["sam deploy"]
    output = newcomer.type(f"PATH={VENV_BIN}:$PATH; {deploy}")
    assert "Successfully created/updated stack - headcount" in output
    stack = newcomer.stack()
    token = [newcomer.type(command) for command in commands(afterwards)][-1].split()[-1]
    # What the stack's own outputs say comes next works in the folder.
    assert newcomer.type(stack.outputs["NextStep"])
    origin = f"{newcomer.settings.execute_api_url}/{stack.outputs['HttpApiId']}/$default"
    with Loop() as loop, Api(loop, origin, token) as api:
        assert api.beat(SPACE, "s1", page="/")["count"] == 1
        eventually(lambda: api.headcount(SPACE)["people"] == 1, 30)
        assert api.get("/v1/spaces").status == 200
        for path in ("/dashboard", "/headcount.js"):
            assert api.request("GET", path).status == 200
    package, _ = commands(publish)
    newcomer.type(f"PATH={VENV_BIN}:$PATH; {package}")
    packaged = yaml_parse((newcomer.folder / "packaged.yaml").read_text())
    about = packaged["Metadata"]["AWS::ServerlessRepo::Application"]
    assert all(about[name].startswith("s3://") for name in ("LicenseUrl", "ReadmeUrl"))


def test_a_cdk_app_synthesizes_the_same_template_with_the_same_code(
    folder: Path, tmp_path: Path
) -> None:
    try:
        npm.install(ROOT / "cdk", CDK, oldest_node=OLDEST_NODE)
    except npm.UnavailableError as error:
        missing("aws-cdk-lib", str(error))
    (block,) = blocks(folder, "js")
    (folder.parent / "app.js").write_text(
        f"{block}\nconst made = app.synth();\n"
        "const { template } = made.getStackByName('headcount');\n"
        "process.stdout.write(JSON.stringify({ folder: made.directory, template }));\n"
    )
    done = subprocess.run(
        ["node", "app.js"],
        cwd=folder.parent,
        env={**os.environ, "NODE_PATH": f"{CDK}/node_modules", "CDK_OUTDIR": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    made: dict[str, Any] = json.loads(done.stdout)
    found, expected = made["template"], yaml_parse((folder / "template.yaml").read_text())
    where = found["Outputs"].pop("Where")
    assert where["Value"] == expected["Outputs"]["HttpUrl"]["Value"]
    # What CDK adds to every stack: a check that the account is bootstrapped.
    del found["Parameters"]["BootstrapVersion"], found["Rules"]["CheckBootstrapVersion"]
    coded = 0
    for name, resource in expected["Resources"].items():
        for code in {"CodeUri", "ContentUri"} & {*resource.get("Properties", {})}:
            file = folder / resource["Properties"].pop(code)
            uploaded = found["Resources"][name]["Properties"].pop(code)
            assert re.search(r"^cdk-\w+-assets-", uploaded["Bucket"]["Fn::Sub"])
            asset = Path(made["folder"]) / f"asset.{uploaded['Key']}"
            assert asset.read_bytes() == file.read_bytes()
            coded += 1
    assert coded == len([*(folder / "code").iterdir()])
    assert found == json.loads(json.dumps(expected, default=str))
