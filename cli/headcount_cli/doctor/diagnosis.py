"""Looking at everything of a stack. It changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from headcount_cli.doctor import live
from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Finding, Said, Status, fail, unknown
from headcount_cli.doctor.resources import CHECKS
from headcount_cli.target import Target

_AT_ONCE = 8
_GONE = {
    "ResourceNotFoundException",
    "NotFoundException",
    "NoSuchDistribution",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_BACK = (
    "CloudFormation does not make again what was deleted by hand: take it out of the template, "
    "deploy, put it back and deploy; a table's rows come from a backup"
)


async def diagnose(target: Target, now: Callable[[], float] = time.time) -> list[Finding]:
    """Look at everything; the findings, resource by resource, then those from outside."""
    assert target.stack is not None
    deployed = Deployed(target.stack)
    name = target.stack.name
    findings = [_found("stack", name, live.state(deployed))]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(lambda one: list(examine(deployed, one)), deployed.resources):
            findings += found
    findings += guarded(
        "parameters",
        name,
        "secretsmanager:GetSecretValue",
        lambda: (_found(one.check, name, one.said) for one in live.parameters(deployed)),
    )
    findings += guarded(
        "metrics",
        name,
        "cloudwatch:GetMetricData",
        lambda: (
            _found("metrics", subject, said) for subject, said in live.hours_metrics(deployed, now)
        ),
    )
    seen = [_found(one.check, name, one.said) for one in await live.outside(target, now)]
    return findings + _explained(seen, findings)


def examine(deployed: Deployed, resource: Resource) -> Iterator[Finding]:
    """All checks of one resource; what is gone is said once."""
    checks = CHECKS.get(resource.type, [])
    if checks and resource.name is None:
        yield _found(checks[0].name, resource.id, fail("was never made", "deploy the stack again"))
        return
    for check in checks:
        found = list(
            guarded(
                check.name,
                resource.id,
                check.actions,
                lambda look=check.look, name=check.name: (  # type: ignore[misc]
                    _found(name, resource.id, said) for said in look(deployed, resource)
                ),
            )
        )
        yield from found
        if any(one.said.startswith("is gone") for one in found):
            return


def guarded(
    check: str, subject: str, actions: str, look: Callable[[], Iterable[Finding]]
) -> Iterator[Finding]:
    """What a look finds; a refusal of AWS becomes a finding of its own."""
    try:
        yield from look()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _GONE:
            yield _found(check, subject, fail("is gone", _BACK))
        elif code in _DENIED:
            words = f"could not check: needs {actions}"
            yield _found(check, subject, unknown(words, f"allow {actions} to who runs this"))
        else:
            yield _found(check, subject, unknown(f"could not check: AWS answers {code}"))
    except BotoCoreError as error:
        yield _found(check, subject, unknown(f"could not check: {error}"))


def _explained(seen: list[Finding], before: list[Finding]) -> list[Finding]:
    """What is seen from outside follows from a fault that is known: then it is none of its own."""
    if not any(one.status is Status.FAIL for one in before):
        return seen
    return [
        replace(one, status=Status.WARN, said=f"{one.said} (mend the faults above first)")
        if one.status is Status.FAIL and one.check in {"health", "WebSocket"}
        else one
        for one in seen
    ]


def _found(check: str, subject: str, said: Said) -> Finding:
    return Finding(check, subject, said.status, said.words, said.mend)
