"""A deployed stack and its template, which says what is expected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import Any

from botocore.session import Session

from headcount_cli.aws import explained
from headcount_cli.doctor.template import UNKNOWN, Resolver
from headcount_cli.target import Stack

_ARNS = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the template, with its properties resolved and its name in AWS."""

    id: str
    type: str
    name: str | None
    properties: Mapping[str, Any]


class Deployed:
    """A stack's resources, and AWS's answers about them (each call is made once)."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._lock = Lock()
        self._answers: dict[tuple[str, str, str], Any] = {}
        _, self.partition, _, self.region, self.account, *_ = stack.described["StackId"].split(":")
        advice = "This needs cloudformation:DescribeStacks, GetTemplate and ListStackResources."
        with explained(f"The stack {stack.name} can't be examined", advice=advice):
            self.template = self._template()
            self._names = dict(self._physical_ids())
        self._resolver = Resolver(self.template, stack.parameters, self._ref, self._attribute)
        # Created here because creating clients is not thread-safe.
        for service in SERVICES:
            stack.client(service)

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """AWS's answer; the call is made once. Raises ClientError or BotoCoreError."""
        key = service, operation, json.dumps(parameters, sort_keys=True, default=str)
        with self._lock:
            if key in self._answers:
                return self._answers[key]
        answer = getattr(self.stack.client(service), operation)(**parameters)
        with self._lock:
            self._answers[key] = answer
        return answer

    @cached_property
    def resources(self) -> list[Resource]:
        """The resources whose condition holds."""
        return self._resources(created=True)

    @cached_property
    def absent(self) -> list[Resource]:
        """The resources whose condition does not hold: other parameters would create them."""
        return self._resources(created=False)

    def of_type(self, kind: str) -> list[Resource]:
        """The resources of a type."""
        return [one for one in self.resources if one.type == kind]

    def named(self, name: object, kind: str) -> Resource | None:
        """The resource of a type that has this name in AWS."""
        return next((one for one in self.of_type(kind) if one.name == name), None)

    def arn(self, resource: Resource) -> Any:
        """A resource's ARN."""
        return self._attribute(resource.id, "Arn")

    def parameter_of(self, resource: Resource, *path: str) -> str | None:
        """Which parameter sets a property: ``Parameter``, or ``Parameter=setting`` if the parameter
        holds several settings. None if the property is fixed in the template."""
        value: Any = self.template["Resources"][resource.id].get("Properties", {})
        for step in path:
            value = value.get(step, {}) if isinstance(value, Mapping) else {}
        text = json.dumps(value)
        named = re.search(r'^{"Ref": "(\w+)"}$|\$\{(\w+)\}', text)
        parameter = named and (named[1] or named[2])
        if parameter not in self.template.get("Parameters", {}):
            return None
        setting = re.search(r'",([a-z-]+=)"', text)
        return f"{parameter}={setting[1].rstrip('=')}" if setting else parameter

    def _resources(self, *, created: bool) -> list[Resource]:
        return [
            Resource(
                logical_id,
                one["Type"],
                self._names.get(logical_id),
                self._resolver.resolve(one.get("Properties", {})),
            )
            for logical_id, one in self.template["Resources"].items()
            if self._resolver.holds(one.get("Condition")) is created
        ]

    def _template(self) -> Mapping[str, Any]:
        answer = self.stack.client("cloudformation").get_template(
            StackName=self.stack.name, TemplateStage="Processed"
        )
        body: Any = answer["TemplateBody"]
        template: Mapping[str, Any] = json.loads(body) if isinstance(body, str) else body
        return template

    def _physical_ids(self) -> Iterator[tuple[str, str]]:
        pages = self.stack.client("cloudformation").get_paginator("list_stack_resources")
        for page in pages.paginate(StackName=self.stack.name):
            for one in page["StackResourceSummaries"]:
                yield one["LogicalResourceId"], one.get("PhysicalResourceId", "")

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": _dns_suffix(self.partition),
            "AWS::StackName": self.stack.name,
            "AWS::StackId": self.stack.described["StackId"],
        }
        return pseudo.get(name) or self._names.get(name) or UNKNOWN

    def _attribute(self, logical_id: str, attribute: str) -> Any:
        kind = self.template["Resources"].get(logical_id, {}).get("Type")
        name = self._names.get(logical_id)
        if name is None:
            return UNKNOWN
        short = name.rpartition("/")[2] if kind == "AWS::SQS::Queue" else name
        if attribute == "QueueName":
            return short
        if attribute == "Arn" and kind in _ARNS:
            place = _ARNS[kind].format(region=self.region, account=self.account, name=short)
            return f"arn:{self.partition}:{place}"
        if attribute == "StreamArn":
            return f"{self._attribute(logical_id, 'Arn')}/stream/"
        return UNKNOWN


@cache
def _dns_suffix(partition: str) -> str:
    """The domain of a partition's services, such as amazonaws.com."""
    known: Any = Session().get_data("partitions")
    suffixes = {one["id"]: one["outputs"]["dnsSuffix"] for one in known["partitions"]}
    return str(suffixes.get(partition, "amazonaws.com"))


SERVICES = (
    "apigateway",
    "apigatewayv2",
    "cloudformation",
    "cloudfront",
    "cloudwatch",
    "codedeploy",
    "dynamodb",
    "events",
    "iam",
    "lambda",
    "logs",
    "route53",
    "scheduler",
    "secretsmanager",
    "sqs",
)
