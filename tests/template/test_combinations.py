"""The template as SAM translates it, for a set of parameters that covers every pair of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, permutations, product
from typing import Any

import pytest

from lab.harness.template import template, translated
from tests.template.rendering import (
    Rendered,
    allowed,
    choices,
    depends_on,
    every_pair,
    pretty,
    references,
    rendered,
)

ROWS = every_pair()
TRACE = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
NAMES = {
    "AWS::CloudFront::CachePolicy": "CachePolicyConfig",
    "AWS::CloudFront::Function": "Name",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::Logs::QueryDefinition": "Name",
    "AWS::ApiGatewayV2::DomainName": "DomainName",
}
"""Type -> properties that must be unique."""


def records(of: Rendered) -> Iterator[tuple[str, tuple[str, str]]]:
    """(Logical id, (name, type)) of each record in DNS."""
    for name, record in of.of_type("AWS::Route53::RecordSet").items():
        yield name, (record["Name"], record["Type"])
    for name, group in of.of_type("AWS::Route53::RecordSetGroup").items():
        for record in group["RecordSets"]:
            yield name, (record["Name"], record["Type"])


def named(of: Rendered) -> Iterator[tuple[str, tuple[str, str]]]:
    """(Logical id, name) of each resource whose name must be unique in the account."""
    yield from records(of)
    for kind, key in NAMES.items():
        for name, properties in of.of_type(kind).items():
            if key in properties:
                yield name, (kind, str(properties[key]))


def may_trace(of: Rendered, function: Mapping[str, Any]) -> bool:
    """Whether the function's role, its only dependency, allows tracing."""
    role = of.resources[function["Role"]["Fn::GetAtt"][0]]["Properties"]
    return any(
        set(statement["Action"]) >= TRACE and statement["Effect"] == "Allow"
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_a_combination_of_parameters_makes_a_valid_stack(row: int) -> None:
    parameters = ROWS[row]
    stack = rendered(translated(parameters), **parameters)
    there = stack.resources.keys()
    waits_for: dict[str, set[str]] = {}
    for name, resource in stack.resources.items():
        named_there = set(references(resource))
        dangling = {one for one in named_there - there if not one.startswith("AWS::")}
        assert not dangling, f"{name} refers to {dangling}: {pretty(parameters)}"
        # CloudFormation ignores a dependency that does not exist.
        waits_for[name] = (named_there | set(depends_on(resource))) & there
    for name, output in stack.outputs.items():
        assert set(references(output)) <= there, name
    try:
        assert len(list(TopologicalSorter(waits_for).static_order())) == len(there)
    except CycleError as error:
        pytest.fail(f"{error.args[1]} wait for each other: {pretty(parameters)}")
    for name, function in stack.of_type("AWS::Lambda::Function").items():
        mode = function["TracingConfig"]["Mode"]
        assert (mode == "Active") is may_trace(stack, function), name
    names = Counter(taken for _, taken in named(stack))
    assert [name for name, times in names.items() if times > 1] == []


def test_every_pair_of_values_is_covered_unless_a_rule_rejects_it() -> None:
    assert ROWS[0] == template().defaults
    assert all(allowed(row) for row in ROWS)
    met = {pair for row in ROWS for pair in combinations(sorted(row.items()), 2)}
    apart = [
        ((one, value), (other, another))
        for one, other in combinations(sorted(template().parameters), 2)
        for value, another in product(choices(one), choices(other))
        if ((one, value), (other, another)) not in met
    ]
    # Each of those pairs is rejected, both with the defaults and with everything turned on.
    for one, other in apart:
        for row in ROWS:
            assert not allowed({**row, **dict([one, other])})


def test_a_parameter_has_a_value_besides_its_default_or_only_one() -> None:
    single = {name for name in template().parameters if len(set(choices(name))) == 1}
    assert single == set()


DOMAINS = ("Edge", "DomainName", "SocketDomainName", "HostedZoneId")


def of_domains() -> list[Rendered]:
    """A stack for every combination of the parameters that DNS records depend on."""
    certificate = choices("CertificateArn")[-1]
    given = [
        {**dict(zip(DOMAINS, values, strict=True)), "CertificateArn": certificate}
        for values in product(*map(choices, DOMAINS))
    ]
    return [rendered(**one) for one in given if allowed({**template().defaults, **one})]


def test_no_update_creates_a_record_while_another_of_its_name_exists() -> None:
    """CloudFormation creates new resources before it deletes old ones."""
    stacks = of_domains()
    assert len(stacks) > 8
    for before, after in permutations(stacks, 2):
        was = {taken: name for name, taken in named(before)}
        for name, taken in named(after):
            assert was.get(taken, name) == name, (taken, pretty(before.parameters))
