"""Functions' environments: at most 4 KB each, a limit that only Lambda checks."""

from __future__ import annotations

import json
import re
from re import _parser  # type: ignore[attr-defined] # nothing public says how long a match may be
from typing import Any

import pytest

from lab.harness.template import ROOT, template
from tests.template.rendering import Place, rendered

T = template()
LIMIT = 4096
LONGEST_STACK = 128
LONGEST_QUEUE = 80
RANDOM = 13
"""The maximum number of characters that CloudFormation appends to a name."""
DIGEST = 16
"""The length of a build's digest, which replaces its placeholder."""
FARTHEST = Place("cn-northwest-1", "aws-cn", "amazonaws.com.cn")
"""The region with the longest addresses and ARNs."""


def longest(name: str) -> str:
    """The longest text that a parameter accepts."""
    spec = T.parameters[name]
    if "AllowedValues" in spec:
        return max(map(str, spec["AllowedValues"]), key=len)
    if spec["Type"] == "Number":
        return str(spec.get("MaxValue", 10**10 - 1))
    bounds = [int(spec.get("MaxLength", LIMIT)), _width(spec.get("AllowedPattern", ".*"))]
    return "x" * min(bounds)


def _width(pattern: str) -> int:
    _, most = _parser.parse(pattern).getwidth()
    return min(int(most), LIMIT)


def made_name(logical: str, kind: str, stack: str) -> str:
    """The longest possible name or address of a resource."""
    name = f"{stack}-{logical}-{'r' * RANDOM}"
    if kind == "AWS::SQS::Queue":
        host = f"https://sqs.{FARTHEST.region}.{FARTHEST.suffix}/{FARTHEST.account}/"
        return host + name[:LONGEST_QUEUE]
    if kind == "AWS::SecretsManager::Secret":
        place = f"{FARTHEST.partition}:secretsmanager:{FARTHEST.region}:{FARTHEST.account}"
        return f"arn:{place}:secret:{logical}-{'r' * RANDOM}-{'r' * 6}"
    return name


def measured(stack: str, **parameters: str) -> dict[str, int]:
    """Function -> the size of its environment, as Lambda measures it."""
    there = rendered(place=FARTHEST, stack=stack, **parameters)

    def longest_text(value: Any) -> str:
        match value:
            case {"Ref": str(name)}:
                return made_name(name, there.resources[name]["Type"], stack)
            case {"Fn::Sub": str(text)}:  # an API's id
                return re.sub(r"\$\{[A-Za-z]+\}", "x" * 10, text)
        assert isinstance(value, str), value
        return value.replace("unbuilt", "d" * DIGEST)

    return {
        name: len(
            json.dumps(
                {
                    key: longest_text(one)
                    for key, one in function["Environment"]["Variables"].items()
                },
                separators=(",", ":"),
            )
        )
        for name, function in there.of_type("AWS::Lambda::Function").items()
    }


def test_no_environment_exceeds_lambdas_limit() -> None:
    """With any parameters, stack name, region and partition."""
    parameters = {name: longest(name) for name in T.parameters}
    sizes = measured("s" * LONGEST_STACK, **parameters)
    assert len(sizes) == len(T.functions)
    assert {name: size for name, size in sizes.items() if size > LIMIT} == {}
    assert max(sizes.values()) > LIMIT - 256  # so the limits are no stricter than necessary


def test_kinds_get_the_remaining_space_which_is_enough() -> None:
    assert T.parameters["Kinds"]["MaxLength"] >= 4 * len(T.parameters["Kinds"]["Default"])


def test_an_environment_that_is_too_long_is_noticed() -> None:
    assert measured("headcount", Kinds="x" * 3500)["ApiFunction"] > LIMIT


@pytest.mark.parametrize("page", ["deploy.md", "upgrading.md"])
def test_the_pages_name_the_lengths_that_are_accepted(page: str) -> None:
    text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    named = re.findall(r"`(Kinds|AllowedOrigins|EventBus)`[^`]*?(\d[\d,]*)(?=[ ,.;])", text)
    lengths = {name: int(length.replace(",", "")) for name, length in named}
    assert {"Kinds", "AllowedOrigins"} <= lengths.keys()
    assert lengths == {name: len(longest(name)) for name in lengths}
