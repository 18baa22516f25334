"""A fake AWS with a test's answers, validated against botocore's models of its services."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator
from headcount_cli.doctor.deployed import SERVICES, Deployed
from headcount_cli.target import Stack

ACCOUNT, REGION = "123456789012", "us-east-1"
STACK_ID = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/headcount/1"
REQUIRED = ("describe_stacks", "get_template", "list_stack_resources")
"""Nothing can be examined without these."""


def refused(code: str, operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


@cache
def operations(service: str) -> dict[str, OperationModel]:
    """A service's operations by the names that boto3 gives them."""
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}


def checked(service: str, operation: str, given: Mapping[str, Any], *, output: bool) -> None:
    """Fail if botocore's model has no such operation, parameter or answer."""
    model = operations(service)[operation]
    shape = model.output_shape if output else model.input_shape
    if shape is None:
        assert not given, (service, operation, given)
        return
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), f"{service}.{operation}: {report.generate_report()}"


class Cloud:
    """A client of one service. Answers by operation: a function is called with the parameters, an
    exception is raised, anything else is the answer. ``denied``: other operations are refused."""

    def __init__(self, service: str, answers: Mapping[str, Any], *, denied: bool = False) -> None:
        self.service, self.answers, self.denied = service, answers, denied

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("__"):
            raise AttributeError(operation)

        def answer(**parameters: Any) -> Any:
            checked(self.service, operation, parameters, output=False)
            if self.denied and operation not in self.answers:
                name = operations(self.service)[operation].name
                raise refused("AccessDeniedException", name)
            found = self.answers[operation]
            if callable(found):
                found = found(**parameters)
            if isinstance(found, Exception):
                raise found
            checked(self.service, operation, found, output=True)
            return found

        return answer

    def get_paginator(self, operation: str) -> Any:
        """Of one page."""
        paginator: Any = type("Paginator", (), {})()
        paginator.paginate = lambda **asked: [getattr(self, operation)(**asked)]
        return paginator


def deployed(
    template: Mapping[str, Any],
    names: Mapping[str, str],
    parameters: Mapping[str, str] | None = None,
    *,
    denied: bool = False,
    **answers: Any,
) -> Deployed:
    """A stack of this template; ``names``: its resources' names in AWS."""
    return Deployed(stack_of(template, names, parameters, denied=denied, **answers))


def stack_of(
    template: Mapping[str, Any],
    names: Mapping[str, str],
    parameters: Mapping[str, str] | None = None,
    *,
    denied: bool = False,
    **answers: Any,
) -> Stack:
    """The same, before it is examined."""
    known = {**described(template, names, parameters or {}), **answers}
    clients = {service: Cloud(service, known, denied=denied) for service in SERVICES}
    session: Any = None
    return Stack("headcount", session, _clients=clients)


def described(
    template: Mapping[str, Any], names: Mapping[str, str], parameters: Mapping[str, str]
) -> dict[str, Any]:
    """CloudFormation's answers about such a stack."""
    return {
        "describe_stacks": {
            "Stacks": [
                {
                    "StackName": "headcount",
                    "StackId": STACK_ID,
                    "StackStatus": "CREATE_COMPLETE",
                    "CreationTime": 0,
                    "Parameters": [
                        {"ParameterKey": name, "ParameterValue": value}
                        for name, value in parameters.items()
                    ],
                }
            ]
        },
        # boto3 decodes it, if it can; the model says that it is text
        "get_template": {"TemplateBody": json.dumps(template)},
        "list_stack_resources": {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": key,
                    "PhysicalResourceId": name,
                    "ResourceType": "AWS::X::Y",
                    "LastUpdatedTimestamp": 0,
                    "ResourceStatus": "CREATE_COMPLETE",
                }
                for key, name in names.items()
            ]
        },
    }
