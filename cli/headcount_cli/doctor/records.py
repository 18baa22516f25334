"""The DNS records of the stack's domains: all records of these names lead to the stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from headcount_cli.aws import code
from headcount_cli.doctor.checks import Checks, Result
from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Finding, fail, ok, warn
from headcount_cli.doctor.template import UNKNOWN

CHECKS = Checks()

_ONE, _SEVERAL = "AWS::Route53::RecordSet", "AWS::Route53::RecordSetGroup"
_LEADING = {"A", "AAAA", "CNAME"}
"""Types of records that clients follow."""
_ACTIONS = ("route53:ListResourceRecordSets", "apigateway:GET", "cloudfront:GetDistribution")
_NO_ZONE = "NoSuchHostedZone"

Key = tuple[str, str]
"""A record's name and type."""


@CHECKS.of(_ONE, "record", *_ACTIONS)
@CHECKS.of(_SEVERAL, "record", *_ACTIONS)
def record(stack: Deployed, resource: Resource) -> Result:
    """Its name leads to this stack and nowhere else."""
    declared = _declared(resource)
    zone = resource.properties["HostedZoneId"]
    if UNKNOWN in (zone, *(one for key in declared for one in key)):
        return None
    names = sorted({name for name, _ in declared})
    wrong: list[Finding] = []
    for name in names:
        try:
            found = _found(stack, zone, name)
        except ClientError as error:
            if code(error) != _NO_ZONE:
                raise
            return fail(
                f"has no zone: this account has no hosted zone {zone}",
                "deploy with the HostedZoneId of the domain's zone, or without HostedZoneId",
            )
        types = {kind for key, kind in declared if key == name}
        wrong += _wrong_records(stack, resource, name, types, found)
    wrong += [
        warn(
            f"has a duplicate, {other.id}: turning the edge on or off creates one while the other "
            "still exists, which Route 53 refuses, and the update is rolled back",
            "deploy this release's template first, with unchanged parameters: it has one record "
            "for both",
        )
        for other in _duplicates(stack, declared)
    ]
    return wrong or ok(f"{', '.join(names)} leads to this stack")


def _wrong_records(
    stack: Deployed, resource: Resource, name: str, types: set[str], found: list[dict[str, Any]]
) -> Iterator[Finding]:
    """What is wrong with a name's records. ``types``: those that the resource creates."""
    owners = [
        (one.id, kind)
        for one in (*stack.of_type(_ONE), *stack.of_type(_SEVERAL))
        for key, kind in _declared(one)
        if key == name
    ]
    for kind in sorted(types - {one["Type"] for one in found}):
        yield fail(
            f"is gone: {name} has no {kind}",
            "create it again as an alias of the stack's domain or distribution, or deploy without "
            "HostedZoneId and then with it",
        )
    hosts = _hosts(stack, name)
    others = {one["Type"] for one in found} - {kind for _, kind in owners}
    mine = types | (others if owners[0][0] == resource.id else set())
    for one in found:
        kind, target = one["Type"], _target(one)
        if kind not in mine or not hosts:
            continue
        if target not in hosts:
            yield fail(
                f"also leads elsewhere: the {kind} of {name} is {target}, which is not this stack",
                "change or delete that record in the zone; until then AWS rolls back an update "
                "that creates one of the same name and type",
            )
        elif kind in others:
            yield warn(
                f"is joined by a {kind} of {name} that the stack does not own: an update that "
                "creates one, such as turning the edge on, is rolled back",
                "delete that record just before such an update",
            )


def _declared(resource: Resource) -> list[Key]:
    """The names and types of the records that a resource creates."""
    sets = resource.properties.get("RecordSets", [resource.properties])
    return [(one["Name"], one["Type"]) for one in sets]


def _duplicates(stack: Deployed, declared: list[Key]) -> list[Resource]:
    """Resources that other parameters would create, with a record that is declared already."""
    return [
        one
        for one in stack.absent
        if one.type in (_ONE, _SEVERAL) and set(_declared(one)) & set(declared)
    ]


def _found(stack: Deployed, zone: str, name: str) -> list[dict[str, Any]]:
    """The records of a name that clients follow: the first ones of a list that starts there."""
    page = stack.call(
        "route53", "list_resource_record_sets", HostedZoneId=zone, StartRecordName=name
    )
    return [
        one
        for one in page["ResourceRecordSets"]
        if one["Name"].rstrip(".").lower() == name and one["Type"] in _LEADING
    ]


def _target(one: dict[str, Any]) -> str:
    """Where a record leads, as the stack names it."""
    if alias := one.get("AliasTarget"):
        return _normalized(alias["DNSName"])
    return ", ".join(_normalized(each["Value"]) for each in one.get("ResourceRecords", []))


def _normalized(host: str) -> str:
    return host.lower().rstrip(".").removeprefix("dualstack.")


def _hosts(stack: Deployed, name: str) -> set[str]:
    """The hosts that AWS gave the domain of this name."""
    hosts = set()
    for one in stack.of_type("AWS::ApiGatewayV2::DomainName"):
        if one.properties["DomainName"] == name:
            found = stack.call("apigatewayv2", "get_domain_name", DomainName=name)
            places = found.get("DomainNameConfigurations", [])
            hosts |= {place.get("ApiGatewayDomainName", "") for place in places}
    for one in stack.of_type("AWS::CloudFront::Distribution"):
        if name in one.properties["DistributionConfig"].get("Aliases", []):
            found = stack.call("cloudfront", "get_distribution", Id=one.name)
            hosts.add(found["Distribution"]["DomainName"])
    return {_normalized(host) for host in hosts}
