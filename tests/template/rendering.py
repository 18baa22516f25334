"""The template as CloudFormation gets it: translated by SAM, rendered for parameters."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from lab.harness.template import NO_VALUE, Resolver, Template, template, translated


@dataclass(frozen=True, slots=True)
class Place:
    """A stack's account, region and partition."""

    region: str = "us-east-1"
    partition: str = "aws"
    suffix: str = "amazonaws.com"
    account: str = "123456789012"

    def pseudo(self, stack: str) -> dict[str, Any]:
        """The pseudo parameters of a stack there."""
        return {
            "AWS::NoValue": NO_VALUE,
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.suffix,
            "AWS::StackName": stack,
            "AWS::StackId": f"arn:{self.partition}:cloudformation:{self.region}:{self.account}"
            f":stack/{stack}/6d5c3b2a-1f0e-4d9c-8b7a-5e4f3c2d1b0a",
        }


class _Renderer(Resolver):
    """Resolves everything except references to resources, which only a deployment knows."""

    def _ref(self, name: str) -> Any:
        known = super()._ref(name)
        return {"Ref": name} if known == name else known

    def _get_att(self, path: list[str]) -> Any:
        return {"Fn::GetAtt": path}

    def _sub(self, what: str | list[Any]) -> Any:
        text, own = (what, {}) if isinstance(what, str) else (what[0], self.resolve(what[1]))
        left: dict[str, Any] = {}

        def filled(match: re.Match[str]) -> str:
            value = own[match[1]] if match[1] in own else self._ref(match[1])
            if not isinstance(value, dict):
                return str(value)
            if match[1] in own:
                left[match[1]] = value
            return match[0]

        done = re.sub(r"\$\{([^}!]+)\}", filled, text)
        if "${" not in done:
            return done
        return {"Fn::Sub": [done, left] if left else done}


@dataclass(frozen=True, slots=True)
class Rendered:
    """The resources and outputs of a rendered template."""

    parameters: Mapping[str, str]
    resources: dict[str, Any]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, Any]:
        """Logical id -> properties of the resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def document(self) -> dict[str, Any]:
        """A template without parameters and conditions."""
        return {"Resources": self.resources, "Outputs": self.outputs}


def rendered(
    document: dict[str, Any] | None = None,
    *,
    place: Place = Place(),
    stack: str = "headcount",
    only: str = "",
    **given: str,
) -> Rendered:
    """The template rendered with these parameters.

    ``document``: SAM's translation for them; by default the cached one without parameters.
    ``only``: only the resources of this type.
    """
    document = document or _translated()
    parameters = {**template().defaults, **given}
    resolver = _Renderer(Template(document), parameters, place.pseudo(stack))
    declared = {
        name: one for name, one in document["Resources"].items() if only in {"", one["Type"]}
    }
    outputs = {} if only else document["Outputs"]
    return Rendered(parameters, _there(declared, resolver), _there(outputs, resolver))


@cache
def _translated() -> dict[str, Any]:
    return translated()


def _there(declared: dict[str, Any], resolver: Resolver) -> dict[str, Any]:
    return {
        name: {key: value for key, value in resolver.resolve(one).items() if key != "Condition"}
        for name, one in declared.items()
        if "Condition" not in one or resolver.holds({"Condition": one["Condition"]})
    }


def references(value: Any) -> Iterator[str]:
    """The logical ids that a rendered value refers to."""
    match value:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::GetAtt": str(name)}:
            yield name.split(".")[0]
        case {"Fn::Sub": str(text)}:
            yield from re.findall(r"\$\{([A-Za-z0-9]+)", text)
        case {"Fn::Sub": [str(text), dict(own)]}:
            yield from set(re.findall(r"\$\{([A-Za-z0-9]+)", text)) - set(own)
            yield from references(list(own.values()))
        case dict():
            yield from references(list(value.values()))
        case list():
            for one in value:
                yield from references(one)


def depends_on(resource: Mapping[str, Any]) -> list[str]:
    """The logical ids that a resource waits for by name."""
    names = resource.get("DependsOn", [])
    return [names] if isinstance(names, str) else names


# ----------------------------------------------------------------------- parameters and their pairs

EXAMPLES = (
    "arn:aws:secretsmanager:us-east-1:123456789012:secret:tokens-AbCdEf",
    "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
    "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
    "arn:aws:sns:us-east-1:123456789012:alerts",
    "https://example.com/it",
    "Z0123456789ABCDEFGHIJ",
    "live",
)
"""Example values; a parameter with a pattern gets the first one that matches."""
NAMED = {
    # Where patterns are ambiguous, or where two values must differ.
    "DomainName": ["", "live.example.com"],
    "SocketDomainName": ["", "sockets.example.com"],
    "Containers": [
        "",
        "cluster=live",
        (
            "cluster=live,task-definition=encoder,subnets=subnet-0a1b2c3d+subnet-0c2d,"
            "security-groups=sg-0a1b2c3d,public-ip=true"
        ),
        (
            "task-definition=encoder:7,cluster=live,task-role=arn:aws:iam::123456789012:role/task,"
            "execution-role=arn:aws:iam::123456789012:role/execution"
        ),
    ],
    "Deployment": ["AllAtOnce", "Canary10Percent5Minutes", "Linear10PercentEvery10Minutes:v2"],
    "Limits": ["", "requests-per-second=100,sweeps-per-minute=6,beat-concurrency=200"],
    "Settings": [
        "",
        "dashboard=false,alert-topic=arn:aws:sns:us-east-1:123456789012:alerts,own-address=closed",
        (
            "webhook-secret=arn:aws:secretsmanager:us-east-1:123456789012:secret:hooks-AbCdEf,"
            "token-cookie=session,beat-url=on,people=off,budget=25,lake=my-bucket/days"
        ),
    ],
    "RollUps": ["", "on", "some=site:*,site:main everywhere=*"],
    "Kinds": ["site:counts=public", "site:counts=public doc:lease=90,ids=a+b"],
    "AllowedOrigins": ["*", "https://example.com https://www.example.com"],
}
CHOICES = 3
"""How many of a parameter's allowed values are tried."""


