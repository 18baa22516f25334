"""Functions that invoke themselves again through a queue. Lambda stops them by default.

Lambda passes a count from message to message and drops the invocation at about the sixteenth,
without an error. It does not detect loops through a table's stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.template import UNKNOWN

_SEND = "sqs:sendmessage"
FUNCTION, MAPPING = "AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping"
_LAST = {"ClosingQueue"}
"""Queues whose messages lead to no others: what closes connections sends nothing."""


def loops(stack: Deployed) -> set[str]:
    """Logical ids of functions that can invoke themselves: they may send to a queue that invokes
    them, directly or through other functions."""
    invokes = {one.id: _invoked_by(stack, one) for one in stack.of_type(FUNCTION)}
    return {name for name in invokes if name in _reached(invokes, name)}


def _reached(invokes: dict[str, set[str]], start: str) -> set[str]:
    """What a function invokes, directly or through others."""
    reached: set[str] = set()
    ahead = set(invokes[start])
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead |= invokes[name] - reached
    return reached


def _invoked_by(stack: Deployed, function: Resource) -> set[str]:
    """The functions that read the queues that a function's role may send to."""
    invoked = set()
    last = {stack.arn(one) for one in stack.of_type("AWS::SQS::Queue") if one.id in _LAST}
    for mapping in stack.of_type(MAPPING):
        queue = mapping.properties["EventSourceArn"]
        reader = stack.named(mapping.properties["FunctionName"], FUNCTION)
        if reader is None or queue is UNKNOWN or queue in last:
            continue
        if _may_send(stack, function, queue):
            invoked.add(reader.id)
    return invoked


def _may_send(stack: Deployed, function: Resource, queue: str) -> bool:
    role = function.properties.get("Role")
    return any(
        statement.get("Effect") == "Allow"
        and any(fnmatchcase(_SEND, one.lower()) for one in _strings(statement.get("Action")))
        and any(fnmatchcase(queue, one) for one in _strings(statement.get("Resource")))
        for one in stack.of_type("AWS::IAM::Role")
        if role is not UNKNOWN and stack.arn(one) == role
        for policy in one.properties.get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
    )


def _strings(value: Any) -> Iterable[str]:
    """One string or several, without UNKNOWN."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
