"""Every policy of the template, as IAM reads it: known actions on resources they support."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from lab.harness.template import ROOT
from local.bootstrap import ENVIRONMENTS
from tests.support.missing import missing
from tests.template.rendering import Rendered, every_pair, rendered

SCRIPT = ROOT / "tests" / "template" / "policies.py"

ACCEPTED = {
    ("ContainersRole", "PERMISSIONS_MANAGEMENT_ACTIONS"): (
        "ECS takes on the roles that its tasks run under: iam:PassRole on those two, to ECS alone"
    ),
}
"""(Role, issue) -> why it is intended."""

ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:us-east-1:123456789012:table/{name}",
    "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:us-east-1:123456789012:log-group:{name}:*",
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:{name}",
    "AWS::Events::Rule": "arn:aws:events:us-east-1:123456789012:rule/{name}",
}
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf"


@cache
def environment() -> str:
    """The Python with parliament, installed if missing."""
    done = subprocess.run(
        [sys.executable, "-m", "local.bootstrap", "policies"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        missing("parliament", f"the package index must be reached once: {done.stderr}")
    return str(ENVIRONMENTS["policies"] / "bin" / "python")


def checked(policies: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(Name, issue, subject) of all of parliament's findings."""
    done = subprocess.run(
        [environment(), str(SCRIPT)],
        input=json.dumps(policies),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [(name, issue, about) for name, issue, about in json.loads(done.stdout)]


def deployed(value: Any, stack: Rendered) -> Any:
    """A rendered value with the ARNs that a deployment would have."""

    def arn(name: str, attribute: str) -> str:
        kind = stack.resources[name]["Type"]
        text = ARNS[kind].format(name=name)
        return f"{text}/stream/2026" if attribute == "StreamArn" else text

    def referred(name: str) -> str:
        is_secret = stack.resources[name]["Type"] == "AWS::SecretsManager::Secret"
        return SECRET.format(name=name) if is_secret else f"{name}-id"

    def filled(match: re.Match[str]) -> str:
        name, _, attribute = match[1].partition(".")
        return arn(name, attribute) if attribute else referred(name)

    match value:
        case {"Ref": str(name)}:
            return referred(name)
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return arn(name, attribute)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", filled, text)
        case dict():
            return {key: deployed(one, stack) for key, one in value.items()}
        case list():
            return [deployed(one, stack) for one in value]
    return value


def policies(stack: Rendered) -> Iterator[tuple[str, Any]]:
    """(Resource, policy) of every policy that grants actions, without trust policies."""
    for name, role in stack.of_type("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            yield name, policy["PolicyDocument"]
    for kind in ("AWS::SQS::QueuePolicy", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for name, properties in stack.of_type(kind).items():
            yield name, properties["PolicyDocument"]


def distinct() -> dict[str, Any]:
    """Every distinct policy over all pairs of parameter values, by resource and number."""
    found: dict[str, Any] = {}
    known: set[str] = set()
    for row in every_pair():
        stack = rendered(**row)
        for name, policy in policies(stack):
            text = json.dumps(deployed(policy, stack), sort_keys=True)
            if text not in known:
                known.add(text)
                found[f"{name}/{len(found)}"] = json.loads(text)
    return found


@pytest.mark.exhaustive
def test_parliament_finds_only_intended_issues() -> None:
    found = {(name.split("/")[0], issue, about) for name, issue, about in checked(distinct())}
    unexpected = sorted(one for one in found if one[:2] not in ACCEPTED)
    assert unexpected == []
    assert {one[:2] for one in found} == ACCEPTED.keys()


def statement(**changes: Any) -> dict[str, Any]:
    usual = {
        "Effect": "Allow",
        "Action": ["dynamodb:GetItem"],
        "Resource": [ARNS["AWS::DynamoDB::Table"].format(name="PresenceTable")],
    }
    return {"Version": "2012-10-17", "Statement": [{**usual, **changes}]}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("changes", "issue"),
    [
        ({}, None),
        ({"Action": ["dynamodb:ListStreams"]}, "RESOURCE_MISMATCH"),
        ({"Action": ["dynamodb:GetItems"]}, "UNKNOWN_ACTION"),
        ({"Resource": [ARNS["AWS::SQS::Queue"].format(name="ErrandQueue")]}, "RESOURCE_MISMATCH"),
        ({"Resource": ["PresenceTable"]}, "INVALID_ARN"),
        (
            {"Condition": {"StringEquals": {"dynamodb:Colour": "red"}}},
            "UNKNOWN_CONDITION_FOR_ACTION",
        ),
    ],
)
def test_a_wrong_policy_is_noticed(changes: dict[str, Any], issue: str | None) -> None:
    issues = [found for _, found, _ in checked({"one": statement(**changes)})]
    assert issues == ([issue] if issue else [])
