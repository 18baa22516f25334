"""Following the README deploys a stack: Enter answers every question.

Here SAM CLI stops before CloudFormation and runs in the folder as checked out; test_fresh_copy.py
builds and deploys.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.harness.template import ROOT, template
from tests.docs.commands import words
from tests.docs.readme import deployment
from tests.support.stub_cloudformation import Calls, stub_cloudformation

T = template()
LIMIT = 120  # seconds
pytestmark = pytest.mark.exhaustive

ENTER = "\n" * 200
_QUESTION = re.compile(r"(?:^|\t)([A-Z#][^\t\n\[]*) \[([^\]]*)\]: ", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a clone that SAM CLI reads."""
    for name in ("template.yaml", "samconfig.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    left_out = shutil.ignore_patterns("__pycache__", "node_modules", "built")
    for name in ("functions", "layers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left_out)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def run(command: list[str], folder: Path, calls: Calls, typed: str) -> str:
    """A command's output, in a terminal whose AWS is the stub, with this input."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=kept
        | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": calls.url,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.1",
        },
        input=typed,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    return done.stdout + done.stderr


def given(call: dict[str, str]) -> dict[str, str]:
    """The parameters of a change set, with CloudFormation's defaults."""
    found = {}
    for key, name in call.items():
        if member := re.fullmatch(r"(Parameters\.member\.\d+)\.ParameterKey", key):
            default = T.defaults[name] if f"{member[1]}.UsePreviousValue" not in call else None
            found[name] = call.get(f"{member[1]}.ParameterValue", default or "")
    return found


def assert_deployed(calls: Calls, output: str) -> None:
    """The change set was executed, with defaults for all parameters that were not given."""
    (made,) = calls.named("CreateChangeSet")
    assert (made["StackName"], made["ChangeSetType"]) == ("headcount", "CREATE")
    assert made["Capabilities.member.1"] == "CAPABILITY_IAM"
    assert given(made).items() <= T.defaults.items()
    (begun,) = calls.named("ExecuteChangeSet")
    assert begun["StackName"] == "headcount"
    layers = T.of_type("AWS::Serverless::LayerVersion")
    # The template itself, and two texts for the Serverless Application Repository.
    assert len(calls.uploads) == len(T.functions) + len(layers) + 3
    assert "Security Constraints Not Satisfied" not in output


def test_the_readme_deploys_in_three_commands() -> None:
    build, deploy, token = deployment()
    assert words(build) == ["make", "build"]
    assert deploy.startswith(".venv/bin/sam deploy")
    assert words(token) == ["make", "token", "STACK=headcount"]


def test_the_readmes_command_asks_no_questions(folder: Path) -> None:
    _, deploy, _ = deployment()
    with stub_cloudformation() as calls:
        output = run(words(deploy), folder, calls, "")
        assert_deployed(calls, output)
    assert _QUESTION.findall(output) == []
    assert "?" not in output


def test_production_asks_no_questions_either(folder: Path) -> None:
    with stub_cloudformation() as calls:
        output = run([".venv/bin/sam", "deploy", "--config-env", "prod"], folder, calls, "")
        (made,) = calls.named("CreateChangeSet")
        assert len(calls.named("ExecuteChangeSet")) == 1
    assert made["StackName"] == "headcount-prod"
    assert given(made)["ProtectTables"] == "true"
    assert _QUESTION.findall(output) == []


def test_enter_answers_all_guided_questions_and_the_saved_answers_deploy_again(
    folder: Path,
) -> None:
    with stub_cloudformation() as calls:
        output = run([".venv/bin/sam", "deploy", "--guided"], folder, calls, ENTER)
        assert_deployed(calls, output)
    assert [question for question, _ in _QUESTION.findall(output)] == [
        *("Stack Name", "AWS Region"),
        *[f"Parameter {name}" for name in T.parameters],
        *("Confirm changes before deploy", "Allow SAM CLI IAM role creation", "Disable rollback"),
        *("Save arguments to configuration file", "SAM configuration file"),
        "SAM configuration environment",
    ]
    with stub_cloudformation() as calls:
        again = run([".venv/bin/sam", "deploy"], folder, calls, "")
        assert_deployed(calls, again)
        assert given(calls.named("CreateChangeSet")[0]) == T.defaults
    assert _QUESTION.findall(again) == []
