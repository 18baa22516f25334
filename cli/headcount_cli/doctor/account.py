"""The account's limits in this region, compared with what the stack may need."""

from __future__ import annotations

from math import ceil
from typing import Any

from headcount_cli.doctor.checks import Checks, Result, StackCheck
from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Finding, info, ok, warn
from headcount_cli.doctor.loops import FUNCTION, MAPPING
from headcount_cli.doctor.template import UNKNOWN

CHECKS = Checks()

REQUESTS_PER_PROCESS = 10
"""Requests a second that Lambda lets one execution environment answer."""
POLLERS = 5
"""How many batches of a queue Lambda processes at once before it scales up."""
SHARE_OF_POSTS = 0.5
"""Above this share of the account's requests, posts to dashboards crowd out beats and reads."""
_ADVISED_SHARE = 0.4
_STAGE = "AWS::ApiGatewayV2::Stage"
_RATE, _BURST = "ThrottlingRateLimit", "ThrottlingBurstLimit"
_POSTS = "POSTS_PER_SECOND"
_INCREASE = "aws service-quotas request-service-quota-increase --service-code"


def _account_limits(stack: Deployed) -> dict[str, float]:
    """``rateLimit`` and ``burstLimit`` of all the account's APIs in this region together."""
    return stack.call("apigateway", "get_account")["throttleSettings"]  # type: ignore[no-any-return]


def _stage_limits(stack: Deployed, stage: Resource) -> dict[str, float]:
    """A stage's own limits: those it has, otherwise the template's."""
    page = stack.call("apigatewayv2", "get_stages", ApiId=stage.properties["ApiId"])
    found: dict[str, Any] = next(
        (one for one in page["Items"] if one["StageName"] == stage.name), {}
    )
    expected = {
        name: float(value)
        for name, value in stage.properties.get("DefaultRouteSettings", {}).items()
        if name in (_RATE, _BURST) and value is not UNKNOWN
    }
    return {**expected, **(found.get("DefaultRouteSettings") or {})}


@CHECKS.of(_STAGE, "limits", "apigateway:GET")
def stage(stack: Deployed, resource: Resource) -> Result:
    """A stage admits no more than the account may."""
    limits, account = _stage_limits(stack, resource), _account_limits(stack)
    compared = [
        (_RATE, "rateLimit", "requests a second"),
        (_BURST, "burstLimit", "requests at once"),
    ]
    wrong = []
    for name, of_account, unit in compared:
        allowed = account.get(of_account)
        if allowed is None or limits.get(name, 0) <= allowed:
            continue
        parameter = stack.parameter_of(resource, "DefaultRouteSettings", name)
        alternative = (
            f"or {_request_more(limits[name])}" if name == _RATE else "only AWS can raise it"
        )
        wrong.append(
            warn(
                f"admit {limits[name]:,.0f} {unit}, but the account allows {allowed:,.0f} in this "
                "region: above that AWS answers 429, to every API of the account",
                f"deploy with {parameter or name}={allowed:.0f} or less; {alternative}",
            )
        )
    return wrong or ok("are within the account's")


def _request_more(wanted: float) -> str:
    return (
        f"request a higher quota: {_INCREASE} apigateway --quota-code L-8A5B8E43 "
        f"--desired-value {ceil(wanted)}"
    )


def posts(stack: Deployed) -> Finding | None:
    """Posts to dashboards leave enough of the account's requests for beats and reads."""
    rate = _account_limits(stack).get("rateLimit")
    configured = [
        (int(value), stack.parameter_of(one, "Environment", "Variables", _POSTS))
        for one in stack.of_type(FUNCTION)
        if (value := _variables(one).get(_POSTS, UNKNOWN)) is not UNKNOWN
    ]
    if rate is None or not configured:
        return None
    most, parameter = max(configured, key=lambda one: one[0])
    name = parameter or _POSTS
    if most > rate * SHARE_OF_POSTS:
        return warn(
            f"may take {most:,} of the {rate:,.0f} requests a second that the account allows in "
            "this region: while a large audience is sent to, beats and reads are refused (429)",
            f"deploy with {name}={rate * _ADVISED_SHARE:.0f}, or "
            f"{_request_more(most / _ADVISED_SHARE)}",
        )
    stages = stack.of_type(_STAGE)
    requests = sum(_stage_limits(stack, one).get(_RATE, 0) for one in stages)
    if most + requests > rate:
        parameters = [stack.parameter_of(one, "DefaultRouteSettings", _RATE) for one in stages]
        lower = " or ".join(sorted({name, *(one for one in parameters if one)}))
        return info(
            f"and requests may reach {most + requests:,.0f} a second together, but the account "
            f"allows {rate:,.0f}: above that AWS refuses some of both (429)",
            f"lower {lower}, or {_request_more(most + requests)}",
        )
    return ok(f"are at most {most:,} of {rate:,.0f} requests a second")


def _variables(function: Resource) -> dict[str, Any]:
    return function.properties.get("Environment", {}).get("Variables", {})  # type: ignore[no-any-return]


def concurrency(stack: Deployed) -> Finding:
    """The account may run as many functions at once as the stack's own limits imply."""
    account = stack.call("lambda", "get_account_settings")["AccountLimit"]
    total, unreserved = account["ConcurrentExecutions"], account["UnreservedConcurrentExecutions"]
    reserved = sum(
        int(number)
        for one in stack.of_type(FUNCTION)
        if (number := one.properties.get("ReservedConcurrentExecutions", UNKNOWN)) is not UNKNOWN
    )
    rate = sum(_stage_limits(stack, one).get(_RATE, 0) for one in stack.of_type(_STAGE))
    for_requests, in_background = ceil(rate / REQUESTS_PER_PROCESS), background(stack)
    needed, available = for_requests + in_background, unreserved + reserved
    if available >= needed:
        return ok(f"may reach {available:,}, and this stack's limits need {needed:,}")
    others = (
        f", or reserve less for other functions ({total - available:,} are reserved)"
        if available < total
        else ""
    )
    return warn(
        f"may reach {available:,} in this account and region, but this stack's limits need "
        f"{needed:,}: {for_requests:,} to answer the {rate:,.0f} requests a second that it "
        f"admits, {in_background:,} for streams, queues and schedules. Above {available:,}, beats "
        "are answered with 503 and counts are late",
        f"request a higher quota (new accounts have 10, 1,000 is common): {_INCREASE} lambda "
        f"--quota-code L-B99A9384 --desired-value {max(1000, needed)}{others}",
    )


def background(stack: Deployed) -> int:
    """How many functions run at once when every stream, queue and schedule has work."""
    at_once = len(stack.of_type("AWS::Scheduler::Schedule"))
    for mapping in stack.of_type(MAPPING):
        properties = mapping.properties
        if "StartingPosition" in properties:  # a stream has one shard or more
            at_once += int(properties.get("ParallelizationFactor", 1))
        else:
            limit = (properties.get("ScalingConfig") or {}).get("MaximumConcurrency", POLLERS)
            at_once += min(POLLERS, int(limit))
    return at_once


STACK_CHECKS = [
    StackCheck("concurrency", ("lambda:GetAccountSettings", "apigateway:GET"), concurrency),
    StackCheck("posts", ("apigateway:GET",), posts),
]
