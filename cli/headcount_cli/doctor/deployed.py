"""A deployed stack beside its template. What is expected is the template's word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount_cli.doctor.template import UNKNOWN, Resolver
from headcount_cli.errors import CommandError
from headcount_cli.target import Stack

_ARNS = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
}
_SUFFIXES = {"aws-cn": "amazonaws.com.cn"}


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that the template says is there: its properties resolved, its name in AWS."""

    id: str
    type: str
    name: str | None
    properties: Mapping[str, Any]


class Deployed:
    """A stack's resources, and what AWS says of them (each asked once)."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._lock = Lock()
        self._said: dict[tuple[str, str, str], Any] = {}
        _, self.partition, _, self.region, self.account, *_ = stack.described["StackId"].split(":")
        try:
            self.template = self._template()
            self._names = dict(self._physical_ids())
        except (ClientError, BotoCoreError) as error:
            raise CommandError(
                f"The stack {stack.name} can't be examined: {error}. It takes "
                "cloudformation:DescribeStacks, GetTemplate and ListStackResources."
            ) from None
        self._resolver = Resolver(self.template, stack.parameters, self._ref, self._attribute)
        # Made here, because making clients is not safe in threads.
        for service in SERVICES:
            stack.client(service)

    def ask(self, service: str, operation: str, **parameters: Any) -> Any:
        """What AWS answers, asked once. ClientError or BotoCoreError where it refuses."""
        key = service, operation, json.dumps(parameters, sort_keys=True, default=str)
        with self._lock:
            if key in self._said:
                return self._said[key]
        answer = getattr(self.stack.client(service), operation)(**parameters)
        with self._lock:
            self._said[key] = answer
        return answer

    @cached_property
    def resources(self) -> list[Resource]:
        """Every resource whose condition holds."""
        return [
            Resource(
                logical_id,
                one["Type"],
                self._names.get(logical_id),
                self._resolver.resolve(one.get("Properties", {})),
            )
            for logical_id, one in self.template["Resources"].items()
            if self._resolver.holds(one.get("Condition"))
        ]

    def of_type(self, kind: str) -> list[Resource]:
        """Those of a type."""
        return [one for one in self.resources if one.type == kind]

    def named(self, name: object, kind: str) -> Resource | None:
        """The resource of a type that has this name in AWS."""
        return next((one for one in self.of_type(kind) if one.name == name), None)

    def arn(self, resource: Resource) -> Any:
        """A resource's ARN."""
        return self._attribute(resource.id, "Arn")

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
            "AWS::URLSuffix": _SUFFIXES.get(self.partition, "amazonaws.com"),
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


SERVICES = (
    "apigatewayv2",
    "cloudformation",
    "cloudfront",
    "cloudwatch",
    "codedeploy",
    "dynamodb",
    "events",
    "lambda",
    "logs",
    "scheduler",
    "secretsmanager",
    "sqs",
)
