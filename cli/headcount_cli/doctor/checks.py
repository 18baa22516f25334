"""The register of checks, and what several of them use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Finding

Result = Finding | Iterable[Finding] | None
CheckFunction = Callable[[Deployed, Resource], Result]
Function = TypeVar("Function", bound=CheckFunction)

REDEPLOY = (
    "deploy the stack again (`sam deploy`); if CloudFormation finds no change, change a parameter, "
    "deploy, and change it back"
)


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one resource. ``actions``: the permissions it needs, such as sqs:GetQueueUrl."""

    name: str
    actions: tuple[str, ...]
    run: CheckFunction


@dataclass(frozen=True, slots=True)
class StackCheck:
    """A check of the stack as a whole."""

    name: str
    actions: tuple[str, ...]
    run: Callable[[Deployed], Result]


class Checks(dict[str, list[Check]]):
    """Checks by resource type, in the order they run: the first one finds a deleted resource."""

    def of(self, kind: str, name: str, *actions: str) -> Callable[[Function], Function]:
        """Register a check of every resource of a type."""

        def add(run: Function) -> Function:
            self.setdefault(kind, []).append(Check(name, actions, run))
            return run

        return add

    def merged(self, *others: Checks) -> Checks:
        """These checks followed by the others'."""
        merged = Checks()
        for checks in (self, *others):
            for kind, found in checks.items():
                merged[kind] = [*merged.get(kind, []), *found]
        return merged