def choices(name: str) -> list[str]:
    """Values of a parameter: its default, and others that it accepts."""
    spec = template().parameters[name]
    default = str(spec["Default"])
    if name in NAMED:
        return NAMED[name]
    if "AllowedValues" in spec:
        others = [str(one) for one in spec["AllowedValues"] if str(one) != default]
        return [default, *others[: CHOICES - 1]]
    if spec["Type"] == "Number":
        least, most = spec["MinValue"], spec.get("MaxValue", int(default) + 1)
        return [default, str(most if str(least) == default else least)]
    pattern = spec.get("AllowedPattern", ".*")
    return [default, next(one for one in EXAMPLES if re.fullmatch(pattern, one))]


def allowed(parameters: Mapping[str, str]) -> bool:
    """Whether the template's rules accept these parameters."""
    return not refusals(template(), parameters)


def refusals(of: Template, parameters: Mapping[str, str]) -> list[str]:
    """The messages of the template's rules that reject these parameters."""
    return [
        str(one["AssertDescription"])
        for rule in of.document.get("Rules", {}).values()
        if of.holds(rule["RuleCondition"], **parameters)
        for one in rule["Assertions"]
        if not of.holds(one["Assert"], **parameters)
    ]


Pair = tuple[tuple[str, str], tuple[str, str]]


@cache
def every_pair() -> tuple[Mapping[str, str], ...]:
    """Rows of parameters that cover every pair of values, where the rules allow it.

    The first row has all defaults, the second as much turned on as the rules allow.
    """
    names = sorted(template().parameters)
    values = {name: choices(name) for name in names}
    wanted = {
        ((a, one), (b, other))
        for a, b in combinations(names, 2)
        for one in values[a]
        for other in values[b]
    }
    rows: list[Mapping[str, str]] = []

    def take(row: Mapping[str, str]) -> None:
        rows.append(row)
        wanted.difference_update(combinations([(name, row[name]) for name in names], 2))

    take(template().defaults)
    take(_as_much_as_may_be(values))
    dice = random.Random(12)  # noqa: S311 - the same rows every time
    while wanted:
        first = min(wanted)
        row = max(
            (_row_with(first, values, wanted, dice) for _ in range(4)),
            key=lambda one: _new(one, wanted),
        )
        if row is None:
            wanted.discard(first)  # the rules reject this pair
        else:
            take(row)
    return tuple(rows)


def _as_much_as_may_be(values: Mapping[str, list[str]]) -> Mapping[str, str]:
    """Every parameter with its last value, except where the rules reject it."""
    row = template().defaults
    for name in [*values, *values]:  # a value may need another that is set later
        more = {**row, name: values[name][-1]}
        row = more if allowed(more) else row
    return row


def _new(row: Mapping[str, str] | None, wanted: set[Pair]) -> int:
    return len(wanted & set(combinations(sorted(row.items()), 2))) if row else -1


def _row_with(
    pair: Pair, values: Mapping[str, list[str]], wanted: set[Pair], dice: random.Random
) -> Mapping[str, str] | None:
    """Parameters with this pair and many other wanted pairs; None if the rules reject all."""
    for tried in range(40):
        row = dict(pair)
        rest = [name for name in values if name not in row]
        dice.shuffle(rest)
        for name in rest:
            if tried % 2:  # with strict rules, random choice finds what greedy choice misses
                row[name] = dice.choice(values[name])
                continue
            row[name] = max(
                dice.sample(values[name], len(values[name])),
                key=lambda value, name=name, row=row: sum(  # type: ignore[misc]
                    (min((name, value), one), max((name, value), one)) in wanted
                    for one in row.items()
                ),
            )
        if allowed(row):
            return row
    return None


def pretty(parameters: Mapping[str, str]) -> str:
    """The differences from the defaults, for a test's message."""
    defaults = template().defaults
    return json.dumps({k: v for k, v in parameters.items() if v != defaults[k]}, sort_keys=True)
