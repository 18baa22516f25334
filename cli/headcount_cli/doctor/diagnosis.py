"""Runs every check on a stack. It changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from headcount_cli.aws import DENIED, code, reason
from headcount_cli.doctor import account, metrics, probes, records, resources, stack_checks
from headcount_cli.doctor.checks import Result, StackCheck
from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Finding, Status, fail, unknown
from headcount_cli.target import Target

CHECKS = resources.CHECKS.merged(account.CHECKS, records.CHECKS)
"""Every check of a resource, by its type."""
_THREADS = 8
_GONE = {
    "ResourceNotFoundException",
    "NotFoundException",
    "NoSuchDistribution",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
}
_RECREATE = (
    "CloudFormation does not recreate what was deleted by hand: remove it from the template, "
    "deploy, put it back and deploy again; restore a table's rows from a backup"
)


async def diagnose(target: Target, now: Callable[[], float] = time.time) -> list[Finding]:
    """All findings: of each resource, then of the stack, then those from outside."""
    assert target.stack is not None
    deployed = Deployed(target.stack)
    name = target.stack.name
    findings = [stack_checks.state(deployed).about("stack", name)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(lambda one: list(examine(deployed, one)), deployed.resources):
            findings += found
    for check in (
        StackCheck("parameters", ("secretsmanager:GetSecretValue",), stack_checks.parameters),
        *account.STACK_CHECKS,
        StackCheck("metrics", metrics.ACTIONS, partial(metrics.last_hour, now=now)),
        StackCheck("metrics", metrics.ACTIONS, partial(metrics.dropped_loops, now=now)),
    ):
        findings += guarded(check.name, name, check.actions, partial(check.run, deployed))
    outside = [one.about(subject=name) for one in await probes.probe(target, now)]
    return findings + _blame_known_faults(outside, findings)


def examine(deployed: Deployed, resource: Resource) -> Iterator[Finding]:
    """All checks of one resource; a deleted one is reported once."""
    checks = CHECKS.get(resource.type, [])
    if checks and resource.name is None:
        yield fail("was never created", "deploy the stack again").about(checks[0].name, resource.id)
        return
    for check in checks:
        run = partial(check.run, deployed, resource)
        found = list(guarded(check.name, resource.id, check.actions, run))
        yield from found
        if any(one.message.startswith("is gone") for one in found):
            return


def guarded(
    check: str, subject: str, actions: Sequence[str], run: Callable[[], Result]
) -> Iterator[Finding]:
    """A check's findings, named; an error of AWS becomes a finding too."""
    try:
        found = run() or ()
        for one in (found,) if isinstance(found, Finding) else found:
            yield one.about(check, subject)
    except (ClientError, BotoCoreError) as error:
        yield _refusal(error, actions).about(check, subject)


def _refusal(error: ClientError | BotoCoreError, actions: Sequence[str]) -> Finding:
    if isinstance(error, BotoCoreError):
        return unknown(f"could not check: {reason(error)}".rstrip("."))
    if code(error) in _GONE:
        return fail("is gone", _RECREATE)
    if code(error) not in DENIED:
        return unknown(f"could not check: AWS answers {code(error)}")
    called = [one for one in actions if one.partition(":")[2] == error.operation_name]
    needed = " and ".join(called or actions)
    return unknown(
        f"could not check: needs {needed}", f"grant {needed} to the AWS identity that runs this"
    )


def _blame_known_faults(outside: list[Finding], before: list[Finding]) -> list[Finding]:
    """What fails from outside while something inside is at fault is a consequence: a warning."""
    if not any(one.status is Status.FAIL for one in before):
        return outside
    return [
        replace(one, status=Status.WARN, message=f"{one.message} (fix the faults above first)")
        if one.status is Status.FAIL and one.check in {"health", "WebSocket"}
        else one
        for one in outside
    ]
